// The route that receives the lines of browsers, checks them one by one, and writes them to stdout.

import { PAGE_KEY_HEADER, isIdOfKey } from "../browser/page_key.js";
import { boundedText } from "../server/body.js";
import { getLogger } from "../server/index.js";
import { forwardLine } from "../server/lines.js";
import { NO_SESSION, TakenNumbers, parsed, schemaError, withAllowedClaims, withServerTime } from "./browser_lines.js";

/**
 * @typedef {{ userId?: string | null, userName?: string | null }} User
 *
 * @typedef {object} LogRouteOptions
 * @property {(request: Request) => User | null | Promise<User | null>} [user] returns who is signed in
 * @property {(sessionId: string, request: Request) => boolean | Promise<boolean>} [mayWrite]
 *   returns whether this browser may write lines of a session; without it, the page must have made the id itself
 * @property {number} [linesPerSecond] of all browsers together; 1000 by default
 */

const BODY_BYTES = 256 * 1024;
const LINES = 500;
const BURST_S = 20;

const log = getLogger("intake");

/**
 * Return the handler `POST` of a route, to whose path pages send their lines.
 * @param {LogRouteOptions} options
 * @returns {(request: Request) => Promise<Response>}
 */
export function logRoute({ user, mayWrite = isMadeByPage, linesPerSecond = 1000 } = {}) {
  const taken = new TakenNumbers();
  const allowance = { lines: burstOf(linesPerSecond), at: Date.now() };
  return async (request) => {
    if (!isOwnPage(request)) return new Response("The request did not come from a page of this site.", { status: 403 });
    const lines = await linesOf(request);
    if (!lines) return new Response(`Expected at most ${LINES} lines and ${BODY_BYTES} bytes.`, { status: 413 });
    const waitS = waitOf(allowance, lines.length, linesPerSecond);
    if (waitS > 0) return new Response("Too many lines.", { status: 429, headers: { "Retry-After": String(waitS) } });
    const { userId = null, userName = null } = (await user?.(request)) ?? {};
    const sentAt = Number(new URL(request.url).searchParams.get("sent")) || null;
    const now = Date.now();
    const records = validOf(lines);
    /** @type {Map<string, boolean>} */
    const allowed = new Map([[NO_SESSION, true]]);
    for (const { sessionId } of records) {
      if (!allowed.has(sessionId)) allowed.set(sessionId, await mayWrite(sessionId, request));
    }
    for (const record of records) {
      // Nothing is awaited from here on: a number that is taken belongs to a line that is written.
      const isAllowed = allowed.get(record.sessionId) === true;
      // A stranger's lines take no number of the page that they claim to be.
      if (!taken.take(`${isAllowed} ${userId}`, record.boot, record.seq)) continue;
      forwardLine(withServerTime(withAllowedClaims(record, isAllowed, { userId, userName }), sentAt, now));
    }
    return new Response(null, { status: 204 });
  };
}

/**
 * Return whether the page has the key out of which a session id was made: to know the id is not enough.
 * @param {string} sessionId
 * @param {Request} request
 */
function isMadeByPage(sessionId, request) {
  return isIdOfKey(sessionId, request.headers.get(PAGE_KEY_HEADER) ?? "");
}

/**
 * Return the valid records of lines; log how many are not.
 * @param {string[]} lines
 */
function validOf(lines) {
  const records = lines.map(parsed);
  const reasons = records.map((record) => (record === undefined ? "it is not JSON" : schemaError(record)));
  const refused = reasons.filter(Boolean);
  if (refused.length) log.warn("Lines of a browser were refused", { count: refused.length, reason: refused[0] });
  return records.filter((_, index) => !reasons[index]);
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
  const text = await boundedText(request, BODY_BYTES);
  if (text === null) return null;
  const lines = text.split("\n").filter((line) => line.trim());
  return lines.length > LINES ? null : lines;
}

/**
 * A batch must fit in, or it could never pass.
 * @param {number} perSecond
 */
function burstOf(perSecond) {
  return Math.max(perSecond * BURST_S, LINES);
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
  const free = Math.min(burstOf(perSecond), allowance.lines + seconds * perSecond);
  Object.assign(allowance, { at: now, lines: free >= count ? free - count : free });
  return free >= count ? 0 : Math.ceil((count - free) / perSecond);
}
