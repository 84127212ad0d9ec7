/** The first page: the DAG as it grows, its figures, and the vertex that the reader has chosen. */

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Charts, useSeconds } from "../charts/charts.tsx";
import { quantile, recent, type Second } from "../charts/series.ts";
import type { Node } from "../dag/model.ts";
import { grouped, milliseconds, plural, rate } from "../lib/format.ts";
import { useStore } from "../lib/store.ts";
import type { Session } from "../session.ts";
import { Notice } from "../ui/parts.tsx";
import { DagView } from "./dag-view.tsx";
import { VertexFacts } from "./vertex.tsx";

const SECONDS = 5;
const SPOKEN_MS = 15_000;

export function LivePage({ session }: { readonly session: Session }): JSX.Element {
  const [selected, setSelected] = useState<Node | null>(null);
  const past = useSeconds(session);
  const error = useStore(session.feedError);
  useEffect(() => {
    document.title = "Live \u00b7 cherrydag explorer";
  }, []);
  return (
    <div class="page live">
      <h1 class="unseen" tabIndex={-1}>
        Live DAG
      </h1>
      <Figures session={session} past={past} />
      {error !== null && <Notice tone="error" words={`The live feed: ${error}`} />}
      <div class={`stage ${selected === null ? "" : "with-detail"}`}>
        <DagView session={session} selected={selected} onSelect={setSelected} />
        {selected !== null && (
          <aside class="panel detail" aria-label="Chosen vertex">
            <div class="panel-head">
              <h2>Vertex</h2>
              <button type="button" onClick={() => setSelected(null)} aria-label="Close the details">
                Close
              </button>
            </div>
            <VertexFacts session={session} name={selected.name} />
          </aside>
        )}
      </div>
      <Charts past={past} />
      <Spoken session={session} past={past} />
    </div>
  );
}

function Figures({ session, past }: { readonly session: Session; readonly past: readonly Second[] }): JSX.Element {
  const status = useStore(session.status);
  const [round, setRound] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setRound(session.dag.round), 250);
    return () => clearInterval(timer);
  }, [session]);
  const latest = past.slice(-SECONDS);
  const median = quantile(
    latest.flatMap((second) => second.finalityMs),
    0.5,
  );
  const figures: readonly (readonly [string, string])[] = [
    ["Round", grouped(round || (status?.round ?? 0))],
    ["Commit", status === null ? "\u2013" : grouped(status.commit_index)],
    ["Transactions a second", rate(recent(past.map((second) => second.transactions), SECONDS))],
    ["Commits a second", rate(recent(past.map((second) => second.commits), SECONDS))],
    ["Vertices a second", rate(recent(past.map((second) => second.vertices), SECONDS))],
    ["Finality, median", median === null ? "\u2013" : milliseconds(median)],
  ];
  return (
    <>
      {status !== null && !status.is_ready && (
        <Notice tone="error" words={`This node is not ready: ${status.reasons.map((reason) => reason.text).join("; ")}.`} />
      )}
      <dl class="figures-row" aria-label="Figures of the last five seconds">
        {figures.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}

/** For who does not see the canvas: what has happened, every 15 seconds. */
function Spoken({ session, past }: { readonly session: Session; readonly past: readonly Second[] }): JSX.Element {
  const [words, setWords] = useState("");
  useEffect(() => {
    const timer = setInterval(() => setWords(summary(session, session.series.past(Date.now()))), SPOKEN_MS);
    return () => clearInterval(timer);
  }, [session]);
  return (
    <p class="unseen" role="status" aria-live="polite">
      {words || (past.length ? "" : "The live DAG is loading.")}
    </p>
  );
}

function summary(session: Session, past: readonly Second[]): string {
  const seconds = past.slice(-SPOKEN_MS / 1000);
  const sum = (of: (second: Second) => number): number => seconds.reduce((total, second) => total + of(second), 0);
  const leader = session.dag.chain[session.dag.chain.length - 1];
  const led = leader === undefined ? "" : ` The last leader is ${session.authorName(leader.lane.author, leader.lane.issuer)} of round ${leader.round}.`;
  return `Round ${session.dag.round}. In the last ${seconds.length} seconds ${plural(sum((one) => one.vertices), "vertex", "vertices")}, ${plural(sum((one) => one.commits), "commit")} and ${plural(sum((one) => one.transactions), "transaction")}.${led}`;
}
