// Measures the latency of each turn as the caller hears it, and logs it as `turn.heard`: from the last voiced sample of the
// microphone to the first voiced sample that leaves the loudspeaker.

import { getClientLogger } from "./logger.js";
import { rounded } from "./media_quality.js";

/**
 * @import { Turn } from "./heard_worklet.js"
 *
 * @typedef {object} HeardWatchOptions
 * @property {AudioContext} [audioContext] the page's, if it has one; else one is made
 * @property {string | URL} [worklet] where heard_worklet.js is, if the bundler does not copy it
 *
 * @typedef {{ getStats(): Promise<RTCStatsReport | Map<string, any>> }} StatisticsSource such as an RTCPeerConnection
 * @typedef {{ buffered: number, emitted: number, played: number, frames: number }} Delayed
 *   seconds that the jitter buffer and the way to the loudspeaker have delayed so far, each summed over so many samples
 * @typedef {Turn & { botBeganAt: number, isStalled: boolean }} ReportedTurn botBeganAt: in milliseconds since 1970
 */

/** @type {Delayed} */
const NOTHING = { buffered: 0, emitted: 0, played: 0, frames: 0 };
const STARTS_MS = 3000; // an audio context that may run does so within a few hundred

const log = getClientLogger("heard");

/**
 * Measure what the caller hears. Where the browser offers no AudioWorklet, or does not let sound run, one line says so.
 * @param {MediaStream} microphone
 * @param {HeardWatchOptions} options
 * @returns {HeardWatch}
 */
export function watchHeard(microphone, options = {}) {
  return new HeardWatch(microphone, options);
}

class HeardWatch {
  #microphone;
  /** @type {AudioContext | null} */
  #own = null;
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {AudioWorkletNode | null} */
  #node = null;
  /** @type {MediaStreamAudioSourceNode | null} */
  #user = null;
  /** @type {MediaStreamAudioSourceNode | null} */
  #bot = null;
  #ready;
  /** @type {StatisticsSource | undefined} */
  #connection;
  #delayed = NOTHING;
  #turns = 0;
  #isClosed = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {MediaStream} microphone
   * @param {HeardWatchOptions} options
   */
  constructor(microphone, options) {
    this.#microphone = microphone;
    this.#ready = this.#open(options).catch((error) => this.#unmeasured("The worklet could not be loaded", { error }));
  }

  /**
   * Listen to a bot, instead of to the one before.
   * @param {MediaStream} stream what the page plays
   * @param {StatisticsSource} [connection] of the stream; its delays are logged with each turn
   */
  async hear(stream, connection) {
    await this.#ready;
    const [context, node] = [this.#context, this.#node];
    if (this.#isClosed || !context || !node) return;
    this.#bot?.disconnect();
    this.#bot = connect(context, stream, node, 1);
    this.#connection = connection;
    this.#delayed = NOTHING;
    this.#delays(); // what was delayed until now
  }

  /** Stop measuring. */
  close() {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#user?.disconnect();
    this.#bot?.disconnect();
    this.#node?.port.postMessage("close");
    this.#own?.close().catch(() => {});
  }

  /** @param {HeardWatchOptions} options */
  async #open({ audioContext: given, worklet }) {
    if (typeof AudioWorkletNode === "undefined") {
      this.#unmeasured("The browser has no AudioWorklet");
      return;
    }
    const context = given ?? (this.#own = new AudioContext({ latencyHint: "playback" })); // it renders rarely
    await context.audioWorklet.addModule(worklet ?? new URL("./heard_worklet.js", import.meta.url));
    if (this.#isClosed) return;
    const node = new AudioWorkletNode(context, "cordboard-heard", {
      numberOfInputs: 2, numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit",
    });
    node.port.onmessage = ({ data }) => this.#heard(data);
    node.onprocessorerror = () => this.#unmeasured("The worklet failed");
    [this.#context, this.#node] = [context, node];
    this.#user = connect(context, this.#microphone, node, 0);
    this.#timer = setTimeout(() => {
      if (context.state !== "running") this.#unmeasured("The audio context does not run", { state: context.state });
    }, STARTS_MS);
  }

  /**
   * @param {string} why
   * @param {Record<string, unknown>} meta
   */
  #unmeasured(why, meta = {}) {
    if (!this.#isClosed) log.warn("The latency as heard is not measured", { why, ...meta });
  }

  /** @param {ReportedTurn} turn */
  async #heard({ userEnded, botBegan, botBeganAt, isStalled }) {
    if (this.#isClosed) return;
    this.#turns += 1;
    const turn = this.#turns;
    if (isStalled) {
      log.info("A turn was not measured, because the sound stood still", { turn });
      return;
    }
    const { output, ...delays } = await this.#delays();
    if (this.#isClosed) return; // the lines of the page may be another session's by now
    const device = this.#inputMs() + output;
    const heard = (botBegan - userEnded) * 1000 + device;
    log.info("Reply heard", {
      event: "turn.heard",
      turn,
      heard_ms: rounded(heard, 1),
      user_ended_at: new Date(botBeganAt + output - heard).toISOString(),
      bot_began_at: new Date(botBeganAt + output).toISOString(),
      ...delays,
      device_ms: rounded(device, 1),
    });
  }

  /** What the microphone adds to what the browser measures, as far as it tells. */
  #inputMs() {
    const [track] = this.#microphone.getAudioTracks();
    const settings = /** @type {{ latency?: number }} */ (track?.getSettings?.() ?? {});
    return (settings.latency || 0) * 1000;
  }

  /** The round trip to the bot; and since the turn before, the mean delays of the jitter buffer and of what is played. */
  async #delays() {
    const items = await statisticsOf(this.#connection);
    const before = this.#delayed;
    const pair = items.find(({ type, nominated, state }) => type === "candidate-pair" && nominated && state === "succeeded");
    const inbound = items.find(({ type, kind }) => type === "inbound-rtp" && kind === "audio");
    const playout = items.find(({ type }) => type === "media-playout");
    this.#delayed = {
      buffered: inbound?.jitterBufferDelay ?? 0,
      emitted: inbound?.jitterBufferEmittedCount ?? 0,
      played: playout?.totalPlayoutDelay ?? 0,
      frames: playout?.totalSamplesCount ?? 0,
    };
    const { buffered, emitted, played, frames } = this.#delayed;
    // Only some browsers measure the way to the loudspeaker; the others know that of the audio context.
    const output = meanMs(played - before.played, frames - before.frames) ?? (this.#context?.outputLatency || 0) * 1000;
    return {
      output,
      network_ms: pair?.currentRoundTripTime === undefined ? undefined : rounded(pair.currentRoundTripTime * 1000, 1),
      buffer_ms: meanMs(buffered - before.buffered, emitted - before.emitted),
    };
  }
}

/**
 * @param {StatisticsSource} [connection]
 * @returns {Promise<any[]>} none if it is not known, or just being closed
 */
async function statisticsOf(connection) {
  try {
    return [...((await connection?.getStats()) ?? new Map()).values()];
  } catch {
    return [];
  }
}

/**
 * @param {number} seconds summed over all samples
 * @param {number} samples
 */
function meanMs(seconds, samples) {
  return samples > 0 ? rounded((seconds * 1000) / samples, 1) : undefined;
}

/**
 * @param {AudioContext} context
 * @param {MediaStream} stream
 * @param {AudioWorkletNode} node
 * @param {number} input
 */
function connect(context, stream, node, input) {
  const source = context.createMediaStreamSource(stream);
  source.connect(node, 0, input);
  return source;
}
