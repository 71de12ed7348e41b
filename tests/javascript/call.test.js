import assert from "node:assert/strict";
import test from "node:test";

import { Problem } from "../../src/cordboard/interface/static/api.js";
import { ACCEPTED, Stage } from "./call_stage.js";
import { define, settle } from "./support.js";

test("a call passes all stages, and leaving tells the server before the connection closes", async (t) => {
  const stage = new Stage(t);
  await stage.connect();
  // The microphone was allowed already, so the join did not wait for it.
  assert.deepEqual(stage.stages, ["clicked", "joined", "microphone", "running", "answered", "connected", "first_audio"]);
  assert.equal(stage.states.at(-1), "connected");
  stage.answers["POST /api/sessions/s1/leave"] = () => {
    assert.equal(stage.track.stopped, true);
    assert.equal(stage.peers[0].closed, false);
    return {};
  };
  await stage.call.leave();
  assert.equal(stage.requests.at(-1), "POST /api/sessions/s1/leave");
  assert.equal(stage.peers[0].closed, true);
  assert.equal(stage.watch.closed, true);
  assert.deepEqual(stage.end, { title: "", advice: "", tone: "bad", joined: true, ran: true });
});

test("where the user is asked for the microphone and refuses, no join is sent", async (t) => {
  const stage = new Stage(t);
  stage.isAllowed = false;
  stage.openMicrophone = () => Promise.reject(Object.assign(new Error("no"), { name: "NotAllowedError" }));
  await stage.call.start();
  assert.deepEqual(stage.requests, []);
  assert.equal(stage.end.title, "Access to the microphone is blocked.");
  assert.equal(stage.end.joined, false);
});

test("where the microphone is allowed but missing, the join is withdrawn", async (t) => {
  const stage = new Stage(t);
  stage.openMicrophone = () => Promise.reject(Object.assign(new Error("no"), { name: "NotFoundError" }));
  await stage.call.start();
  assert.deepEqual(stage.requests, ["POST /api/sessions", "POST /api/sessions/s1/leave"]);
  assert.equal(stage.end.title, "No microphone was found.");
});

test("leaving while the join is on its way waits for its answer, then leaves the session", async (t) => {
  const stage = new Stage(t);
  /** @type {(answer: object) => void} */
  let answer = () => {};
  stage.answers["POST /api/sessions"] = () => new Promise((resolve) => (answer = resolve));
  const started = stage.call.start();
  await settle();
  const left = stage.call.leave();
  await settle();
  assert.deepEqual(stage.requests, ["POST /api/sessions"]);
  answer(ACCEPTED);
  await Promise.all([left, started]);
  assert.deepEqual(stage.requests, ["POST /api/sessions", "POST /api/sessions/s1/leave"]);
  assert.equal(stage.watch, null);
});

test("a room that another session holds is not joined, and that session is not ended", async (t) => {
  const stage = new Stage(t);
  stage.answers["POST /api/sessions"] = () => ({ sessionId: "s0", reused: true, yours: true });
  await stage.call.start();
  await settle();
  assert.deepEqual(stage.requests, ["POST /api/sessions"]);
  assert.deepEqual([stage.end.code, stage.end.holder, stage.end.yours], ["room_busy", "s0", true]);
  assert.equal(stage.track.stopped, true);
});

test("a join that the server had accepted before goes on", async (t) => {
  const stage = new Stage(t);
  stage.answers["POST /api/sessions"] = () => ({ sessionId: "s1", reused: true, yours: true });
  await stage.call.start();
  assert.equal(stage.end, null);
  assert.equal(stage.states.at(-1), "waiting");
});

test("a refused join is reported with its code and pause", async (t) => {
  const stage = new Stage(t);
  stage.answers["POST /api/sessions"] = () => Promise.reject(new Problem("queue_full", "429", "", { retryAfterS: 5 }));
  await stage.call.start();
  await settle();
  assert.deepEqual([stage.end.code, stage.end.retryAfterS, stage.end.joined], ["queue_full", 5, false]);
});

test("the end of the session ends the call with its reason", async (t) => {
  const stage = new Stage(t);
  await stage.connect();
  stage.watch.handlers.onState({ status: "ended", epoch: 1, reason: "bot_finished" });
  await settle();
  assert.deepEqual([stage.end.title, stage.end.tone], ["The bot has ended the call.", "info"]);
  assert.equal(stage.requests.includes("POST /api/sessions/s1/leave"), false);
});

test("a reason that the stream did not bring is read from the session", async (t) => {
  const stage = new Stage(t);
  await stage.connect();
  stage.answers["GET /api/sessions/s1"] = () => ({ reason: "bot_crashed" });
  stage.watch.handlers.onState({ status: "failed", epoch: 1 });
  await settle();
  assert.deepEqual([stage.end.reason, stage.end.tone], ["bot_crashed", "bad"]);
});

test("a connection that fails before it was open ends the call", async (t) => {
  const stage = new Stage(t);
  await stage.call.start();
  stage.watch.handlers.onState({ status: "running", epoch: 1 });
  await settle();
  stage.peers[0].handlers.onState("failed");
  await settle();
  assert.match(stage.endTitle, /No path for sound/);
});

test("without a connection after 15 s the call ends", async (t) => {
  const stage = new Stage(t);
  await stage.call.start();
  stage.watch.handlers.onState({ status: "running", epoch: 1 });
  await settle();
  await stage.tick(14_999);
  assert.equal(stage.end, null);
  await stage.tick(1);
  assert.match(stage.endTitle, /No path for sound/);
});

test("a bot that says nothing for 8 s is noted, and the note goes when it speaks", async (t) => {
  const stage = new Stage(t);
  await stage.call.start();
  stage.watch.handlers.onState({ status: "running", epoch: 1 });
  await settle();
  stage.peers[0].handlers.onState("connected");
  stage.peers[0].handlers.onStream("the bot's stream");
  await stage.tick(8000);
  assert.match(stage.notes.at(-1) ?? "", /no sound has come from it yet/);
  stage.level = 0.5;
  await stage.tick(20);
  assert.equal(stage.notes.at(-1), "");
});

test("an error of the bot is noted, and silence after it is not", async (t) => {
  const stage = new Stage(t);
  await stage.call.start();
  stage.watch.handlers.onState({ status: "running", epoch: 1 });
  await settle();
  stage.peers[0].handlers.onState("connected");
  stage.peers[0].handlers.onBotError({ type: "error", text: "no key", isFatal: false });
  await stage.tick(8000);
  assert.equal(stage.notes.at(-1), "The bot reports an error.");
});

test("nothing is shown once the call is ending", async (t) => {
  const stage = new Stage(t);
  await stage.connect();
  const left = stage.call.leave();
  const [states, notes] = [stage.states.length, stage.notes.length];
  stage.peers[0].handlers.onState("failed");
  stage.peers[0].handlers.onBotError({ type: "error", text: "late", isFatal: false });
  stage.watch.handlers.onConnection(false);
  stage.watch.handlers.onState({ status: "running", epoch: 2 });
  await left;
  assert.deepEqual([stage.states.length, stage.notes.length, stage.peers.length], [states, notes, 1]);
});

test("a session that the server no longer shows ends the call", async (t) => {
  const stage = new Stage(t);
  await stage.connect();
  stage.watch.handlers.onRefused(new Problem("unauthorized", "401"));
  await settle();
  assert.equal(stage.end.code, "unauthorized");
});

test("closing the page sends the leave as a beacon and ends nothing twice", async (t) => {
  const stage = new Stage(t);
  await stage.connect();
  /** @type {string[]} */
  const beacons = [];
  define(navigator, "sendBeacon", (/** @type {string} */ url) => beacons.push(url) > 0);
  stage.call.abandon();
  stage.call.abandon();
  await stage.call.leave();
  assert.deepEqual(beacons, ["/api/sessions/s1/leave"]);
  assert.equal(stage.end, null);
  assert.equal(stage.watch.closed, true);
});

test("muting disables the microphone's track", async (t) => {
  const stage = new Stage(t);
  await stage.connect();
  stage.call.muted = true;
  assert.equal(stage.track.enabled, false);
  stage.call.muted = false;
  assert.equal(stage.track.enabled, true);
});

const ICE = { iceServers: [{ urls: ["turn:a"], username: "1:s1", credential: "first" }], iceTransportPolicy: "relay" };
const NEW_ICE = { iceServers: [{ urls: ["turn:a"], username: "2:s1", credential: "second" }] };

test("the connection gets the servers of the join's answer, whichever of join and microphone is first", async (t) => {
  for (const isAllowed of [true, false]) {
    t.mock.timers.reset();
    const stage = new Stage(t);
    stage.isAllowed = isAllowed;
    stage.answers["POST /api/sessions"] = () => ({ ...ACCEPTED, iceConfig: ICE });
    await stage.connect();
    assert.deepEqual(stage.peers.map((peer) => peer.iceConfig), [ICE]);
  }
});

test("no connection is made before the servers are known", async (t) => {
  const stage = new Stage(t);
  /** @type {any} */
  let accept = null;
  stage.answers["POST /api/sessions"] = () => new Promise((resolve) => (accept = resolve));
  const started = stage.call.start();
  await settle();
  assert.equal(stage.peers.length, 0);
  accept({ ...ACCEPTED, iceConfig: ICE });
  await started;
  assert.equal(stage.peers.length, 1);
});

test("a bot that is replaced is called with new credentials, or else with the old ones", async (t) => {
  const stage = new Stage(t);
  stage.answers["POST /api/sessions"] = () => ({ ...ACCEPTED, iceConfig: ICE });
  stage.answers["GET /api/sessions/s1/ice"] = () => NEW_ICE;
  await stage.connect();
  const replace = async (/** @type {number} */ epoch) => {
    stage.watch.handlers.onState({ status: "queued", epoch });
    stage.watch.handlers.onState({ status: "running", epoch });
    await settle();
    stage.peers.at(-1).handlers.onState("connected");
  };
  await replace(2);
  stage.answers["GET /api/sessions/s1/ice"] = () => Promise.reject(new Problem("http", "no"));
  await replace(3);
  assert.deepEqual(stage.peers.map((peer) => peer.iceConfig), [ICE, NEW_ICE, NEW_ICE]);
  assert.deepEqual(stage.peers.map((peer) => peer.closed), [true, true, false]);
});

test("without servers, a bot that is replaced is called without a further request", async (t) => {
  const stage = new Stage(t);
  await stage.connect();
  stage.watch.handlers.onState({ status: "queued", epoch: 2 });
  stage.watch.handlers.onState({ status: "running", epoch: 2 });
  await settle();
  assert.equal(stage.peers.length, 2);
  assert.equal(stage.requests.some((name) => name.endsWith("/ice")), false);
});

test("a call without a path names the server that could not be used", async (t) => {
  const stage = new Stage(t);
  stage.answers["POST /api/sessions"] = () => ({ ...ACCEPTED, iceConfig: ICE });
  await stage.call.start();
  stage.watch.handlers.onState({ status: "running", epoch: 1 });
  await settle();
  stage.peers[0].serverError = { code: 401, url: "turn:a" };
  stage.peers[0].handlers.onState("failed");
  await settle();
  assert.match(stage.end.advice, /turn:a cannot be used \(error 401\)/);
});
