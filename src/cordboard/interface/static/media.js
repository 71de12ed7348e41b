// The media of one call: microphone, connection to the bot, and the bot's voice.

import { request, sessionUrl } from "./api.js";
import { BotAudio } from "./bot_audio.js";
import { getClientLogger } from "./log.js";
import { Loudness, closeMicrophone } from "./microphone.js";
import { Peer } from "./peer.js";

const CONNECT_MS = 15_000;
const LOST_MS = 5000; // after ICE has failed: time in which another runner may take the session over
const SILENT_MS = 8000; // a model that answers by voice needs 1 to 3 s, the first time twice that
const BOT_ERRORS_LOGGED = 20; // per call; a bot may report hundreds

/**
 * @import { EndDetails, NoteOptions, Stage } from "./call_types.js"
 * @import { Meter } from "./bot_audio.js"
 * @import { BotError, IceConfig, PeerHandlers } from "./peer.js"
 *
 * @typedef {object} MediaHandlers none is called once the sound has stopped
 * @property {(stage: Stage) => void} onStage
 * @property {(state: "connected" | "interrupted" | "failed") => void} onConnection
 * @property {(text: string, options?: NoteOptions) => void} onNote shows a note, or removes it if text is ""
 * @property {(end: EndDetails) => void} onEnd called when the call cannot go on
 *
 * @typedef {object} MediaParts what the media are made of; tests pass other parts
 * @property {typeof request} request
 * @property {(microphone: MediaStream, handlers: PeerHandlers, iceConfig: IceConfig) => Peer} newPeer
 * @property {(stream: MediaStream) => Meter} newMeter
 */

/** @type {MediaParts} */
export const BROWSER_MEDIA = {
  request,
  newPeer: (microphone, handlers, iceConfig) => new Peer(microphone, handlers, iceConfig),
  newMeter: (stream) => new Loudness(stream),
};

const log = getClientLogger("call");

/** Sends the microphone to the bot and plays what the bot says. */
export class Media {
  #sessionId;
  #handlers;
  #parts;
  /** @type {MediaStream | null} */
  #microphone = null;
  /** @type {IceConfig | null} */
  #iceConfig = null; // contains a password, so it is never logged
  /** @type {Meter | null} */
  #meter = null;
  /** @type {Peer | null} */
  #peer = null;
  #botAudio;
  #botErrors = 0;
  #wasConnected = false;
  #wasHeard = false;
  #stopped = false;
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #timers = new Map();

  /**
   * @param {string} sessionId
   * @param {HTMLAudioElement} audio plays the bot
   * @param {MediaHandlers} handlers
   * @param {MediaParts} parts
   */
  constructor(sessionId, audio, handlers, parts = BROWSER_MEDIA) {
    this.#sessionId = sessionId;
    this.#handlers = handlers;
    this.#parts = parts;
    const audioHandlers = {
      onAudible: () => this.#botIsAudible(),
      onBlocked: (/** @type {unknown} */ error) => this.#playbackBlocked(error),
    };
    this.#botAudio = new BotAudio(audio, audioHandlers, parts.newMeter);
  }

  /** The loudness of the user and of the bot, from 0 to 1. */
  get levels() {
    return { you: this.#meter?.level() ?? 0, bot: this.#botAudio.level };
  }

  /** @param {boolean} value */
  set muted(value) {
    this.#microphone?.getAudioTracks().forEach((track) => (track.enabled = !value));
  }

  /**
   * Take the STUN and TURN servers of the join's answer.
   * @param {IceConfig} iceConfig
   */
  setIceConfig(iceConfig) {
    this.#iceConfig = iceConfig;
    this.#prepare();
  }

  /**
   * Take the microphone.
   * @param {MediaStream} microphone
   */
  open(microphone) {
    this.#microphone = microphone;
    const [track] = microphone.getAudioTracks();
    track.onended = () => {
      this.#handlers.onNote("The microphone was disconnected. Plug it in, leave, and join again.");
    };
    this.#meter = this.#parts.newMeter(microphone);
    this.#prepare();
  }

  /** Make the offer while the bot starts, once there are a microphone and the servers. */
  #prepare() {
    if (this.#microphone && this.#iceConfig && !this.#stopped) this.#peer ??= this.#newPeer(this.#microphone);
  }

  /**
   * Connect to the bot of the session. The microphone must be open.
   * @param {boolean} isReplacement whether it is another bot than the one before
   */
  async connect(isReplacement) {
    if (this.#stopped || !this.#microphone) return;
    if (isReplacement) {
      this.#peer?.close();
      this.#peer = null;
      const before = this.#iceConfig;
      const iceConfig = await this.#newIceConfig();
      // While this function waited, the call may have ended, or the bot may have been replaced once more.
      if (this.#stopped || this.#peer || this.#iceConfig !== before) return;
      this.setIceConfig(iceConfig);
    }
    const peer = this.#peer;
    if (!peer) return;
    // While this function waits, the call may end, or the bot may be replaced once more.
    const isOutdated = () => this.#stopped || peer !== this.#peer;
    const url = sessionUrl(this.#sessionId, "/offer");
    const offer = await peer.offer;
    if (isOutdated()) return;
    const answer = await this.#parts.request("POST", url, this.#sessionId, offer);
    if (isOutdated()) return;
    this.#handlers.onStage("answered");
    this.#setTimer("connect", CONNECT_MS, () => this.#noPath());
    await peer.accept(answer, (candidates) => {
      this.#parts.request("PATCH", url, this.#sessionId, { pc_id: answer.pc_id, candidates }).catch((error) => {
        log.warn("Late candidates could not be sent", { error });
      });
    });
  }

  /** Log how many packets were sent, received and lost. */
  logQuality() {
    this.#peer?.quality().then((quality) => log.info("Media quality", quality), () => {});
  }

  /** Close the microphone and stop playing. The connection stays open. */
  stopSound() {
    this.#stopped = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    closeMicrophone(this.#microphone);
    this.#meter?.close();
    this.#meter = null;
    this.#botAudio.stop();
  }

  /** Stop the sound and close the connection. */
  close() {
    this.stopSound();
    this.#peer?.close();
    this.#peer = null;
  }

  /** Return the servers with new credentials; the present ones if there is no answer. */
  async #newIceConfig() {
    if (!this.#iceConfig?.iceServers?.length) return {};
    const url = sessionUrl(this.#sessionId, "/ice");
    return await this.#parts.request("GET", url, this.#sessionId).catch((error) => {
      log.warn("New credentials for the servers of the media could not be fetched", { error });
      return { ...this.#iceConfig };
    });
  }

  /** @param {MediaStream} microphone */
  #newPeer(microphone) {
    const handlers = {
      onState: (/** @type {RTCPeerConnectionState} */ state) => this.#stateChanged(state),
      onStream: (/** @type {MediaStream} */ stream) => {
        if (!this.#stopped) this.#botAudio.play(stream);
      },
      onBotError: (/** @type {BotError} */ error) => this.#botReportedError(error),
    };
    return this.#parts.newPeer(microphone, handlers, this.#iceConfig ?? {});
  }

  /** @param {RTCPeerConnectionState} state */
  #stateChanged(state) {
    if (this.#stopped) return;
    if (state === "connected") {
      this.#wasConnected = true;
      clearTimeout(this.#timers.get("connect"));
      clearTimeout(this.#timers.get("lost"));
      this.#handlers.onConnection("connected");
      this.#setTimer("silent", SILENT_MS, () => this.#botIsSilent());
      this.#peer?.path().then((path) => log.info("Media path", path), () => {});
    } else if (state === "disconnected") {
      this.#handlers.onConnection("interrupted"); // ICE may find a path again
    } else if (state === "failed") {
      this.#handlers.onConnection("failed");
      if (this.#wasConnected) this.#setTimer("lost", LOST_MS, () => this.#connectionLost());
      else this.#noPath();
    }
  }

  #botIsAudible() {
    this.#wasHeard = true;
    clearTimeout(this.#timers.get("silent"));
    this.#handlers.onStage("first_audio");
    this.#handlers.onNote("", { topic: "silence" });
  }

  #botIsSilent() {
    if (this.#wasHeard) return;
    log.warn("Nothing was heard from the bot", { after_s: SILENT_MS / 1000, errors: this.#botErrors });
    if (this.#botErrors > 0) return; // the error on the page says more
    this.#handlers.onNote("The bot is connected, but no sound has come from it yet.", {
      advice: "It may be waiting for you to speak. If it stays silent, the command below shows what it is doing.",
      tone: "info",
      topic: "silence",
    });
  }

  /** @param {unknown} error */
  #playbackBlocked(error) {
    log.warn("The browser does not play", { error });
    this.#handlers.onNote("The browser blocks the sound: press any key, or click on the page.");
  }

  /** @param {BotError} error */
  #botReportedError({ text, isFatal }) {
    if (this.#stopped) return;
    this.#botErrors += 1;
    if (this.#botErrors <= BOT_ERRORS_LOGGED) log.warn("The bot reported an error", { text, fatal: isFatal });
    this.#handlers.onNote("The bot reports an error.", { advice: text });
  }

  #noPath() {
    const error = this.#peer?.serverError;
    log.warn("No path for media was found", { ...error });
    this.#handlers.onEnd({
      title: "No path for sound to the bot was found.",
      advice: error
        ? `The server ${error.url} cannot be used (error ${error.code}). If you operate this service, run cordboard doctor.`
        : "A firewall or VPN may block UDP between this machine and the bot: try another network.",
    });
  }

  #connectionLost() {
    log.warn("Connection lost");
    this.#handlers.onEnd({
      title: "The connection to the bot was lost.",
      advice: "Check your network, and press Join to call again.",
    });
  }

  /**
   * @param {string} name
   * @param {number} ms
   * @param {() => void} callback
   */
  #setTimer(name, ms, callback) {
    clearTimeout(this.#timers.get(name));
    this.#timers.set(name, setTimeout(callback, ms));
  }
}
