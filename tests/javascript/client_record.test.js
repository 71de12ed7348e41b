import assert from "node:assert/strict";
import test from "node:test";

import { makeRecord, replaceLoneSurrogates } from "../../clients/js/src/browser/record.js";

const CONTEXT = { sessionId: "s1", userId: "u1", userName: "Ada", room: "webrtc:demo" };

/**
 * @param {Record<string, unknown>} meta
 * @returns {any}
 */
function record(meta, message = "Hello") {
  return makeRecord("info", "test", message, meta, CONTEXT);
}

test("a line has the keys of the log format in their order", () => {
  assert.deepEqual(Object.keys(record({ event: "page.opened", error: new Error("no"), n: 1 })), [
    "timestamp", "level", "message", "service", "tag", "sessionId", "userId", "userName", "room", "event", "meta", "error",
  ]);
});

test("the timestamp has microseconds and ends with Z", () => {
  assert.match(record({}).timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}000Z$/);
});

test("event and error leave meta, and an empty meta is left out", () => {
  const { event, error, meta } = record({ event: "join.clicked", error: new TypeError("no") });
  assert.equal(event, "join.clicked");
  assert.equal(error.type, "TypeError");
  assert.equal(error.message, "no");
  assert.match(error.stack, /client_record.test.js/);
  assert.equal(meta, undefined);
});

test("anything can be thrown", () => {
  assert.deepEqual(record({ error: "text" }).error, { type: "string", message: "text", stack: "" });
  assert.deepEqual(record({ error: null }).error, { type: "object", message: "null", stack: "" });
});

test("values that JSON lacks become text", () => {
  /** @type {Record<string, unknown>} */
  const loop = {};
  loop.self = loop;
  const { meta } = record({ big: 10n, nan: NaN, loop });
  assert.deepEqual(meta, { big: "10", nan: "NaN", loop: { self: "[seen above]" } });
});

test("a value that throws costs meta, not the line", () => {
  const { message, meta } = record({ bad: { toJSON() { throw new Error("no"); } } });
  assert.equal(message, "Hello");
  assert.match(meta.unsayable, /no/);
});

test("of values that are too long the longest are shortened, and the line is marked", () => {
  const { meta, truncated } = record({ long: "x".repeat(9000), short: "y".repeat(1000) });
  assert.equal(meta.long.length, 2001);
  assert.equal(meta.short.length, 1000);
  assert.equal(truncated, true);
  assert.ok(JSON.stringify(meta).length <= 8000);
});

test("lists and objects with too many members are shortened", () => {
  const many = Array.from({ length: 5000 }, (_, i) => i);
  const { meta, truncated } = record({ many, wide: Object.fromEntries(many.map((i) => [`key${i}`, i])) });
  assert.equal(meta.many.length, 400);
  assert.equal(Object.keys(meta.wide).length, 400);
  assert.equal(truncated, true);
});

test("a short line is not marked as truncated", () => {
  assert.equal("truncated" in record({ n: 1 }), false);
});

test("a long message is shortened", () => {
  const { message, truncated } = record({}, "m".repeat(9000));
  assert.equal(message.length, 8000);
  assert.equal(truncated, true);
});

test("half of a surrogate pair is replaced, and a whole pair is kept", () => {
  assert.equal(JSON.parse(replaceLoneSurrogates(JSON.stringify("a\ud800b"))), "a\ufffdb");
  assert.equal(JSON.parse(replaceLoneSurrogates(JSON.stringify("😀"))), "😀");
});
