import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import vm from "node:vm";

const SCRIPT = new URL("../../src/cordboard/logs/report/page_lines.js", import.meta.url);
const NAMES = "{ ReportLines, asText, clockTime, countLines, errorText, flat, isoTime, metaText, secondsSince, shortSessionId, visible }";
/** @type {any} */
const page = vm.runInNewContext(`${readFileSync(SCRIPT, "utf-8")}\n(${NAMES})`);

const DATA = {
  tables: {
    level: ["info", "error"],
    service: ["gateway", "bot"],
    tag: ["http"],
    context: [{ sessionId: "s1", userName: "Ada" }, { sessionId: "server:gateway" }],
    event: ["join.accepted"],
    message: ["Join accepted"],
    source: ["a.jsonl"],
    attribution: ["explicit"],
  },
  rows: [
    [0, 0, 0, 0, 0, 0, 0, 0, 0, { meta: { room: "a b", n: 1 }, boot: "12345678", seq: 4 }],
    [1500, 1, 1, -1, 0, -1, "It failed", 0, 0, { error: { type: "ValueError", message: "no" } }],
    [null, "odd", -1, -1, 1, -1, { not: "text" }, 0, 0],
  ],
  origin: 1_700_000_000_000_000,
  split: 2,
  left_out: 10,
};
const lines = new page.ReportLines(DATA);
/** @param {unknown} value made in the script's own context */
const plain = (value) => JSON.parse(JSON.stringify(value));

test("a line is decoded from its row and the tables", () => {
  assert.deepEqual(plain(lines.line(0)), {
    us: 1_700_000_000_000_000, level: "info", known: "info", service: "gateway", tag: "http",
    event: "join.accepted", message: "Join accepted", meta: { room: "a b", n: 1 },
  });
});

test("missing and odd fields have text that can be shown", () => {
  const { us, level, known, service, tag, event, message } = lines.line(2);
  assert.deepEqual([us, level, known, service, tag, event, message], [null, "odd", "info", "unknown", "", "", '{"not":"text"}']);
});

test("a record has the keys of the log format in their order, and no others", () => {
  assert.deepEqual(Object.entries(plain(lines.record(0))), [
    ["timestamp", "2023-11-14T22:13:20.000000Z"], ["level", "info"], ["message", "Join accepted"],
    ["service", "gateway"], ["tag", "http"], ["sessionId", "s1"], ["userName", "Ada"],
    ["event", "join.accepted"], ["meta", { room: "a b", n: 1 }], ["boot", "12345678"], ["seq", 4],
  ]);
  assert.equal("timestamp" in lines.record(2), false);
});

test("line numbers count the lines that were left out", () => {
  assert.deepEqual([0, 1, 2].map((index) => lines.lineNumber(index)), [1, 2, 13]);
  assert.deepEqual([1, 2, 13].map((number) => lines.indexOf(number)), [0, 1, 2]);
  assert.deepEqual([0, 3, 12, 14].map((number) => lines.indexOf(number)), [-1, -1, -1, -1]);
});

test("lines of the server do not count as another session", () => {
  assert.equal(lines.hasSeveralSessions, false);
  const tables = { ...DATA.tables, context: [{ sessionId: "s1" }, { sessionId: "s2" }] };
  assert.equal(new page.ReportLines({ ...DATA, tables }).hasSeveralSessions, true);
});

test("a search looks through message, event, service, meta, error, context and source", () => {
  const text = lines.searchText(0);
  for (const word of ["join accepted", "join.accepted", "gateway", 'room="a b"', "ada", "a.jsonl"]) {
    assert.ok(text.includes(word), word);
  }
  assert.ok(lines.searchText(1).includes("valueerror"));
});

test("invisible and direction-changing characters become escape sequences", () => {
  assert.equal(page.visible("a\u0007b\u202ec\u{e0041}d\ud800"), "a\\x07b\\u202ec\\U000e0041d\\ud800");
  assert.equal(page.visible("line\r\nline\ttab 😀"), "line\nline\ttab 😀");
});

test("a text of the list is one line of at most 2000 characters", () => {
  assert.equal(page.flat("a\n  b"), "a b");
  assert.equal(page.flat("x".repeat(5000)).length, 2001);
});

test("times have microseconds, before 1970 too", () => {
  assert.equal(page.isoTime(1_700_000_000_123_456), "2023-11-14T22:13:20.123456Z");
  assert.equal(page.isoTime(-1), "1969-12-31T23:59:59.999999Z");
  assert.equal(page.clockTime(1_700_000_000_123_456), "22:13:20.123");
  assert.equal(page.clockTime(null), "--:--:--.---");
});

test("seconds since a time are signed", () => {
  assert.deepEqual([page.secondsSince(1_500_000, 0), page.secondsSince(0, 2_000), page.secondsSince(null, 0)], ["+1.500", "−0.002", ""]);
});

test("meta and errors are written as text", () => {
  assert.equal(page.metaText({ a: "x", b: "x y", c: "", d: [1] }), 'a=x b="x y" c="" d=[1]');
  assert.equal(page.metaText("text"), "");
  assert.equal(page.errorText({ type: "ValueError", message: "no" }), "ValueError: no");
  assert.equal(page.errorText({ message: "no" }), "no");
  assert.equal(page.errorText("text"), "text");
  assert.equal(page.errorText(null), "");
});

test("session ids are shortened to their end", () => {
  assert.deepEqual(["short", "0192aaaa-bbbb-cccc"].map(page.shortSessionId), ["short", "…bbbb-cccc"]);
});

test("one line is singular", () => {
  assert.deepEqual([page.countLines(1), page.countLines(1200), page.countLines(2, "more ")], ["1 line", "1,200 lines", "2 more lines"]);
});
