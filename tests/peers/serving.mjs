// How a peer is asked: each POST is one thing to do, as JSON, and is answered with what became of it.
// Its address goes as one line of JSON to stdout, and it ends when stdin ends, so it outlives no test
// run.

import { createServer } from "node:http";

/** `did` gives a promise of what became of a thing to do; what it raises is a 500 with `error`. */
export function serve(did) {
  const server = createServer(async (asked, answer) => {
    const pieces = [];
    for await (const piece of asked) pieces.push(piece);
    const [status, told] = await did(JSON.parse(Buffer.concat(pieces).toString())).then(
      (value) => [200, value],
      (error) => [500, { error: String(error.stack) }],
    );
    const body = Buffer.from(JSON.stringify(told));
    answer.writeHead(status, { "Content-Length": body.length, Connection: "close" });
    answer.end(body);
  });
  server.listen(0, "127.0.0.1", () => {
    const url = `http://127.0.0.1:${server.address().port}`;
    process.stdout.write(`${JSON.stringify({ url })}\n`);
  });
  process.stdin.on("end", () => process.exit(0)).resume();
}
