// A page that uses Pipecat's own clients as their documentation does. A test drives it through `person`.
//
// The media manager is not the default one, which loads code of Daily's from the internet at run time.
import { PipecatClient } from "@pipecat-ai/client-js";
import { SmallWebRTCTransport, WavMediaManager } from "@pipecat-ai/small-webrtc-transport";
import {
  WavMediaManager as WebSocketMediaManager,
  WebSocketTransport,
} from "@pipecat-ai/websocket-transport";

const HEARD_ENERGY = 1e-4; // above the rounding of a silent track, below a spoken syllable
const POLL_MS = 5;
const ANSWER_MS = 1000;

/** Counts the loud samples of what the bot says on a websocket. */
class ListeningMediaManager extends WebSocketMediaManager {
  energy = 0;

  bufferBotAudio(data, id) {
    const samples = new Int16Array(data instanceof Int16Array ? data : data.slice(0));
    for (const sample of samples) this.energy += (sample / 32768) ** 2;
    return super.bufferBotAudio(data, id);
  }
}

const peers = [];
const OriginalPeer = window.RTCPeerConnection;
window.RTCPeerConnection = class extends OriginalPeer {
  constructor(...options) {
    super(...options);
    peers.push(this);
  }
};

async function energyOf(peer) {
  const stats = await peer?.getStats() ?? new Map();
  for (const item of stats.values()) {
    if (item.type === "inbound-rtp" && item.kind === "audio") return item.totalAudioEnergy ?? 0;
  }
  return 0;
}

/** One visitor of the page, with one client. */
class Person {
  states = [];
  messages = [];
  errors = [];
  answers = [];
  botReady = null;
  speaker = new Audio();

  constructor(transport) {
    this.kind = transport;
    this.speaker.autoplay = true;
    this.media = transport === "websocket" ? new ListeningMediaManager() : new WavMediaManager();
    const options = { mediaManager: this.media };
    this.client = new PipecatClient({
      transport:
        transport === "websocket" ? new WebSocketTransport(options) : new SmallWebRTCTransport(options),
      enableMic: true,
      enableCam: false,
      callbacks: {
        onTransportStateChanged: (state) => this.states.push(state),
        onBotStarted: (answer) => this.answers.push(answer),
        onBotReady: (data) => { this.botReady = data; },
        onServerMessage: (data) => this.messages.push(data),
        onTrackStarted: (track, participant) => {
          if (!participant?.local && track.kind === "audio") this.play(track);
        },
        onError: (message) => this.errors.push(message.data?.message ?? String(message)),
      },
    });
  }

  play(track) {
    this.speaker.srcObject = new MediaStream([track]);
  }

  /** Start a bot at `endpoint`, connect to it, and wait until it is heard; return the milliseconds. */
  async call(endpoint, requestData, key) {
    const began = performance.now();
    const headers = key ? new Headers({ Authorization: `Bearer ${key}` }) : undefined;
    await this.client.startBotAndConnect({ endpoint, requestData, headers });
    const ready = performance.now() - began;
    await this.hear(0);
    return { ready, heard: performance.now() - began };
  }

  /** Call without waiting for the bot's voice; return the error's text, or "". */
  async attempt(endpoint, requestData, key) {
    try {
      await this.call(endpoint, requestData, key);
    } catch (error) {
      return String(error.message ?? error);
    }
    return "";
  }

  /** Return the energy of all that was heard so far on the newest connection. */
  energy() {
    return this.kind === "websocket" ? Promise.resolve(this.media.energy) : energyOf(peers.at(-1));
  }

  /** Wait until another connection than the first is open, and the bot answers on it. */
  async reconnected() {
    while (peers.length < 2 || peers.at(-1).connectionState !== "connected") {
      await new Promise((resolve) => { setTimeout(resolve, POLL_MS); });
    }
    // A message that is sent before the data channel is open is lost.
    while (!await this.client.sendClientRequest("body", {}, ANSWER_MS).catch(() => null));
  }

  /** Play the newest connection: after a reconnection the transport (1.10.8) does not report its track. */
  playNewest() {
    this.play(peers.at(-1).getReceivers()[0].track);
  }

  /** Wait until more than `before` was heard. */
  async hear(before) {
    while (await this.energy() <= before + HEARD_ENERGY) {
      await new Promise((resolve) => { setTimeout(resolve, POLL_MS); });
    }
  }

  /** Cut the connection as a network change does: the transport notices a failed connection. */
  fail() {
    const peer = peers.at(-1);
    Object.defineProperty(peer, "iceConnectionState", { value: "failed" });
    peer.dispatchEvent(new Event("iceconnectionstatechange"));
  }
}

window.peers = peers;
window.enter = (transport) => {
  window.person = new Person(transport);
};
