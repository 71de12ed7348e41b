// The lines of the report: embedded once, shown a windowful at a time. Only textContent is ever set.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const byId = (id) => document.getElementById(id);

  // --- light and dark
  const toggle = byId("theme");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  toggle.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; });

  // --- the lines
  const data = JSON.parse(byId("lines-data").textContent);
  const { tables, rows, origin, split, left_out: leftOut } = data;
  const names = ["level", "service", "tag", "context", "event", "message", "source", "attribution"];
  const KEYS = ["timestamp", "level", "message", "service", "tag", "sessionId", "userId", "userName", "room", "epoch",
    "traceId", "spanId", "event", "meta", "error", "raw", "truncated", "boot", "seq"];
  const LEVELS = { debug: 10, info: 20, warn: 30, error: 40 };
  const OWN = new Set(["browser", "interface", "gateway", "operator", "runner", "bot"]);
  const STEERS = new RegExp("[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e"
    + "\\u2060-\\u206f\\ufeff\\ufff0-\\ufffb\\ufffe\\uffff]|[\\ud800-\\udbff](?![\\udc00-\\udfff])"
    + "|(?<![\\ud800-\\udbff])[\\udc00-\\udfff]|\\udb40[\\udc00-\\udfff]", "g");
  const escaped = (found) => {
    const number = found.codePointAt(0);
    const [letter, digits] = number <= 0xff ? ["x", 2] : number <= 0xffff ? ["u", 4] : ["U", 8];
    return "\\" + letter + number.toString(16).padStart(digits, "0");
  };
  const visible = (text) => text.replace(/\r\n/g, "\n").replace(STEERS, escaped);
  const asText = (value) => typeof value === "string" ? value : JSON.stringify(value);

  const cell = (row, at) => {
    const value = row[at + 1];
    if (value === -1) return undefined;
    return typeof value === "number" ? tables[names[at]][value] : value;
  };
  const rest = (row) => row[names.length + 1] || {};
  const numberOf = (at) => at < split ? at : at + leftOut;
  const placeOf = (number) => number < split ? number : number - leftOut;
  const iso = (us) => new Date(Math.floor(us / 1000)).toISOString().slice(0, 20) + String(((us % 1e6) + 1e6) % 1e6).padStart(6, "0") + "Z";

  const line = (at) => {
    const row = rows[at], more = rest(row), level = asText(cell(row, 0) ?? more.level ?? "info");
    return {
      us: row[0] === null ? null : origin + row[0], level, known: LEVELS[level] ? level : "info",
      service: asText(cell(row, 1) ?? more.service ?? "unknown"), tag: asText(cell(row, 2) ?? more.tag ?? ""),
      event: cell(row, 4) ?? "", message: asText(cell(row, 5) ?? more.message ?? ""), meta: more.meta, error: more.error,
    };
  };
  const record = (at) => {
    const row = rows[at], all = { ...cell(row, 3), ...rest(row) };
    if (row[0] !== null) all.timestamp = iso(origin + row[0]);
    ["level", "service", "tag"].forEach((name, i) => { const value = cell(row, i); if (value !== undefined) all[name] = value; });
    for (const [name, i] of [["event", 4], ["message", 5]]) { const value = cell(row, i); if (value !== undefined) all[name] = value; }
    const ordered = {};
    for (const key of [...KEYS, ...Object.keys(all)]) if (key in all) ordered[key] = all[key];
    return ordered;
  };
  const pairs = (meta) => meta && typeof meta === "object"
    ? Object.entries(meta).map(([name, value]) => name + "=" + (typeof value === "string" && value && !/[\s="]/.test(value) ? value : JSON.stringify(value))).join(" ")
    : "";
  const errorWords = (error) => !error ? "" : typeof error === "object"
    ? [error.type, error.message].filter(Boolean).map(asText).join(": ") : asText(error);

  // Where several sessions speak, each line says whose it is.
  const several = new Set(tables.context.map((it) => it.sessionId).filter((id) => id && !String(id).startsWith("server:"))).size > 1;
  const sessionOf = (at) => { const id = asText((cell(rows[at], 3) || {}).sessionId ?? ""); return id.length > 10 ? "…" + id.slice(-9) : id; };

  // --- filters
  const list = byId("list"), space = byId("space"), search = byId("search"), least = byId("least");
  const eventsOnly = byId("events-only"), counted = byId("counted"), chips = byId("chips"), detail = byId("detail");
  const zero = list.dataset.zero ? Number(list.dataset.zero) : origin;
  const haystacks = new Array(rows.length);
  const hidden = new Set();
  let shown = [], chosen = -1, needle = "";

  const haystack = (at) => haystacks[at] ??= (() => {
    const it = line(at);
    return [it.message, it.event, it.service, it.tag, it.meta ? pairs(it.meta) : "", it.error ? JSON.stringify(it.error) : "",
      Object.values(cell(rows[at], 3) || {}).join(" "), cell(rows[at], 6)].join("\n").toLowerCase();
  })();

  const serviceOf = rows.map((row, at) => line(at).service);
  const rank = rows.map((row, at) => LEVELS[line(at).known]);
  const perService = new Map();
  for (const name of serviceOf) perService.set(name, (perService.get(name) || 0) + 1);
  const cssOf = (service) => "svc s-" + (OWN.has(service) ? service : "other");
  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = visible(text);
    return node;
  };
  if (perService.size > 1) for (const [name, count] of [...perService].slice(0, 24)) {
    const button = make("button", cssOf(name), name + " " + count.toLocaleString("en"));
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.addEventListener("click", (event) => {
      if (event.altKey || event.shiftKey) {
        const only = hidden.size === perService.size - 1 && !hidden.has(name);
        hidden.clear();
        if (!only) for (const other of perService.keys()) if (other !== name) hidden.add(other);
      } else if (!hidden.delete(name)) hidden.add(name);
      for (const each of chips.children) each.setAttribute("aria-pressed", String(!hidden.has(each.dataset.name)));
      refilter();
    });
    button.dataset.name = name;
    button.title = "Click: hide or show. Shift-click: this one only.";
    chips.append(button);
  }

  const lines = (count, more = "") => count.toLocaleString("en") + " " + more + (count === 1 ? "line" : "lines");
  const refilter = () => {
    needle = search.value.trim().toLowerCase();
    const words = needle.split(/\s+/).filter(Boolean), from = LEVELS[least.value] || 0;
    shown = [];
    for (let at = 0; at < rows.length; at++) {
      if (rank[at] < from || hidden.has(serviceOf[at])) continue;
      if (eventsOnly.checked && !cell(rows[at], 4)) continue;
      if (words.length && !words.every((word) => haystack(at).includes(word))) continue;
      shown.push(at);
    }
    counted.textContent = (shown.length === rows.length ? "" : shown.length.toLocaleString("en") + " of ") + lines(rows.length);
    layout();
  };

  // --- a windowful of rows
  let rowHeight = 22, drawn = "";
  const layout = () => {
    rowHeight = parseFloat(getComputedStyle(list).getPropertyValue("--row")) || 22;
    space.style.height = shown.length * rowHeight + "px";
    list.classList.toggle("few", shown.length * rowHeight < 640);
    drawn = "";
    draw();
  };
  const highlighted = (node, text) => {
    text = visible(text);
    const word = needle.split(/\s+/)[0], lower = text.toLowerCase();
    if (!word || lower.length !== text.length) { node.append(text); return; }
    let from = 0, at;
    while ((at = lower.indexOf(word, from)) !== -1) {
      node.append(text.slice(from, at), make("mark", "", text.slice(at, at + word.length)));
      from = at + word.length;
    }
    node.append(text.slice(from));
  };
  const flat = (text) => visible(text.length > 2000 ? text.slice(0, 2000) + "…" : text).replace(/\s+/g, " ");
  const clock = (us) => us === null ? "--:--:--.---" : iso(us).slice(11, 23);
  const since = (us) => us === null || zero === null ? "" : (us < zero ? "−" : "+") + (Math.abs(us - zero) / 1e6).toFixed(3);
  const fill = (node, at) => {
    const it = line(at);
    const text = make("span", "text");
    if (several) text.append(make("span", "meta", sessionOf(at).padEnd(10)), "  ");
    if (it.event) { const name = make("span", "event"); highlighted(name, it.event); text.append(name, "  "); }
    highlighted(text, flat(it.message));
    const words = flat(pairs(it.meta)), error = flat(errorWords(it.error));
    if (words) { const meta = make("span", "meta"); highlighted(meta, words); text.append("  ", meta); }
    if (error) { const err = make("span", "err"); highlighted(err, error); text.append("  ", err); }
    node.append(make("span", "dim", clock(it.us)), make("span", "since dim num", since(it.us)), make("span", "lvl " + it.known, it.level),
      make("span", cssOf(it.service), it.service), text);
    return it;
  };
  const draw = () => {
    const first = Math.max(0, Math.floor(list.scrollTop / rowHeight) - 12);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / rowHeight) + 12);
    const key = first + ":" + last + ":" + chosen;
    if (key === drawn) return;
    drawn = key;
    const fragment = document.createDocumentFragment();
    for (let i = first; i < last; i++) {
      const at = shown[i], node = make("div", "row");
      const it = fill(node, at);
      if (it.known === "warn" || it.known === "error") node.classList.add(it.known);
      if (at === chosen) node.classList.add("chosen");
      node.style.top = i * rowHeight + "px";
      node.dataset.at = at;
      fragment.append(node);
    }
    space.replaceChildren(fragment);
  };

  // --- one line in full
  const choose = (at, scroll) => {
    chosen = at;
    if (scroll) {
      const place = shown.indexOf(at);
      if (place >= 0) {
        const top = place * rowHeight;
        if (top < list.scrollTop || top > list.scrollTop + list.clientHeight - rowHeight * 2) list.scrollTop = top - list.clientHeight / 3;
      }
    }
    detail.hidden = at < 0;
    if (at >= 0) {
      const it = record(at), row = rows[at], more = rest(row), error = it.error;
      const stack = error && typeof error === "object" && typeof error.stack === "string" ? error.stack : "";
      const shownRecord = stack ? { ...it, error: { ...error, stack: "(below)" } } : it;
      byId("detail-title").textContent = visible("Line " + (numberOf(at) + 1) + " · " + asText(cell(row, 6) ?? "") + " · session " + asText(cell(row, 7) ?? ""));
      byId("detail-text").textContent = visible(JSON.stringify(shownRecord, null, 2) + (stack ? "\n\n" + stack : "")
        + (it.message && String(it.message).includes("\n") ? "\n\n" + it.message : ""));
    }
    drawn = "";
    draw();
  };
  const jump = () => {
    const found = /^#L(\d+)$/.exec(location.hash);
    if (!found) return;
    const at = placeOf(Number(found[1]) - 1);
    if (!(at >= 0 && at < rows.length)) return;
    if (!shown.includes(at)) {
      search.value = ""; least.value = "debug"; eventsOnly.checked = false; hidden.clear();
      for (const each of chips.children) each.setAttribute("aria-pressed", "true");
      refilter();
    }
    byId("lines").scrollIntoView();
    choose(at, true);
  };
  list.addEventListener("click", (event) => {
    const node = event.target.closest(".row");
    if (node && !String(getSelection())) choose(Number(node.dataset.at), false);
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 }[event.key];
    if (!step || !shown.length) return;
    event.preventDefault();
    const place = shown.indexOf(chosen);
    choose(shown[Math.min(shown.length - 1, Math.max(0, place < 0 ? 0 : place + step))], true);
  });
  list.addEventListener("scroll", draw, { passive: true });
  byId("close").addEventListener("click", () => choose(-1, false));
  byId("copy").addEventListener("click", () => {
    const text = JSON.stringify(record(chosen));
    if (navigator.clipboard) navigator.clipboard.writeText(text).catch(() => {});
  });
  let waiting = 0;
  search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(refilter, 80); });
  least.addEventListener("change", refilter);
  eventsOnly.addEventListener("change", refilter);
  addEventListener("resize", layout);
  addEventListener("hashchange", jump);
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) { event.preventDefault(); search.focus(); }
  });

  // --- on paper: what the filters show, up to a bound
  const PRINTED_MAX = 1500;
  const paper = byId("paper");
  addEventListener("beforeprint", () => {
    const fragment = document.createDocumentFragment();
    for (const at of shown.slice(0, PRINTED_MAX)) {
      const it = line(at);
      fragment.append(make("div", it.known, [clock(it.us), it.level.padEnd(5), it.service, it.event, it.message, pairs(it.meta), errorWords(it.error)].filter(Boolean).join(" ")));
    }
    if (shown.length > PRINTED_MAX) fragment.append(make("div", "dim", "… " + lines(shown.length - PRINTED_MAX, "more ") + (shown.length - PRINTED_MAX === 1 ? " is" : " are") + " in the file"));
    paper.replaceChildren(fragment);
  });
  addEventListener("afterprint", () => paper.replaceChildren());

  refilter();
  jump();
})();
