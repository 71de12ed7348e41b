// The bot's voice: plays it, and detects when it is first heard.

import { Loudness } from "./microphone.js";

const LISTEN_MS = 20;
const AUDIBLE = 0.2; // loudness; about -48 dB, above the noise of a codec

/**
 * @typedef {{ level(): number, close(): void }} Meter
 * @typedef {object} BotAudioHandlers
 * @property {() => void} onAudible called once per stream, when the bot is first heard
 * @property {(error: unknown) => void} onBlocked called when the browser refuses to play sound
 */

/** Plays the bot's stream by an audio element. */
export class BotAudio {
  #element;
  #handlers;
  #newMeter;
  /** @type {Meter | null} */
  #meter = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #listening;

  /**
   * @param {HTMLAudioElement} element
   * @param {BotAudioHandlers} handlers
   * @param {(stream: MediaStream) => Meter} newMeter
   */
  constructor(element, handlers, newMeter = (stream) => new Loudness(stream)) {
    this.#element = element;
    this.#handlers = handlers;
    this.#newMeter = newMeter;
  }

  /** The loudness of the bot, from 0 to 1. */
  get level() {
    return this.#meter?.level() ?? 0;
  }

  /**
   * Play a stream instead of the one before.
   * @param {MediaStream} stream
   */
  play(stream) {
    this.stop();
    this.#element.srcObject = stream;
    this.#element.play().catch((error) => {
      if (this.#element.srcObject === stream) this.#blocked(error); // else it was stopped before it began
    });
    const meter = this.#newMeter(stream);
    this.#meter = meter;
    this.#listening = setInterval(() => {
      if (meter.level() <= AUDIBLE) return;
      clearInterval(this.#listening);
      this.#handlers.onAudible();
    }, LISTEN_MS);
  }

  /** Stop playing and listening. */
  stop() {
    clearInterval(this.#listening);
    this.#meter?.close();
    this.#meter = null;
    this.#element.srcObject = null;
  }

  /**
   * Try again at the user's next action, which is what browsers ask for.
   * @param {unknown} error
   */
  #blocked(error) {
    this.#handlers.onBlocked(error);
    const retry = () => {
      if (this.#meter) this.#element.play().catch(() => {});
    };
    addEventListener("pointerdown", retry, { once: true });
    addEventListener("keydown", retry, { once: true });
  }
}
