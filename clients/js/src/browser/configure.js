// The set-up of the logger of a page.

import { sessionHeaders } from "./carrier.js";
import { captureConsole } from "./console.js";
import { hookFetch } from "./fetch.js";
import { currentSession, pageKey, queue, write } from "./logger.js";
import { PAGE_KEY_HEADER } from "./page_key.js";
import { flushWhenHidden, logErrors } from "./page_errors.js";

/**
 * @typedef {object} Options
 * @property {string} [url] where lines are posted; by default `/api/logs` of the page's own server
 * @property {Record<string, string>} [headers] further headers of these requests, such as `Authorization`
 * @property {string[]} [hosts] hosts besides the page's own whose requests carry the session, such as `localhost:7860`
 * @property {boolean} [console] whether messages of the page's console become lines
 * @property {boolean} [errors] whether errors that no code caught become lines; true by default
 * @property {boolean} [fetch] whether `fetch` adds the session to requests; true by default
 */

let isConfigured = false;

/**
 * Send the lines of this page, those that were written before included.
 *
 * It does nothing on a server. A later call changes the URL and the hosts.
 * @param {Options} options
 */
export function configure(options = {}) {
  if (typeof window === "undefined") return;
  if (options.errors ?? true) logErrors();
  if (options.fetch ?? true) hookFetch(options.hosts ?? [], () => sessionHeaders(currentSession()));
  if (options.console) {
    captureConsole((level, message, meta) => {
      // Another script may print each request: a line about each batch would cause the next batch.
      if (!queue.url || !message.includes(queue.url)) write(level, "console", message, meta);
    });
  }
  const url = options.url ?? "/api/logs";
  queue.start(url, { ...(isOwn(url) && { [PAGE_KEY_HEADER]: pageKey }), ...options.headers });
  if (!isConfigured) flushWhenHidden();
  isConfigured = true;
}

/**
 * Another origin learns no key, and would have to permit the header (CORS).
 * @param {string} url
 */
function isOwn(url) {
  try {
    return new URL(url, globalThis.location?.href).origin === globalThis.location?.origin;
  } catch {
    return false; // no URL; requests to it fail
  }
}
