/** A vertex: who made it, what it points at, what it carries, and which commit orders it. */

import type { JSX } from "preact";
import type { VertexDetail, VertexRef } from "../api/types.ts";
import { bytes, clock, grouped, plural } from "../lib/format.ts";
import { hrefOf } from "../lib/route.ts";
import type { Session } from "../session.ts";
import { CommitLink, Facts, Hex, Notice, Page, Panel, Shown, TransactionLink, VertexLink, useLoaded, type Loaded } from "../ui/parts.tsx";

const REFRESH_MS = 1_500;
const IDS_SHOWN = 20;

/** What is ordered changes no more. */
function isOrdered(vertex: VertexDetail | null): boolean {
  return vertex?.commit_index != null;
}

function useVertex(session: Session, name: string): Loaded<VertexDetail | null> {
  return useLoaded(() => session.link.call("vertex", { digest: name }), [name], REFRESH_MS, isOrdered);
}

export function VertexPage({ session, name }: { readonly session: Session; readonly name: string }): JSX.Element {
  return (
    <Page title="Vertex">
      <Panel title="Details">
        <VertexFacts session={session} name={name} isWhole />
      </Panel>
    </Page>
  );
}

/** isWhole: with all digits, as a page of its own has room for. */
export function VertexFacts({ session, name, isWhole = false }: { readonly session: Session; readonly name: string; readonly isWhole?: boolean }): JSX.Element {
  const loaded = useVertex(session, name);
  return (
    <Shown
      of={loaded}
      show={(vertex) => (vertex === null ? <Notice words="This node does not have this vertex." /> : <Detail session={session} vertex={vertex} isWhole={isWhole} />)}
    />
  );
}

function Detail({ session, vertex, isWhole }: { readonly session: Session; readonly vertex: VertexDetail; readonly isWhole: boolean }): JSX.Element {
  const { ids } = vertex;
  return (
    <>
      <Facts
        rows={[
          ["Author", `${session.authorName(vertex.author, vertex.issuer)}, ${vertex.kind === "validator" ? "a validator" : "an operator"}`],
          [vertex.kind === "validator" ? "Round" : "Anchor round", grouped(vertex.round)],
          ["Made at", clock(vertex.time_ms)],
          [
            "Commit",
            vertex.commit_index === null ? (
              "not ordered yet"
            ) : (
              <>
                <CommitLink index={vertex.commit_index} />
                {vertex.is_leader && <span class="mark leader">Leader</span>}
              </>
            ),
          ],
          ["Carries", `${plural(vertex.transactions, "transaction")}, ${bytes(vertex.bytes)}`],
          ["Digest", isWhole ? <Hex text={vertex.digest} name="digest" /> : <a href={hrefOf({ page: "vertex", name: vertex.digest })}><code>{vertex.digest.slice(0, 16)}</code></a>],
          isWhole ? ["Payload root", <Hex text={vertex.payload_root} name="payload root" />] : null,
        ]}
      />
      <Refs session={session} title={plural(vertex.parents.length, "parent")} refs={vertex.parents} />
      {vertex.tips.length > 0 && <Refs session={session} title={plural(vertex.tips.length, "operator tip")} refs={vertex.tips} />}
      {ids.length > 0 && (
        <>
          <h3>Transactions</h3>
          <ul class="refs">
            {ids.slice(0, isWhole ? ids.length : IDS_SHOWN).map((id) => (
              <li key={id}>
                <TransactionLink id={id} />
              </li>
            ))}
          </ul>
          {vertex.transactions > ids.length && <p class="soft">The first {ids.length} of {grouped(vertex.transactions)}.</p>}
        </>
      )}
    </>
  );
}

function Refs({ session, title, refs }: { readonly session: Session; readonly title: string; readonly refs: readonly VertexRef[] }): JSX.Element {
  return (
    <>
      <h3>{title}</h3>
      <ul class="refs">
        {refs.map((ref) => (
          <li key={ref.digest} class={ref.kind}>
            <VertexLink of={ref} session={session} />
          </li>
        ))}
      </ul>
    </>
  );
}
