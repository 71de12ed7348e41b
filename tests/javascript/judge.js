// Judges samples as the page does: reads a list of lists of samples as JSON, and prints the warnings and scores of each.

import { readFileSync } from "node:fs";

import { MediaJudge, meanOpinionScore } from "../../clients/js/src/browser/media_quality.js";

/** @type {any[][]} */
const calls = JSON.parse(readFileSync(0, "utf8"));
const results = calls.map((samples) => {
  const judge = new MediaJudge();
  return samples.map((sample) => ({ mos: meanOpinionScore(sample) ?? null, warnings: judge.judge(sample) }));
});
process.stdout.write(JSON.stringify(results));
