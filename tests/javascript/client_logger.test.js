import assert from "node:assert/strict";
import test from "node:test";

import { currentSession, getClientLogger, newSession, onSession, queue, setSession } from "../../clients/js/src/browser/logger.js";
import { waitingLines } from "./client_support.js";
import { define } from "./support.js";

test("lines carry the context, one boot id, and numbers without a gap", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const log = getClientLogger("room");
  log.info("First");
  setSession({ sessionId: "s1", userName: "Ada", room: "webrtc:demo" });
  log.warn("Second", { n: 1 });
  const [first, second] = waitingLines();
  assert.equal(first.sessionId, "server:browser");
  assert.deepEqual(
    [second.level, second.tag, second.sessionId, second.userName, second.room, second.meta],
    ["warn", "room", "s1", "Ada", "webrtc:demo", { n: 1 }],
  );
  assert.equal(first.boot, second.boot);
  assert.equal(second.seq, first.seq + 1);
});

test("the console shows no value that is undefined", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const info = t.mock.method(console, "info", () => {});
  getClientLogger("call").info("Call ended", { seconds: 3, reason: undefined });
  getClientLogger("call").info("Muted", { reason: undefined });
  assert.deepEqual(info.mock.calls.map((call) => call.arguments), [
    ["[call] Call ended", { seconds: 3 }],
    ["[call] Muted"],
  ]);
});

test("a new session is bound to the next line, and listeners are told", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  /** @type {(string | null)[]} */
  const seen = [];
  const stop = onSession(() => seen.push(currentSession().sessionId));
  const first = newSession();
  getClientLogger("room").info("In the new session");
  stop();
  const second = newSession();
  assert.deepEqual(seen, [first]);
  assert.notEqual(first, second);
  assert.equal(waitingLines().at(-1).sessionId, first);
});

test("a malformed session id is refused", () => {
  assert.throws(() => setSession({ sessionId: "call 7" }), /expected a session id .* got "call 7"/);
});

test("on a server nothing is queued", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const waiting = queue.length;
  Reflect.deleteProperty(globalThis, "window");
  getClientLogger("room").info("While the page is rendered");
  define(globalThis, "window", globalThis);
  assert.equal(queue.length, waiting);
});
