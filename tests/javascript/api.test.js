import assert from "node:assert/strict";
import test from "node:test";

import { Problem, apiUrl, request, sessionUrl } from "../../src/cordboard/interface/static/api.js";
import { define, fakeFetch } from "./support.js";

const API = "../../src/cordboard/interface/static/api.js";

test("sessionUrl escapes the session id", () => {
  assert.equal(sessionUrl("a/b c", "/leave"), "/api/sessions/a%2Fb%20c/leave");
});

test("URLs have the path prefix of the page", async (t) => {
  assert.equal(apiUrl("/logs"), "/api/logs");
  define(globalThis, "document", { documentElement: { dataset: { rootPath: "/voice" } } });
  t.after(() => Reflect.deleteProperty(globalThis, "document"));
  // With another query it is another module, which reads the page again.
  const page = await import(`${API}?prefixed`);
  assert.equal(page.apiUrl("/logs"), "/voice/api/logs");
  assert.equal(page.sessionUrl("s1", "/leave"), "/voice/api/sessions/s1/leave");
});

test("request sends JSON with the session id and returns the answer", async (t) => {
  const requests = fakeFetch(t, () => Response.json({ status: "queued" }));
  assert.deepEqual(await request("POST", "/api/sessions", "s1", { room: "r" }), { status: "queued" });
  assert.equal(requests[0].method, "POST");
  assert.equal(requests[0].body, '{"room":"r"}');
  assert.equal(requests[0].headers["X-Session-Id"], "s1");
});

test("request reports an error of the server with its code, hint and Retry-After", async (t) => {
  const body = { code: "queue_full", detail: "All bots are busy.", hint: "Wait." };
  fakeFetch(t, () => Response.json(body, { status: 429, headers: { "Retry-After": "7" } }));
  await assert.rejects(request("POST", "/api/sessions", "s1"), (error) => {
    assert.ok(error instanceof Problem);
    const { code, message, hint, status, retryAfterS } = error;
    assert.deepEqual([code, message, hint, status, retryAfterS], ["queue_full", "All bots are busy.", "Wait.", 429, 7]);
    return true;
  });
});

test("request reports an HTML error of a proxy by its status", async (t) => {
  fakeFetch(t, () => new Response("<h1>Bad gateway</h1>", { status: 502 }));
  await assert.rejects(request("GET", "/api/sessions/s1", "s1"), {
    code: "http",
    message: "The server answered HTTP 502.",
  });
});

test("request reports a server that cannot be reached", async (t) => {
  fakeFetch(t, () => Promise.reject(new TypeError("fetch failed")));
  await assert.rejects(request("GET", "/api/sessions/s1", "s1"), { code: "interface_unreachable" });
});
