// The browser's logger: lines in the format of all other services, sent in batches.
//
//   const log = getClientLogger("call");
//   log.info("Microphone opened", { label });

import { apiUrl } from "./api.js";
import { bootId } from "./ids.js";
import { LogQueue } from "./log_queue.js";
import { makeRecord } from "./log_record.js";

/**
 * @import { Context, Level, Meta } from "./log_record.js"
 * @typedef {(message: string, meta?: Meta) => void} Write
 * @typedef {{ debug: Write, info: Write, warn: Write, error: Write }} Logger
 */

const boot = bootId();
const queue = new LogQueue(apiUrl("/logs"), (count) => {
  write("warn", "log", "Lines of the browser were dropped", { count });
});

/** @type {Context} */
const context = { sessionId: "server:browser", userId: null, userName: null, room: null };

let seq = 0;

/**
 * Set the session, user and room of the lines that follow.
 * @param {Partial<Context>} values
 */
export function setLogContext(values) {
  Object.assign(context, values);
}

/**
 * Return the logger of one part of the page.
 * @param {string} tag name of the part
 * @returns {Logger}
 */
export function getClientLogger(tag) {
  /** @type {(level: Level) => Write} */
  const writer = (level) => (message, meta) => write(level, tag, message, meta);
  return { debug: writer("debug"), info: writer("info"), warn: writer("warn"), error: writer("error") };
}

/**
 * @param {Level} level
 * @param {string} tag
 * @param {string} message
 * @param {Meta} [meta]
 */
function write(level, tag, message, meta = {}) {
  const values = Object.fromEntries(Object.entries(meta).filter(([, value]) => value !== undefined));
  console[level](`[${tag}] ${message}`, ...(Object.keys(values).length ? [values] : []));
  const record = makeRecord(level, tag, String(message), values, context);
  seq += 1;
  queue.add({ ...record, boot, seq }, level === "error");
}

/** Send all lines by requests that outlive the page. */
export function flushNow() {
  queue.sendBeacons();
}

/** Log errors that no code caught, and send all lines when the page is closed or hidden. */
export function installLogger() {
  const log = getClientLogger("page");
  addEventListener("error", (event) => {
    if (event.message) {
      const { filename, lineno, colno } = event;
      log.error("Uncaught error", { error: event.error ?? event.message, filename, lineno, colno });
    }
  });
  addEventListener("unhandledrejection", (event) => {
    log.error("Unhandled rejection", { error: event.reason });
  });
  addEventListener("securitypolicyviolation", (event) => {
    log.warn("The page's security policy blocked a resource", {
      directive: event.violatedDirective,
      what: event.blockedURI,
    });
  });
  // A phone may end a hidden page without any further event.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") flushNow();
  });
  addEventListener("pagehide", flushNow);
  addEventListener("online", () => queue.resume());
}
