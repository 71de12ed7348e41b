// One log line as an object: the keys in order, long values shortened.

const LINE_CHARS = 8000; // of message and meta; a line has at most 16 KiB
// Lengths to which texts in meta are shortened, tried in turn until meta fits; lists and objects keep a
// twentieth as many members, but at least 5.
const TEXT_CHARS = [LINE_CHARS, 2000, 500, 100, 20];
const LEAST_MEMBERS = 5;

/**
 * @typedef {"debug" | "info" | "warn" | "error"} Level
 * @typedef {object} Context what a line says of its origin
 * @property {string} sessionId
 * @property {string | null} userId
 * @property {string | null} userName
 * @property {string | null} [room]
 * @property {number | null} [epoch]
 * @property {string} [traceId]
 * @property {string} [spanId]
 * @property {string} [service]
 * @typedef {Record<string, unknown>} Meta
 * @typedef {{ happened: boolean, chars: number }} Truncation `happened` is set when a value was shortened
 */

/**
 * Return a line. `meta.event` becomes the line's event and `meta.error` its error.
 * @param {Level} level
 * @param {string} tag part of the program that wrote the line
 * @param {string} message
 * @param {Meta} meta
 * @param {Context} context
 * @param {number} chars at most so many in message, and in meta
 * @returns {Record<string, unknown>}
 */
export function makeRecord(level, tag, message, meta, context, chars = LINE_CHARS) {
  const { event, error, ...rest } = meta;
  /** @type {Truncation} */
  const truncation = { happened: message.length > chars, chars };
  /** @type {Record<string, unknown>} */
  const record = {
    // Browsers have milliseconds; the format has microseconds.
    timestamp: new Date().toISOString().replace("Z", "000Z"),
    level,
    message: message.slice(0, chars),
    service: context.service ?? "browser",
    tag,
    sessionId: context.sessionId,
    userId: context.userId,
    userName: context.userName,
  };
  for (const key of /** @type {const} */ (["room", "epoch", "traceId", "spanId"])) {
    if (context[key] || context[key] === 0) record[key] = context[key];
  }
  if (event) record.event = String(event);
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
    message: shorten(String(error?.message ?? error), truncation.chars / 4, truncation),
    stack: shorten(String(error?.stack ?? ""), truncation.chars / 2, truncation),
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
 * Return meta with only JSON values in it, and no longer than the line permits.
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
      const attempt = { happened: false, chars: truncation.chars };
      const text = JSON.stringify(meta, jsonReplacer(limit, attempt));
      if (text.length > truncation.chars) continue;
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
