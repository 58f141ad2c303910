/**
 * The view of now: figures, charts, alerts, capacity, providers and nodes, each second.
 *
 * Strategy: everything here is of one snapshot, so that figures agree with each other. While nobody
 * looks, snapshots go into the history alone. A screen reader is told when alerts change, and of
 * figures only when it is asked to read them.
 */

import { Charts } from "./charts.js";
import { Facts, make, mark, put, Table, the } from "./document.js";
import * as format from "./format.js";
import { History } from "./history.js";
import { get } from "./server.js";

/** @typedef {import("./server.js").Snapshot} Snapshot */

const TILES = [
  "Streams",
  "Connections",
  "Tokens a second",
  "Sent a second",
  "First chunk, p95",
  "Chunk latency, p95",
  "Errors",
  "Broken off",
];

const CAPACITY = ["Busy", "CPU a chunk", "A stream takes", "Streams now", "Connections left"];

/** From which share of the time on a node is called busy, and full. */
const BUSY = 0.7;
const FULL = 0.9;

/** @param {number} busy */
const load = (busy) => (busy >= FULL ? "bad" : busy >= BUSY ? "warn" : "");

const BREAKERS = /** @type {Record<string, string>} */ ({ closed: "good", half_open: "warn", open: "bad" });

const FIRST = "From the call to its first chunk";

const PROVIDERS = /** @type {import("./document.js").Column[]} */ ([
  { name: "Provider", text: (one) => one.name },
  { name: "Kind", text: (one) => format.words(one.kind), from: "desk" },
  { name: "Breaker", kind: "state", text: (one) => format.words(one.breaker), state: (one) => BREAKERS[one.breaker] ?? "" },
  { name: "Active", kind: "num", text: (one) => format.whole(one.active), from: "phone" },
  { name: "Calls", kind: "num", text: (one) => format.whole(one.calls) },
  { name: "Failed", kind: "num", text: (one) => format.whole(one.errors), from: "phone" },
  {
    name: "Share",
    hint: "Of its calls, those that failed",
    kind: "num",
    text: (one) => (one.calls ? format.share(one.errors / one.calls) : format.NONE),
  },
  { name: "First p50", hint: FIRST, kind: "num", text: (one) => format.ms(one.first_chunk_ms.p50), from: "tablet" },
  { name: "p95", hint: FIRST, kind: "num", text: (one) => format.ms(one.first_chunk_ms.p95), from: "tablet" },
  { name: "p99", hint: FIRST, kind: "num", text: (one) => format.ms(one.first_chunk_ms.p99), from: "tablet" },
  { name: "Call, p95", kind: "num", text: (one) => format.ms(one.duration_ms.p95), from: "desk" },
  { name: "Tokens in", kind: "num", text: (one) => format.whole(one.input_tokens), from: "desk" },
  { name: "Tokens out", kind: "num", text: (one) => format.whole(one.output_tokens), from: "desk" },
]);

/** @param {import("./server.js").Node} node @returns {[string, string]} what it is called, and its state */
function condition(node) {
  if (!node.answered) return ["no answer", "bad"];
  if (node.log_failing) return ["log failing", "bad"];
  return node.draining ? ["draining", "warn"] : ["up", "good"];
}

/** A column of what only a node that has answered tells.
 * @param {(node: any) => string} text */
const told = (text) => (/** @type {any} */ node) => (node.answered ? text(node) : format.NONE);

const NODES = /** @type {import("./document.js").Column[]} */ ([
  { name: "Node", kind: "id", text: (node) => node.id },
  { name: "State", kind: "state", text: (node) => condition(node)[0], state: (node) => condition(node)[1] },
  { name: "Version", text: told((node) => node.version), from: "desk" },
  { name: "Up", kind: "num", text: told((node) => format.duration(Date.now() - node.started_at)), from: "tablet" },
  { name: "Streams", kind: "num", text: told((node) => format.whole(node.streams_active)) },
  {
    name: "Connections",
    kind: "num",
    text: told((node) => format.whole(node.connections_active)),
    title: (node) => (node.answered ? `of ${format.whole(node.connection_limit)}` : ""),
    from: "phone",
  },
  { name: "Busy", kind: "num share", text: told((node) => format.share(node.busy)), share: (node) => (node.answered ? node.busy : 0) },
  { name: "Loop lag, p99", kind: "num", text: told((node) => format.ms(node.loop_lag_ms.p99)), from: "tablet" },
  { name: "Memory", kind: "num", text: told((node) => format.bytes(node.memory_bytes)), from: "phone" },
  { name: "CPU a chunk", kind: "num", text: told((node) => micros(node.cpu_us_per_chunk)), from: "desk" },
  { name: "Archive lag", kind: "num", text: told((node) => format.duration(node.archive_lag_seconds * 1000)), from: "desk" },
]);

/** @param {number | null} value */
const micros = (value) => (value == null ? format.NONE : `${format.rate(value)} µs`);

const LEVELS = /** @type {Record<string, string>} */ ({ critical: "bad", warning: "warn" });

const ALERTS = /** @type {import("./document.js").Column[]} */ ([
  { name: "Alert", text: (one) => format.words(one.name), title: (one) => one.summary },
  {
    name: "State",
    kind: "state",
    text: (one) => one.state,
    state: (one) => (one.state === "firing" ? (LEVELS[one.severity] ?? "warn") : "quiet"),
  },
  { name: "Since", kind: "num", text: (one) => format.moment(one.since, Date.now()), from: "phone" },
  { name: "Value", kind: "num", text: (one) => format.figure(one.value, one.unit) },
  { name: "Limit", kind: "num", text: (one) => format.figure(one.threshold, one.unit) },
]);

const RULES = /** @type {import("./document.js").Column[]} */ ([
  { name: "Rule", text: (one) => format.words(one.name), title: (one) => one.summary },
  { name: "Severity", text: (one) => one.severity, from: "phone" },
  { name: "Limit", kind: "num", text: (one) => format.figure(one.threshold, one.unit) },
  { name: "For", kind: "num", text: (one) => (one.for_seconds ? format.duration(one.for_seconds * 1000) : "at once") },
]);

export class Overview {
  history = new History();

  constructor() {
    this.charts = new Charts(the("charts"), this.history);
    this.tiles = new Facts(the("tiles"), TILES);
    this.capacity = new Facts(the("capacity"), CAPACITY);
    const named = { key: (/** @type {any} */ one) => one.name };
    this.providers = new Table(the("providers"), "Providers", PROVIDERS, { ...named, empty: "No provider is configured." });
    this.nodes = new Table(the("nodes"), "Nodes", NODES, { key: (node) => node.id, empty: "No node has answered." });
    this.alerts = new Table(the("alerts"), "Alerts", ALERTS, { key: (one) => `${one.name} ${one.detail}`, empty: "Nothing is wrong." });
    this.rules = new Table(the("rules-table"), "Rules of alerts", RULES, { ...named, empty: "There are no rules." });
    /** @type {Map<string, string>} by the name of the rule */
    this.units = new Map();
    this.shown = false;
    /** @type {Snapshot | null} */
    this.newest = null;
    document.addEventListener("visibilitychange", () => this.show());
  }

  /** @param {Snapshot} snapshot */
  take(snapshot) {
    if (snapshot.history) this.history.merge(snapshot.history);
    this.history.add(snapshot.now);
    this.newest = snapshot;
    this.show();
  }

  /** The view is opened; it is closed with the signal. @param {string} _ @param {AbortSignal} signal */
  open(_, signal) {
    this.shown = true;
    signal.addEventListener("abort", () => (this.shown = false));
    this.#rules(signal);
    this.show();
  }

  show() {
    const snapshot = this.newest;
    if (!snapshot || !this.shown || document.hidden) return;
    this.charts.draw();
    this.tiles.fill(tiles(snapshot));
    this.capacity.fill(capacity(snapshot));
    this.providers.fill(snapshot.providers);
    this.nodes.fill(snapshot.nodes);
    this.alerts.fill(snapshot.alerts.map((alert) => ({ ...alert, unit: this.units.get(alert.name) })));
    firing(snapshot);
  }

  /** The rules do not change while a server runs. @param {AbortSignal} signal */
  async #rules(signal) {
    try {
      const { rules } = await get("v1/alerts", {}, signal);
      this.units = new Map(rules.map((/** @type {any} */ rule) => [rule.name, rule.unit]));
      this.rules.fill(rules);
    } catch {
      // Those that are there stay; the line at the top tells what is wrong with the server.
    }
  }
}

/** @param {Snapshot} snapshot @returns {[string, string?, string?][]} */
function tiles({ now, totals, capacity }) {
  return [
    [format.whole(now.streams_active), `${format.rate(now.started_per_second)} a second begin`],
    [format.whole(now.connections_active), `${format.whole(capacity.connections_left)} more fit`],
    [format.rate(now.tokens_per_second), `${format.rate(now.chunks_per_second)} chunks`],
    [format.bytes(now.bytes_per_second), `${format.bytes(totals.sent_bytes)} so far`],
    [format.ms(now.first_chunk_ms.p95), `p50 ${format.ms(now.first_chunk_ms.p50)}`],
    [format.ms(now.chunk_latency_ms.p95), `p50 ${format.ms(now.chunk_latency_ms.p50)}`],
    [`${format.rate(now.errors_per_second)} /s`, `${format.whole(totals.errors)} so far`, now.errors_per_second ? "bad" : ""],
    [`${format.rate(now.drops_per_second)} /s`, `${format.rate(now.resumes_per_second)} /s resumed`],
  ];
}

/** @param {Snapshot} snapshot @returns {[string, string?, string?][]} */
function capacity({ capacity: now }) {
  return [
    [format.share(now.busy), `${format.share(1 - now.busy)} left`, load(now.busy)],
    [micros(now.cpu_us_per_chunk), ""],
    [now.kb_per_stream == null ? format.NONE : `${format.rate(now.kb_per_stream)} kB`, ""],
    [format.whole(now.streams_active), ""],
    [format.whole(now.connections_left), ""],
  ];
}

/** What fires stands above all else. @param {Snapshot} snapshot */
function firing({ alerts }) {
  const loud = alerts.filter((alert) => alert.state === "firing").slice(0, 5);
  const list = the("firing");
  while (list.children.length > loud.length) list.lastElementChild.remove();
  loud.forEach((alert, at) => {
    const line = list.children[at] ?? list.appendChild(make("li", {}, make("strong"), make("span")));
    mark(line, "data-state", LEVELS[alert.severity] ?? "warn");
    put(line.children[0], format.words(alert.name));
    put(line.children[1], `${alert.summary} Since ${format.moment(alert.since, Date.now())}.`);
  });
  list.hidden = loud.length === 0;
  put(the("spoken"), loud.length ? `Alerts: ${loud.map((alert) => format.words(alert.name)).join(", ")}` : "");
}
