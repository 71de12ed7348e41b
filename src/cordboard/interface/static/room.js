// The room page: makes the session ids, starts calls, and shows them.

import { hideAlert, showAlert, showNote } from "./alert_box.js";
import { Problem, request, sessionUrl } from "./api.js";
import { Call } from "./call.js";
import { enableCopyButtons } from "./copy.js";
import { button, element } from "./elements.js";
import { uuid7 } from "./client/ids.js";
import { getClientLogger, installLogger, setLogContext } from "./log.js";
import { MicrophoneCheck } from "./microphone_check.js";
import { offerMicrophones, showMicrophones } from "./microphone_choice.js";
import { drawTimeline } from "./timeline.js";

/**
 * @import { CallEnd, CallState, CallView, Stage } from "./call_types.js"
 * @import { AlertButton } from "./alert_box.js"
 */

/** @type {Record<CallState | "idle", string>} */
const STATE_LABELS = {
  idle: "Ready",
  microphone: "Waiting for the microphone",
  joining: "Requesting a bot",
  waiting: "A bot is starting",
  connecting: "Connecting",
  connected: "In the call",
  interrupted: "The connection to the bot is interrupted. Trying again.",
  lost: "The bot was lost. Connecting to a new one.",
  leaving: "Leaving",
};

const log = getClientLogger("room");
const page = element("room").dataset;

// The server accepts only ids of the last day, and the clocks of some browsers are off by more.
const clockOffsetMs = Number(page.now) - Date.now();

const microphones = /** @type {HTMLSelectElement} */ (element("microphone"));

const check = new MicrophoneCheck((isOn) => {
  button("check").setAttribute("aria-pressed", String(isOn));
  if (isOn) showMicrophones(microphones); // their labels are known from now on
  startMeters();
});

let nextSessionId = "";
/** @type {Call | null} */
let call = null;
/** @type {number | null} */
let connectedAt = null;
/** @type {Map<Stage, number>} */
const stages = new Map();
let hasRetried = false; // a join was sent again under a new session id
let animationFrame = 0;

// --- session ids

function newSessionId() {
  nextSessionId = uuid7(Date.now() + clockOffsetMs);
  page.next = nextSessionId;
  setLogContext({ sessionId: nextSessionId });
}

/**
 * Show a session's id and the command that prints its log.
 * @param {string} id
 * @param {string} title
 * @param {string} note
 */
function showSession(id, title, note) {
  element("session-title").textContent = title;
  element("session-note").textContent = note;
  element("session-id").textContent = id;
  element("log-command").textContent = `cordboard logs ${page.logs} --session ${id}`;
}

// --- what a call shows

/** @param {CallState | "idle"} state */
function showState(state) {
  page.state = state;
  element("state").textContent = STATE_LABELS[state];
  if (state === "connected") connectedAt ??= performance.now();
  // Disabled until then: the second half of a double click on Join would hit Mute.
  button("mute").disabled = connectedAt === null;
}

/** @type {CallView} */
const view = {
  state: showState,
  stage(stage, ms) {
    stages.set(stage, ms);
    drawTimeline(stages);
    if (stage === "microphone") showMicrophones(microphones); // their labels are known from now on
  },
  note: showNote,
  ended(end) {
    const sessionId = call?.sessionId ?? "";
    call = null;
    connectedAt = null;
    showState("idle");
    showButtons();
    showMuted(false);
    const isSameId = mayKeepId(end);
    showEndedSession(sessionId, end.joined, isSameId);
    if (!isSameId) newSessionId();
    log.info("Ready for another call", { last: sessionId });
    if (end.code === "unauthorized") {
      location.reload(); // the server redirects to the login page
    } else if (end.code === "session_id_used" && !hasRetried) {
      hasRetried = true; // another user had this id: a new one is enough
      join();
    } else {
      hasRetried = false;
      showEnd(end);
    }
  },
};

/** @param {CallEnd} end */
function showEnd(end) {
  if (end.code === "room_busy") showBusyRoom(end);
  else if (end.title) showAlert({ ...end, button: retryButton(end) });
  else hideAlert();
  element("hint").hidden = Boolean(end.title);
  button("join").focus();
}

/**
 * Return whether the next attempt keeps the session id: it failed before a bot ran, so that all attempts
 * are one story in the log.
 * @param {CallEnd & { ran: boolean }} end
 */
function mayKeepId({ title, code, ran }) {
  return Boolean(title) && !ran && code !== "session_id_used" && code !== "session_in_use";
}

/**
 * Keep the ended call's id on the page until the next Join: the user may want to copy it.
 * @param {string} sessionId
 * @param {boolean} joined whether there was a session
 * @param {boolean} isSameId whether the next attempt keeps the id
 */
function showEndedSession(sessionId, joined, isSameId) {
  if (joined) element("state").textContent = "Call ended";
  const noun = joined && !isSameId ? "call" : "attempt";
  const next = isSameId ? "keeps this ID" : "gets a new ID";
  showSession(sessionId, `The last ${noun}’s log`, `Your next ${noun} ${next}.`);
}

/** @param {CallEnd} end */
function showBusyRoom({ holder, yours }) {
  if (yours && holder) {
    showAlert({
      title: "You are already in this room, in another window or an earlier call.",
      advice: "End that call to join here, or continue it there.",
      button: { label: "End it and join here", run: () => takeOver(holder) },
    });
    return;
  }
  const name = page.room?.replace(/^webrtc:/, "");
  showAlert({
    title: "Somebody else is in this room.",
    advice: `Wait until that call ends, or use another room: put its name in place of “${name}” in the address.`,
    button: { label: "Try again", run: join },
  });
}

/**
 * @param {CallEnd} end
 * @returns {AlertButton | null}
 */
function retryButton({ code, retryAfterS }) {
  if (code === "session_id_used" || code === "session_in_use") return { label: "Join", run: join };
  if (retryAfterS) return { label: "Try again", run: join, waitS: retryAfterS };
  return null;
}

/**
 * End the user's other call in this room, and join.
 * @param {string} holder session id of that call
 */
async function takeOver(holder) {
  button("alert-button").disabled = true;
  try {
    await request("POST", sessionUrl(holder, "/leave"), nextSessionId);
    join();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    showAlert({ title: error.message, advice: error.hint });
  }
}

function showButtons() {
  button("join").hidden = call !== null;
  button("leave").hidden = button("mute").hidden = call === null;
  microphones.disabled = button("check").disabled = call !== null;
}

/** @param {boolean} isMuted */
function showMuted(isMuted) {
  button("mute").setAttribute("aria-pressed", String(isMuted));
  button("mute").textContent = isMuted ? "Unmute" : "Mute";
}

function startMeters() {
  cancelAnimationFrame(animationFrame);
  drawMeters();
}

function drawMeters() {
  const { you, bot } = call?.levels ?? { you: check.level, bot: 0 };
  drawMeter(element("meter-you"), you);
  drawMeter(element("meter-bot"), bot);
  const elapsed = connectedAt === null ? "" : clockText(performance.now() - connectedAt);
  if (element("elapsed").textContent !== elapsed) element("elapsed").textContent = elapsed;
  if (call || check.isOn) animationFrame = requestAnimationFrame(drawMeters);
}

/** @param {number} ms */
function clockText(ms) {
  const seconds = Math.floor(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/**
 * @param {HTMLElement} meter
 * @param {number} level from 0 to 1
 */
function drawMeter(meter, level) {
  meter.style.setProperty("--level", level.toFixed(3));
  const tenths = String(Math.round(level * 10));
  if (meter.getAttribute("aria-valuenow") !== tenths) meter.setAttribute("aria-valuenow", tenths);
}

// --- the user's actions

function join() {
  if (call) return;
  check.close(); // the call opens the microphone anew, and some systems lend it only once
  hideAlert();
  element("hint").hidden = true;
  stages.clear();
  showSession(nextSessionId, "This call’s log", "Every log line of this call, from every component, carries this ID.");
  const audio = /** @type {HTMLAudioElement} */ (element("bot-audio"));
  call = new Call({ sessionId: nextSessionId, room: page.room ?? "", audio }, view);
  showButtons();
  button("leave").focus();
  startMeters();
  call.start();
}

function toggleMute() {
  const isMuted = button("mute").getAttribute("aria-pressed") !== "true";
  showMuted(isMuted);
  if (call) call.muted = isMuted;
}

/**
 * Return a handler that ignores the second click of a double click: it was meant for the button that was
 * in this place before.
 * @param {() => void} action
 */
function ignoreDoubleClick(action) {
  return (/** @type {MouseEvent} */ event) => {
    if (event.detail <= 1) action();
  };
}

/**
 * A held key presses a button once, and not the button that takes its place.
 * @param {KeyboardEvent} event
 */
function ignoreRepeats(event) {
  if (event.repeat && event.target instanceof Element && event.target.closest("button")) event.preventDefault();
}

function openPage() {
  installLogger();
  setLogContext({ userId: page.userId, userName: page.userName, room: page.room });
  newSessionId();
  showSession(nextSessionId, "This call’s log", "Every log line of this call, from every component, will carry this ID.");
  log.info("Page opened", { event: "page.opened", agent: navigator.userAgent, secure: isSecureContext });
  drawTimeline(stages);
  button("join").onclick = ignoreDoubleClick(join);
  button("leave").onclick = ignoreDoubleClick(() => call?.leave());
  addEventListener("keydown", ignoreRepeats, { capture: true });
  button("mute").onclick = toggleMute;
  enableCopyButtons();
  offerMicrophones(microphones);
  microphones.addEventListener("change", () => check.isOn && check.open());
  button("check").onclick = () => (check.isOn ? check.close() : check.open());
  // Capturing, so that it runs before the logger's own listener, which sends all lines.
  addEventListener("pagehide", () => {
    check.close();
    call?.abandon();
  }, { capture: true });
  // A page that the browser restores from its cache has lost its call.
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
  button("join").disabled = button("check").disabled = false;
}

openPage();
