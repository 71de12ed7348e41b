// Keeps a list of the page current: fetches the page again and replaces the element #refreshed.

import { element } from "./elements.js";

const TIMEOUT_MS = 10_000;

const everyMs = Number(element("refreshed").dataset.refresh) * 1000;

/** Fetch the page, and replace the list if it has changed and the user is not in it. */
async function refresh() {
  const shown = element("refreshed");
  // The focus, or the position of a table that is scrolled, would be lost.
  if (document.hidden || shown.contains(document.activeElement) || hasSelection(shown)) return;
  const response = await fetch(location.href, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (response.redirected) location.reload(); // signed out meanwhile
  if (!response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.getElementById("refreshed");
  if (fresh && fresh.innerHTML !== shown.innerHTML) shown.replaceWith(fresh);
}

/** @param {HTMLElement} shown */
function hasSelection(shown) {
  const selection = getSelection();
  return Boolean(selection && !selection.isCollapsed && selection.containsNode(shown, true));
}

setInterval(() => refresh().catch(() => {}), everyMs); // a failed refresh is repeated by the next one
document.addEventListener("visibilitychange", () => refresh().catch(() => {}));
