// A short quiet tone that marks a gap in a call, for people who do not look at the page.

import { sharedAudioContext } from "./microphone.js";

const FREQUENCY_HZ = 330;
const GAIN = 0.04; // about -28 dB: below speech
const LENGTH_S = 0.15;
const EDGE_S = 0.02; // rise and fall, without which a tone clicks

/** Play the tone once. */
export function playGapTone() {
  const context = sharedAudioContext();
  const [begin, end] = [context.currentTime, context.currentTime + LENGTH_S];
  const gain = new GainNode(context, { gain: 0 });
  gain.gain.setValueAtTime(0, begin);
  gain.gain.linearRampToValueAtTime(GAIN, begin + EDGE_S);
  gain.gain.setValueAtTime(GAIN, end - EDGE_S);
  gain.gain.linearRampToValueAtTime(0, end);
  const tone = new OscillatorNode(context, { frequency: FREQUENCY_HZ });
  tone.connect(gain).connect(context.destination);
  tone.start(begin);
  tone.stop(end);
}
