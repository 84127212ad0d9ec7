/** A transaction: what it says, how far it has come, where it stands, and the proof of that. */

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Receipt, Transaction, TransactionState } from "../api/types.ts";
import { bytes, grouped, moment } from "../lib/format.ts";
import { useStore } from "../lib/store.ts";
import type { Session } from "../session.ts";
import { AddressLink, Amount, Checks, CommitLink, Facts, Hex, Notice, Page, Panel, Shown, StatusMark, VertexLink, useLoaded, type Check } from "../ui/parts.tsx";
import { kindWords } from "./rows.tsx";

const POLL_MS = 700;
const FOREVER = 2 ** 32 - 1;

type Found =
  | { readonly kind: "final"; readonly transaction: Transaction; readonly receipt: Receipt }
  | { readonly kind: "open"; readonly state: TransactionState };

async function find(session: Session, id: string): Promise<Found> {
  const [transaction, receipt] = await Promise.all([session.link.call("transaction", { id }), session.link.call("receipt", { id })]);
  if (transaction !== null && receipt !== null) return { kind: "final", transaction, receipt };
  return { kind: "open", state: await session.link.call("phase", { id }) };
}

export function TransactionPage({ session, id }: { readonly session: Session; readonly id: string }): JSX.Element {
  const loaded = useLoaded(() => find(session, id), [id], POLL_MS, (found) => found.kind === "final");
  return (
    <Page title="Transaction" sub={<Hex text={id} name="transaction id" />}>
      <Shown
        of={loaded}
        show={(found) =>
          found.kind === "final" ? (
            <FinalTransaction session={session} transaction={found.transaction} receipt={found.receipt} />
          ) : (
            <OpenTransaction state={found.state} />
          )
        }
      />
    </Page>
  );
}

function OpenTransaction({ state }: { readonly state: TransactionState }): JSX.Element {
  if (state.phase === null) {
    return <Notice words="This node does not know this transaction. It may be on its way, or was never handed in here; this page keeps looking." />;
  }
  return (
    <Panel title="On its way">
      <Facts rows={[["Phase", <StatusMark status={state.phase} />], state.message === undefined ? null : ["Reason", state.message]]} />
    </Panel>
  );
}

interface FinalProps {
  readonly session: Session;
  readonly transaction: Transaction;
  readonly receipt: Receipt;
}

function FinalTransaction({ session, transaction, receipt }: FinalProps): JSX.Element {
  const operation = receipt.operation;
  return (
    <>
      <Panel title="What it says">
        <Facts
          rows={[
            ["Status", <StatusMark status={transaction.status} />],
            ["Kind", kindWords(transaction.kind)],
            ["Amount", <Amount units={transaction.amount} asset={transaction.asset} />],
            ["Fee", <Amount units={transaction.fee} />],
            ["From", <AddressLink address={transaction.sender} />],
            ["To", <AddressLink address={transaction.recipient} />],
            ["Nonce", grouped(transaction.nonce)],
            ["Valid until", transaction.valid_until === FOREVER ? "no end" : moment(transaction.valid_until * 1000)],
            transaction.body_size ? ["Body", bytes(transaction.body_size)] : null,
            operation === null ? null : ["Operation", operation.refusal || operation.events.map((event) => event.name).join(", ") || operation.status],
          ]}
        />
      </Panel>
      <Panel title="Where it stands">
        <Facts
          rows={[
            ["Commit", <CommitLink index={transaction.commit_index} />],
            ["Position", grouped(transaction.position)],
            ["Time of the main chain", moment(transaction.time_s * 1000)],
            ["Vertex", <VertexLink of={receipt.vertex} session={session} />],
          ]}
        />
      </Panel>
      <TransactionProof session={session} transaction={transaction} receipt={receipt} />
    </>
  );
}

function TransactionProof({ session, transaction, receipt }: FinalProps): JSX.Element {
  const [checks, setChecks] = useState<readonly Check[] | null>(null);
  const info = useStore(session.info);
  useEffect(() => {
    if (info === null) return;
    let isCurrent = true;
    setChecks(null);
    void import("../proof/check.ts")
      .then(({ checkTransaction }) => checkTransaction(session.link, info.genesis_digest, transaction, receipt))
      .then((done) => {
        if (isCurrent) setChecks(done);
      });
    return () => {
      isCurrent = false;
    };
  }, [transaction.id, info?.genesis_digest]);
  return (
    <Panel title="Checked in this browser">
      {checks === null ? <Notice words={"Checking\u2026"} /> : <Checks checks={checks} />}
      <p class="soft">
        That commit {transaction.commit_index} is one of the main chain is the word of this node; an account’s proof shows a state that a quorum has signed.
      </p>
    </Panel>
  );
}
