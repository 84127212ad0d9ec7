/** How fast the DAG grows: rounds a second over the last few seconds. */

const WINDOW_MS = 4_000;

export class RoundMeter {
  private samples: (readonly [ms: number, round: number])[] = [];

  take(ms: number, round: number): void {
    const last = this.samples[this.samples.length - 1];
    if (last !== undefined && round < last[1]) this.samples = [];
    this.samples.push([ms, round]);
    const kept = this.samples.findIndex(([at]) => at >= ms - WINDOW_MS);
    if (kept > 0) this.samples = this.samples.slice(kept);
  }

  /** 0 until a second has been seen. */
  perSecond(): number {
    const [first, last] = [this.samples[0], this.samples[this.samples.length - 1]];
    if (first === undefined || last === undefined || last[0] - first[0] < 1000) return 0;
    return ((last[1] - first[1]) * 1000) / (last[0] - first[0]);
  }

  clear(): void {
    this.samples = [];
  }
}
