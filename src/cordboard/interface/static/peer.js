// The media end of a call: one peer connection to the bot, audio both ways.

import { getClientLogger } from "/static/log.js";

// Addresses of this machine come within a few ms, one after the other; what comes later than that
// (a browser looks 100 ms longer, for TCP, which the bots do not speak) is sent after the offer.
const GATHER_QUIET_MS = 20;
const GATHER_MAX_MS = 300;
const PING_MS = 1000;
const ERRORS = new Set(["error", "error-response"]);
const MESSAGE_MAX_CHARS = 64 * 1024;
const BOT_ERROR_CHARS = 300; // a sentence or two; the bot's own log has the rest
// What Pipecat's own client says first; bots that greet on RTVI's client-ready wait for it.
const CLIENT_READY = {
  label: "rtvi-ai",
  type: "client-ready",
  id: "1",
  data: { version: "1.0.0", about: { library: "cordboard" } },
};

const log = getClientLogger("webrtc");

export class Peer {
  #pc;
  #ping = null;
  #closed = false;
  #late = [];
  #sendLate = null;

  /** An offer that is complete enough to be sent: { sdp, type }. */
  offer;

  /**
   * @param stream the microphone
   * @param onState told of each state of the connection
   * @param onStream given the bot's sound
   * @param onBotError told of each error that the bot reports, and whether it is fatal
   */
  constructor(stream, { onState, onStream, onBotError }) {
    // Without servers of others: nothing leaves this network, and gathering waits for nobody.
    this.#pc = new RTCPeerConnection({ iceServers: [], bundlePolicy: "max-bundle" });
    const [track] = stream.getAudioTracks();
    this.#pc.addTransceiver(track, { direction: "sendrecv", streams: [stream] });
    this.#pc.ontrack = (event) => onStream(event.streams[0] ?? new MediaStream([event.track]));
    this.#pc.onconnectionstatechange = () => {
      const state = this.#pc.connectionState;
      log.info("Connection state", { state });
      onState(state);
    };
    this.#pc.oniceconnectionstatechange = () => {
      log.info("ICE state", { state: this.#pc.iceConnectionState });
    };
    this.#pc.onicecandidateerror = (event) => {
      log.warn("ICE candidate error", { code: event.errorCode, text: event.errorText });
    };
    this.#pc.onicecandidate = ({ candidate }) => candidate?.protocol === "udp" && this.#candidate(candidate);
    this.#talk(this.#pc.createDataChannel("cordboard"), onBotError);
    this.offer = this.#makeOffer();
    this.offer.catch(() => {}); // whoever awaits it, hears of it
  }

  /** Take the bot's answer; `sendLate(candidates)` sends what came after the offer. */
  async accept(answer, sendLate) {
    await this.#pc.setRemoteDescription({ sdp: answer.sdp, type: answer.type });
    this.#sendLate = sendLate;
    this.#flushLate();
  }

  /** Which way the media goes, for the log. */
  async path() {
    const stats = await this.#pc.getStats();
    for (const pair of stats.values()) {
      if (pair.type === "candidate-pair" && pair.nominated && pair.state === "succeeded") {
        const [local, remote] = [stats.get(pair.localCandidateId), stats.get(pair.remoteCandidateId)];
        return {
          local: local?.candidateType,
          remote: remote?.candidateType,
          protocol: local?.protocol,
          round_trip_ms: Math.round((pair.currentRoundTripTime ?? 0) * 1000),
        };
      }
    }
    return {};
  }

  /** How the sound has travelled, for the log. */
  async quality() {
    const found = {};
    for (const item of (await this.#pc.getStats()).values()) {
      if (item.type === "inbound-rtp" && item.kind === "audio") {
        Object.assign(found, {
          received: item.packetsReceived,
          lost: item.packetsLost,
          jitter_ms: Math.round((item.jitter ?? 0) * 1000),
        });
      } else if (item.type === "outbound-rtp" && item.kind === "audio") {
        found.sent = item.packetsSent;
      }
    }
    return found;
  }

  close() {
    clearInterval(this.#ping);
    this.#closed = true;
    this.#pc.ontrack = null;
    this.#pc.onicecandidate = null;
    this.#pc.onconnectionstatechange = null;
    this.#pc.oniceconnectionstatechange = null;
    this.#pc.close();
  }

  async #makeOffer() {
    const gathered = this.#gathered();
    await this.#pc.setLocalDescription(await this.#pc.createOffer());
    await gathered;
    const { sdp, type } = this.#pc.localDescription;
    this.#late = []; // all that came so far is in the offer
    return { sdp, type };
  }

  #gathered() {
    return new Promise((resolve) => {
      let quiet = null;
      this.#pc.addEventListener("icecandidate", ({ candidate }) => {
        clearTimeout(quiet);
        quiet = setTimeout(resolve, candidate ? GATHER_QUIET_MS : 0);
      });
      setTimeout(resolve, GATHER_MAX_MS);
    });
  }

  #candidate(candidate) {
    this.#late.push(candidate.toJSON());
    this.#flushLate();
  }

  #flushLate() {
    if (!this.#sendLate || this.#late.length === 0) return;
    const candidates = this.#late;
    this.#late = [];
    this.#sendLate(candidates);
  }

  // Pipecat takes a peer whose pings have stopped for gone, long before ICE would.
  #talk(channel, onBotError) {
    channel.onmessage = ({ data }) => {
      const told = this.#closed ? null : botError(data);
      if (told) onBotError(told.text, told.fatal);
    };
    channel.onopen = () => {
      if (this.#closed) return;
      channel.send(JSON.stringify(CLIENT_READY));
      this.#ping = setInterval(() => {
        if (channel.readyState === "open") channel.send(`ping: ${Date.now()}`);
      }, PING_MS);
    };
  }
}

// RTVI's "error" and "error-response", as Pipecat sends them; whatever else comes is not for us.
function botError(data) {
  if (typeof data !== "string" || data.length > MESSAGE_MAX_CHARS) return null;
  let message;
  try {
    message = JSON.parse(data);
  } catch {
    return null; // a bot may say what it likes
  }
  if (message?.label !== "rtvi-ai" || !ERRORS.has(message.type)) return null;
  const said = message.data?.error ?? message.data?.message ?? message.data;
  const text = typeof said === "string" ? said : JSON.stringify(said ?? "");
  return { text: text.slice(0, BOT_ERROR_CHARS), fatal: message.data?.fatal === true };
}
