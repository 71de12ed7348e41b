import assert from "node:assert/strict";
import test from "node:test";

import { watchDevices } from "../../clients/js/src/browser/device_watch.js";
import { newMeta } from "./client_support.js";
import { define } from "./support.js";

const HASH = "19a1d48821b4"; // sha256("Headset of Ada")
let now = 0;

class FakeTrack extends EventTarget {
  label = "Headset of Ada";
  muted = false;
  settings = { deviceId: "secret", echoCancellation: true, sampleRate: 48_000 };
  getSettings() {
    return this.settings;
  }
}

/** @param {import("node:test").TestContext} t */
async function open(t) {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  now = 0;
  t.mock.method(performance, "now", () => now);
  const page = Object.assign(new EventTarget(), { hidden: false });
  const permission = Object.assign(new EventTarget(), { state: "granted" });
  const audioContext = Object.assign(new EventTarget(), { state: "running" });
  define(globalThis, "document", page);
  define(navigator, "permissions", { query: () => Promise.resolve(permission) });
  newMeta("");
  const track = new FakeTrack();
  const watch = watchDevices(/** @type {any} */ (track), { audioContext: /** @type {any} */ (audioContext) });
  t.after(() => watch.close());
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  const pass = (/** @type {number} */ ms) => {
    now += ms;
    t.mock.timers.tick(1000);
  };
  return { track, page, permission, audioContext, watch, pass };
}
const changes = () => newMeta("device.changed");

test("a microphone is named by the hash of its label, and no line has its id", async (t) => {
  await open(t);
  const [meta, ...others] = await untilSome();
  assert.deepEqual(others, []);
  assert.match(meta.label_hash, /^[0-9a-f]{12}$/);
  assert.equal(meta.label_hash, HASH);
  assert.deepEqual(meta.settings, { echoCancellation: true, sampleRate: 48_000 });
});

/** The hash is made by another thread. */
async function untilSome() {
  for (;;) {
    const found = changes();
    if (found.length) return found;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("what the system mutes, and how long, is written; other settings too", async (t) => {
  const { track, pass } = await open(t);
  await untilSome();
  track.dispatchEvent(new Event("mute"));
  now += 700;
  track.dispatchEvent(new Event("unmute"));
  track.settings = { deviceId: "secret", echoCancellation: false, sampleRate: 48_000 };
  pass(1000);
  pass(1000);
  assert.deepEqual(changes(), [
    { kind: "muted" },
    { kind: "unmuted", duration_ms: 700 },
    { kind: "settings", settings: { echoCancellation: false, sampleRate: 48_000 } },
  ]);
});

test("a frozen page is written once, with its length", async (t) => {
  const { page, pass } = await open(t);
  await untilSome();
  page.dispatchEvent(new Event("freeze"));
  now += 3_600_000;
  page.dispatchEvent(new Event("resume"));
  pass(1000);
  assert.deepEqual(changes(), [{ kind: "frozen" }, { kind: "resumed", duration_ms: 3_600_000 }]);
});

test("a page that did not run without an event is noticed by its clock", async (t) => {
  const { page, pass } = await open(t);
  await untilSome();
  pass(1000);
  pass(3_601_000);
  page.hidden = true;
  pass(60_000); // as browsers wake hidden pages
  assert.deepEqual(changes(), [{ kind: "resumed", duration_ms: 3_600_000 }]);
});

test("a clock that is set does not look like a frozen page", async (t) => {
  const { pass } = await open(t);
  await untilSome();
  t.mock.method(Date, "now", () => 9e12);
  pass(1000);
  assert.deepEqual(changes(), []);
});

test("sound that the system takes, and a permission that changes, are written", async (t) => {
  const { audioContext, permission, watch } = await open(t);
  await untilSome();
  audioContext.state = "interrupted";
  audioContext.dispatchEvent(new Event("statechange"));
  now += 50;
  audioContext.state = "running";
  audioContext.dispatchEvent(new Event("statechange"));
  permission.state = "denied";
  permission.dispatchEvent(new Event("change"));
  watch.close();
  permission.dispatchEvent(new Event("change"));
  assert.deepEqual(changes(), [
    { kind: "audio_interrupted" },
    { kind: "audio_resumed", duration_ms: 50 },
    { kind: "permission", settings: { state: "denied" } },
  ]);
});
