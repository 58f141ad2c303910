/**
 * The view of streams: a table by page, which is searched at the server.
 *
 * Strategy: what is looked for stands in the address, so that it can be sent to a colleague and is
 * there after a reload. Ids open their stream at once. The newest page is looked at again and again;
 * an older one stands still while somebody reads it.
 */

import { message } from "./connections.js";
import { mark, Problem, put, regularly, Table, the } from "./document.js";
import * as format from "./format.js";
import { get } from "./server.js";

const LOOK = 3_000; // ms from one to the next
const PAGE = 50; // rows
const PAGES = 1000; // that one can go back through

const ID = /^([0-9A-Za-z]{26}|[0-9A-Za-z]{32})$/;

/** How each status looks. @type {Record<string, string>} */
export const TONES = { pending: "quiet", streaming: "live", completed: "good", error: "bad", cancelled: "quiet" };

/** So far, while it is under way. @param {any} row */
const took = ({ created_at, completed_at }) =>
  (completed_at ? Date.parse(completed_at) : Date.now()) - Date.parse(created_at);

/** @type {import("./document.js").Column[]} */
const COLUMNS = [
  {
    name: "Began",
    text: (row) => format.moment(row.created_at, Date.now()),
    title: (row) => row.created_at,
  },
  { name: "Stream", kind: "id", text: (row) => row.id, href: (row) => `#/streams/${row.id}`, title: (row) => row.id },
  { name: "Status", kind: "state", text: (row) => row.status, state: (row) => TONES[row.status] ?? "" },
  { name: "Took", kind: "num", text: (row) => format.duration(Math.max(0, took(row))) },
  { name: "Asked first", text: (row) => row.provider, from: "tablet" },
  { name: "Model", kind: "long", text: (row) => row.model, title: (row) => row.model, from: "tablet" },
  { name: "Client", kind: "long", text: (row) => row.client_id ?? "", title: (row) => row.client_id ?? "", from: "desk" },
  { name: "Session", kind: "long", text: (row) => row.session_id ?? "", title: (row) => row.session_id ?? "", from: "desk" },
  { name: "User", kind: "long", text: (row) => row.user_id ?? "", title: (row) => row.user_id ?? "", from: "desk" },
];

export class Streams {
  /** Where each page begins that was turned to; none is the newest. @type {string[]} */
  #pages = [];
  /** @type {string | null} */
  #next = null;

  constructor() {
    this.table = new Table(the("streams-table"), "Streams", COLUMNS, { key: (row) => row.id, empty: "No such stream." });
    this.problem = new Problem(the("streams-table"), () => this.#load());
    this.query = new URLSearchParams();
    this.signal = AbortSignal.abort();
    the("streams-form").onsubmit = (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#search();
    };
    // What was wrong with it is said until something else stands there.
    the("streams-text").oninput = the("streams-where").oninput = () => the("streams-text").setCustomValidity("");
    the("streams-status").onchange = () => this.#search();
    the("older").onclick = () => this.#turn(this.#next);
    the("newer").onclick = () => this.#turn(null);
  }

  /** @param {string} query @param {AbortSignal} signal */
  open(query, signal) {
    this.signal = signal;
    this.query = new URLSearchParams(query);
    this.#pages = [];
    const where = ["client_id", "session_id"].find((name) => this.query.has(name));
    the("streams-where").value = where ?? "id";
    the("streams-text").value = where ? this.query.get(where) : "";
    the("streams-status").value = this.query.get("status") ?? "";
    regularly(LOOK, async () => void (this.#pages.length || (await this.#load())), signal);
  }

  #search() {
    const [text, where] = [the("streams-text").value.trim(), the("streams-where").value];
    if (where === "id" && text) {
      if (ID.test(text)) location.hash = `#/streams/${text}`;
      else {
        the("streams-text").setCustomValidity("A stream's id has 26 or 32 letters and digits.");
        the("streams-text").reportValidity();
      }
      return;
    }
    const said = { [where]: text, status: the("streams-status").value };
    const query = new URLSearchParams(Object.entries(said).filter(([, value]) => value));
    const hash = `#/streams${query.size ? `?${query}` : ""}`;
    if (location.hash === hash) this.#load();
    else location.hash = hash;
  }

  /** @param {string | null} page from here on to older ones, or one back */
  #turn(page) {
    if (page == null) this.#pages.pop();
    else this.#pages = [...this.#pages, page].slice(-PAGES);
    this.#load();
  }

  async #load() {
    const { signal } = this;
    const asked = { ...Object.fromEntries(this.query), limit: PAGE, before: this.#pages.at(-1) };
    try {
      const { streams, next } = await get("v1/streams", asked, signal);
      this.#next = next;
      this.problem.tell("");
      put(this.table.none, this.query.size ? "No such stream." : "No stream yet.");
      this.table.fill(streams);
    } catch (error) {
      if (signal.aborted) return;
      this.problem.tell(`The streams cannot be had. ${message(error)}`);
    }
    mark(the("older"), "disabled", this.#next == null ? "disabled" : null);
    mark(the("newer"), "disabled", this.#pages.length === 0 ? "disabled" : null);
    put(the("streams-page"), this.#pages.length ? `Page ${this.#pages.length + 1}` : "The newest, as they come");
  }
}
