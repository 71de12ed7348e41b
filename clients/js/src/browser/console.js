// The console of the browser: the logger prints on it, and it may become a source of lines itself.

/**
 * @import { Level, Meta } from "./record.js"
 * @typedef {"debug" | "log" | "info" | "warn" | "error"} Method
 * @typedef {(level: Level, message: string, meta: Meta) => void} WriteLine
 */

/** @type {Method[]} */
const METHODS = ["debug", "log", "info", "warn", "error"];
/** @type {Partial<Record<Method, (...values: unknown[]) => void>>} */
const originals = {};
let isWriting = false; // a value that prints while it is converted, or a logger's own output

/**
 * Print on the console. What is printed here never becomes a line.
 * @param {Level} level
 * @param {unknown[]} values
 */
export function print(level, ...values) {
  const outer = isWriting;
  isWriting = true;
  try {
    (originals[level] ?? console[level]).apply(console, values);
  } finally {
    isWriting = outer;
  }
}

/**
 * Make a line of each message that the page prints on the console; it is printed as before.
 * @param {WriteLine} write
 */
export function captureConsole(write) {
  for (const method of METHODS) {
    if (originals[method]) continue;
    const original = console[method];
    originals[method] = original;
    console[method] = (...values) => {
      original.apply(console, values);
      if (isWriting) return;
      isWriting = true;
      try {
        write(method === "log" ? "info" : method, textOf(values), metaOf(values));
      } catch {
        // The page's own message has been printed; a logger must not fail its caller.
      } finally {
        isWriting = false;
      }
    };
  }
}

/** Print as before from now on; for tests. */
export function releaseConsole() {
  for (const method of METHODS) {
    if (originals[method]) console[method] = originals[method];
    delete originals[method];
  }
}

/** @param {unknown[]} values */
function textOf(values) {
  const texts = values.filter((value) => typeof value !== "object" && typeof value !== "function").map(String);
  return texts.join(" ") || "Console message";
}

/**
 * @param {unknown[]} values
 * @returns {Meta}
 */
function metaOf(values) {
  const objects = values.filter((value) => typeof value === "object" && value !== null);
  const error = objects.find((value) => value instanceof Error);
  const others = objects.filter((value) => value !== error);
  return { ...(error ? { error } : {}), ...(others.length ? { values: others } : {}) };
}
