// One log line of the browser, as an object: the fields in order, long values shortened.

const LINE_CHARS = 8000; // of message and meta; the server shortens lines at 16 KiB
// Lengths to which texts in meta are shortened, tried in turn until meta fits into LINE_CHARS;
// lists and objects keep a twentieth as many members, but at least 5.
const TEXT_CHARS = [LINE_CHARS, 2000, 500, 100, 20];
const LEAST_MEMBERS = 5;

/**
 * @typedef {"debug" | "info" | "warn" | "error"} Level
 * @typedef {{ sessionId: string, userId: string | null, userName: string | null, room: string | null }} Context
 * @typedef {Record<string, unknown>} Meta
 * @typedef {{ happened: boolean }} Truncation set when a value was shortened
 */

/**
 * Return a line. `meta.event` becomes the line's event and `meta.error` its error.
 * @param {Level} level
 * @param {string} tag part of the page that wrote the line
 * @param {string} message
 * @param {Meta} meta
 * @param {Context} context
 * @returns {Record<string, unknown>}
 */
export function makeRecord(level, tag, message, meta, context) {
  const { event, error, ...rest } = meta;
  /** @type {Truncation} */
  const truncation = { happened: message.length > LINE_CHARS };
  /** @type {Record<string, unknown>} */
  const record = {
    // Browsers have milliseconds; the format has microseconds.
    timestamp: new Date().toISOString().replace("Z", "000Z"),
    level,
    message: message.slice(0, LINE_CHARS),
    service: "browser",
    tag,
    sessionId: context.sessionId,
    userId: context.userId,
    userName: context.userName,
  };
  if (context.room) record.room = context.room;
  if (event) record.event = event;
  if (Object.keys(rest).length) record.meta = jsonMeta(rest, truncation);
  if (error !== undefined) record.error = describeError(error, truncation);
  if (truncation.happened) record.truncated = true;
  return record;
}

/**
 * Return JSON text without halves of surrogate pairs, which UTF-8 cannot represent.
 *
 * JSON.stringify writes such a half as an escape; the server's parser rejects the line for it.
 * @param {string} text
 */
export function replaceLoneSurrogates(text) {
  return text.replace(/\\ud[89a-f][0-9a-f]{2}/g, "\\ufffd");
}

/**
 * @param {any} error anything that was thrown
 * @param {Truncation} truncation
 */
function describeError(error, truncation) {
  return {
    type: String(error?.name ?? typeof error),
    message: shorten(String(error?.message ?? error), LINE_CHARS / 4, truncation),
    stack: shorten(String(error?.stack ?? ""), LINE_CHARS / 2, truncation),
  };
}

/**
 * @param {string} text
 * @param {number} limit characters
 * @param {Truncation} truncation
 */
function shorten(text, limit, truncation) {
  if (text.length <= limit) return text;
  truncation.happened = true;
  return `${text.slice(0, limit)}…`;
}

/**
 * Return meta with only JSON values in it, and no longer than LINE_CHARS.
 *
 * No value may cost the whole line, so values that JSON cannot represent become text. The longest
 * values are shortened first, all to the same length, so that one long value does not cost the others.
 * @param {Meta} meta
 * @param {Truncation} truncation
 */
function jsonMeta(meta, truncation) {
  try {
    for (const limit of TEXT_CHARS) {
      /** @type {Truncation} */
      const attempt = { happened: false };
      const text = JSON.stringify(meta, jsonReplacer(limit, attempt));
      if (text.length > LINE_CHARS) continue;
      truncation.happened ||= attempt.happened;
      return JSON.parse(text);
    }
  } catch (error) {
    return { unsayable: String(error) }; // such as a getter or toJSON that throws
  }
  truncation.happened = true;
  return { unsayable: "too long" };
}

/**
 * Return a replacer for JSON.stringify.
 * @param {number} limit characters of each text
 * @param {Truncation} truncation
 */
function jsonReplacer(limit, truncation) {
  const seen = new WeakSet();
  return (/** @type {string} */ _key, /** @type {unknown} */ value) => {
    if (value instanceof Error) return describeError(value, truncation);
    if (typeof value === "string") return shorten(value, limit, truncation);
    if (typeof value === "bigint" || typeof value === "function") return shorten(String(value), limit, truncation);
    if (typeof value === "number" && !Number.isFinite(value)) return String(value);
    if (typeof value === "object" && value !== null) {
      if (seen.has(value)) return "[seen above]";
      seen.add(value);
      return firstMembers(value, Math.max(LEAST_MEMBERS, limit / 20), truncation);
    }
    return value;
  };
}

/**
 * @param {object} value list or object
 * @param {number} limit members
 * @param {Truncation} truncation
 */
function firstMembers(value, limit, truncation) {
  const entries = Object.entries(value);
  if (entries.length <= limit) return value;
  truncation.happened = true;
  if (Array.isArray(value)) return value.slice(0, limit);
  return Object.fromEntries(entries.slice(0, limit));
}
