// The logger of a server in JavaScript, and the session that its code works for.

import { AsyncLocalStorage } from "node:async_hooks";

import { sessionHeaders as headersOf, sessionOfHeaders } from "../browser/carrier.js";
import { hookFetch } from "../browser/fetch.js";
import { isWritten, machineName, thisProcess, writeLine } from "./lines.js";

/**
 * @import { Session } from "../browser/carrier.js"
 * @import { Level, Meta } from "../browser/record.js"
 * @typedef {(message: string, meta?: Meta) => void} Write
 * @typedef {{ debug: Write, info: Write, warn: Write, error: Write }} Logger
 * @typedef {{ service?: string, hosts?: string[] }} ServerOptions
 */

export { isSessionId, sessionOfHeaders } from "../browser/carrier.js";
export { boundedText } from "./body.js";

// A bundler may put copies of this module into one process; all of them share the session.
const STORAGE = Symbol.for("cordboard.session");
const shared = /** @type {Record<symbol, AsyncLocalStorage<Session>>} */ (/** @type {unknown} */ (globalThis));
const storage = (shared[STORAGE] ??= new AsyncLocalStorage());

/**
 * Set the name of this service, and the hosts whose requests carry the session.
 * @param {ServerOptions} options `hosts` as in URLs, with a port other than the default, such as `localhost:7860`
 */
export function configure({ service, hosts } = {}) {
  if (service) thisProcess().service = service;
  if (hosts) hookFetch(hosts, sessionHeaders);
}

/**
 * Call a function within a session: its lines, and those of what it awaits, carry the session.
 * @template T
 * @param {Session} session
 * @param {() => T} callback
 * @returns {T}
 */
export function runInSession(session, callback) {
  return storage.run({ ...currentSession(), ...session }, callback);
}

/**
 * Return the session of the running code; an empty object without one.
 * @returns {Session}
 */
export function currentSession() {
  return storage.getStore() ?? {};
}

/** Return the headers that carry the session of the running code. */
export function sessionHeaders() {
  return headersOf(currentSession());
}

/**
 * Return the logger of one part of the server.
 * @param {string} tag name of the part
 * @returns {Logger}
 */
export function getLogger(tag) {
  /** @type {(level: Level) => Write} */
  const writer = (level) => (message, meta) => {
    if (isWritten(level)) writeLine(level, tag, String(message), definedOf(meta ?? {}), contextOf(currentSession()));
  };
  return { debug: writer("debug"), info: writer("info"), warn: writer("warn"), error: writer("error") };
}

/** @param {Meta} meta */
function definedOf(meta) {
  return Object.fromEntries(Object.entries(meta).filter(([, value]) => value !== undefined));
}

/** @param {Session} session */
function contextOf({ sessionId, userId = null, userName = null, room, epoch, traceparent }) {
  const [, traceId, spanId] = (traceparent ?? "").split("-");
  return { sessionId: sessionId ?? `server:${machineName()}`, userId, userName, room, epoch, traceId, spanId };
}

/**
 * Return the session of a request, and log one warning if a header is malformed.
 * @param {{ headers: { get(name: string): string | null } }} request
 */
export function sessionOfRequest(request) {
  const { session, refused } = sessionOfHeaders(request.headers);
  if (refused.length) getLogger("session").warn("Malformed headers were ignored", { headers: refused });
  return session;
}
