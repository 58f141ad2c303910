/**
 * The charts of the last five minutes, by uPlot.
 *
 * Strategy: a chart is a picture with a list of its values above, which is both its legend and what
 * is there for who does not see it: the present values, or those under the pointer, which is at the
 * same moment in all charts. Colours are the style sheet's. What is drawn is what `History` holds;
 * nothing is copied or kept here.
 */

import { make, put } from "./document.js";
import * as format from "./format.js";
import { SPAN } from "./history.js";

const HEIGHT = 132; // px
const NARROWEST = 80; // px, below which nothing can be drawn

/** @typedef {import("./history.js").History} History */
/** @typedef {{ name: string, column: string, colour: string, dash?: number[] }} Line */

/** Solid, dashed, dotted: lines differ not by colour alone. */
const DASHED = [6, 4];
const DOTTED = [2, 3];

/** Steps of a scale of what is counted. */
const WHOLE = [1, 2, 5].flatMap((step) => [1, 10, 100, 1000, 10_000, 100_000].map((times) => step * times)).sort((a, b) => a - b);

/** @param {string} of @returns {Line[]} */
const percentiles = (of) => [
  { name: "p50", column: `${of}50`, colour: "line-3", dash: DOTTED },
  { name: "p95", column: `${of}95`, colour: "line-2", dash: DASHED },
  { name: "p99", column: `${of}99`, colour: "line-1" },
];

/**
 * `least` is how high a chart goes at least, so that what is next to nothing looks like it; `steps` are
 * those of its scale, where not all are good.
 * @type {{ title: string, unit: string, write: (value: any) => string, least: number, steps?: number[],
 *   lines: Line[] }[]}
 */
const CHARTS = [
  {
    title: "Streams and connections",
    unit: "active",
    write: format.whole,
    least: 5,
    steps: WHOLE,
    lines: [
      { name: "Streams", column: "streams", colour: "line-1" },
      { name: "Connections", column: "connections", colour: "line-2", dash: DASHED },
    ],
  },
  {
    title: "Throughput",
    unit: "a second",
    write: format.rate,
    least: 10,
    lines: [
      { name: "Chunks", column: "chunks", colour: "line-1" },
      { name: "Tokens", column: "tokens", colour: "line-2", dash: DASHED },
    ],
  },
  {
    title: "Sent",
    unit: "a second",
    write: format.bytes,
    least: 1000,
    lines: [{ name: "Bytes", column: "bytes", colour: "line-1" }],
  },
  { title: "Time to first chunk", unit: "over 10 s", write: format.ms, least: 10, lines: percentiles("first") },
  { title: "Chunk latency", unit: "over 10 s", write: format.ms, least: 5, lines: percentiles("latency") },
  {
    title: "Failures and recoveries",
    unit: "a second",
    write: format.rate,
    least: 1,
    lines: [
      { name: "Errors", column: "errors", colour: "bad" },
      { name: "Drops", column: "drops", colour: "warn", dash: DASHED },
      { name: "Fallbacks", column: "fallbacks", colour: "line-1" },
      { name: "Resumes", column: "resumes", colour: "line-2", dash: DOTTED },
    ],
  },
];

/** The style sheet's colours by name, taken anew when it changes them. */
class Palette {
  /** @type {Record<string, string>} */
  #known = {};

  /** @param {string} name */
  get(name) {
    return (this.#known[name] ??= getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  }

  forget() {
    this.#known = {};
  }
}

export class Charts {
  #palette = new Palette();
  /** @type {{ chart: any, lines: Line[], values: HTMLElement[], write: (value: any) => string }[]} */
  #drawn = [];

  /** @param {HTMLElement} place @param {History} history */
  constructor(place, history) {
    this.history = history;
    for (const one of CHARTS) this.#add(place, one);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#palette.forget();
      for (const { chart } of this.#drawn) chart.redraw(false);
    });
  }

  /** When the charts end, in seconds since 1970. */
  get #end() {
    return this.history.last || Date.now() / 1000;
  }

  /** Draws what the history holds now. */
  draw() {
    for (const { chart, lines } of this.#drawn) {
      const columns = lines.map(({ column }) => this.history.columns[column]);
      chart.setData([this.history.times, ...columns]);
    }
    this.#tell();
  }

  /** @param {HTMLElement} place @param {typeof CHARTS[number]} one */
  #add(place, one) {
    const { title, unit, write, lines } = one;
    const values = lines.map(() => make("dd", {}, format.NONE));
    const legend = lines.map(({ name, colour, dash }, at) => {
      const how = dash === DASHED ? "dashed" : dash === DOTTED ? "dotted" : "solid";
      const key = make("i", { class: `key ${colour} ${how}`, "aria-hidden": "true" });
      return make("div", {}, make("dt", {}, key, name), values[at]);
    });
    const plot = make("div", {
      class: "plot",
      role: "img",
      "aria-label": `${title} over the last five minutes; the present values are in the list before.`,
    });
    const heading = make("h3", {}, title, " ", make("small", {}, unit));
    place.append(make("section", { class: "card chart" }, heading, make("dl", { class: "legend" }, ...legend), plot));
    const uPlot = /** @type {any} */ (globalThis).uPlot;
    const chart = new uPlot(this.#options(one), [[], ...lines.map(() => [])], plot);
    new ResizeObserver(([entry]) => {
      const width = Math.floor(entry?.contentRect.width ?? 0);
      if (width >= NARROWEST && width !== chart.width) chart.setSize({ width, height: HEIGHT });
    }).observe(plot);
    this.#drawn.push({ chart, lines, values, write });
  }

  /** @param {typeof CHARTS[number]} one */
  #options({ lines, write, least, steps }) {
    const colour = (/** @type {string} */ name) => () => this.#palette.get(name);
    const axis = {
      stroke: colour("quiet"),
      font: "11px system-ui, sans-serif",
      ticks: { show: false },
      gap: 6,
    };
    return {
      width: 300,
      height: HEIGHT,
      padding: [8, 4, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: "moment", setSeries: false }, drag: { x: false, y: false }, y: false, points: { size: 6 } },
      scales: {
        x: { time: true, range: () => [this.#end - SPAN, this.#end] },
        y: { range: (/** @type {any} */ _, /** @type {number} */ __, /** @type {number | null} */ most) => [0, Math.max(least, (most ?? 0) * 1.1)] },
      },
      series: [
        {},
        ...lines.map(({ column, colour: name, dash }) => ({
          label: column,
          stroke: colour(name),
          width: 1.5,
          dash,
          points: { show: false },
        })),
      ],
      axes: [
        {
          ...axis,
          size: 24,
          space: 48,
          grid: { show: false },
          values: (/** @type {any} */ _, /** @type {number[]} */ times) =>
            times.map((time) => format.clock(time * 1000).slice(0, 5 + 3 * Number(time % 60 !== 0))),
        },
        {
          ...axis,
          size: 58,
          space: 28,
          grid: { stroke: colour("rule"), width: 1 },
          values: (/** @type {any} */ _, /** @type {number[]} */ values) => values.map(write),
          ...(steps && { incrs: steps }),
        },
      ],
      hooks: { setCursor: [() => this.#tell()] },
    };
  }

  /** The values at the pointer, or the newest ones. */
  #tell() {
    for (const { chart, lines, values, write } of this.#drawn) {
      const at = chart.cursor.left >= 0 ? (chart.cursor.idx ?? -1) : -1;
      lines.forEach(({ column }, line) =>
        put(/** @type {HTMLElement} */ (values[line]), write(this.history.columns[column]?.at(at))),
      );
    }
  }
}
