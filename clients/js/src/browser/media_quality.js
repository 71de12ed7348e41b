// Judges the media of a call: a sample a second, and a table of rules (docs/contract/events.md, Media warnings).
// The rules are those of cordboard/contract/media_quality.py; a test compares the two.

/**
 * @typedef {object} MediaSample figures of one interval, with the names of `media.stats`; unknown ones are absent
 * @property {number} [packets_sent]
 * @property {number} [packets_received]
 * @property {number} [packets_lost]
 * @property {number} [concealed_samples]
 * @property {number} [samples]
 * @property {number} [jitter_ms]
 * @property {number} [rtt_ms]
 * @property {number} [level_in]
 * @property {number} [level_out]
 * @property {string} [path]
 * @property {number} [mos]
 *
 * @typedef {object} Rule
 * @property {string} name the warning
 * @property {string} member the value that it judges
 * @property {number} threshold
 * @property {boolean} [isMinimum] whether smaller values are bad
 * @property {number} [window] samples that count, of which `raiseAt` raise the warning; it is cleared when none is bad
 * @property {number} [raiseAt]
 *
 * @typedef {{ name: string, state: "raised" | "cleared", value: number | string, threshold?: number }} Warning
 */

const BASE_R = 94.2; // of G.711 without delay and loss
const PACKET_MS = 20;
const KNEE_MS = 177.3;
const LEVEL_SAMPLES = 10;

/** @type {Rule[]} */
const RULES = [
  { name: "high_loss", member: "loss_percent", threshold: 1 },
  { name: "high_jitter", member: "jitter_ms", threshold: 30 },
  { name: "high_rtt", member: "rtt_ms", threshold: 400 },
  { name: "low_mos", member: "mos", threshold: 3, isMinimum: true },
  { name: "no_audio_in", member: "packets_received", threshold: 1, isMinimum: true, window: 3 },
  { name: "no_audio_out", member: "packets_sent", threshold: 1, isMinimum: true, window: 3 },
  { name: "one_way", member: "least_packets", threshold: 1, isMinimum: true },
  { name: "constant_level", member: "level_span", threshold: 0.0001, isMinimum: true, window: 1, raiseAt: 1 },
];

/** Says which warnings are raised and cleared, sample by sample. */
export class MediaJudge {
  /** @type {Map<string, boolean[]>} */
  #seen = new Map();
  /** @type {Set<string>} */
  #raised = new Set();
  /** @type {number[]} */
  #levels = [];
  /** @type {string | undefined} */
  #path;

  /**
   * Return the warnings that a sample raises or clears.
   * @param {MediaSample} sample
   * @returns {Warning[]}
   */
  judge(sample) {
    /** @type {Record<string, any>} */
    const values = { ...sample, ...this.#derived(sample) };
    /** @type {Warning[]} */
    const warnings = [];
    for (const rule of RULES) {
      const value = values[rule.member];
      if (value === undefined) continue;
      const state = this.#stateOf(rule, value);
      if (state) warnings.push({ name: rule.name, state, value: rounded(value, 4), threshold: rule.threshold });
    }
    const { path } = sample;
    if (path && this.#path && path !== this.#path) warnings.push({ name: "path_changed", state: "raised", value: path });
    this.#path = path ?? this.#path;
    return warnings;
  }

  /**
   * Return the state to which a value brings a rule, or null if it stays.
   * @param {Rule} rule
   * @param {number} value
   */
  #stateOf({ name, threshold, isMinimum = false, window = 5, raiseAt = 3 }, value) {
    const seen = [...(this.#seen.get(name) ?? []), isMinimum ? value < threshold : value > threshold].slice(-window);
    this.#seen.set(name, seen);
    const bad = seen.filter(Boolean).length;
    if (!this.#raised.has(name) && bad >= raiseAt) {
      this.#raised.add(name);
      return "raised";
    }
    return bad === 0 && this.#raised.delete(name) ? "cleared" : null;
  }

  /**
   * Return what the rules judge and a sample does not hold itself.
   * @param {MediaSample} sample
   */
  #derived(sample) {
    /** @type {Record<string, number>} */
    const derived = {};
    const { packets_received: received, packets_sent: sent, level_out: level } = sample;
    const percent = lossPercent(sample);
    if (percent !== undefined) derived.loss_percent = percent;
    if (received !== undefined && sent !== undefined && (received || sent)) {
      derived.least_packets = Math.min(received, sent);
    }
    if (level !== undefined) {
      this.#levels = [...this.#levels, level].slice(-LEVEL_SAMPLES);
      if (this.#levels.length === LEVEL_SAMPLES) {
        derived.level_span = Math.max(...this.#levels) - Math.min(...this.#levels);
      }
    }
    return derived;
  }
}

/**
 * Return the share of packets that were lost on their way here, in percent; undefined if none was due.
 * @param {MediaSample} sample
 */
function lossPercent({ packets_received: received, packets_lost: lost }) {
  if (received === undefined || lost === undefined || received + lost <= 0) return undefined;
  return (100 * Math.max(lost, 0)) / (received + lost);
}

/**
 * Return the mean opinion score of the sound that arrives here, 1.0 to 4.4; undefined if it is not known.
 *
 * The formula is that of Cole and Rosenbluth, "Voice over IP Performance Monitoring" (2001), a reduction of the
 * E-model (ITU-T G.107), with their factors for G.711.
 * @param {MediaSample} sample
 */
export function meanOpinionScore(sample) {
  const percent = lossPercent(sample);
  if (percent === undefined || sample.rtt_ms === undefined) return undefined;
  const delayMs = sample.rtt_ms / 2 + 2 * (sample.jitter_ms ?? 0) + PACKET_MS;
  const byDelay = 0.024 * delayMs + 0.11 * Math.max(delayMs - KNEE_MS, 0);
  const byLoss = 30 * Math.log(1 + (15 * percent) / 100);
  const r = Math.min(Math.max(BASE_R - byDelay - byLoss, 0), 100);
  return rounded(Math.max(1, 1 + 0.035 * r + 7e-6 * r * (r - 60) * (100 - r)), 2);
}

/**
 * @param {number} value
 * @param {number} digits
 */
export function rounded(value, digits) {
  return Number(value.toFixed(digits));
}
