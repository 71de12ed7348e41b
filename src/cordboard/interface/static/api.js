// The page's calls to its own server; an error is always a Problem.

const TIMEOUT_MS = 25_000;

/** What the server said, or why it could not be asked. */
export class Problem extends Error {
  constructor(code, message, hint = "", more = {}) {
    super(message);
    this.name = "Problem";
    Object.assign(this, { code, hint, ...more });
  }
}

export function sessionUrl(id, rest = "") {
  return `/api/sessions/${encodeURIComponent(id)}${rest}`;
}

export async function ask(method, url, sessionId, body) {
  let answer;
  try {
    answer = await fetch(url, {
      method,
      headers: { "Content-Type": "application/json", "X-Session-Id": sessionId },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new Problem(
      "interface_unreachable",
      "This page cannot reach its server.",
      "Look whether you are online, and whether the server runs; then try again.",
    );
  }
  const told = await answer.json().catch(() => ({}));
  if (answer.ok) return told;
  throw new Problem(told.code ?? "http", told.detail ?? `The server answered HTTP ${answer.status}.`, told.hint, {
    status: answer.status,
    retryAfterS: Number(answer.headers.get("Retry-After")) || 0,
  });
}
