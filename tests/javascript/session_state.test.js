import assert from "node:assert/strict";
import test from "node:test";

import { SessionState } from "../../src/cordboard/interface/static/session_state.js";

/** @param {[string, number?][]} updates */
function actions(updates, isLeaving = false) {
  const state = new SessionState();
  return updates.map(([status, epoch]) => state.next({ status, epoch }, isLeaving));
}

test("a call waits for its bot, connects, and ends", () => {
  assert.deepEqual(actions([["queued"], ["starting", 1], ["running", 1], ["ended", 1]]), [
    "wait", "wait", "connect", "end",
  ]);
});

test("the same state a second time changes nothing", () => {
  assert.deepEqual(actions([["running", 1], ["running", 1], ["ended", 1], ["ended", 1]]), [
    "connect", null, "end", null,
  ]);
});

test("a bot that is lost is replaced, and the call connects to the next one", () => {
  assert.deepEqual(actions([["running", 1], ["queued", 2], ["starting", 2], ["running", 2]]), [
    "connect", "replaced", "wait", "reconnect",
  ]);
});

test("a replacement is noticed although no state in between was seen", () => {
  assert.deepEqual(actions([["running", 1], ["running", 3]]), ["connect", "reconnect"]);
});

test("each final state is an end, before the bot runs too", () => {
  for (const status of ["ended", "failed", "cancelled", "expired"]) {
    assert.deepEqual(actions([["queued"], [status]]), ["wait", "end"]);
  }
});

test("a call that is ending only waits for the session's end", () => {
  assert.deepEqual(actions([["queued"], ["running", 1], ["ended", 1]], true), [null, null, "end"]);
});

test("hasRun is true once a bot runs", () => {
  const state = new SessionState();
  state.next({ status: "queued" }, false);
  assert.equal(state.hasRun, false);
  state.next({ status: "running", epoch: 1 }, false);
  assert.equal(state.hasRun, true);
});
