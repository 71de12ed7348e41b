// What the media of a call are made of. Tests pass other parts.

import { request } from "./api.js";
import { watchDevices } from "./client/device_watch.js";
import { watchHeard } from "./client/heard_watch.js";
import { Loudness, sharedAudioContext } from "./microphone.js";
import { Peer } from "./peer.js";

/**
 * @import { Meter } from "./bot_audio.js"
 * @import { IceConfig, PeerHandlers } from "./peer.js"
 * @typedef {Pick<ReturnType<typeof watchHeard>, "hear" | "close">} HeardWatch
 *
 * @typedef {object} MediaParts
 * @property {typeof request} request
 * @property {(microphone: MediaStream, handlers: PeerHandlers, iceConfig: IceConfig) => Peer} newPeer
 * @property {(stream: MediaStream) => Meter} newMeter
 * @property {() => boolean} mayLogWords returns whether the setting `content` permits the words of a call in its log
 * @property {(microphone: MediaStream) => { close(): void }} watchDevices logs what changes at the caller's end
 * @property {(microphone: MediaStream) => HeardWatch} watchHeard logs the latency of each turn as the caller hears it
 */

/** @type {MediaParts} */
export const BROWSER_MEDIA = {
  request,
  newPeer: (microphone, handlers, iceConfig) => new Peer(microphone, handlers, iceConfig),
  newMeter: (stream) => new Loudness(stream),
  mayLogWords: () => ["words", "all"].includes(document.getElementById("room")?.dataset.content ?? ""),
  watchDevices: (microphone) => {
    const [track] = microphone.getAudioTracks();
    return watchDevices(track, { audioContext: sharedAudioContext() });
  },
  watchHeard: (microphone) => watchHeard(microphone, { audioContext: sharedAudioContext() }),
};
