// The page of a session: follows its event stream, and shows what comes (session_stream.py).

import { enableCopyButtons } from "./copy.js";
import { element } from "./elements.js";
import { LineList } from "./session_lines.js";
import { showSection } from "./session_sections.js";
import { acquireStreamLock } from "./watch.js";

const ROOT_PATH = document.documentElement.dataset.rootPath ?? "";

const page = element("session").dataset;
const hasLines = page.lines === "yes";
const lines = hasLines ? new LineList() : null;

/**
 * The events of the stream, and what the page does with each.
 * @type {Record<string, (data: any) => void>}
 */
const HANDLERS = {
  facts({ html, state, words }) {
    element("facts").innerHTML = html; // from a template of the server, which escapes each text
    if (page.state && page.state !== state) element("state-news").textContent = words;
    page.state = state;
    if (!["queued", "starting", "running"].includes(state)) document.getElementById("leave")?.remove();
  },
  section: showSection,
  lines({ rows }) {
    lines?.add(rows);
    if (page.live === "yes") showReading("Following the log. The verdict comes with the end of the session.");
  },
  restart() {
    page.live = "no";
    lines?.clear();
    showReading("The session has ended. Reading its whole log.");
  },
  read(data) {
    showReading(data.lines ? "" : "The log has no lines of this session.");
  },
  problem({ text }) {
    element("alert-title").textContent = text;
    element("alert").hidden = false;
    showReading("");
  },
};

/** @param {string} text */
function showReading(text) {
  if (!hasLines || element("reading").textContent === text) return;
  element("reading").textContent = text;
  element("reading").hidden = !text;
}

async function follow() {
  const release = await acquireStreamLock();
  if (!release) {
    HANDLERS.problem?.({ text: "Too many tabs of this site follow sessions. Close one, and reload this page." });
    return;
  }
  const stream = new EventSource(`${ROOT_PATH}/api/sessions/${encodeURIComponent(page.session ?? "")}/live`);
  let opened = 0;
  stream.onopen = () => {
    opened += 1;
    if (opened > 1) lines?.clear(); // after an interruption, all is told again
  };
  for (const [name, handle] of Object.entries(HANDLERS)) {
    stream.addEventListener(name, (event) => handle(JSON.parse(event.data)));
  }
  stream.addEventListener("end", () => {
    stream.close();
    release();
    page.complete = "yes";
  });
  stream.onerror = () => {
    if (stream.readyState !== EventSource.CLOSED) return; // the browser reconnects by itself
    release();
    HANDLERS.problem?.({ text: "This page cannot follow the session. Reload it to try again." });
  };
}

enableCopyButtons();
follow();
page.ready = "yes";
