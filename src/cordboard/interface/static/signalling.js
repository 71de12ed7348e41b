// What the page and the bot tell each other before there is a connection: offers, answers, candidates.

import { sessionUrl } from "./api.js";
import { getClientLogger } from "./log.js";

/**
 * @import { request } from "./api.js"
 * @import { IceConfig, SendCandidates, SessionDescription } from "./peer.js"
 *
 * @typedef {SessionDescription & { pc_id: string }} Answer `pc_id` is the bot's name for the connection
 * @typedef {{ pc_id?: string, restart_pc?: boolean }} Further what an offer about an earlier connection has
 */

const log = getClientLogger("call");

/** Sends offers and candidates to the bot of a session. */
export class Signalling {
  #sessionId;
  #request;

  /**
   * @param {string} sessionId
   * @param {typeof request} send sends the requests
   */
  constructor(sessionId, send) {
    this.#sessionId = sessionId;
    this.#request = send;
  }

  /**
   * Send an offer, and return the bot's answer.
   * @param {SessionDescription} description
   * @param {Further} further
   * @returns {Promise<Answer>}
   */
  async offer(description, further) {
    return await this.#request("POST", this.#url("/offer"), this.#sessionId, { ...description, ...further });
  }

  /**
   * Return a function that sends the candidates of a connection.
   * @param {string} pcId the bot's name for the connection
   * @returns {SendCandidates}
   */
  candidateSender(pcId) {
    return (candidates) => {
      this.#request("PATCH", this.#url("/offer"), this.#sessionId, { pc_id: pcId, candidates }).catch((error) => {
        log.warn("Late candidates could not be sent", { error });
      });
    };
  }

  /**
   * Return the servers with new credentials; the present ones if there is no answer.
   * @param {IceConfig | null} present
   * @returns {Promise<IceConfig>}
   */
  async newIceConfig(present) {
    if (!present?.iceServers?.length) return {};
    return await this.#request("GET", this.#url("/ice"), this.#sessionId).catch((error) => {
      log.warn("New credentials for the servers of the media could not be fetched", { error });
      return { ...present };
    });
  }

  /** @param {string} path */
  #url(path) {
    return sessionUrl(this.#sessionId, path);
  }
}
