/**
 * The view of one stream: what happened to it and who read it, from its beginning.
 *
 * Strategy: looked at again until the stream has ended, and more slowly afterwards, as readers still
 * come and go. What an answer says is never asked for: this is about how it came.
 */

import { message, READERS } from "./connections.js";
import { Facts, make, mark, Problem, put, regularly, Table, the } from "./document.js";
import * as format from "./format.js";
import { get } from "./server.js";
import { TONES } from "./streams.js";

const LOOK = 2_000; // ms from one to the next
const ENTRIES = 600; // more than the server tells

const FACTS = ["Began", "Took", "First chunk", "Chunks", "Sent", "Latency, p95", "Connections", "Provider"];

/** @type {Record<string, string>} */
const TONES_OF = {
  start: "live",
  first_chunk: "live",
  complete: "good",
  error: "bad",
  fallback: "warn",
  rewind: "warn",
  adopted: "warn",
};

/** What a fact of an entry is called, and how it is written.
 * @param {[string, any]} fact @returns {[string, string]} */
function fact([name, value]) {
  if (name.endsWith("_ms")) return [format.words(name.slice(0, -3)), format.duration(value)];
  if (name.startsWith("bytes")) return [format.words(name), format.bytes(value)];
  if (name.endsWith("_id")) return [format.words(name.slice(0, -3)), value];
  if (typeof value === "boolean") return [format.words(name), value ? "yes" : "no"];
  if (typeof value === "number") return [format.words(name), format.whole(value)];
  return [format.words(name), /^[a-z_]+$/.test(value) ? format.words(value) : `${value}`];
}

/** Names and values, made anew only where they are others. @param {HTMLElement} cell @param {any} entry */
function detail(cell, { detail }) {
  const known = Object.entries(detail ?? {}).filter(([, value]) => value != null && value !== "");
  const facts = known.map(fact);
  const said = facts.flat().join("\n");
  if (cell.dataset.said === said) return;
  cell.dataset.said = said;
  cell.replaceChildren(...facts.map(([name, value]) => make("span", { class: "fact" }, make("i", {}, name), ` ${value}`)));
}

/** @type {import("./document.js").Column[]} */
const COLUMNS = [
  { name: "After", kind: "num", text: (entry) => format.ms(entry.after_ms), title: (entry) => entry.at },
  {
    name: "What",
    kind: "state",
    text: (entry) => format.words(entry.what),
    state: (entry) => (entry.detail?.error ? "bad" : (TONES_OF[entry.what] ?? "quiet")),
  },
  { name: "Detail", kind: "wrap", fill: detail },
  { name: "At", kind: "num", text: (entry) => format.clock(entry.at), from: "tablet" },
];

export class Stream {
  constructor() {
    this.facts = new Facts(the("stream-facts"), FACTS);
    this.problem = new Problem(the("story"), () => this.#load());
    this.timeline = new Table(the("timeline"), "Timeline", COLUMNS, {
      key: (entry) => entry.key,
      empty: "Nothing has happened.",
      most: ENTRIES,
    });
    this.readers = new Table(the("readers"), "Connections", READERS, {
      key: (one) => one.id,
      empty: "Nobody has read it.",
    });
    this.id = "";
    this.signal = AbortSignal.abort();
  }

  /** @param {string} id @param {AbortSignal} signal */
  open(id, signal) {
    this.signal = signal;
    if (id !== this.id) this.#clear(id);
    regularly(LOOK, () => this.#load(), signal);
  }

  /** @param {string} id */
  #clear(id) {
    this.id = id;
    put(the("stream-id"), id);
    put(the("stream-status"), "");
    the("story").hidden = true;
    this.problem.tell("");
  }

  async #load() {
    const { id, signal } = this;
    const path = `v1/streams/${encodeURIComponent(id)}`;
    try {
      const [story, metrics, { connections }] = await Promise.all([
        get(`${path}/timeline`, {}, signal),
        get(`${path}/metrics`, {}, signal),
        get(`${path}/connections`, {}, signal),
      ]);
      if (signal.aborted) return;
      this.problem.tell("");
      this.#show(story, metrics, connections);
    } catch (error) {
      if (!signal.aborted) this.problem.tell(`This stream cannot be shown. ${message(error)}`);
    }
  }

  /** @param {any} story @param {any} metrics @param {any[]} connections */
  #show({ status, entries, truncated }, { performance }, connections) {
    the("story").hidden = false;
    mark(the("stream-status"), "data-state", TONES[status] ?? "");
    put(the("stream-status"), status);
    this.facts.fill(facts(entries, status, performance, connections));
    // An entry has no name of its own; those of one moment are told apart by their turn.
    this.timeline.fill(entries.map((/** @type {any} */ entry, /** @type {number} */ at) => ({ ...entry, key: `${at}` })));
    put(the("timeline-note"), truncated ? "More has happened than is told here." : "");
    this.readers.fill(connections);
  }
}

/** @param {any[]} entries @param {string} status @param {any} performance @param {any[]} connections
 * @returns {[string, string?, string?][]} */
function facts(entries, status, performance, connections) {
  const find = (/** @type {string[]} */ ...whats) => entries.find(({ what }) => whats.includes(what));
  const [start, first, end] = [find("start"), find("first_chunk"), find("complete", "error", "cancelled")];
  const calls = entries.filter(({ what }) => what === "attempt");
  const attempts = new Set(calls.map(({ detail }) => detail.number)).size;
  // Who was asked last has written the end, if anybody has.
  const { provider = format.NONE, model = "" } = (calls.at(-1) ?? start)?.detail ?? {};
  const resumed = connections.filter((one) => one.resumed).length;
  return [
    [format.moment(start?.at, Date.now()), ""],
    [format.duration(end?.after_ms), end ? "" : status],
    [format.ms(first?.after_ms), attempts > 1 ? `${attempts} attempts` : ""],
    [format.whole(performance.chunks), performance.chunks_per_second == null ? "" : `${format.rate(performance.chunks_per_second)} a second`],
    [format.bytes(performance.bytes), performance.average_chunk_size == null ? "" : `${format.bytes(performance.average_chunk_size)} a chunk`],
    [format.ms(performance.latency_ms.p95), `p99 ${format.ms(performance.latency_ms.p99)}`],
    [format.whole(connections.length), resumed ? `${resumed} resumed` : ""],
    [provider, model],
  ];
}
