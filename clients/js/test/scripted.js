/**
 * A server that says what a test wants it to say, lies too.
 *
 * Strategy: `scripted` is a `fetch` that gives the answers of a script in turn and notes what it was
 * asked; beyond its script it refuses, so that a client which asks too often fails its test. What a
 * real server can be made to do is tested with a real one, in tests/integration/javascript/test_js_client.py.
 */

import { createHash } from "node:crypto";

import { Holdfast } from "../holdfast.js";

export const STREAM = "0123456789abcdefghijklmnop";

const encoder = new TextEncoder();

/** The block of an event; without a sequence number it is a transient one. */
export function block(type, data, seq, { epoch = 7, stream = STREAM } = {}) {
  const id = seq ? `id: ${stream}:${epoch}-${seq}\n` : "";
  return `event: ${type}\ndata: ${JSON.stringify(data)}\n${id}\n`;
}

export const START = block("start", { stream_id: STREAM }, 1);

/** The blocks of pieces of content, from the second event on. */
export const chunks = (...pieces) => piecesFrom(2, ...pieces);

export const piecesFrom = (seq, ...pieces) =>
  pieces.map((delta, i) => block("chunk", { type: "content", delta }, seq + i));

/** What `complete` says of a text. */
export const said = (text) => ({
  finish_reason: "stop",
  length: Buffer.byteLength(text),
  sha256: createHash("sha256").update(text).digest("hex"),
});

/** All blocks of an answer. */
export const whole = (...pieces) => [
  START,
  ...chunks(...pieces),
  block("complete", said(pieces.join("")), pieces.length + 2),
];

/** An event stream of these blocks, or bytes; `end` is how it ends: "clean", "cut" or "held". */
export const events =
  (blocks, end = "clean", headers = {}) =>
  (signal) =>
    new Response(
      new ReadableStream({
        start(controller) {
          for (const one of blocks)
            controller.enqueue(typeof one == "string" ? encoder.encode(one) : one);
          if (end == "clean") controller.close();
          if (end == "held")
            signal.addEventListener("abort", () => controller.error(signal.reason));
        },
        // What was enqueued is read before the cut is seen.
        pull: (controller) => (end == "cut" ? controller.error(new TypeError("cut")) : undefined),
      }),
      { headers: { "Content-Type": "text/event-stream; charset=utf-8", ...headers } },
    );

/** An answer of HTTP that is no event stream. */
export const problem =
  (status, code, headers = {}) =>
  () =>
    Response.json({ code, detail: `It is ${code}.` }, { status, headers });

/** No answer at all. */
export const unreachable = () => {
  throw new TypeError("fetch failed");
};

/** No answer yet. */
export const unanswered = (signal) =>
  new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));

/** A client of a server with this script, and another one for calls to cancel; and what was asked. */
export function scripted(script, options = {}, cancels = []) {
  const asked = [];
  const left = [...script];
  const leftOfCancels = [...cancels];
  const fetch = async (url, { method = "GET", headers, body, cache, signal }) => {
    signal.throwIfAborted();
    asked.push({ url, method, body, cache, ...Object.fromEntries(new Headers(headers)) });
    const turn = url.endsWith("/cancel") ? leftOfCancels : left;
    const next = turn.shift() ?? problem(418, "beyond_the_script");
    return next(signal);
  };
  return { client: new Holdfast({ url: "http://x", fetch, ...options }), asked };
}

/** A storage; `room` is how many characters a value may have. */
export function memory(room = Infinity) {
  const kept = new Map();
  return {
    kept,
    getItem: (key) => kept.get(key) ?? null,
    removeItem: (key) => void kept.delete(key),
    setItem(key, value) {
      if (value.length > room) throw new DOMException("full", "QuotaExceededError");
      kept.set(key, value);
    },
  };
}

/** The first draw is the least: no test waits out a jitter. */
export const impatient = (t) => t.mock.method(Math, "random", () => 0);
