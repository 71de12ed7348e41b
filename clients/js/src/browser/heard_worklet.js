// Runs in the browser's audio thread: finds the turns of a call in the sound of both sides. It imports nothing, because
// bundlers copy a worklet as it is. `cordboard call` measures by the same rules (call/heard.py); tests compare the two.

/**
 * @typedef {object} Turn
 * @property {number} userEnded the caller's last voiced sample, in seconds of the audio context
 * @property {number} botBegan the bot's first voiced sample
 *
 * @typedef {[first: number, last: number]} Span the times of the first and of the last voiced sample of a frame
 */

const VOICED_MIN = 500 / 32768; // -36 dBFS
const FRAME_S = 0.02;
const VOICED_FRAMES_MIN = 3; // in a row begin a speech; the click of a key or of a mouse is shorter
const GAP_S = 0.4; // a shorter silence is one between words
const PAUSE_S = 0.8; // a longer silence of the bot ends what it says
const TALK_ON_S = 1; // a bot that still speaks so long after the caller's last sound does not answer it
const LATENCY_MAX_S = 30; // what comes later was not said in answer
const STALL_MS = 50; // two to three times the periods in which browsers render, so that their unevenness is no stall
const QUANTUM = 128; // samples of a call of process()
const NEAR_S = 0.2; // of frames whose delays are compared, some of which come in time

/** Finds the turns. Frames of a side come in the order of their times. */
export class HeardTurns {
  #onTurn;
  #voicedFrames = 0;
  #userLast = -Infinity;
  #botLast = -Infinity;
  #answered = -Infinity; // the caller's last sound of the turn before
  /** @type {Turn | null} */
  #turn = null;

  /** @param {(turn: Turn) => void} onTurn receives each turn, as soon as it is certain */
  constructor(onTurn) {
    this.#onTurn = onTurn;
  }

  /**
   * Process a frame of the caller.
   * @param {number} until the time of its end
   * @param {Span | null} voiced
   */
  hearUser(until, voiced) {
    this.#voicedFrames = voiced ? this.#voicedFrames + 1 : 0;
    if (voiced && (voiced[0] - this.#userLast < GAP_S || this.#voicedFrames >= VOICED_FRAMES_MIN)) {
      const turn = this.#turn;
      if (turn && voiced[0] - turn.userEnded < GAP_S) {
        // A bot that begins between two words talks over the caller: that is no latency.
        this.#turn = voiced[1] <= turn.botBegan ? { ...turn, userEnded: voiced[1] } : null;
      }
      this.#userLast = voiced[1];
    }
    this.#settle(until);
  }

  /**
   * Process a frame of the bot.
   * @param {number} until the time of its end
   * @param {Span | null} voiced
   */
  hearBot(until, voiced) {
    if (voiced) {
      if (voiced[0] - this.#botLast >= PAUSE_S && this.#isAnswer(voiced[0])) {
        this.#turn = { userEnded: this.#userLast, botBegan: voiced[0] };
      }
      this.#botLast = voiced[1];
    }
    this.#settle(until);
  }

  /** @param {number} began */
  #isAnswer(began) {
    return this.#userLast > this.#answered && this.#botLast <= this.#userLast + TALK_ON_S
      && began - this.#userLast <= LATENCY_MAX_S;
  }

  /** @param {number} until */
  #settle(until) {
    const turn = this.#turn;
    if (!turn || until - turn.userEnded < GAP_S || until < turn.botBegan) return;
    this.#turn = null;
    this.#answered = turn.userEnded;
    this.#onTurn(turn);
  }
}

/**
 * Tells whether the sound stood still between two times, as in a suspended page: then the clock of the audio context says
 * nothing of the time that a person has waited.
 */
export class StallWatch {
  /** @type {{ until: number, lagMs: number }[]} */
  #frames = [];

  /**
   * @param {number} until the end of a frame, in seconds of the audio context
   * @param {number} nowMs the time at which it was processed
   */
  add(until, nowMs) {
    this.#frames.push({ until, lagMs: nowMs - until * 1000 });
    if (until - this.#frames[0].until > 2 * LATENCY_MAX_S) this.#frames.splice(0, this.#frames.length / 2);
  }

  /** @param {Turn} turn */
  isStalled({ userEnded, botBegan }) {
    const lagAt = (/** @type {number} */ at) =>
      Math.min(...this.#frames.filter(({ until }) => Math.abs(until - at) <= NEAR_S).map(({ lagMs }) => lagMs));
    return !(Math.abs(lagAt(botBegan) - lagAt(userEnded)) <= STALL_MS);
  }
}

/** The voiced part of the frame of one side that is being filled. */
export class Frame {
  #first = -1;
  #last = -1;

  /**
   * @param {Float32Array | undefined} samples undefined without a stream
   * @param {number} offset of the first sample in the frame
   */
  add(samples, offset) {
    if (!samples) return;
    for (let at = 0; at < samples.length; at += 1) {
      if (samples[at] >= VOICED_MIN || samples[at] <= -VOICED_MIN) {
        if (this.#first < 0) this.#first = offset + at;
        this.#last = offset + at;
      }
    }
  }

  /**
   * Return the voiced part, and begin the next frame.
   * @param {number} began of the frame, in seconds
   * @param {number} rate of samples a second
   * @returns {Span | null}
   */
  take(began, rate) {
    /** @type {Span | null} */
    const span = this.#first < 0 ? null : [began + this.#first / rate, began + this.#last / rate];
    this.#first = this.#last = -1;
    return span;
  }
}

/** @type {any} what only a worklet has, and the compiler does not know */
const worklet = globalThis;

if (worklet.registerProcessor) {
  worklet.registerProcessor("cordboard-heard", class extends worklet.AudioWorkletProcessor {
    #user = new Frame();
    #bot = new Frame();
    #stalls = new StallWatch();
    #turns = new HeardTurns((turn) => this.#report(turn));
    #filled = 0; // samples of the present frame
    #isClosed = false;

    constructor() {
      super();
      /** @type {any} */ (this).port.onmessage = () => (this.#isClosed = true);
    }

    /** @param {Float32Array[][]} inputs the microphone, and the bot */
    process([user, bot]) {
      const rate = worklet.sampleRate;
      this.#user.add(user[0], this.#filled);
      this.#bot.add(bot[0], this.#filled);
      const quantum = (user[0] ?? bot[0])?.length ?? QUANTUM;
      this.#filled += quantum;
      if (this.#filled >= FRAME_S * rate) {
        const until = worklet.currentTime + quantum / rate;
        const began = until - this.#filled / rate;
        this.#filled = 0;
        this.#stalls.add(until, Date.now());
        this.#turns.hearUser(until, this.#user.take(began, rate));
        this.#turns.hearBot(until, this.#bot.take(began, rate));
      }
      return !this.#isClosed;
    }

    /** @param {Turn} turn */
    #report(turn) {
      const agoMs = (worklet.currentTime - turn.botBegan) * 1000;
      const isStalled = this.#stalls.isStalled(turn);
      /** @type {any} */ (this).port.postMessage({ ...turn, botBeganAt: Date.now() - agoMs, isStalled });
    }
  });
}
