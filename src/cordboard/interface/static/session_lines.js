// The lines of a session on its page: search and filters.

import { element } from "./elements.js";

/** @type {Record<string, number>} */
const LEVELS = { debug: 10, info: 20, warn: 30, error: 40 };
const COUNT_MS = 500; // so that a screen reader is not told each single line
const AT_END_PX = 30;

/**
 * A line: its number, time, level, service, event, text, and perhaps a stack.
 * @typedef {[number, string, string, string, string, string, string?]} LineRow
 * @typedef {{ level: string, service: string, event: string, text: string, item: HTMLElement }} Line
 */

/** The list of lines. */
export class LineList {
  #list = element("rows");
  /** @type {Line[]} */
  #lines = [];
  #services = new Set();
  #shown = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #counting;

  constructor() {
    for (const id of ["find", "level", "service", "only-events"]) {
      element(id).addEventListener("input", () => this.#filterAll());
    }
    addEventListener("hashchange", () => this.#openTarget());
  }

  /**
   * Add lines at the end.
   * @param {LineRow[]} rows
   */
  add(rows) {
    const list = this.#list;
    const isAtEnd = list.scrollTop + list.clientHeight > list.scrollHeight - AT_END_PX;
    const wasEmpty = !this.#lines.length;
    const added = document.createDocumentFragment();
    for (const row of rows) {
      const [, , level, service, event, ...texts] = row;
      const line = { level, service, event, text: [event, ...texts].join(" ").toLowerCase(), item: makeItem(row) };
      this.#lines.push(line);
      this.#filter(line);
      added.append(line.item);
      this.#addService(service);
    }
    list.append(added);
    element("lines").hidden = false;
    if (isAtEnd && !wasEmpty) list.scrollTop = list.scrollHeight;
    if (wasEmpty) this.#openTarget();
    this.#count();
  }

  /** Remove all lines. */
  clear() {
    this.#lines = [];
    this.#shown = 0;
    this.#list.replaceChildren();
  }

  /** @param {string} service */
  #addService(service) {
    if (this.#services.has(service)) return;
    this.#services.add(service);
    const option = document.createElement("option");
    option.value = option.textContent = service;
    element("service").append(option);
  }

  #filterAll() {
    this.#shown = 0;
    for (const line of this.#lines) this.#filter(line);
    this.#count();
  }

  /** @param {Line} line */
  #filter({ level, service, event, text, item }) {
    const isWanted =
      text.includes(valueOf("find").toLowerCase()) &&
      (LEVELS[level] ?? 0) >= (LEVELS[valueOf("level")] ?? 0) &&
      ["", service].includes(valueOf("service")) &&
      (!(/** @type {HTMLInputElement} */ (element("only-events")).checked) || Boolean(event));
    item.hidden = !isWanted;
    this.#shown += Number(isWanted);
  }

  #count() {
    clearTimeout(this.#counting);
    this.#counting = setTimeout(() => {
      const all = this.#lines.length;
      const text = this.#shown === all ? `${all} lines` : `${this.#shown} of ${all} lines`;
      element("counted").textContent = text;
    }, COUNT_MS);
  }

  /** Show the line to which a link of a section leads, whatever the filters. */
  #openTarget() {
    const target = this.#lines.find(({ item }) => `#${item.id}` === location.hash);
    if (!target) return;
    target.item.hidden = false;
    target.item.scrollIntoView({ block: "center" });
    target.item.focus({ preventScroll: true });
  }
}

/** @param {string} id */
function valueOf(id) {
  return /** @type {HTMLInputElement | HTMLSelectElement} */ (element(id)).value;
}

/** @param {LineRow} row */
function makeItem([number, at, level, service, event, text, stack]) {
  const item = document.createElement("li");
  item.id = `L${number}`;
  item.tabIndex = -1;
  item.className = level;
  for (const [kind, words] of Object.entries({ at, lvl: level, from: service, event, text })) {
    if (!words) continue;
    const part = document.createElement("span");
    part.className = kind;
    part.textContent = words;
    item.append(part, " ");
  }
  if (stack) {
    const block = document.createElement("pre");
    block.textContent = stack;
    item.append(block);
  }
  return item;
}
