// aimock for the tests: its options and fixtures come as one line of JSON on stdin, its address
// goes as one line of JSON to stdout. It ends when stdin ends, so it outlives no test run.

import { createInterface } from "node:readline";
import { LLMock } from "@copilotkit/aimock";

const lines = createInterface({ input: process.stdin });
lines.once("line", async (line) => {
  const { options, fixtures } = JSON.parse(line);
  const mock = new LLMock({ host: "127.0.0.1", port: 0, ...options });
  mock.addFixturesFromJSON(fixtures);
  process.stdout.write(`${JSON.stringify({ url: await mock.start() })}\n`);
});
lines.once("close", () => process.exit(0));
