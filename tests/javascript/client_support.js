// What the tests of the npm package share.

import { flush, queue } from "../../clients/js/src/browser/logger.js";
import { define, silenceConsole } from "./support.js";

silenceConsole();
define(globalThis, "window", globalThis);
queue.start("/api/logs");

/**
 * Return the lines that were written since the last call.
 * @returns {any[]}
 */
export function newLines() {
  const lines = waitingLines().filter(({ seq }) => seq > newLines.last);
  newLines.last = lines.at(-1)?.seq ?? newLines.last;
  return lines;
}
newLines.last = 0;

/** Return all lines that wait, as the server would receive them. */
export function waitingLines() {
  /** @type {any[]} */
  const lines = [];
  define(navigator, "sendBeacon", (/** @type {string} */ _url, /** @type {string} */ body) => {
    lines.push(...body.split("\n").map((line) => JSON.parse(line)));
    return true;
  });
  flush();
  return lines;
}

/** @param {string} event */
export function newMeta(event) {
  return newLines().filter((line) => line.event === event).map(({ meta }) => meta);
}
