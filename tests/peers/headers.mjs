// The names of the headers that stock clients send, as JSON: {client: {way: [name, ...]}}. None is
// sent: each client is given a `fetch` that notes them. What the browser itself adds is not there,
// nor is it any page's to ask for.

import Anthropic from "@anthropic-ai/sdk";
import { fetchEventSource } from "@microsoft/fetch-event-source";
import * as ai5 from "ai5";
import * as ai6 from "ai6";
import * as ai7 from "ai7";
import { EventSource } from "eventsource";
import OpenAI from "openai";

const noted = {};

function noting(client, way) {
  return async (url, init) => {
    noted[client] ??= {};
    noted[client][way] = [...new Headers(init.headers).keys()];
    throw new Error("not sent");
  };
}

const url = "http://127.0.0.1:9/v1";
const messages = [{ role: "user", content: "Why?" }];

function openai(way) {
  const dangerouslyAllowBrowser = true;
  const more = { organization: "o", project: "p", dangerouslyAllowBrowser, maxRetries: 1 };
  return new OpenAI({ apiKey: "k", baseURL: url, fetch: noting("openai", way), ...more });
}

function anthropic(way) {
  const dangerouslyAllowBrowser = true;
  const more = { dangerouslyAllowBrowser, maxRetries: 1 };
  return new Anthropic({ apiKey: "k", baseURL: url, fetch: noting("anthropic", way), ...more });
}

const asked = { model: "m", messages, stream: true };
const answered = { model: "m", messages, max_tokens: 9, stream: true };
const key = { idempotencyKey: "once" };

// Pages have no `window` here, and fetch-event-source only wants to know whether it is seen.
globalThis.window ??= { setTimeout, clearTimeout };
globalThis.document ??= { hidden: false, addEventListener() {}, removeEventListener() {} };

async function chat(version, ai) {
  const transport = new ai.DefaultChatTransport({
    api: `${url}/chat`,
    headers: { Authorization: "Bearer k" },
    fetch: noting(`ai${version}`, "chat"),
  });
  const parts = [{ type: "text", text: "Why?" }];
  const sent = [{ id: "1", role: "user", parts }];
  await transport.sendMessages({ chatId: "c", trigger: "submit-message", messages: sent });
}

const calls = [
  openai("chat").chat.completions.create(asked),
  openai("stream").chat.completions.stream(asked).done(),
  openai("parse").chat.completions.parse({ model: "m", messages }),
  openai("once").chat.completions.create(asked, key),
  openai("responses").responses.create({ model: "m", input: "Why?", background: true }),
  openai("models").models.list(),
  anthropic("messages").messages.create(answered),
  anthropic("stream").messages.stream(answered).done(),
  anthropic("beta").beta.messages.create({ ...answered, betas: ["some-beta"] }),
  anthropic("once").messages.create(answered, key),
  chat(5, ai5),
  chat(6, ai6),
  chat(7, ai7),
  fetchEventSource(url, {
    method: "POST",
    headers: { Authorization: "Bearer k", "Content-Type": "application/json", "Last-Event-ID": "x" },
    body: "{}",
    openWhenHidden: true,
    fetch: noting("fetch-event-source", "post"),
    onerror(error) {
      throw error;
    },
  }),
];
await Promise.allSettled(calls);
const source = new EventSource(url, { fetch: noting("eventsource", "get") });
await new Promise((resolve) => setTimeout(resolve, 0));
source.close();
process.stdout.write(JSON.stringify(noted));
process.exit(0);
