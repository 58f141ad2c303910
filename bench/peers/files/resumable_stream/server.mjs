// resumable-stream behind Node's own HTTP server, as its README has it: POST makes a stream that can be
// resumed, GET /ID resumes it. PORT, PROVIDER_URL and REDIS_URL come from the environment.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { createResumableStreamContext } from "resumable-stream";

const context = createResumableStreamContext({ waitUntil: null });

function answer(response, id, stream) {
  if (!stream) {
    response.writeHead(422).end("Stream is already done");
    return;
  }
  response.writeHead(200, { "Content-Type": "text/event-stream", "X-Stream-Id": id });
  response.flushHeaders();
  Readable.fromWeb(stream).pipe(response);
}

async function create(request, response) {
  const body = await text(request);
  const headers = { "Content-Type": "application/json" };
  const provider = await fetch(process.env.PROVIDER_URL, { method: "POST", headers, body });
  const id = randomUUID();
  const make = () => provider.body.pipeThrough(new TextDecoderStream());
  answer(response, id, await context.createNewResumableStream(id, make));
}

async function resume(request, response) {
  const id = request.url.slice(1);
  answer(response, id, await context.resumeExistingStream(id));
}

const server = createServer((request, response) => {
  const call = request.method === "POST" ? create : resume;
  call(request, response).catch((error) => {
    console.error(error);
    response.destroy();
  });
});
server.listen({ port: Number(process.env.PORT), host: "127.0.0.1", backlog: 4096 });
