import assert from "node:assert/strict";
import test from "node:test";

import { Peer, parseBotError } from "../../src/cordboard/interface/static/peer.js";
import { define, settle, silenceConsole } from "./support.js";

silenceConsole();

/** A connection whose events the test fires. */
class FakeConnection extends EventTarget {
  /** @type {FakeConnection} */
  static last;

  channel = { readyState: "open", sent: /** @type {string[]} */ ([]), send: (/** @type {string} */ text) => this.channel.sent.push(text) };
  connectionState = "new";
  /** @type {{ sdp: string, type: string } | null} */
  localDescription = null;
  remoteDescription = null;
  closed = false;
  stats = new Map();
  /** @type {any} */
  onicecandidate = null;
  /** @type {any} */
  onconnectionstatechange = null;
  /** @type {any} */
  onicecandidateerror = null;

  /** @param {any} configuration */
  constructor(configuration) {
    super();
    this.configuration = configuration;
    FakeConnection.last = this;
  }
  restarts = 0;
  addTransceiver() {}
  restartIce() {
    this.restarts += 1;
  }
  createDataChannel() {
    return this.channel;
  }
  async createOffer() {
    return await { sdp: "offer", type: "offer" };
  }
  /** @param {any} description */
  async setLocalDescription(description) {
    this.localDescription = await description;
  }
  /** @param {any} description */
  async setRemoteDescription(description) {
    this.remoteDescription = await description;
  }
  async getStats() {
    return await this.stats;
  }
  close() {
    this.closed = true;
  }
  /** @param {string | null} name */
  gather(name, protocol = "udp") {
    const candidate = name === null ? null : { protocol, toJSON: () => ({ candidate: name }) };
    const event = Object.assign(new Event("icecandidate"), { candidate });
    this.onicecandidate?.(event);
    this.dispatchEvent(event);
  }
}
define(globalThis, "RTCPeerConnection", FakeConnection);
const MICROPHONE = /** @type {any} */ ({ getAudioTracks: () => [{}] });
const ANSWER = /** @type {const} */ ({ sdp: "answer", type: "answer" });

/**
 * @param {import("node:test").TestContext} t
 * @param {Partial<import("../../src/cordboard/interface/static/peer.js").PeerHandlers>} handlers
 */
async function open(t, handlers = {}) {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  const peer = new Peer(MICROPHONE, { onState() {}, onStream() {}, onBotClosed() {}, onBotError() {}, ...handlers });
  await settle();
  return { peer, connection: FakeConnection.last };
}

/** @param {Promise<unknown>} promise */
async function isSettled(promise) {
  let settled = false;
  promise.then(() => (settled = true), () => (settled = true));
  await settle();
  return settled;
}

test("the offer is sent when no candidate has arrived for 20 ms", async (t) => {
  const { peer, connection } = await open(t);
  connection.gather("one");
  t.mock.timers.tick(19);
  connection.gather("two");
  t.mock.timers.tick(19);
  assert.equal(await isSettled(peer.offer), false);
  t.mock.timers.tick(1);
  assert.deepEqual(await peer.offer, { sdp: "offer", type: "offer" });
});

test("the offer is sent after the last candidate without a pause", async (t) => {
  const { peer, connection } = await open(t);
  connection.gather(null);
  t.mock.timers.tick(0);
  assert.equal(await isSettled(peer.offer), true);
});

test("the offer is sent after 300 ms although no candidate has arrived", async (t) => {
  const { peer } = await open(t);
  t.mock.timers.tick(299);
  assert.equal(await isSettled(peer.offer), false);
  t.mock.timers.tick(1);
  assert.equal(await isSettled(peer.offer), true);
});

test("candidates that are not in the offer are sent after the answer, then one by one", async (t) => {
  const { peer, connection } = await open(t);
  connection.gather("in the offer");
  t.mock.timers.tick(20);
  await peer.offer;
  connection.gather("late");
  connection.gather("tcp", "tcp");
  /** @type {any[]} */
  const sent = [];
  await peer.accept(ANSWER, (candidates) => sent.push(candidates.map(({ candidate }) => candidate)));
  connection.gather("later");
  assert.deepEqual(sent, [["late"], ["later"]]);
});

test("an ICE restart makes another offer, and keeps its candidates until the answer", async (t) => {
  const { peer, connection } = await open(t);
  connection.gather("first");
  t.mock.timers.tick(20);
  await peer.offer;
  /** @type {any[]} */
  const sent = [];
  const send = (/** @type {any[]} */ candidates) => sent.push(candidates.map(({ candidate }) => candidate));
  await peer.accept(ANSWER, send);
  const restarted = peer.restartIce();
  await settle();
  connection.gather("in the offer");
  t.mock.timers.tick(20);
  assert.deepEqual(await restarted, { sdp: "offer", type: "offer" });
  connection.gather("late");
  assert.deepEqual([connection.restarts, sent], [1, []]);
  await peer.accept(ANSWER, send);
  assert.deepEqual(sent, [["late"]]);
});

test("received counts the packets of audio and dates the last one", async (t) => {
  const { peer, connection } = await open(t);
  assert.equal((await peer.received()).packets, 0);
  const audio = { type: "inbound-rtp", kind: "audio", packetsReceived: 7, lastPacketReceivedTimestamp: 1234 };
  connection.stats = new Map([["a", audio]]);
  const { packets, lastAt, now } = await peer.received();
  assert.deepEqual([packets, lastAt], [7, 1234]);
  assert.ok(now > lastAt);
});

test("client-ready is sent when the channel opens, then a ping each second until close", async (t) => {
  const { peer, connection } = await open(t);
  const channel = /** @type {any} */ (connection.channel);
  channel.onopen();
  t.mock.timers.tick(2000);
  assert.equal(JSON.parse(channel.sent[0]).type, "client-ready");
  assert.deepEqual(channel.sent.slice(1).map((/** @type {string} */ text) => text.slice(0, 6)), ["ping: ", "ping: "]);
  peer.close();
  t.mock.timers.tick(2000);
  assert.equal(channel.sent.length, 3);
  assert.equal(connection.closed, true);
});

test("no handler is called after close", async (t) => {
  /** @type {unknown[]} */
  const calls = [];
  const { peer, connection } = await open(t, { onState: (state) => calls.push(state), onBotError: (e) => calls.push(e) });
  const data = JSON.stringify({ label: "rtvi-ai", type: "error", data: { error: "no" } });
  const channel = /** @type {any} */ (connection.channel);
  channel.onmessage({ data });
  assert.equal(calls.length, 1);
  peer.close();
  connection.onconnectionstatechange?.();
  channel.onmessage({ data });
  assert.equal(calls.length, 1);
});

test("the connection is made with the given servers and policy, and without any by default", async (t) => {
  const { connection } = await open(t);
  assert.deepEqual(connection.configuration, { iceServers: [], bundlePolicy: "max-bundle" });
  const iceConfig = /** @type {const} */ ({ iceServers: [{ urls: ["turn:a"] }], iceTransportPolicy: "relay" });
  new Peer(MICROPHONE, { onState() {}, onStream() {}, onBotClosed() {}, onBotError() {} }, /** @type {any} */ (iceConfig));
  assert.deepEqual(FakeConnection.last.configuration, { ...iceConfig, bundlePolicy: "max-bundle" });
});

test("the refusal of a server is kept, also if another one cannot be reached", async (t) => {
  const { peer, connection } = await open(t);
  assert.equal(peer.serverError, null);
  for (const errorCode of [701, 401, 701]) connection.onicecandidateerror({ errorCode, errorText: "", url: `turn:${errorCode}` });
  assert.deepEqual(peer.serverError, { code: 401, url: "turn:401" });
});

test("path names the candidate pair that carries the media", async (t) => {
  const { peer, connection } = await open(t);
  assert.deepEqual(await peer.path(), {});
  connection.stats = new Map(
    Object.entries({
      l: { candidateType: "host", protocol: "udp" },
      r: { candidateType: "prflx" },
      a: { type: "candidate-pair", nominated: false, state: "succeeded" },
      b: {
        type: "candidate-pair", nominated: true, state: "succeeded",
        localCandidateId: "l", remoteCandidateId: "r", currentRoundTripTime: 0.0124,
      },
    }),
  );
  assert.deepEqual(await peer.path(), { local: "host", remote: "prflx", protocol: "udp", round_trip_ms: 12 });
});

test("quality counts the packets of audio", async (t) => {
  const { peer, connection } = await open(t);
  connection.stats = new Map(
    Object.entries({
      i: { type: "inbound-rtp", kind: "audio", packetsReceived: 50, packetsLost: 1, jitter: 0.004 },
      o: { type: "outbound-rtp", kind: "audio", packetsSent: 49 },
    }),
  );
  assert.deepEqual(await peer.quality(), { received: 50, lost: 1, jitter_ms: 4, sent: 49 });
});

test("parseBotError reads the errors of RTVI", () => {
  const message = (/** @type {object} */ values) => JSON.stringify({ label: "rtvi-ai", type: "error", ...values });
  assert.deepEqual(parseBotError(message({ data: { error: "no", fatal: true } })), { type: "error", text: "no", isFatal: true });
  assert.deepEqual(parseBotError(message({ type: "error-response", data: { message: "no" } })), { type: "error-response", text: "no", isFatal: false });
  assert.deepEqual(parseBotError(message({ data: { odd: 1 } })), { type: "error", text: '{"odd":1}', isFatal: false });
  assert.deepEqual(parseBotError(message({})), { type: "error", text: '""', isFatal: false });
  assert.equal(parseBotError(message({ data: { error: "x".repeat(1000) } }))?.text.length, 300);
});

test("parseBotError ignores all other messages", () => {
  const ready = JSON.stringify({ label: "rtvi-ai", type: "bot-ready" });
  const long = JSON.stringify({ label: "rtvi-ai", type: "error", data: { error: "x".repeat(70_000) } });
  for (const data of ["no object", "null", ready, long, JSON.stringify({ type: "error" }), new ArrayBuffer(8)]) {
    assert.equal(parseBotError(data), null);
  }
});
