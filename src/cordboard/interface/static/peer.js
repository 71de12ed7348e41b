// The media connection of a call: one WebRTC connection to the bot, with audio in both directions.

import { watchPeerConnection } from "./client/peer_watch.js";
import { getClientLogger } from "./log.js";

// The host addresses of this machine arrive within a few milliseconds of each other. Browsers look
// 100 ms longer, for TCP candidates that bots do not support. So the offer is sent after 20 ms without a
// new candidate, and a candidate that comes later is sent separately.
const GATHER_QUIET_MS = 20;
const GATHER_MAX_MS = 300;
const PING_MS = 1000;
const UNREACHABLE = 701; // the code of browsers for a STUN or TURN server without an answer
const BOT_ERROR_TYPES = new Set(["error", "error-response"]);
const BOT_MESSAGE_CHARS = 64 * 1024; // longer messages carry data, not errors
const BOT_ERROR_CHARS = 300; // one or two sentences; the bot's log has the rest
// The first message of Pipecat's own client. Bots that greet on RTVI's client-ready wait for it.
const CLIENT_READY = {
  label: "rtvi-ai",
  type: "client-ready",
  id: "1",
  data: { version: "1.0.0", about: { library: "cordboard" } },
};

/**
 * @import { Received } from "./reception.js"
 * @typedef {Pick<RTCConfiguration, "iceServers" | "iceTransportPolicy">} IceConfig the servers of a join's answer
 * @typedef {{ sdp: string, type: RTCSdpType }} SessionDescription
 * @typedef {(candidates: RTCIceCandidateInit[]) => void} SendCandidates
 * @typedef {{ type: string, text: string, isFatal: boolean }} BotError
 * @typedef {object} PeerHandlers
 * @property {(state: RTCPeerConnectionState) => void} onState receives each state of the connection
 * @property {(stream: MediaStream) => void} onStream receives the bot's audio
 * @property {() => void} onBotClosed called when the bot itself has closed its side, as at the end of a call
 * @property {(error: BotError) => void} onBotError receives each error that the bot reports
 */

const log = getClientLogger("webrtc");

/** One connection to one bot process. */
export class Peer {
  #connection;
  #watch;
  #closed = false;
  /** @type {{ code: number, url: string } | null} */
  #serverError = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #pings;
  /** @type {RTCIceCandidateInit[]} */
  #lateCandidates = [];
  /** @type {SendCandidates | null} */
  #sendCandidates = null;

  /**
   * The offer, complete enough to be sent.
   * @type {Promise<SessionDescription>}
   */
  offer;

  /**
   * @param {MediaStream} microphone
   * @param {PeerHandlers} handlers
   * @param {IceConfig} iceConfig
   */
  constructor(microphone, { onState, onStream, onBotClosed, onBotError }, iceConfig = {}) {
    const connection = new RTCPeerConnection({ iceServers: [], bundlePolicy: "max-bundle", ...iceConfig });
    this.#connection = connection;
    this.#watch = watchPeerConnection(connection, { devices: false }); // media.js watches them once for the call
    const [track] = microphone.getAudioTracks();
    connection.addTransceiver(track, { direction: "sendrecv", streams: [microphone] });
    connection.ontrack = (event) => onStream(event.streams[0] ?? new MediaStream([event.track]));
    connection.onconnectionstatechange = () => {
      log.info("Connection state", { state: connection.connectionState });
      onState(connection.connectionState);
    };
    connection.oniceconnectionstatechange = () => {
      log.info("ICE state", { state: connection.iceConnectionState });
    };
    connection.onicecandidateerror = (event) => {
      log.warn("ICE candidate error", { code: event.errorCode, text: event.errorText, url: event.url });
      // A refusal says more than a server that could not be reached from one of several networks.
      if (event.errorCode !== UNREACHABLE) this.#serverError = { code: event.errorCode, url: event.url };
      this.#serverError ??= { code: event.errorCode, url: event.url };
    };
    connection.onicecandidate = ({ candidate }) => {
      if (candidate?.protocol === "udp") this.#addCandidate(candidate);
    };
    const channel = connection.createDataChannel("cordboard");
    // A bot that dies closes nothing.
    channel.onclose = () => this.#closed || onBotClosed();
    this.#openChannel(channel, onBotError);
    this.offer = this.#makeOffer();
    this.offer.catch(() => {}); // the code that awaits the offer handles its error
  }

  /**
   * Accept the bot's answer.
   * @param {SessionDescription} answer
   * @param {SendCandidates} sendCandidates sends candidates that are not in the offer
   */
  async accept(answer, sendCandidates) {
    await this.#connection.setRemoteDescription({ sdp: answer.sdp, type: answer.type });
    this.#sendCandidates = sendCandidates;
    this.#flushCandidates();
  }

  /** The last error of a STUN or TURN server, or null. */
  get serverError() {
    return this.#serverError;
  }

  /** Return the network path of the media, for the log. */
  async path() {
    const stats = await this.getStats();
    const pair = [...stats.values()].find(
      (item) => item.type === "candidate-pair" && item.nominated && item.state === "succeeded",
    );
    if (!pair) return {};
    const [local, remote] = [stats.get(pair.localCandidateId), stats.get(pair.remoteCandidateId)];
    return {
      local: local?.candidateType,
      remote: remote?.candidateType,
      protocol: local?.protocol,
      round_trip_ms: Math.round((pair.currentRoundTripTime ?? 0) * 1000),
    };
  }

  /**
   * Make an offer for another path to the same bot, after the network of this machine has changed.
   * @returns {Promise<SessionDescription>}
   */
  restartIce() {
    this.#sendCandidates = null; // until the bot has accepted the offer, it knows none of the new ones
    this.#connection.restartIce();
    return this.#makeOffer();
  }

  /** Whether the connection to the bot is open. */
  get isConnected() {
    return this.#connection.connectionState === "connected";
  }

  /**
   * Return how many packets of audio have come, and when the last one came.
   * @returns {Promise<Received>}
   */
  async received() {
    const stats = await this.getStats();
    const audio = [...stats.values()].find((item) => item.type === "inbound-rtp" && item.kind === "audio");
    const now = performance.timeOrigin + performance.now();
    // Browsers without this time get that of the look, which comes soon after the packet.
    return { packets: audio?.packetsReceived ?? 0, lastAt: audio?.lastPacketReceivedTimestamp ?? now, now };
  }

  /** Return the packets that were sent, received and lost, for the log. */
  async quality() {
    const stats = [...(await this.getStats()).values()].filter((item) => item.kind === "audio");
    const received = stats.find((item) => item.type === "inbound-rtp");
    const sent = stats.find((item) => item.type === "outbound-rtp");
    return {
      received: received?.packetsReceived,
      lost: received?.packetsLost,
      jitter_ms: received && Math.round((received.jitter ?? 0) * 1000),
      sent: sent?.packetsSent,
    };
  }

  /**
   * Return the browser's statistics of the connection.
   * @returns {Promise<Map<string, any>>}
   */
  async getStats() {
    return /** @type {Map<string, any>} */ (/** @type {unknown} */ (await this.#connection.getStats()));
  }

  /** Close the connection. No handler is called afterwards. */
  close() {
    clearInterval(this.#pings);
    this.#closed = true;
    this.#watch.close();
    this.#connection.ontrack = null;
    this.#connection.onicecandidate = null;
    this.#connection.onconnectionstatechange = null;
    this.#connection.oniceconnectionstatechange = null;
    this.#connection.close();
  }

  /** @returns {Promise<SessionDescription>} */
  async #makeOffer() {
    const gathered = this.#gatherCandidates();
    await this.#connection.setLocalDescription(await this.#connection.createOffer());
    await gathered;
    const description = this.#connection.localDescription;
    if (!description) throw new Error("the connection was closed while the offer was made");
    this.#lateCandidates = []; // the offer contains those that have arrived
    return { sdp: description.sdp, type: description.type };
  }

  /** @returns {Promise<void>} */
  #gatherCandidates() {
    return new Promise((resolve) => {
      /** @type {ReturnType<typeof setTimeout> | undefined} */
      let quietTimer;
      this.#connection.addEventListener("icecandidate", ({ candidate }) => {
        clearTimeout(quietTimer);
        // The event without a candidate is the last one.
        quietTimer = setTimeout(resolve, candidate ? GATHER_QUIET_MS : 0);
      });
      setTimeout(resolve, GATHER_MAX_MS);
    });
  }

  /** @param {RTCIceCandidate} candidate */
  #addCandidate(candidate) {
    this.#lateCandidates.push(candidate.toJSON());
    this.#flushCandidates();
  }

  #flushCandidates() {
    if (!this.#sendCandidates || this.#lateCandidates.length === 0) return;
    const candidates = this.#lateCandidates;
    this.#lateCandidates = [];
    this.#sendCandidates(candidates);
  }

  /**
   * Send pings, and listen for errors of the bot.
   *
   * Pipecat considers a peer gone when its pings stop, long before ICE does.
   * @param {RTCDataChannel} channel
   * @param {(error: BotError) => void} onBotError
   */
  #openChannel(channel, onBotError) {
    channel.onmessage = ({ data }) => {
      const error = this.#closed ? null : parseBotError(data);
      if (error) onBotError(error);
    };
    channel.onopen = () => {
      if (this.#closed) return;
      channel.send(JSON.stringify(CLIENT_READY));
      this.#pings = setInterval(() => {
        if (channel.readyState === "open") channel.send(`ping: ${Date.now()}`);
      }, PING_MS);
    };
  }
}

/**
 * Return the error in a message of the bot, or null if the message is none of RTVI's errors.
 * @param {unknown} data message of the data channel
 * @returns {BotError | null}
 */
export function parseBotError(data) {
  if (typeof data !== "string" || data.length > BOT_MESSAGE_CHARS) return null;
  let message;
  try {
    message = JSON.parse(data);
  } catch {
    return null; // a bot may send anything over the channel
  }
  if (message?.label !== "rtvi-ai" || !BOT_ERROR_TYPES.has(message.type)) return null;
  const content = message.data?.error ?? message.data?.message ?? message.data;
  const text = typeof content === "string" ? content : JSON.stringify(content ?? "");
  return { type: message.type, text: text.slice(0, BOT_ERROR_CHARS), isFatal: message.data?.fatal === true };
}
