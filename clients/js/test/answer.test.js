/**
 * An answer under way: what is believed of a server, and when the client comes back.
 *
 * Strategy: a scripted server (scripted.js), and no waiting: the jitter is 0.
 */

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";

import { Holdfast, pause } from "../holdfast.js";
import {
  block,
  chunks,
  events,
  impatient,
  piecesFrom,
  problem,
  said,
  scripted,
  START,
  STREAM,
  unreachable,
  whole,
} from "./scripted.js";

const REQUEST = { model: "demo", messages: [] };
const REWIND = block("rewind", { reason: "unknown_position" });

/** What the answer to this script ends with: what `final` gives, or its error. */
async function ends(t, script, options) {
  impatient(t);
  const { client, asked } = scripted(script, options);
  const answer = client.stream(REQUEST);
  const final = await answer.final().catch((error) => error);
  return { answer, asked, final };
}

test("a whole answer is given in every form", async (t) => {
  impatient(t);
  const { client, asked } = scripted([events(whole("Kelp ", "holds."))], { apiKey: "hfk_k" });
  const answer = client.stream(REQUEST);
  const called = [];
  answer.on({
    start: (data) => called.push(["start", data.stream_id]),
    chunk: (data, event) => called.push([data.delta, event.id]),
    connection: ({ state }) => called.push(state),
    complete: (final) => called.push(["complete", final.verified]),
  });
  const both = await Promise.all([
    Array.fromAsync(answer, (event) => event.type),
    Array.fromAsync(answer.text()),
  ]);
  assert.deepEqual(both, [
    ["start", "chunk", "chunk", "complete"],
    ["Kelp ", "holds."],
  ]);
  const final = await answer.final();
  assert.deepEqual(called, [
    "connecting",
    "open",
    ["start", STREAM],
    ["Kelp ", `${STREAM}:7-2`],
    ["holds.", `${STREAM}:7-3`],
    "closed",
    ["complete", "sha256"],
  ]);
  assert.equal(final.content, "Kelp holds.");
  assert.deepEqual([answer.id, answer.position, answer.status], [STREAM, "7-4", "completed"]);
  assert.deepEqual(await Array.fromAsync(answer.text()), ["Kelp holds."]);
  const [{ url, method, body, accept, authorization }] = asked;
  assert.deepEqual([url, method], ["http://x/v1/streams", "POST"]);
  assert.deepEqual([accept, authorization], ["text/event-stream", "Bearer hfk_k"]);
  assert.deepEqual(JSON.parse(body), REQUEST);
});

test("choices, reasoning, refusal and tool calls are told apart", async (t) => {
  const deltas = [
    { type: "reasoning", delta: "Hm." },
    { type: "content", delta: "one" },
    { type: "content", delta: "two", choice: 1 },
    { type: "tool_call", call: 1, id: "b", name: "g", delta: "{}" },
    { type: "tool_call", call: 0, id: "a", name: "f", delta: '{"x"' },
    { type: "tool_call", call: 0, delta: ":1}" },
    { type: "refusal", delta: "No." },
    { type: "opaque", extra: { signature: "s" } },
    { type: "of a newer server", delta: "?" },
  ];
  const finish = { type: "finish", choice: 1, finish_reason: "length" };
  const blocks = [
    START,
    ...deltas.map((data, i) => block("chunk", data, i + 2)),
    block("metadata", finish, 11),
    block("of a newer server", {}, 12),
    block(
      "complete",
      {
        ...said("one"),
        choices: [
          { choice: 0, ...said("one") },
          { choice: 1, ...said("two") },
        ],
      },
      13,
    ),
  ];
  impatient(t);
  const answer = scripted([events(blocks)]).client.stream(REQUEST);
  const texts = await Array.fromAsync(answer.text());
  const final = await answer.final();
  assert.equal(final.verified, "sha256");
  assert.deepEqual([final.content, final.reasoning, final.refusal], ["one", "Hm.", "No."]);
  assert.deepEqual(final.toolCalls, [
    { id: "a", name: "f", arguments: '{"x":1}' },
    { id: "b", name: "g", arguments: "{}" },
  ]);
  assert.deepEqual(Object.keys(final.choices[0]).sort(), [
    "content",
    "finishReason",
    "reasoning",
    "refusal",
    "toolCalls",
  ]);
  assert.deepEqual(texts, ["one"]);
  assert.deepEqual([final.choices[1].content, final.choices[1].finishReason], ["two", "length"]);
});

const DISTRUSTED = {
  "a gap": [START, ...piecesFrom(3, "x")],
  "a repeat": [START, START],
  "an event of another stream": [START, block("chunk", {}, 2, { stream: "x".repeat(26) })],
  "a chunk without an id of its own": [START, block("chunk", { type: "content", delta: "x" })],
  "a malformed id": [START, "event: chunk\ndata: {}\nid: 7-2\n\n"],
  "no JSON": [START, `event: chunk\ndata: {\nid: ${STREAM}:7-2\n\n`],
  "a changed text": [START, ...chunks("Kelq"), block("complete", said("Kelp"), 3)],
  "a lost byte": [START, ...chunks("Kel"), block("complete", said("Kelp"), 3)],
  "a changed second choice": [
    START,
    block("chunk", { type: "content", delta: "x", choice: 1 }, 2),
    block(
      "complete",
      {
        ...said(""),
        choices: [
          { choice: 0, ...said("") },
          { choice: 1, ...said("y") },
        ],
      },
      3,
    ),
  ],
};
for (const [name, blocks] of Object.entries(DISTRUSTED))
  test(`${name} is an error, and asked once`, async (t) => {
    const { final, asked, answer } = await ends(t, [events(blocks)]);
    assert.equal(final.code, "verification_failed");
    assert.equal(asked.length, 1);
    await assert.rejects(Array.fromAsync(answer.text()), { code: "verification_failed" });
  });

test("where there is no crypto.subtle the length is verified alone, and it says so", async (t) => {
  Object.defineProperty(crypto, "subtle", { configurable: true, value: undefined });
  t.after(() => Reflect.deleteProperty(crypto, "subtle"));
  assert.equal((await ends(t, [events(whole("Kelp"))])).final.verified, "length");
  const swapped = [START, ...chunks("Kelq"), block("complete", said("Kelp"), 3)];
  assert.equal((await ends(t, [events(swapped)])).final.verified, "length");
  const shorter = [START, ...chunks("Kel"), block("complete", said("Kelp"), 3)];
  assert.equal((await ends(t, [events(shorter)])).final.code, "verification_failed");
});

for (const end of ["clean", "cut"])
  test(`a response that ends ${end} before its answer is not the end`, async (t) => {
    const parts = whole("Kelp ", "holds.");
    const { final, asked, answer } = await ends(t, [
      events(parts.slice(0, 2), end),
      unreachable,
      problem(503, "draining"),
      events(parts.slice(2), "clean"),
    ]);
    assert.equal(final.content, "Kelp holds.");
    assert.equal(answer.reconnects, 1);
    assert.deepEqual(
      asked.map((one) => [one.method, one["last-event-id"]]),
      [["POST", undefined], ...Array(3).fill(["GET", `${STREAM}:7-2`])],
    );
  });

test("a create whose answer was lost is repeated with its key", async (t) => {
  const { final, asked } = await ends(t, [
    unreachable,
    problem(503, "overloaded"),
    problem(429, "of somebody else"),
    events([]),
    events(whole("x")),
  ]);
  assert.equal(final.content, "x");
  assert.deepEqual(new Set(asked.map((one) => one.method)), new Set(["POST"]));
  const keys = new Set(asked.map((one) => one["idempotency-key"]));
  assert.equal(keys.size, 1);
  assert.match([...keys][0], /^[!-~]{8,255}$/);
});

test("the id in the head is enough to read on", async (t) => {
  const { final, asked } = await ends(t, [
    events([], "cut", { "X-Stream-Id": STREAM }),
    events(whole("x")),
  ]);
  assert.equal(final.content, "x");
  assert.equal(asked[1].url, `http://x/v1/streams/${STREAM}/events`);
  assert.equal(asked[1]["last-event-id"], undefined);
});

test("a cut within an event, or a character, loses nothing and doubles nothing", async (t) => {
  const bytes = Buffer.from(whole("🦸", "é").join(""));
  for (let cut = 1; cut < bytes.length; cut += 7) {
    const read = bytes.subarray(0, cut);
    const before = read.toString("latin1").split("\n\n").length - 1;
    const rest = whole("🦸", "é").slice(before);
    // Without any event its id is not known, and it is asked for again.
    const first = () => new Response(read, { headers: { "Content-Type": "text/event-stream" } });
    const { final } = await ends(t, rest.length ? [first, events(rest)] : [first]);
    assert.equal(final.content, "🦸é", `cut at ${cut}`);
    t.mock.restoreAll();
  }
});

const FINAL = [400, 401, 403, 404, 410, 413, 422, 501, 505];
for (const status of FINAL)
  test(`${status} is final`, async (t) => {
    const { final, asked } = await ends(t, [problem(status, "some_code")]);
    assert.deepEqual(
      [final.name, final.code, final.status, final.retryable, final.message],
      ["HoldfastError", "some_code", status, false, "It is some_code."],
    );
    assert.equal(asked.length, 1);
  });

for (const [status, code] of [
  [503, "missing_key"],
  [503, "log_corrupt"],
  [503, "key_missing"],
])
  test(`${status} ${code} is final`, async (t) => {
    assert.equal((await ends(t, [problem(status, code)])).final.code, code);
  });

test("a limit of the caller's own is told at once, with the time", async (t) => {
  const limit = problem(429, "token_limit", { "Retry-After": "65" });
  const { final, asked } = await ends(t, [limit]);
  assert.deepEqual([final.code, final.retryable, final.retryAfter], ["token_limit", true, 65_000]);
  assert.equal(asked.length, 1);
});

test("what is no event stream and no problem is told as what it is", async (t) => {
  const page = () => new Response("<html>", { headers: { "Content-Type": "text/html" } });
  const { final } = await ends(t, [page]);
  assert.deepEqual([final.code, final.status], ["http_200", 200]);
  assert.match(final.message, /text\/html/);
});

test("the server's hints are floors of the delay", async (t) => {
  impatient(t);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const parts = whole("x");
  const { client } = scripted([
    problem(503, "draining", { "Retry-After": "2" }),
    events([START, "retry: 500\n\n"], "cut"),
    events(
      [...parts.slice(1, 2), block("reconnect", { retry_ms: 700, reason: "draining" })],
      "held",
    ),
    events(parts.slice(2)),
  ]);
  const answer = client.stream(REQUEST);
  const delays = [];
  const told = [];
  answer.on({
    reconnect: (data) => told.push(data.reason),
    connection({ state, delay }) {
      if (state != "waiting") return;
      delays.push(delay);
      setImmediate(() => t.mock.timers.tick(delay));
    },
  });
  assert.equal((await answer.final()).content, "x");
  assert.deepEqual(delays, [2000, 500, 700]);
  assert.deepEqual(told, ["draining"]);
});

test("delays double up to 15 s, below full jitter", () => {
  const most = [1, 2, 3, 6, 7, 50].map((attempt) => pause(attempt, 0, 1));
  assert.deepEqual(most, [250, 500, 1000, 8000, 15_000, 15_000]);
  assert.equal(pause(3, 400, 0.5), 900);
  for (const hint of [-1, NaN, undefined, "soon", {}]) assert.equal(pause(1, hint, 1), 250);
  assert.equal(pause(1, "500", 1), 750);
});

test("it gives up after so much waiting in vain; a new event is progress, an old one is not", async (t) => {
  t.mock.method(Math, "random", () => 0.0001);
  const patience = 0.08; // of delays of 0.025, 0.05, 0.1
  const { client, asked } = scripted(Array(9).fill(unreachable), { patience });
  const error = await client
    .stream(REQUEST)
    .final()
    .catch((error) => error);
  assert.deepEqual([error.code, error.retryable], ["gave_up", true]);
  assert.equal(asked.length, 3);

  const parts = whole(..."abcdefgh");
  const each = scripted(
    parts.map((part) => events([part])),
    { patience },
  );
  assert.equal((await each.client.stream(REQUEST).final()).content, "abcdefgh");

  const vain = scripted(Array(9).fill(events([REWIND, START])), { patience });
  const told = await vain.client
    .stream(REQUEST)
    .final()
    .catch((error) => error);
  assert.equal(told.code, "gave_up");
});

test("a rewind of this reader's position gives the answer from its start", async (t) => {
  impatient(t);
  const { client } = scripted([
    events([START, ...chunks("old")]),
    events([REWIND, ...whole("new")]),
  ]);
  const answer = client.stream(REQUEST);
  const kinds = Array.fromAsync(answer, (event) => event.type);
  const texts = Array.fromAsync(answer.text());
  const failed = assert.rejects(texts, { code: "rewound", retryable: true });
  assert.equal((await answer.final()).content, "new");
  assert.deepEqual(await kinds, ["start", "chunk", "rewind", "start", "chunk", "complete"]);
  await failed;
  assert.deepEqual(await Array.fromAsync(answer.text()), ["new"]);
});

test("a rewind that is part of the answer takes back what was said, and has its place", async (t) => {
  const blocks = [
    START,
    ...chunks("old"),
    block("rewind", { reason: "restart" }, 3),
    ...piecesFrom(4, "new"),
    block("complete", said("new"), 5),
  ];
  const { final, answer } = await ends(t, [events(blocks)]);
  assert.deepEqual([final.content, final.verified, answer.position], ["new", "sha256", "7-5"]);
});

test("an error is the end, with its code", async (t) => {
  for (const [code, status] of [
    ["provider_failed", "error"],
    ["cancelled", "cancelled"],
  ]) {
    const end = block("error", { code, message: "Why.", retryable: true }, 3);
    const { final, answer } = await ends(t, [events([START, ...chunks("half"), end])]);
    assert.deepEqual([final.code, final.message, final.retryable], [code, "Why.", true]);
    assert.deepEqual([answer.status, answer.content], [status, "half"]);
    await assert.rejects(Array.fromAsync(answer.text()), { code });
    assert.deepEqual(await Array.fromAsync(answer), []);
    t.mock.restoreAll();
  }
});

test("an error that stands in no log is the end, and moves no position", async (t) => {
  const data = { code: "log_corrupt", message: "Why.", retryable: false };
  const end = block("error", data);
  const { final, answer, asked } = await ends(t, [events([START, ...chunks("half"), end])]);
  assert.deepEqual([final.code, final.message, final.retryable], ["log_corrupt", "Why.", false]);
  assert.deepEqual([answer.position, answer.content, asked.length], ["7-2", "half", 1]);
  t.mock.restoreAll();
  const wrong = await ends(t, [events([START, block("error", data, 5)])]);
  assert.equal(wrong.final.code, "verification_failed");
});

test("behind a position only what follows is read, and it proves nothing", async (t) => {
  impatient(t);
  const { client, asked } = scripted([
    events(whole("a", "b").slice(2)),
    () => new Response(null, { status: 204 }),
  ]);
  const { content, verified } = await client.read(STREAM, { after: `${STREAM}:7-2` }).final();
  assert.deepEqual([content, verified], ["b", null]);
  assert.equal(asked[0]["last-event-id"], `${STREAM}:7-2`);
  await assert.rejects(client.read(STREAM, { after: "7-4" }).final(), { code: "nothing_left" });
  assert.equal(asked[1]["last-event-id"], `${STREAM}:7-4`);
});

for (const after of ["", "7-0", `${STREAM}:7-0`])
  test(`behind ${after || "nothing"} is the whole`, async (t) => {
    impatient(t);
    const { client, asked } = scripted([events(whole("a"))]);
    assert.equal((await client.read(STREAM, { after }).final()).verified, "sha256");
    assert.equal(asked[0]["last-event-id"], undefined);
  });

test("a signed URL is used as it stands, without the key", async (t) => {
  impatient(t);
  const parts = whole("a");
  const { client, asked } = scripted([events(parts.slice(0, 1)), events(parts.slice(1))], {
    apiKey: "hfk_secret",
    headers: { "X-Own": "1" },
  });
  const url = `/v1/streams/${STREAM}/events?expires=1&signature=s`;
  await client.read(STREAM, { url }).final();
  for (const one of asked) {
    assert.equal(one.url, `http://x${url}`);
    assert.equal(one.authorization ?? one["x-own"], undefined);
  }
  assert.equal(asked[1]["last-event-id"], `${STREAM}:7-1`);
});

test("to leave ends the reading and asks for nothing; so does a signal", async (t) => {
  impatient(t);
  const gone = new AbortController();
  for (const leave of [(answer) => answer.leave(), () => gone.abort()]) {
    const { client, asked } = scripted([events([START, ...chunks("half")], "held")]);
    const answer = client.stream(REQUEST, { signal: gone.signal });
    answer.on({ chunk: () => leave(answer) });
    await assert.rejects(answer.final(), { code: "left" });
    await assert.rejects(Array.fromAsync(answer), { code: "left" });
    assert.deepEqual([answer.content, asked.length], ["half", 1]);
  }
  const { client, asked } = scripted([]);
  await assert.rejects(client.stream(REQUEST, { signal: gone.signal }).final(), { code: "left" });
  assert.equal(asked.length, 0);
});

test("a signal keeps nothing of an answer that is over", async (t) => {
  impatient(t);
  const gone = new AbortController();
  const { client } = scripted([events(whole("a")), problem(404, "stream_not_found")]);
  await client.stream(REQUEST, { signal: gone.signal }).final();
  await assert.rejects(client.stream(REQUEST, { signal: gone.signal }).final());
  assert.deepEqual(getEventListeners(gone.signal, "abort"), []);
});

test("a dropped connection comes back by itself", async (t) => {
  const parts = whole("a", "b");
  impatient(t);
  const { client, asked } = scripted([events(parts.slice(0, 2), "held"), events(parts.slice(2))]);
  const answer = client.stream(REQUEST);
  const states = [];
  answer.on({
    chunk: ({ delta }) => delta == "a" && answer.drop(),
    connection: ({ state }) => states.push(state),
  });
  assert.equal((await answer.final()).content, "ab");
  assert.equal(asked[1]["last-event-id"], `${STREAM}:7-2`);
  assert.deepEqual(states, ["connecting", "open", "waiting", "connecting", "open", "closed"]);
});

test("silence is a cut", async (t) => {
  impatient(t);
  const parts = whole("a");
  const { client, asked } = scripted([events(parts.slice(0, 2), "held"), events(parts.slice(2))], {
    silence: 20,
  });
  assert.equal((await client.stream(REQUEST).final()).content, "a");
  assert.equal(asked.length, 2);
});

test("to cancel waits for the id and asks until it is heard", async (t) => {
  impatient(t);
  const entry = { id: STREAM, status: "cancelled" };
  const { client, asked } = scripted([unreachable, events([START], "held")], {}, [
    unreachable,
    problem(503, "overloaded"),
    () => Response.json(entry, { status: 202 }),
  ]);
  const answer = client.stream(REQUEST);
  assert.equal(answer.id, "");
  assert.deepEqual(await answer.cancel(), entry);
  assert.deepEqual(
    asked.slice(2).map(({ method, url }) => [method, url]),
    Array(3).fill(["POST", `http://x/v1/streams/${STREAM}/cancel`]),
  );
  answer.leave();
  await assert.rejects(answer.final(), { code: "left" });
  await assert.rejects(answer.cancel(), { code: "beyond_the_script" });
});

test("what was never made cannot be cancelled", async (t) => {
  impatient(t);
  const { client } = scripted([problem(400, "invalid_field")]);
  await assert.rejects(client.stream(REQUEST).cancel(), { code: "invalid_field" });
});

test("a slow iterator holds the reading back", async (t) => {
  impatient(t);
  const many = Array.from({ length: 900 }, (_, i) => `${i} `);
  const { client } = scripted([events(whole(...many))]);
  const answer = client.stream(REQUEST);
  const iterator = answer[Symbol.asyncIterator]();
  await iterator.next();
  await new Promise(setImmediate);
  const seen = Number(answer.position.split("-")[1]);
  assert.ok(seen < 300, `${seen} events taken in`);
  const rest = await Array.fromAsync({ [Symbol.asyncIterator]: () => iterator });
  assert.equal(rest.length, 901);
  assert.equal((await answer.final()).content, many.join(""));
});

test("an iterator that stops holds nobody back", async (t) => {
  impatient(t);
  const { client } = scripted([events(whole(...Array(900).fill("x")))]);
  const answer = client.stream(REQUEST);
  for await (const text of answer.text()) if (text) break;
  assert.equal((await answer.final()).content.length, 900);
});

test("a callback that fails costs nobody the answer, and is reported", async (t) => {
  impatient(t);
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.name);
  t.after(() => delete globalThis.reportError);
  const { client } = scripted([events(whole("x"))]);
  const answer = client.stream(REQUEST).on({
    chunk() {
      throw new RangeError("a mistake of the page");
    },
  });
  assert.equal((await answer.final()).content, "x");
  assert.deepEqual(reported, ["RangeError"]);
});

test("headers that cannot be sent are refused where they are given", () => {
  assert.throws(() => new Holdfast({ apiKey: "two\nlines" }), TypeError);
});

test("the status is that of the events", async (t) => {
  impatient(t);
  const attempt = block("metadata", { type: "attempt", number: 1 }, 2);
  const parts = [START, attempt, ...piecesFrom(3, "x"), block("complete", said("x"), 4)];
  const answer = scripted([events(parts)]).client.stream(REQUEST);
  const seen = [];
  const note = () => seen.push(answer.status);
  answer.on({ start: note, metadata: note, chunk: note, complete: note });
  await answer.final();
  assert.deepEqual(seen, ["pending", "pending", "streaming", "completed"]);
});

test("nothing counts behind the end", async (t) => {
  const late = block("error", { code: "internal", message: "", retryable: false }, 4);
  const blocks = [...whole("x"), late];
  for (const pieces of [blocks, [blocks.join("")]]) {
    const { final, answer } = await ends(t, [events(pieces)]);
    assert.deepEqual([final.content, answer.status, answer.position], ["x", "completed", "7-3"]);
  }
});

test("no cache of the browser's stands between two readers of one answer", async (t) => {
  const { asked } = await ends(t, [events([START], "cut"), events(whole("x").slice(1))]);
  assert.deepEqual(
    asked.map(({ method, cache }) => [method, cache]),
    [
      ["POST", "no-store"],
      ["GET", "no-store"],
    ],
  );
});

test("a wait is over when the plug is put back", async (t) => {
  impatient(t);
  const away = problem(503, "draining", { "Retry-After": "1000" });
  const { client } = scripted([away, events(whole("x"))], { patience: 2e6 });
  const answer = client.stream(REQUEST);
  answer.on({ connection: ({ state }) => state == "waiting" && setImmediate(() => answer.drop()) });
  assert.equal((await answer.final()).content, "x");
});

test("a rewind twice, whose id is that of a block before it, is one", async (t) => {
  const { final } = await ends(t, [events([START, REWIND, REWIND, ...whole("x")])]);
  assert.deepEqual([final.content, final.verified], ["x", "sha256"]);
});

test("behind a rewind a part has become the whole", async (t) => {
  impatient(t);
  const { client } = scripted([events([REWIND, ...whole("x")])]);
  assert.equal((await client.read(STREAM, { after: "9-9" }).final()).verified, "sha256");
});

test("addresses are put together, and ids cannot leave their place", async (t) => {
  impatient(t);
  const { client, asked } = scripted([], { url: "http://x/base//" });
  for (const [id, url] of [["a/../b"], [STREAM, "http://y/z?signature=s"]])
    await client
      .read(id, { url })
      .final()
      .catch(() => {});
  assert.deepEqual(
    asked.map((one) => one.url),
    ["http://x/base/v1/streams/a%2F..%2Fb/events", "http://y/z?signature=s"],
  );
});

test("an answer of over 64 Mi characters is not held", async (t) => {
  const large = Buffer.alloc(4_000_000, "x");
  const [before, behind] = block("chunk", { type: "opaque", extra: "|" }, 1000).split("|");
  const many = Array.from({ length: 17 }, (_, i) => [
    before,
    large,
    behind.replace("-1000", `-${i + 2}`),
  ]);
  const { final, asked } = await ends(t, [events([START, ...many.flat()], "held")]);
  assert.deepEqual([final.code, asked.length], ["too_large", 1]);
});
