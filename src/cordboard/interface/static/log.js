// The browser's logger: lines of the same form as every other part's, sent in batches.
//
//   const log = getClientLogger("call");
//   log.info("Microphone opened", { label });
//
// A line stays here until the server has confirmed it; the server drops what it gets twice (same
// boot, seq at most the last one). So a page on its way out may simply send all it has once more.

import { bootId } from "/static/ids.js";

const URL = "/api/logs";
const FLUSH_MS = 1000;
const FLUSH_LINES = 50;
const BATCH_LINES = 200;
const BATCH_BYTES = 48 * 1024; // browsers carry 64 KiB at most beyond a page's end
const KEPT_LINES = 2000;
const KEPT_BYTES = 1024 * 1024;
const LINE_CHARS = 8000; // of a line's message and meta; the server cuts at 16 KiB
const CUTS = [LINE_CHARS, 2000, 500, 100, 20]; // of each text; of lists and objects a twentieth, or 5
const RETRIES = 10;
const RETRY_MAX_MS = 30_000;
const GIVEN_UP = new Set([400, 401, 403, 404, 413, 422]);

const boot = bootId();
const encoder = new TextEncoder();
const context = { sessionId: "server:browser", userId: null, userName: null, room: null };

let seq = 0;
let waiting = []; // { text, bytes }, oldest first
let waitingBytes = 0;
let dropped = 0;
let timer = null;
let dueAt = 0;
let restUntil = 0; // a server that is away is not asked again for each line
let sending = false;
let failures = 0;

/** Say whose lines come from now on. */
export function setLogContext(values) {
  Object.assign(context, values);
}

/** A logger of one part of the page: debug, info, warn, error, each (message, meta). */
export function getClientLogger(tag) {
  const at = (level) => (message, meta) => write(level, tag, message, meta);
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

function write(level, tag, message, meta) {
  (console[level] ?? console.log)(`[${tag}] ${message}`, ...(meta ? [meta] : []));
  keep(record(level, tag, String(message), meta));
  if (level === "error" || waiting.length >= FLUSH_LINES) {
    schedule(0);
  } else {
    schedule(FLUSH_MS);
  }
}

// meta.event becomes the line's event, meta.error its error; the keys are in the contract's order.
function record(level, tag, message, meta) {
  const { event, error, ...rest } = meta ?? {};
  const line = {
    timestamp: new Date().toISOString().replace("Z", "000Z"),
    level,
    message: message.slice(0, LINE_CHARS),
    service: "browser",
    tag,
    sessionId: context.sessionId,
    userId: context.userId,
    userName: context.userName,
  };
  if (context.room) line.room = context.room;
  if (event) line.event = event;
  const cuts = { made: message.length > LINE_CHARS };
  if (Object.keys(rest).length) line.meta = plain(rest, cuts);
  if (error !== undefined) line.error = described(error, cuts);
  if (cuts.made) line.truncated = true;
  return { ...line, boot, seq: (seq += 1) };
}

function described(error, cuts) {
  return {
    type: String(error?.name ?? typeof error),
    message: cut(String(error?.message ?? error), LINE_CHARS / 4, cuts),
    stack: cut(String(error?.stack ?? ""), LINE_CHARS / 2, cuts),
  };
}

function cut(text, limit, cuts) {
  if (text.length <= limit) return text;
  cuts.made = true;
  return `${text.slice(0, limit)}…`;
}

// What JSON cannot say is written as its text: no value may cost the line. Of what is too long the
// longest values are cut first, all to the same length, so that none costs its siblings.
function plain(meta, cuts) {
  try {
    for (const limit of CUTS) {
      const mine = { made: false };
      const text = JSON.stringify(meta, replacer(limit, mine));
      if (text.length > LINE_CHARS) continue;
      cuts.made ||= mine.made;
      return JSON.parse(text);
    }
  } catch (error) {
    return { unsayable: String(error) };
  }
  cuts.made = true;
  return { unsayable: "too long" };
}

function replacer(limit, cuts) {
  const seen = new WeakSet();
  return (_key, value) => {
    if (value instanceof Error) return described(value, cuts);
    if (typeof value === "string") return cut(value, limit, cuts);
    if (typeof value === "bigint" || typeof value === "function") return cut(String(value), limit, cuts);
    if (typeof value === "number" && !Number.isFinite(value)) return String(value);
    if (typeof value === "object" && value !== null) {
      if (seen.has(value)) return "[seen above]";
      seen.add(value);
      return fewer(value, Math.max(5, limit / 20), cuts);
    }
    return value;
  };
}

function fewer(value, most, cuts) {
  const names = Object.keys(value);
  if (names.length <= most) return value;
  cuts.made = true;
  if (Array.isArray(value)) return value.slice(0, most);
  return Object.fromEntries(names.slice(0, most).map((name) => [name, value[name]]));
}

function keep(line) {
  const text = whole(JSON.stringify(line));
  const bytes = encoder.encode(text).length + 1;
  waiting.push({ text, bytes });
  waitingBytes += bytes;
  while (waiting.length > KEPT_LINES || waitingBytes > KEPT_BYTES) forget(1);
}

// Half a surrogate pair is no UTF-8; JSON.stringify writes it as an escape, which no reader takes.
function whole(text) {
  return text.replace(/\\ud[89a-f][0-9a-f]{2}/g, "\\ufffd");
}

function forget(count) {
  for (const { bytes } of waiting.splice(0, count)) waitingBytes -= bytes;
  dropped += count;
}

function schedule(ms) {
  if (sending) return;
  const now = performance.now();
  const at = Math.max(now + ms, restUntil);
  if (timer !== null && dueAt <= at) return;
  clearTimeout(timer);
  dueAt = at;
  timer = setTimeout(send, at - now);
}

function batch(from = 0) {
  let bytes = 0;
  let end = from;
  while (end < waiting.length && end - from < BATCH_LINES) {
    bytes += waiting[end].bytes;
    if (bytes > BATCH_BYTES && end > from) break;
    end += 1;
  }
  return { end, body: waiting.slice(from, end).map(({ text }) => text).join("\n") };
}

async function send() {
  timer = null;
  if (sending || waiting.length === 0) return;
  sending = true;
  const last = waiting[batch().end - 1];
  const outcome = await post(batch().body);
  sending = false;
  // Lines may have been dropped meanwhile: what was sent is all up to the last one.
  const sent = waiting.indexOf(last) + 1;
  if (outcome.done) {
    failures = 0;
    if (outcome.refused) forget(sent);
    else for (const { bytes } of waiting.splice(0, sent)) waitingBytes -= bytes;
    confess();
  } else if ((failures += 1) > RETRIES) {
    failures = 0;
    forget(sent);
  }
  restUntil = outcome.done ? 0 : performance.now() + backoff(outcome.retryAfterMs);
  if (waiting.length) schedule(0);
}

async function post(body) {
  try {
    const answer = await fetch(`${URL}?sent=${Date.now()}`, { method: "POST", body });
    if (answer.ok) return { done: true };
    if (GIVEN_UP.has(answer.status)) return { done: true, refused: true };
    return { retryAfterMs: Number(answer.headers.get("Retry-After")) * 1000 };
  } catch {
    return {}; // the server is away
  }
}

function backoff(least = 0) {
  return Math.max(least, Math.min(RETRY_MAX_MS, FLUSH_MS * 2 ** failures) * (0.5 + Math.random()));
}

function confess() {
  if (!dropped) return;
  const count = dropped;
  dropped = 0;
  write("warn", "log", "Lines of the browser were dropped", { count });
}

/** Send all that is kept, by the way that outlives the page; nothing is forgotten. */
export function flushNow() {
  for (let from = 0; from < waiting.length; ) {
    const { end, body } = batch(from);
    const url = `${URL}?sent=${Date.now()}`;
    if (!navigator.sendBeacon(url, body)) {
      fetch(url, { method: "POST", body, keepalive: true }).catch(() => {});
    }
    from = end;
  }
}

/** Catch what nobody else did, and send all at the page's end. */
export function installLogger() {
  const log = getClientLogger("page");
  addEventListener("error", (event) => {
    if (event.message) {
      const { filename, lineno, colno } = event;
      log.error("Uncaught error", { error: event.error ?? event.message, filename, lineno, colno });
    }
  });
  addEventListener("unhandledrejection", (event) => {
    log.error("Unhandled rejection", { error: event.reason });
  });
  addEventListener("securitypolicyviolation", (event) => {
    log.warn("The page's policy refused something", { directive: event.violatedDirective, what: event.blockedURI });
  });
  // Phones end a hidden page without another word.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") flushNow();
  });
  addEventListener("pagehide", flushNow);
  addEventListener("online", () => {
    restUntil = 0;
    schedule(0);
  });
}
