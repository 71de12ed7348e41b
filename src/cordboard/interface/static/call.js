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
import { microphoneWords, problemWords, reasonWords } from "/static/words.js";

const CONNECT_MS = 15_000;
const LOST_MS = 5000; // after ICE has given up: time for the session to be handed to another runner
const HEAD_START_MS = 100; // for the farewell of a page; three times what it takes on loopback
const LISTEN_MS = 20;
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
  #events = null;
  #timers = new Map();

  you = null;
  bot = null;

  /**
   * @param options { sessionId, room, audio }: audio is the element that plays the bot
   * @param tell { state(name), stage(name, ms), note(text), ended({ title, todo, ... }) }
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
      if (this.#over) return;
      if (this.#epoch === null) this.#tell.state("waiting");
    } catch (error) {
      this.#fail(error);
    }
  }

  /** End the call, as the person wishes. */
  async leave() {
    if (this.#over || this.#leaving) return;
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
    if (this.#over || this.#leaving) {
      closeMicrophone(this.#microphone);
      return false;
    }
    const [track] = this.#microphone.getAudioTracks();
    this.#reach("microphone", { label: track.label });
    track.onended = () => this.#tell.note("The microphone has gone. Plug it in, leave, and join again.");
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
    if (!this.#over && !this.#leaving) this.#follow();
  }

  // --- the session's states

  #follow() {
    this.#events = new EventSource(sessionUrl(this.sessionId, "/events"));
    this.#events.addEventListener("state", (event) => this.#changed(JSON.parse(event.data)));
    this.#events.onopen = () => this.#tell.note("");
    this.#events.onerror = () => this.#lostTouch();
  }

  #changed({ status, epoch, reason }) {
    if (this.#over) return;
    if (status === "running" && epoch !== this.#epoch) {
      this.#connect(epoch).catch((error) => this.#fail(error));
    } else if (TERMINAL.has(status)) {
      this.#events.close();
      this.#hasEnded(status, reason);
    } else if (status !== "running") {
      this.#tell.state("waiting");
      if (this.#epoch !== null && status === "queued") {
        log.warn("The bot is replaced", { epoch });
        this.#tell.note("The bot’s machine was lost; another one takes over.");
      }
    }
  }

  async #hasEnded(status, reason) {
    if (this.#leaving) return; // that is what we asked for
    this.#stopMedia();
    const record = await ask("GET", sessionUrl(this.sessionId), this.sessionId).catch(() => ({}));
    const [title, todo] = reasonWords(status, reason ?? record.reason);
    this.#finish({ title, todo, reason: reason ?? record.reason });
  }

  async #lostTouch() {
    if (this.#over || this.#leaving) return;
    if (this.#events.readyState !== EventSource.CLOSED) {
      this.#tell.note("Out of touch with the server; the call itself goes on. Trying again …");
      return;
    }
    // The server said no: its record tells why.
    try {
      const record = await ask("GET", sessionUrl(this.sessionId), this.sessionId);
      if (TERMINAL.has(record.status)) await this.#hasEnded(record.status, record.reason);
      else this.#after("follow", 1000, () => this.#follow());
    } catch (error) {
      if (error.status === 404 || error.status === 401) this.#fail(error);
      else this.#after("follow", 1000, () => this.#follow());
    }
  }

  // --- media

  #newPeer() {
    return new Peer(this.#microphone, {
      onState: (state) => this.#connectionIs(state),
      onStream: (stream) => this.#hear(stream),
    });
  }

  async #connect(epoch) {
    const again = this.#epoch !== null;
    this.#epoch = epoch;
    this.#reach("running");
    this.#tell.state("connecting");
    if (!(await this.#opened)) return;
    if (again) {
      log.info("Bot running again", { epoch });
      this.#peer.close();
      this.#peer = this.#newPeer();
    }
    const peer = this.#peer;
    const url = sessionUrl(this.sessionId, "/offer");
    const answer = await ask("POST", url, this.sessionId, await peer.offer);
    if (this.#over || peer !== this.#peer) return;
    this.#reach("answered");
    this.#after("connect", CONNECT_MS, () => this.#noPath());
    await peer.accept(answer, (candidates) => {
      ask("PATCH", url, this.sessionId, { pc_id: answer.pc_id, candidates }).catch((error) => {
        log.warn("Late candidates could not be sent", { error });
      });
    });
  }

  #connectionIs(state) {
    if (this.#over) return;
    if (state === "connected") {
      this.#cancel("connect");
      this.#cancel("lost");
      this.#reach("connected");
      this.#tell.state("connected");
      this.#tell.note("");
      this.#peer.path().then((path) => log.info("Media path", path), () => {});
    } else if (state === "disconnected") {
      this.#tell.state("interrupted");
    } else if (state === "failed") {
      if (this.#reached.has("connected")) this.#after("lost", LOST_MS, () => this.#lost());
      else this.#noPath();
    }
  }

  #hear(stream) {
    const { audio } = this.#options;
    audio.srcObject = stream;
    audio.play().catch((error) => {
      log.warn("The browser does not play", { error });
      this.#tell.note("The browser keeps the sound back: press any key, or click on the page.");
      addEventListener("pointerdown", () => audio.play(), { once: true });
      addEventListener("keydown", () => audio.play(), { once: true });
    });
    this.bot?.close();
    this.bot = new Loudness(stream);
    const listening = setInterval(() => {
      if (this.#over || this.#reached.has("first_audio")) clearInterval(listening);
      else if (this.bot.level() > AUDIBLE) this.#reach("first_audio");
    }, LISTEN_MS);
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
    if (this.#over || this.#leaving) return;
    this.#leaving = true;
    this.#hush();
    await this.#takeBack();
    this.#finish({ title, todo });
  }

  async #fail(error) {
    if (this.#over || this.#leaving) return;
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
    this.#tell.ended(how);
  }

  /** Be silent and deaf at once; the connection stays until the server knows that we leave. */
  #hush() {
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
    this.#events?.close();
    for (const timer of this.#timers.values()) clearTimeout(timer);
  }

  // --- small change

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
