// The timeline on the page: how long each stage of a call took.

import { element } from "./elements.js";

/** @import { Stage } from "./call_types.js" */

/** @type {Record<Stage, string>} */
const LABELS = {
  clicked: "Join pressed",
  microphone: "Microphone",
  joined: "Join accepted",
  running: "Bot running",
  answered: "Offer answered",
  connected: "Connected",
  first_audio: "First audio",
};
const STAGES = /** @type {Stage[]} */ (Object.keys(LABELS));

/**
 * Draw the stages that a call has reached, in order of time, and then the others.
 * @param {Map<Stage, number>} reached milliseconds since the click, by stage
 */
export function drawTimeline(reached) {
  const total = Math.max(...reached.values(), 1);
  let before = 0;
  const done = [...reached].sort(([, a], [, b]) => a - b);
  const rows = done.map(([stage, ms]) => {
    const row = makeRow(stage, `${ms} ms`);
    row.style.setProperty("--from", String(before / total));
    row.style.setProperty("--to", String(ms / total));
    before = ms;
    return row;
  });
  const pending = STAGES.filter((stage) => !reached.has(stage)).map((stage) => {
    const row = makeRow(stage, "–");
    row.classList.add("pending");
    return row;
  });
  element("timeline").replaceChildren(...rows, ...pending);
}

/**
 * @param {Stage} stage
 * @param {string} time
 */
function makeRow(stage, time) {
  const row = document.createElement("li");
  row.dataset.stage = stage;
  for (const [kind, text] of [["label", LABELS[stage]], ["bar", ""], ["ms", time]]) {
    const part = document.createElement("span");
    part.className = kind;
    part.textContent = text;
    row.append(part);
  }
  return row;
}
