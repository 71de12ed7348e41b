import assert from "node:assert/strict";
import test from "node:test";

import { configure } from "../../clients/js/src/browser/configure.js";
import { newLines, waitingLines } from "./client_support.js";
import { define } from "./support.js";

const page = Object.assign(new EventTarget(), { visibilityState: "visible" });
for (const name of ["addEventListener", "dispatchEvent"]) {
  define(globalThis, name, (/** @type {any} */ ...words) => /** @type {any} */ (page)[name](...words));
}
define(globalThis, "document", page);
configure({ fetch: false });
configure({ fetch: false }); // installs nothing twice

/** @param {string} message */
function throwUncaught(message) {
  const where = { filename: "/page.js", lineno: 3, colno: 7, error: new TypeError(message) };
  dispatchEvent(Object.assign(new Event("error"), { message, ...where }));
}

test("an uncaught error is one line with its place, and nothing of an image that did not load", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  newLines();
  throwUncaught("no");
  dispatchEvent(new Event("error"));
  const [line, ...others] = newLines();
  assert.deepEqual(others, []);
  assert.deepEqual([line.level, line.message, line.error.type, line.meta.lineno], ["error", "Uncaught error", "TypeError", 3]);
});

test("an error that is thrown again and again is counted", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  newLines();
  for (let i = 0; i < 100; i += 1) throwUncaught("in an animation");
  throwUncaught("another");
  const counts = newLines().map(({ meta }) => meta.count);
  assert.deepEqual(counts, [...Array.from({ length: 20 }, (_, i) => i + 1), 32, 64, 1]);
});

test("a rejection that nobody handles is a line, whatever it was rejected with", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  newLines();
  for (const reason of [new Error("late"), "text", undefined, { code: 7 }]) {
    dispatchEvent(Object.assign(new Event("unhandledrejection"), { reason }));
  }
  assert.deepEqual(newLines().map(({ message }) => message), Array.from({ length: 4 }, () => "Unhandled rejection"));
});

test("all lines are sent when the page is hidden or frozen", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  throwUncaught("before the end");
  for (const [event, state] of /** @type {const} */ ([["visibilitychange", "hidden"], ["freeze", "visible"]])) {
    page.visibilityState = state;
    /** @type {string[]} */
    const bodies = [];
    define(navigator, "sendBeacon", (/** @type {string} */ _url, /** @type {string} */ body) => bodies.push(body) > 0);
    page.dispatchEvent(new Event(event));
    assert.match(bodies.join(), /before the end/, event);
  }
  assert.ok(waitingLines().length > 0); // they stay until the server has confirmed them
});
