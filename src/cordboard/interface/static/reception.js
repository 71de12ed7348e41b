// What arrives from the bot on one connection: whether packets flow, and when the last one came.
//
// A bot's connection carries a packet every 20 ms, also while the bot says nothing. So a second without one
// says that something is lost, about four seconds before ICE does.

const FLOWING_MS = 250; // between two looks while packets flow
const WAITING_MS = 50; // while none do: the first packet is to be dated well
const SILENCE_MS = 1000; // longer than a Wi-Fi network takes to hand a device from one base station to another

/**
 * @typedef {{ packets: number, lastAt: number, now: number }} Received
 *   packets that have come so far, when the last one came, and the present; both times in ms by the same clock
 * @typedef {object} ReceptionHandlers
 * @property {(at: number) => void} onFlow receives when packets began to come, at first or after a silence
 * @property {() => void} onSilence called when packets have come, and none has for a second
 */

/** Looks at what a connection has received, until it is closed. */
export class Reception {
  #read;
  #handlers;
  #packets = 0;
  #flows = false;
  #closed = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * When the last packet came, in ms; null before the first.
   * @type {number | null}
   */
  lastAt = null;

  /**
   * @param {() => Promise<Received>} read
   * @param {ReceptionHandlers} handlers
   */
  constructor(read, handlers) {
    this.#read = read;
    this.#handlers = handlers;
    this.#lookLater();
  }

  /** Whether packets come. */
  get isFlowing() {
    return this.#flows;
  }

  /** Stop looking. No handler is called afterwards. */
  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #lookLater() {
    this.#timer = setTimeout(() => this.#look(), this.#flows ? FLOWING_MS : WAITING_MS);
  }

  async #look() {
    const received = await this.#read().catch(() => null);
    if (this.#closed) return;
    if (received) this.#compare(received);
    this.#lookLater();
  }

  /** @param {Received} received */
  #compare({ packets, lastAt, now }) {
    // Chromium may count a packet a moment before it dates it.
    if (packets > this.#packets && lastAt !== this.lastAt) {
      this.#packets = packets;
      this.lastAt = lastAt;
      if (this.#flows) return;
      this.#flows = true;
      this.#handlers.onFlow(lastAt);
    } else if (this.#flows && this.lastAt !== null && now - this.lastAt >= SILENCE_MS) {
      this.#flows = false;
      this.#handlers.onSilence();
    }
  }
}
