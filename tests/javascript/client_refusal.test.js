import assert from "node:assert/strict";
import test from "node:test";

import { getClientLogger, queue } from "../../clients/js/src/browser/logger.js";
import "./client_support.js";
import { fakeFetch, settle } from "./support.js";

test("a refusal is told on the console, and in a line once the server takes others", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const warn = t.mock.method(console, "warn", () => {});
  let status = 404;
  const requests = fakeFetch(t, () => new Response(null, { status }));
  const send = async () => {
    getClientLogger("room").error("Now");
    t.mock.timers.tick(60_000);
    await settle();
  };
  await send();
  assert.equal(queue.length, 0);
  assert.ok(warn.mock.calls.some(({ arguments: [text, meta] }) => /refused lines/.test(text) && meta.status === 404));
  status = 204;
  await send();
  await send();
  const line = requests.flatMap(({ body }) => body.split("\n").map((text) => JSON.parse(text))).at(-2);
  assert.equal(line.message, "Lines of the browser were dropped");
  assert.deepEqual([line.meta.refused, line.meta.status], [line.meta.count, 404]);
});
