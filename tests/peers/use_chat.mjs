// A hook of React in a page without a browser: the program of a document as it stands, but for what its
// imports stand for and the `fetch` that it calls.

import { Window } from "happy-dom";
import { createElement } from "react";

// React asks for them when it is loaded, and the AI SDK when a page comes back into view.
globalThis.window = new Window();
globalThis.document = window.document;
const { createRoot } = await import("react-dom/client");
const { flushSync } = await import("react-dom");

/** What a program exports. `modules` are what it imports, and `given` the names that it leaves open. */
function exported(program, modules, given) {
  const exports = [...program.matchAll(/^export function (\w+)/gm)].map(([, name]) => name);
  const body = program
    .replace(/^import (\{.*\}) from (".*");$/gm, "const $1 = modules[$2];")
    .replace(/^export /gm, "");
  const all = { ...given, modules };
  const run = new Function(...Object.keys(all), `${body}\nreturn { ${exports.join(", ")} };`);
  return run(...Object.values(all));
}

/** Shows a component that calls this hook, and tells `shown` what the hook returns each time. */
export function mount(program, modules, given, args, shown) {
  const [hook] = Object.values(exported(program, modules, given));
  const root = createRoot(document.createElement("main"));
  function Page() {
    shown(hook(...args));
    return null;
  }
  flushSync(() => root.render(createElement(Page)));
  return () => flushSync(() => root.unmount());
}
