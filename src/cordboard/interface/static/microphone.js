// The microphone, and the loudness of a stream.

const CONSTRAINTS = { audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true } };
const SILENCE_DB = -60; // below the noise of a quiet room

let chosenId = ""; // of the device; "" is the one that the browser prefers

/**
 * Choose the device that is opened from now on.
 * @param {string} id id of the device, or "" for the one that the browser prefers
 */
export function chooseMicrophone(id) {
  chosenId = id;
}

/** Return the microphones; the browser hides their labels until the user has allowed one. */
export async function listMicrophones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices.filter(({ kind, deviceId }) => kind === "audioinput" && !["", "default"].includes(deviceId));
}

/**
 * Open the microphone. The name of the error says why it is not available (see messages.js).
 * @returns {Promise<MediaStream>}
 */
export async function openMicrophone() {
  // Browsers hide mediaDevices from pages that are neither https nor localhost.
  if (!navigator.mediaDevices?.getUserMedia) {
    throw Object.assign(new Error("navigator.mediaDevices is missing"), { name: "InsecureContext" });
  }
  if (!chosenId) return await navigator.mediaDevices.getUserMedia(CONSTRAINTS);
  const chosen = { audio: { ...CONSTRAINTS.audio, deviceId: { exact: chosenId } } };
  try {
    return await navigator.mediaDevices.getUserMedia(chosen);
  } catch (error) {
    // It was unplugged: any other one is better than no call.
    if (!["OverconstrainedError", "NotFoundError"].includes(/** @type {Error} */ (error).name)) throw error;
    return await navigator.mediaDevices.getUserMedia(CONSTRAINTS);
  }
}

/** Return whether the browser opens the microphone without asking the user first. */
export async function isMicrophoneAllowed() {
  try {
    const permission = await navigator.permissions.query({ name: /** @type {PermissionName} */ ("microphone") });
    return permission.state === "granted";
  } catch {
    return false; // some browsers do not know this permission
  }
}

/**
 * Release the microphone.
 * @param {MediaStream | null} stream
 */
export function closeMicrophone(stream) {
  stream?.getTracks().forEach((track) => track.stop());
}

/** @type {AudioContext | null} */
let audioContext = null;

/**
 * Return the page's audio context, which all that measures or makes sound shares.
 *
 * The bot is not played by it, so it may render rarely: at 23 ms instead of 10 ms, the worklet costs half as much.
 */
export function sharedAudioContext() {
  const context = (audioContext ??= new AudioContext({ latencyHint: "playback" }));
  context.resume().catch(() => {});
  return context;
}

/** Measures the loudness of a stream. */
export class Loudness {
  #analyser;
  #source;
  #samples;

  /** @param {MediaStream} stream */
  constructor(stream) {
    const context = sharedAudioContext();
    this.#source = context.createMediaStreamSource(stream);
    this.#analyser = new AnalyserNode(context, { fftSize: 1024 });
    this.#samples = new Float32Array(this.#analyser.fftSize);
    this.#source.connect(this.#analyser);
  }

  /** Return the loudness of the last 20 ms, from 0 (silence) to 1 (maximum), linear in decibels. */
  level() {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    return levelOf(this.#samples);
  }

  /** Stop measuring. */
  close() {
    this.#source.disconnect();
  }
}

/**
 * Return the loudness of samples, from 0 (silence) to 1 (maximum), linear in decibels.
 * @param {Float32Array} samples from -1 to 1
 */
export function levelOf(samples) {
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
  return Math.max(0, 1 - (10 * Math.log10(power + 1e-12)) / SILENCE_DB);
}
