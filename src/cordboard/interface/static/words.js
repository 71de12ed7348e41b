// The texts that people see when something goes wrong: what happened, and what to do.

const MICROPHONE = {
  NotFoundError: ["No microphone was found.", "Plug one in, or switch it on, and press Join again."],
  NotAllowedError: [
    "The microphone is not allowed.",
    "Allow it for this page with the symbol to the left of the address (and in your system’s privacy settings), and press Join again.",
  ],
  NotReadableError: [
    "The microphone is busy.",
    "Another program may be using it: close that program, and press Join again.",
  ],
  AbortError: ["The microphone could not be opened.", "Unplug it, plug it in again, and press Join again."],
};

const REASONS = {
  bot_finished: ["The bot has ended the call.", "Press Join to call again."],
  left: ["The call was ended from elsewhere.", "Press Join to call again."],
  user_absent: ["The bot waited for you, but you did not connect.", "Press Join to call again."],
  max_duration: ["The call has reached its maximum length.", "Press Join to call again."],
  bot_crashed: ["The bot has failed.", "Press Join to try again. The command below shows what happened."],
  runner_lost: ["The bot’s machine was lost.", "Press Join to try again."],
  lease_lost: ["The bot has lost its room.", "Press Join to try again."],
  launch_failed: ["No bot could be started.", "Try again in a minute. The command below shows what happened."],
  deadline: ["No bot became free in time.", "Try again in a minute."],
  cancelled: ["The call was cancelled.", "Press Join to call again."],
};

// Ends that are not errors.
const NORMAL = new Set(["bot_finished", "left", "max_duration"]);

const PROBLEMS = {
  queue_full: ["All bots are busy.", "Try again when the button allows it."],
  store_unavailable: ["The service is interrupted.", "Try again when the button allows it."],
  too_many_sessions: ["You, or other people in your network, have too many calls at the same time.", "End another call, or wait until one has ended."],
  too_many_requests: ["You tried too often in a short time.", "Try again when the button allows it."],
  unauthorized: ["You are signed out.", "Sign in again with your name."],
};

export function microphoneWords(error) {
  if (error?.name === "InsecureContext") {
    return [
      "Browsers allow the microphone on secure pages only.",
      "Open this page with https, or on the same machine as http://localhost with its port.",
    ];
  }
  return MICROPHONE[error?.name] ?? ["The microphone could not be opened.", `The browser says: ${error?.message ?? error}`];
}

export function reasonWords(status, reason) {
  return REASONS[reason] ?? [`The call has ended (${reason ?? status}).`, "Press Join to call again."];
}

export function isNormalEnd(status, reason) {
  return status === "ended" && NORMAL.has(reason);
}

export function problemWords(problem) {
  return PROBLEMS[problem.code] ?? [problem.message, problem.hint || "Press Join to try again."];
}
