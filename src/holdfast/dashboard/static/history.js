/**
 * The last five minutes of each figure, as columns for the charts.
 *
 * Strategy: pure, and bounded: so many points, and none older. Where seconds are missing, one empty
 * point stands in the gap, so that a chart shows it as one. What the server tells of the past takes
 * the place of what is held of the same time; what is older stays, so a server that was started
 * again does not take the charts with it.
 */

/** Seconds that are shown. */
export const SPAN = 300;

/** Points of a column at the most. */
export const POINTS = 300;

/** Seconds between two points from which on something is missing. */
const GAP = 3.5;

/** @typedef {import("./server.js").Now} Now */

/** How each column is taken from a snapshot. @type {Record<string, (now: Now) => number | null>} */
const COLUMNS = {
  streams: (now) => now.streams_active,
  connections: (now) => now.connections_active,
  chunks: (now) => now.chunks_per_second,
  tokens: (now) => now.tokens_per_second,
  bytes: (now) => now.bytes_per_second,
  first50: (now) => now.first_chunk_ms.p50,
  first95: (now) => now.first_chunk_ms.p95,
  first99: (now) => now.first_chunk_ms.p99,
  latency50: (now) => now.chunk_latency_ms.p50,
  latency95: (now) => now.chunk_latency_ms.p95,
  latency99: (now) => now.chunk_latency_ms.p99,
  errors: (now) => now.errors_per_second,
  fallbacks: (now) => now.fallbacks_per_second,
  resumes: (now) => now.resumes_per_second,
  drops: (now) => now.drops_per_second,
};

export class History {
  /** @type {number[]} seconds since 1970, rising */
  times = [];
  /** @type {Record<string, (number | null)[]>} by name, each as long as `times` */
  columns = Object.fromEntries(Object.keys(COLUMNS).map((name) => [name, []]));

  /** The newest time, or 0. */
  get last() {
    return this.times.at(-1) ?? 0;
  }

  /** What the server knows of the past, oldest first. @param {Now[]} past */
  merge(past) {
    const [first] = past;
    if (!first) return;
    const kept = this.times.findIndex((time) => time >= first.at / 1000);
    if (kept >= 0) this.#each((column) => column.splice(kept));
    for (const now of past) this.add(now);
  }

  /** @param {Now} now */
  add(now) {
    const time = now.at / 1000;
    if (time <= this.last) return; // two nodes' clocks, or one second told twice
    if (this.last && time - this.last > GAP && this.columns.streams?.at(-1) !== null)
      this.#push(this.last + 1, () => null);
    this.#push(time, (name) => COLUMNS[name]?.(now) ?? null);
    const old = this.times.findIndex((one) => one > time - SPAN);
    const spare = Math.max(old, this.times.length - POINTS);
    if (spare > 0) this.#each((column) => column.splice(0, spare));
  }

  /** @param {number} time @param {(name: string) => number | null} value */
  #push(time, value) {
    this.times.push(time);
    for (const [name, column] of Object.entries(this.columns)) column.push(value(name));
  }

  /** @param {(column: any[]) => void} what */
  #each(what) {
    what(this.times);
    for (const column of Object.values(this.columns)) what(column);
  }
}
