// Buttons that copy the text of another element of the page.

import { element } from "./elements.js";

const COPIED_MS = 2000;

/** Let each button with data-copy copy the element that it names. Needs an element #copied for screen readers. */
export function enableCopyButtons() {
  for (const copyButton of document.querySelectorAll("button[data-copy]")) {
    if (copyButton instanceof HTMLButtonElement) copyButton.onclick = () => copyText(copyButton);
  }
}

/** @param {HTMLButtonElement} copyButton */
async function copyText(copyButton) {
  const source = element(copyButton.dataset.copy ?? "");
  try {
    await navigator.clipboard.writeText(source.textContent ?? "");
    copyButton.textContent = "Copied";
    element("copied").textContent = "Copied";
  } catch {
    // Pages without https have no clipboard: select the text, so that the user can press Ctrl-C.
    getSelection()?.selectAllChildren(source);
    copyButton.textContent = "Ctrl-C";
    element("copied").textContent = "Selected: copy it with Control C";
  }
  setTimeout(() => {
    copyButton.textContent = "Copy";
    element("copied").textContent = "";
  }, COPIED_MS);
}
