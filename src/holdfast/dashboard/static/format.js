/**
 * How numbers and times are written: one form for each unit, the same everywhere.
 *
 * Strategy: pure. What was not measured is a dash and never 0. Numbers keep about three figures, so
 * that one that changes each second does not change its width.
 */

export const NONE = "–";

/** @typedef {number | null | undefined} Measured */

/** Written by `write`, or a dash where there is nothing to write.
 * @param {Measured} value @param {(value: number) => string} write */
const known = (value, write) => (value == null || !Number.isFinite(value) ? NONE : write(value));

/** @param {number} value @param {number} digits after the point */
const fixed = (value, digits) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** A count. @param {Measured} value */
export const whole = (value) => known(value, (n) => fixed(Math.round(n), 0));

/** Something a second: a small one is not rounded to nothing. @param {Measured} value */
export const rate = (value) =>
  known(value, (n) => (n === 0 ? "0" : n < 0.01 ? "<0.01" : fixed(n, n < 1 ? 2 : n < 100 ? 1 : 0)));

/** @type {(value: Measured) => string} of ms */
export const ms = (value) =>
  known(value, (n) => {
    if (n > 0 && n < 0.05) return "<0.1 ms";
    if (n < 999.5) return `${fixed(n, n > 0 && n < 9.95 ? 1 : 0)} ms`;
    return n < 60_000 ? `${fixed(n / 1000, 2)} s` : duration(n);
  });

/** @type {(value: Measured) => string} of ms */
export const duration = (value) =>
  known(value, (n) => {
    if (n < 60_000) return ms(n);
    const seconds = Math.round(n / 1000);
    const [days, hours, minutes] = [seconds / 86_400, (seconds / 3600) % 24, (seconds / 60) % 60].map(Math.floor);
    const parts = [`${days} d`, `${hours} h`, `${minutes} min`, `${seconds % 60} s`];
    const first = parts.findIndex((part) => !part.startsWith("0 "));
    return parts.slice(first, first + 2).filter((part) => !part.startsWith("0 ")).join(" ");
  });

const SIZES = ["B", "kB", "MB", "GB", "TB"];

/** @param {Measured} value in bytes */
export const bytes = (value) =>
  known(value, (n) => {
    let at = 0;
    for (; n >= 999.5 && at < SIZES.length - 1; at++) n /= 1000;
    return `${fixed(n, at === 0 || n >= 100 ? 0 : n >= 10 ? 1 : 2)} ${SIZES[at]}`;
  });

/** @param {Measured} value from 0 to 1 */
export const share = (value) =>
  known(value, (n) => `${fixed(n * 100, n > 0 && n < 0.0995 ? 1 : 0)} %`);

/** @param {number} n */
const two = (n) => `${n}`.padStart(2, "0");

/** Local time of day. @param {number | string | null | undefined} time */
export function clock(time) {
  if (time == null) return NONE;
  const date = new Date(time);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
}

/** Local time; of another day than today's the day and the minute.
 * @param {number | string | null | undefined} time @param {number} now */
export function moment(time, now) {
  if (time == null) return NONE;
  const [date, today] = [new Date(time), new Date(now)];
  if (date.toDateString() === today.toDateString()) return clock(time);
  const day = `${date.getDate()} ${date.toLocaleString("en", { month: "short" })}`;
  const year = date.getFullYear() === today.getFullYear() ? "" : ` ${date.getFullYear()}`;
  return `${day}${year} ${clock(time).slice(0, 5)}`;
}

/** A figure in the unit that a rule names. @param {Measured} value @param {string | undefined} unit */
export function figure(value, unit) {
  if (unit === "share") return share(value);
  if (unit === "seconds") return duration(value == null ? value : value * 1000);
  return unit === "count" ? whole(value) : rate(value);
}

/** A word of the wire, for people: `half_open` is "half open". @param {string | null | undefined} name */
export const words = (name) => (name ? name.replaceAll("_", " ") : NONE);
