// The lines of a report: decodes the embedded data and formats lines as text. No code here touches the page.
// A classic script, as page.js is: page.html has both in one <script> element.
"use strict";

/**
 * @typedef {(number | string | null | Record<string, any>)[]} Row
 *   time in microseconds after the origin or null, one cell for each of COLUMNS, and an object with the
 *   fields that have no column. A cell is an index into the column's table, the value itself, or -1 if the line has
 *   no such field.
 * @typedef {object} LinesData what html.py embeds
 * @property {Record<string, any[]>} tables values of each column
 * @property {Row[]} rows
 * @property {number} origin microseconds since 1970
 * @property {number} split index of the first row after the lines that were left out
 * @property {number} left_out number of lines that were left out
 *
 * @typedef {object} ReportLine one line as the list shows it
 * @property {number | null} us microseconds since 1970
 * @property {string} level as written
 * @property {string} known the level if it is one of LEVELS, else "info"
 * @property {string} service
 * @property {string} tag
 * @property {string} event
 * @property {string} message
 * @property {any} meta
 * @property {any} error
 */

const COLUMNS = ["level", "service", "tag", "context", "event", "message", "source", "attribution"];
const [LEVEL, SERVICE, TAG, CONTEXT, EVENT, MESSAGE, SOURCE, ATTRIBUTION] = COLUMNS.keys();
// The order of the keys of a line, as in the log format.
const KEYS = [
  "timestamp", "level", "message", "service", "tag", "sessionId", "userId", "userName", "room", "epoch",
  "traceId", "spanId", "event", "meta", "error", "raw", "truncated", "boot", "seq",
];
/** @type {Record<string, number>} */
const LEVELS = { debug: 10, info: 20, warn: 30, error: 40 };
// Characters that are invisible or change the direction of the text around them, and halves of surrogate
// pairs: entry.py has the same set.
const INVISIBLE = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e" +
    "\\u2060-\\u206f\\ufeff\\ufff0-\\ufffb\\ufffe\\uffff]|[\\ud800-\\udbff](?![\\udc00-\\udfff])" +
    "|(?<![\\ud800-\\udbff])[\\udc00-\\udfff]|\\udb40[\\udc00-\\udfff]",
  "g",
);
const FLAT_CHARS = 2000; // of a text in the list; the whole text is in the line's details

/**
 * Return a character as an escape sequence of Python.
 * @param {string} character
 */
function escapeSequence(character) {
  const number = character.codePointAt(0) ?? 0;
  const [letter, digits] = number <= 0xff ? ["x", 2] : number <= 0xffff ? ["u", 4] : ["U", 8];
  return `\\${letter}${number.toString(16).padStart(Number(digits), "0")}`;
}

/**
 * Return a text with its invisible characters as escape sequences.
 * @param {string} text
 */
function visible(text) {
  return text.replace(/\r\n/g, "\n").replace(INVISIBLE, escapeSequence);
}

/**
 * Return a text as one visible line of bounded length.
 * @param {string} text
 */
function flat(text) {
  return visible(text.length > FLAT_CHARS ? `${text.slice(0, FLAT_CHARS)}…` : text).replace(/\s+/g, " ");
}

/**
 * Return a value as text: a string as it is, anything else as JSON.
 * @param {unknown} value
 * @returns {string}
 */
function asText(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/**
 * Return a time in the format of log lines, with microseconds.
 * @param {number} us microseconds since 1970
 */
function isoTime(us) {
  const micros = ((us % 1e6) + 1e6) % 1e6;
  return `${new Date(Math.floor(us / 1000)).toISOString().slice(0, 20)}${String(micros).padStart(6, "0")}Z`;
}

/**
 * Return the time of day in milliseconds, or dashes.
 * @param {number | null} us microseconds since 1970
 */
function clockTime(us) {
  return us === null ? "--:--:--.---" : isoTime(us).slice(11, 23);
}

/**
 * Return the signed seconds from one time to another, or "".
 * @param {number | null} us
 * @param {number | null} zeroUs
 */
function secondsSince(us, zeroUs) {
  if (us === null || zeroUs === null) return "";
  return `${us < zeroUs ? "−" : "+"}${(Math.abs(us - zeroUs) / 1e6).toFixed(3)}`;
}

/**
 * Return meta as `name=value` pairs; a value with a space, quote or equals sign is quoted.
 * @param {unknown} meta
 */
function metaText(meta) {
  if (!meta || typeof meta !== "object") return "";
  return Object.entries(meta)
    .map(([name, value]) => {
      const isPlain = typeof value === "string" && value && !/[\s="]/.test(value);
      return `${name}=${isPlain ? value : JSON.stringify(value)}`;
    })
    .join(" ");
}

/**
 * Return an error as `type: message`.
 * @param {any} error
 */
function errorText(error) {
  if (!error) return "";
  if (typeof error !== "object") return asText(error);
  return [error.type, error.message].filter(Boolean).map(asText).join(": ");
}

/**
 * Return the end of a session id, which differs between the sessions of a day.
 * @param {string} id
 */
function shortSessionId(id) {
  return id.length > 10 ? `…${id.slice(-9)}` : id;
}

/**
 * Return a number of lines in words.
 * @param {number} count
 * @param {string} adjective followed by a space, or ""
 */
function countLines(count, adjective = "") {
  return `${count.toLocaleString("en")} ${adjective}${count === 1 ? "line" : "lines"}`;
}

/** The lines of a report. An index counts the embedded lines, a line number all lines, from 1. */
class ReportLines {
  /** @type {(string | undefined)[]} */
  #searchTexts = [];

  /** @param {LinesData} data */
  constructor(data) {
    this.data = data;
  }

  /** The number of lines that are embedded. */
  get count() {
    return this.data.rows.length;
  }

  /** Whether the lines belong to more than one session. */
  get hasSeveralSessions() {
    const ids = this.data.tables.context.map((context) => context.sessionId);
    return new Set(ids.filter((id) => id && !String(id).startsWith("server:"))).size > 1;
  }

  /**
   * Return the value of a column, or undefined.
   * @param {number} index
   * @param {number} column
   */
  cell(index, column) {
    const value = this.data.rows[index][column + 1];
    if (value === -1) return undefined;
    return typeof value === "number" ? this.data.tables[COLUMNS[column]][value] : value;
  }

  /** @param {number} index */
  sessionId(index) {
    return asText(this.cell(index, CONTEXT)?.sessionId ?? "");
  }

  /** @param {number} index */
  lineNumber(index) {
    return (index < this.data.split ? index : index + this.data.left_out) + 1;
  }

  /**
   * Return the index of a line, or -1 if it is not embedded.
   * @param {number} lineNumber
   */
  indexOf(lineNumber) {
    const { split, left_out: leftOut } = this.data;
    const isBeforeGap = lineNumber <= split;
    const index = lineNumber - 1 - (isBeforeGap ? 0 : leftOut);
    const first = isBeforeGap ? 0 : split;
    return index >= first && index < this.count ? index : -1;
  }

  /**
   * Return a line as the list shows it.
   * @param {number} index
   * @returns {ReportLine}
   */
  line(index) {
    const others = this.#otherFields(index);
    const level = asText(this.cell(index, LEVEL) ?? others.level ?? "info");
    return {
      us: this.#time(index),
      level,
      known: LEVELS[level] ? level : "info",
      service: asText(this.cell(index, SERVICE) ?? others.service ?? "unknown"),
      tag: asText(this.cell(index, TAG) ?? others.tag ?? ""),
      event: this.cell(index, EVENT) ?? "",
      message: asText(this.cell(index, MESSAGE) ?? others.message ?? ""),
      meta: others.meta,
      error: others.error,
    };
  }

  /**
   * Return a line as it was written, its keys in the order of the log format.
   * @param {number} index
   */
  record(index) {
    const us = this.#time(index);
    /** @type {Record<string, any>} */
    const fields = { ...this.cell(index, CONTEXT), ...this.#otherFields(index) };
    if (us !== null) fields.timestamp = isoTime(us);
    for (const column of [LEVEL, SERVICE, TAG, EVENT, MESSAGE]) {
      const value = this.cell(index, column);
      if (value !== undefined) fields[COLUMNS[column]] = value;
    }
    /** @type {Record<string, any>} */
    const record = {};
    for (const key of [...KEYS, ...Object.keys(fields)]) if (key in fields) record[key] = fields[key];
    return record;
  }

  /**
   * Return the lower-case text that a search looks through.
   * @param {number} index
   */
  searchText(index) {
    return (this.#searchTexts[index] ??= this.#makeSearchText(index));
  }

  /** @param {number} index */
  #makeSearchText(index) {
    const line = this.line(index);
    return [
      line.message,
      line.event,
      line.service,
      line.tag,
      line.meta ? metaText(line.meta) : "",
      line.error ? JSON.stringify(line.error) : "",
      Object.values(this.cell(index, CONTEXT) || {}).join(" "),
      this.cell(index, SOURCE),
    ]
      .join("\n")
      .toLowerCase();
  }

  /**
   * @param {number} index
   * @returns {Record<string, any>}
   */
  #otherFields(index) {
    return /** @type {any} */ (this.data.rows[index][COLUMNS.length + 1]) || {};
  }

  /**
   * @param {number} index
   * @returns {number | null}
   */
  #time(index) {
    const offset = this.data.rows[index][0];
    return offset === null ? null : this.data.origin + Number(offset);
  }
}
