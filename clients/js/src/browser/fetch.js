// Requests of the page: those to allowed hosts carry the session in their headers.

/** @typedef {typeof globalThis.fetch} Fetch */

/** @type {Fetch | null} */
let original = null;
/** @type {Set<string>} */
let allowed = new Set();
/** @type {() => Record<string, string>} */
let headersOfSession = () => ({});

/**
 * Send a request without the session.
 * @param {RequestInfo | URL} input
 * @param {RequestInit} [init]
 */
export function plainFetch(input, init) {
  return (original ?? globalThis.fetch)(input, init);
}

/**
 * Add headers to each later `fetch` to the page's own host, or to one of the given hosts.
 *
 * A host outside of the list never learns the session, and gets no header that a server of another origin would
 * have to permit (CORS). A header that the caller has set is kept.
 * @param {Iterable<string>} hosts hosts as in URLs, with a port other than the default, such as `localhost:7860`
 * @param {() => Record<string, string>} headers returns the headers of the present session
 */
export function hookFetch(hosts, headers) {
  allowed = new Set(hosts);
  headersOfSession = headers;
  if (original) return;
  const native = globalThis.fetch;
  // fetch must be called on its window.
  original = (input, init) => native.call(globalThis, input, init);
  globalThis.fetch = (input, init) => plainFetch(input, withHeaders(input, init));
}

/**
 * @param {RequestInfo | URL} input
 * @param {RequestInit} [init]
 * @returns {RequestInit | undefined}
 */
function withHeaders(input, init) {
  const request = typeof Request !== "undefined" && input instanceof Request ? input : null;
  if (!isAllowed(request ? request.url : String(input))) return init;
  const headers = new Headers(init?.headers ?? request?.headers);
  for (const [name, value] of Object.entries(headersOfSession())) {
    if (!headers.has(name)) headers.set(name, value);
  }
  return { ...init, headers };
}

/** @param {string} text */
function isAllowed(text) {
  const here = globalThis.location?.href;
  try {
    const url = new URL(text, here);
    if (url.protocol !== "https:" && url.protocol !== "http:") return false;
    return url.host === globalThis.location?.host || allowed.has(url.host);
  } catch {
    return false; // fetch itself will say what is wrong with it
  }
}
