import assert from "node:assert/strict";
import test from "node:test";

import { isSessionId, sessionHeaders, sessionOfHeaders } from "../../clients/js/src/browser/carrier.js";
import { captureConsole, print, releaseConsole } from "../../clients/js/src/browser/console.js";
import { hookFetch, plainFetch } from "../../clients/js/src/browser/fetch.js";
import { define } from "./support.js";

/** @type {[string | Request, any][]} */
const requests = [];
globalThis.fetch = (/** @type {any} */ input, /** @type {any} */ init) => {
  requests.push([input, init]);
  return Promise.resolve(new Response());
};
define(globalThis, "location", { href: "https://shop.example/call", host: "shop.example" });
hookFetch(["voice.example:8443"], () => ({ "X-Session-Id": "call-7" }));

/** @param {Parameters<typeof fetch>} words */
async function sent(...words) {
  await fetch(...words);
  const init = requests.at(-1)?.[1];
  return init?.headers ? Object.fromEntries(new Headers(init.headers)) : {};
}

test("requests to the own host and to listed ones carry the session, others do not", async () => {
  assert.deepEqual(await sent("/api/start", { method: "POST" }), { "x-session-id": "call-7" });
  assert.deepEqual(await sent(new URL("https://voice.example:8443/start")), { "x-session-id": "call-7" });
  for (const url of ["https://voice.example/start", "https://evil.example/shop.example", "data:,x", "http://["]) {
    assert.deepEqual(await sent(url), {}, url);
  }
});

test("headers of the caller stay, in each of their forms", async () => {
  const expected = { "x-session-id": "mine", accept: "a/b" };
  const headers = { "x-session-id": "mine", Accept: "a/b" };
  assert.deepEqual(await sent("/x", { headers }), expected);
  assert.deepEqual(await sent("/x", { headers: Object.entries(headers) }), expected);
  assert.deepEqual(await sent("/x", { headers: new Headers(headers) }), expected);
  assert.deepEqual(await sent(new Request("https://shop.example/x", { headers })), expected);
  assert.equal(requests.at(-1)?.[0] instanceof Request, true);
});

test("hooking again changes the hosts and wraps nothing twice", async () => {
  const before = globalThis.fetch;
  hookFetch([], () => ({ "X-Session-Id": "call-8" }));
  assert.equal(globalThis.fetch, before);
  assert.deepEqual(await sent("https://voice.example:8443/start"), {});
  await plainFetch("/x");
  assert.equal(requests.at(-1)?.[1], undefined);
});

test("a session in headers is read back, and nothing malformed is sent or read", () => {
  const session = { sessionId: "call-7", userId: "ü 1", userName: "Ada Łovelace", epoch: 3, room: "webrtc:demo", traceparent: null };
  const headers = sessionHeaders(session);
  assert.deepEqual(headers, {
    "X-Session-Id": "call-7", "X-User-Id": "%C3%BC%201", "X-User-Name": "Ada%20%C5%81ovelace", "X-Session-Epoch": "3",
  });
  const { session: read, refused } = sessionOfHeaders(new Headers({ ...headers, traceparent: "00-1-2-3" }));
  assert.deepEqual([read, refused], [{ sessionId: "call-7", userId: "%C3%BC%201", userName: "Ada Łovelace", epoch: 3 }, ["traceparent"]]);
  assert.deepEqual(sessionHeaders({ sessionId: "call 7", userName: "a\nb", userId: "\ud800" }), {});
  assert.deepEqual(["...", "", "a/b", "x".repeat(129), null].map(isSessionId), [false, false, false, false, false]);
});

test("what the console prints becomes a line once, and is printed as before", (t) => {
  /** @type {any[]} */
  const printed = [];
  /** @type {any[]} */
  const lines = [];
  t.mock.method(console, "log", (/** @type {any} */ ...values) => printed.push(values));
  captureConsole((level, message, meta) => {
    lines.push([level, message, meta]);
    console.log("printed while a line is written"); // as a queue that reports its own trouble
    print("info", "printed by a logger");
  });
  captureConsole(() => assert.fail("wrapped twice"));
  const error = new Error("no");
  const loud = { toString: () => (console.log("while converted"), "loud") };
  console.log("one", 2, error, { a: 1 });
  console.log(loud);
  releaseConsole();
  assert.deepEqual(lines, [
    ["info", "one 2", { error, values: [{ a: 1 }] }],
    ["info", "Console message", { values: [loud] }],
  ]);
  assert.deepEqual(printed[0], ["one", 2, error, { a: 1 }]);
});

test("a line that cannot be written does not fail the page", (t) => {
  t.mock.method(console, "warn", () => {});
  captureConsole(() => {
    throw new Error("full");
  });
  console.warn("still here");
  releaseConsole();
});
