// The test of the microphone before a call: it is open while its level is shown, and nothing of it is sent.

import { showAlert } from "./alert_box.js";
import { getClientLogger } from "./log.js";
import { microphoneMessage } from "./messages.js";
import { Loudness, closeMicrophone, openMicrophone } from "./microphone.js";

const OPEN_MS = 60_000; // then it is forgotten: a microphone must not stay open unnoticed

/** @import { Meter } from "./bot_audio.js" */

const log = getClientLogger("microphone");

/** Opens the chosen microphone for its level. */
export class MicrophoneCheck {
  #onChange;
  /** @type {MediaStream | null} */
  #microphone = null;
  /** @type {Meter | null} */
  #meter = null;
  #attempt = 0; // whoever opens the microphone may be overtaken by a Join
  #peak = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {(isOn: boolean) => void} onChange called when the test begins and ends */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  get isOn() {
    return this.#meter !== null;
  }

  /** The loudness of the microphone, from 0 to 1. */
  get level() {
    const level = this.#meter?.level() ?? 0;
    this.#peak = Math.max(this.#peak, level);
    return level;
  }

  /** Begin the test, or begin it again with the microphone that is chosen now. */
  async open() {
    this.close();
    const attempt = (this.#attempt += 1);
    let microphone;
    try {
      microphone = await openMicrophone();
    } catch (error) {
      if (attempt !== this.#attempt) return;
      log.warn("The microphone could not be tested", { error });
      const [title, advice] = microphoneMessage(error);
      showAlert({ title, advice });
      return;
    }
    if (attempt !== this.#attempt) {
      closeMicrophone(microphone);
      return;
    }
    this.#microphone = microphone;
    this.#meter = new Loudness(microphone);
    this.#peak = 0;
    this.#timer = setTimeout(() => this.close(), OPEN_MS);
    this.#onChange(true);
  }

  /** End the test, if there is one. */
  close() {
    this.#attempt += 1;
    clearTimeout(this.#timer);
    if (!this.#meter) return;
    this.#meter.close();
    this.#meter = null;
    closeMicrophone(this.#microphone);
    log.info("Microphone tested", { level_peak: Math.round(this.#peak * 100) / 100 });
    this.#onChange(false);
  }
}
