/** An account: what it holds, the proof of that, and its history. */

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { inWords } from "../api/errors.ts";
import type { Account, HistoryPage } from "../api/types.ts";
import type { AccountVerdict } from "../proof/check.ts";
import { grouped } from "../lib/format.ts";
import { useStore } from "../lib/store.ts";
import type { Session } from "../session.ts";
import { Amount, Checks, CommitLink, Facts, Hex, Notice, Page, Panel, Shown, useLoaded } from "../ui/parts.tsx";
import { TransactionTable } from "./rows.tsx";

const ITEMS = 25;
const REFRESH_MS = 2_000;

export function AccountPage({ session, address }: { readonly session: Session; readonly address: string }): JSX.Element {
  const account = useLoaded(() => session.link.call("account", { address }), [address], REFRESH_MS);
  return (
    <Page title="Account" sub={<Hex text={address} name="address" />}>
      <Shown
        of={account}
        show={(value) => (
          <>
            <Balance account={value} />
            <AccountProof key={address} session={session} address={address} />
            <History key={`${address} history`} session={session} address={address} />
          </>
        )}
      />
    </Page>
  );
}

function Balance({ account }: { readonly account: Account }): JSX.Element {
  return (
    <Panel title="As of the last final commit">
      <p class="big">
        <Amount units={account.balance} />
      </p>
      <Facts
        rows={[
          ["Smallest units", grouped(account.balance)],
          ["Next nonce", grouped(account.next_nonce)],
          ["Nonces taken now", `below ${grouped(account.nonce_limit)}`],
          ["As of commit", <CommitLink index={account.commit_index} />],
        ]}
      />
    </Panel>
  );
}

function AccountProof({ session, address }: { readonly session: Session; readonly address: string }): JSX.Element {
  const [verdict, setVerdict] = useState<AccountVerdict | null>(null);
  const [turn, setTurn] = useState(0);
  const info = useStore(session.info);
  useEffect(() => {
    if (info === null) return;
    let isCurrent = true;
    setVerdict(null);
    void import("../proof/check.ts")
      .then(({ checkAccount }) => checkAccount(session.link, info.genesis_digest, address))
      .then((done) => {
        if (isCurrent) setVerdict(done);
      });
    return () => {
      isCurrent = false;
    };
  }, [address, turn, info?.genesis_digest]);
  const again = (
    <button type="button" disabled={verdict === null} onClick={() => setTurn(turn + 1)}>
      Check again
    </button>
  );
  const proven = verdict?.proven ?? null;
  return (
    <Panel title="Proof, checked in this browser" aside={again}>
      {verdict === null ? <Notice words={"Waiting for a signed checkpoint\u2026"} /> : <Checks checks={verdict.checks} />}
      {proven?.line && (
        <Facts
          rows={[
            ["Proven balance", <Amount units={proven.line.balance} />],
            ["As of commit", <CommitLink index={proven.signed.commitIndex} />],
            ["Nonces used below", grouped(proven.line.nonceBase)],
          ]}
        />
      )}
      <p class="soft">Trusted is the genesis digest alone. Compare it with one that you have from elsewhere: it stands at the foot of this page.</p>
    </Panel>
  );
}

function History({ session, address }: { readonly session: Session; readonly address: string }): JSX.Element {
  const [pages, setPages] = useState<readonly HistoryPage[]>([]);
  const [error, setError] = useState("");
  const [isAsking, setAsking] = useState(false);
  const ask = async (before: readonly HistoryPage[]): Promise<void> => {
    setAsking(true);
    try {
      const cursor = before[before.length - 1]?.cursor ?? null;
      const page = await session.link.call("history", { address, limit: ITEMS, ...(cursor === null ? {} : { cursor }) });
      setPages([...before, page]);
      setError("");
    } catch (problem) {
      setError(inWords(problem));
    }
    setAsking(false);
  };
  useEffect(() => void ask([]), [address]);
  const items = pages.flatMap((page) => page.items);
  const isMore = (pages[pages.length - 1]?.cursor ?? null) !== null;
  const reload = (
    <button type="button" disabled={isAsking} onClick={() => void ask([])}>
      Newest
    </button>
  );
  return (
    <Panel title="History, newest first" aside={reload}>
      {error && <Notice tone="error" words={error} />}
      {items.length > 0 && <TransactionTable name="History of the account" rows={items} own={address} />}
      {items.length === 0 && !error && <Notice words={isAsking ? "Asking the node\u2026" : "This account has no transactions."} />}
      {isMore && (
        <div class="more">
          <button type="button" disabled={isAsking} onClick={() => void ask(pages)}>
            Show older
          </button>
        </div>
      )}
    </Panel>
  );
}
