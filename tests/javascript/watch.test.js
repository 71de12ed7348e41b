import assert from "node:assert/strict";
import test from "node:test";

import { Watch } from "../../src/cordboard/interface/static/watch.js";
import { define, fakeFetch, settle } from "./support.js";

/** A stream of server-sent events whose events the test fires. */
class FakeStream extends EventTarget {
  static CLOSED = 2;
  /** @type {FakeStream[]} */
  static all = [];
  readyState = 1;
  /** @type {any} */
  onopen = null;
  /** @type {any} */
  onerror = null;

  /** @param {string} url */
  constructor(url) {
    super();
    this.url = url;
    FakeStream.all.push(this);
  }
  close() {
    this.readyState = FakeStream.CLOSED;
  }
}
define(globalThis, "EventSource", FakeStream);

/**
 * Follow a session in a browser whose other tabs hold some of the three stream locks.
 * @param {import("node:test").TestContext} t
 * @param {Set<string>} held names of the locks
 * @param {() => Response} respond
 */
async function follow(t, held, respond = () => Response.json({ status: "queued" })) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  FakeStream.all = [];
  define(navigator, "locks", {
    request: async (/** @type {string} */ name, /** @type {object} */ _options, /** @type {any} */ hold) => {
      const isFree = !held.has(name);
      if (isFree) held.add(name);
      await hold(isFree ? { name } : null);
      if (isFree) held.delete(name);
    },
  });
  const requests = fakeFetch(t, respond);
  /** @type {unknown[]} */
  const calls = [];
  const watch = new Watch("s1", {
    onState: ({ status }) => calls.push(status),
    onConnection: (isConnected) => calls.push(isConnected),
    onRefused: (error) => calls.push(error.status),
  });
  await settle();
  return { watch, calls, requests };
}

const LOCKS = [0, 1, 2].map((number) => `cordboard-stream-${number}`);

test("a tab takes the first free lock, opens a stream, and releases the lock when it closes", async (t) => {
  const held = new Set(LOCKS.slice(0, 1));
  const { watch, calls } = await follow(t, held);
  assert.deepEqual([...held], LOCKS.slice(0, 2));
  const [stream] = FakeStream.all;
  assert.equal(stream.url, "/api/sessions/s1/events");
  stream.onopen();
  stream.dispatchEvent(new MessageEvent("state", { data: '{"status":"running"}' }));
  assert.deepEqual(calls, [true, "running"]);
  watch.close();
  await settle();
  assert.equal(stream.readyState, FakeStream.CLOSED);
  assert.deepEqual([...held], LOCKS.slice(0, 1));
});

test("a fourth tab polls each second, and each 10 s once slowed down", async (t) => {
  const { watch, calls, requests } = await follow(t, new Set(LOCKS));
  assert.equal(FakeStream.all.length, 0);
  t.mock.timers.tick(1000);
  await settle();
  assert.equal(requests.length, 2);
  watch.slowDown();
  t.mock.timers.tick(1000);
  await settle();
  t.mock.timers.tick(9999);
  await settle();
  assert.equal(requests.length, 3);
  t.mock.timers.tick(1);
  await settle();
  assert.equal(requests.length, 4);
  assert.deepEqual(calls.slice(0, 2), [true, "queued"]);
  watch.close();
});

test("a hurried tab polls twice a second beside its stream, until it is slowed down", async (t) => {
  const { watch, requests } = await follow(t, new Set());
  watch.hurry();
  await settle();
  t.mock.timers.tick(500);
  await settle();
  assert.equal(requests.length, 2);
  watch.slowDown();
  t.mock.timers.tick(500);
  await settle();
  t.mock.timers.tick(60_000);
  await settle();
  assert.equal(requests.length, 3);
  watch.close();
});

test("a broken stream is reported and left to the browser", async (t) => {
  const { watch, calls, requests } = await follow(t, new Set());
  const [stream] = FakeStream.all;
  stream.readyState = 0;
  stream.onerror();
  assert.deepEqual(calls, [false]);
  assert.equal(requests.length, 0);
  watch.close();
});

test("a refused stream gives its lock back, and polling reports the refusal once", async (t) => {
  const held = new Set(/** @type {string[]} */ ([]));
  const { calls, requests } = await follow(t, held, () => Response.json({}, { status: 404 }));
  const [stream] = FakeStream.all;
  stream.readyState = FakeStream.CLOSED;
  stream.onerror();
  await settle();
  assert.deepEqual([...held], []);
  assert.deepEqual(calls, [404]);
  t.mock.timers.tick(60_000);
  assert.equal(requests.length, 1);
});

test("polling goes on while the server is away", async (t) => {
  const { watch, calls } = await follow(t, new Set(LOCKS), () => Response.json({}, { status: 503 }));
  t.mock.timers.tick(1000);
  await settle();
  assert.deepEqual(calls, [false, false]);
  watch.close();
});

test("a closed watch reports nothing more", async (t) => {
  const { watch, calls, requests } = await follow(t, new Set(LOCKS));
  const before = calls.length;
  const polled = watch.poll();
  watch.close();
  await polled;
  t.mock.timers.tick(60_000);
  assert.equal(calls.length, before);
  assert.equal(requests.length, 2);
});
