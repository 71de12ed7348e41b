// What the tests of the browser's code share: stand-ins for what Node.js does not have.

/** Let all promises that can settle now do so. */
export async function settle() {
  for (let i = 0; i < 20; i += 1) await Promise.resolve();
}

/**
 * Replace global fetch for a test, and return the requests that it received.
 * @param {import("node:test").TestContext} t
 * @param {(url: string, options: RequestInit) => Response | Promise<Response>} respond
 */
export function fakeFetch(t, respond) {
  /** @type {{ url: string, method?: string, body: string, headers: any }[]} */
  const requests = [];
  t.mock.method(globalThis, "fetch", async (/** @type {string} */ url, /** @type {RequestInit} */ options) => {
    requests.push({ url, method: options.method, body: String(options.body), headers: options.headers });
    return await respond(url, options);
  });
  return requests;
}

/** Keep the lines of the browser's logger off the test's output. */
export function silenceConsole() {
  for (const level of /** @type {const} */ (["debug", "info", "warn", "error"])) console[level] = () => {};
}

/**
 * Define a property of a global object that Node.js does not have, such as navigator.sendBeacon.
 * @param {object} target
 * @param {string} name
 * @param {unknown} value
 */
export function define(target, name, value) {
  Object.defineProperty(target, name, { value, configurable: true, writable: true });
}
