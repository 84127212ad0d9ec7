/** What the charts show: transfers a second and finality, by the second in which commits came here. */

const SECONDS = 120;

export interface Second {
  /** Whole seconds of this browser's clock. */
  readonly at: number;
  transactions: number;
  vertices: number;
  commits: number;
  /** Milliseconds from a vertex's own time to the arrival of the commit that orders it. */
  readonly finalityMs: number[];
}

export class Series {
  private seconds: Second[] = [];

  commit(nowMs: number, transactions: number, vertexTimesMs: readonly number[]): void {
    const second = this.second(nowMs);
    second.transactions += transactions;
    second.commits += 1;
    for (const timeMs of vertexTimesMs) second.finalityMs.push(Math.max(0, nowMs - timeMs));
  }

  vertices(nowMs: number, count: number): void {
    this.second(nowMs).vertices += count;
  }

  clear(): void {
    this.seconds = [];
  }

  /** The last seconds that are over, one entry each, the oldest first; empty until one is over. */
  past(nowMs: number): readonly Second[] {
    const now = Math.floor(nowMs / 1000);
    const first = this.seconds[0];
    if (first === undefined || first.at >= now) return [];
    const from = Math.max(now - SECONDS, first.at + (first.at > now - SECONDS ? 1 : 0)); // a first second is not whole
    const known = new Map(this.seconds.map((second) => [second.at, second]));
    return Array.from({ length: Math.max(0, now - from) }, (_, at) => known.get(from + at) ?? empty(from + at));
  }

  private second(nowMs: number): Second {
    const at = Math.floor(nowMs / 1000);
    const last = this.seconds[this.seconds.length - 1];
    if (last !== undefined && last.at >= at) return last;
    const second = empty(at);
    this.seconds.push(second);
    if (this.seconds.length > SECONDS + 2) this.seconds.shift();
    return second;
  }
}

function empty(at: number): Second {
  return { at, transactions: 0, vertices: 0, commits: 0, finalityMs: [] };
}

/** The value that this part of the samples does not pass; null without samples. */
export function quantile(samples: readonly number[], part: number): number | null {
  if (samples.length === 0) return null;
  const ascending = [...samples].sort((a, b) => a - b);
  return ascending[Math.min(ascending.length - 1, Math.ceil(part * ascending.length) - 1)] ?? null;
}

/** The mean of the last `count` values. */
export function recent(values: readonly number[], count: number): number {
  const taken = values.slice(-count);
  return taken.length ? taken.reduce((sum, value) => sum + value, 0) / taken.length : 0;
}

/** The least round number of the form 1, 2 or 5 times a power of ten that is not below the value. */
export function niceCeiling(value: number): number {
  if (value <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 5, 10].find((one) => one * power >= value) ?? 10) * power;
}
