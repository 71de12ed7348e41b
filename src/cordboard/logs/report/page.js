// The list of lines in the report: filters, a window of rows, details of one line. Text of a log reaches the
// page only by textContent, so no line can become markup.
{
  // A report may have 100,000 lines; only those in view, and a few around them, have elements.
  const OVERSCAN_ROWS = 12;
  const FEW_PX = 640; // a list that is lower than this needs no height of its own
  const SERVICES_MAX = 24; // buttons of services; more would fill the screen
  const SEARCH_DELAY_MS = 80;
  const PRINTED_MAX = 1500; // lines on paper: some 25 pages
  const OWN_SERVICES = new Set(["browser", "interface", "gateway", "operator", "runner", "bot"]);

  const root = document.documentElement;
  root.classList.add("js");

  /**
   * Return an element of the page.
   * @param {string} id
   * @returns {HTMLElement}
   */
  const byId = (id) => {
    const element = document.getElementById(id);
    if (!element) throw new Error(`the page has no element #${id}`);
    return element;
  };

  const lines = new ReportLines(JSON.parse(byId("lines-data").textContent ?? ""));
  const hasSeveralSessions = lines.hasSeveralSessions;
  const list = byId("list");
  const space = byId("space");
  const search = /** @type {HTMLInputElement} */ (byId("search"));
  const least = /** @type {HTMLSelectElement} */ (byId("least"));
  const eventsOnly = /** @type {HTMLInputElement} */ (byId("events-only"));
  const chips = byId("chips");
  const zeroUs = list.dataset.zero ? Number(list.dataset.zero) : lines.data.origin;
  const services = lines.data.rows.map((_, index) => lines.line(index).service);
  const ranks = lines.data.rows.map((_, index) => LEVELS[lines.line(index).known]);
  /** @type {Set<string>} */
  const hiddenServices = new Set();
  /** @type {number[]} */
  let shown = []; // indexes of the lines that the filters let through
  let chosen = -1; // index of the line whose details are open
  let needle = "";
  let rowHeight = 22;
  let drawn = ""; // what is on the page, so that nothing is drawn twice

  /**
   * @param {string} tag
   * @param {string} className
   * @param {string} [text]
   */
  function makeElement(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = visible(text);
    return element;
  }

  /** @param {string} service */
  function serviceClass(service) {
    return `svc s-${OWN_SERVICES.has(service) ? service : "other"}`;
  }

  // --- filters

  function makeServiceButtons() {
    /** @type {Map<string, number>} */
    const counts = new Map();
    for (const name of services) counts.set(name, (counts.get(name) ?? 0) + 1);
    if (counts.size < 2) return;
    for (const [name, count] of [...counts].slice(0, SERVICES_MAX)) {
      const button = makeElement("button", serviceClass(name), `${name} ${count.toLocaleString("en")}`);
      button.setAttribute("type", "button");
      button.dataset.name = name;
      button.title = "Click to hide or show. Shift-click to show only this service.";
      button.addEventListener("click", (event) => {
        if (event.altKey || event.shiftKey) showOnly(name, [...counts.keys()]);
        else if (!hiddenServices.delete(name)) hiddenServices.add(name);
        markServiceButtons();
        filter();
      });
      chips.append(button);
    }
    markServiceButtons();
  }

  /**
   * Show the lines of one service only; the second time, of all again.
   * @param {string} name
   * @param {string[]} names of all services
   */
  function showOnly(name, names) {
    const isOnly = hiddenServices.size === names.length - 1 && !hiddenServices.has(name);
    hiddenServices.clear();
    if (!isOnly) for (const other of names) if (other !== name) hiddenServices.add(other);
  }

  function markServiceButtons() {
    for (const button of chips.children) {
      const name = button instanceof HTMLElement ? (button.dataset.name ?? "") : "";
      button.setAttribute("aria-pressed", String(!hiddenServices.has(name)));
    }
  }

  function filter() {
    needle = search.value.trim().toLowerCase();
    const words = needle.split(/\s+/).filter(Boolean);
    const leastRank = LEVELS[least.value] || 0;
    shown = [];
    for (let index = 0; index < lines.count; index += 1) {
      if (ranks[index] < leastRank || hiddenServices.has(services[index])) continue;
      if (eventsOnly.checked && !lines.cell(index, EVENT)) continue;
      if (words.length && !words.every((word) => lines.searchText(index).includes(word))) continue;
      shown.push(index);
    }
    const isFiltered = shown.length !== lines.count;
    byId("counted").textContent = (isFiltered ? `${shown.length.toLocaleString("en")} of ` : "") + countLines(lines.count);
    layOut();
  }

  function clearFilters() {
    search.value = "";
    least.value = "debug";
    eventsOnly.checked = false;
    hiddenServices.clear();
    markServiceButtons();
    filter();
  }

  // --- the rows in view

  function layOut() {
    rowHeight = parseFloat(getComputedStyle(list).getPropertyValue("--row")) || 22;
    space.style.height = `${shown.length * rowHeight}px`;
    list.classList.toggle("few", shown.length * rowHeight < FEW_PX);
    redraw();
  }

  function redraw() {
    drawn = "";
    draw();
  }

  function draw() {
    const first = Math.max(0, Math.floor(list.scrollTop / rowHeight) - OVERSCAN_ROWS);
    const end = Math.min(
      shown.length,
      Math.ceil((list.scrollTop + list.clientHeight) / rowHeight) + OVERSCAN_ROWS,
    );
    const key = `${first}:${end}:${chosen}`;
    if (key === drawn) return;
    drawn = key;
    const fragment = document.createDocumentFragment();
    for (let place = first; place < end; place += 1) {
      const row = makeRow(shown[place]);
      row.style.top = `${place * rowHeight}px`;
      fragment.append(row);
    }
    space.replaceChildren(fragment);
  }

  /** @param {number} index */
  function makeRow(index) {
    const line = lines.line(index);
    const row = makeElement("div", "row");
    row.dataset.at = String(index);
    if (line.known === "warn" || line.known === "error") row.classList.add(line.known);
    if (index === chosen) row.classList.add("chosen");
    row.append(
      makeElement("span", "dim", clockTime(line.us)),
      makeElement("span", "since dim num", secondsSince(line.us, zeroUs)),
      makeElement("span", `lvl ${line.known}`, line.level),
      makeElement("span", serviceClass(line.service), line.service),
      makeText(index, line),
    );
    return row;
  }

  /**
   * @param {number} index
   * @param {ReportLine} line
   */
  function makeText(index, line) {
    const text = makeElement("span", "text");
    if (hasSeveralSessions) {
      text.append(makeElement("span", "meta", shortSessionId(lines.sessionId(index)).padEnd(10)), "  ");
    }
    if (line.event) text.append(highlighted(makeElement("span", "event"), line.event), "  ");
    highlighted(text, flat(line.message));
    const [meta, error] = [flat(metaText(line.meta)), flat(errorText(line.error))];
    if (meta) text.append("  ", highlighted(makeElement("span", "meta"), meta));
    if (error) text.append("  ", highlighted(makeElement("span", "err"), error));
    return text;
  }

  /**
   * Append a text to an element, with the first word of the search marked; return the element.
   * @param {HTMLElement} element
   * @param {string} text
   */
  function highlighted(element, text) {
    const shownText = visible(text);
    const word = needle.split(/\s+/)[0];
    const lower = shownText.toLowerCase();
    // A few letters have a longer lower case, so that places would not match.
    if (!word || lower.length !== shownText.length) {
      element.append(shownText);
      return element;
    }
    let from = 0;
    for (let at = lower.indexOf(word); at !== -1; at = lower.indexOf(word, from)) {
      element.append(shownText.slice(from, at), makeElement("mark", "", shownText.slice(at, at + word.length)));
      from = at + word.length;
    }
    element.append(shownText.slice(from));
    return element;
  }

  // --- the details of one line

  /**
   * Open the details of a line, or close them.
   * @param {number} index -1 closes them
   * @param {boolean} scrolls whether to bring the line into view
   */
  function choose(index, scrolls) {
    chosen = index;
    if (scrolls) scrollTo(shown.indexOf(index));
    byId("detail").hidden = index < 0;
    if (index >= 0) showDetails(index);
    redraw();
  }

  /** @param {number} place in the list */
  function scrollTo(place) {
    if (place < 0) return;
    const top = place * rowHeight;
    const isInView = top >= list.scrollTop && top <= list.scrollTop + list.clientHeight - rowHeight * 2;
    if (!isInView) list.scrollTop = top - list.clientHeight / 3;
  }

  /** @param {number} index */
  function showDetails(index) {
    const record = lines.record(index);
    const { error, message } = record;
    const stack = error && typeof error === "object" && typeof error.stack === "string" ? error.stack : "";
    const shownRecord = stack ? { ...record, error: { ...error, stack: "(below)" } } : record;
    const parts = [JSON.stringify(shownRecord, null, 2)];
    if (stack) parts.push(stack);
    if (message && String(message).includes("\n")) parts.push(message);
    const source = asText(lines.cell(index, SOURCE) ?? "");
    const attribution = asText(lines.cell(index, ATTRIBUTION) ?? "");
    byId("detail-title").textContent = visible(`Line ${lines.lineNumber(index)} · ${source} · session ${attribution}`);
    byId("detail-text").textContent = visible(parts.join("\n\n"));
  }

  /** Open the line that the address names, such as #L12. */
  function openLinkedLine() {
    const match = /^#L(\d+)$/.exec(location.hash);
    if (!match) return;
    const index = lines.indexOf(Number(match[1]));
    if (index < 0) return;
    if (!shown.includes(index)) clearFilters();
    byId("lines").scrollIntoView();
    choose(index, true);
  }

  // --- events

  function listenToList() {
    list.addEventListener("click", ({ target }) => {
      const row = target instanceof Element ? target.closest(".row") : null;
      // A click that ends a selection of text is meant for the selection.
      if (row instanceof HTMLElement && !String(getSelection())) choose(Number(row.dataset.at), false);
    });
    /** @type {Record<string, number>} */
    const steps = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 };
    list.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      if (!step || !shown.length) return;
      event.preventDefault();
      const place = shown.indexOf(chosen);
      const next = place < 0 ? 0 : place + step;
      choose(shown[Math.min(shown.length - 1, Math.max(0, next))], true);
    });
    list.addEventListener("scroll", draw, { passive: true });
    byId("close").addEventListener("click", () => choose(-1, false));
    byId("copy").addEventListener("click", () => {
      navigator.clipboard?.writeText(JSON.stringify(lines.record(chosen))).catch(() => {});
    });
  }

  function listenToFilters() {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    search.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(filter, SEARCH_DELAY_MS);
    });
    least.addEventListener("change", filter);
    eventsOnly.addEventListener("change", filter);
    addEventListener("keydown", (event) => {
      if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "")) {
        event.preventDefault();
        search.focus();
      }
    });
  }

  function listenToPage() {
    addEventListener("resize", layOut);
    addEventListener("hashchange", openLinkedLine);
    addEventListener("beforeprint", () => byId("paper").replaceChildren(paperLines()));
    addEventListener("afterprint", () => byId("paper").replaceChildren());
    byId("theme").addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
    });
  }

  function isDark() {
    if (root.dataset.theme) return root.dataset.theme === "dark";
    return matchMedia("(prefers-color-scheme: dark)").matches;
  }

  /** Return the lines that the filters let through, for paper, up to a bound. */
  function paperLines() {
    const fragment = document.createDocumentFragment();
    for (const index of shown.slice(0, PRINTED_MAX)) {
      const line = lines.line(index);
      const parts = [
        clockTime(line.us), line.level.padEnd(5), line.service, line.event, line.message,
        metaText(line.meta), errorText(line.error),
      ];
      fragment.append(makeElement("div", line.known, parts.filter(Boolean).join(" ")));
    }
    const more = shown.length - PRINTED_MAX;
    if (more > 0) {
      fragment.append(makeElement("div", "dim", `… ${countLines(more, "more ")} ${more === 1 ? "is" : "are"} in the file`));
    }
    return fragment;
  }

  makeServiceButtons();
  listenToList();
  listenToFilters();
  listenToPage();
  filter();
  openLinkedLine();
}
