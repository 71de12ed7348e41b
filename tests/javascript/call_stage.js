// A call whose every part is under the test's control.

import assert from "node:assert/strict";

import { Call } from "../../src/cordboard/interface/static/call.js";
import { define, settle, silenceConsole } from "./support.js";

silenceConsole();
define(globalThis, "addEventListener", () => {});

export const ACCEPTED = { sessionId: "s1", reused: false, yours: true };

/** Everything a call is made of, each part under the test's control. */
export class Stage {
  /** @type {string[]} */
  states = [];
  /** @type {string[]} */
  stages = [];
  /** @type {string[]} */
  notes = [];
  /** @type {any} */
  end = null;
  /** @type {string[]} */
  requests = [];
  /** @type {Record<string, () => any>} */
  answers = { "POST /api/sessions": () => ACCEPTED };
  /** @type {any[]} */
  offers = [];
  now = 1000; // the clock of the peers' statistics
  tones = 0;
  isAllowed = true;
  /** @type {() => any} */
  openMicrophone = () => this.microphone;
  level = 0;
  mayLogWords = false;
  /** @type {string[]} */
  heard = []; // the streams whose turns are measured
  track = { label: "Built-in", enabled: true, stopped: false, stop: () => (this.track.stopped = true) };
  microphone = /** @type {any} */ ({ getAudioTracks: () => [this.track], getTracks: () => [this.track] });
  /** @type {any} */
  watch = null;
  /** @type {any[]} */
  peers = [];
  audio = /** @type {any} */ ({ srcObject: null, play: async () => await undefined });

  /** @param {import("node:test").TestContext} t */
  constructor(t) {
    t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
    this.tick = async (/** @type {number} */ ms) => {
      t.mock.timers.tick(ms);
      await settle();
    };
    const view = {
      state: (/** @type {string} */ state) => this.states.push(state),
      stage: (/** @type {string} */ stage) => this.stages.push(stage),
      note: (/** @type {string} */ text) => this.notes.push(text),
      ended: (/** @type {any} */ end) => {
        assert.equal(this.end, null, "a call ends once");
        this.end = end;
      },
    };
    this.call = new Call({ sessionId: "s1", room: "webrtc:demo", audio: this.audio }, view, this.#parts());
  }

  #parts() {
    return /** @type {any} */ ({
      request: async (/** @type {string} */ method, /** @type {string} */ url, /** @type {string} */ _id, /** @type {any} */ body) => {
        const name = `${method} ${url}`;
        this.requests.push(name);
        if (url.endsWith("/offer")) this.offers.push(body);
        return await (this.answers[name] ?? (() => ({})))();
      },
      isMicrophoneAllowed: async () => await this.isAllowed,
      openMicrophone: async () => await this.openMicrophone(),
      playGapTone: () => (this.tones += 1),
      newMeter: () => ({ level: () => this.level, close() {} }),
      mayLogWords: () => this.mayLogWords,
      watchDevices: () => ({ close() {} }),
      watchHeard: () => ({ hear: (/** @type {any} */ stream) => this.heard.push(stream), close: () => this.heard.push("closed") }),
      newPeer: (/** @type {any} */ _microphone, /** @type {any} */ handlers, /** @type {any} */ iceConfig) => {
        const peer = {
          handlers, iceConfig, serverError: /** @type {any} */ (null), closed: false, accepted: false,
          isConnected: false, restarts: 0, packets: 0, lastAt: 0,
          restartIce: () => ((peer.restarts += 1), Promise.resolve({ sdp: "restart", type: "offer" })),
          received: async () => await { packets: peer.packets, lastAt: peer.lastAt, now: this.now },
          offer: Promise.resolve({ sdp: "offer", type: "offer" }),
          accept: async () => (peer.accepted = await true),
          path: async () => await {},
          quality: async () => await {},
          close: () => (peer.closed = true),
        };
        this.peers.push(peer);
        return peer;
      },
      newWatch: (/** @type {any} */ _id, /** @type {any} */ handlers) => {
        this.watch = { handlers, closed: false, polls: 0, poll: () => (this.watch.polls += 1), hurries: 0, hurry: () => (this.watch.hurries += 1), slowDown() {}, close: () => (this.watch.closed = true) };
        return this.watch;
      },
    });
  }

  get endTitle() {
    return String(this.end?.title);
  }

  /** Make a call whose bot is heard. */
  async connect() {
    await this.call.start();
    this.watch.handlers.onState({ status: "running", epoch: 1 });
    await settle();
    this.peers[0].handlers.onState("connected");
    this.peers[0].handlers.onStream("the bot's stream");
    this.level = 0.5;
    await this.tick(20);
  }
}
