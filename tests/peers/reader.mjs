// Our JavaScript client as an application has it: it is told line by line on stdin what to do, and
// tells line by line what happens. An answer has a name, which stands in every line about it. What
// came over the wire is told as well, as it came. It ends when stdin ends.

import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";

import { EventSource } from "eventsource";

import { Holdfast } from "../../clients/js/holdfast.js";

// The jitter is not waited for, the server's own delays are.
Math.random = () => 0;

const clients = new Map();
const answers = new Map();
const sources = new Set();

const tell = (of, kind, told) => process.stdout.write(`${JSON.stringify({ of, kind, ...told })}\n`);

const failure = ({ name, code, status, retryable, message }) => ({
  name,
  code,
  status,
  retryable,
  message,
});

/** A storage that outlives the process: a file for each key. */
const files = (folder) => ({
  getItem(key) {
    try {
      return readFileSync(`${folder}/${key}`, "utf8");
    } catch {
      return null;
    }
  },
  setItem: (key, value) => writeFileSync(`${folder}/${key}`, value),
  removeItem: (key) => rmSync(`${folder}/${key}`, { force: true }),
});

/** `fetch` that tells what was asked, and each piece of what came, changed where `swap` names a
 * pattern and what to put there. */
const watched = (of, swap) => async (url, init) => {
  const { method = "GET", headers } = init;
  tell(of, "asked", { method, url, headers: Object.fromEntries(new Headers(headers)) });
  const response = await fetch(url, init);
  tell(of, "answered", { status: response.status });
  if (!response.body) return response;
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  const tap = new TransformStream({
    transform(piece, controller) {
      const text = decoder.decode(piece, { stream: true });
      tell(of, "came", { text });
      controller.enqueue(swap ? encoder.encode(text.replace(RegExp(swap[0]), swap[1])) : piece);
    },
  });
  return new Response(response.body.pipeThrough(tap), response);
};

function follow(of, answer) {
  answers.set(of, answer);
  if (!answer) return tell(of, "none");
  tell(of, "begins", { id: answer.id, position: answer.position, content: answer.content });
  answer.on({
    connection: ({ state, delay, error }) =>
      tell(of, "connection", { state, delay, code: error?.code }),
    reconnect: ({ reason }) => tell(of, "sent away", { reason }),
  });
  const events = async () => {
    for await (const event of answer) tell(of, "event", { event });
  };
  events().catch(() => {});
  answer.final().then(
    (final) => tell(of, "final", { final, status: answer.status, reconnects: answer.reconnects }),
    (error) => tell(of, "failed", { error: failure(error), status: answer.status }),
  );
}

const commands = {
  client({ of, options, storage, swap }) {
    const own = { fetch: watched(of, swap), storage: storage ? files(storage) : null };
    clients.set(of, new Holdfast({ ...own, ...options }));
  },
  stream: ({ of, request, use }) => follow(of, clients.get(of).stream(request, use)),
  read: ({ of, id, use }) => follow(of, clients.get(of).read(id, use)),
  resume: ({ of, key }) => follow(of, clients.get(of).resume(key)),
  link: async ({ of, id }) => tell(of, "link", { url: await clients.get(of).link(id) }),
  leave: ({ of }) => answers.get(of).leave(),
  drop: ({ of }) => answers.get(of).drop(),
  cancel: ({ of }) =>
    answers
      .get(of)
      .cancel()
      .then(
        (entry) => tell(of, "cancelled", { entry }),
        (error) => tell(of, "failed", { error: failure(error) }),
      ),
  /** Reads nothing any more: what is told next is another page's. */
  forget({ of }) {
    for (const answer of answers.values()) answer?.leave();
    for (const source of sources) source.close();
    for (const held of [clients, answers, sources]) held.clear();
    tell(of, "forgotten");
  },
  /** The browser's own class, as the package of its name has it for Node. */
  source({ of, url }) {
    const source = new EventSource(url, {
      fetch: async (at, init) => {
        const response = await fetch(at, init);
        tell(of, "answered", { status: response.status, after: init.headers["Last-Event-ID"] });
        if (!response.body) return response;
        // Three seconds without it, which are not worth the waiting.
        const start = (controller) => controller.enqueue(new TextEncoder().encode("retry: 1\n\n"));
        return new Response(response.body.pipeThrough(new TransformStream({ start })), response);
      },
    });
    sources.add(source);
    for (const kind of ["start", "chunk", "metadata", "complete"])
      source.addEventListener(kind, ({ data, lastEventId }) =>
        tell(of, "event", { event: { type: kind, data: JSON.parse(data), id: lastEventId } }),
      );
    source.addEventListener("error", () => tell(of, "error", { closed: source.readyState == 2 }));
  },
};

tell("", "ready", { node: process.version });
for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...told } = JSON.parse(line);
  await commands[command](told);
}
process.exit();
