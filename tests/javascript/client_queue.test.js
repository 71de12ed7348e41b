import assert from "node:assert/strict";
import test, { beforeEach } from "node:test";

import { LogQueue } from "../../clients/js/src/browser/queue.js";
import { define, fakeFetch, settle } from "./support.js";

/** @type {any[]} */
let dropped = [];
/** @type {number[][]} */
let refused = [];
let now = 0;
/** @type {(() => Response | Promise<Response>)} */
let respond = () => new Response(null, { status: 204 });

/** @param {import("node:test").TestContext} t */
function open(t) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  t.mock.method(performance, "now", () => now);
  t.mock.method(Math, "random", () => 0.5); // the pauses are exact
  const requests = fakeFetch(t, () => respond());
  const queue = new LogQueue("/api/logs", (told) => dropped.push(told), (...told) => refused.push(told));
  const pass = async (/** @type {number} */ ms) => {
    now += ms;
    t.mock.timers.tick(ms);
    await settle();
  };
  return { queue, requests, pass };
}

/** @param {{ body: string }} request */
const numbers = ({ body }) => body.split("\n").map((line) => JSON.parse(line).n);

beforeEach(() => {
  dropped = [];
  refused = [];
  now = 0;
  respond = () => new Response(null, { status: 204 });
});

test("lines wait for a second and are sent together", async (t) => {
  const { queue, requests, pass } = open(t);
  queue.add({ n: 1 }, false);
  queue.add({ n: 2 }, false);
  await pass(999);
  assert.equal(requests.length, 0);
  await pass(1);
  assert.deepEqual(requests.map(numbers), [[1, 2]]);
  assert.match(requests[0].url, /^\/api\/logs\?sent=\d+$/);
  assert.equal(queue.length, 0);
});

test("an urgent line is sent at once, with those that wait", async (t) => {
  const { queue, requests, pass } = open(t);
  queue.add({ n: 1 }, false);
  queue.add({ n: 2 }, true);
  await pass(0);
  assert.deepEqual(requests.map(numbers), [[1, 2]]);
});

test("fifty lines are sent without waiting", async (t) => {
  const { queue, requests, pass } = open(t);
  for (let n = 0; n < 50; n += 1) queue.add({ n }, false);
  await pass(0);
  assert.equal(numbers(requests[0]).length, 50);
});

test("a batch has at most 200 lines and 48 KiB, but always one line", async (t) => {
  const { queue, requests, pass } = open(t);
  for (let n = 0; n < 250; n += 1) queue.add({ n }, false);
  await pass(0);
  await pass(0);
  assert.deepEqual(requests.map((request) => numbers(request).length), [200, 50]);
  const text = "x".repeat(60 * 1024);
  queue.add({ n: 1, text }, false);
  queue.add({ n: 2, text }, true);
  await pass(0);
  await pass(0);
  assert.deepEqual(requests.slice(2).map(numbers), [[1], [2]]);
});

test("a line stays in the queue until the server has confirmed it", async (t) => {
  const { queue, requests, pass } = open(t);
  respond = () => new Response(null, { status: 503 });
  queue.add({ n: 1 }, true);
  await pass(0);
  assert.equal(queue.length, 1);
  respond = () => new Response(null, { status: 204 });
  await pass(2000);
  assert.deepEqual(requests.map(numbers), [[1], [1]]);
  assert.equal(queue.length, 0);
  assert.deepEqual(dropped, []);
});

test("the pause doubles with each failure, and new lines do not shorten it", async (t) => {
  const { queue, requests, pass } = open(t);
  respond = () => Promise.reject(new TypeError("fetch failed"));
  queue.add({ n: 1 }, true);
  await pass(0);
  queue.add({ n: 2 }, true);
  await pass(1999);
  assert.equal(requests.length, 1);
  await pass(1);
  assert.equal(requests.length, 2);
  await pass(3999);
  assert.equal(requests.length, 2);
  await pass(1);
  assert.equal(requests.length, 3);
});

test("Retry-After lengthens the pause", async (t) => {
  const { queue, requests, pass } = open(t);
  respond = () => new Response(null, { status: 429, headers: { "Retry-After": "9" } });
  queue.add({ n: 1 }, true);
  await pass(0);
  await pass(8999);
  assert.equal(requests.length, 1);
  await pass(1);
  assert.equal(requests.length, 2);
});

test("resume ends the pause", async (t) => {
  const { queue, requests, pass } = open(t);
  respond = () => Promise.reject(new TypeError("fetch failed"));
  queue.add({ n: 1 }, true);
  await pass(0);
  queue.resume();
  await pass(0);
  assert.equal(requests.length, 2);
});

test("lines that the server refuses for good are dropped and counted, and told once it takes others", async (t) => {
  const { queue, requests, pass } = open(t);
  for (const status of [400, 401, 403, 404, 405, 409, 410, 413, 415, 422]) {
    respond = () => new Response(null, { status });
    queue.add({ n: status }, true);
    await pass(0);
    assert.equal(queue.length, 0);
    assert.deepEqual(refused.at(-1), [1, status]);
  }
  assert.equal(requests.length, 10);
  assert.deepEqual(dropped, []);
  respond = () => new Response(null, { status: 204 });
  queue.add({ n: 1 }, true);
  await pass(0);
  assert.deepEqual(dropped, [{ count: 10, refused: 10, status: 422 }]);
});

test("no line is dropped because the server is away, however long, or fails", async (t) => {
  const { queue, requests, pass } = open(t);
  const failures = [
    () => Promise.reject(new TypeError("fetch failed")),
    ...[408, 425, 429, 500, 502, 503].map((status) => () => new Response(null, { status })),
  ];
  for (let n = 0; n < 2000; n += 1) queue.add({ n }, false);
  for (let i = 0; i < 1000; i += 1) {
    respond = failures[i % failures.length];
    await pass(60_000);
  }
  assert.equal(requests.length, 1000);
  assert.equal(queue.length, 2000);
  respond = () => new Response(null, { status: 204 });
  for (let i = 0; i < 10; i += 1) await pass(60_000);
  assert.deepEqual(requests.slice(1000).flatMap(numbers), Array.from({ length: 2000 }, (_, n) => n));
  assert.equal(queue.length, 0);
  assert.deepEqual([dropped, refused], [[], []]);
});

test("the oldest lines are dropped beyond 2000", async (t) => {
  const { queue, pass } = open(t);
  for (let n = 0; n < 2005; n += 1) queue.add({ n }, false);
  assert.equal(queue.length, 2000);
  for (let i = 0; i < 12; i += 1) await pass(0);
  assert.deepEqual(dropped, [{ count: 5 }]);
});

test("the oldest lines are dropped beyond 1 MiB", (t) => {
  const { queue } = open(t);
  const text = "x".repeat(100_000);
  for (let n = 0; n < 11; n += 1) queue.add({ n, text }, false);
  assert.equal(queue.length, 10);
});

test("lines that are dropped while a batch is on its way are not confirmed with it", async (t) => {
  const { queue, pass } = open(t);
  /** @type {(response: Response) => void} */
  let answer = () => {};
  respond = () => new Promise((resolve) => (answer = resolve));
  queue.add({ n: 0 }, true);
  await pass(0);
  for (let n = 1; n <= 2000; n += 1) queue.add({ n }, false); // drops line 0
  respond = () => new Response(null, { status: 204 });
  answer(new Response(null, { status: 204 }));
  await settle();
  assert.equal(queue.length, 2000);
});

test("sendBeacons sends all batches and keeps the lines", (t) => {
  const { queue } = open(t);
  /** @type {string[]} */
  const bodies = [];
  define(navigator, "sendBeacon", (/** @type {string} */ _url, /** @type {string} */ body) => bodies.push(body) > 0);
  for (let n = 0; n < 250; n += 1) queue.add({ n }, false);
  queue.sendBeacons();
  assert.deepEqual(bodies.map((body) => body.split("\n").length), [200, 50]);
  assert.equal(queue.length, 250);
});

test("where a beacon is refused, a request that outlives the page is sent", (t) => {
  const { queue, requests } = open(t);
  define(navigator, "sendBeacon", () => false);
  queue.add({ n: 1 }, false);
  queue.sendBeacons();
  assert.deepEqual(requests.map(numbers), [[1]]);
});

for (const canOutlive of [true, false]) {
  test(`a closing page sends ${canOutlive ? "its headers" : "a beacon, as no request outlives it"}`, (t) => {
    const { queue, requests } = open(t);
    queue.start("/api/logs", { "X-Page-Key": "k" });
    if (!canOutlive) withoutKeepalive(t);
    /** @type {string[]} */
    const beacons = [];
    define(navigator, "sendBeacon", (/** @type {string} */ _url, /** @type {string} */ body) => beacons.push(body) > 0);
    queue.add({ n: 1 }, false);
    queue.sendBeacons();
    assert.deepEqual([requests.length, beacons.length], canOutlive ? [1, 0] : [0, 1]);
  });
}

/**
 * Let requests be as in Firefox before 133.
 * @param {import("node:test").TestContext} t
 */
function withoutKeepalive(t) {
  const property = /** @type {PropertyDescriptor} */ (Object.getOwnPropertyDescriptor(Request.prototype, "keepalive"));
  Reflect.deleteProperty(Request.prototype, "keepalive");
  t.after(() => Object.defineProperty(Request.prototype, "keepalive", property));
}
