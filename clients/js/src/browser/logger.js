// The logger of a page: lines in the format of Cordboard's services, printed on the console and sent in batches.
//
//   const log = getClientLogger("call");
//   log.info("Call ended", { seconds });

import { isSessionId } from "./carrier.js";
import { print } from "./console.js";
import { bootId } from "./ids.js";
import { idOfKey, newPageKey } from "./page_key.js";
import { LogQueue } from "./queue.js";
import { makeRecord } from "./record.js";

/**
 * @import { Level, Meta } from "./record.js"
 * @typedef {(message: string, meta?: Meta) => void} Write
 * @typedef {{ debug: Write, info: Write, warn: Write, error: Write }} Logger
 * @typedef {{ sessionId: string, userId: string | null, userName: string | null, room: string | null }} PageSession
 */

const NO_SESSION = "server:browser";
// Both belong to one load of one page. They are never stored: a tab that the browser duplicates copies the
// storage of its page, and two pages with one boot would seem to repeat each other's lines.
const boot = bootId();
let seq = 0;
/** Proves to the receiver of this page's lines which session ids are its own. */
export const pageKey = newPageKey();
/** @type {Set<number>} */
const idTimes = new Set();

/** @type {PageSession} */
const session = { sessionId: NO_SESSION, userId: null, userName: null, room: null };
/** @type {Set<() => void>} */
const listeners = new Set();

/** The lines of this page that wait. */
export const queue = new LogQueue(
  null,
  (dropped) => write("warn", "log", "Lines of the browser were dropped", dropped),
  // A server that refuses lines would refuse a line about it.
  (count, status) => print("warn", "[log] The server refused lines of this page", { count, status }),
);

/**
 * Set the session, user and room of the lines that follow. A value that is not given stays.
 * @param {Partial<PageSession>} values
 */
export function setSession(values) {
  const { sessionId } = values;
  if (sessionId !== undefined && sessionId !== NO_SESSION && !isSessionId(sessionId)) {
    throw new TypeError(`expected a session id (1 to 128 of A-Z a-z 0-9 . _ ~ : @ -), got ${JSON.stringify(sessionId)}`);
  }
  Object.assign(session, values);
  for (const listener of listeners) listener();
}

/**
 * Bind a new session id, a UUID version 7, to the lines that follow.
 * @param {number} [now] milliseconds since 1970, by the clock that the ids are to follow
 * @returns {string} the id
 */
export function newSession(now = Date.now()) {
  let ms = Math.floor(now);
  while (idTimes.has(ms)) ms += 1; // an id is made of its time, and ids of one time would be equal
  idTimes.add(ms);
  const sessionId = idOfKey(pageKey, ms);
  setSession({ sessionId });
  return sessionId;
}

/**
 * Return the session of the lines; before the first one, its id is null.
 * @returns {{ sessionId: string | null, userId: string | null, userName: string | null, room: string | null }}
 */
export function currentSession() {
  return { ...session, sessionId: session.sessionId === NO_SESSION ? null : session.sessionId };
}

/**
 * Call a function after each change of the session.
 * @param {() => void} listener
 * @returns {() => void} removes the listener
 */
export function onSession(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/**
 * Return the logger of one part of the page.
 * @param {string} tag name of the part
 * @returns {Logger}
 */
export function getClientLogger(tag) {
  /** @type {(level: Level) => Write} */
  const writer = (level) => (message, meta) => {
    const values = Object.fromEntries(Object.entries(meta ?? {}).filter(([, value]) => value !== undefined));
    print(level, `[${tag}] ${message}`, ...(Object.keys(values).length ? [values] : []));
    write(level, tag, message, values);
  };
  return { debug: writer("debug"), info: writer("info"), warn: writer("warn"), error: writer("error") };
}

/**
 * Queue a line without printing it.
 * @param {Level} level
 * @param {string} tag
 * @param {string} message
 * @param {Meta} meta
 */
export function write(level, tag, message, meta) {
  // Components of a page also run on a server, which has its own logger and never sends this queue.
  if (!("window" in globalThis || "WorkerGlobalScope" in globalThis)) return;
  const record = makeRecord(level, tag, String(message), meta, session);
  seq += 1;
  queue.add({ ...record, boot, seq }, level === "error");
}

/** Send the lines that wait by requests that outlive the page. */
export function flush() {
  queue.sendBeacons();
}
