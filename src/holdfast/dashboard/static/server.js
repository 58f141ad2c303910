/**
 * The calls to the server: lists by `get`, and what is live by `follow`.
 *
 * Strategy: the page's own address tells where the server is, whatever path it is under. A key goes
 * along with each call where there is one, which EventSource could not do. Whoever is not let in is
 * told so once, and every call waits no longer. The live stream comes back by itself, as our client
 * does: later each time, by chance, and sooner where the server said when. A server that is silent
 * for longer than it ever should be is taken for gone.
 */

import { Parser, pause } from "./holdfast.js";

/** Under which this tab keeps the key. */
const KEEP = "holdfast-dashboard-key";

/** ms without a snapshot, which comes each second, until the connection is given up. */
const SILENCE = 10_000;

/** ms for an answer. */
const PATIENCE = 15_000;

/**
 * @typedef {{ p50: number | null, p95: number | null, p99: number | null, count: number }} Percentiles
 * @typedef {{ at: number, streams_active: number, connections_active: number, chunks_per_second: number,
 *   bytes_per_second: number, tokens_per_second: number | null, started_per_second: number,
 *   errors_per_second: number, resumes_per_second: number, fallbacks_per_second: number,
 *   drops_per_second: number, first_chunk_ms: Percentiles, chunk_latency_ms: Percentiles }} Now
 * @typedef {{ name: string, kind: string, breaker: string, calls: number, errors: number, active: number,
 *   input_tokens: number, output_tokens: number, first_chunk_ms: Percentiles, duration_ms: Percentiles }} Provider
 * @typedef {{ id: string, answered: boolean, version: string, started_at: number, streams_active: number,
 *   connections_active: number, connection_limit: number, busy: number, loop_lag_ms: Percentiles,
 *   memory_bytes: number, cpu_us_per_chunk: number | null, log_failing: boolean, archive_lag_seconds: number,
 *   draining: boolean }} Node
 * @typedef {{ name: string, severity: string, state: string, since: string, value: number, threshold: number,
 *   summary: string, detail: string[] }} Alert
 * @typedef {{ at: number, now: Now, history?: Now[], totals: any, providers: Provider[], nodes: Node[],
 *   alerts: Alert[], capacity: any }} Snapshot
 */

/** A call that did not bring what was asked for. */
export class Failure extends Error {
  /** @param {string} message @param {number} [status] @param {number} [hint] ms until it may help to ask again */
  constructor(message, status = 0, hint = 0) {
    super(message);
    this.status = status;
    this.hint = hint;
  }

  /** Whether a key, or another one, is wanted. */
  get locked() {
    return this.status === 401 || this.status === 403;
  }
}

const root = new URL("..", import.meta.url);

let key = sessionStorage.getItem(KEEP) ?? "";

export const hasKey = () => key !== "";

/** @param {string} secret none is "" */
export function useKey(secret) {
  key = secret;
  if (secret) sessionStorage.setItem(KEEP, secret);
  else sessionStorage.removeItem(KEEP);
}

/** Raises `Failure`. @param {string} path @param {AbortSignal} signal @returns {Promise<Response>} */
async function call(path, signal) {
  /** @type {Record<string, string>} */
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const response = await fetch(new URL(path, root), { headers, signal, cache: "no-store" }).catch((error) => {
    throw signal.aborted ? signal.reason : new Failure(`The server cannot be reached: ${error.message}.`);
  });
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  const hint = Number(response.headers.get("Retry-After")) * 1000 || 0;
  throw new Failure(told.detail ?? `The server answered ${response.status}.`, response.status, hint);
}

/**
 * What the server answers, decoded. Raises `Failure`.
 * @param {string} path @param {Record<string, string | number | null | undefined>} query
 * @param {AbortSignal} signal @returns {Promise<any>}
 */
export async function get(path, query, signal) {
  const said = Object.entries(query).filter(([, value]) => value != null && value !== "");
  const asked = new URLSearchParams(said.map(([name, value]) => [name, `${value}`]));
  const ends = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]);
  try {
    return await (await call(said.length ? `${path}?${asked}` : path, ends)).json();
  } catch (error) {
    if (ends.aborted && !signal.aborted) throw new Failure("The server has not answered in time.");
    throw error;
  }
}

/**
 * Reads snapshots until `signal`, or until it is not let in: then it raises `Failure`.
 * @param {{ snapshot: (snapshot: Snapshot) => void, lost: (why: string) => void }} told
 * @param {AbortSignal} signal
 */
export async function follow({ snapshot, lost }, signal) {
  for (let attempt = 1; !signal.aborted; attempt++) {
    let hint = 0;
    try {
      hint = await connection((one) => {
        attempt = 0;
        snapshot(one);
      }, signal);
      lost("The server ended the connection.");
    } catch (error) {
      if (signal.aborted) return;
      const failure = error instanceof Failure ? error : new Failure(`The connection broke off: ${error}`);
      if (failure.locked) throw failure;
      hint = failure.hint;
      lost(failure.message);
    }
    await rest(pause(Math.max(1, attempt), hint, Math.random()), signal);
  }
}

/** One connection until it ends; gives the server's hint when to come back, in ms.
 * @param {(snapshot: Snapshot) => void} snapshot @param {AbortSignal} signal */
async function connection(snapshot, signal) {
  const gone = new AbortController();
  const ends = AbortSignal.any([signal, gone.signal]);
  const silent = () => gone.abort(new Failure("The server is silent."));
  let watch = setTimeout(silent, SILENCE);
  const parser = new Parser();
  try {
    const response = await call("v1/metrics/live", ends);
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    for (;;) {
      const { value, done } = await reader.read().catch((error) => {
        if (parser.retry != null) return { value: undefined, done: true };
        throw ends.aborted ? ends.reason : new Failure(`The connection broke off: ${error.message}.`);
      });
      if (done || !value) return parser.retry ?? 0;
      for (const event of parser.feed(value)) {
        if (event.type !== "snapshot") continue;
        clearTimeout(watch);
        watch = setTimeout(silent, SILENCE);
        snapshot(JSON.parse(event.data));
      }
    }
  } finally {
    clearTimeout(watch);
    gone.abort();
  }
}

/** Waits, less where the network or the tab comes back. @param {number} delay in ms @param {AbortSignal} signal
 * @returns {Promise<void>} */
const rest = (delay, signal) =>
  new Promise((resolve) => {
    const over = () => {
      clearTimeout(timer);
      removeEventListener("online", over);
      signal.removeEventListener("abort", over);
      resolve();
    };
    const timer = setTimeout(over, delay);
    addEventListener("online", over);
    signal.addEventListener("abort", over);
  });
