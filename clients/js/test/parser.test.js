/**
 * The parser of event streams.
 *
 * Strategy: a table of small vectors, one for each rule of WHATWG HTML 9.2.6, each fed whole, byte by
 * byte and cut in two at every boundary. HOLDFAST_SSE_CASES names a file of further ones.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Parser } from "../holdfast.js";

const bytes = (text) => new TextEncoder().encode(text);
const BOM = "\ufeff";

/** [rule, bytes, events]: an event is its data, or data, name and id. */
const VECTORS = [
  ["nothing", "", []],
  ["one BOM is stripped", `${BOM}data:a\n\n`, ["a"]],
  ["a second BOM is not", `${BOM}${BOM}data:a\n\ndata:b\n\n`, ["b"]],
  ["a BOM in a value stays", `data:${BOM}\n\n`, [BOM]],
  ["LF", "data: a\ndata: b\n\n", ["a\nb"]],
  ["CR", "data: a\rdata: b\r\r", ["a\nb"]],
  ["CRLF", "data: a\r\ndata: b\r\n\r\n", ["a\nb"]],
  ["CR, CRLF", "data: a\r\r\ndata: b\r\r\n", ["a", "b"]],
  ["CRLF is one end", "data: a\r\n", []],
  [
    "no other character ends a line",
    "data: a\u2028b\u2029c\x85d\x0be\n\n",
    ["a\u2028b\u2029c\x85d\x0be"],
  ],
  ["comments", ": x\n:\n::data: b\ndata: a\n\n: ping\n\n", ["a"]],
  ["one space is removed", "data:  a \n\n", [" a "]],
  ["a tab is no space", "data:\ta\n\n", ["\ta"]],
  ["colons in a value", "data: a: b\ndata::c\n\n", ["a: b\n:c"]],
  ["no colon", "data\n\ndata\ndata\n\n", ["", "\n"]],
  ["names have one form", "DATA: a\ndata : b\nxdata: c\ndata: d\n\n", ["d"]],
  ["a name lasts one block", "event: n\ndata: a\n\ndata: b\n\n", [["a", "n", ""], "b"]],
  ["a block without data is none", "event: n\n\ndata: b\n\n", ["b"]],
  [
    "an id lasts",
    "id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
    [["a", "message", "1"], ["b", "message", "1"], "c"],
  ],
  ["an id with NUL is none", "id: 1\nid: 2\0\ndata: a\n\n", [["a", "message", "1"]]],
  ["no end, no event", "data: a\n\nid: 9\ndata: b\n", ["a"]],
  ["characters of several bytes", "data: €豆🦸\n\n", ["€豆🦸"]],
];

function parse(...reads) {
  const parser = new Parser();
  const found = reads.flatMap((read) => [...parser.feed(read)]);
  return { found, retry: parser.retry };
}

function* fragmentations(data) {
  yield [data];
  yield Array.from(data, (_, i) => data.subarray(i, i + 1));
  for (let cut = 0; cut <= Math.min(data.length, 500); cut++)
    yield [data.subarray(0, cut), data.subarray(cut)];
}

function same(name, data, expected, retry) {
  for (const reads of fragmentations(data)) {
    const parsed = parse(...reads);
    assert.deepEqual(parsed.found, expected, `${name}, ${reads.map((read) => read.length)}`);
    if (retry !== undefined) assert.equal(parsed.retry, retry, name);
  }
}

for (const [name, text, events] of VECTORS)
  test(name, () => {
    const expected = events.map((event) => {
      const [data, type = "message", id = ""] = [event].flat();
      return { type, data, id };
    });
    same(name, bytes(text), expected);
  });

test("invalid UTF-8 is replaced", () => {
  const data = Buffer.concat([bytes("data: a"), Buffer.from([0xff, 0xe2, 0x82]), bytes("\n\n")]);
  same("invalid", data, [{ type: "message", data: "a\ufffd\ufffd", id: "" }]);
});

test("retry is digits alone, the newest", () => {
  for (const [text, retry] of [
    ["retry: 900\n\n", 900],
    ["retry: 2\nretry: 1x\nretry: -1\nretry: 1.5\nretry\ndata: a\n\n", 2],
    ["retry: 12345678901\n\n", null],
  ])
    assert.equal(parse(bytes(text)).retry, retry, text);
});

test("a line, and a block, over 4 Mi characters is refused; what came before is not lost", () => {
  const part = "x".repeat(1 << 20);
  const fits = `data:${part}${part}${part}${"x".repeat((1 << 20) - 5)}`;
  assert.equal(parse(bytes(`${fits}\n\n`)).found.length, 1);
  const tooLarge = { code: "too_large", retryable: false };
  for (const text of [`${fits}x`, `${fits}x\n`, `:${fits}\n`, `data:${part}\n`.repeat(5)]) {
    const parser = new Parser();
    const feed = parser.feed(bytes(`data: a\n\n${text}`));
    assert.equal(feed.next().value?.data, "a");
    assert.throws(() => [...feed], tooLarge);
  }
});

const file = process.env.HOLDFAST_SSE_CASES;
test("the shared cases", { skip: !file && "HOLDFAST_SSE_CASES names none" }, () => {
  const cases = JSON.parse(readFileSync(/** @type {string} */ (file), "utf8"));
  assert.ok(cases.length > 40);
  for (const { name, hex, expected, reconnection_time_ms: retry } of cases)
    same(
      name,
      Buffer.from(hex, "hex"),
      expected.map(({ type, data, lastEventId }) => ({ type, data, id: lastEventId })),
      retry,
    );
});
