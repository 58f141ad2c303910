/**
 * What the views are written with: elements, tables and figures that change in place.
 *
 * Strategy: nothing is made of text that came from somewhere, so nothing of it is ever markup. An
 * element that is there is changed and not made anew, so that what somebody reads, selects or has
 * focused stays, and a page that is open for weeks holds no more than on its first day. Tables are
 * real ones, and bounded.
 */

import { NONE } from "./format.js";

/** Rows of a table at the most, unless it says otherwise. */
export const ROWS = 200;

/** @param {string} id */
export const the = (id) => /** @type {any} */ (document.getElementById(id));

/**
 * An element with attributes and children.
 * @param {string} tag @param {Record<string, string>} [attributes] @param {...(Node | string)} children
 * @returns {any}
 */
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Text that is as wanted is left alone: a screen reader would say it again.
 * @param {Element} node @param {string} text */
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** The same for an attribute; none where there is no value. @param {Element} node @param {string} name
 * @param {string | null | undefined} value */
export function mark(node, name, value) {
  if (value == null || value === "") node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/**
 * How a column is filled. `text` is what stands in it, `href` makes that a link, `title` is told more,
 * `state` colours it, `share` (0 to 1) draws a bar behind it, and `fill` does all of it by itself.
 * `kind`: "num" for figures, "id", "state", "long". `from`: on narrower screens it is left out.
 * @typedef {{ name: string, text?: (item: any) => string, href?: (item: any) => string | null,
 *   title?: (item: any) => string, state?: (item: any) => string, share?: (item: any) => number | null,
 *   fill?: (cell: HTMLElement, item: any) => void, kind?: string, from?: "phone" | "tablet" | "desk",
 *   hint?: string }} Column
 */

/** Said once more, as a style that lays a table out in another way takes them from its elements. */
const ROLES = {
  group: { role: "rowgroup" },
  row: { role: "row" },
  head: { role: "columnheader", scope: "col" },
  first: { role: "rowheader", scope: "row" },
  cell: { role: "cell" },
};

export class Table {
  /** @type {Map<string, { row: HTMLTableRowElement, cells: HTMLElement[] }>} */
  #rows = new Map();

  /**
   * @param {HTMLElement} place @param {string} name for who cannot see it
   * @param {Column[]} columns the first one names its row
   * @param {{ key: (item: any) => string, empty: string, most?: number }} more
   */
  constructor(place, name, columns, { key, empty, most = ROWS }) {
    this.columns = columns;
    this.key = key;
    this.most = most;
    this.body = make("tbody", ROLES.group);
    const head = columns.map((column) => {
      const cell = make("th", { ...ROLES.head, class: classes(column) }, column.name);
      mark(cell, "title", column.hint);
      return cell;
    });
    const caption = make("caption", { class: "aside" }, name);
    const heads = make("thead", ROLES.group, make("tr", ROLES.row, ...head));
    this.table = make("table", { role: "table" }, caption, heads, this.body);
    this.none = make("p", { class: "none" }, empty);
    this.table.hidden = this.none.hidden = true; // until something is known
    place.append(this.table, this.none);
  }

  /** Shows these, in this order. @param {any[]} items */
  fill(items) {
    const shown = items.slice(0, this.most);
    const keys = new Set(shown.map(this.key));
    for (const [key, { row }] of this.#rows)
      if (!keys.has(key)) {
        row.remove();
        this.#rows.delete(key);
      }
    /** @type {Element | null} */
    let next = this.body.firstElementChild;
    for (const item of shown) {
      const { row, cells } = this.#row(this.key(item));
      this.columns.forEach((column, at) => fillCell(/** @type {HTMLElement} */ (cells[at]), column, item));
      if (row === next) next = row.nextElementSibling;
      else this.body.insertBefore(row, next);
    }
    this.table.hidden = shown.length === 0;
    this.none.hidden = shown.length > 0;
  }

  /** @param {string} key */
  #row(key) {
    const held = this.#rows.get(key);
    if (held) return held;
    const cells = this.columns.map((column, at) =>
      make(at === 0 ? "th" : "td", { ...(at === 0 ? ROLES.first : ROLES.cell), class: classes(column) }),
    );
    const made = { row: make("tr", ROLES.row, ...cells), cells };
    this.#rows.set(key, made);
    return made;
  }
}

/** @param {Column} column */
const classes = ({ kind = "", from }) => `${kind} ${from ? `from-${from}` : ""}`.trim();

/** @param {HTMLElement} cell @param {Column} column @param {any} item */
function fillCell(cell, column, item) {
  if (column.fill) return column.fill(cell, item);
  const href = column.href?.(item);
  const text = column.text?.(item) ?? "";
  if (href) {
    const link = /** @type {HTMLElement} */ (cell.firstElementChild ?? cell.appendChild(make("a")));
    mark(link, "href", href);
    put(link, text);
  } else put(cell, text);
  if (column.title) mark(cell, "title", column.title(item));
  if (column.state) mark(cell, "data-state", column.state(item));
  // By the object model, which the page's policy allows; a style in markup it would not.
  if (column.share) cell.style.setProperty("--share", `${Math.min(1, column.share(item) ?? 0)}`);
}

/** A list of names and values that change in place. */
export class Facts {
  /** @type {{ value: HTMLElement, more: HTMLElement }[]} */
  #cells;

  /** @param {HTMLElement} list @param {string[]} names */
  constructor(list, names) {
    this.#cells = names.map((name) => {
      const value = make("dd", {}, NONE);
      const more = make("dd", { class: "more" });
      list.append(make("div", {}, make("dt", {}, name), value, more));
      return { value, more };
    });
  }

  /** Each value with what is said below it, and how it is. @param {[string, string?, string?][]} values */
  fill(values) {
    values.forEach(([text, more = "", state = ""], at) => {
      const cells = this.#cells[at];
      if (!cells) return;
      put(cells.value, text);
      put(cells.more, more);
      mark(cells.value, "data-state", state);
    });
  }
}

/** What went wrong, in the place of a view that has nothing to show. */
export class Problem {
  /** @param {HTMLElement} before @param {() => void} again */
  constructor(before, again) {
    this.text = make("span");
    const button = make("button", { type: "button" }, "Try again");
    button.addEventListener("click", again);
    this.box = make("div", { class: "problem", role: "alert", hidden: "" }, this.text, button);
    before.before(this.box);
  }

  /** @param {string} message none is "" */
  tell(message) {
    this.box.hidden = !message;
    put(this.text, message);
  }
}

/**
 * Does it now and again until `signal`, never twice at once, and not while nobody looks.
 * @param {number} pause in ms, from one's end to the next
 * @param {() => Promise<void>} what which never fails
 * @param {AbortSignal} signal
 */
export async function regularly(pause, what, signal) {
  while (!signal.aborted) {
    if (!document.hidden) await what();
    await new Promise((resolve) => {
      const timer = setTimeout(over, pause);
      function over() {
        clearTimeout(timer);
        signal.removeEventListener("abort", over);
        document.removeEventListener("visibilitychange", over);
        resolve(undefined);
      }
      signal.addEventListener("abort", over);
      document.addEventListener("visibilitychange", over);
    });
  }
}
