// Writes lines of a server: on stdout, numbered, without secrets, and at most 16 KiB long.

import { bootId } from "../browser/ids.js";
import { makeRecord, replaceLoneSurrogates } from "../browser/record.js";
import { redactValue } from "./redaction.js";

/**
 * @import { Context, Level, Meta } from "../browser/record.js"
 * @typedef {{ boot: string, seq: number, service: string }} Process
 */

export const LINE_BYTES = 16 * 1024;
const LENGTHS = [8000, 4000, 2000, 500, 100]; // of message and of meta, tried in turn
/** @type {Record<string, number>} */
export const LEVELS = { debug: 10, info: 20, warn: 30, error: 40 };
const encoder = new TextEncoder();
// A bundler may put copies of this module into one process; all of them count together.
const PROCESS = Symbol.for("cordboard.process");

/**
 * Return what names the lines of this process.
 * @returns {Process}
 */
export function thisProcess() {
  const shared = /** @type {Record<symbol, Process>} */ (/** @type {unknown} */ (globalThis));
  return (shared[PROCESS] ??= { boot: bootId(), seq: 0, service: "web" });
}

/** Whether this is an edge runtime, in which parts of `process` are missing, or raise errors. */
const isEdge = () => "EdgeRuntime" in globalThis;

/** Return the name of this machine, which stands for the session where none is bound. */
export function machineName() {
  const variables = globalThis.process?.env ?? {};
  const host = isEdge() ? undefined : globalThis.process?.getBuiltinModule?.("node:os")?.hostname();
  const names = [variables.POD_NAME, variables.JOB_ID, variables.HOSTNAME, host];
  return names.find((name) => name && name !== "localhost" && name !== "0.0.0.0") ?? "server";
}

/** @param {Level} level */
export function isWritten(level) {
  const lowest = (globalThis.process?.env?.LOG_LEVEL ?? "").toLowerCase();
  return LEVELS[level] >= (LEVELS[lowest] ?? LEVELS.info);
}

/**
 * Write a line of this process.
 * @param {Level} level
 * @param {string} tag
 * @param {string} message
 * @param {Meta} meta
 * @param {Context} context
 */
export function writeLine(level, tag, message, meta, context) {
  const own = thisProcess();
  own.seq += 1;
  const numbers = { boot: own.boot, seq: own.seq };
  let line = "";
  for (const chars of LENGTHS) {
    line = encoded({ ...makeRecord(level, tag, message, meta, { service: own.service, ...context }, chars), ...numbers });
    if (isShort(line)) break;
  }
  print(line);
}

/**
 * Write a record of a browser, with its own boot and sequence number.
 * @param {Record<string, any>} record in the order of its keys
 */
export function forwardLine(record) {
  const line = encoded(record);
  if (isShort(line)) {
    print(line);
    return;
  }
  const { boot, seq, error, message, ...rest } = record;
  delete rest.meta;
  const type = error && { error: { type: String(error.type).slice(0, 100) } };
  print(encoded({ ...rest, message: String(message).slice(0, 1000), ...type, truncated: true, boot, seq }));
}

/** @param {string} line */
function isShort(line) {
  return encoder.encode(line).length < LINE_BYTES;
}

/** @param {Record<string, unknown>} record */
function encoded(record) {
  const text = replaceLoneSurrogates(JSON.stringify(redactValue(record)));
  // Controls beyond ASCII act on terminals, and separators end lines for some readers.
  return text.replace(/[\u007f-\u009f\u2028\u2029]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** @param {string} line */
function print(line) {
  const stdout = isEdge() ? undefined : globalThis.process?.stdout;
  if (stdout?.write) stdout.write(`${line}\n`);
  // eslint-disable-next-line no-console -- the edge runtime has no other output
  else console.log(line);
}
