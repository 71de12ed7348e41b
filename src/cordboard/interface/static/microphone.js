// The microphone, and how loud a sound is.

const WANTED = { audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true } };
const QUIET_DB = -60;

/** Open the microphone; the error's name says why it cannot be had. */
export async function openMicrophone() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw Object.assign(new Error("there is no navigator.mediaDevices"), { name: "InsecureContext" });
  }
  return navigator.mediaDevices.getUserMedia(WANTED);
}

/** Whether the browser will open the microphone without asking: then nobody need wait for it. */
export async function isAllowedAlready() {
  try {
    return (await navigator.permissions.query({ name: "microphone" })).state === "granted";
  } catch {
    return false; // not every browser tells
  }
}

export function closeMicrophone(stream) {
  stream?.getTracks().forEach((track) => track.stop());
}

/** Measures how loud a stream is; one audio context serves all of a page's. */
export class Loudness {
  static #context = null;

  #analyser;
  #source;
  #samples;

  constructor(stream) {
    const context = (Loudness.#context ??= new AudioContext());
    context.resume().catch(() => {});
    this.#source = context.createMediaStreamSource(stream);
    this.#analyser = new AnalyserNode(context, { fftSize: 1024 });
    this.#samples = new Float32Array(this.#analyser.fftSize);
    this.#source.connect(this.#analyser);
  }

  /** From 0 (silence) to 1 (as loud as it can be), in steps that ears take for equal. */
  level() {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    const power = this.#samples.reduce((sum, sample) => sum + sample * sample, 0) / this.#samples.length;
    return Math.max(0, 1 - (10 * Math.log10(power + 1e-12)) / QUIET_DB);
  }

  close() {
    this.#source.disconnect();
  }
}
