/** The live figures: transfers a second, and finality. */

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { milliseconds, rate } from "../lib/format.ts";
import type { Session } from "../session.ts";
import { LineChart } from "./line.tsx";
import { quantile, type Second } from "./series.ts";

export function useSeconds(session: Session): readonly Second[] {
  const [past, setPast] = useState<readonly Second[]>([]);
  useEffect(() => {
    const timer = setInterval(() => setPast(session.series.past(Date.now())), 1000);
    return () => clearInterval(timer);
  }, [session]);
  return past;
}

export function Charts({ past }: { readonly past: readonly Second[] }): JSX.Element {
  return (
    <div class="charts">
      <LineChart
        title="Transactions a second"
        note="Of the commits that came in each second."
        lines={[{ name: "final", tone: "first", values: past.map((second) => second.transactions) }]}
        format={rate}
      />
      <LineChart
        title="Finality"
        note="From a vertex’s own time to the arrival of its commit here; clocks that differ shift it."
        lines={[
          { name: "median", tone: "first", values: past.map((second) => quantile(second.finalityMs, 0.5)) },
          { name: "99th", tone: "second", values: past.map((second) => quantile(second.finalityMs, 0.99)) },
        ]}
        format={milliseconds}
      />
    </div>
  );
}
