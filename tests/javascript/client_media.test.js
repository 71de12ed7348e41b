import assert from "node:assert/strict";
import test from "node:test";

import { watchPeerConnection } from "../../clients/js/src/browser/peer_watch.js";
import { newMeta } from "./client_support.js";
import { settle } from "./support.js";

let now = 0;

/** A connection whose figures the test sets. */
class FakeConnection extends EventTarget {
  connectionState = "connected";
  track = { kind: "audio", enabled: true };
  figures = { sent: 0, received: 0, lost: 0, jitter: 0.01, rtt: 0.02, path: "host", energyIn: 0, energyOut: 0, seconds: 0 };

  getSenders() {
    return [{ track: this.track }];
  }

  async getStats() {
    const { sent, received, lost, jitter, rtt, path, energyIn, energyOut, seconds } = this.figures;
    return await new Map(Object.entries({
      T: { type: "transport", selectedCandidatePairId: "P" },
      P: { type: "candidate-pair", localCandidateId: "L", currentRoundTripTime: rtt },
      L: { type: "local-candidate", candidateType: path },
      O: { type: "outbound-rtp", kind: "audio", packetsSent: sent },
      M: { type: "media-source", kind: "audio", totalAudioEnergy: energyOut, totalSamplesDuration: seconds },
      I: {
        type: "inbound-rtp", kind: "audio", packetsReceived: received, packetsLost: lost, jitter,
        concealedSamples: 0, totalSamplesReceived: received * 960, totalAudioEnergy: energyIn, totalSamplesDuration: seconds,
      },
    }));
  }

  /** @param {string} state */
  enter(state) {
    this.connectionState = state;
    this.dispatchEvent(new Event("connectionstatechange"));
  }
}

/** @param {import("node:test").TestContext} t */
function open(t) {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  now = 1_000_000;
  t.mock.method(performance, "now", () => now);
  newMeta("");
  const connection = new FakeConnection();
  const watch = watchPeerConnection(/** @type {any} */ (connection), { devices: false });
  let level = 0.25;
  // A second of a call, with what differs from a good one.
  const second = async (changes = {}) => {
    const figures = connection.figures;
    level = 0.5 - level; // a voice is not constant
    const { sent = 50, received = 50, lost = 0, out = level, ms = 1000, ...present } = /** @type {any} */ (changes);
    Object.assign(figures, present, {
      sent: figures.sent + sent, received: figures.received + received, lost: figures.lost + lost,
      seconds: figures.seconds + 1, energyIn: figures.energyIn + 0.25, energyOut: figures.energyOut + out * out,
    });
    now += ms;
    t.mock.timers.tick(1000);
    await settle();
  };
  const seconds = async (/** @type {number} */ count, changes = {}) => {
    for (let i = 0; i < count; i += 1) await second(changes);
  };
  return { connection, watch, seconds };
}

/** @param {any[]} metas */
const named = (metas) => metas.map(({ name, state }) => `${name} ${state}`);

test("figures are written every 5 s, as differences", async (t) => {
  const { seconds } = open(t);
  await seconds(10);
  const [, second, ...others] = newMeta("media.stats");
  assert.deepEqual(others, []);
  assert.deepEqual(second, {
    end: "page", state: "connected", interval_ms: 5000, packets_sent: 250, packets_received: 250, packets_lost: 0,
    concealed_samples: 0, samples: 240_000, jitter_ms: 10, rtt_ms: 20, level_in: 0.5, level_out: second.level_out,
    path: "host", mos: 4.41,
  });
  assert.ok(second.level_out > 0.2 && second.level_out < 0.3);
});

test("a change of the state is written at once, and the end with the last figures", async (t) => {
  const { connection, watch, seconds } = open(t);
  await seconds(2);
  connection.enter("disconnected");
  await settle();
  await seconds(1);
  watch.close();
  watch.close();
  await seconds(9);
  assert.deepEqual(newMeta("media.stats").map(({ state, packets_sent: sent }) => [state, sent]), [
    ["disconnected", 100], ["closed", 50],
  ]);
});

test("two states that follow at once are both written", async (t) => {
  const { connection } = open(t);
  connection.enter("connecting");
  connection.enter("connected");
  await settle();
  assert.deepEqual(newMeta("media.stats").map(({ state }) => state), ["connecting", "connected"]);
});

test("a connection that was closed without its watch is noticed", async (t) => {
  const { connection, seconds } = open(t);
  await seconds(1);
  connection.connectionState = "closed";
  await seconds(9);
  assert.deepEqual(newMeta("media.stats").map(({ state }) => state), ["closed"]);
});

test("loss is a warning after 3 of 5 samples, until none of 5 is bad", async (t) => {
  const { seconds } = open(t);
  await seconds(2);
  await seconds(2, { received: 48, lost: 2 });
  assert.deepEqual(newMeta("media.warning"), []);
  await seconds(1, { received: 48, lost: 2 });
  const [raised] = newMeta("media.warning");
  assert.deepEqual(raised, { name: "high_loss", state: "raised", value: 4, threshold: 1, end: "page" });
  await seconds(4);
  assert.deepEqual(newMeta("media.warning"), []);
  await seconds(1);
  assert.deepEqual(named(newMeta("media.warning")), ["high_loss cleared"]);
});

for (const [what, changes, names] of /** @type {[string, object, string[]][]} */ ([
  ["jitter", { jitter: 0.05 }, ["high_jitter raised"]],
  ["a slow network", { rtt: 0.45 }, ["high_rtt raised"]],
  ["no sound of the bot", { received: 0 }, ["no_audio_in raised", "one_way raised"]],
  ["nothing sent", { sent: 0 }, ["no_audio_out raised", "one_way raised"]],
  ["heavy loss", { received: 35, lost: 15 }, ["high_loss raised", "low_mos raised"]],
  ["another path", { path: "relay" }, ["path_changed raised"]],
])) {
  test(`${what} is a warning`, async (t) => {
    const { seconds } = open(t);
    await seconds(2);
    await seconds(3, changes);
    assert.deepEqual(named(newMeta("media.warning")), names);
  });
}

test("a microphone with a constant level is a warning, unless the page has muted it", async (t) => {
  const { connection, seconds } = open(t);
  await seconds(2);
  connection.track.enabled = false;
  await seconds(12, { out: 0 });
  assert.deepEqual(newMeta("media.warning"), []);
  connection.track.enabled = true;
  await seconds(11, { out: 0 });
  assert.deepEqual(named(newMeta("media.warning")), ["constant_level raised"]);
});

test("the time in which a page did not run is not judged", async (t) => {
  const { seconds } = open(t);
  await seconds(2);
  await seconds(1, { sent: 0, received: 0, ms: 3_600_000 });
  await seconds(2, { sent: 0 });
  assert.deepEqual(newMeta("media.warning"), []);
  assert.equal(newMeta("media.warning").length, 0);
});
