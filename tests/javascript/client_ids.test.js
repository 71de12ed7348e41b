import assert from "node:assert/strict";
import test from "node:test";

import { bootId, uuid7 } from "../../clients/js/src/browser/ids.js";

test("uuid7 has the form of RFC 9562, version 7", () => {
  assert.match(uuid7(), /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

test("uuid7 begins with the milliseconds since 1970, also beyond 32 bits", () => {
  assert.equal(uuid7(0x0192_3456_789a).slice(0, 13), "01923456-789a");
});

test("uuid7 sorts by time and never repeats", () => {
  const ids = [1, 255, 256, 2 ** 32, 2 ** 41].map((ms) => uuid7(ms));
  assert.deepEqual([...ids].sort(), ids);
  assert.equal(new Set(Array.from({ length: 1000 }, () => uuid7(5))).size, 1000);
});

test("bootId is eight hexadecimal digits", () => {
  assert.match(bootId(), /^[0-9a-f]{8}$/);
});
