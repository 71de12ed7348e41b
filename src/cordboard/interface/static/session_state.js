// What a call does about each state of its session that the server reports.

const FINAL = new Set(["ended", "failed", "cancelled", "expired"]);

/**
 * @typedef {"connect" | "reconnect" | "wait" | "replaced" | "end"} Action
 *   connect: a bot runs, connect to it;
 *   reconnect: another bot has taken the session over, connect to that one;
 *   wait: no bot runs yet;
 *   replaced: the bot was lost, and the session waits for another one;
 *   end: the session is over.
 * @import { SessionUpdate } from "./watch.js"
 */

/** The last known state of a call's session. */
export class SessionState {
  #last = "";
  /** @type {number | null | undefined} */
  #replacedBy = null; // the epoch of which it is known that its bot replaces another one
  /** @type {number | null | undefined} */
  #epoch = null; // of the bot that the call has connected to

  /** The epoch of the bot that the call has connected to; null before the first. */
  get epoch() {
    return this.#epoch;
  }

  /** Whether a bot of this session has run. */
  get hasRun() {
    return this.#epoch !== null;
  }

  /**
   * Return what to do about a state, or null if there is nothing to do.
   * @param {SessionUpdate} update
   * @param {boolean} isLeaving whether the user is already leaving, so that only the end matters
   * @returns {Action | null}
   */
  next({ status, epoch }, isLeaving) {
    const state = `${status} ${epoch}`;
    if (state === this.#last) return null; // polling reports the same state again
    this.#last = state;
    if (FINAL.has(status)) return "end";
    if (isLeaving) return null;
    if (status !== "running") {
      if (!this.hasRun || epoch === this.#replacedBy) return "wait";
      this.#replacedBy = epoch;
      return "replaced";
    }
    // A higher epoch means another bot process: the old connection leads nowhere.
    if (epoch === this.#epoch) return null;
    const action = this.hasRun ? "reconnect" : "connect";
    this.#epoch = epoch;
    return action;
  }
}
