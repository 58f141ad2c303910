/**
 * The figures of an answer as it comes: a rate that follows the last moments, and its history.
 *
 * Strategy: pieces are counted in bins of a quarter of a second, of which a bounded number is kept.
 * The time is passed in, in milliseconds, so that nothing here waits or asks a clock.
 */

const BIN = 250;
const BINS = 120;

/** Bins that the present rate is taken from: long enough to be calm, short enough to be live. */
const RECENT = 6;

export class Meter {
  /** @param {number} now when it was asked */
  constructor(now) {
    this.begun = now;
    /** @type {number | null} ms from the asking to the first piece */
    this.first = null;
    /** @type {number[]} pieces a bin, the present one last */
    this.bins = [0];
    this.bin = Math.floor(now / BIN);
  }

  /** @param {number} now */
  add(now) {
    this.first ??= now - this.begun;
    this.advance(now);
    this.bins[this.bins.length - 1] += 1;
  }

  /** @param {number} now */
  advance(now) {
    const bin = Math.floor(now / BIN);
    // A tab that slept has nothing to show of that time but that nothing came.
    for (let empty = Math.min(bin - this.bin, BINS); empty > 0; empty--) this.bins.push(0);
    this.bins = this.bins.slice(-BINS);
    this.bin = bin;
  }

  /** Pieces a second, over the last bins that are whole. @param {number} now */
  rate(now) {
    this.advance(now);
    const whole = this.bins.slice(-RECENT - 1, -1);
    return whole.length ? (whole.reduce((sum, n) => sum + n, 0) * 1000) / (whole.length * BIN) : 0;
  }

  /** Where the history begins in a box of this width; its end is at the right. @param {number} width */
  left(width) {
    return (width * (BINS - this.bins.length + 1)) / (BINS - 1);
  }

  /** The history as a path in a box of this size. What comes at once after a gap stands out, but
   * does not make all else flat. @param {number} width @param {number} height */
  line(width, height) {
    const bins = this.bins.slice(0, -1);
    if (bins.length < 2) return "";
    const usual = [...bins].sort((a, b) => a - b)[Math.floor(bins.length * 0.9)];
    const top = Math.max(1, usual * 1.6);
    const left = this.left(width);
    const points = bins.map((n, at) => {
      const y = height - 1 - Math.min(1, n / top) * (height - 3);
      return `${(left + (at * width) / (BINS - 1)).toFixed(2)},${y.toFixed(1)}`;
    });
    return `M${points.join(" L")}`;
  }
}
