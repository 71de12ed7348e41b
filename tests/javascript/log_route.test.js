import assert from "node:assert/strict";
import test from "node:test";

import { idOfKey, newPageKey } from "../../clients/js/src/browser/page_key.js";
import { logRoute } from "../../clients/js/src/next/log_route.js";
import { boundedText } from "../../clients/js/src/server/body.js";

const KEY = newPageKey();
const ID = idOfKey(KEY, Date.now());
const OWN = { "sec-fetch-site": "same-origin", "x-page-key": KEY };
const [KIB, PART] = [1024, 64 * 1024];

/** @param {object} over */
const line = (over = {}) => ({
  timestamp: new Date().toISOString().replace("Z", "000Z"), level: "info", message: "Page opened", service: "browser",
  tag: "room", sessionId: ID, userId: null, userName: null, event: "page.opened", boot: "9f31c2aa", seq: 1, ...over,
});

/**
 * @param {(request: Request) => Promise<Response>} route
 * @param {object[]} lines
 * @param {Record<string, string>} headers
 */
async function send(route, lines, headers = OWN) {
  const body = lines.map((one) => JSON.stringify(one)).join("\n");
  const { status } = await route(new Request(`https://app.example/api/logs?sent=${Date.now()}`, { method: "POST", headers, body }));
  return status;
}

/**
 * Return the lines that are printed from now on.
 * @param {import("node:test").TestContext} t
 */
function printed(t) {
  /** @type {any[]} */
  const records = [];
  const { write } = process.stdout;
  t.mock.method(process.stdout, "write", (/** @type {any} */ text, /** @type {any[]} */ ...rest) => {
    if (typeof text !== "string" || !text.startsWith('{"timestamp"')) return write.call(process.stdout, text, ...rest);
    records.push(JSON.parse(text));
    return true;
  });
  return records;
}

test("without mayWrite, a page writes lines of those sessions alone whose ids it has made", async (t) => {
  const records = printed(t);
  const route = logRoute();
  const strangers = [{ "sec-fetch-site": "same-origin" }, { ...OWN, "x-page-key": newPageKey() }, { ...OWN, "x-session-id": ID, "x-page-key": "" }];
  for (const headers of strangers) {
    assert.equal(await send(route, [line({ seq: records.length + 1, event: "call.resumed", room: "webrtc:a" })], headers), 204);
    const record = records.at(-1);
    assert.match(record.sessionId, /^server:/);
    assert.deepEqual([record.event, record.room], [undefined, undefined]);
    assert.deepEqual(record.meta, { claimed_session: ID, claimed_event: "call.resumed", claimed_room: "webrtc:a" });
  }
  await send(route, [line({ sessionId: "call-7", seq: 9 })]);
  assert.equal(records.at(-1).meta.claimed_session, "call-7");
  await send(route, [line()]);
  assert.deepEqual([records.at(-1).sessionId, records.at(-1).event, records.at(-1).meta], [ID, "page.opened", undefined]);
});

test("with mayWrite, that decides alone; anything but true is a refusal", async (t) => {
  const records = printed(t);
  const route = logRoute({ mayWrite: (id) => /** @type {any} */ (id === "mine" ? true : undefined) });
  await send(route, [line({ sessionId: "mine" }), line({ seq: 2 })], { "sec-fetch-site": "same-origin" });
  assert.equal(records[0].sessionId, "mine");
  assert.equal(records[1].meta.claimed_session, ID);
});

test("a stranger's lines take no number of the page that they claim to be", async (t) => {
  const records = printed(t);
  const route = logRoute();
  await send(route, [line({ seq: 1 }), line({ seq: 5000 })], { "sec-fetch-site": "same-origin" });
  await send(route, [line({ seq: 1 })]);
  assert.equal(records.at(-1).sessionId, ID);
});

test("batches of a page may arrive in any order, and each line is written once", async (t) => {
  const records = printed(t);
  /** @type {(answer: boolean) => void} */
  let decide = () => {};
  let asked = 0;
  const mayWrite = () => ((asked += 1) === 1 ? new Promise((resolve) => (decide = resolve)) : true);
  const route = logRoute({ mayWrite: /** @type {any} */ (mayWrite) });
  const [first, second] = [[1, 200], [201, 250]].map(([from, to]) =>
    Array.from({ length: to - from + 1 }, (_, i) => line({ seq: from + i })));
  const waiting = send(route, first);
  while (!asked) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(await send(route, second), 204);
  decide(true);
  assert.equal(await waiting, 204);
  await send(route, first);
  await send(route, second);
  assert.deepEqual(records.map(({ seq }) => seq).sort((a, b) => a - b), Array.from({ length: 250 }, (_, i) => i + 1));
});

test("lines whose right could not be found out are written when they come again", async (t) => {
  const records = printed(t);
  let isAway = true;
  const route = logRoute({ mayWrite: () => (isAway ? Promise.reject(new Error("away")) : true) });
  await assert.rejects(send(route, [line()]));
  isAway = false;
  await send(route, [line()]);
  assert.equal(records.length, 1);
});

test("a line that is no object is refused", async (t) => {
  const records = printed(t);
  const request = new Request("https://app.example/", { method: "POST", headers: OWN, body: "null\n7\n[]\n{" });
  assert.equal((await logRoute()(request)).status, 204);
  assert.deepEqual(records.map(({ message, meta }) => [message, meta]), [["Lines of a browser were refused", { count: 4, reason: "not an object" }]]);
});

test("a full batch passes whatever the limit is", async (t) => {
  const records = printed(t);
  const route = logRoute({ linesPerSecond: 1 });
  assert.equal(await send(route, Array.from({ length: 200 }, (_, i) => line({ seq: i + 1 }))), 204);
  assert.equal(records.length, 200);
  assert.equal(await send(route, Array.from({ length: 400 }, (_, i) => line({ seq: i + 201 }))), 429);
});

/**
 * Return a request of unknown length, and how many bytes of it were asked for.
 * @param {number} parts
 */
function chunked(parts) {
  const read = { bytes: 0, isCancelled: false };
  const body = new ReadableStream({
    pull(controller) {
      if (read.bytes >= parts * PART) {
        controller.close();
        return;
      }
      read.bytes += PART;
      controller.enqueue(new Uint8Array(PART).fill(0x20));
    },
    cancel: () => void (read.isCancelled = true),
  });
  const init = /** @type {RequestInit} */ ({ method: "POST", headers: OWN, body, duplex: "half" });
  return { request: new Request("https://app.example/api/logs", init), read };
}

test("a body without a stated length is read up to the bound", async () => {
  const { request, read } = chunked(10_000);
  assert.equal(request.headers.get("content-length"), null);
  assert.equal((await logRoute()(request)).status, 413);
  assert.ok(read.isCancelled);
  assert.ok(read.bytes <= 512 * KIB);
});

test("boundedText returns what fits, in whatever pieces it comes", async () => {
  assert.equal((await boundedText(chunked(1).request, PART))?.length, PART);
  assert.equal(await boundedText(chunked(1).request, PART - 1), null);
  assert.equal(await boundedText(new Request("https://app.example/"), 1), "");
  const bytes = new TextEncoder().encode("€ü");
  const body = new ReadableStream({ start: (c) => (bytes.forEach((byte) => c.enqueue(Uint8Array.of(byte))), c.close()) });
  const init = /** @type {RequestInit} */ ({ method: "POST", body, duplex: "half" });
  assert.equal(await boundedText(new Request("https://app.example/", init), 5), "€ü");
  const long = new Request("https://app.example/", { method: "POST", headers: { "content-length": "6" }, body: "x" });
  assert.equal(await boundedText(long, 5), null);
});
