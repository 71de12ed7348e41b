// Finds turns as the page does: reads a list of lists of frames as JSON, and prints the turns of each.

import { readFileSync } from "node:fs";

import { HeardTurns } from "../../clients/js/src/browser/heard_worklet.js";

/** @type {["user" | "bot", number, [number, number] | null][][]} */
const calls = JSON.parse(readFileSync(0, "utf8"));
const results = calls.map((frames) => {
  /** @type {[number, number][]} */
  const found = [];
  const turns = new HeardTurns(({ userEnded, botBegan }) => found.push([userEnded, botBegan]));
  for (const [side, until, voiced] of frames) {
    if (side === "user") turns.hearUser(until, voiced);
    else turns.hearBot(until, voiced);
  }
  return found;
});
process.stdout.write(JSON.stringify(results));
