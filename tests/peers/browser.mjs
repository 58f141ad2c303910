// A browser for the tests: Debian's Chromium, told line by line on stdin what to do. A command is one
// line of JSON, and so is its answer, in the order of the commands. It ends when stdin ends.

import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";
import { chromium } from "playwright-core";

const PATIENCE = 30_000; // ms of a wait that fails; none should take one
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"];
const QUIET = ["--disable-background-networking", "--disable-component-update"];

let browser;
const contexts = new Map();
const tabs = new Map();

/** What a tab did that nobody wants: errors, violations of its policy, requests to elsewhere. */
function listen(tab, origin) {
  const noise = [];
  tab.on("console", (said) => {
    if (["error", "warning"].includes(said.type())) noise.push(`${said.type()}: ${said.text()}`);
  });
  tab.on("pageerror", (error) => noise.push(`error: ${error.stack ?? error}`));
  tab.on("request", (request) => {
    if (new URL(request.url()).origin !== origin) noise.push(`request: ${request.url()}`);
  });
  return noise;
}

const commands = {
  async launch({ program }) {
    browser = await chromium.launch({ executablePath: program, args: [...FLAGS, ...QUIET] });
    return browser.version();
  },
  /** A browser of its own as far as sites can tell, with its own connections. */
  async context({ name, options }) {
    const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
    context.setDefaultTimeout(PATIENCE);
    contexts.set(name, context);
  },
  /** Answers below a URL from a folder of `node_modules`, and with an empty page at the URL itself,
   * so that a package's modules run in a page of the server's own origin. */
  async lend({ context, url, folder }) {
    await contexts.get(context).route(`${url}**`, async (route) => {
      const name = new URL(route.request().url()).pathname.slice(new URL(url).pathname.length);
      if (!name) return route.fulfill({ contentType: "text/html", body: "<!doctype html>" });
      // Written for a bundler, which finds a module without the end of its name.
      const path = `node_modules/${folder}/${name.endsWith(".js") ? name : `${name}.js`}`;
      return route.fulfill({ contentType: "text/javascript", path });
    });
  },
  async open({ context, tab, url, waits = "load" }) {
    const page = await contexts.get(context).newPage();
    tabs.set(tab, { page, noise: listen(page, new URL(url).origin) });
    await page.goto(url, { waitUntil: waits });
  },
  evaluate: ({ tab, script }) => tabs.get(tab).page.evaluate(script),
  /** Looks again and again: what would wait within the page is forbidden by its policy. */
  async until({ tab, script }) {
    const late = performance.now() + PATIENCE;
    const gone = (error) => {
      if (!/context was destroyed/.test(error.message)) throw error; // else it is being loaded
    };
    while (!(await tabs.get(tab).page.evaluate(script).catch(gone))) {
      if (performance.now() > late) throw new Error("it never became true");
      await setTimeout(20);
    }
  },
  async reload({ tab }) {
    await tabs.get(tab).page.reload();
  },
  async click({ tab, selector }) {
    await tabs.get(tab).page.click(selector);
  },
  async press({ tab, key }) {
    await tabs.get(tab).page.keyboard.press(key);
  },
  async fill({ tab, selector, text }) {
    await tabs.get(tab).page.fill(selector, text);
  },
  async choose({ tab, selector, value }) {
    await tabs.get(tab).page.selectOption(selector, value);
  },
  /** What a link opens, as a tab. */
  async follow({ context, tab, selector, as }) {
    const coming = contexts.get(context).waitForEvent("page");
    await tabs.get(tab).page.click(selector);
    const page = await coming;
    tabs.set(as, { page, noise: listen(page, new URL(page.url()).origin) });
    await page.waitForLoadState();
  },
  async shot({ tab, path, full = true }) {
    await tabs.get(tab).page.screenshot({ path, fullPage: full });
  },
  async size({ tab, width, height }) {
    await tabs.get(tab).page.setViewportSize({ width, height });
  },
  async theme({ tab, name }) {
    await tabs.get(tab).page.emulateMedia({ colorScheme: name });
  },
  /** What axe-core finds by its rules for WCAG 2 A and AA, or by one: rule, weight and element, one a line. */
  async faults({ tab, rule }) {
    const { page } = tabs.get(tab);
    // Once a page, which it is loaded into past the page's policy.
    if (!(await page.evaluate("'axe' in globalThis")))
      await page.evaluate(await readFile("node_modules/axe-core/axe.min.js", "utf8"));
    const only = JSON.stringify(rule ? [rule] : ["wcag2a", "wcag2aa", "wcag21aa"]);
    return page.evaluate(`axe.run({ runOnly: ${only} }).then(({ violations }) =>
      violations.flatMap(({ id, impact, nodes }) => nodes.map(({ target }) => \`\${id} \${impact}: \${target}\`)))`);
  },
  /** What a page holds once its garbage is collected. */
  async held({ tab }) {
    const page = tabs.get(tab).page;
    const asked = await page.context().newCDPSession(page);
    await asked.send("HeapProfiler.collectGarbage");
    const { usedSize } = await asked.send("Runtime.getHeapUsage");
    const { nodes } = await asked.send("Memory.getDOMCounters");
    await asked.detach();
    return { megabytes: usedSize / 2 ** 20, nodes };
  },
  noise: ({ tab }) => tabs.get(tab).noise,
  async close({ tab }) {
    await tabs.get(tab).page.close({ runBeforeUnload: false });
    tabs.delete(tab);
  },
  async leave({ context }) {
    await contexts.get(context).close();
    contexts.delete(context);
  },
};

const lines = createInterface({ input: process.stdin });
let turn = Promise.resolve();
lines.on("line", (line) => {
  turn = turn.then(async () => {
    const { command, ...told } = JSON.parse(line);
    let answer;
    try {
      answer = { value: (await commands[command](told)) ?? null };
    } catch (error) {
      answer = { error: `${command} ${JSON.stringify(told).slice(0, 300)}: ${error.message ?? error}` };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  });
});
lines.once("close", async () => {
  await browser?.close();
  process.exit(0);
});
