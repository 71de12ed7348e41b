// Route handlers of Next.js: the session of a request, and the lines of browsers.

import { runInSession, sessionOfRequest } from "../server/index.js";

export { logRoute } from "./log_route.js";
export {
  boundedText, configure, currentSession, getLogger, isSessionId, runInSession, sessionHeaders, sessionOfHeaders, sessionOfRequest,
} from "../server/index.js";

/**
 * @typedef {{ userId?: string | null, userName?: string | null }} User
 */

/**
 * Return a route handler that runs within the session of its request: its lines and its requests carry the session.
 *
 * The user comes from `user`, never from a header, which any caller can set.
 * @template {Request} R
 * @template {unknown[]} A
 * @param {(request: R, ...rest: A) => Response | Promise<Response>} handler
 * @param {{ user?: (request: R) => User | null | Promise<User | null> }} options
 * @returns {(request: R, ...rest: A) => Promise<Response>}
 */
export function withSession(handler, { user } = {}) {
  return async (request, ...rest) => {
    const { sessionId, traceparent } = sessionOfRequest(request);
    const { userId = null, userName = null } = (await user?.(request)) ?? {};
    return await runInSession({ sessionId, traceparent, userId, userName }, () => handler(request, ...rest));
  };
}
