/** How long to wait before the next attempt to connect. */

const FIRST_MS = 500;
const MOST_MS = 15_000;

/** Doubles with each failure up to 15 s, less a random part of up to a half, so that many tabs do not come back at
 * once. random: from 0 up to 1. */
export function backoffMs(failures: number, random: number): number {
  const full = Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(failures, 10));
  return Math.round(full * (1 - random / 2));
}
