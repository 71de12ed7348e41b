import assert from "node:assert/strict";
import test from "node:test";

import { Problem } from "../../src/cordboard/interface/static/api.js";
import { Stage } from "./call_stage.js";
import { settle } from "./support.js";

test("when the bot is replaced, the call connects to the next one, whose offer is ready", async (t) => {
  const stage = new Stage(t);
  await stage.connect();
  stage.watch.handlers.onState({ status: "queued", epoch: 2 });
  await settle();
  assert.equal(stage.states.at(-1), "lost");
  assert.equal(stage.tones, 1);
  assert.deepEqual([stage.peers.length, stage.peers[0].closed, stage.offers.length], [2, false, 1]);
  stage.watch.handlers.onState({ status: "starting", epoch: 2 });
  assert.equal(stage.states.at(-1), "lost");
  stage.watch.handlers.onState({ status: "running", epoch: 2 });
  await settle();
  assert.deepEqual([stage.peers.length, stage.peers[0].closed, stage.peers[1].accepted], [2, true, true]);
  assert.deepEqual(stage.offers.at(-1), { sdp: "offer", type: "offer" });
  assert.equal(stage.track.stopped, false);
  stage.peers[1].handlers.onState("connected");
  assert.equal(stage.states.at(-1), "connected");
  stage.peers[0].handlers.onStream("the lost bot's stream");
  stage.peers[1].handlers.onStream("the next bot's stream");
  await stage.tick(60_000);
  assert.equal(stage.end, null);
  await stage.call.leave();
  assert.deepEqual(stage.heard, ["the bot's stream", "the next bot's stream", "closed", "closed"]);
});

const SUSPECT = "POST /api/sessions/s1/suspect";

test("a lost connection is reported, and given up after 95 s if the bot's death is not confirmed", async (t) => {
  const stage = new Stage(t);
  await stage.connect();
  stage.peers[0].handlers.onState("disconnected");
  assert.deepEqual([stage.watch.hurries, stage.states.at(-1)], [1, "interrupted"]);
  assert.ok(stage.requests.includes(SUSPECT));
  stage.watch.handlers.onState({ status: "running", epoch: 1 });
  await stage.tick(94_000);
  assert.equal(stage.end, null);
  await stage.tick(2000);
  assert.match(stage.endTitle, /connection to the bot was lost/);
});

test("without a word of the session a lost connection is given up after 20 s", async (t) => {
  const stage = new Stage(t);
  await stage.connect();
  stage.peers[0].handlers.onState("failed");
  await stage.tick(19_999);
  assert.equal(stage.end, null);
  await stage.tick(1);
  assert.match(stage.endTitle, /connection to the bot was lost/);
});

test("a confirmed death is given up 20 s after the last state of its session", async (t) => {
  const stage = new Stage(t);
  await stage.connect();
  stage.watch.handlers.onState({ status: "queued", epoch: 2 });
  await stage.tick(15_000);
  stage.watch.handlers.onState({ status: "starting", epoch: 2 });
  await stage.tick(19_999);
  assert.equal(stage.end, null);
  await stage.tick(1);
  assert.match(stage.endTitle, /no other one came in time/);
});

test("a connection that comes back keeps the call and its peer", async (t) => {
  const stage = new Stage(t);
  await stage.connect();
  stage.peers[0].handlers.onState("failed");
  stage.peers[0].handlers.onState("connected");
  await settle();
  await stage.tick(100_000);
  assert.equal(stage.end, null);
  assert.deepEqual(stage.peers.map((peer) => peer.closed), [false, true]);
});

/** Let packets come for a while, until `lastAt`. */
async function receive(/** @type {Stage} */ stage, /** @type {any} */ peer, /** @type {number} */ lastAt) {
  peer.packets += 1;
  peer.lastAt = stage.now = lastAt;
  await stage.tick(250);
}

test("a second without a packet is a sign; the silence is measured from the last packet to the next bot's first", async (t) => {
  /** @type {any[]} */
  const logged = [];
  for (const level of /** @type {const} */ (["warn", "info"])) t.mock.method(console, level, (/** @type {any[]} */ ...args) => logged.push(args[1]));
  const stage = new Stage(t);
  await stage.connect();
  await receive(stage, stage.peers[0], 5000);
  stage.now = 5999;
  await stage.tick(250);
  assert.equal(stage.requests.includes(SUSPECT), false);
  stage.now = 6000;
  await stage.tick(250);
  assert.ok(stage.requests.includes(SUSPECT));
  stage.watch.handlers.onState({ status: "running", epoch: 2 });
  await settle();
  stage.peers[1].handlers.onState("connected");
  await receive(stage, stage.peers[1], 7500);
  const events = logged.filter((meta) => meta?.event?.startsWith("call."));
  assert.deepEqual(events, [
    { event: "call.interrupted", sign: "silence", epoch: 1 },
    { event: "call.resumed", epoch: 2, silence_ms: 2500 },
  ]);
});

test("a bot that is connected and has fallen silent is not given up, and not called again", async (t) => {
  const stage = new Stage(t);
  stage.answers["POST /api/sessions/s1/offer"] = () => ({ sdp: "answer", type: "answer", pc_id: "p1" });
  await stage.connect();
  stage.peers[0].isConnected = true;
  await receive(stage, stage.peers[0], 5000);
  stage.now = 7000;
  await stage.tick(250);
  stage.watch.handlers.onState({ status: "running", epoch: 1 });
  await stage.tick(100_000);
  assert.equal(stage.end, null);
  assert.equal(stage.states.at(-1), "connected");
  assert.deepEqual([stage.peers[0].restarts, stage.peers[0].closed], [1, false]);
});

test("a bot that lives and is not reached gets an ICE restart, and then another connection", async (t) => {
  const stage = new Stage(t);
  stage.answers["POST /api/sessions/s1/offer"] = () => ({ sdp: "answer", type: "answer", pc_id: "p1" });
  await stage.connect();
  stage.peers[0].handlers.onState("disconnected");
  stage.watch.handlers.onState({ status: "running", epoch: 1 });
  await stage.tick(2000);
  assert.deepEqual(stage.offers.at(-1), { sdp: "restart", type: "offer", pc_id: "p1", restart_pc: false });
  assert.equal(stage.peers[0].closed, false);
  await stage.tick(5000);
  assert.deepEqual(stage.offers.at(-1), { sdp: "offer", type: "offer", pc_id: "p1", restart_pc: true });
  assert.deepEqual([stage.peers[0].closed, stage.offers.length], [true, 3]);
  await stage.tick(5000);
  assert.equal(stage.offers.at(-1).restart_pc, true);
  assert.deepEqual(stage.peers.map((peer) => peer.restarts), [1, 0, 0]);
});

test("an offer that does not reach its bot is sent again, and then to the next bot", async (t) => {
  const stage = new Stage(t);
  /** @type {() => Promise<object>} */
  let answer = () => Promise.reject(new Problem("runner_unreachable", "502"));
  stage.answers["POST /api/sessions/s1/offer"] = () => answer();
  await stage.call.start();
  stage.watch.handlers.onState({ status: "running", epoch: 1 });
  await settle();
  assert.ok(stage.requests.includes(SUSPECT));
  await stage.tick(500);
  assert.equal(stage.offers.length, 2);
  stage.watch.handlers.onState({ status: "queued", epoch: 2 });
  answer = () => Promise.resolve({});
  stage.watch.handlers.onState({ status: "running", epoch: 2 });
  await stage.tick(500);
  assert.deepEqual([stage.offers.length, stage.end], [3, null]);
});

test("a bot that answers slowly keeps the offer that it has", async (t) => {
  const stage = new Stage(t);
  await stage.connect();
  stage.answers["POST /api/sessions/s1/offer"] = () => new Promise(() => {});
  stage.watch.handlers.onState({ status: "running", epoch: 2 });
  await settle();
  await stage.tick(5000);
  await stage.tick(5000);
  assert.deepEqual([stage.offers.length, stage.peers.length], [2, 2]);
});

test("a bot that closes its side is not lost: the session says what follows", async (t) => {
  const stage = new Stage(t);
  await stage.connect();
  await receive(stage, stage.peers[0], 5000);
  stage.peers[0].handlers.onBotClosed();
  assert.equal(stage.watch.polls, 1);
  stage.now = 9000;
  await stage.tick(250);
  assert.deepEqual([stage.requests.includes(SUSPECT), stage.states.at(-1)], [false, "connected"]);
  stage.watch.handlers.onState({ status: "ended", epoch: 1, reason: "bot_finished" });
  await settle();
  assert.equal(stage.end.tone, "info");
});
