import assert from "node:assert/strict";
import test from "node:test";

import { MicrophoneCheck } from "../../src/cordboard/interface/static/microphone_check.js";
import { define, settle, silenceConsole } from "./support.js";

silenceConsole();

class FakeContext {
  resume = () => Promise.resolve();
  createMediaStreamSource = () => ({ connect() {}, disconnect() {} });
}

/** @param {import("node:test").TestContext} t */
function open(t) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  define(globalThis, "AudioContext", FakeContext);
  define(globalThis, "AnalyserNode", class {
    fftSize = 1024;
    getFloatTimeDomainData = (/** @type {Float32Array} */ samples) => samples.fill(0.1);
  });
  /** @type {((stream: unknown) => void)[]} */
  const granting = [];
  /** @type {boolean[]} */
  const stopped = [];
  const getUserMedia = () => new Promise((resolve) => granting.push(resolve));
  define(navigator, "mediaDevices", { getUserMedia });
  /** @type {boolean[]} */
  const changes = [];
  const check = new MicrophoneCheck((isOn) => changes.push(isOn));
  const grant = async () => {
    const stream = { getTracks: () => [{ stop: () => stopped.push(true) }] };
    granting.shift()?.(stream);
    await settle();
  };
  return { check, grant, changes, stopped };
}

test("the level of the microphone is there until the test is ended", async (t) => {
  const { check, grant, changes, stopped } = open(t);
  check.open();
  await grant();
  assert.deepEqual([check.isOn, changes], [true, [true]]);
  assert.ok(check.level > 0.5);
  check.close();
  check.close();
  assert.deepEqual([check.isOn, check.level, changes, stopped], [false, 0, [true, false], [true]]);
});

test("a microphone that is granted after the test has ended is released", async (t) => {
  const { check, grant, changes, stopped } = open(t);
  check.open();
  check.close(); // by a Join
  await grant();
  assert.deepEqual([check.isOn, changes, stopped], [false, [], [true]]);
});

test("another microphone takes the place of the one before, and none stays open for over a minute", async (t) => {
  const { check, grant, changes, stopped } = open(t);
  check.open();
  await grant();
  check.open();
  await grant();
  assert.deepEqual([changes, stopped.length], [[true, false, true], 1]);
  t.mock.timers.tick(60_000);
  assert.deepEqual([check.isOn, stopped.length], [false, 2]);
});
