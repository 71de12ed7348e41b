// The public names of the package for pages.

/**
 * @typedef {import("./configure.js").Options} Options
 * @typedef {import("./logger.js").Logger} Logger
 * @typedef {import("./logger.js").PageSession} PageSession
 * @typedef {import("./record.js").Level} Level
 * @typedef {import("./record.js").Meta} Meta
 */

export { isSessionId, sessionHeaders } from "./carrier.js";
export { configure } from "./configure.js";
export { uuid7 } from "./ids.js";
export { currentSession, flush, getClientLogger, newSession, onSession, setSession } from "./logger.js";
export { watchDevices } from "./device_watch.js";
export { watchHeard } from "./heard_watch.js";
export { watchAllPeerConnections, watchPeerConnection } from "./peer_watch.js";
