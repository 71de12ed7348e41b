// The lines of browsers: which are valid, which came before, what they may claim, and when they were written.
//
// A browser is a stranger with its own clock. Its user comes from the login of the application, its service is
// `browser`, its events are those that only a browser can see, and its clock cannot put a line at a time where nobody
// would look for it. This does what cordboard/interface/browser_log.py does; a test compares the two.

import { isSessionId } from "../browser/carrier.js";
import { LEVELS, machineName } from "../server/lines.js";

const BOOTS_KEPT = 10_000; // pages whose numbers are remembered
const NUMBERS_KEPT = 2048n; // so many numbers of a page, back from its highest: its queue holds 2000 lines
const SKEW_IGNORED_MS = 2000; // a slow network makes two equal clocks seem so far apart
const CLOCK_ERROR_MS = 600_000;
const AGE_MS = 86_400_000; // a page that was frozen, or away from the network, sends its lines later
export const NO_SESSION = "server:browser";
const EVENTS = new Set([
  "page.opened", "join.clicked", "call.interrupted", "call.resumed", "turn.heard", "media.stats", "media.warning",
  "device.changed",
]);
const KEYS = [
  "timestamp", "level", "message", "service", "tag", "sessionId", "userId", "userName", "room", "event", "meta", "error",
  "truncated", "boot", "seq",
];
const REQUIRED_TEXTS = ["timestamp", "level", "message", "service", "tag", "sessionId", "boot"];
const OPTIONAL_TEXTS = ["userId", "userName", "room", "event"];

/** Tells lines that came before by their numbers, in whatever order the batches of a page arrive. */
export class TakenNumbers {
  // The highest number of each page, and which numbers below it were taken: bit i stands for highest - i.
  /** @type {Map<string, { highest: number, taken: bigint }>} */
  #pages = new Map();

  /**
   * Return whether a line is new, and remember it.
   * @param {string} sender
   * @param {string} boot
   * @param {number} seq
   */
  take(sender, boot, seq) {
    const key = `${sender} ${boot}`;
    let { highest, taken } = this.#pages.get(key) ?? { highest: 0, taken: 0n };
    let back = BigInt(highest) - BigInt(seq);
    if (back < 0n) {
      taken = BigInt.asUintN(Number(NUMBERS_KEPT), taken << (-back < NUMBERS_KEPT ? -back : NUMBERS_KEPT));
      highest = seq;
      back = 0n;
    }
    const isNew = back < NUMBERS_KEPT && !((taken >> back) & 1n);
    if (isNew) taken |= 1n << back;
    this.#pages.delete(key); // so that the key moves to the end
    this.#pages.set(key, { highest, taken });
    if (this.#pages.size > BOOTS_KEPT) this.#pages.delete(String(this.#pages.keys().next().value));
    return isNew;
  }
}

/** @param {string} line */
export function parsed(line) {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/**
 * Return why a value is not a record of a browser, or "" if it is one.
 * @param {any} record
 */
export function schemaError(record) {
  if (!isObject(record)) return "not an object";
  const unknown = Object.keys(record).find((key) => !KEYS.includes(key));
  if (unknown !== undefined) return `unknown key ${unknown.slice(0, 40)}`;
  const missing = REQUIRED_TEXTS.find((key) => typeof record[key] !== "string");
  if (missing) return `${missing} is not a string`;
  const wrong = OPTIONAL_TEXTS.find((key) => typeof (record[key] ?? "") !== "string");
  if (wrong) return `${wrong} is not a string`;
  if (!Object.hasOwn(LEVELS, record.level)) return "level is not one of debug, info, warn, error";
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(record.timestamp)) return "timestamp has another form";
  if (!/^[0-9a-f]{8}$/.test(record.boot)) return "boot is not 8 hexadecimal digits";
  if (!Number.isSafeInteger(record.seq) || record.seq < 1) return "seq is not a number from 1";
  if (!isSessionId(record.sessionId)) return "sessionId is not a session id";
  const flat = ["meta", "error"].find((key) => key in record && !isObject(record[key]));
  if (flat) return `${flat} is not an object`;
  return "truncated" in record && record.truncated !== true ? "truncated is not true" : "";
}

/** @param {unknown} value */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Return a record with only those values that its sender may set.
 * @param {Record<string, any>} record
 * @param {boolean} isAllowed whether the sender may write lines of the session
 * @param {{ userId: string | null, userName: string | null }} user
 */
export function withAllowedClaims(record, isAllowed, user) {
  const { event, sessionId } = record;
  /** @type {Record<string, string>} */
  const claims = {};
  const isOwn = isAllowed && sessionId !== NO_SESSION;
  if (!isAllowed) claims.claimed_session = sessionId;
  if (event && !(isOwn && EVENTS.has(event))) claims.claimed_event = event;
  if (record.room && !isOwn) claims.claimed_room = record.room;
  /** @type {Record<string, any>} */
  const result = { ...record, ...user, service: "browser", sessionId: isOwn ? sessionId : `server:${machineName()}` };
  if (claims.claimed_event) delete result.event;
  if (claims.claimed_room) delete result.room;
  if (Object.keys(claims).length) result.meta = { ...claims, ...record.meta, ...claims };
  const keys = KEYS.filter((key) => result[key] !== undefined && (result[key] !== null || key.startsWith("user")));
  return Object.fromEntries(keys.map((key) => [key, result[key]]));
}

/**
 * Return a record with a time that this server's clock could have given; the browser's own is kept in `meta`.
 *
 * The time is corrected by what `sentAt` tells of the browser's clock, however long the line waited in its page: for a
 * day. Without `sentAt`, or where that does not make the time plausible, it is the time of arrival.
 * @param {Record<string, any>} record
 * @param {number | null} sentAt when its batch was sent, by the browser's clock
 * @param {number} now when it arrived
 */
export function withServerTime(record, sentAt, now = Date.now()) {
  const skewMs = sentAt === null ? 0 : now - sentAt;
  const told = Date.parse(record.timestamp);
  let at = Math.abs(skewMs) >= SKEW_IGNORED_MS ? told + skewMs : told;
  const isPlausible = now - at >= -CLOCK_ERROR_MS && now - at <= (sentAt === null ? CLOCK_ERROR_MS : AGE_MS);
  if (!isPlausible) at = now;
  else if (at === told) return record;
  const marks = isPlausible ? {} : { timestamp_is: "arrival" };
  const meta = { ...record.meta, browser_time: record.timestamp, ...marks };
  const timestamp = new Date(at).toISOString().replace("Z", "000Z");
  // The keys keep their order.
  return Object.fromEntries(KEYS.filter((key) => key in record || key === "meta").map((key) => [key, { ...record, timestamp, meta }[key]]));
}
