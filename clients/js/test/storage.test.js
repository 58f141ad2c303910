/**
 * What outlives the page: an answer that is read on by the next one.
 *
 * Strategy: a reload is a second client with the same storage; the page that dies tells it by
 * `pagehide`, by a target of events in the place of the browser's.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Holdfast } from "../holdfast.js";
import {
  chunks,
  events,
  impatient,
  memory,
  problem,
  scripted,
  START,
  STREAM,
  unanswered,
  whole,
} from "./scripted.js";

const REQUEST = { model: "demo", messages: [] };
const PARTS = whole("Kelp ", "holds.");

/** A page whose windows can be hidden: what `globalThis` has in a browser. */
function page(t) {
  const target = new EventTarget();
  for (const name of ["addEventListener", "removeEventListener"]) {
    globalThis[name] = target[name].bind(target);
    t.after(() => delete globalThis[name]);
  }
  return {
    hide: () => target.dispatchEvent(new Event("pagehide")),
    online: () => target.dispatchEvent(new Event("online")),
  };
}

/** An answer of which so many events came before its page died. */
async function interrupted(t, count, storage) {
  const { hide } = page(t);
  const { client, asked } = scripted([events(PARTS.slice(0, count), "held")], { storage });
  const answer = client.stream(REQUEST, { key: "chat" });
  while (Number(answer.position.split("-")[1] ?? 0) < count) await new Promise(setImmediate);
  hide();
  return { answer, asked };
}

test("the next page has what came, and is sent the rest alone", async (t) => {
  impatient(t);
  const storage = memory();
  const { answer } = await interrupted(t, 2, storage);
  t.after(() => answer.leave());
  const next = scripted([events(PARTS.slice(2))], { storage });
  const again = next.client.resume("chat");
  assert.deepEqual(
    [again.id, again.position, again.content, again.status],
    [STREAM, "7-2", "Kelp ", "streaming"],
  );
  assert.deepEqual(await Array.fromAsync(again.text()), ["Kelp ", "holds."]);
  assert.equal((await again.final()).verified, "sha256");
  assert.equal(next.asked.length, 1);
  assert.deepEqual(
    [next.asked[0].method, next.asked[0]["last-event-id"]],
    ["GET", `${STREAM}:7-2`],
  );
});

test("an answer that had ended is there without asking, and proved again", async (t) => {
  impatient(t);
  const storage = memory();
  await scripted([events(PARTS)], { storage })
    .client.stream(REQUEST, { key: "chat" })
    .final();
  const next = scripted([], { storage });
  const final = await next.client.resume("chat").final();
  assert.deepEqual(
    [final.content, final.verified, next.asked.length],
    ["Kelp holds.", "sha256", 0],
  );
  const [name, kept] = [...storage.kept][0];
  storage.kept.set(name, kept.replace("Kelp", "Kelq"));
  await assert.rejects(next.client.resume("chat").final(), { code: "verification_failed" });
});

test("a create that nobody answered is repeated by the next page with its key", async (t) => {
  impatient(t);
  const storage = memory();
  const first = scripted([unanswered], { storage });
  const answer = first.client.stream(REQUEST, { key: "chat" });
  await new Promise(setImmediate);
  const next = scripted([events(PARTS)], { storage });
  assert.equal((await next.client.resume("chat").final()).content, "Kelp holds.");
  const [one, two] = [first.asked[0], next.asked[0]];
  assert.deepEqual(
    [two.method, two.body, two["idempotency-key"]],
    ["POST", one.body, one["idempotency-key"]],
  );
  answer.leave();
});

test("the request is kept no longer than needed", async (t) => {
  impatient(t);
  const storage = memory();
  const { answer } = await interrupted(t, 1, storage);
  assert.equal(JSON.parse(storage.getItem("holdfast:chat")).body, "");
  answer.leave();
});

test("it is written at most each 250 ms, and when the page is hidden", async (t) => {
  impatient(t);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { hide } = page(t);
  const storage = memory();
  const set = t.mock.method(storage, "setItem");
  const { client } = scripted([events([START, ...chunks(...Array(50).fill("x"))], "held")], {
    storage,
  });
  const answer = client.stream(REQUEST, { key: "chat" });
  while (answer.content.length < 50) await new Promise(setImmediate);
  assert.equal(set.mock.callCount(), 1);
  t.mock.timers.tick(249);
  assert.equal(set.mock.callCount(), 1);
  t.mock.timers.tick(1);
  assert.equal(set.mock.callCount(), 2);
  hide();
  assert.equal(set.mock.callCount(), 3);
  answer.leave();
  await answer.final().catch(() => {});
  hide();
  assert.equal(set.mock.callCount(), 4); // by leaving; a page that has it no more writes nothing
});

test("a full storage costs the answer nothing; what fitted is true", async (t) => {
  impatient(t);
  const storage = memory(330);
  const long = whole("Kelp ", "x".repeat(400));
  const { client } = scripted([events(long)], { storage });
  assert.equal((await client.stream(REQUEST, { key: "chat" }).final()).content.length, 405);
  const next = scripted([events(long)], { storage });
  const again = next.client.resume("chat");
  assert.equal((await again.final()).content.length, 405);
});

test("an older answer never stands where the newest one found no room", async (t) => {
  impatient(t);
  const storage = memory(600);
  const { client } = scripted([events(whole("old")), events([START], "held")], { storage });
  await client.stream(REQUEST, { key: "chat" }).final();
  assert.equal(client.resume("chat").content, "old");
  const answer = client.stream({ ...REQUEST, user: "x".repeat(700) }, { key: "chat" });
  assert.equal(storage.getItem("holdfast:chat"), null);
  answer.leave();
});

test("what is no record of ours is nothing", () => {
  const storage = memory();
  const client = new Holdfast({ storage });
  for (const kept of ["", "{", "null", "7", "[]", "{}", '{"id":"x","at":7}']) {
    storage.setItem("holdfast:chat", kept);
    assert.equal(client.resume("chat"), null, kept);
  }
  assert.equal(client.resume("never"), null);
});

test("only the newest answer of a key is remembered, and none that is forgotten", async (t) => {
  impatient(t);
  const storage = memory();
  const { client } = scripted([events(PARTS), events(PARTS)], { storage });
  const old = client.stream(REQUEST, { key: "chat" });
  const other = client.stream({ model: "newer" }, { key: "chat" });
  old.leave();
  await old.final().catch(() => {});
  assert.match(storage.getItem("holdfast:chat"), /newer/);
  client.forget("chat");
  await other.final();
  assert.equal(storage.getItem("holdfast:chat"), null);
  await client.stream(REQUEST).final();
  assert.equal(storage.kept.size, 0);
});

test("without a storage nothing is remembered, and nothing fails", async (t) => {
  impatient(t);
  for (const storage of [null, undefined]) {
    const { client } = scripted([events(PARTS)], { storage });
    assert.equal((await client.stream(REQUEST, { key: "chat" }).final()).content, "Kelp holds.");
    assert.equal(client.resume("chat"), null);
  }
});

test("a browser that forbids its storage is one without", (t) => {
  Object.defineProperty(globalThis, "sessionStorage", {
    configurable: true,
    get() {
      throw new DOMException("no", "SecurityError");
    },
  });
  t.after(() => delete globalThis.sessionStorage);
  assert.equal(new Holdfast().resume("chat"), null);
});

test("a network that is back ends the wait", async (t) => {
  t.mock.method(Math, "random", () => 1);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { online } = page(t);
  const { client } = scripted([problem(503, "draining"), events(PARTS)]);
  const answer = client.stream(REQUEST);
  answer.on({ connection: ({ state }) => state == "waiting" && setImmediate(online) });
  assert.equal((await answer.final()).content, "Kelp holds.");
});
