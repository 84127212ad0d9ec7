/** Small parts that the pages share. */

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { inWords } from "../api/errors.ts";
import type { VertexRef } from "../api/types.ts";
import { coins, short, shortAddress, statusWords } from "../lib/format.ts";
import { hrefOf } from "../lib/route.ts";
import type { Session } from "../session.ts";

/** What a page has asked for: nothing yet, an answer, or why there is none. */
export type Loaded<Value> =
  | { readonly kind: "waiting" }
  | { readonly kind: "value"; readonly value: Value }
  | { readonly kind: "error"; readonly words: string };

/** Ask again whenever one of `keys` changes; every periodMs too, if it is given, until the answer is settled. */
export function useLoaded<Value>(
  ask: () => Promise<Value>,
  keys: readonly unknown[],
  periodMs = 0,
  isSettled: (value: Value) => boolean = () => false,
): Loaded<Value> {
  const [loaded, setLoaded] = useState<Loaded<Value>>({ kind: "waiting" });
  useEffect(() => {
    let isCurrent = true;
    let timer = 0;
    const go = async (): Promise<void> => {
      let isDone = periodMs === 0;
      try {
        const value = await ask();
        isDone ||= isSettled(value);
        if (isCurrent) setLoaded({ kind: "value", value });
      } catch (error) {
        if (isCurrent) setLoaded((before) => (before.kind === "value" && periodMs ? before : { kind: "error", words: inWords(error) }));
      }
      if (isCurrent && !isDone) timer = window.setTimeout(() => void go(), periodMs);
    };
    setLoaded({ kind: "waiting" });
    void go();
    return () => {
      isCurrent = false;
      clearTimeout(timer);
    };
  }, keys);
  return loaded;
}

export function Page(props: { readonly title: string; readonly sub?: ComponentChildren; readonly children: ComponentChildren }): JSX.Element {
  useEffect(() => {
    document.title = `${props.title} \u00b7 cherrydag explorer`;
  }, [props.title]);
  return (
    <div class="page">
      <header class="page-head">
        <h1 tabIndex={-1}>{props.title}</h1>
        {props.sub !== undefined && <p class="sub">{props.sub}</p>}
      </header>
      {props.children}
    </div>
  );
}

export function Notice(props: { readonly words: string; readonly tone?: "error" | "plain" }): JSX.Element {
  return (
    <p class={`notice ${props.tone ?? "plain"}`} role={props.tone === "error" ? "alert" : "status"}>
      {props.words}
    </p>
  );
}

/** A wait, an error in words, or what `show` makes of the value. */
export function Shown<Value>(props: { readonly of: Loaded<Value>; readonly show: (value: Value) => ComponentChildren }): JSX.Element {
  if (props.of.kind === "waiting") return <Notice words={"Asking the node\u2026"} />;
  if (props.of.kind === "error") return <Notice tone="error" words={props.of.words} />;
  return <>{props.show(props.of.value)}</>;
}

export function Panel(props: { readonly title: string; readonly aside?: ComponentChildren; readonly children: ComponentChildren }): JSX.Element {
  return (
    <section class="panel" aria-label={props.title}>
      <div class="panel-head">
        <h2>{props.title}</h2>
        {props.aside}
      </div>
      {props.children}
    </section>
  );
}

/** Names and values. */
export function Facts(props: { readonly rows: readonly (readonly [name: string, value: ComponentChildren] | null)[] }): JSX.Element {
  return (
    <dl class="facts">
      {props.rows.map(
        (row) =>
          row !== null && (
            <div key={row[0]}>
              <dt>{row[0]}</dt>
              <dd>{row[1]}</dd>
            </div>
          ),
      )}
    </dl>
  );
}

/** Hexadecimal digits in full, which may be copied. */
export function Hex(props: { readonly text: string; readonly name: string }): JSX.Element {
  const [isCopied, setCopied] = useState(false);
  const copy = (): void => {
    void navigator.clipboard?.writeText(props.text).then(() => {
      setCopied(true);
      setTimeout(() => setCopied(false), 1500);
    });
  };
  return (
    <span class="hex">
      <code>{props.text}</code>
      {window.isSecureContext && (
        <button type="button" class="quiet" onClick={copy} aria-label={`Copy ${props.name}`}>
          {isCopied ? "Copied" : "Copy"}
        </button>
      )}
    </span>
  );
}

export function Amount(props: { readonly units: string | bigint; readonly asset?: number }): JSX.Element {
  if (props.asset) {
    return (
      <span class="amount">
        {props.units.toString()} <small>of asset {props.asset}</small>
      </span>
    );
  }
  return (
    <span class="amount">
      {coins(props.units)} <small>coins</small>
    </span>
  );
}

export function AddressLink(props: { readonly address: string; readonly own?: string }): JSX.Element {
  if (props.address === props.own) return <code title={props.address}>this account</code>;
  return (
    <a href={hrefOf({ page: "account", address: props.address })} title={props.address}>
      <code>{shortAddress(props.address)}</code>
    </a>
  );
}

export function TransactionLink(props: { readonly id: string }): JSX.Element {
  return (
    <a href={hrefOf({ page: "transaction", id: props.id })} title={props.id}>
      <code>{short(props.id)}</code>
    </a>
  );
}

export function CommitLink(props: { readonly index: number }): JSX.Element {
  return <a href={hrefOf({ page: "commit", index: props.index })}>{props.index}</a>;
}

export function VertexLink(props: { readonly of: VertexRef; readonly session: Session }): JSX.Element {
  const { of: ref, session } = props;
  const author = ref.kind === "validator" ? session.authorName(ref.author, "") : session.authorName(null, ref.issuer);
  return (
    <a href={hrefOf({ page: "vertex", name: ref.digest })} title={ref.digest}>
      {author} <span class="soft">round {ref.round}</span>
    </a>
  );
}

export function StatusMark(props: { readonly status: string }): JSX.Element {
  const tone = props.status === "applied" || props.status === "final" ? "good" : ["accepted", "sequenced"].includes(props.status) ? "wait" : "bad";
  return <span class={`mark ${tone}`}>{statusWords(props.status)}</span>;
}

/** A table that scrolls within itself on a narrow screen. */
export function Table(props: { readonly name: string; readonly heads: readonly string[]; readonly children: ComponentChildren }): JSX.Element {
  return (
    <div class="scroll" role="region" aria-label={props.name} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {props.heads.map((head) => {
              const [text, kind] = head.split("|");
              return (
                <th key={head} scope="col" class={kind ?? ""}>
                  {text}
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>{props.children}</tbody>
      </table>
    </div>
  );
}

export interface Check {
  readonly name: string;
  readonly words: string;
  readonly verdict: "good" | "bad" | "open";
}

const VERDICTS = { good: "holds", bad: "fails", open: "not checked" } as const;

/** What was checked in the browser, step by step. */
export function Checks(props: { readonly checks: readonly Check[] }): JSX.Element {
  return (
    <ul class="checks">
      {props.checks.map((check) => (
        <li key={check.name} class={check.verdict}>
          <span class="verdict">{VERDICTS[check.verdict]}</span>
          <span>
            <strong>{check.name}</strong> {check.words}
          </span>
        </li>
      ))}
    </ul>
  );
}
