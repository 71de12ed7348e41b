// Redacts texts, and names the secret ones of names, as the npm package does: JSON in, JSON out.

import { readFileSync } from "node:fs";

import { isSecretName, redact } from "../../clients/js/src/server/redaction.js";

/** @type {string[]} */
const texts = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(texts.map((text) => [redact(text), isSecretName(text)])));
