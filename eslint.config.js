import js from "@eslint/js";
import globals from "globals";

const RULES = {
  ...js.configs.recommended.rules,
  "consistent-return": "error",
  curly: ["error", "multi-line"],
  eqeqeq: "error",
  "func-style": ["error", "declaration", { allowArrowFunctions: true }],
  "max-lines": ["error", 400],
  "max-lines-per-function": ["error", { max: 40, skipBlankLines: true, skipComments: true }],
  "no-console": "error",
  "no-eval": "error",
  "no-implied-eval": "error",
  "no-param-reassign": "error",
  "no-shadow": "error",
  "no-throw-literal": "error",
  "no-unused-private-class-members": "error",
  "no-var": "error",
  "object-shorthand": "error",
  "prefer-const": "error",
  "require-await": "error",
};

const PAGE_LINES = [
  "ATTRIBUTION", "EVENT", "LEVELS", "ReportLines", "SOURCE", "asText", "clockTime", "countLines", "errorText",
  "flat", "metaText", "secondsSince", "shortSessionId", "visible",
];

export default [
  { ignores: ["examples/", ".venv/", ".make/", "node_modules/", "benchmarks/out/", "site/", "build/", "dist/"] },
  {
    files: ["src/cordboard/interface/static/*.js", "clients/js/src/**/*.js"],
    languageOptions: { ecmaVersion: 2024, sourceType: "module", globals: globals.browser },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: RULES,
  },
  { files: ["clients/js/src/browser/console.js"], rules: { "no-console": "off" } }, // for the logger
  {
    files: ["src/cordboard/logs/report/*.js"],
    languageOptions: { ecmaVersion: 2024, sourceType: "script", globals: globals.browser },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: RULES,
  },
  {
    files: ["src/cordboard/logs/report/page.js"], // it uses what page_lines.js declares
    languageOptions: { globals: Object.fromEntries(PAGE_LINES.map((name) => [name, "readonly"])) },
  },
  {
    files: ["src/cordboard/logs/report/page_lines.js"],
    rules: { "no-unused-vars": ["error", { vars: "local" }] },
  },
  {
    files: ["tests/**/*.js", "*.config.js"],
    languageOptions: { ecmaVersion: 2024, sourceType: "module", globals: { ...globals.node, ...globals.browser } },
    rules: { ...RULES, "max-lines-per-function": "off", "no-console": "off" },
  },
  {
    files: ["benchmarks/**/*.mjs"],
    languageOptions: { ecmaVersion: 2024, sourceType: "module", globals: globals.node },
    rules: { ...RULES, "max-lines-per-function": "off", "no-console": "off" },
  },
];
