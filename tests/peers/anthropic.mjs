// Anthropic's client for Node, as a server: each POST is one thing to ask for, as JSON, and is
// answered with what the client made of it, or with the error that it raised. It is told nothing on
// stdin but to begin, its address goes as one line of JSON to stdout, and it ends when stdin ends.

import { createServer } from "node:http";
import { createInterface } from "node:readline";

import Anthropic from "@anthropic-ai/sdk";

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

const server = createServer(async (asked, answer) => {
  const pieces = [];
  for await (const piece of asked) pieces.push(piece);
  const told = await did(JSON.parse(Buffer.concat(pieces).toString()));
  const body = Buffer.from(JSON.stringify(told));
  answer.writeHead(200, { "Content-Length": body.length, Connection: "close" });
  answer.end(body);
});

const lines = createInterface({ input: process.stdin });
lines.once("line", () =>
  server.listen(0, "127.0.0.1", () => {
    const url = `http://127.0.0.1:${server.address().port}`;
    process.stdout.write(`${JSON.stringify({ url })}\n`);
  }),
);
lines.once("close", () => process.exit(0));
