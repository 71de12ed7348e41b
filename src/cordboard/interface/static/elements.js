// Access to the elements of the room page (templates/room.html).

/**
 * Return an element of the page.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function element(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element #${id}`);
  return found;
}

/**
 * Return a button of the page.
 * @param {string} id
 */
export function button(id) {
  return /** @type {HTMLButtonElement} */ (element(id));
}
