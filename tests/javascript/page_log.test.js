import assert from "node:assert/strict";
import test from "node:test";

import { newLines } from "./client_support.js";
import { Stage } from "./call_stage.js";

/** @param {import("node:test").TestContext} t */
async function failing(t, mayLogWords = false) {
  const stage = new Stage(t);
  stage.track.label = "Headset of Ada";
  stage.mayLogWords = mayLogWords;
  newLines();
  await stage.connect();
  stage.peers[0].handlers.onBotError({ type: "error-response", text: "Ada said no", isFatal: true });
  await stage.call.leave();
  return newLines();
}

test("no line of a call has the label of the microphone", async (t) => {
  const lines = await failing(t);
  assert.ok(lines.some(({ message }) => message === "Microphone opened"));
  assert.doesNotMatch(JSON.stringify(lines), /Headset/);
});

test("an error of the bot is written by type, and its text only where words may be logged", async (t) => {
  const facts = { type: "error-response", fatal: true };
  for (const [mayLogWords, meta] of /** @type {const} */ ([[false, facts], [true, { ...facts, text: "Ada said no" }]])) {
    t.mock.timers.reset();
    const lines = await failing(t, mayLogWords);
    assert.deepEqual(lines.filter(({ message }) => message === "The bot reported an error").map((line) => line.meta), [meta]);
    assert.equal(JSON.stringify(lines).includes("Ada said no"), mayLogWords);
  }
});
