// Follows the state of a session, by a stream of server-sent events or by polling.
//
// Over HTTP/1.1 a browser opens at most six connections to a server, and all its tabs share them:
// with six open streams a seventh tab does not even load. So only three tabs hold a stream, and the
// others poll. Web locks count the streams; the browser releases a tab's lock when the tab closes.

import { Problem, request, sessionUrl } from "./api.js";

const STREAMS = 3; // half of the six; pages, joins, offers and log lines need the others
const POLL_JOINING_MS = 1000; // while the user waits for the bot
const POLL_GAP_MS = 500; // while the bot is lost: also beside a stream, which may hang after a change of networks
const POLL_CONNECTED_MS = 10_000; // in the call, where the media connection reports changes first

/**
 * @typedef {{ status: string, epoch?: number, reason?: string | null }} SessionUpdate
 * @typedef {object} WatchHandlers
 * @property {(update: SessionUpdate) => void} onState receives each state, and may receive it again
 * @property {(isConnected: boolean) => void} onConnection receives whether the server answers
 * @property {(error: Problem) => void} onRefused receives the error when the session is not visible
 */

/** Follows one session until it is closed. */
export class Watch {
  #sessionId;
  #handlers;
  #closed = false;
  /** @type {EventSource | null} */
  #stream = null;
  /** @type {(() => void) | null} */
  #releaseLock = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #pollMs = POLL_JOINING_MS;
  #isHurried = false;

  /**
   * @param {string} sessionId
   * @param {WatchHandlers} handlers
   */
  constructor(sessionId, handlers) {
    this.#sessionId = sessionId;
    this.#handlers = handlers;
    this.#start();
  }

  /** Poll less often: the media connection reports most changes from now on. */
  slowDown() {
    this.#pollMs = POLL_CONNECTED_MS;
    this.#isHurried = false;
  }

  /** Poll now and often, beside a stream as well: the bot may be lost. */
  hurry() {
    this.#pollMs = POLL_GAP_MS;
    this.#isHurried = true;
    this.poll();
  }

  /** Ask for the state now, because something happened that the server may know about. */
  async poll() {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    try {
      const update = await request("GET", sessionUrl(this.#sessionId), this.#sessionId);
      if (this.#closed) return;
      this.#handlers.onConnection(true);
      this.#handlers.onState(update);
    } catch (error) {
      if (this.#closed) return;
      if (error instanceof Problem && (error.status === 404 || error.status === 401)) {
        this.#handlers.onRefused(error);
        return;
      }
      this.#handlers.onConnection(false);
    }
    if (this.#stream && !this.#isHurried) return;
    clearTimeout(this.#timer); // of a second poll, started while this one waited
    this.#timer = setTimeout(() => this.poll(), this.#pollMs);
  }

  /** Stop following. */
  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#stream?.close();
    this.#releaseLock?.();
  }

  async #start() {
    this.#releaseLock = await acquireStreamLock();
    if (this.#closed) this.#releaseLock?.();
    else if (this.#releaseLock) this.#openStream();
    else this.poll();
  }

  #openStream() {
    const stream = new EventSource(sessionUrl(this.#sessionId, "/events"));
    stream.addEventListener("state", (event) => this.#handlers.onState(JSON.parse(event.data)));
    stream.onopen = () => this.#handlers.onConnection(true);
    stream.onerror = () => this.#streamFailed(stream);
    this.#stream = stream;
  }

  /** @param {EventSource} stream */
  #streamFailed(stream) {
    if (this.#closed) return;
    if (stream.readyState !== EventSource.CLOSED) {
      this.#handlers.onConnection(false); // the browser reconnects by itself
      return;
    }
    // The server refused the stream. Polling finds out why.
    this.#stream = null;
    this.#releaseLock?.();
    this.poll();
  }
}

/**
 * Return a function that releases the lock of a stream, or null if all streams are taken.
 * @returns {Promise<(() => void) | null>}
 */
export async function acquireStreamLock() {
  if (!navigator.locks) return () => {}; // an insecure page, which cannot make calls anyway
  for (let number = 0; number < STREAMS; number += 1) {
    const release = await tryLock(`cordboard-stream-${number}`);
    if (release) return release;
  }
  return null;
}

/**
 * Return a function that releases the lock, or null if another tab holds it.
 * @param {string} name
 * @returns {Promise<(() => void) | null>}
 */
function tryLock(name) {
  return new Promise((resolve) => {
    // The browser holds the lock until the promise that `hold` returns is resolved.
    /** @type {(lock: Lock | null) => Promise<void> | null} */
    const hold = (lock) =>
      lock && new Promise((release) => resolve(() => release()));
    navigator.locks.request(name, { ifAvailable: true }, hold).then(
      () => resolve(null),
      () => resolve(null),
    );
  });
}
