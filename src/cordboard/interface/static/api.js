// Requests of the page to its own server. Every failure is a Problem.

// The path prefix under which a proxy serves the page.
const ROOT_PATH = globalThis.document?.documentElement.dataset.rootPath ?? "";

// The interface answers a join within 20 s, or with an error; a longer wait means a lost connection.
const TIMEOUT_MS = 25_000;

/**
 * @typedef {object} ProblemDetails
 * @property {number} [status] HTTP status
 * @property {number} [retryAfterS] seconds after which a new attempt makes sense
 * @property {string} [holder] session that holds the room
 * @property {boolean} [yours] whether the room's session is the user's own
 */

/** An error that the server reported, or that kept the request from reaching it. */
export class Problem extends Error {
  /**
   * @param {string} code stable error code, such as `room_busy`
   * @param {string} message what happened, for the user
   * @param {string} hint what the user can do, or ""
   * @param {ProblemDetails} details
   */
  constructor(code, message, hint = "", details = {}) {
    super(message);
    this.name = "Problem";
    this.code = code;
    this.hint = hint;
    this.status = details.status;
    this.retryAfterS = details.retryAfterS;
    this.holder = details.holder;
    this.yours = details.yours;
  }
}

/**
 * Return the URL of a call of the interface's API.
 * @param {string} path such as "/sessions"
 */
export function apiUrl(path) {
  return `${ROOT_PATH}/api${path}`;
}

/**
 * Return the URL of a session, or of a resource below it.
 * @param {string} id session id
 * @param {string} path such as "/leave"
 */
export function sessionUrl(id, path = "") {
  return apiUrl(`/sessions/${encodeURIComponent(id)}${path}`);
}

/**
 * Send a request and return the JSON object of the response.
 * @param {string} method
 * @param {string} url
 * @param {string} sessionId session that the request belongs to, for the server's log lines
 * @param {unknown} [body] sent as JSON
 * @returns {Promise<any>}
 * @throws {Problem}
 */
export async function request(method, url, sessionId, body) {
  let response;
  try {
    response = await fetch(url, {
      method,
      headers: { "Content-Type": "application/json", "X-Session-Id": sessionId },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new Problem(
      "interface_unreachable",
      "This page cannot reach its server.",
      "Check that you are online and that the server is running, then try again.",
    );
  }
  // A proxy in between may answer with HTML.
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw new Problem(answer.code ?? "http", answer.detail ?? `The server answered HTTP ${response.status}.`, answer.hint, {
    status: response.status,
    retryAfterS: Number(response.headers.get("Retry-After")) || 0,
  });
}
