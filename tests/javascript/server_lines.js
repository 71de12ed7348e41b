// Writes the lines that test_server_lines.py checks, by the server's logger of the npm package.

import { configure, currentSession, getLogger, runInSession, sessionHeaders } from "../../clients/js/src/server/index.js";

configure({ service: "shop", hosts: ["voice.example"] });
const log = getLogger("checkout");
const SESSION = {
  sessionId: "call-7", userId: "u-1", userName: "Ada Łovelace", room: "webrtc:standup", epoch: 3,
  traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
};

/** @type {any} */
const circle = { name: "circle" };
circle.self = circle;
const values = { password: "hunter2", deep: [{ accessToken: 7 }], url: "https://x/?token=hunter2" };

log.info("Outside of a session", { n: 1, left: undefined });
log.debug("Below the level");
await runInSession(SESSION, async () => {
  log.info("In a session", { event: "join.clicked", values });
  await new Promise((resolve) => setTimeout(resolve, 1));
  log.error("After a pause", { error: new TypeError("no\u009b31m"), circle, big: 12n, call: () => 1, nan: Number.NaN });
  await runInSession({ userId: "u-2" }, () => log.warn("Another user"));
  log.info("Long", { text: "€".repeat(50_000), list: Array.from({ length: 9000 }, (_, i) => `"${i}"`) });
  log.info("\0".repeat(20_000));
  log.info("Half of a pair \ud83d and controls \u2028");
  log.info("Headers", { headers: sessionHeaders() });
});
await Promise.all(["a", "b"].map((sessionId) => runInSession({ sessionId }, async () => {
  for (let i = 0; i < 3; i += 1) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    log.info("Interleaved", { own: sessionId, is: currentSession().sessionId });
  }
})));
