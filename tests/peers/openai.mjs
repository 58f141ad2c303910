// OpenAI's client for Node, as a server (`serving.mjs`): it is told what to ask for, and tells what the
// client made of it, or the error that it raised.

import OpenAI from "openai";
import { serve } from "./serving.mjs";

const ways = {
  /** As it comes, with no helper; `texts` are those of choice 0. */
  async chunks(client, request) {
    const texts = [];
    const stream = await client.chat.completions.create({ ...request, stream: true });
    try {
      for await (const chunk of stream)
        for (const choice of chunk.choices) if (!choice.index) texts.push(choice.delta.content);
    } catch (error) {
      error.texts = texts;
      throw error;
    }
    return texts;
  },
  /** As it comes, by the client's own accumulator. */
  async stream(client, request) {
    const stream = client.chat.completions.stream(request);
    stream.on("error", () => {});
    return await stream.finalChatCompletion();
  },
  whole: (client, request) => client.chat.completions.create(request),
  parse: (client, request) => client.chat.completions.parse(request),
  async models(client) {
    const found = [];
    for await (const model of client.models.list()) found.push(model.id);
    return found;
  },
  model: (client, { id }) => client.models.retrieve(id),
  /** Leaves after the first piece; tells the stream that it left. */
  async leave(client, request) {
    const asked = client.chat.completions.create({ ...request, stream: true });
    const { data, response } = await asked.withResponse();
    for await (const _ of data) break;
    return response.headers.get("x-stream-id");
  },
};

async function did({ url, way, request }) {
  const client = new OpenAI({ baseURL: url, apiKey: "any", maxRetries: 0 });
  try {
    return { told: await ways[way](client, request) };
  } catch (error) {
    const { code, status, texts } = error;
    return { error: { name: error.constructor.name, code, status, texts, said: error.message } };
  }
}

serve(did);
