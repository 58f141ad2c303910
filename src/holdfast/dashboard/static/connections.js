/**
 * The view of connections: each one, and what they came to by hour.
 *
 * Strategy: the server lists those that are open and those that closed lately, of all nodes; what is
 * searched for is searched in that list, at once. Hours are put together by the server from what the
 * archive has by minute.
 */

import { Problem, put, regularly, ROWS, Table, the } from "./document.js";
import * as format from "./format.js";
import { get } from "./server.js";

/** ms from one look to the next. */
const LIST = 5_000;
const HOURS = 60_000;

const HOUR = 3_600_000;
const SHOWN_HOURS = 24;

/** Rows that are shown at first: the hours are below. */
const FEW = 25;

/** @typedef {import("./document.js").Column} Column */

/** Reasons of an end that nobody wished for. */
const BROKEN = new Set(["client_gone", "stalled", "server_closed", "log_unavailable"]);

/** @param {any} one */
const open = (one) => one.reason == null && one.closed_at == null;

/** @param {any} one */
const reason = (one) => (open(one) ? "open" : (one.reason ?? one.status));

/** @param {any} one */
function tone(one) {
  if (open(one)) return "live";
  if (one.reason === "completed") return "good";
  return one.reason === "error" ? "bad" : BROKEN.has(one.reason) ? "warn" : "quiet";
}

/** What compression has made of it. @param {any} one */
function saved({ encoding, bytes_sent: sent, bytes_saved: less }) {
  return less > 0 ? `${encoding}: ${format.share(less / (sent + less))} saved` : "";
}

/** How long it is, or was, open. @param {any} one @param {number} now */
const age = (one, now) => (open(one) ? now - Date.parse(one.connected_at) : one.duration_ms);

/** Of a stream's readers; the list of all has the stream too. @type {Column[]} */
export const READERS = [
  {
    name: "Opened",
    text: (one) => format.moment(one.connected_at, Date.now()),
    title: (one) => `${one.connected_at}, connection ${one.id}`,
  },
  { name: "State", kind: "state", text: (one) => format.words(reason(one)), state: tone },
  { name: "Open for", kind: "num", text: (one) => format.duration(age(one, Date.now())), from: "phone" },
  { name: "Resumed", text: (one) => (one.resumed ? "yes" : ""), from: "tablet" },
  { name: "Chunks", kind: "num", text: (one) => format.whole(one.chunks_sent), from: "phone" },
  { name: "Sent", kind: "num", text: (one) => format.bytes(one.bytes_sent), title: saved, from: "tablet" },
  { name: "Latency", hint: "On average", kind: "num", text: (one) => format.ms(one.average_latency_ms), from: "tablet" },
  { name: "RTT", hint: "Round trip, as the kernel measured it", kind: "num", text: (one) => format.ms(one.network?.rtt_ms), from: "desk" },
  { name: "Resent", hint: "Segments that the kernel sent again", kind: "num", text: (one) => format.whole(one.network?.retransmissions), from: "desk" },
  { name: "Client", text: (one) => one.client_id ?? "", kind: "long", from: "desk" },
  {
    name: "User agent",
    kind: "long",
    text: (one) => one.user_agent ?? "",
    title: (one) => [one.user_agent, one.ip].filter(Boolean).join(", from "),
    from: "desk",
  },
];

/** @type {Column} */
const STREAM = {
  name: "Stream",
  kind: "id",
  text: (one) => one.stream_id,
  href: (one) => `#/streams/${one.stream_id}`,
  title: (one) => [one.client_id, one.session_id].filter(Boolean).join(", session "),
};

/** @param {any} point */
const resumes = ({ connections: { opened, resumed } }) => (opened ? resumed / opened : null);

/** @type {Column[]} */
const BY_HOUR = [
  {
    name: "Hour",
    text: (point) => format.clock(point.start).slice(0, 5),
    title: (point) => point.start,
  },
  { name: "Streams", kind: "num", text: (point) => format.whole(point.streams.started), from: "phone" },
  { name: "Opened", kind: "num share", text: (point) => format.whole(point.connections.opened), share: (point) => point.part },
  { name: "Resumed", kind: "num", text: (point) => format.whole(point.connections.resumed) },
  { name: "Of opened", kind: "num", text: (point) => format.share(resumes(point)), from: "tablet" },
  { name: "Broken off", kind: "num", text: (point) => format.whole(point.connections.dropped) },
  { name: "Sent", kind: "num", text: (point) => format.bytes(point.performance.bytes), from: "tablet" },
  { name: "Chunks a second", kind: "num", text: (point) => format.rate(point.performance.chunks_per_second), from: "desk" },
  { name: "Latency p95", kind: "num", text: (point) => format.ms(point.performance.latency_ms.p95), from: "tablet" },
  { name: "Latency p99", kind: "num", text: (point) => format.ms(point.performance.latency_ms.p99), from: "desk" },
  { name: "Errors", kind: "num", text: (point) => format.share(point.quality.error_rate), from: "phone" },
];

/** @type {Record<string, (one: any) => boolean>} */
const STATES = {
  "": () => true,
  open,
  closed: (one) => !open(one),
  dropped: (one) => BROKEN.has(one.reason),
  resumed: (one) => one.resumed === true,
};

const SEARCHED = ["id", "stream_id", "client_id", "user_id", "session_id", "user_agent", "reason", "model", "provider"];

/** @param {any} one @param {string} text in small letters */
const holds = (one, text) => !text || SEARCHED.some((name) => `${one[name] ?? ""}`.toLowerCase().includes(text));

export class Connections {
  /** @type {any[]} */
  #known = [];
  #all = false;

  constructor() {
    const [opened, ...rest] = READERS;
    const columns = [/** @type {Column} */ (opened), STREAM, ...rest];
    const place = the("connections-table");
    const none = "No such connection.";
    this.table = new Table(place, "Connections", columns, { key: (one) => one.id, empty: none });
    this.problem = new Problem(place, () => this.#list());
    this.hours = new Table(the("hours"), "By hour", BY_HOUR, {
      key: (point) => point.start,
      empty: "Nothing was measured in the last day.",
    });
    this.hoursProblem = new Problem(the("hours"), () => this.#byHour());
    this.signal = AbortSignal.abort();
    the("connections-form").onsubmit = (/** @type {Event} */ event) => event.preventDefault();
    the("connections-text").oninput = the("connections-state").onchange = () => this.#show();
    the("connections-all").onclick = () => {
      this.#all = true;
      this.#show();
    };
  }

  /** @param {string} _ @param {AbortSignal} signal */
  open(_, signal) {
    this.signal = signal;
    regularly(LIST, () => this.#list(), signal);
    regularly(HOURS, () => this.#byHour(), signal);
  }

  async #list() {
    const { signal } = this;
    try {
      this.#known = (await get("v1/connections", {}, signal)).connections;
      this.problem.tell("");
      this.#show();
    } catch (error) {
      if (!signal.aborted) this.problem.tell(`The connections cannot be had. ${message(error)}`);
    }
  }

  #show() {
    const text = the("connections-text").value.trim().toLowerCase();
    const state = STATES[the("connections-state").value] ?? open;
    const found = this.#known.filter((one) => state(one) && holds(one, text));
    const shown = this.#all ? found : found.slice(0, FEW);
    this.table.fill(shown);
    the("connections-all").hidden = shown.length === found.length;
    const all = this.#known.length >= ROWS ? `the newest ${ROWS}` : format.whole(this.#known.length);
    put(the("connections-note"), `${format.whole(shown.length)} of ${all}`);
  }

  async #byHour() {
    const { signal } = this;
    // Whole hours, so that each row is the same hour at each look.
    const end = Math.ceil(Date.now() / HOUR) * HOUR;
    const period = { start: end - SHOWN_HOURS * HOUR, end, step: HOUR / 1000 };
    try {
      const points = (await get("v1/metrics", period, signal)).points.slice(-SHOWN_HOURS);
      const most = Math.max(1, ...points.map((/** @type {any} */ point) => point.connections.opened));
      for (const point of points) point.part = point.connections.opened / most;
      this.hoursProblem.tell("");
      // Hours before anything was measured are left out.
      const first = points.findIndex((/** @type {any} */ point) => point.connections.opened || point.streams.started);
      this.hours.fill(first < 0 ? [] : points.slice(first).reverse());
    } catch (error) {
      if (!signal.aborted) this.hoursProblem.tell(`The hours cannot be had. ${message(error)}`);
    }
  }
}

/** @param {unknown} error */
export const message = (error) => (error instanceof Error ? error.message : `${error}`);
