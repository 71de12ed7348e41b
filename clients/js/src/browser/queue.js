// The queue of log lines on their way to the server: batches, retries, and a bound on what waits.
//
// A line stays in the queue until the server has confirmed it, however long that takes, and the server ignores
// a line that it has received before (same boot and sequence number). So a page that is being closed can send
// everything once more without knowing what has arrived. Two things alone drop lines: a server that refuses
// them for good, and the bound.

import { plainFetch } from "./fetch.js";
import { replaceLoneSurrogates } from "./record.js";

const FLUSH_MS = 1000;
const FLUSH_LINES = 50;
const BATCH_LINES = 200;
// Browsers accept 64 KiB in all for requests that outlive their page (sendBeacon, keepalive).
const BATCH_BYTES = 48 * 1024;
const BEACONS_BYTES = 60 * 1024;
// Beyond these bounds the oldest lines are dropped: a server that is away must not fill the memory
// of a page that stays open for days.
const QUEUE_LINES = 2000;
const QUEUE_BYTES = 1024 * 1024;
const RETRY_MAX_MS = 30_000;
const ANSWER_MS = 30_000; // a page that was frozen may wait for an answer that never comes
// Of the statuses from 400 to 499, those that mean "send it again".
const AGAIN = new Set([408, 425, 429]);

/**
 * @typedef {{ text: string, bytes: number }} QueuedLine
 * @typedef {{ count: number, refused?: number, status?: number }} Dropped lines that were lost: how many, how many of
 *   them the server refused, and by which status the last time
 * @typedef {{ isDone: boolean, status: number, retryAfterMs: number }} Answer
 * @typedef {{ end: number, bytes: number, body: string }} Batch lines up to `end`, joined
 */

/** Lines that wait for the server, oldest first. */
export class LogQueue {
  /** @type {string | null} */
  #url;
  /** @type {Record<string, string>} */
  #headers = {};
  #onDropped;
  #onRefused;
  #encoder = new TextEncoder();
  /** @type {QueuedLine[]} */
  #lines = [];
  #bytes = 0;
  /** @type {Dropped} */
  #dropped = { count: 0 };
  /** @type {ReturnType<typeof setTimeout> | null} */
  #timer = null;
  #dueAt = 0;
  #pauseUntil = 0; // after a failure, new lines do not start another attempt
  #sending = false;
  #failures = 0;

  /**
   * @param {string | null} url where batches are posted; with null, lines wait until start()
   * @param {(dropped: Dropped) => void} onDropped receives the lines that were lost, once the server takes others
   * @param {(count: number, status: number) => void} onRefused receives the number of lines that the server refused
   *   for good, at once
   */
  constructor(url, onDropped, onRefused) {
    this.#url = url;
    this.#onDropped = onDropped;
    this.#onRefused = onRefused;
  }

  /**
   * Send lines to a URL from now on.
   * @param {string} url
   * @param {Record<string, string>} headers further headers of each request
   */
  start(url, headers = {}) {
    this.#url = url;
    this.#headers = headers;
    if (this.#lines.length) this.#schedule(0);
  }

  /** Where batches are posted, or null. */
  get url() {
    return this.#url;
  }

  /** The number of lines that wait. */
  get length() {
    return this.#lines.length;
  }

  /**
   * Add a line.
   * @param {Record<string, unknown>} record
   * @param {boolean} isUrgent send at once instead of with the next batch
   */
  add(record, isUrgent) {
    const text = replaceLoneSurrogates(JSON.stringify(record));
    const bytes = this.#encoder.encode(text).length + 1;
    this.#lines.push({ text, bytes });
    this.#bytes += bytes;
    while (this.#lines.length > QUEUE_LINES || this.#bytes > QUEUE_BYTES) this.#drop(1);
    this.#schedule(isUrgent || this.#lines.length >= FLUSH_LINES ? 0 : FLUSH_MS);
  }

  /** Send now, without waiting for the end of a pause: the network is back. */
  resume() {
    this.#pauseUntil = 0;
    this.#schedule(0);
  }

  /**
   * Send the lines by requests that outlive the page, as many as browsers accept. They stay in the queue.
   *
   * The oldest come first: browsers accept a limited number of bytes from a page that ends.
   */
  sendBeacons() {
    if (this.#url === null) return;
    let bytes = BEACONS_BYTES;
    for (let start = 0; start < this.#lines.length; ) {
      const batch = this.#batch(start, Math.min(bytes, BATCH_BYTES));
      bytes -= batch.bytes;
      if (bytes < 0) return;
      this.#sendBeacon(batch.body);
      start = batch.end;
    }
  }

  /** @param {string} body */
  #sendBeacon(body) {
    const url = this.#timedUrl();
    const headers = this.#headers;
    // A beacon has no headers, but without it Firefox before 133 would send nothing from a page that ends.
    const isBeaconBetter = Object.keys(headers).length === 0 || !("keepalive" in Request.prototype);
    if (isBeaconBetter && navigator.sendBeacon(url, body)) return;
    plainFetch(url, { method: "POST", body, headers, keepalive: true }).catch(() => {});
  }

  /** @param {number} delayMs */
  #schedule(delayMs) {
    if (this.#sending || this.#url === null) return;
    const now = performance.now();
    const at = Math.max(now + delayMs, this.#pauseUntil);
    if (this.#timer !== null) {
      if (this.#dueAt <= at) return;
      clearTimeout(this.#timer);
    }
    this.#dueAt = at;
    this.#timer = setTimeout(() => this.#send(), at - now);
  }

  async #send() {
    this.#timer = null;
    if (this.#sending || this.#lines.length === 0) return;
    this.#sending = true;
    const { end, body } = this.#batch(0, BATCH_BYTES);
    const last = this.#lines[end - 1];
    const { isDone, status, retryAfterMs } = await this.#post(body);
    this.#sending = false;
    // The queue may have dropped lines meanwhile, so count up to the last line that was sent.
    const sent = this.#lines.indexOf(last) + 1;
    if (isDone) {
      this.#failures = 0;
      this.#pauseUntil = 0;
      this.#remove(sent);
      this.#reportDropped();
    } else if (isRefusal(status)) {
      this.#failures = 0;
      this.#pauseUntil = 0;
      this.#refuse(sent, status);
    } else {
      this.#failures += 1;
      this.#pauseUntil = performance.now() + this.#backoffMs(retryAfterMs);
    }
    if (this.#lines.length) this.#schedule(0);
  }

  /**
   * @param {string} body
   * @returns {Promise<Answer>} its status is 0 without an answer
   */
  async #post(body) {
    try {
      const signal = AbortSignal.timeout(ANSWER_MS);
      const { ok, status, headers } = await plainFetch(this.#timedUrl(), { method: "POST", body, headers: this.#headers, signal });
      return { isDone: ok, status, retryAfterMs: Number(headers.get("Retry-After")) * 1000 || 0 };
    } catch {
      return { isDone: false, status: 0, retryAfterMs: 0 };
    }
  }

  // The server compares `sent` with its own clock and corrects the lines' timestamps.
  #timedUrl() {
    return `${this.#url}?sent=${Date.now()}`;
  }

  /** @param {number} leastMs */
  #backoffMs(leastMs) {
    const delayMs = Math.min(RETRY_MAX_MS, FLUSH_MS * 2 ** this.#failures);
    return Math.max(leastMs, delayMs * (0.5 + Math.random()));
  }

  /**
   * @param {number} start
   * @param {number} most bytes; a batch has one line at least
   * @returns {Batch}
   */
  #batch(start, most) {
    let bytes = 0;
    let end = start;
    while (end < this.#lines.length && end - start < BATCH_LINES) {
      if (bytes + this.#lines[end].bytes > most && end > start) break;
      bytes += this.#lines[end].bytes;
      end += 1;
    }
    return { end, bytes, body: this.#lines.slice(start, end).map(({ text }) => text).join("\n") };
  }

  /** @param {number} count */
  #remove(count) {
    for (const { bytes } of this.#lines.splice(0, count)) this.#bytes -= bytes;
  }

  /** @param {number} count */
  #drop(count) {
    this.#remove(count);
    this.#dropped.count += count;
  }

  /**
   * @param {number} count
   * @param {number} status
   */
  #refuse(count, status) {
    if (count === 0) return; // the bound has dropped them meanwhile
    this.#drop(count);
    this.#dropped.refused = (this.#dropped.refused ?? 0) + count;
    this.#dropped.status = status;
    this.#onRefused(count, status);
  }

  #reportDropped() {
    if (!this.#dropped.count) return;
    const dropped = this.#dropped;
    this.#dropped = { count: 0 };
    this.#onDropped(dropped);
  }
}

/**
 * Return whether a server that answers so would refuse the same batch again.
 * @param {number} status
 */
function isRefusal(status) {
  return status >= 400 && status < 500 && !AGAIN.has(status);
}
