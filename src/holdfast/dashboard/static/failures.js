/**
 * The view of errors: by code and provider, with examples that lead to their streams.
 *
 * Strategy: the server groups and counts; what is searched for is searched in what it tells. An
 * example opens the story of its stream.
 */

import { message } from "./connections.js";
import { make, mark, Problem, put, regularly, Table, the } from "./document.js";
import * as format from "./format.js";
import { get } from "./server.js";

const LOOK = 5_000; // ms from one to the next
const EXAMPLES = 5;

/** The links of a row, below each other. @param {HTMLElement} cell @param {any} row */
function examples(cell, row) {
  const shown = row.examples.slice(0, EXAMPLES);
  const list = cell.firstElementChild ?? cell.appendChild(make("ul", { class: "examples" }));
  while (list.children.length > shown.length) list.lastElementChild?.remove();
  shown.forEach((/** @type {any} */ one, /** @type {number} */ at) => {
    const line = list.children[at] ?? list.appendChild(make("li", {}, make("a"), make("span")));
    const [link, text] = /** @type {[Element, Element]} */ (/** @type {any} */ (line.children));
    mark(link, "href", `#/streams/${one.stream_id}`);
    put(link, `${one.stream_id.slice(0, 8)}…`);
    mark(link, "title", `${one.stream_id}, ${one.at}`);
    mark(link, "aria-label", `Stream ${one.stream_id}`);
    put(text, `${format.moment(one.at, Date.now())}  ${one.message}`);
    mark(text, "title", one.message);
  });
}

/** @type {import("./document.js").Column[]} */
const COLUMNS = [
  { name: "Code", kind: "code", text: (row) => row.code },
  // Without a provider it is streams that ended so, with one the calls to it that failed.
  { name: "Of", text: (row) => (row.provider ? `calls to ${row.provider}` : "streams") },
  { name: "Count", kind: "num", text: (row) => format.whole(row.count) },
  { name: "First seen", kind: "num", text: (row) => format.moment(row.first_at, Date.now()), title: (row) => row.first_at, from: "desk" },
  { name: "Last seen", kind: "num", text: (row) => format.moment(row.last_at, Date.now()), title: (row) => row.last_at, from: "phone" },
  { name: "Examples", kind: "wide", fill: examples },
];

export class Failures {
  /** @type {any[]} */
  #known = [];

  constructor() {
    const place = the("errors-table");
    this.table = new Table(place, "Errors", COLUMNS, {
      key: (row) => `${row.code} ${row.provider}`,
      empty: "Nothing has failed since the nodes began.",
    });
    this.problem = new Problem(place, () => this.#load());
    this.signal = AbortSignal.abort();
    the("errors-form").onsubmit = (/** @type {Event} */ event) => event.preventDefault();
    the("errors-text").oninput = () => this.#show();
  }

  /** @param {string} _ @param {AbortSignal} signal */
  open(_, signal) {
    this.signal = signal;
    regularly(LOOK, () => this.#load(), signal);
  }

  async #load() {
    const { signal } = this;
    try {
      this.#known = (await get("v1/errors", {}, signal)).errors;
      this.problem.tell("");
      this.#show();
    } catch (error) {
      if (!signal.aborted) this.problem.tell(`The errors cannot be had. ${message(error)}`);
    }
  }

  #show() {
    const text = the("errors-text").value.trim().toLowerCase();
    const found = this.#known.filter((row) => `${row.code} ${row.provider ?? ""}`.toLowerCase().includes(text));
    put(this.table.none, text ? "No such error." : "Nothing has failed since the nodes began.");
    this.table.fill(found);
  }
}
