/**
 * All that the page shows: the only one that touches the document.
 *
 * Strategy: one state at a time, named on `<main>`, from which the style sheet takes the rest. What
 * a screen reader is told is the line of the state, when it changes; the text itself would be
 * spoken word by word, so it is read when its listener likes.
 */

/** @param {string} id */
const the = (id) => /** @type {any} */ (document.getElementById(id));

/** What each state is called. */
const STATES = {
  empty: "Nothing asked yet",
  asking: "Asking …",
  waiting: "Too many tabs",
  streaming: "Streaming",
  reconnecting: "Reconnecting …",
  done: "Complete",
  stopped: "Stopped",
  failed: "Failed",
};

const RUNNING = new Set(["asking", "waiting", "streaming", "reconnecting"]);

/** @typedef {keyof typeof STATES} State */

/** @param {State} name @param {string} [detail] @param {string} [title] in place of the usual */
export function state(name, detail = "", title = STATES[name]) {
  const runs = RUNNING.has(name);
  the("page").dataset.state = name;
  the("page").toggleAttribute("data-busy", runs);
  // Unchanged text is left alone: it would be spoken again.
  if (the("state").textContent !== title) the("state").textContent = title;
  if (the("detail").textContent !== detail) the("detail").textContent = detail;
  the("ask").disabled = runs;
  the("stop").disabled = !runs;
  the("plug").disabled = name !== "streaming";
  the("answer").setAttribute("aria-busy", `${runs}`);
  document.title = name === "empty" ? "Holdfast" : `${title} · Holdfast`;
}

/** @returns {State} */
export const now = () => the("page").dataset.state;

/** The link that opens the same answer elsewhere; none without an id. @param {string} id */
export function link(id) {
  the("tab").hidden = !id;
  the("tab").href = `#${id}`;
}

let follows = false;
const page = document.documentElement;

/** Brings the end of the text into sight, once a frame. */
function follow() {
  follows = true;
  requestAnimationFrame(() => {
    follows = false;
    page.scrollTop = page.scrollHeight;
  });
}

/** Characters of a piece of the text, from which on the next line begins another one: a browser lays
 * out anew the whole piece that grows, and for a long answer would be busy with nothing else. */
const PIECE = 2000;

/** Adds to the answer's text, and keeps its end in sight of who looks at it, or has just asked.
 * @param {string} more */
export function text(more) {
  if (!more) return;
  const answer = the("answer");
  const begins = !answer.firstChild;
  if (begins) answer.append("");
  if (!follows && (begins || page.scrollHeight - page.scrollTop - page.clientHeight < 120)) follow();
  const last = answer.lastChild;
  const cut = last.length < PIECE ? 0 : more.indexOf("\n") + 1;
  if (cut) {
    last.appendData(more.slice(0, cut));
    const piece = document.createElement("div");
    last.replaceWith(piece);
    piece.append(last);
    answer.append("");
  }
  answer.lastChild.appendData(more.slice(cut));
}

export function clear() {
  the("answer").replaceChildren();
}

/** @param {number} bytes */
export const size = (bytes) =>
  bytes < 1000 ? `${bytes} B` : `${(bytes / 1000).toFixed(bytes < 10_000 ? 2 : 1)} kB`;

/**
 * @param {import("./meter.js").Meter} meter
 * @param {{ bytes: number, connections: number, position: string, now: number, runs: boolean }} facts
 */
export function facts(meter, { bytes, connections, position, now, runs }) {
  the("rate").textContent = runs ? `${Math.round(meter.rate(now))} chunks/s` : "–";
  the("first").textContent = meter.first === null ? "–" : `${Math.round(meter.first)} ms`;
  the("bytes").textContent = size(bytes);
  the("connections").textContent = connections || "–";
  the("position").textContent = position || "–";
  const line = meter.line(120, 24);
  const [area, edge] = the("line").children;
  edge.setAttribute("d", line);
  area.setAttribute("d", line && `${line} V24 H${meter.left(120)} Z`);
}
