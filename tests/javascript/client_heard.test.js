import assert from "node:assert/strict";
import test from "node:test";

import { watchHeard } from "../../clients/js/src/browser/heard_watch.js";
import { Frame, StallWatch } from "../../clients/js/src/browser/heard_worklet.js";
import { newLines, newMeta } from "./client_support.js";
import { define, settle } from "./support.js";

const BEGAN_AT = Date.UTC(2026, 10, 30, 12);
const TURN = { userEnded: 3, botBegan: 4.25, botBeganAt: BEGAN_AT, isStalled: false };

class FakeNode {
  port = { onmessage: /** @type {any} */ (null), sent: /** @type {any[]} */ ([]), postMessage: (/** @type {any} */ data) => this.port.sent.push(data) };
  /**
   * @param {unknown} _context
   * @param {string} name
   */
  constructor(_context, name) {
    assert.equal(name, "cordboard-heard");
    FakeNode.last = this;
  }
  /** @type {any} */
  static last = null;
}

class FakeContext {
  state = "running";
  outputLatency = 0.02;
  modules = /** @type {string[]} */ ([]);
  connected = /** @type {any[]} */ ([]);
  audioWorklet = {
    addModule: async (/** @type {URL} */ url) => {
      this.modules.push(url.pathname);
      await this.loading;
    },
  };
  /** @type {Promise<void>} */
  loading = Promise.resolve();

  /** @param {string} stream */
  createMediaStreamSource(stream) {
    return {
      connect: (/** @type {any} */ _node, /** @type {number} */ _output, /** @type {number} */ input) => this.connected.push([stream, input]),
      disconnect: () => this.connected.push([stream, "off"]),
    };
  }
}

/** @param {import("node:test").TestContext} t */
async function open(t, { context = new FakeContext() } = {}) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  define(globalThis, "AudioWorkletNode", FakeNode);
  newLines();
  const microphone = /** @type {any} */ ({ getAudioTracks: () => [{ getSettings: () => ({ latency: 0.01 }) }] });
  microphone.toString = () => "microphone";
  const watch = watchHeard(microphone, { audioContext: /** @type {any} */ (context) });
  t.after(() => watch.close());
  await settle();
  /** @param {object} turn */
  const report = async (turn) => {
    FakeNode.last.port.onmessage({ data: turn });
    await settle();
  };
  return { context, watch, report, microphone };
}

/** A connection whose jitter buffer has delayed more sound each time. */
function connection() {
  let asked = 0;
  return {
    getStats: async () => {
      asked += 1;
      return await new Map([
        ["pair", { type: "candidate-pair", nominated: true, state: "succeeded", currentRoundTripTime: 0.0123 }],
        ["out", { type: "media-playout", totalPlayoutDelay: 480 * asked * asked, totalSamplesCount: 48_000 * asked }],
        ["in", { type: "inbound-rtp", kind: "audio", jitterBufferDelay: 960 * asked * asked, jitterBufferEmittedCount: 48_000 * asked }],
      ]);
    },
  };
}

test("a turn is a line with what devices, network and jitter buffer have of it", async (t) => {
  const { watch, report } = await open(t);
  await watch.hear(/** @type {any} */ ("bot"), connection());
  await report(TURN);
  assert.deepEqual(newMeta("turn.heard"), [{
    turn: 1,
    heard_ms: 1290,
    user_ended_at: "2026-11-30T11:59:58.740Z",
    bot_began_at: "2026-11-30T12:00:00.030Z",
    network_ms: 12.3,
    buffer_ms: 60,
    device_ms: 40,
  }]);
  await report(TURN);
  assert.deepEqual(newMeta("turn.heard").map(({ turn, buffer_ms }) => [turn, buffer_ms]), [[2, 100]]);
});

test("what is not known is left out; without a figure of the playback, that of the audio context is taken", async (t) => {
  const { watch, report, context } = await open(t);
  await watch.hear(/** @type {any} */ ("bot"));
  await report(TURN);
  context.outputLatency = /** @type {any} */ (undefined);
  await report(TURN);
  const metas = newMeta("turn.heard");
  const told = metas.map((meta) => [meta.heard_ms, meta.device_ms, "network_ms" in meta, "buffer_ms" in meta]);
  assert.deepEqual(told, [[1280, 30, false, false], [1260, 10, false, false]]);
});

test("the next bot takes the place of the one before, and the end disconnects all", async (t) => {
  const { watch, context, microphone, report } = await open(t);
  await watch.hear(/** @type {any} */ ("bot 1"));
  await watch.hear(/** @type {any} */ ("bot 2"));
  assert.deepEqual(context.connected, [[microphone, 0], ["bot 1", 1], ["bot 1", "off"], ["bot 2", 1]]);
  watch.close();
  assert.deepEqual(context.connected.slice(4), [[microphone, "off"], ["bot 2", "off"]]);
  assert.deepEqual(FakeNode.last.port.sent, ["close"]);
  await report(TURN);
  assert.deepEqual(newLines(), []);
});

test("a turn whose call ends while the delays are read is not written into the next session", async (t) => {
  const { watch, report } = await open(t);
  /** @type {any} */
  let answer = null;
  await watch.hear(/** @type {any} */ ("bot"), { getStats: () => new Promise((resolve) => (answer = resolve)) });
  await report(TURN);
  watch.close();
  answer(new Map());
  await settle();
  assert.deepEqual(newLines(), []);
});

test("a turn in which the sound stood still is not measured, and counts", async (t) => {
  const { report } = await open(t);
  await report({ ...TURN, isStalled: true });
  const [line] = newLines();
  assert.deepEqual([line.event, line.meta], [undefined, { turn: 1 }]);
  await report(TURN);
  assert.equal(newMeta("turn.heard")[0].turn, 2);
});

test("a browser without worklets, one that cannot load it and one that lets no sound run say so once", async (t) => {
  const whys = () => newLines().map(({ level, event, meta }) => [level, event, meta.why]);
  const { context } = await open(t, { context: Object.assign(new FakeContext(), { state: "suspended" }) });
  t.mock.timers.tick(3000);
  t.mock.timers.tick(60_000);
  assert.deepEqual(whys(), [["warn", undefined, "The audio context does not run"]]);

  context.loading = Promise.reject(new Error("refused by a policy"));
  const microphone = /** @type {any} */ ({});
  const unloaded = watchHeard(microphone, { audioContext: /** @type {any} */ (context) });
  await unloaded.hear(/** @type {any} */ ("bot"));
  assert.deepEqual(whys(), [["warn", undefined, "The worklet could not be loaded"]]);

  define(globalThis, "AudioWorkletNode", undefined);
  const unable = watchHeard(microphone, { audioContext: /** @type {any} */ (context) });
  await unable.hear(/** @type {any} */ ("bot"));
  unable.close();
  assert.deepEqual(whys(), [["warn", undefined, "The browser has no AudioWorklet"]]);
});

test("a frame tells its first and last voiced sample, and nothing of noise", () => {
  const frame = new Frame();
  const samples = new Float32Array(128).fill(0.01);
  frame.add(samples, 0);
  frame.add(undefined, 0);
  assert.equal(frame.take(1, 48_000), null);
  samples[5] = -0.02;
  frame.add(samples, 128);
  frame.add(samples, 256);
  assert.deepEqual(frame.take(1, 48_000), [1 + 133 / 48_000, 1 + 261 / 48_000]);
  assert.equal(frame.take(1, 48_000), null);
});

test("sound that stood still is noticed, and uneven rendering is not", () => {
  const even = new StallWatch();
  const stalled = new StallWatch();
  for (let number = 1; number <= 500; number += 1) {
    const until = number * 0.02;
    even.add(until, until * 1000 + (number % 5) * 15);
    stalled.add(until, until * 1000 + (number > 300 ? 80 : 0));
  }
  const turn = { userEnded: 5, botBegan: 7 };
  assert.equal(even.isStalled(turn), false);
  assert.equal(stalled.isStalled(turn), true);
  assert.equal(stalled.isStalled({ userEnded: 7, botBegan: 9 }), false);
});
