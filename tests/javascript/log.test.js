import assert from "node:assert/strict";
import test from "node:test";

import { flushNow, getClientLogger, setLogContext } from "../../src/cordboard/interface/static/log.js";
import { define, silenceConsole } from "./support.js";

silenceConsole();

/** Return all lines that wait, as the server would receive them. */
function waitingLines() {
  /** @type {any[]} */
  const lines = [];
  define(navigator, "sendBeacon", (/** @type {string} */ _url, /** @type {string} */ body) => {
    lines.push(...body.split("\n").map((line) => JSON.parse(line)));
    return true;
  });
  flushNow();
  return lines;
}

test("lines carry the context, one boot id, and numbers without a gap", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const log = getClientLogger("room");
  log.info("First");
  setLogContext({ sessionId: "s1", userName: "Ada", room: "webrtc:demo" });
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
