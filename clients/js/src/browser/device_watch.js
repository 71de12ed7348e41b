// Watches what a call needs at the caller's end: microphone, page and sound output. Each change is a line.

import { flush, getClientLogger } from "./logger.js";

/** @typedef {{ audioContext?: AudioContext }} DeviceWatchOptions */

const TICK_MS = 1000;
const GAP_MS = 5000; // between two ticks of a page that runs
const HIDDEN_GAP_MS = 90_000; // browsers wake a hidden page once a minute
const SETTINGS = ["autoGainControl", "channelCount", "echoCancellation", "noiseSuppression", "sampleRate"];
const HASH_DIGITS = 12;

const log = getClientLogger("device");

/**
 * Watch a microphone and its page. The label of the microphone is logged as a hash, its id not at all.
 * @param {MediaStreamTrack} track
 * @param {DeviceWatchOptions} options
 * @returns {{ close(): void }}
 */
export function watchDevices(track, { audioContext } = {}) {
  const ending = new AbortController();
  watchMicrophone(track, ending.signal);
  watchPermission(ending.signal);
  watchPage(ending.signal);
  if (audioContext) watchAudio(audioContext, ending.signal);
  return { close: () => ending.abort() };
}

/**
 * @param {string} kind
 * @param {Record<string, unknown>} meta
 */
function changed(kind, meta = {}) {
  log.info("Device changed", { event: "device.changed", kind, ...meta });
}

/**
 * Log two changes of which the second one ends the first.
 * @param {string} begins kind
 * @param {string} ends kind
 */
function period(begins, ends) {
  /** @type {number | null} */
  let since = null;
  return {
    isOpen: () => since !== null,
    begin: () => {
      if (since !== null) return;
      since = performance.now();
      changed(begins);
    },
    end: () => {
      if (since === null) return;
      changed(ends, { duration_ms: Math.round(performance.now() - since) });
      since = null;
    },
  };
}

/**
 * @param {MediaStreamTrack} track
 * @param {AbortSignal} signal
 */
function watchMicrophone(track, signal) {
  let known = settingsOf(track);
  const text = (/** @type {object} */ settings) => JSON.stringify(settings);
  hashOf(track.label).then((label_hash) => {
    if (!signal.aborted) changed("microphone", { label_hash, settings: known });
  });
  const mute = period("muted", "unmuted");
  if (track.muted) mute.begin();
  track.addEventListener("mute", mute.begin, { signal });
  track.addEventListener("unmute", mute.end, { signal });
  track.addEventListener("ended", () => changed("microphone", { settings: { readyState: "ended" } }), { signal });
  const timer = setInterval(() => {
    const settings = settingsOf(track);
    if (text(settings) !== text(known)) changed("settings", { settings });
    known = settings;
  }, TICK_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/**
 * Return the settings that affect the sound; none of them identifies a device.
 * @param {MediaStreamTrack} track
 */
function settingsOf(track) {
  const settings = /** @type {Record<string, unknown>} */ (track.getSettings?.() ?? {});
  return Object.fromEntries(SETTINGS.filter((name) => name in settings).map((name) => [name, settings[name]]));
}

/**
 * Return the first digits of a label's SHA-256; undefined where browsers offer none, which is without https.
 * @param {string} label
 */
async function hashOf(label) {
  if (!label || !globalThis.crypto?.subtle) return undefined;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(label)));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("").slice(0, HASH_DIGITS);
}

/** @param {AbortSignal} signal */
async function watchPermission(signal) {
  try {
    const permission = await navigator.permissions.query({ name: /** @type {PermissionName} */ ("microphone") });
    permission.addEventListener("change", () => changed("permission", { settings: { state: permission.state } }), { signal });
  } catch {
    // Some browsers do not know this permission.
  }
}

/**
 * Notice that the page did not run: by the browser's events, or by the time between two ticks.
 * @param {AbortSignal} signal
 */
function watchPage(signal) {
  let last = performance.now();
  const frozen = period("frozen", "resumed");
  document.addEventListener("freeze", () => {
    frozen.begin();
    flush(); // the page may never run again
  }, { signal });
  document.addEventListener("resume", () => {
    last = performance.now();
    frozen.end();
  }, { signal });
  const timer = setInterval(() => {
    const gap = performance.now() - last;
    last = performance.now();
    const limit = document.hidden ? HIDDEN_GAP_MS : GAP_MS;
    if (gap > limit && !frozen.isOpen()) changed("resumed", { duration_ms: Math.round(gap - TICK_MS) });
  }, TICK_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/**
 * Notice that the system takes the sound, as a telephone call does on a phone.
 * @param {AudioContext} context
 * @param {AbortSignal} signal
 */
function watchAudio(context, signal) {
  let hasRun = context.state === "running";
  const interruption = period("audio_interrupted", "audio_resumed");
  context.addEventListener("statechange", () => {
    if (context.state === "running") {
      hasRun = true;
      interruption.end();
    } else if (hasRun && context.state !== "closed") {
      interruption.begin();
    }
  }, { signal });
}
