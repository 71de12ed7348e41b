// The values of a session in HTTP headers: docs/contract/environment.md.

/**
 * @typedef {object} Session
 * @property {string | null} [sessionId]
 * @property {string | null} [userId]
 * @property {string | null} [userName]
 * @property {string | null} [room]
 * @property {number | null} [epoch]
 * @property {string | null} [traceparent] W3C Trace Context
 */

export const SESSION_HEADER = "X-Session-Id";
const VALUE_CHARS = 1024;
const SESSION_ID = /^(?!\.+$)[A-Za-z0-9._~:@-]{1,128}$/;
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;
const EPOCH = /^[0-9]{1,15}$/; // JavaScript counts exactly up to 53 bits
// eslint-disable-next-line no-control-regex -- control characters are what it finds
const UNSENDABLE = /[\x00-\x1f\x7f-\x9f\u2028\u2029]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;

/** @type {[keyof Session, string][]} */
const HEADERS = [
  ["sessionId", SESSION_HEADER],
  ["userId", "X-User-Id"],
  ["userName", "X-User-Name"],
  ["epoch", "X-Session-Epoch"],
  ["traceparent", "traceparent"],
];

/** The headers that name the user and the epoch: only a caller with the control secret may set them. */
export const IDENTITY_HEADERS = ["X-User-Id", "X-User-Name", "X-Session-Epoch"];

/**
 * Return whether a value is a session id: 1 to 128 of `A-Z a-z 0-9 . _ ~ : @ -`, and not only dots.
 * @param {unknown} value
 * @returns {value is string}
 */
export function isSessionId(value) {
  return typeof value === "string" && SESSION_ID.test(value);
}

/**
 * Return the headers that carry a session; absent and malformed values are left out.
 * @param {Session} session
 * @returns {Record<string, string>}
 */
export function sessionHeaders(session) {
  /** @type {Record<string, string>} */
  const headers = {};
  for (const [name, header] of HEADERS) {
    const value = session[name];
    if (value === null || value === undefined || !isWellFormed(name, String(value))) continue;
    headers[header] = name === "userName" ? encodeURIComponent(String(value)) : asciiOf(String(value));
  }
  return headers;
}

/**
 * Return the session in the headers of a request, and the headers whose values are malformed.
 * @param {{ get(name: string): string | null }} headers
 * @returns {{ session: Session, refused: string[] }}
 */
export function sessionOfHeaders(headers) {
  /** @type {Record<string, string | number>} */
  const session = {};
  const refused = [];
  for (const [name, header] of HEADERS) {
    const value = decoded(name, headers.get(header)?.trim());
    if (!value) continue;
    if (isWellFormed(name, value)) session[name] = name === "epoch" ? Number(value) : value;
    else refused.push(header);
  }
  return { session, refused };
}

/**
 * @param {keyof Session} name
 * @param {string | undefined} value
 */
function decoded(name, value) {
  if (name !== "userName" || !value) return value;
  try {
    return decodeURIComponent(value);
  } catch {
    return "\0"; // malformed
  }
}

/**
 * @param {keyof Session} name
 * @param {string} value
 */
function isWellFormed(name, value) {
  if (name === "sessionId") return isSessionId(value);
  if (name === "traceparent") return TRACEPARENT.test(value);
  if (name === "epoch") return EPOCH.test(value);
  return value.length > 0 && value.length <= VALUE_CHARS && !UNSENDABLE.test(value);
}

/**
 * Header values are Latin-1; ids of other characters are percent-encoded.
 * @param {string} value
 */
function asciiOf(value) {
  return /^[\x20-\x7e]+$/.test(value) && value === value.trim() ? value : encodeURIComponent(value);
}
