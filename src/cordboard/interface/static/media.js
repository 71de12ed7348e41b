// The media of one call: microphone, connection to the bot, and the bot's voice.

import { BotAudio } from "./bot_audio.js";
import { getClientLogger } from "./log.js";
import { BROWSER_MEDIA } from "./media_parts.js";
import { closeMicrophone } from "./microphone.js";
import { Reception } from "./reception.js";
import { Signalling } from "./signalling.js";

const CONNECT_MS = 15_000;
const ICE_MS = 4000; // it takes one or two seconds, through a TURN server as well
const SILENT_MS = 8000; // a model that answers by voice needs 1 to 3 s, the first time twice that
const BOT_ERRORS_LOGGED = 20; // per call; a bot may report hundreds

/**
 * @import { EndDetails, NoteOptions, Stage } from "./call_types.js"
 * @import { Meter } from "./bot_audio.js"
 * @import { HeardWatch, MediaParts } from "./media_parts.js"
 * @import { BotError, IceConfig, Peer, SessionDescription } from "./peer.js"
 *
 * @typedef {object} MediaHandlers none is called once the sound has stopped
 * @property {(stage: Stage) => void} onStage
 * @property {(state: "connected" | "interrupted" | "failed" | "silent" | "closed") => void} onConnection
 * @property {(silenceMs?: number) => void} onFlow
 *   called when packets of the bot come, at first or again, with the length of the silence before them
 * @property {(text: string, options?: NoteOptions) => void} onNote shows a note, or removes it if text is ""
 * @property {(end: EndDetails) => void} onEnd called when the call cannot go on
 */

const log = getClientLogger("call");

/** Sends the microphone to the bot and plays what the bot says. */
export class Media {
  #signalling;
  #handlers;
  #parts;
  /** @type {MediaStream | null} */
  #microphone = null;
  /** @type {IceConfig | null} */
  #iceConfig = null; // contains a password, so it is never logged
  /** @type {Meter | null} */
  #meter = null;
  /** @type {{ close(): void } | null} */
  #devices = null;
  /** @type {HeardWatch | null} */
  #heard = null;
  /** @type {Peer | null} */
  #peer = null;
  /** @type {Promise<Peer | null> | null} */
  #successor = null; // the connection for the next bot
  /** @type {string | undefined} */
  #pcId; // the present bot's name for the connection
  #isClosedByBot = false;
  #isOffering = false; // an offer waits for its answer, or ICE for a path
  #canRestart = false; // whether the connection has been open since its last ICE restart
  /** @type {Reception | null} */
  #reception = null;
  /** @type {number | null} */
  #lastPacketAt = null; // of the bot, before the present silence
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
    this.#signalling = new Signalling(sessionId, parts.request);
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
    this.#devices = this.#parts.watchDevices(microphone);
    this.#heard = this.#parts.watchHeard(microphone);
    this.#prepare();
  }

  /** Make the offer while the bot starts, once there are a microphone and the servers. */
  #prepare() {
    if (this.#microphone && this.#iceConfig && !this.#stopped && !this.#peer) this.#use(this.#newPeer());
  }

  /** Connect to the first bot of the session. The microphone must be open. */
  async connect() {
    if (this.#peer) await this.#offer(this.#peer);
  }

  /** Make the offer for the next bot before that runs. */
  prepareSuccessor() {
    this.#successor ??= this.#makeSuccessor();
    this.#successor.catch(() => {}); // the code that awaits it handles its error
  }

  /** Connect to another bot than before. */
  async connectToSuccessor() {
    this.#pcId = undefined; // the next bot does not know it
    this.#canRestart = false;
    await this.#replacePeer();
  }

  /**
   * Look for another path to the same bot: first by an ICE restart, which the bot does not notice, then by
   * another connection.
   */
  async repair() {
    if (this.#isOffering) return;
    const peer = this.#peer;
    if (peer && this.#canRestart) {
      this.#canRestart = false;
      log.info("ICE restart");
      await this.#offer(peer, () => peer.restartIce());
    } else if (!this.isConnected) { // else the path is open, and the bot sends nothing
      await this.#replacePeer();
    }
  }

  /** Forget the offer for the next bot: the present one is there again. */
  dropSuccessor() {
    this.#successor?.then((peer) => peer?.close(), () => {});
    this.#successor = null;
  }

  async #replacePeer() {
    const made = this.#successor ?? this.#makeSuccessor();
    this.#successor = null;
    const peer = await made;
    if (!peer) return;
    this.#use(peer);
    await this.#offer(peer);
  }

  /**
   * Return a connection with new credentials for its servers, or null if the call has ended.
   * @returns {Promise<Peer | null>}
   */
  async #makeSuccessor() {
    const iceConfig = await this.#signalling.newIceConfig(this.#iceConfig);
    if (this.#stopped || !this.#microphone) return null;
    this.#iceConfig = iceConfig;
    return this.#newPeer();
  }

  /**
   * Send an offer of a connection to the bot, and take the answer. ICE then gets some seconds.
   * @param {Peer} peer
   * @param {() => Promise<SessionDescription>} [restart] makes the offer anew
   */
  async #offer(peer, restart) {
    clearTimeout(this.#timers.get("offer"));
    this.#isOffering = true;
    try {
      await this.#exchange(peer, restart);
    } finally {
      if (peer === this.#peer) this.#setTimer("offer", ICE_MS, () => (this.#isOffering = false));
    }
  }

  /**
   * @param {Peer} peer
   * @param {() => Promise<SessionDescription>} [restart]
   */
  async #exchange(peer, restart) {
    // While this function waits, the call may end, or the connection may be replaced.
    const isOutdated = () => this.#stopped || peer !== this.#peer;
    const description = await (restart ? restart() : peer.offer);
    if (isOutdated()) return;
    const further = this.#pcId === undefined ? {} : { pc_id: this.#pcId, restart_pc: !restart };
    const answer = await this.#signalling.offer(description, further);
    if (isOutdated()) return;
    this.#pcId = answer.pc_id;
    this.#handlers.onStage("answered");
    if (!this.#wasConnected) this.#setTimer("connect", CONNECT_MS, () => this.#noPath());
    await peer.accept(answer, this.#signalling.candidateSender(answer.pc_id));
  }

  /** Whether the connection to the bot is open. */
  get isConnected() {
    return this.#peer?.isConnected ?? false;
  }

  /** Whether packets come from the bot, or no bot of this call has ever sent one. */
  get hasFlow() {
    const isSilentBot = this.#lastPacketAt === null && !this.#reception?.lastAt;
    return isSilentBot || this.#reception?.isFlowing === true;
  }

  /** Log how many packets were sent, received and lost. */
  logQuality() {
    this.#peer?.quality().then((quality) => log.info("Media quality", quality), () => {});
  }

  /** Close the microphone and stop playing. The connection stays open. */
  stopSound() {
    this.#stopped = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#keepLastPacket();
    this.#reception?.close();
    this.#devices?.close();
    this.#heard?.close();
    closeMicrophone(this.#microphone);
    this.#meter?.close();
    this.#meter = null;
    this.#botAudio.stop();
  }

  /** Stop the sound and close the connection. */
  close() {
    this.stopSound();
    this.dropSuccessor();
    this.#closePeer();
  }

  #newPeer() {
    const microphone = /** @type {MediaStream} */ (this.#microphone);
    // Only the connection in use is heard.
    const isUsed = () => peer === this.#peer && !this.#stopped;
    const handlers = {
      onState: (/** @type {RTCPeerConnectionState} */ state) => {
        if (isUsed()) this.#stateChanged(state);
      },
      onStream: (/** @type {MediaStream} */ stream) => {
        if (!isUsed()) return;
        this.#botAudio.play(stream);
        this.#heard?.hear(stream, peer);
      },
      onBotClosed: () => {
        if (isUsed()) this.#botClosed();
      },
      onBotError: (/** @type {BotError} */ error) => {
        if (isUsed()) this.#botReportedError(error);
      },
    };
    const peer = this.#parts.newPeer(microphone, handlers, this.#iceConfig ?? {});
    return peer;
  }

  /**
   * Use a connection instead of the one before.
   * @param {Peer} peer
   */
  #use(peer) {
    this.#closePeer();
    clearTimeout(this.#timers.get("connect"));
    this.#peer = peer;
    this.#canRestart = this.#isClosedByBot = false;
    this.#reception = new Reception(() => peer.received(), {
      onFlow: (at) => {
        this.#canRestart = true;
        const before = this.#lastPacketAt;
        this.#handlers.onFlow(before === null ? undefined : Math.max(0, Math.round(at - before)));
      },
      onSilence: () => {
        this.#keepLastPacket();
        if (!this.#isClosedByBot) this.#handlers.onConnection("silent");
      },
    });
  }

  #closePeer() {
    this.#keepLastPacket();
    this.#reception?.close();
    this.#peer?.close();
    this.#peer = null;
  }

  /** Remember when the last packet came, for the length of the silence after it. */
  #keepLastPacket() {
    this.#lastPacketAt = this.#reception?.lastAt ?? this.#lastPacketAt;
  }

  /** @param {RTCPeerConnectionState} state */
  #stateChanged(state) {
    if (state === "connected") {
      this.#wasConnected = this.#canRestart = true;
      this.#isOffering = false;
      clearTimeout(this.#timers.get("connect"));
      this.#handlers.onConnection("connected");
      this.#setTimer("silent", SILENT_MS, () => this.#botIsSilent());
      this.#peer?.path().then((path) => log.info("Media path", path), () => {});
    } else if (state === "disconnected") {
      this.#handlers.onConnection("interrupted"); // ICE may find a path again
    } else if (state === "failed") {
      if (this.#wasConnected) this.#handlers.onConnection("failed");
      else this.#noPath();
    }
  }

  #botClosed() {
    this.#isClosedByBot = true; // its silence means no loss: the call ends, or the session's state tells more
    this.#handlers.onConnection("closed");
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
  #botReportedError({ type, text, isFatal }) {
    if (this.#stopped) return;
    this.#botErrors += 1;
    if (this.#botErrors <= BOT_ERRORS_LOGGED) {
      const words = this.#parts.mayLogWords() ? { text } : {}; // the text of an error may repeat what was said
      log.warn("The bot reported an error", { type, fatal: isFatal, ...words });
    }
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
