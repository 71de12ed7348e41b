// Watches a WebRTC connection: `media.stats` every 5 s and at each change of its state, and `media.warning`.

import { watchDevices } from "./device_watch.js";
import { getClientLogger } from "./logger.js";
import { MediaJudge } from "./media_quality.js";
import { NOTHING, between, totalsOf } from "./media_sample.js";

/**
 * @import { Totals } from "./media_sample.js"
 *
 * @typedef {object} PeerWatchOptions
 * @property {boolean} [devices] whether the microphone and the page are watched as well; true by default
 * @property {AudioContext} [audioContext] what plays or measures the sound, if anything does
 *
 * @typedef {{ close(): void }} ClosableWatch
 */

const SAMPLE_MS = 1000;
const STATS_MS = 5000;
const GAP_MS = 5000; // a longer interval is that of a page that did not run: it says nothing of the network

const log = getClientLogger("media");

/**
 * Watch a connection until it is closed.
 * @param {RTCPeerConnection} connection
 * @param {PeerWatchOptions} options
 * @returns {ClosableWatch} `close()` writes the last figures; call it before `connection.close()`, which fires no event
 */
export function watchPeerConnection(connection, options = {}) {
  return new PeerWatch(connection, options);
}

class PeerWatch {
  #connection;
  #options;
  #judge = new MediaJudge();
  /** @type {ClosableWatch | null} */
  #devices = null;
  /** @type {MediaStreamTrack | null} */
  #track = null;
  /** @type {Totals} */
  #last = NOTHING;
  /** @type {Totals} */
  #logged; // those at the last media.stats
  /** @type {string} */
  #state;
  /** @type {Promise<void> | null} */
  #reading = null;
  #isClosed = false;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;

  /**
   * @param {RTCPeerConnection} connection
   * @param {PeerWatchOptions} options
   */
  constructor(connection, options) {
    this.#connection = connection;
    this.#options = options;
    this.#logged = { ...NOTHING, at: performance.now() };
    this.#state = connection.connectionState;
    connection.addEventListener("connectionstatechange", this.#stateChanged);
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS);
  }

  close() {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#timer);
    this.#connection.removeEventListener("connectionstatechange", this.#stateChanged);
    this.#devices?.close();
    if (this.#last !== NOTHING) this.#logStats("closed");
  }

  #stateChanged = async () => {
    const state = (this.#state = this.#connection.connectionState); // the next one may come while this one is read
    await this.#read();
    if (this.#isClosed) return;
    if (state === "closed") this.close();
    else this.#logStats(state);
  };

  async #sample() {
    if (this.#connection.connectionState === "closed") this.close(); // by close(), which fires no event
    if (this.#isClosed || this.#state === "new") return;
    this.#watchMicrophone();
    const before = this.#last;
    await this.#read();
    if (this.#isClosed || before === this.#last) return;
    // Before the connection is open nothing can be sent: only a connection that was open is judged.
    if (this.#state !== "connecting" && before !== NOTHING && this.#last.at - before.at < GAP_MS) {
      for (const warning of this.#judge.judge(between(before, this.#last, this.#isMuted))) {
        const write = warning.state === "raised" ? log.warn : log.info;
        write("Media warning", { event: "media.warning", ...warning, end: "page" });
      }
    }
    if (this.#last.at - this.#logged.at >= STATS_MS - SAMPLE_MS / 2) this.#logStats(this.#state);
  }

  /** Read the statistics; a second reader waits for the first one's. */
  #read() {
    this.#reading ??= this.#readOnce().finally(() => (this.#reading = null));
    return this.#reading;
  }

  async #readOnce() {
    try {
      const report = /** @type {Map<string, any>} */ (/** @type {unknown} */ (await this.#connection.getStats()));
      this.#last = totalsOf(report, performance.now());
    } catch {
      // A connection that is being closed has no statistics.
    }
  }

  /** @param {string} state */
  #logStats(state) {
    const sample = between(this.#logged, this.#last, this.#isMuted);
    const interval = Math.round(Math.max(0, this.#last.at - this.#logged.at));
    log.info("Media figures", { event: "media.stats", end: "page", state, interval_ms: interval, ...sample });
    this.#logged = this.#last;
  }

  get #isMuted() {
    return this.#sentTrack?.enabled === false;
  }

  get #sentTrack() {
    const senders = this.#connection.getSenders?.() ?? [];
    return senders.find(({ track }) => track?.kind === "audio")?.track ?? null;
  }

  /** Follow the track that the connection sends: a page may replace it. */
  #watchMicrophone() {
    if (this.#options.devices === false) return;
    const track = this.#sentTrack;
    if (track === this.#track) return;
    this.#track = track;
    this.#devices?.close();
    this.#devices = track && watchDevices(track, { audioContext: this.#options.audioContext });
  }
}

/**
 * Watch every connection that the page opens from now on: for a library that keeps its connection to itself, such as
 * Pipecat's client.
 * @param {PeerWatchOptions} options
 */
export function watchAllPeerConnections(options = {}) {
  if (typeof RTCPeerConnection === "undefined" || Object.hasOwn(RTCPeerConnection, WATCHED)) return;
  globalThis.RTCPeerConnection = class extends RTCPeerConnection {
    static [WATCHED] = true;

    /** @param {RTCConfiguration} [configuration] */
    constructor(configuration) {
      super(configuration);
      this.#watch = watchPeerConnection(this, options);
    }

    #watch;

    /** @override */
    close() {
      this.#watch.close();
      super.close();
    }
  };
}

const WATCHED = Symbol.for("cordboard.watched");
