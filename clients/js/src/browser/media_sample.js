// The figures of a connection: totals out of the browser's statistics, and what happened between two of them.

import { meanOpinionScore, rounded } from "./media_quality.js";

/**
 * @import { MediaSample } from "./media_quality.js"
 *
 * @typedef {object} Totals of the audio of one connection, at one time
 * @property {number} at milliseconds, by the clock of performance.now()
 * @property {Record<string, number>} counters
 * @property {{ jitter_ms?: number, rtt_ms?: number, path?: string }} present
 */

const COUNTERS = ["packets_sent", "packets_received", "packets_lost", "concealed_samples", "samples"];

/** The totals before anything was sent. */
export const NOTHING = /** @type {Totals} */ ({ at: 0, counters: {}, present: {} });

/**
 * Return the totals in a report of a connection.
 * @param {Map<string, any>} report what RTCPeerConnection.getStats() returns
 * @param {number} at
 * @returns {Totals}
 */
export function totalsOf(report, at) {
  const audio = [...report.values()].filter((item) => (item.kind ?? item.mediaType) === "audio");
  /** @type {Totals} */
  const totals = { at, counters: {}, present: {} };
  for (const item of audio) addTo(totals, item);
  const pair = pairOf(report);
  const rtt = totals.present.rtt_ms ?? milliseconds(pair?.currentRoundTripTime);
  const path = report.get(pair?.localCandidateId)?.candidateType;
  if (rtt !== undefined) totals.present.rtt_ms = rtt;
  if (path) totals.present.path = path;
  return totals;
}

/**
 * @param {Totals} totals
 * @param {any} item
 */
function addTo({ counters, present }, item) {
  const count = (/** @type {string} */ name, /** @type {number | undefined} */ value) => {
    if (value !== undefined) counters[name] = (counters[name] ?? 0) + value;
  };
  if (item.type === "outbound-rtp") count("packets_sent", item.packetsSent);
  if (item.type === "media-source") {
    count("energy_out", item.totalAudioEnergy);
    count("seconds_out", item.totalSamplesDuration);
  }
  if (item.type === "remote-inbound-rtp" && item.roundTripTimeMeasurements !== 0) {
    present.rtt_ms = milliseconds(item.roundTripTime) ?? present.rtt_ms;
  }
  if (item.type !== "inbound-rtp") return;
  count("packets_received", item.packetsReceived);
  count("packets_lost", item.packetsLost);
  count("concealed_samples", item.concealedSamples);
  count("samples", item.totalSamplesReceived);
  count("energy_in", item.totalAudioEnergy);
  count("seconds_in", item.totalSamplesDuration);
  present.jitter_ms = milliseconds(item.jitter);
}

/**
 * Return the pair of candidates in use.
 * @param {Map<string, any>} report
 */
function pairOf(report) {
  const items = [...report.values()];
  const transport = items.find((item) => item.type === "transport" && item.selectedCandidatePairId);
  if (transport) return report.get(transport.selectedCandidatePairId);
  return items.find((item) => item.type === "candidate-pair" && item.nominated && item.state === "succeeded");
}

/** @param {number | undefined} seconds */
function milliseconds(seconds) {
  return seconds === undefined ? undefined : rounded(seconds * 1000, 1);
}

/**
 * Return what happened between two totals.
 * @param {Totals} before
 * @param {Totals} after
 * @param {boolean} isMuted whether the page itself has switched the microphone off: then its level says nothing
 * @returns {MediaSample}
 */
export function between(before, after, isMuted) {
  /** @type {Record<string, any>} */
  const sample = { ...after.present };
  for (const name of COUNTERS) {
    const change = changeOf(before, after, name);
    if (change !== undefined) sample[name] = change;
  }
  const levels = { level_in: levelOf(before, after, "in"), level_out: isMuted ? undefined : levelOf(before, after, "out") };
  const all = { ...sample, ...levels, mos: meanOpinionScore(sample) };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

/**
 * @param {Totals} before
 * @param {Totals} after
 * @param {string} name
 */
function changeOf(before, after, name) {
  const value = after.counters[name];
  return value === undefined ? undefined : value - (before.counters[name] ?? 0);
}

/**
 * Return the root mean square of the sound of an interval, 0 to 1.
 * @param {Totals} before
 * @param {Totals} after
 * @param {"in" | "out"} direction
 */
function levelOf(before, after, direction) {
  const energy = changeOf(before, after, `energy_${direction}`);
  const seconds = changeOf(before, after, `seconds_${direction}`);
  if (energy === undefined || seconds === undefined || seconds <= 0) return undefined;
  return rounded(Math.min(1, Math.sqrt(Math.max(energy, 0) / seconds)), 4);
}
