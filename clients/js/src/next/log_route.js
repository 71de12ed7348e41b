// The route that receives the lines of browsers, checks them one by one, and writes them to stdout.
//
// A browser is a stranger with its own clock. Its user comes from the login of your application, its service is
// `browser`, its events are those that only a browser can see, and its clock cannot put a line at a time where nobody
// would look for it. It does what cordboard/interface/browser_log.py does.

import { isSessionId } from "../browser/carrier.js";
import { getLogger } from "../server/index.js";
import { LEVELS, forwardLine, machineName } from "../server/lines.js";

/**
 * @typedef {{ userId?: string | null, userName?: string | null }} User
 *
 * @typedef {object} LogRouteOptions
 * @property {(request: Request) => User | null | Promise<User | null>} [user] returns who is signed in
 * @property {(sessionId: string, request: Request) => boolean | Promise<boolean>} [mayWrite]
 *   returns whether this browser may write lines of a session; without it, knowing the id is enough
 * @property {number} [linesPerSecond] of all browsers together; 1000 by default
 */

const BODY_BYTES = 256 * 1024;
const LINES = 500;
const BURST_S = 20;
const BOOTS_KEPT = 10_000; // pages whose last number is remembered
const SKEW_IGNORED_MS = 2000; // a slow network makes two equal clocks seem so far apart
const CLOCK_ERROR_MS = 600_000;
const NO_SESSION = "server:browser";
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

const log = getLogger("intake");

/**
 * Return the handler `POST` of a route, to whose path pages send their lines.
 * @param {LogRouteOptions} options
 * @returns {(request: Request) => Promise<Response>}
 */
export function logRoute({ user, mayWrite, linesPerSecond = 1000 } = {}) {
  const intake = new Intake();
  const allowance = { lines: linesPerSecond * BURST_S, at: Date.now() };
  return async (request) => {
    if (!isOwnPage(request)) return new Response("The request did not come from a page of this site.", { status: 403 });
    const lines = await linesOf(request);
    if (!lines) return new Response(`Expected at most ${LINES} lines and ${BODY_BYTES} bytes.`, { status: 413 });
    const waitS = waitOf(allowance, lines.length, linesPerSecond);
    if (waitS > 0) return new Response("Too many lines.", { status: 429, headers: { "Retry-After": String(waitS) } });
    const { userId = null, userName = null } = (await user?.(request)) ?? {};
    const sentAt = Number(new URL(request.url).searchParams.get("sent")) || null;
    const skewMs = sentAt ? Date.now() - sentAt : 0;
    /** @type {Map<string, boolean>} */
    const allowed = new Map([[NO_SESSION, true]]);
    for (const line of lines) {
      const record = intake.take(line, `${userId}`);
      if (!record) continue;
      const { sessionId } = record;
      if (!allowed.has(sessionId)) allowed.set(sessionId, (await mayWrite?.(sessionId, request)) ?? true);
      forwardLine(withServerTime(withAllowedClaims(record, Boolean(allowed.get(sessionId)), { userId, userName }), skewMs));
    }
    intake.logRefusals();
    return new Response(null, { status: 204 });
  };
}

/** Checks lines, and leaves out those that came before: a page that is closed repeats unconfirmed lines. */
class Intake {
  /** @type {Map<string, number>} */
  #lastSeq = new Map();
  #refused = 0;
  #reason = "";

  /**
   * Return the record of a line, or null if it is not valid or came before.
   * @param {string} line
   * @param {string} sender
   * @returns {Record<string, any> | null}
   */
  take(line, sender) {
    const record = parsed(line);
    const reason = record ? schemaError(record) : "it is not JSON";
    if (reason || !record) {
      this.#refused += 1;
      this.#reason ||= reason;
      return null;
    }
    const key = `${sender} ${record.boot}`;
    const last = this.#lastSeq.get(key) ?? 0;
    this.#lastSeq.delete(key); // so that the key moves to the end
    this.#lastSeq.set(key, Math.max(last, record.seq));
    if (this.#lastSeq.size > BOOTS_KEPT) this.#lastSeq.delete(String(this.#lastSeq.keys().next().value));
    return record.seq > last ? record : null;
  }

  logRefusals() {
    if (!this.#refused) return;
    log.warn("Lines of a browser were refused", { count: this.#refused, reason: this.#reason });
    this.#refused = 0;
    this.#reason = "";
  }
}

/**
 * Browsers state whose page sends a request in Sec-Fetch-Site; older ones, and those without https, in Origin.
 * @param {Request} request
 */
function isOwnPage(request) {
  const site = request.headers.get("sec-fetch-site");
  if (site) return site === "same-origin";
  const origin = request.headers.get("origin");
  return origin !== null && URL.canParse(origin) && new URL(origin).host === request.headers.get("host");
}

/**
 * Return the lines of a body, or null if it is too long.
 * @param {Request} request
 */
async function linesOf(request) {
  if (Number(request.headers.get("content-length")) > BODY_BYTES) return null;
  const text = await request.text();
  if (text.length > BODY_BYTES) return null;
  const lines = text.split("\n").filter((line) => line.trim());
  return lines.length > LINES ? null : lines;
}

/**
 * Count lines; return 0 if they may be written now, else the seconds until they may.
 * @param {{ lines: number, at: number }} allowance
 * @param {number} count
 * @param {number} perSecond
 */
function waitOf(allowance, count, perSecond) {
  const now = Date.now();
  const seconds = Math.max(0, now - allowance.at) / 1000;
  const free = Math.min(perSecond * BURST_S, allowance.lines + seconds * perSecond);
  Object.assign(allowance, { at: now, lines: free >= count ? free - count : free });
  return free >= count ? 0 : Math.ceil((count - free) / perSecond);
}

/** @param {string} line */
function parsed(line) {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}

/**
 * Return why a value is not a record of a browser, or "" if it is one.
 * @param {any} record
 */
function schemaError(record) {
  if (typeof record !== "object" || Array.isArray(record)) return "not an object";
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
function withAllowedClaims(record, isAllowed, user) {
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
 * @param {Record<string, any>} record
 * @param {number} skewMs
 */
function withServerTime(record, skewMs) {
  const now = Date.now();
  const told = Date.parse(record.timestamp);
  let at = Math.abs(skewMs) >= SKEW_IGNORED_MS ? told + skewMs : told;
  if (!(Math.abs(at - now) <= CLOCK_ERROR_MS)) at = now;
  if (at === told) return record;
  const meta = { ...record.meta, browser_time: record.timestamp };
  const timestamp = new Date(at).toISOString().replace("Z", "000Z");
  // The keys keep their order.
  return Object.fromEntries(KEYS.filter((key) => key in record || key === "meta").map((key) => [key, { ...record, timestamp, meta }[key]]));
}
