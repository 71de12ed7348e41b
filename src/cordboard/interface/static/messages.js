// The texts that the user sees when something goes wrong: what happened, and what to do.

/**
 * @typedef {[title: string, advice: string]} Message
 * @import { Problem } from "./api.js"
 */

const PRESS_JOIN = "Press Join to call again.";

/** @type {Record<string, Message>} */
const MICROPHONE = {
  NotFoundError: ["No microphone was found.", "Plug one in or switch it on, and press Join again."],
  NotAllowedError: [
    "Access to the microphone is blocked.",
    "Allow it for this page with the icon to the left of the address (and in your system’s privacy settings), and press Join again.",
  ],
  NotReadableError: [
    "The microphone is busy.",
    "Another program may be using it: close that program, and press Join again.",
  ],
  AbortError: ["The microphone could not be opened.", "Unplug it, plug it in again, and press Join again."],
  InsecureContext: [
    "Browsers allow the microphone on secure pages only.",
    "Open this page with https, or on the same machine as http://localhost with its port.",
  ],
};

// By the session's `reason` (docs/contract/states.md).
/** @type {Record<string, Message>} */
const REASONS = {
  bot_finished: ["The bot has ended the call.", PRESS_JOIN],
  left: ["The call was ended from elsewhere.", PRESS_JOIN],
  user_absent: ["The bot waited for you, but you did not connect.", PRESS_JOIN],
  max_duration: ["The call has reached its maximum length.", PRESS_JOIN],
  bot_crashed: ["The bot has failed.", "Press Join to try again. The command below shows what happened."],
  runner_lost: ["The connection to the bot’s machine was lost.", "Press Join to try again."],
  lease_lost: ["The bot has lost its room.", "Press Join to try again."],
  launch_failed: ["No bot could be started.", "Try again in a minute. The command below shows what happened."],
  deadline: ["No bot became available in time.", "Try again in a minute."],
  cancelled: ["The call was cancelled.", PRESS_JOIN],
};

// Reasons for which `ended` is the expected end of a call.
const EXPECTED_REASONS = new Set(["bot_finished", "left", "max_duration"]);

// By the error's code; an error with another code brings its own text.
/** @type {Record<string, Message>} */
const PROBLEMS = {
  queue_full: ["All bots are busy.", "Try again when the button is enabled."],
  store_unavailable: ["The service is temporarily unavailable.", "Try again when the button is enabled."],
  too_many_sessions: [
    "You, or other people on your network, have too many calls at the same time.",
    "End another call, or wait until one has ended.",
  ],
  too_many_requests: ["You have made too many attempts in a short time.", "Try again when the button is enabled."],
  unauthorized: ["You are signed out.", "Sign in again with your name."],
};

/**
 * Return the message for a microphone that could not be opened.
 * @param {any} error what getUserMedia threw
 * @returns {Message}
 */
export function microphoneMessage(error) {
  return (
    MICROPHONE[error?.name] ?? ["The microphone could not be opened.", `The browser reports: ${error?.message ?? error}`]
  );
}

/**
 * Return the message for a session that has ended.
 * @param {string} status final state of the session
 * @param {string | null | undefined} reason
 * @returns {Message}
 */
export function endMessage(status, reason) {
  return REASONS[reason ?? ""] ?? [`The call has ended (${reason ?? status}).`, PRESS_JOIN];
}

/**
 * Return the end of a call whose bot was lost, and for which no other one came in time.
 * @param {boolean} isConfirmed whether the bot is known to be dead
 * @returns {{ title: string, advice: string }}
 */
export function lostBotEnd(isConfirmed) {
  return isConfirmed
    ? { title: "The bot was lost, and no other one came in time.", advice: PRESS_JOIN }
    : { title: "The connection to the bot was lost.", advice: `Check your network. ${PRESS_JOIN}` };
}

/**
 * Return whether a call ended as a call should, so that the page shows no error.
 * @param {string} status
 * @param {string | null | undefined} reason
 */
export function isExpectedEnd(status, reason) {
  return status === "ended" && EXPECTED_REASONS.has(reason ?? "");
}

/**
 * Return the message for a request that failed.
 * @param {Problem | Error} problem
 * @returns {Message}
 */
export function problemMessage(problem) {
  const code = "code" in problem ? problem.code : "";
  const hint = "hint" in problem ? problem.hint : "";
  return PROBLEMS[code] ?? [problem.message, hint || "Press Join to try again."];
}
