// The sections of a session's report on its page.

import { element } from "./elements.js";

// In the order of the report; sections that it does not know come last.
const ORDER = ["verdict", "cause", "startup", "turns", "attempts", "take-overs", "services"];
const LAST = ["trouble", "events", "coverage"];

/**
 * Show a section, new or changed.
 * @param {{ id: string, html: string }} section
 */
export function showSection({ id, html }) {
  const holder = holderOf(id);
  if (!holder.contains(document.activeElement)) {
    holder.innerHTML = html; // from a template of the server, which escapes each text
    return;
  }
  // Replacing it now would take the focus from the user.
  holder.addEventListener("focusout", () => setTimeout(() => showSection({ id, html })), { once: true });
}

/**
 * Return the element that holds a section; make it in its place.
 * @param {string} id
 */
function holderOf(id) {
  const known = document.getElementById(`of-${id}`);
  if (known) return known;
  const holder = document.createElement("div");
  holder.id = `of-${id}`;
  const sections = element("sections");
  const next = [...sections.children].find((other) => rank(other.id.slice("of-".length)) > rank(id));
  sections.insertBefore(holder, next ?? null);
  return holder;
}

/** @param {string} id */
function rank(id) {
  if (ORDER.includes(id)) return ORDER.indexOf(id);
  return ORDER.length + (LAST.includes(id) ? 1 + LAST.indexOf(id) : 0);
}
