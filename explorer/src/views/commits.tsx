/** The commits of the main chain, as they come; and one of them with its transactions. */

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { inWords } from "../api/errors.ts";
import type { CommitSummary, Transaction } from "../api/types.ts";
import { followCommits } from "../lib/commit-feed.ts";
import { CommitList } from "../lib/commit-list.ts";
import { clock, grouped, moment, plural, short, statusWords } from "../lib/format.ts";
import { useStore } from "../lib/store.ts";
import type { Session } from "../session.ts";
import { CommitLink, Facts, Hex, Notice, Page, Panel, Shown, Table, VertexLink, useLoaded } from "../ui/parts.tsx";
import { TransactionTable } from "./rows.tsx";

const ROWS = 100;
const REFS_SHOWN = 60;

export function CommitsPage({ session }: { readonly session: Session }): JSX.Element {
  const waking = useStore(session.waking);
  const [list, setLive] = useState<CommitList | null>(null);
  const live = list ?? CommitList.empty();
  const [held, setHeld] = useState<CommitList | null>(null);
  const [error, setError] = useState("");
  const shown = held ?? live;
  useEffect(() => {
    if (waking === null) return undefined;
    return followCommits(session.link, {
      onList: setLive,
      onCommits: (ascending) => setLive((before) => before?.with(ascending) ?? null),
      onError: setError,
    });
  }, [session, waking]);
  const older = async (): Promise<void> => {
    const first = Math.max(1, shown.oldest - CommitList.PAGE);
    try {
      const page = await session.link.call("commits", { first, count: shown.oldest - first });
      if (held === null) setLive((before) => before?.before(page.commits) ?? null);
      else setHeld(held.before(page.commits));
    } catch (problem) {
      setError(inWords(problem));
    }
  };
  const behind = live.newest - shown.newest;
  const pause = (
    <button type="button" aria-pressed={held !== null} onClick={() => setHeld(held === null ? live : null)}>
      {held === null ? "Pause" : behind > 0 ? `Resume, ${grouped(behind)} new` : "Resume"}
    </button>
  );
  return (
    <Page title="Commits" sub="Each commit orders the vertices that its leader brings in. What it holds is final.">
      <Panel title="Newest first" aside={pause}>
        {error && <Notice tone="error" words={error} />}
        {shown.commits.length === 0 ? <Notice words={list === null ? "Asking the node\u2026" : "No commit yet."} /> : <CommitTable commits={shown.commits} session={session} />}
        {shown.oldest > 1 && shown.commits.length < CommitList.MOST && (
          <div class="more">
            <button type="button" onClick={() => void older()}>
              Show older
            </button>
          </div>
        )}
      </Panel>
    </Page>
  );
}

function CommitTable(props: { readonly commits: readonly CommitSummary[]; readonly session: Session }): JSX.Element {
  return (
    <Table name="Commits" heads={["Commit", "Time", "Leader", "Vertices|number", "Transactions|number", "Digest"]}>
      {props.commits.map((commit) => (
        <tr key={commit.commit_index}>
          <td>
            <CommitLink index={commit.commit_index} />
          </td>
          <td class="figures">{clock(commit.time_ms)}</td>
          <td>
            <span class="leader-dot" aria-hidden="true" />
            <VertexLink of={commit.leader} session={props.session} />
          </td>
          <td class="number">{grouped(commit.vertices)}</td>
          <td class="number">{grouped(commit.transactions)}</td>
          <td>
            <code class="soft">{short(commit.digest)}</code>
          </td>
        </tr>
      ))}
    </Table>
  );
}

export function CommitPage({ session, index }: { readonly session: Session; readonly index: number }): JSX.Element {
  const loaded = useLoaded(() => session.link.call("commit", { commit_index: index, count: ROWS }), [index]);
  return (
    <Page title={`Commit ${grouped(index)}`}>
      <nav class="pager" aria-label="Commits beside this one">
        {index > 1 && <a href={`#/commit/${index - 1}`}>Commit before</a>}
        <a href={`#/commit/${index + 1}`}>Commit after</a>
      </nav>
      <Shown
        of={loaded}
        show={(commit) => (
          <>
            <Panel title="Summary">
              <Facts
                rows={[
                  ["Time of the main chain", moment(commit.time_ms)],
                  ["Leader", <VertexLink of={commit.leader} session={session} />],
                  ["Transactions", statusCounts(commit)],
                  ["Digest", <Hex text={commit.digest} name="digest" />],
                  ["Digest before", <Hex text={commit.prev_digest} name="digest of the commit before" />],
                ]}
              />
            </Panel>
            <Panel title={plural(commit.vertices, "vertex", "vertices")}>
              <ul class="refs">
                {commit.vertex_refs.slice(0, REFS_SHOWN).map((ref) => (
                  <li key={ref.digest} class={ref.digest === commit.leader.digest ? "leader" : ref.kind}>
                    <VertexLink of={ref} session={session} />
                  </li>
                ))}
              </ul>
              {commit.vertices > REFS_SHOWN && <p class="soft">and {grouped(commit.vertices - REFS_SHOWN)} more</p>}
            </Panel>
            <CommitRows key={index} session={session} index={index} first={commit.rows} next={commit.next_row} total={commit.transactions} />
          </>
        )}
      />
    </Page>
  );
}

function statusCounts(commit: CommitSummary): string {
  const counts = Object.entries(commit.statuses).map(([status, count]) => `${grouped(count)} ${statusWords(status).toLowerCase()}`);
  return counts.length ? counts.join(", ") : "none";
}

interface RowsProps {
  readonly session: Session;
  readonly index: number;
  readonly first: readonly Transaction[];
  readonly next: number | null;
  readonly total: number;
}

function CommitRows(props: RowsProps): JSX.Element {
  const [rows, setRows] = useState(props.first);
  const [next, setNext] = useState(props.next);
  const [error, setError] = useState("");
  const isAsking = useRef(false);
  const more = async (): Promise<void> => {
    if (next === null || isAsking.current) return;
    isAsking.current = true;
    try {
      const page = await props.session.link.call("commit", { commit_index: props.index, first: next, count: ROWS });
      setRows([...rows, ...page.rows]);
      setNext(page.next_row);
    } catch (problem) {
      setError(inWords(problem));
    }
    isAsking.current = false;
  };
  return (
    <Panel title={plural(props.total, "transaction")}>
      {rows.length === 0 ? <Notice words="This commit orders vertices without transactions." /> : <TransactionTable name="Transactions of the commit" rows={rows} />}
      {error && <Notice tone="error" words={error} />}
      {next !== null && (
        <div class="more">
          <button type="button" onClick={() => void more()}>
            Show more, {grouped(rows.length)} of {grouped(props.total)}
          </button>
        </div>
      )}
    </Panel>
  );
}
