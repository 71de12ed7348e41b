// Middleware of Next.js, for the Node.js and the edge runtime: cleans the headers that carry a session.

import { NextResponse } from "next/server.js";

import { IDENTITY_HEADERS, SESSION_HEADER, sessionHeaders } from "../browser/carrier.js";
import { sessionOfRequest } from "../server/index.js";

/**
 * Pass a request on with the session that it names, and name that in the response.
 *
 * A malformed id is removed, with one warning. Headers that name a user or an epoch are removed: a browser could
 * claim to be anybody.
 * @param {Request} request
 * @returns {NextResponse}
 */
export function sessionMiddleware(request) {
  const { sessionId, traceparent } = sessionOfRequest(request);
  const headers = new Headers(request.headers);
  for (const name of [SESSION_HEADER, "traceparent", ...IDENTITY_HEADERS]) headers.delete(name);
  for (const [name, value] of Object.entries(sessionHeaders({ sessionId, traceparent }))) headers.set(name, value);
  const response = NextResponse.next({ request: { headers } });
  if (sessionId) response.headers.set(SESSION_HEADER, sessionId);
  return response;
}
