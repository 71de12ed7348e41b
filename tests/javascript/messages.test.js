import assert from "node:assert/strict";
import test from "node:test";

import { Problem } from "../../src/cordboard/interface/static/api.js";
import {
  endMessage,
  isExpectedEnd,
  microphoneMessage,
  problemMessage,
} from "../../src/cordboard/interface/static/messages.js";

test("each error of getUserMedia has a message of its own", () => {
  const names = ["NotFoundError", "NotAllowedError", "NotReadableError", "AbortError", "InsecureContext"];
  const titles = names.map((name) => microphoneMessage({ name })[0]);
  assert.equal(new Set(titles).size, names.length);
});

test("an unknown error of getUserMedia is quoted", () => {
  assert.deepEqual(microphoneMessage(new Error("odd"))[1], "The browser reports: odd");
  assert.deepEqual(microphoneMessage("odder")[1], "The browser reports: odder");
});

test("a session's end is explained by its reason, and an unknown reason is shown", () => {
  assert.equal(endMessage("failed", "bot_crashed")[0], "The bot has failed.");
  assert.equal(endMessage("failed", "new_reason")[0], "The call has ended (new_reason).");
  assert.equal(endMessage("expired", null)[0], "The call has ended (expired).");
});

test("only a call that ended as planned is an expected end", () => {
  assert.equal(isExpectedEnd("ended", "bot_finished"), true);
  assert.equal(isExpectedEnd("failed", "bot_finished"), false);
  assert.equal(isExpectedEnd("ended", "runner_lost"), false);
  assert.equal(isExpectedEnd("ended", undefined), false);
});

test("an error of the server keeps its own text unless its code has a message", () => {
  assert.equal(problemMessage(new Problem("queue_full", "429"))[0], "All bots are busy.");
  assert.deepEqual(problemMessage(new Problem("odd", "It failed.", "Do this.")), ["It failed.", "Do this."]);
  assert.deepEqual(problemMessage(new Error("It failed.")), ["It failed.", "Press Join to try again."]);
});
