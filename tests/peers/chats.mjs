// Chats of three major versions of the AI SDK, as a page holds them: the `Chat` of its React package
// with its own transport, or a hook around `useChat` (`use_chat.mjs`), as a server (`serving.mjs`) of
// these commands:
//
//   {op: "open", version, chat, transport, ...}             a chat; its number. `auto`: it goes on
//       once all tools have answered; `browser`: a body that breaks off fails as in Chromium; `plain`:
//       as what no version takes for a disconnect; `finished`: comes back also to what has ended;
//       `hook`: the program whose hook holds it
//   {op: "call", on, method, args}                          one of its methods, to the end
//   {op: "begin", on, method, args}                         the same, without waiting
//   {op: "until", on, text, status, asked}                  until it shows this text, has this status,
//       or has asked so often
//   {op: "seen", on}                                        what the page shows
//   {op: "leave", on}                                       takes a hook's page away

import * as ai5 from "ai5";
import * as react5 from "ai5-react";
import * as ai6 from "ai6";
import * as react6 from "ai6-react";
import * as ai7 from "ai7";
import * as react7 from "ai7-react";
import * as react from "react";
import { serve } from "./serving.mjs";
import { mount } from "./use_chat.mjs";

const VERSIONS = { 5: [ai5, react5], 6: [ai6, react6], 7: [ai7, react7] };
const LOOK_MS = 2;
const PATIENCE_MS = 20_000;

const pages = [];
const empty = () => new Blob([]).stream();

class Page {
  constructor({ version, hook, auto, ...rest }) {
    this.finished = [];
    this.failed = [];
    this.called = [];
    this.asked = [];
    const [ai, own] = VERSIONS[version];
    const options = this.options(auto && ai.lastAssistantMessageIsCompleteWithToolCalls);
    if (hook) this.mount({ ai, "@ai-sdk/react": own, react }, hook, options, rest);
    else this.hold(ai, own, options, rest);
  }

  options(sendAutomaticallyWhen) {
    return {
      onFinish: ({ finishReason, isAbort, isDisconnect, isError }) =>
        this.finished.push({ finishReason, isAbort, isDisconnect, isError }),
      onError: (error) => this.failed.push(String(error.message)),
      onToolCall: ({ toolCall }) => {
        this.called.push(toolCall);
      },
      ...(sendAutomaticallyWhen && { sendAutomaticallyWhen }),
    };
  }

  hold(ai, own, options, { chat, transport, finished, ...broken }) {
    const prepareReconnectToStreamRequest =
      finished && (({ api, id }) => ({ api: `${api}/${id}/stream?finished=true` }));
    const fetch = this.fetch.bind(this, broken);
    this.chat = new own.Chat({
      ...chat,
      transport: new ai.DefaultChatTransport({
        ...transport,
        fetch,
        prepareReconnectToStreamRequest,
      }),
      ...options,
    });
  }

  mount(modules, program, options, { chat, ...broken }) {
    const given = { fetch: this.fetch.bind(this, broken), key: "none" };
    const args = [chat.id, chat.messages, options];
    const shown = (now) => {
      this.chat = now;
    };
    this.leave = mount(program, modules, given, args, shown);
  }

  // Notes each request.
  async fetch({ browser, plain }, url, init) {
    const response = await globalThis.fetch(url, init);
    const { pathname, search } = new URL(url);
    this.asked.push([init.method, pathname + search, response.status]);
    this.headers = Object.fromEntries(response.headers);
    // As in Chromium, where what has no content has a body.
    if (browser && !response.body) Object.defineProperty(response, "body", { value: empty() });
    if (!(browser || plain) || response.status === 204) return response;
    const broken = plain ? new Error("The connection broke.") : new TypeError("network error");
    const reader = response.body.getReader();
    const body = new ReadableStream({
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          if (done) controller.close();
          else controller.enqueue(value);
        } catch (error) {
          controller.error(error.name === "AbortError" ? error : broken);
        }
      },
      cancel: (why) => reader.cancel(why),
    });
    return new Response(body, response);
  }

  seen() {
    const { status, error, messages, cut } = this.chat;
    const { finished, failed, called, asked, headers } = this;
    const told = { status, error: error?.message, messages, cut };
    return { ...told, finished, failed, called, asked, headers };
  }

  shows({ text, status, asked }) {
    if (asked > this.asked.length) return false;
    const parts = this.chat.messages.flatMap((message) => message.parts);
    const told = parts.map((part) => part.text ?? JSON.stringify(part.input) ?? "").join("");
    return (status === undefined || this.chat.status === status) && told.includes(text ?? "");
  }

  async until(wanted) {
    const end = Date.now() + PATIENCE_MS;
    while (!this.shows(wanted)) {
      if (Date.now() > end) throw new Error(`not seen: ${JSON.stringify([wanted, this.seen()])}`);
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }
}

async function obey({ op, on, method, args = [], ...rest }) {
  if (op === "open") return pages.push(new Page(rest)) - 1;
  const page = pages[on];
  if (op === "call") await page.chat[method](...args);
  if (op === "begin") void page.chat[method](...args);
  if (op === "until") await page.until(rest);
  if (op === "leave") page.leave();
  return page.seen();
}

serve(obey);
