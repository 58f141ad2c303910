/**
 * Reads answers of a Holdfast server to their end, whatever happens to the connections.
 *
 * Strategy: an `Answer` is one loop: connect, take event after event, and where the response ends
 * before the terminal event, however cleanly, come back with the position. What it holds (id,
 * position, text) is one plain object, so that a page which is loaded again goes on from it and is
 * sent nothing twice. That the answer is exact is checked and not believed: events follow each
 * other without a gap, and at `complete` length and SHA-256 must be those of the text that came.
 *
 * Nothing here is of a browser or of Node alone. Times are in milliseconds.
 * @module
 */

/**
 * @typedef {{ type: string, data: any, id: string }} Event `id` is "" where it moves no position
 * @typedef {{ id: string, name: string, arguments: string }} ToolCall
 * @typedef {"sha256" | "length" | null} Verified by what the text was proved; null: it is a part
 * @typedef {{ content: string, reasoning: string, refusal: string, toolCalls: ToolCall[],
 *   finishReason: string | null }} Choice
 * @typedef {Choice & { id: string, choices: Choice[], usage: any, verified: Verified,
 *   complete: any }} Final `complete` is the terminal event's data
 * @typedef {"connecting" | "open" | "waiting" | "closed"} Connection
 * @typedef {{ state: Connection, delay?: number, error?: HoldfastError }} ConnectionChange
 * @typedef {(data: any, event: Event) => void} Handler `data` as in PROTOCOL.md, 2
 * @typedef {{ start?: Handler, chunk?: Handler, metadata?: Handler, rewind?: Handler,
 *   reconnect?: (data: { retry_ms: number, reason: string }) => void,
 *   connection?: (change: ConnectionChange) => void, complete?: (final: Final) => void,
 *   error?: (error: HoldfastError) => void }} Handlers
 * @typedef {{ getItem(key: string): string | null, setItem(key: string, value: string): void,
 *   removeItem(key: string): void }} Store
 * @typedef {{ url?: string, apiKey?: string, headers?: Record<string, string>,
 *   fetch?: (url: string, init: RequestInit) => Promise<Response>, storage?: Store | null,
 *   silence?: number, patience?: number }} Options
 * @typedef {{ root: string, auth: Headers, fetch: NonNullable<Options["fetch"]>, silence: number,
 *   patience: number }} Inner
 * @typedef {{ key?: string, signal?: AbortSignal }} Use `key`: the name to remember it by; `signal`
 *   leaves it
 * @typedef {{ content: string, reasoning: string, refusal: string, calls: Record<number, ToolCall>,
 *   finishReason: string | null, [text: string]: any }} Part
 * @typedef {{ id: string, at: string, whole: boolean, parts: Record<number, Part>,
 *   end?: { type: string, data: any }, body?: string, idempotencyKey?: string,
 *   url?: string }} Held
 */

/** Characters of a line or of an event's data, and of all events of an answer. */
const MAX_EVENT = 4 << 20;
const MAX_ANSWER = 64 << 20;

/** Events that wait for an iterator before reading pauses. */
const MAX_WAITING = 256;

const SAVE_EVERY = 250;

/** What went wrong: `code` and `status` (0: no answer of HTTP) as in PROTOCOL.md, 9. */
export class HoldfastError extends Error {
  name = "HoldfastError";
  code = "";
  status = 0;
  retryable = false;
  /** The server's hint, in ms. */
  retryAfter = 0;

  /**
   * @param {string} code
   * @param {string} message
   * @param {{ status?: number, retryable?: boolean, retryAfter?: number }} [more]
   */
  constructor(code, message, more) {
    super(message);
    Object.assign(this, more, { code });
  }
}

/** @param {string} message @returns {never} */
const distrust = (message) => {
  throw new HoldfastError("verification_failed", message);
};

/** @param {unknown} cause @param {number | null} [retryAfter] */
const lost = (cause, retryAfter) =>
  new HoldfastError("connection_lost", `The connection broke off: ${cause}`, {
    retryable: true,
    retryAfter: retryAfter ?? 0,
  });

/** @param {number} size */
const limit = (size, max = MAX_EVENT) => {
  if (size > max) throw new HoldfastError("too_large", `The events are over ${max} characters.`);
};

/**
 * @template T
 * @param {Promise<T>} promise of the network @param {number | null} [retryAfter]
 * @returns {Promise<T>}
 */
const network = (promise, retryAfter) =>
  promise.catch((error) => {
    throw lost(error, retryAfter);
  });

/** Server-sent events (WHATWG HTML, 9.2.6), of one response. `retry` is the newest, or null. */
export class Parser {
  /** @type {number | null} */
  retry = null;
  #decoder = new TextDecoder();
  #afterCR = false;
  #rest = "";
  #type = "";
  #id = "";
  /** @type {string | null} */
  #data = null;

  /**
   * The events that these bytes complete; raises `too_large` behind the last good one.
   * @param {Uint8Array} bytes
   * @returns {Generator<Event>}
   */
  *feed(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (!text) return;
    if (this.#afterCR && text[0] == "\n") text = text.slice(1);
    this.#afterCR = text.endsWith("\r");
    const lines = text.split(/\r\n?|\n/);
    lines[0] = this.#rest + lines[0];
    this.#rest = /** @type {string} */ (lines.pop());
    for (const line of lines) {
      limit(line.length);
      if (line) this.#field(line);
      else {
        if (this.#data != null)
          yield { type: this.#type || "message", data: this.#data, id: this.#id };
        this.#data = null;
        this.#type = "";
      }
    }
    limit(this.#rest.length);
  }

  /** @param {string} line */
  #field(line) {
    const [, name, value] = /** @type {string[]} */ (/([^:]*):? ?(.*)/s.exec(line));
    if (name == "data") {
      this.#data = this.#data == null ? value : `${this.#data}\n${value}`;
      limit(this.#data.length);
    } else if (name == "event") this.#type = value;
    else if (name == "id" && !value.includes("\0")) this.#id = value;
    else if (name == "retry" && /^\d{1,10}$/.test(value)) this.retry = +value;
  }
}

/**
 * The delay before the next try: the server's hint and full jitter, up to a bound that doubles.
 * @param {number} attempt without a new event, from 1
 * @param {number} hint
 * @param {number} random in [0, 1)
 */
export const pause = (attempt, hint, random) =>
  Math.max(0, +hint || 0) + random * Math.min(15_000, 125 * 2 ** attempt);

/**
 * The delay before the next try; raises where there is none.
 * @param {{ attempt: number, waited: number }} tries since the last new event
 * @param {any} error why there is to be another
 * @param {number} patience
 */
function again(tries, error, patience) {
  // A limit of the caller's own is not waited for: it may be tomorrow's.
  if (!error.retryable || /_limit$/.test(error.code)) throw error;
  const delay = pause(++tries.attempt, error.retryAfter, Math.random());
  if ((tries.waited += delay) > patience)
    throw new HoldfastError("gave_up", `Gave up at try ${tries.attempt}: ${error.message}`, error);
  return delay;
}

/** Returns in time, or as soon as it is woken or the network is back.
 * @param {number} delay @param {AbortSignal} [wake] @returns {Promise<void>} */
const sleep = (delay, wake) =>
  new Promise((resolve) => {
    const over = () => {
      clearTimeout(timer);
      globalThis.removeEventListener?.("online", over);
      resolve();
    };
    const timer = setTimeout(over, delay);
    globalThis.addEventListener?.("online", over);
    wake?.addEventListener("abort", over);
  });

/**
 * What the server answers with a status of success; raises anything else.
 * @param {Inner} options @param {string} path @param {RequestInit} init
 */
async function ask({ fetch, root }, path, init) {
  const url = path[0] == "/" ? root + path : path;
  const response = await network(fetch(url, { cache: "no-store", ...init }));
  return response.ok ? response : refuse(response);
}

/**
 * Raises what the answer says, which is not what was wanted.
 * @param {Response} response
 * @returns {Promise<never>}
 */
async function refuse(response) {
  const { status, headers } = response;
  const problem = await response.json().catch(() => null);
  const code = problem?.code ?? `http_${status}`;
  throw new HoldfastError(
    code,
    problem?.detail ?? `The server answered ${status}, with ${headers.get("Content-Type")}.`,
    {
      status,
      // What is left out meets the same request again.
      retryable:
        /^(408|425|429|5(?!01|05))/.test(`${status}`) && !/missing_key|log_corrupt|key_missing/.test(code),
      retryAfter: +(headers.get("Retry-After") ?? 0) * 1000 || 0,
    },
  );
}

/**
 * One JSON object by a POST without a body, asked for until it comes or never will.
 * @param {Inner} options @param {string} path
 */
async function call(options, path) {
  const tries = { attempt: 0, waited: 0 };
  for (;;)
    try {
      const signal = AbortSignal.timeout(options.silence);
      const response = await ask(options, path, { method: "POST", headers: options.auth, signal });
      return await network(response.json());
    } catch (error) {
      await sleep(again(tries, error, options.patience));
    }
}

/**
 * Raises unless the text is as long, and hashes, as the server says.
 * @param {string} text
 * @param {{ length: number, sha256: string }} said
 * @returns {Promise<Verified>}
 */
export async function verify(text, said) {
  const bytes = new TextEncoder().encode(text);
  // Browsers have it on secure origins alone: not over plain HTTP from another machine.
  const hash = await globalThis.crypto?.subtle?.digest("SHA-256", bytes);
  const hex =
    hash && Array.from(new Uint8Array(hash), (n) => n.toString(16).padStart(2, "0")).join("");
  if (bytes.length != said.length || (hex && hex != said.sha256))
    distrust(
      `The text is not the server's: ${bytes.length} bytes for ${said.length}, SHA-256 ${hex} for ${said.sha256}.`,
    );
  return hex ? "sha256" : "length";
}

/** @returns {Part} */
const part = () => ({ content: "", reasoning: "", refusal: "", calls: {}, finishReason: null });

/** @param {Part} part @returns {Choice} */
const shown = ({ calls, ...rest }) => ({ ...rest, toolCalls: Object.values(calls) });

/** @param {string} id */
const path = (id) => `/v1/streams/${encodeURIComponent(id)}`;

/** @param {string} key */
const named = (key) => `holdfast:${key}`;

/** `randomUUID` is for secure origins alone. */
const random = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

/** @returns {Store | null} */
const session = () => {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null; // forbidden to this page
  }
};

/**
 * What is held, with one more event.
 * @param {Held} held @param {string} type @param {any} data
 */
function fold(held, type, data) {
  const kind = data.type;
  if (type == "rewind") held.parts = { 0: part() };
  else if (type == "complete" || type == "error") held.end = { type, data };
  else if (type == "chunk" || (type == "metadata" && kind == "finish")) {
    const to = (held.parts[data.choice | 0] ??= part());
    if (kind == "finish") to.finishReason = data.finish_reason;
    else if (kind == "tool_call") {
      const call = (to.calls[data.call | 0] ??= { id: "", name: "", arguments: "" });
      call.id ||= data.id ?? "";
      call.name ||= data.name ?? "";
      call.arguments += data.delta ?? "";
    } else if (typeof to[kind] == "string") to[kind] += data.delta ?? "";
  }
}

/** An answer under way; `Holdfast` gives one. It reads by itself, until it is over or left. */
export class Answer {
  /** Event streams that the server began after the first; -1 before that. */
  reconnects = -1;
  #options;
  #held;
  #keep;
  #done;
  #tries = { attempt: 0, waited: 0 };
  #furthest;
  #size = 0;
  #left = false;
  #over = false;
  #cut = new AbortController();
  /** @type {Handlers[]} */
  #handlers = [];
  /** @type {Set<Event[]>} */
  #queues = new Set();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #saving;
  #wake = () => {};
  /** @type {Promise<void>} resolves at the next change of anything here */
  #changed = Promise.resolve();
  #save = () => {
    clearTimeout(this.#saving);
    this.#saving = undefined;
    this.#keep();
  };

  /**
   * @param {Inner} options
   * @param {Held} held
   * @param {() => void} keep puts it where the next page finds it
   * @param {AbortSignal} [signal]
   */
  constructor(options, held, keep, signal) {
    this.#options = options;
    this.#held = held;
    this.#keep = keep;
    this.#furthest = this.#seq;
    this.#change();
    this.#save();
    globalThis.addEventListener?.("pagehide", this.#save);
    const left = () => this.leave();
    signal?.addEventListener("abort", left);
    if (signal?.aborted) left();
    // A signal that lives longer than this shall not keep it.
    this.#done = this.#run().finally(() => signal?.removeEventListener("abort", left));
    this.#done.then(
      (final) => this.#tell("complete", final),
      (error) => this.#tell("error", error),
    );
  }

  /** "" until the server has told it. */
  get id() {
    return this.#held.id;
  }

  /** `<epoch>-<seq>` of the last event taken in, or "". */
  get position() {
    return this.#held.at;
  }

  /** As in PROTOCOL.md, 2.9. */
  get status() {
    const { end, parts } = this.#held;
    if (end?.type == "complete") return "completed";
    if (end) return end.data.code == "cancelled" ? "cancelled" : "error";
    return Object.keys(parts).length ? "streaming" : "pending";
  }

  /** The text so far; proved only by `complete`. */
  get content() {
    return this.#held.parts[0]?.content ?? "";
  }

  /** @returns {Choice[]} what there is so far, one for each of `n` */
  get choices() {
    return Object.values({ 0: part(), ...this.#held.parts }).map(shown);
  }

  /**
   * Calls these back, by the event's name, with its data and the event; `complete` with what
   * `final` gives, `error` with a HoldfastError, `connection` with a ConnectionChange.
   * @param {Handlers} handlers
   */
  on(handlers) {
    this.#handlers.push(handlers);
    return this;
  }

  /** The events from now on, the terminal one last. Raises what ends the reading without it. */
  [Symbol.asyncIterator]() {
    return this.#events([]);
  }

  /** The text so far in one piece, then piece by piece. A `rewind` behind the first piece raises
   * `rewound`: what was given out is void, and another call begins with the new text. */
  async *text() {
    let given = false;
    const first = { type: "chunk", data: { type: "content", delta: this.content }, id: "" };
    for await (const { type, data } of this.#events([first])) {
      if (type == "rewind" && given)
        throw new HoldfastError("rewound", "The text begins anew.", { retryable: true });
      if (type == "chunk" && data.type == "content" && !data.choice && data.delta) {
        given = true;
        yield /** @type {string} */ (data.delta);
      }
    }
    await this.#done;
  }

  /** The whole answer, verified. Rejects with a HoldfastError. */
  final() {
    return this.#done;
  }

  /** Ends the reading; the answer goes on without it. */
  leave() {
    this.#left = true;
    this.drop();
  }

  /** Cuts the connection, as a pulled plug would; it comes back by itself, from a wait at once. */
  drop() {
    this.#cut.abort();
    this.#change();
  }

  /** Stops the answer itself: its readers get the terminal event. Gives the stream's entry. */
  async cancel() {
    while (!this.id) await (this.#over ? this.#done : this.#changed);
    return call(this.#options, `${path(this.id)}/cancel`);
  }

  get #seq() {
    return +this.#held.at.split("-")[1] || 0;
  }

  #change() {
    this.#wake();
    this.#changed = new Promise((resolve) => (this.#wake = resolve));
  }

  /** @param {Event[]} queue @returns {AsyncGenerator<Event, void>} */
  async *#events(queue) {
    this.#queues.add(queue);
    try {
      for (;;) {
        const event = queue.shift();
        if (event) {
          this.#change();
          yield event;
        } else if (!this.#over) await this.#changed;
        else if (this.#held.end?.type == "error") return;
        else {
          await this.#done;
          return;
        }
      }
    } finally {
      this.#queues.delete(queue);
      this.#change();
    }
  }

  /** @param {string} kind @param {any} data @param {any} [event] */
  #tell(kind, data, event) {
    for (const handlers of this.#handlers)
      try {
        /** @type {any} */ (handlers)[kind]?.(data, event);
      } catch (error) {
        // A mistake of the page is reported as one, and costs nobody the answer.
        (globalThis.reportError ?? console.error)(error);
      }
  }

  /** @returns {Promise<Final>} */
  async #run() {
    await null; // whoever asked has this turn to listen
    try {
      while (!this.#held.end) await this.#read().catch((error) => this.#comeBack(error));
      return await this.#final();
    } finally {
      this.#over = true;
      globalThis.removeEventListener?.("pagehide", this.#save);
      this.#save();
      this.#tell("connection", { state: "closed" });
      this.#change();
    }
  }

  /** @returns {Promise<Final>} */
  async #final() {
    const { id, whole, parts, end } = this.#held;
    const { type, data } = /** @type {{ type: string, data: any }} */ (end);
    if (type == "error") throw new HoldfastError(data.code, data.message, data);
    /** @type {Verified} */
    let verified = null;
    for (const said of whole ? (data.choices ?? [data]) : [])
      verified = await verify(parts[said.choice | 0]?.content ?? "", said);
    const { choices } = this;
    return { ...choices[0], id, choices, usage: data.usage, verified, complete: data };
  }

  /** Waits until the next try; raises where there is none. @param {unknown} error */
  async #comeBack(error) {
    if (this.#left)
      throw new HoldfastError("left", "The answer was left; it goes on.", { retryable: true });
    const delay = again(this.#tries, error, this.#options.patience);
    this.#cut = new AbortController();
    this.#tell("connection", { state: "waiting", delay, error });
    await sleep(delay, this.#cut.signal);
  }

  /** One connection: returns behind the terminal event, raises whatever else ends it. */
  async #read() {
    const cut = (this.#cut = new AbortController());
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => cut.abort(), this.#options.silence);
    };
    const close = () => {
      clearTimeout(timer);
      cut.abort();
    };
    if (this.#left) close();
    else alive();
    try {
      this.#tell("connection", { state: "connecting" });
      const response = await this.#ask(cut.signal);
      if (response.status == 204)
        throw new HoldfastError("nothing_left", "The stream has ended; nothing is left.");
      if (!/^text\/event-stream/.test(`${response.headers.get("Content-Type")}`))
        await refuse(response);
      this.#held.id ||= response.headers.get("X-Stream-Id") ?? "";
      this.reconnects++;
      this.#tell("connection", { state: "open" });
      this.#change();
      const parser = new Parser();
      const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
      const next = () => network(reader.read(), parser.retry);
      for (;;) {
        alive();
        const { done, value } = await next();
        clearTimeout(timer);
        if (done) throw lost("it ended before its answer", parser.retry);
        for (const event of parser.feed(value)) if (!this.#held.end) this.#take(event);
        if (this.#held.end) {
          // It ends by itself: a reader that had all shall not look like one that ran away.
          alive();
          next().then(close, close);
          return;
        }
        while ([...this.#queues].some((queue) => queue.length > MAX_WAITING) && !cut.signal.aborted)
          await this.#changed;
      }
    } catch (error) {
      close();
      throw error;
    }
  }

  /** @param {AbortSignal} signal */
  #ask(signal) {
    const { id, at, body, url, idempotencyKey = "" } = this.#held;
    const headers = new Headers(url ? {} : this.#options.auth);
    headers.set("Accept", "text/event-stream");
    if (at) headers.set("Last-Event-ID", `${id}:${at}`);
    if (id) return ask(this.#options, url ?? `${path(id)}/events`, { headers, signal });
    headers.set("Content-Type", "application/json");
    headers.set("Idempotency-Key", idempotencyKey);
    return ask(this.#options, "/v1/streams", { method: "POST", headers, body, signal });
  }

  /** @param {Event} event as the parser gives it */
  #take({ type, data: text, id }) {
    const held = this.#held;
    const known = /^(start|chunk|metadata|error|complete)$/.test(type);
    /** @type {any} */
    let data = {};
    try {
      data = JSON.parse(text) ?? data;
    } catch {
      if (known) distrust(`The ${type} event behind ${held.at} cannot be read.`);
    }
    if (type == "heartbeat") return;
    if (type == "reconnect") {
      this.#tell(type, data);
      throw lost(data.reason, data.retry_ms);
    }
    this.#size += text.length;
    limit(this.#size, MAX_ANSWER);
    // An id persists over blocks without one, so only the next one is an event's own.
    const [, stream, at = "", seq = 0] = /^(\w+):(\d+-(\d+))$/.exec(id) ?? [];
    if (stream && stream == (held.id || stream) && +seq == this.#seq + 1 && (known || +seq > 1)) {
      held.id = stream;
      held.at = at;
      if (+seq > this.#furthest) {
        this.#furthest = +seq;
        this.#tries = { attempt: 0, waited: 0 };
      }
    } else if (type == "rewind") {
      held.at = id = "";
      held.whole = true;
      this.#size = 0;
    } else if (type == "error" && (!id || id == `${held.id}:${held.at}`)) {
      id = ""; // it stands in no log: what follows cannot be read from it
    } else if (known) distrust(`Event ${id} came behind ${held.at || "the begin"}.`);
    else return;
    fold(held, type, data);
    const event = { type, data, id };
    for (const queue of this.#queues) queue.push(event);
    if (!held.end) this.#tell(type, data, event);
    this.#change();
    this.#saving ??= setTimeout(this.#save, SAVE_EVERY);
  }
}

/** A client of one server. */
export class Holdfast {
  #options;
  /** @type {Store | null} */
  #store;
  /** The answer that is remembered under each key. @type {Map<string, Held>} */
  #newest = new Map();

  /**
   * @param {Options} [options] `url`: of the server, "" is the page's own. `storage`: where answers
   *   with a `key` are remembered, sessionStorage without it, null for nowhere. `silence`: without
   *   a byte, until a connection counts as cut (three heartbeats). `patience`: of waiting without
   *   a new event, until it gives up.
   */
  constructor({
    url = "",
    apiKey,
    headers,
    storage,
    fetch = globalThis.fetch,
    silence = 45_000,
    patience = 300_000,
  } = {}) {
    const auth = new Headers(headers);
    if (apiKey) auth.set("Authorization", `Bearer ${apiKey}`);
    this.#options = { root: url.replace(/\/+$/, ""), auth, fetch, silence, patience };
    this.#store = storage === undefined ? session() : storage;
  }

  /**
   * A new answer; `request` is the body of `POST /v1/streams`. The same `idempotencyKey`, which is
   * made where none is given, never makes a second one.
   * @param {Record<string, unknown>} request
   * @param {Use & { idempotencyKey?: string }} [use]
   */
  stream(request, { idempotencyKey = random(), ...use } = {}) {
    return this.#answer({ body: JSON.stringify(request), idempotencyKey }, use);
  }

  /**
   * Somebody's answer, by its id, with its events up to `after` (an SSE id, or what stands behind
   * its colon) left out; by `url`, a signed one, where there is no key.
   * @param {string} id
   * @param {Use & { after?: string, url?: string }} [use]
   */
  read(id, { after = "", url, ...use } = {}) {
    const at = after.replace(/^.*:|\d+-0+$/g, "");
    return this.#answer({ id, at, whole: !at, url }, use);
  }

  /**
   * What is remembered under this key, read on from there, or null. One that had ended is there
   * at once.
   * @param {string} key
   * @param {{ signal?: AbortSignal }} [use]
   */
  resume(key, { signal } = {}) {
    try {
      const held = JSON.parse(this.#store?.getItem(named(key)) ?? "{}");
      if (held.id || held.body) return this.#answer(held, { key, signal });
    } catch {
      // What is there is not ours.
    }
    return null;
  }

  /** @param {string} key */
  forget(key) {
    this.#newest.delete(key);
    this.#store?.removeItem(named(key));
  }

  /** A signed URL of a stream's events: whoever has it may read this answer. @param {string} id */
  async link(id) {
    return this.#options.root + (await call(this.#options, `${path(id)}/links`)).url;
  }

  /** @param {Partial<Held>} some @param {Use} use */
  #answer(some, { key = "", signal }) {
    const held = { id: "", at: "", whole: true, parts: {}, ...some };
    this.forget(key);
    this.#newest.set(key, held);
    return new Answer(
      this.#options,
      held,
      () => {
        if (held.id) held.body = "";
        try {
          if (key && this.#newest.get(key) == held)
            this.#store?.setItem(named(key), JSON.stringify(held));
        } catch {
          // No room: what was kept before is older, and true.
        }
      },
      signal,
    );
  }
}
