// Anthropic's client for Node, as a server (`serving.mjs`): it is told what to ask for, and tells what
// the client made of it, or the error that it raised.

import Anthropic from "@anthropic-ai/sdk";
import { serve } from "./serving.mjs";

const ways = {
  /** As it comes, with no helper. */
  async texts(client, request) {
    const texts = [];
    const stream = await client.messages.create({ ...request, stream: true });
    try {
      for await (const { delta } of stream) if (delta?.type === "text_delta") texts.push(delta.text);
    } catch (error) {
      error.texts = texts;
      throw error;
    }
    return texts;
  },
  /** As it comes, by the client's own accumulator. */
  async stream(client, request) {
    const stream = client.messages.stream(request);
    stream.on("error", () => {});
    return await stream.finalMessage();
  },
  whole: (client, request) => client.messages.create(request),
  beta: (client, request) => client.beta.messages.create(request),
  count: (client, { model, messages }) => client.messages.countTokens({ model, messages }),
  /** Leaves after the first event; tells the stream that it left. */
  async leave(client, request) {
    const asked = client.messages.create({ ...request, stream: true });
    const { data, response } = await asked.withResponse();
    for await (const _ of data) break;
    return response.headers.get("x-stream-id");
  },
};

async function did({ url, way, request, options }) {
  const client = new Anthropic({ baseURL: url, apiKey: "any", maxRetries: 0, ...options });
  try {
    return { told: await ways[way](client, request) };
  } catch (error) {
    const { status, error: body, texts, requestID } = error;
    const name = error.constructor.name;
    return { error: { name, status, body, texts, requestID, said: error.message } };
  }
}

serve(did);
