/**
 * The page of the demo: asks, shows what comes, and lets the visitor break the connection.
 *
 * Strategy: the client (`holdfast.js`) does what is hard; here is only what a visitor sees of it.
 * The answer's id stands in the address behind `#`, so the address is a link to the answer: in a
 * second tab it is read from its beginning, in this one, after a reload, from where it was.
 */

import { Holdfast } from "./holdfast.js";
import { Meter } from "./meter.js";
import { place } from "./places.js";
import * as show from "./show.js";

/** How long a connection may take to open before the page says what may be in the way. */
const PATIENCE = 2500;

/** How long a pulled plug stays out: long enough to see it. */
const OUT = 1500;

/** How long a stop may wait for a connection of its own. */
const GIVING = 500;

const TICK = 250;

const CROWDED =
  "Over HTTP/1.1 a browser opens no more than six connections to a server, for all its tabs. This one " +
  "goes on by itself when an answer in another one ends or a tab is closed. HTTP/2 has room for all.";
const SILENT = "No connection yet";

/** Under which the client remembers what this tab reads. */
const KEY = "page";

/** @param {string} id */
const the = (id) => /** @type {any} */ (document.getElementById(id));
const encoder = new TextEncoder();
let out = false;
const client = new Holdfast({
  url: new URL(".", location.href).href, // a proxy may have it under a path
  fetch: (url, init) => {
    if (out) return Promise.reject(new TypeError("the plug is out"));
    // Where many wait for a connection, who wants to stop goes first.
    return fetch(url, { priority: url.endsWith("/cancel") ? "high" : "low", ...init });
  },
});

/** Leaves what is under way, without ending it. */
let leave = () => {};
/** @type {() => unknown} */
let stop = () => {};

/**
 * Reads an answer to its end and shows it.
 * @param {() => import("./holdfast.js").Answer | null} begin
 * @param {string} said until it begins
 */
async function run(begin, said) {
  leave();
  const gone = new AbortController();
  leave = () => gone.abort();
  stop = () => {
    gone.abort();
    show.state("stopped", "This tab waits no longer.");
  };
  show.clear();
  show.link("");
  show.state("asking", said);
  const back = await place(() => show.state("waiting", CROWDED), gone.signal).catch(() => null);
  if (!back) return;
  try {
    if (gone.signal.aborted) return;
    show.state("asking", said);
    const answer = begin();
    if (answer) await follow(answer, gone.signal);
    else show.state("empty");
  } finally {
    back();
  }
}

/**
 * @param {import("./holdfast.js").Answer} answer
 * @param {AbortSignal} gone
 */
async function follow(answer, gone) {
  const meter = new Meter(performance.now());
  let bytes = 0;
  const line = new Line(answer);
  const add = (/** @type {string} */ text) => {
    bytes += encoder.encode(text).length;
    show.text(text);
  };
  const facts = (runs = true) =>
    show.facts(meter, {
      bytes,
      connections: answer.reconnects + 1,
      position: answer.position,
      now: performance.now(),
      runs,
    });
  const named = () => {
    if (answer.id) history.replaceState(history.state, "", `#${answer.id}`);
    show.link(answer.id);
  };
  const waits = stop;
  stop = () => (line.stuck ? waits() : end(answer));
  the("plug").onclick = () => pull(answer);
  gone.addEventListener("abort", () => answer.leave());
  named();
  add(answer.content);
  answer.on({
    connection: (change) => {
      if (gone.aborted) return line.end();
      if (change.state === "open") named();
      line.change(change);
    },
    chunk: ({ delta, type }) => {
      meter.add(performance.now());
      if (delta && (type === "content" || type === "refusal")) add(delta);
    },
    rewind: () => {
      bytes = 0;
      show.clear();
    },
  });
  const ticking = setInterval(facts, TICK);
  try {
    const final = await answer.final();
    if (!gone.aborted) complete(final, answer.reconnects + 1);
  } catch (error) {
    if (!gone.aborted) failed(/** @type {any} */ (error), bytes);
  } finally {
    line.end();
    clearInterval(ticking);
    if (!gone.aborted) facts(false);
  }
}

/** What is shown of an answer's connection. */
class Line {
  /** @type {import("./holdfast.js").Connection} */
  #state = "connecting";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #late;
  #answer;

  /** @param {import("./holdfast.js").Answer} answer */
  constructor(answer) {
    this.#answer = answer;
  }

  /** Whether it gets no word to the server: then nothing can be stopped there. */
  get stuck() {
    return show.now() === "waiting" || (!this.#answer.id && this.#state === "waiting");
  }

  /** @param {import("./holdfast.js").ConnectionChange} change */
  change({ state, error }) {
    this.end();
    this.#state = state;
    if (state === "closed") return;
    if (state === "open") show.state("streaming", SAFE);
    else if (this.#answer.reconnects >= 0) show.state("reconnecting", out ? UNPLUGGED : LOST);
    else if (error) show.state("asking", `Trying again. ${error.message}`);
    if (state === "connecting")
      this.#late = setTimeout(() => show.state("waiting", `Many tabs? ${CROWDED}`, SILENT), PATIENCE);
  }

  end() {
    clearTimeout(this.#late);
  }
}

const SAFE = "Reload, pull the plug, open a second tab: the answer stays whole.";
const LOST = "The connection is gone; the answer goes on without it.";
const UNPLUGGED = "The plug is out; the answer goes on without this tab.";

/** Stops the answer. Where other tabs have all connections, this tab gives its own for that.
 * @param {import("./holdfast.js").Answer} answer */
async function end(answer) {
  const giving = setTimeout(() => answer.drop(), GIVING);
  await answer.cancel().catch(() => {});
  clearTimeout(giving);
}

/** Cuts the connection, and keeps it from coming back for a moment.
 * @param {import("./holdfast.js").Answer} answer */
function pull(answer) {
  out = true;
  answer.drop();
  setTimeout(() => {
    out = false;
    answer.drop();
  }, OUT);
}

/** @param {number} n */
const grouped = (n) => n.toLocaleString("en");

/** @param {import("./holdfast.js").Final} final @param {number} connections */
function complete({ complete: { length, sha256 }, verified }, connections) {
  const over = connections > 1 ? ` over ${connections} connections` : "";
  if (verified === "sha256")
    show.state(
      "done",
      `All ${grouped(length)} bytes came${over}: nothing is missing and nothing stands twice, as their ` +
        `SHA-256 proves (${sha256.slice(0, 8)}…).`,
      "Complete and verified",
    );
  else
    show.state(
      "done",
      `${grouped(length)} bytes came${over}, as many as were written. Only the length was verified: on ` +
        "plain HTTP a browser computes SHA-256 for localhost alone.",
      "Complete, length verified",
    );
}

/** @param {import("./holdfast.js").HoldfastError} error @param {number} bytes */
function failed(error, bytes) {
  if (error.code === "cancelled")
    show.state("stopped", `The answer was ended after ${show.size(bytes)}, for all who read it.`);
  else show.state("failed", error.message, `Failed: ${error.code ?? error.name}`);
}

function ask() {
  const question = the("question").value.trim();
  if (!question || the("ask").disabled) return;
  const messages = [
    { role: "system", content: `/demo ${the("kind").value}` },
    { role: "user", content: question },
  ];
  const body = { model: "demo", messages, fallback: { mode: "none", providers: [] } };
  client.forget(KEY);
  // Kept through a reload that comes before the answer has an id.
  history.replaceState({ asked: true }, "", location.pathname);
  run(() => client.stream(body, { key: KEY }), "");
}

/** Reads on what was under way in this tab before a reload, or else what the address names. */
function open() {
  const id = location.hash.slice(1);
  if (!id && !history.state?.asked) return;
  run(() => {
    const held = client.resume(KEY);
    if (held && (!id || held.id === id)) return held;
    held?.leave();
    return id ? client.read(id, { key: KEY }) : null;
  }, "Reading on …");
}

the("form").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  ask();
});
the("question").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  ask();
});
the("stop").addEventListener("click", () => stop());
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !the("stop").disabled) stop();
});
addEventListener("hashchange", open);
open();
