import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";

import { configure } from "../../clients/js/src/browser/configure.js";
import { currentSession, getClientLogger, newSession, pageKey } from "../../clients/js/src/browser/logger.js";
import { idOfKey, isIdOfKey, newPageKey, sha256 } from "../../clients/js/src/browser/page_key.js";
import { define, fakeFetch, settle, silenceConsole } from "./support.js";

silenceConsole();
define(globalThis, "window", globalThis);
define(globalThis, "document", new EventTarget());
define(globalThis, "location", new URL("https://app.example/room"));
define(globalThis, "addEventListener", () => {});

test("sha256 is that of Node.js, for all lengths of one block", () => {
  for (let length = 0; length <= 55; length += 1) {
    for (let i = 0; i < 20; i += 1) {
      const text = Array.from({ length }, () => String.fromCharCode(32 + Math.random() * 95)).join("");
      assert.equal(Buffer.from(sha256(text)).toString("hex"), createHash("sha256").update(text).digest("hex"));
    }
  }
});

test("an id is a UUID version 7 of its time, and belongs to its key alone", () => {
  const key = newPageKey();
  const id = idOfKey(key, 0x0192_3456_789a);
  assert.match(id, /^01923456-789a-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.ok(isIdOfKey(id, key));
  for (const other of [newPageKey(), "", key.toUpperCase(), `${key}0`, "x"]) assert.equal(isIdOfKey(id, other), false);
  for (const other of [idOfKey(newPageKey(), 5), `${id.slice(0, -1)}${id.endsWith("0") ? 1 : 0}`, "call-7", "", id.toUpperCase()]) {
    assert.equal(isIdOfKey(other, key), false);
  }
});

test("each session of a page has an id of the page's key, also two in one millisecond", () => {
  const ids = Array.from({ length: 50 }, () => newSession(1.8e12));
  assert.equal(new Set(ids).size, 50);
  assert.ok(ids.every((id) => isIdOfKey(id, pageKey)));
  assert.ok(isIdOfKey(newSession(), pageKey));
  assert.ok(isIdOfKey(currentSession().sessionId ?? "", pageKey));
});

test("the key is sent with the lines, to the page's own origin alone", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const requests = fakeFetch(t, () => new Response(null, { status: 204 }));
  const send = async (/** @type {import("../../clients/js/src/browser/configure.js").Options} */ options) => {
    configure({ errors: false, fetch: false, ...options });
    getClientLogger("room").error("Now");
    t.mock.timers.tick(1000);
    await settle();
    return requests.at(-1)?.headers;
  };
  assert.deepEqual(await send({}), { "X-Page-Key": pageKey });
  assert.deepEqual(await send({ url: "https://app.example/x", headers: { A: "b" } }), { "X-Page-Key": pageKey, A: "b" });
  for (const url of ["https://other.example/logs", "//other.example/logs", "http://app.example/logs"]) {
    assert.deepEqual(await send({ url }), {});
  }
  assert.equal(requests.length, 5);
});
