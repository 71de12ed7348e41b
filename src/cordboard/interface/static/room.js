// The room page: shows a call, and makes the session ids.

import { ask, sessionUrl } from "/static/api.js";
import { Call } from "/static/call.js";
import { uuid7 } from "/static/ids.js";
import { getClientLogger, installLogger, setLogContext } from "/static/log.js";

const STATES = {
  idle: "Ready",
  microphone: "Waiting for the microphone",
  joining: "Asking for a bot",
  waiting: "A bot is starting",
  connecting: "Connecting",
  connected: "In the call",
  interrupted: "Connection interrupted",
  leaving: "Leaving",
};
const STAGES = {
  clicked: "Join pressed",
  microphone: "Microphone",
  joined: "Join accepted",
  running: "Bot running",
  answered: "Offer answered",
  connected: "Connected",
  first_audio: "First audio",
};

const NOTE_MS = 4000;

const log = getClientLogger("room");
const el = (id) => document.getElementById(id);
const room = el("room");

// The server takes ids of the last day alone, and some browsers' clocks are off by more.
const clockBehind = Number(room.dataset.now) - Date.now();

let nextId = "";
let call = null;
let connectedAt = null;
let reached = [];
let countdown = null;
let notedAt = -Infinity;
let noteEnd = null;
let notedOf = ""; // what the note is about, so that nothing else takes it back
let renewed = false; // a join was sent again under a new id
let frame = null;

// --- session ids

function newSessionId() {
  nextId = uuid7(Date.now() + clockBehind);
  room.dataset.next = nextId;
  setLogContext({ sessionId: nextId });
}

function showSession(id, title, note) {
  el("session-title").textContent = title;
  el("session-note").textContent = note;
  el("session-id").textContent = id;
  el("log-command").textContent = `cordboard logs --local --session ${id}`;
}

async function copy(button) {
  const source = el(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
    el("copied").textContent = "Copied";
  } catch {
    // No clipboard without https: mark it, so that Ctrl-C is all that is left to do.
    getSelection().selectAllChildren(source);
    button.textContent = "Ctrl-C";
    el("copied").textContent = "Selected: copy it with Control C";
  }
  setTimeout(() => {
    button.textContent = "Copy";
    el("copied").textContent = "";
  }, 2000);
}

// --- what a call tells

const tell = {
  state(name) {
    room.dataset.state = name;
    el("state").textContent = STATES[name];
    if (name === "connected") connectedAt ??= performance.now();
    // Not before: the second half of a double click on Join would fall on it.
    el("mute").disabled = connectedAt === null;
  },
  stage(name, ms) {
    reached.push({ name, ms });
    drawTimeline();
  },
  note(text, { todo = "", tone = "bad", of = "" } = {}) {
    if (text) {
      alertOf({ title: text, todo, tone });
      notedOf = of;
      notedAt = performance.now();
    } else if (!of || of === notedOf) {
      // What was over in a moment is still worth being read.
      clearTimeout(noteEnd);
      noteEnd = setTimeout(hideAlert, Math.max(0, notedAt + NOTE_MS - performance.now()));
    }
  },
  ended(how) {
    const { sessionId } = call;
    call = null;
    connectedAt = null;
    tell.state("idle");
    showButtons();
    el("mute").setAttribute("aria-pressed", "false");
    el("mute").textContent = "Mute";
    showEnd(sessionId, how);
    newSessionId();
    log.info("Ready for another call", { last: sessionId });
    if (how.code === "unauthorized") return location.reload(); // which leads to the login page
    if (how.code === "session_id_used" && !renewed) return joinAgain();
    renewed = false;
    if (how.code === "room_busy") alertOf(busy(how));
    else if (how.title) alertOf({ ...how, button: buttonFor(how) });
    else hideAlert();
    el("hint").hidden = Boolean(how.title);
    el("join").focus();
  },
};

// Whoever has just hung up wants this call's id: it stays, until the next Join.
function showEnd(sessionId, { joined }) {
  if (joined) {
    el("state").textContent = "Call ended";
    showSession(sessionId, "The last call’s log", "Your next call gets an ID of its own.");
  } else {
    showSession(sessionId, "The last attempt’s log", "Your next attempt gets an ID of its own.");
  }
}

// The id was somebody's already: a new one is all that is needed.
function joinAgain() {
  renewed = true;
  join();
}

function busy({ holder, yours }) {
  if (yours) {
    return {
      title: "You are in this room already, in another window or an earlier call.",
      todo: "End that call to join here, or go on over there.",
      button: { label: "End it and join here", run: () => takeOver(holder) },
    };
  }
  return {
    title: "Somebody else is in this room.",
    todo: `Wait until that call ends, or use another room: put its name in place of “${room.dataset.room.slice(7)}” in the address.`,
    button: { label: "Try again", run: join },
  };
}

function buttonFor({ code, retryAfterS }) {
  if (code === "session_id_used" || code === "session_in_use") return { label: "Join", run: join }; // with the next id
  if (retryAfterS) return { label: "Try again", run: join, waitS: retryAfterS };
  return null;
}

async function takeOver(holder) {
  el("alert-button").disabled = true;
  try {
    await ask("POST", sessionUrl(holder, "/leave"), nextId);
    join();
  } catch (error) {
    alertOf({ title: error.message, todo: error.hint });
  }
}

function hideAlert() {
  clearTimeout(noteEnd);
  clearInterval(countdown);
  notedOf = "";
  el("join").disabled = false;
  el("alert").hidden = true;
}

function alertOf({ title, todo = "", button = null, tone = "bad" }) {
  clearTimeout(noteEnd);
  clearInterval(countdown);
  notedOf = "";
  el("join").disabled = false;
  el("alert").dataset.tone = tone;
  el("alert").setAttribute("role", tone === "bad" ? "alert" : "status");
  el("alert-title").textContent = title;
  el("alert-todo").textContent = todo;
  el("alert-todo").hidden = !todo;
  const knob = el("alert-button");
  knob.hidden = !button;
  if (button) {
    knob.onclick = button.run;
    countDown(knob, button.label, button.waitS ?? 0);
  }
  el("alert").hidden = false;
}

// The button of the alert, and Join with it, wait as long as the server asked for.
function countDown(knob, label, waitS) {
  let left = waitS;
  const show = () => {
    knob.disabled = el("join").disabled = left > 0;
    knob.textContent = left > 0 ? `${label} in ${left} s` : label;
    if (left <= 0) clearInterval(countdown);
    left -= 1;
  };
  countdown = setInterval(show, 1000);
  show();
}

// --- drawing

function drawTimeline() {
  const whole = Math.max(...reached.map(({ ms }) => ms), 1);
  const done = [...reached].sort((a, b) => a.ms - b.ms);
  const open = Object.keys(STAGES).filter((name) => !reached.some((stage) => stage.name === name));
  let before = 0;
  const rows = done.map(({ name, ms }) => {
    const row = timelineRow(name, `${ms} ms`);
    row.style.setProperty("--from", before / whole);
    row.style.setProperty("--to", ms / whole);
    before = ms;
    return row;
  });
  const pending = open.map((name) => {
    const row = timelineRow(name, "–");
    row.classList.add("pending");
    return row;
  });
  el("timeline").replaceChildren(...rows, ...pending);
}

function timelineRow(name, time) {
  const row = document.createElement("li");
  row.dataset.stage = name;
  for (const [kind, text] of [["label", STAGES[name]], ["bar", ""], ["ms", time]]) {
    const part = document.createElement("span");
    part.className = kind;
    part.textContent = text;
    row.append(part);
  }
  return row;
}

function drawMeters() {
  drawMeter(el("meter-you"), call?.you?.level() ?? 0);
  drawMeter(el("meter-bot"), call?.bot?.level() ?? 0);
  const seconds = connectedAt === null ? null : Math.floor((performance.now() - connectedAt) / 1000);
  const text = seconds === null ? "" : `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  if (el("elapsed").textContent !== text) el("elapsed").textContent = text;
  if (call) frame = requestAnimationFrame(drawMeters);
}

function drawMeter(meter, level) {
  meter.style.setProperty("--level", level.toFixed(3));
  const tenths = String(Math.round(level * 10));
  if (meter.getAttribute("aria-valuenow") !== tenths) meter.setAttribute("aria-valuenow", tenths);
}

function showButtons() {
  el("join").hidden = call !== null;
  el("leave").hidden = el("mute").hidden = call === null;
}

// --- what the person does

function join() {
  if (call) return;
  hideAlert();
  el("hint").hidden = true;
  reached = [];
  showSession(nextId, "This call’s log", "Each line about this call, from every part, carries this ID.");
  call = new Call({ sessionId: nextId, room: room.dataset.room, audio: el("bot-audio") }, tell);
  showButtons();
  el("leave").focus();
  cancelAnimationFrame(frame);
  drawMeters();
  call.start();
}

// The second click of a double click was meant for the button that was there before.
function once(work) {
  return (event) => event.detail > 1 || work();
}

// A key that is held presses a button once, and not what has taken its place.
function refuseRepeats(event) {
  if (event.repeat && event.target.closest?.("button")) event.preventDefault();
}

function mute() {
  const muted = el("mute").getAttribute("aria-pressed") !== "true";
  el("mute").setAttribute("aria-pressed", String(muted));
  el("mute").textContent = muted ? "Unmute" : "Mute";
  if (call) call.muted = muted;
}

function open() {
  installLogger();
  setLogContext({ userId: room.dataset.userId, userName: room.dataset.userName, room: room.dataset.room });
  newSessionId();
  showSession(nextId, "This call’s log", "Each line about this call, from every part, will carry this ID.");
  log.info("Page opened", { event: "page.opened", agent: navigator.userAgent, secure: isSecureContext });
  drawTimeline();
  el("join").onclick = once(join);
  el("leave").onclick = once(() => call?.leave());
  addEventListener("keydown", refuseRepeats, { capture: true });
  el("mute").onclick = mute;
  for (const button of document.querySelectorAll("[data-copy]")) button.onclick = () => copy(button);
  // Before the logger's own listener for the page's end, which sends all lines.
  addEventListener("pagehide", () => call?.abandon(), { capture: true });
  // A page that comes back from the browser's cache is one whose call has ended.
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  el("join").disabled = false;
}

open();
