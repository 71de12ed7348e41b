// Judges numbers and times of lines as the npm package does, for test_browser_lines.py: node browser_lines.js <JSON
import { readFileSync } from "node:fs";

import { TakenNumbers, withServerTime } from "../../clients/js/src/next/browser_lines.js";

const { numbers, times } = JSON.parse(readFileSync(0, "utf-8"));
const taken = new TakenNumbers();
console.log(JSON.stringify({
  numbers: numbers.map((/** @type {number} */ seq) => taken.take("u-1", "9f31c2aa", seq)),
  times: times.map((/** @type {[string, number | null, number]} */ [timestamp, sentAt, now]) => withServerTime({ timestamp }, sentAt, now)),
}));
