// What the browser reports about a page: errors that no code caught, and resources that its policy blocked.

import { getClientLogger, flush, queue } from "./logger.js";

const SAME_LOGGED = 20; // an error in an animation is thrown 60 times a second
const KINDS_KEPT = 100;

let isInstalled = false;
/** @type {Map<string, number>} */
const counts = new Map();

/** Log errors that no code caught, once per page however often it is called. */
export function logErrors() {
  if (isInstalled) return;
  isInstalled = true;
  const log = getClientLogger("page");
  addEventListener("error", (event) => {
    if (!event.message) return;
    const { filename, lineno, colno, message } = event;
    const count = countOf(`${message} ${filename}:${lineno}`);
    if (isLogged(count)) log.error("Uncaught error", { error: event.error ?? message, filename, lineno, colno, count });
  });
  addEventListener("unhandledrejection", (event) => {
    const count = countOf(String(event.reason?.stack ?? event.reason));
    if (isLogged(count)) log.error("Unhandled rejection", { error: event.reason, count });
  });
  addEventListener("securitypolicyviolation", (event) => {
    const meta = { directive: event.violatedDirective, what: event.blockedURI };
    log.warn("The page's security policy blocked a resource", meta);
  });
}

/** Send all lines when the page is closed, hidden or frozen, and when the network is back. */
export function flushWhenHidden() {
  // A phone may end a hidden page without any further event.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") flush();
  });
  document.addEventListener("freeze", flush);
  addEventListener("pagehide", flush);
  addEventListener("online", () => queue.resume());
}

/** @param {string} key */
function countOf(key) {
  if (!counts.has(key) && counts.size >= KINDS_KEPT) counts.clear();
  const count = (counts.get(key) ?? 0) + 1;
  counts.set(key, count);
  return count;
}

/**
 * Each of the first errors of a kind is logged, then the 32nd, the 64th and so on.
 * @param {number} count
 */
function isLogged(count) {
  return count <= SAME_LOGGED || (count & (count - 1)) === 0;
}
