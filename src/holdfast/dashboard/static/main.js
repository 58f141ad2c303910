/**
 * The dashboard: where it begins. Which view is shown, whether there is a key, and how the live
 * connection is.
 *
 * Strategy: the address says which view it is, so that each view, and what is searched for in it, is
 * a link. A view is open until the next one is: the signal that it gets then ends its calls. The
 * live stream is read all the time, whichever view it is, so that the charts have no gap. This page
 * only reads.
 */

import { Connections } from "./connections.js";
import { mark, put, the } from "./document.js";
import { Failures } from "./failures.js";
import { Overview } from "./overview.js";
import { Failure, follow, hasKey, useKey } from "./server.js";
import { Streams } from "./streams.js";
import { Stream } from "./timeline.js";

export const overview = new Overview();

/** @typedef {{ open: (asked: string, signal: AbortSignal) => void }} View */

/** By the name of its section. @type {Record<string, View>} */
const VIEWS = {
  overview,
  streams: new Streams(),
  stream: new Stream(),
  connections: new Connections(),
  errors: new Failures(),
};

const TITLES = /** @type {Record<string, string>} */ ({
  overview: "Overview",
  streams: "Streams",
  stream: "Stream",
  connections: "Connections",
  errors: "Errors",
});

/** What the address names. @param {string} hash @returns {[string, string]} the view, and what it is asked for */
function named(hash) {
  const [, name = "", id = "", query = ""] = /^#\/(\w+)(?:\/(\w+))?(?:\?(.*))?$/.exec(hash) ?? [];
  if (name === "streams" && id) return ["stream", id];
  return name in VIEWS && name !== "stream" ? [name, query] : ["overview", ""];
}

let leave = () => {};

/** Whether the server has let somebody in: before, no view asks it for anything. */
let entered = false;

function show() {
  // The link that skips to the content is no view.
  if (location.hash && !location.hash.startsWith("#/")) return;
  leave();
  const gone = new AbortController();
  leave = () => gone.abort();
  const [name, asked] = named(location.hash);
  const was = document.activeElement;
  for (const one of Object.keys(VIEWS)) the(one).hidden = one !== name;
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.getAttribute("href") === `#/${name === "stream" ? "streams" : name}`;
    mark(link, "aria-current", here ? "page" : null);
  }
  document.title = `${TITLES[name]} · Holdfast`;
  if (entered) VIEWS[name]?.open(asked, gone.signal);
  // Whoever followed a link of the view that is gone goes on at the head of the new one.
  if (was instanceof HTMLElement && was.closest("main section[hidden]")) {
    the(`${name}-title`).focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

/** @param {"connecting" | "live" | "lost" | "locked"} state @param {string} text @param {string} [why] */
function link(state, text, why) {
  mark(the("link"), "data-state", state);
  mark(the("link"), "title", why);
  put(the("link-text"), text);
}

/** Asks for a key until there is one that is let in. @param {string} why */
function ask(why) {
  link("locked", "Key needed", why);
  leave();
  entered = false;
  the("lock-problem").hidden = !hasKey();
  put(the("lock-problem"), hasKey() ? why : "");
  if (!the("lock").open) the("lock").showModal();
  the("lock-key").select();
}

let stop = () => {};

/** Begins anew, with the key that there is now. */
async function begin() {
  stop();
  const ended = new AbortController();
  stop = () => ended.abort();
  the("forget").hidden = !hasKey();
  show();
  const enter = () => {
    if (entered) return;
    entered = true;
    show();
  };
  const told = {
    snapshot: (/** @type {import("./server.js").Snapshot} */ snapshot) => {
      link("live", "Live");
      enter();
      overview.take(snapshot);
    },
    lost: (/** @type {string} */ why) => {
      link("lost", "Reconnecting…", why);
      enter(); // a view may say more of what is wrong
    },
  };
  try {
    await follow(told, ended.signal);
  } catch (error) {
    if (error instanceof Failure) ask(error.message);
    else throw error;
  }
}

the("lock-form").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  useKey(the("lock-key").value.trim());
  the("lock-key").value = "";
  the("lock").close();
  link("connecting", "Connecting…");
  begin();
});
// Without a key there is nothing to see behind it.
the("lock").addEventListener("cancel", (/** @type {Event} */ event) => event.preventDefault());
the("forget").addEventListener("click", () => {
  useKey("");
  location.reload();
});
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || the("lock").open) return;
  if (/** @type {Element} */ (event.target).matches("input, select, textarea")) return;
  event.preventDefault();
  if (!document.querySelector("main > section:not([hidden]) [data-search]")) location.hash = "#/streams";
  // The address is read in a task of its own.
  setTimeout(() => /** @type {any} */ (document.querySelector("main > section:not([hidden]) [data-search]"))?.focus());
});
addEventListener("hashchange", show);
begin();
