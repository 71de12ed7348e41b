// The box on the page that says what went wrong and what to do.

import { button, element } from "./elements.js";

const NOTE_MS = 4000; // how long a note stays at least, so that it can be read

/**
 * @import { NoteOptions, Tone, Topic } from "./call_types.js"
 * @typedef {object} AlertButton
 * @property {string} label
 * @property {() => void} run
 * @property {number} [waitS] seconds for which the button, and Join, are disabled
 * @typedef {object} Alert
 * @property {string} title what happened
 * @property {string} [advice] what to do
 * @property {Tone} [tone]
 * @property {AlertButton | null} [button]
 */

/** @type {ReturnType<typeof setInterval> | undefined} */
let countdown;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let noteEnd;
let notedAt = -Infinity;
/** @type {Topic | undefined} */
let notedTopic;

/**
 * Show an alert instead of the one before.
 * @param {Alert} alert
 */
export function showAlert({ title, advice = "", button: action = null, tone = "bad" }) {
  reset();
  element("alert").dataset.tone = tone;
  // An "alert" interrupts a screen reader, a "status" does not.
  element("alert").setAttribute("role", tone === "bad" ? "alert" : "status");
  element("alert-title").textContent = title;
  element("alert-todo").textContent = advice;
  element("alert-todo").hidden = !advice;
  button("alert-button").hidden = !action;
  if (action) {
    button("alert-button").onclick = action.run;
    countDown(action.label, action.waitS ?? 0);
  }
  element("alert").hidden = false;
}

/** Hide the alert. */
export function hideAlert() {
  reset();
  element("alert").hidden = true;
}

/**
 * Show a note of a call, or remove it if its text is empty.
 * @param {string} text
 * @param {NoteOptions} options
 */
export function showNote(text, { advice = "", tone = "bad", topic } = {}) {
  if (text) {
    showAlert({ title: text, advice, tone });
    notedTopic = topic;
    notedAt = performance.now();
  } else if (!topic || topic === notedTopic) {
    clearTimeout(noteEnd);
    noteEnd = setTimeout(hideAlert, Math.max(0, notedAt + NOTE_MS - performance.now()));
  }
}

function reset() {
  clearTimeout(noteEnd);
  clearInterval(countdown);
  notedTopic = undefined;
  button("join").disabled = false;
}

/**
 * Disable the button of the alert, and Join, for as long as the server asked.
 * @param {string} label
 * @param {number} waitS
 */
function countDown(label, waitS) {
  let left = waitS;
  const show = () => {
    button("alert-button").disabled = button("join").disabled = left > 0;
    button("alert-button").textContent = left > 0 ? `${label} in ${left} s` : label;
    if (left <= 0) clearInterval(countdown);
    left -= 1;
  };
  countdown = setInterval(show, 1000);
  show();
}
