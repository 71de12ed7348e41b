// One call, from the click on Join to its end. The page gets all it shows through a CallView.
//
// If the microphone is refused, no bot may be left waiting in the room. So when the browser has to ask
// the user, the join is sent after the microphone is open. When the microphone is already allowed, both
// start at the same time, and if opening it fails nevertheless (none plugged in, or busy), the join is
// withdrawn.

import { Problem, apiUrl, request, sessionUrl } from "./api.js";
import { playGapTone } from "./gap_tone.js";
import { getClientLogger } from "./log.js";
import { Media } from "./media.js";
import { BROWSER_MEDIA } from "./media_parts.js";
import { endMessage, isExpectedEnd, lostBotEnd, microphoneMessage, problemMessage } from "./messages.js";
import { closeMicrophone, isMicrophoneAllowed, openMicrophone } from "./microphone.js";
import { Recovery } from "./recovery.js";
import { SessionState } from "./session_state.js";
import { Watch } from "./watch.js";

const LEAVE_HEAD_START_MS = 100; // three times what a request takes on loopback

/**
 * @import { CallEnd, CallView, NoteOptions, Stage } from "./call_types.js"
 * @import { MediaParts } from "./media_parts.js"
 * @import { IceConfig } from "./peer.js"
 * @import { SessionUpdate, WatchHandlers } from "./watch.js"
 *
 * @typedef {object} CallOptions
 * @property {string} sessionId
 * @property {string} room room URL
 * @property {HTMLAudioElement} audio plays the bot
 *
 * @typedef {object} CallParts what a call is made of, besides its media; tests pass other parts
 * @property {typeof isMicrophoneAllowed} isMicrophoneAllowed
 * @property {typeof openMicrophone} openMicrophone
 * @property {(sessionId: string, handlers: WatchHandlers) => Watch} newWatch
 * @property {() => void} playGapTone
 */

// `cordboard logs` reads the message of first_audio, and the two messages with which a call closes, to find
// out what the user heard: logs/page.py repeats their texts.
/** @type {Record<Stage, string>} */
const STAGE_MESSAGES = {
  clicked: "Join pressed",
  microphone: "Microphone opened",
  joined: "Join accepted",
  running: "Bot running",
  answered: "Bot answered the offer",
  connected: "Connected",
  first_audio: "First audio of the bot heard",
};

/** @type {CallParts & MediaParts} */
const BROWSER_PARTS = {
  ...BROWSER_MEDIA,
  request,
  isMicrophoneAllowed,
  openMicrophone,
  playGapTone,
  newWatch: (sessionId, handlers) => new Watch(sessionId, handlers),
};

const log = getClientLogger("call");

/** One call. It is made once, by start(). */
export class Call {
  #options;
  #view;
  #parts;
  #media;
  #startedAt = performance.now();
  /** @type {Set<Stage>} */
  #stages = new Set();
  /** @type {Promise<boolean> | null} */
  #microphoneOpened = null; // whether it could be opened
  /** @type {Promise<void> | null} */
  #joining = null;
  #joined = false;
  #leaving = false; // the call is on its way to its end, for whatever reason
  #over = false;
  #session = new SessionState();
  #recovery;
  /** @type {Watch | null} */
  #watch = null;

  /**
   * @param {CallOptions} options
   * @param {CallView} view
   * @param {CallParts & MediaParts} parts
   */
  constructor(options, view, parts = BROWSER_PARTS) {
    this.#options = options;
    this.#view = view;
    this.#parts = parts;
    this.#media = new Media(
      options.sessionId,
      options.audio,
      {
        onStage: (stage) => this.#reach(stage),
        onConnection: (state) => this.#mediaConnection(state),
        onFlow: (silenceMs) => this.#recovered(silenceMs),
        onNote: (text, noteOptions) => this.#note(text, noteOptions),
        onEnd: (end) => this.#end(end),
      },
      parts,
    );
    this.#recovery = new Recovery({
      onBegin: () => this.#interrupted(),
      onSuspect: () => this.#suspect(),
      onRepair: () => this.#media.repair(),
      onGiveUp: (isConfirmed) => this.#giveUp(isConfirmed),
    });
  }

  get sessionId() {
    return this.#options.sessionId;
  }

  /** The loudness of the user and of the bot, from 0 to 1. */
  get levels() {
    return this.#media.levels;
  }

  /** @param {boolean} value */
  set muted(value) {
    this.#media.muted = value;
    log.info(value ? "Muted" : "Unmuted");
  }

  /** Make the call. It never throws: view.ended() receives how the call ended. */
  async start() {
    log.info("Join clicked", { event: "join.clicked" });
    this.#reach("clicked");
    this.#view.state("microphone");
    try {
      if (await this.#parts.isMicrophoneAllowed()) this.#join();
      this.#microphoneOpened = this.#openMicrophone();
      if (!(await this.#microphoneOpened)) return;
      await (this.#joining ?? this.#join());
      if (!this.#isEnding() && !this.#session.hasRun) this.#view.state("waiting");
    } catch (error) {
      this.#fail(error);
    }
  }

  /** End the call at the user's wish. */
  async leave() {
    if (this.#isEnding()) return;
    log.info("Leave clicked");
    this.#view.state("leaving");
    await this.#end({ title: "", advice: "" });
  }

  /** End the call at once, without waiting for anything: the page is being closed. */
  abandon() {
    if (this.#over) return;
    this.#over = true;
    log.info("Page closed in the call");
    this.#recovery.close();
    this.#media.stopSound();
    this.#watch?.close();
    if (!this.#joining) return;
    navigator.sendBeacon(sessionUrl(this.sessionId, "/leave"));
    // When this function returns, the browser closes the media connection. If the bot notices before the
    // server has received the beacon, the session ends for the wrong reason. A page that is being closed
    // cannot wait asynchronously, so it blocks.
    const until = performance.now() + LEAVE_HEAD_START_MS;
    while (performance.now() < until);
  }

  // --- joining

  /** Return whether the microphone is open. If it cannot be opened, end the call. */
  async #openMicrophone() {
    let microphone;
    try {
      microphone = await this.#parts.openMicrophone();
    } catch (error) {
      log.warn("Microphone refused", { error, joined: this.#joining !== null });
      const [title, advice] = microphoneMessage(error);
      await this.#end({ title, advice });
      return false;
    }
    if (this.#isEnding()) {
      closeMicrophone(microphone);
      return false;
    }
    this.#reach("microphone"); // its label, as a hash, is in device.changed
    this.#media.open(microphone);
    return true;
  }

  #join() {
    this.#view.state("joining");
    const { sessionId, room } = this.#options;
    this.#joining = this.#parts
      .request("POST", apiUrl("/sessions"), sessionId, { sessionId, room })
      .then((answer) => this.#accepted(answer));
    this.#joining.catch(() => {}); // start() and #withdraw() await it and handle its error
    return this.#joining;
  }

  /** @param {{ sessionId: string, reused: boolean, yours: boolean, iceConfig?: IceConfig }} answer */
  #accepted({ sessionId: holder, reused, yours, iceConfig }) {
    if (reused && !(yours && holder === this.sessionId)) {
      throw new Problem("room_busy", "The room is in use.", "", { holder, yours });
    }
    this.#joined = true;
    this.#reach("joined");
    if (this.#isEnding()) return;
    this.#media.setIceConfig(iceConfig ?? {});
    this.#watch = this.#parts.newWatch(this.sessionId, {
      onState: (update) => this.#stateChanged(update),
      onConnection: (isConnected) => this.#serverConnection(isConnected),
      onRefused: (error) => this.#fail(error),
    });
  }

  // --- the session

  /** @param {SessionUpdate} update */
  #stateChanged(update) {
    if (this.#over) return;
    const lost = this.#session.epoch;
    const action = this.#session.next(update, this.#leaving);
    if (action === "end") {
      this.#sessionEnded(update);
      return;
    }
    if (action === "replaced" || action === "reconnect") this.#recovery.begin("event", lost);
    this.#recovery.observe(update);
    if (this.#recovery.isConfirmed) this.#view.state("lost");
    if (action === "connect" || action === "reconnect") {
      this.#connect(action === "reconnect").catch((error) => this.#fail(error));
    } else if (action === "wait" && !this.#recovery.isOpen) {
      this.#view.state("waiting");
    }
  }

  /** @param {boolean} isReplacement whether the bot is another one than before */
  async #connect(isReplacement) {
    this.#reach("running");
    if (isReplacement) log.info("Bot running again", { epoch: this.#session.epoch });
    else this.#view.state("connecting");
    if (!(await this.#microphoneOpened)) return;
    const { epoch } = this.#session;
    const isOutdated = () => this.#isEnding() || epoch !== this.#session.epoch;
    const connect = () => (isReplacement ? this.#media.connectToSuccessor() : this.#media.connect());
    await this.#recovery.persist(connect, epoch, isOutdated);
  }

  // --- a bot that is lost

  /** @param {"connected" | "interrupted" | "failed" | "silent" | "closed"} state */
  #mediaConnection(state) {
    if (state === "connected") {
      this.#reach("connected");
      this.#view.state("connected");
      this.#note("");
      if (this.#recovery.isOpen && this.#media.hasFlow) this.#recovered();
      if (!this.#recovery.isOpen) this.#watch?.slowDown();
    } else if (state === "closed") {
      this.#watch?.poll();
    } else {
      this.#recovery.begin(state === "silent" ? "silence" : "ice", this.#session.epoch);
    }
  }

  #interrupted() {
    this.#view.state("interrupted");
    this.#parts.playGapTone();
    this.#media.prepareSuccessor();
  }

  /** Report that the bot may be dead, and ask for the state of the session. */
  #suspect() {
    this.#watch?.hurry();
    this.#parts.request("POST", sessionUrl(this.sessionId, "/suspect"), this.sessionId).catch((error) => {
      log.warn("The loss of the bot could not be reported", { error });
    });
  }

  /** @param {number} [silenceMs] from the last packet of the bot before to the first one of this bot */
  #recovered(silenceMs) {
    if (!this.#recovery.isOpen) return;
    this.#recovery.end(this.#session.epoch, silenceMs);
    this.#media.dropSuccessor();
    this.#watch?.slowDown();
    this.#view.state("connected");
  }

  /** @param {boolean} isConfirmed whether the bot is known to be dead */
  #giveUp(isConfirmed) {
    if (this.#media.isConnected) {
      this.#recovered(); // the bot is there, and sends nothing
      return;
    }
    log.warn("Connection lost", { confirmed: isConfirmed });
    this.#end(lostBotEnd(isConfirmed));
  }

  /** @param {boolean} isConnected whether the server answers */
  #serverConnection(isConnected) {
    const text = isConnected ? "" : "No connection to the server; the call itself continues. Trying again …";
    this.#note(text, { topic: "connection" });
  }

  /** @param {SessionUpdate} update */
  async #sessionEnded({ status, reason: reported }) {
    this.#watch?.close();
    if (this.#leaving) return; // the end that this page asked for
    this.#leaving = true;
    this.#recovery.close();
    this.#media.close();
    // An event of the stream may lack the reason; the session's record has it.
    const record = await this.#parts.request("GET", sessionUrl(this.sessionId), this.sessionId).catch(() => ({}));
    const reason = reported ?? record.reason;
    const [title, advice] = endMessage(status, reason);
    this.#finish({ title, advice, reason, tone: isExpectedEnd(status, reason) ? "info" : "bad" });
  }

  // --- ending

  /** @param {any} error */
  #fail(error) {
    if (this.#isEnding()) return;
    if (error instanceof Problem) log.warn("Call failed", { code: error.code, why: error.message });
    else log.error("Call failed", { error });
    const [title, advice] = problemMessage(error);
    const { code, retryAfterS, holder, yours } = error;
    this.#end({ title, advice, code, retryAfterS, holder, yours });
  }

  /**
   * End the call: no sound at once, then leave the session, then close the connection.
   *
   * In this order the server knows the reason before the bot notices that the user is gone.
   * @param {CallEnd} end
   */
  async #end(end) {
    if (this.#isEnding()) return;
    this.#leaving = true;
    this.#recovery.close();
    this.#media.stopSound();
    await this.#withdraw();
    this.#finish(end);
  }

  /** Leave the session on the server, if the join was accepted or still may be. */
  async #withdraw() {
    this.#media.logQuality();
    await this.#joining?.catch(() => {});
    if (!this.#joined) return;
    await this.#parts.request("POST", sessionUrl(this.sessionId, "/leave"), this.sessionId).catch((error) => {
      log.warn("Leave failed; the bot will notice by itself", { error });
    });
  }

  /** @param {CallEnd} end */
  #finish(end) {
    if (this.#over) return;
    this.#over = true;
    this.#media.close();
    this.#watch?.close();
    const seconds = Math.round((performance.now() - this.#startedAt) / 100) / 10;
    log.info("Call ended", { seconds, reason: end.reason });
    this.#view.ended({ tone: "bad", ...end, joined: this.#joined, ran: this.#session.hasRun });
  }

  #isEnding() {
    return this.#over || this.#leaving;
  }

  /**
   * Show a note, or remove one. Nothing is shown once the call is ending.
   * @param {string} text
   * @param {NoteOptions} options
   */
  #note(text, options = {}) {
    if (!this.#isEnding()) this.#view.note(text, options);
  }

  /**
   * Record a stage the first time the call reaches it.
   * @param {Stage} stage
   */
  #reach(stage) {
    if (this.#stages.has(stage) || this.#over) return;
    this.#stages.add(stage);
    const ms = Math.round(performance.now() - this.#startedAt);
    if (stage !== "clicked") log.info(STAGE_MESSAGES[stage], { ms });
    this.#view.stage(stage, ms);
  }
}
