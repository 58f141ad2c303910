// OpenAI's client for Node on the responses API, as a server (`serving.mjs`): it is told what to ask
// for, and tells what the client made of it, or the error that it raised and what it had read by then.

import OpenAI from "openai";
import { serve } from "./serving.mjs";

async function read(source, read) {
  for await (const event of source) read.push(event);
  return read;
}

// `had` are the events so far, which an error is told with.
const ways = {
  /** As it comes, with no helper. */
  async events(client, request, had) {
    return await read(await client.responses.create({ ...request, stream: true }), had);
  },
  /** As it comes, by the client's own accumulator. */
  async stream(client, request) {
    const stream = client.responses.stream(request);
    stream.on("error", () => {});
    return await stream.finalResponse();
  },
  whole: (client, request) => client.responses.create(request),
  parse: (client, request) => client.responses.parse(request),
  retrieve: (client, { id }) => client.responses.retrieve(id),
  cancel: (client, { id }) => client.responses.cancel(id),
  /** Comes back to an answer, behind the event of a number. */
  async after(client, { id, number }, had) {
    const place = { stream: true, starting_after: number };
    return await read(await client.responses.retrieve(id, place), had);
  },
  /** The same by the accumulator, which reads all of it and tells what is behind. */
  async helped(client, { id, number }, had) {
    const stream = client.responses.stream({ response_id: id, starting_after: number });
    stream.on("error", () => {});
    await read(stream, had);
    return { events: had, response: await stream.finalResponse() };
  },
  /** Reads to the end, and comes back as often as the connection is cut. */
  async follow(client, request, had) {
    let cuts = 0;
    let source = await client.responses.create({ ...request, stream: true });
    for (;;) {
      try {
        return { events: await read(source, had), cuts };
      } catch (error) {
        if (error instanceof OpenAI.APIError || ++cuts > 20) throw error;
      }
      const place = { stream: true, starting_after: had.at(-1).sequence_number };
      source = await client.responses.retrieve(had[0].response.id, place);
    }
  },
};

async function did({ url, way, request }) {
  const client = new OpenAI({ baseURL: url, apiKey: "any", maxRetries: 0 });
  const had = [];
  try {
    return { told: await ways[way](client, request, had) };
  } catch (error) {
    const { code, status } = error;
    return { error: { name: error.constructor.name, code, status, said: error.message, had } };
  }
}

serve(did);
