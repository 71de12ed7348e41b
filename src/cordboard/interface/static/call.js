// One call, from the click to its end. Knows nothing of the page: it tells, and the page shows.
//
// A microphone that is refused must not leave a bot behind that waits for nobody. Where the browser
// will ask the person first, the join is sent only after the microphone is open; where it is
// allowed already, both go at the same time, and a microphone that fails nevertheless (none there,
// or busy) takes the join back.

import { Problem, ask, sessionUrl } from "/static/api.js";
import { getClientLogger } from "/static/log.js";
import { Loudness, closeMicrophone, isAllowedAlready, openMicrophone } from "/static/microphone.js";
import { Peer } from "/static/peer.js";
import { Watch } from "/static/watch.js";
import { isNormalEnd, microphoneWords, problemWords, reasonWords } from "/static/words.js";

const CONNECT_MS = 15_000;
const LOST_MS = 5000; // after ICE has given up: time for the session to be handed to another runner
const HEAD_START_MS = 100; // for the farewell of a page; three times what it takes on loopback
const LISTEN_MS = 20;
const SILENT_MS = 8000; // a model that answers by voice needs 1 to 3 s, its first time twice that
const BOT_ERRORS_LOGGED = 20; // of a call: a bot may say hundreds
const AUDIBLE = 0.2; // about -48 dB
const TERMINAL = new Set(["ended", "failed", "cancelled", "expired"]);
const STAGES = {
  clicked: "Join pressed",
  microphone: "Microphone opened",
  joined: "Join accepted",
  running: "Bot running",
  answered: "Bot answered the offer",
  connected: "Connected",
  first_audio: "First audio of the bot heard",
};

const log = getClientLogger("call");

export class Call {
  #options;
  #tell;
  #began = performance.now();
  #reached = new Set();
  #opened = null;
  #joining = null;
  #joined = false;
  #leaving = false;
  #over = false;
  #microphone = null;
  #peer = null;
  #epoch = null;
  #watch = null;
  #news = ""; // the last state that was told: who asks again hears it again
  #timers = new Map();
  #listening = null;
  #botErrors = 0;

  you = null;
  bot = null;

  /**
   * @param options { sessionId, room, audio }: audio is the element that plays the bot
   * @param tell { state(name), stage(name, ms), note(text, { todo, tone }), ended({ title, todo, ... }) }
   */
  constructor(options, tell) {
    this.#options = options;
    this.#tell = tell;
  }

  get sessionId() {
    return this.#options.sessionId;
  }

  /** Make the call. Never throws: how it ends is told. */
  async start() {
    log.info("Join clicked", { event: "join.clicked" });
    this.#reach("clicked");
    this.#tell.state("microphone");
    try {
      if (await isAllowedAlready()) this.#join();
      this.#opened = this.#openMicrophone();
      if (!(await this.#opened)) return;
      await (this.#joining ?? this.#join());
      if (this.#isEnding()) return;
      if (this.#epoch === null) this.#tell.state("waiting");
    } catch (error) {
      this.#fail(error);
    }
  }

  /** End the call, as the person wishes. */
  async leave() {
    if (this.#isEnding()) return;
    this.#leaving = true;
    log.info("Leave clicked");
    this.#tell.state("leaving");
    this.#hush();
    await this.#takeBack();
    this.#finish({ title: "", todo: "" });
  }

  /** End the call now, without waiting for anything: the page is going away. */
  abandon() {
    if (this.#over) return;
    this.#over = true;
    log.info("Page closed in the call");
    this.#hush();
    this.#stopListening();
    if (!this.#joining) return;
    navigator.sendBeacon(sessionUrl(this.sessionId, "/leave"));
    // When we return, the browser takes the connection down, and tells the bot. Were the bot to
    // hear of it before the server hears from us, the session would have ended for the wrong
    // reason. Nothing may be awaited here; so the page holds its breath.
    const until = performance.now() + HEAD_START_MS;
    while (performance.now() < until);
  }

  set muted(value) {
    this.#microphone?.getAudioTracks().forEach((track) => (track.enabled = !value));
    log.info(value ? "Muted" : "Unmuted");
  }

  // --- on the way in

  async #openMicrophone() {
    try {
      this.#microphone = await openMicrophone();
    } catch (error) {
      log.warn("Microphone refused", { error, joined: this.#joining !== null });
      const [title, todo] = microphoneWords(error);
      await this.#giveUp(title, todo); // the session's end, told meanwhile, is what we asked for
      return false;
    }
    if (this.#isEnding()) {
      closeMicrophone(this.#microphone);
      return false;
    }
    const [track] = this.#microphone.getAudioTracks();
    this.#reach("microphone", { label: track.label });
    track.onended = () => this.#note("The microphone was disconnected. Plug it in, leave, and join again.");
    this.#peer = this.#newPeer(); // its offer is made while the bot starts
    this.you = new Loudness(this.#microphone);
    return true;
  }

  #join() {
    this.#tell.state("joining");
    const { sessionId, room } = this.#options;
    this.#joining = ask("POST", "/api/sessions", sessionId, { sessionId, room }).then((told) => this.#accepted(told));
    this.#joining.catch(() => {}); // whoever awaits it, hears of it
    return this.#joining;
  }

  #accepted(told) {
    if (told.reused && !(told.yours && told.sessionId === this.sessionId)) {
      throw new Problem("room_busy", "The room is in use.", "", { holder: told.sessionId, yours: told.yours });
    }
    this.#joined = true;
    this.#reach("joined");
    if (!this.#isEnding()) this.#follow();
  }

  // --- the session's states

  #follow() {
    this.#watch = new Watch(this.sessionId, {
      state: (told) => this.#changed(told),
      touch: (isIn) => this.#touch(isIn),
      refused: (error) => this.#fail(error),
    });
  }

  #changed({ status, epoch, reason }) {
    const news = `${status} ${epoch}`;
    if (this.#over || news === this.#news) return;
    this.#news = news;
    if (status === "running" && epoch !== this.#epoch) {
      if (!this.#leaving) this.#connect(epoch).catch((error) => this.#fail(error));
    } else if (TERMINAL.has(status)) {
      this.#watch.close();
      this.#hasEnded(status, reason);
    } else if (status !== "running" && !this.#leaving) {
      this.#tell.state("waiting");
      if (this.#epoch !== null && status === "queued") {
        log.warn("The bot is replaced", { epoch });
        this.#note("The bot’s machine was lost; another one takes over.");
      }
    }
  }

  #touch(isIn) {
    if (isIn) this.#note("", { of: "touch" });
    else this.#note("No connection to the server; the call itself goes on. Trying again …", { of: "touch" });
  }

  async #hasEnded(status, reason) {
    if (this.#leaving) return; // that is what we asked for
    this.#leaving = true;
    this.#stopMedia();
    const record = await ask("GET", sessionUrl(this.sessionId), this.sessionId).catch(() => ({}));
    const why = reason ?? record.reason;
    const [title, todo] = reasonWords(status, why);
    this.#finish({ title, todo, reason: why, tone: isNormalEnd(status, why) ? "info" : "bad" });
  }

  // --- media

  #newPeer() {
    return new Peer(this.#microphone, {
      onState: (state) => this.#connectionIs(state),
      onStream: (stream) => this.#hear(stream),
      onBotError: (text, fatal) => this.#botFailed(text, fatal),
    });
  }

  async #connect(epoch) {
    const again = this.#epoch !== null;
    this.#epoch = epoch;
    this.#reach("running");
    this.#tell.state("connecting");
    if (!(await this.#opened) || this.#isEnding()) return;
    if (again) {
      log.info("Bot running again", { epoch });
      this.#peer.close();
      this.#peer = this.#newPeer();
    }
    const peer = this.#peer;
    const url = sessionUrl(this.sessionId, "/offer");
    const offer = await peer.offer;
    if (this.#isEnding() || peer !== this.#peer) return;
    const answer = await ask("POST", url, this.sessionId, offer);
    if (this.#isEnding() || peer !== this.#peer) return;
    this.#reach("answered");
    this.#after("connect", CONNECT_MS, () => this.#noPath());
    await peer.accept(answer, (candidates) => {
      ask("PATCH", url, this.sessionId, { pc_id: answer.pc_id, candidates }).catch((error) => {
        log.warn("Late candidates could not be sent", { error });
      });
    });
  }

  #connectionIs(state) {
    if (this.#isEnding()) return;
    if (state === "connected") {
      this.#cancel("connect");
      this.#cancel("lost");
      this.#reach("connected");
      this.#tell.state("connected");
      this.#note("");
      this.#watch?.settle();
      this.#after("silent", SILENT_MS, () => this.#isSilent());
      this.#peer.path().then((path) => log.info("Media path", path), () => {});
      return;
    }
    this.#watch?.look(); // the bot may have ended the call
    if (state === "disconnected") {
      this.#tell.state("interrupted");
    } else if (state === "failed") {
      if (this.#reached.has("connected")) this.#after("lost", LOST_MS, () => this.#lost());
      else this.#noPath();
    }
  }

  #hear(stream) {
    if (this.#isEnding()) return;
    const { audio } = this.#options;
    audio.srcObject = stream;
    audio.play().catch((error) => this.#doesNotPlay(audio, error));
    this.bot?.close();
    const bot = (this.bot = new Loudness(stream));
    clearInterval(this.#listening);
    this.#listening = setInterval(() => {
      if (bot.level() <= AUDIBLE) return;
      clearInterval(this.#listening);
      this.#reach("first_audio");
      this.#cancel("silent");
      this.#note("", { of: "silence" });
    }, LISTEN_MS);
  }

  #doesNotPlay(audio, error) {
    if (this.#isEnding()) return; // it was stopped before it began
    log.warn("The browser does not play", { error });
    this.#note("The browser blocks the sound: press any key, or click on the page.");
    const again = () => !this.#isEnding() && audio.play().catch(() => {});
    addEventListener("pointerdown", again, { once: true });
    addEventListener("keydown", again, { once: true });
  }

  #isSilent() {
    if (this.#isEnding() || this.#reached.has("first_audio")) return;
    log.warn("Nothing was heard from the bot", { after_s: SILENT_MS / 1000, errors: this.#botErrors });
    if (this.#botErrors > 0) return; // what it said is shown already, and says more
    this.#note("The bot is connected, but no sound has come from it yet.", {
      todo: "It may be waiting for you to speak. If it stays silent, the command below shows what it is doing.",
      tone: "info",
      of: "silence",
    });
  }

  #botFailed(text, fatal) {
    if (this.#isEnding()) return;
    this.#botErrors += 1;
    if (this.#botErrors <= BOT_ERRORS_LOGGED) log.warn("The bot reported an error", { text, fatal });
    this.#note("The bot reports an error.", { todo: text });
  }

  #noPath() {
    log.warn("No path for media was found");
    this.#giveUp(
      "No path for sound to the bot was found.",
      "A firewall or VPN may block UDP between this machine and the bot: try another network.",
    );
  }

  #lost() {
    log.warn("Connection lost");
    this.#giveUp("The connection to the bot was lost.", "Look at your network, and press Join to call again.");
  }

  // --- on the way out

  async #giveUp(title, todo) {
    if (this.#isEnding()) return;
    this.#leaving = true;
    this.#hush();
    await this.#takeBack();
    this.#finish({ title, todo });
  }

  async #fail(error) {
    if (this.#isEnding()) return;
    if (error instanceof Problem) log.warn("Call failed", { code: error.code, why: error.message });
    else log.error("Call failed", { error });
    this.#leaving = true;
    this.#hush();
    if (this.#joined) await this.#takeBack();
    const [title, todo] = problemWords(error);
    const { code, retryAfterS, holder, yours } = error;
    this.#finish({ title, todo, code, retryAfterS, holder, yours });
  }

  /** End the session on the server, if there is one by now. */
  async #takeBack() {
    this.#peer?.quality().then((quality) => log.info("Media quality", quality), () => {});
    if (!this.#joining) return;
    await this.#joining.catch(() => {});
    if (!this.#joined) return;
    await ask("POST", sessionUrl(this.sessionId, "/leave"), this.sessionId).catch((error) => {
      log.warn("Leave failed; the bot will notice by itself", { error });
    });
  }

  #finish(how) {
    if (this.#over) return;
    this.#over = true;
    this.#stopMedia();
    this.#stopListening();
    log.info("Call ended", { seconds: Math.round((performance.now() - this.#began) / 100) / 10, reason: how.reason });
    this.#tell.ended({ tone: "bad", ...how, joined: this.#joined });
  }

  /** Be silent and deaf at once; the connection stays until the server knows that we leave. */
  #hush() {
    clearInterval(this.#listening);
    this.#cancel("silent");
    closeMicrophone(this.#microphone);
    this.you?.close();
    this.bot?.close();
    this.you = this.bot = null;
    this.#options.audio.srcObject = null;
  }

  #stopMedia() {
    this.#hush();
    this.#peer?.close();
    this.#peer = null;
  }

  #stopListening() {
    this.#watch?.close();
    for (const timer of this.#timers.values()) clearTimeout(timer);
  }

  // --- small change

  #isEnding() {
    return this.#over || this.#leaving;
  }

  /** Tell a note, or take one back; what outlives the call tells nothing. */
  #note(text, more = {}) {
    if (!this.#isEnding()) this.#tell.note(text, more);
  }

  #reach(stage, meta = {}) {
    if (this.#reached.has(stage) || this.#over) return;
    this.#reached.add(stage);
    const ms = Math.round(performance.now() - this.#began);
    if (stage !== "clicked") log.info(STAGES[stage], { ms, ...meta });
    this.#tell.stage(stage, ms);
  }

  #after(name, ms, work) {
    this.#cancel(name);
    this.#timers.set(name, setTimeout(() => !this.#over && work(), ms));
  }

  #cancel(name) {
    clearTimeout(this.#timers.get(name));
  }
}
