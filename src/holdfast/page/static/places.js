/**
 * How the tabs of one browser share its connections.
 *
 * Strategy: over HTTP/1.1 a browser opens six connections to one server, and an event stream keeps
 * one for as long as it lasts. So a tab takes one of five places before it reads, and the sixth
 * connection stays free for loading pages and for stopping answers. A place is a lock of the
 * browser's, which a tab that is closed or crashes gives back by itself. HTTP/2 has all streams in
 * one connection, and needs no places; a page on plain HTTP from an address other than this
 * machine's own name has no locks, and there only time tells that nothing comes (`page.js`).
 */

const PLACES = 5;

/** Whether the page came over a protocol that carries many streams. */
const shares = () => {
  const [entry] = performance.getEntriesByType("navigation");
  return /^h[23]/.test(/** @type {PerformanceNavigationTiming} */ (entry)?.nextHopProtocol ?? "");
};

/**
 * Gives a place, as the function that gives it back; `waits` is called where all are taken.
 * @param {() => void} waits
 * @param {AbortSignal} signal ends the wait
 * @returns {Promise<() => void>}
 */
export async function place(waits, signal) {
  if (!navigator.locks || shares()) return () => {};
  for (let n = 0; n < PLACES; n++) {
    const back = await take(n, { ifAvailable: true });
    if (back) return back;
  }
  waits();
  return any(signal);
}

/** The first of all places that becomes free; the others are waited for no longer.
 * @param {AbortSignal} signal @returns {Promise<() => void>} */
async function any(signal) {
  const enough = new AbortController();
  const ends = AbortSignal.any([signal, enough.signal]);
  const waiting = Array.from({ length: PLACES }, (_, n) => take(n, { signal: ends }));
  try {
    return /** @type {() => void} */ (await Promise.any(waiting));
  } catch {
    throw signal.reason;
  } finally {
    // Before the browser can tell of another one: each that it grants is a task of its own.
    enough.abort();
  }
}

/** One place: the function that gives it back, or null where it is not to be had.
 * @param {number} n @param {LockOptions} how @returns {Promise<(() => void) | null>} */
function take(n, how) {
  return new Promise((resolve, reject) => {
    const held = navigator.locks.request(`holdfast-stream-${n}`, how, (lock) =>
      lock ? new Promise((back) => resolve(() => back(undefined))) : resolve(null),
    );
    held.catch(reject);
  });
}
