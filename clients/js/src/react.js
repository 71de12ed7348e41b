"use client";
// A session for a page in React: its id exists when the page has loaded, before the first click.

import { createContext, createElement, useContext, useEffect, useMemo, useSyncExternalStore } from "react";

import { configure, currentSession, newSession, onSession, setSession } from "./browser/index.js";

/**
 * @import { ReactNode } from "react"
 * @import { Options } from "./browser/configure.js"
 *
 * @typedef {object} CallClient a client of Pipecat, or anything else that reports the end of a call
 * @property {(event: any, listener: () => void) => unknown} on
 * @property {(event: any, listener: () => void) => unknown} off
 *
 * @typedef {object} SessionValue
 * @property {string} sessionId "" while the page is rendered on a server
 * @property {() => string} newSession makes the id of the next call, and returns it
 *
 * @typedef {object} SessionProviderProps
 * @property {ReactNode} [children]
 * @property {CallClient | null} [client] after each of its `disconnected`, there is a new session id
 * @property {Options} [options] those of `configure`
 * @property {string | null} [userId]
 * @property {string | null} [userName]
 * @property {string | null} [room]
 */

/** @type {import("react").Context<SessionValue | null>} */
const SessionContext = createContext(/** @type {SessionValue | null} */ (null));

/**
 * Configures the logger of the page, and keeps a session id ready for the next call.
 * @param {SessionProviderProps} props
 */
export function SessionProvider({ children, client, options, userId = null, userName = null, room = null }) {
  const sessionId = useSyncExternalStore(onSession, sessionIdOfPage, () => "");
  useEffect(() => configure(options), [options]);
  useEffect(() => setSession({ userId, userName, room }), [userId, userName, room]);
  useEffect(() => {
    if (!client) return undefined;
    const ended = () => void newSession();
    client.on("disconnected", ended);
    return () => void client.off("disconnected", ended);
  }, [client]);
  const value = useMemo(() => ({ sessionId, newSession: () => newSession() }), [sessionId]);
  return createElement(SessionContext.Provider, { value }, children);
}

/**
 * Return the session id for the next call, or of the running one.
 * @returns {SessionValue}
 */
export function useSession() {
  const value = useContext(SessionContext);
  if (!value) throw new Error("useSession() needs a <SessionProvider> above it");
  return value;
}

function sessionIdOfPage() {
  return currentSession().sessionId ?? newSession();
}
