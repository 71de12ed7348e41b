// A gap in a call: from the first sign that its bot is lost until a bot is there again.
//
// The caller's side gives up only when the session has ended, or when the recovery's own bound has passed.

import { Problem } from "./api.js";
import { getClientLogger } from "./log.js";

// A death that is confirmed: an operator has noticed it within 15 s, and another bot runs within 20 s.
const CONFIRMED_MS = 20_000;
// Nobody can confirm the death of a frozen or unreachable bot: it is given up 90 s after its last renewal.
const UNCONFIRMED_MS = 95_000;
// A dead runner's session runs elsewhere after 1.1 s at the median (benchmarks). A session that still
// has the same bot after this time needs another path to that bot.
const FIRST_REPAIR_MS = 2000;
const REPAIR_MS = 5000;

const OFFER_AGAIN_MS = 500;
// Answers to an offer after which the bot counts as lost; other ones end a call that is not in a gap.
const LOST = new Set(["runner_unreachable", "runner_timeout", "conflict"]);
const FINAL = new Set(["unauthorized", "not_found"]); // answers that end a call in a gap as well

/**
 * @import { SessionUpdate } from "./watch.js"
 *
 * @typedef {"ice" | "event" | "silence"} Sign
 *   how the page noticed: by its connection, by the state of the session, or by missing packets
 * @typedef {object} RecoveryHandlers
 * @property {() => void} onBegin called at the first sign
 * @property {() => void} onSuspect called at each sign: the bot may be dead
 * @property {() => Promise<void>} onRepair called from time to time while the session has a bot that is not reached
 * @property {(isConfirmed: boolean) => void} onGiveUp receives whether the bot's death was confirmed
 *
 * @typedef {object} Gap
 * @property {number | null | undefined} epoch of the bot that was lost
 * @property {number} since when it began
 * @property {string} state the last state of the session that was seen in it
 * @property {boolean} isRunning whether a bot runs
 * @property {boolean} isConfirmed whether the bot's death is confirmed
 */

const log = getClientLogger("call");

/** Bounds the gaps of a call, and tells their beginning and their end. */
export class Recovery {
  #handlers;
  /** @type {Gap | null} */
  #gap = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #bound;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #repair;

  /** @param {RecoveryHandlers} handlers */
  constructor(handlers) {
    this.#handlers = handlers;
  }

  /** Whether the call is in a gap. */
  get isOpen() {
    return this.#gap !== null;
  }

  /** Whether it is, and the bot's death is confirmed. */
  get isConfirmed() {
    return this.#gap?.isConfirmed ?? false;
  }

  /**
   * Take a sign that the bot is lost. The first one opens a gap.
   * @param {Sign} sign
   * @param {number | null | undefined} epoch of the bot
   */
  begin(sign, epoch) {
    if (!this.#gap) {
      log.warn("Call interrupted", { event: "call.interrupted", sign, epoch });
      this.#gap = { epoch, since: performance.now(), state: "", isRunning: true, isConfirmed: false };
      this.#giveUpIn(CONFIRMED_MS);
      this.#repairIn(FIRST_REPAIR_MS);
      this.#handlers.onBegin();
    }
    this.#handlers.onSuspect();
  }

  /**
   * Take a state of the session, which says for how long the call has something to wait for.
   * @param {SessionUpdate} update
   */
  observe({ status, epoch }) {
    const gap = this.#gap;
    const state = `${status} ${epoch}`;
    if (!gap || state === gap.state) return;
    gap.state = state;
    gap.isRunning = status === "running";
    gap.isConfirmed = !gap.isRunning || epoch !== gap.epoch;
    if (gap.isConfirmed) {
      this.#giveUpIn(CONFIRMED_MS);
      this.#repairIn(REPAIR_MS);
    } else {
      this.#giveUpIn(gap.since + UNCONFIRMED_MS - performance.now());
    }
  }

  /**
   * Connect to a bot. If it is not reached, try again, until the gap ends or there is another bot.
   * @param {() => Promise<void>} connect
   * @param {number | null | undefined} epoch of the bot
   * @param {() => boolean} isOutdated whether the call ends, or there is another bot
   */
  async persist(connect, epoch, isOutdated) {
    while (!isOutdated()) {
      try {
        await connect();
        return;
      } catch (error) {
        if (!this.#isPassing(error)) throw error;
        log.warn("The bot could not be reached", { epoch, error });
        if (isOutdated()) return;
        this.begin("event", epoch);
      }
      await new Promise((resolve) => setTimeout(resolve, OFFER_AGAIN_MS));
      if (!this.isOpen) return;
    }
  }

  /** @param {unknown} error why a bot was not reached */
  #isPassing(error) {
    if (!(error instanceof Problem)) return this.isOpen;
    return this.isOpen ? !FINAL.has(error.code) : LOST.has(error.code);
  }

  /**
   * End the gap, if there is one: a bot is there.
   * @param {number | null | undefined} epoch of the bot
   * @param {number} [silenceMs] from the last packet before the gap to the first one after it
   */
  end(epoch, silenceMs) {
    if (!this.#gap) return;
    this.close();
    log.info("Call resumed", { event: "call.resumed", epoch, silence_ms: silenceMs });
  }

  /** Forget the gap: the call ends. */
  close() {
    this.#gap = null;
    clearTimeout(this.#bound);
    clearTimeout(this.#repair);
  }

  /** @param {number} ms */
  #giveUpIn(ms) {
    clearTimeout(this.#bound);
    this.#bound = setTimeout(() => this.#handlers.onGiveUp(this.isConfirmed), ms);
  }

  /** @param {number} ms */
  #repairIn(ms) {
    clearTimeout(this.#repair);
    this.#repair = setTimeout(() => {
      this.#repairIn(REPAIR_MS);
      if (!this.#gap?.isRunning) return;
      this.#handlers.onRepair().catch((error) => log.warn("The bot could not be reached", { error }));
    }, ms);
  }
}
