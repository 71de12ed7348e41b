// Follows the states of a session: by a stream of the server, or by asking again and again.
//
// Over HTTP/1.1 a browser opens six connections to a server at most, and all its tabs share them:
// with six open streams a seventh tab does not even load. So three tabs hold a stream, and the
// others ask. The browser's locks say how many there are; they end with their tab.

import { ask, sessionUrl } from "/static/api.js";

const STREAMS = 3; // half of the six: the others are for pages, joins, offers and log lines
const ASK_SOON_MS = 1000; // on the way in, where a person waits
const ASK_MS = 10_000; // in the call, where the connection to the bot tells first

export class Watch {
  #id;
  #tell;
  #closed = false;
  #stream = null;
  #release = null;
  #timer = null;
  #everyMs = ASK_SOON_MS;

  /**
   * @param sessionId whose states
   * @param tell { state({ status, epoch, reason }), touch(isIn), refused(error) }
   */
  constructor(sessionId, tell) {
    this.#id = sessionId;
    this.#tell = tell;
    this.#start();
  }

  /** From now on the call itself tells of most changes: ask less often. */
  settle() {
    this.#everyMs = ASK_MS;
  }

  /** Ask now: something has happened that the server may know more about. */
  async look() {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    try {
      const told = await ask("GET", sessionUrl(this.#id), this.#id);
      if (this.#closed) return;
      this.#tell.touch(true);
      this.#tell.state(told);
    } catch (error) {
      if (this.#closed) return;
      if (error.status === 404 || error.status === 401) return this.#tell.refused(error);
      this.#tell.touch(false);
    }
    if (this.#stream) return;
    clearTimeout(this.#timer); // of another look, which was asked meanwhile
    this.#timer = setTimeout(() => this.look(), this.#everyMs);
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#stream?.close();
    this.#release?.();
  }

  async #start() {
    this.#release = await streamLock();
    if (this.#closed) this.#release?.();
    else if (this.#release) this.#listen();
    else this.look();
  }

  #listen() {
    this.#stream = new EventSource(sessionUrl(this.#id, "/events"));
    this.#stream.addEventListener("state", (event) => this.#tell.state(JSON.parse(event.data)));
    this.#stream.onopen = () => this.#tell.touch(true);
    this.#stream.onerror = () => this.#broken();
  }

  // The browser opens a broken stream again by itself, unless the server has said no.
  #broken() {
    if (this.#closed) return;
    if (this.#stream.readyState !== EventSource.CLOSED) return this.#tell.touch(false);
    this.#stream = null;
    this.#release();
    this.look();
  }
}

/** Return what gives the lock of a stream back, or null where all streams are taken. */
async function streamLock() {
  if (!navigator.locks) return () => {}; // not a secure page: there are no calls either
  for (let number = 0; number < STREAMS; number += 1) {
    const release = await held(`cordboard-stream-${number}`);
    if (release) return release;
  }
  return null;
}

function held(name) {
  return new Promise((resolve) => {
    const keep = (lock) => lock && new Promise((release) => resolve(release));
    navigator.locks.request(name, { ifAvailable: true }, keep).then(() => resolve(null), () => resolve(null));
  });
}
