/** The frame of every page: navigation, search, the state of the link, and the page itself. */

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { grouped } from "./lib/format.ts";
import { hrefOf, readRoute, type Route } from "./lib/route.ts";
import { useStore } from "./lib/store.ts";
import { onTheme, theme, toggleTheme } from "./lib/theme.ts";
import type { Session } from "./session.ts";
import { Notice, Page } from "./ui/parts.tsx";
import { Search } from "./ui/search.tsx";
import { AccountPage } from "./views/account.tsx";
import { CommitPage, CommitsPage } from "./views/commits.tsx";
import { LivePage } from "./views/live.tsx";
import { TransactionPage } from "./views/transaction.tsx";
import { ValidatorsPage } from "./views/validators.tsx";
import { VertexPage } from "./views/vertex.tsx";

const TABS = [
  ["Live", { page: "live" }],
  ["Commits", { page: "commits" }],
  ["Validators", { page: "validators" }],
] as const;

export function App({ session }: { readonly session: Session }): JSX.Element {
  const [route, setRoute] = useState<Route>(() => readRoute(location.hash));
  const main = useRef<HTMLElement>(null);
  const isFirst = useRef(true);
  useEffect(() => {
    const onHash = (): void => setRoute(readRoute(location.hash));
    addEventListener("hashchange", onHash);
    return () => removeEventListener("hashchange", onHash);
  }, []);
  useEffect(() => {
    if (!isFirst.current) {
      scrollTo(0, 0);
      main.current?.querySelector("h1")?.focus({ preventScroll: true });
    }
    isFirst.current = false;
  }, [route]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => skip(event, main.current)}>
        Skip to the content
      </a>
      <header class="top">
        <a class="brand" href="#/">
          <Emblem />
          cherrydag
        </a>
        <nav aria-label="Pages">
          {TABS.map(([name, to]) => (
            <a key={name} href={hrefOf(to)} aria-current={route.page === to.page ? "page" : undefined}>
              {name}
            </a>
          ))}
        </nav>
        <Search session={session} />
        <ThemeButton />
      </header>
      <LinkBar session={session} />
      <main id="main" ref={main} tabIndex={-1}>
        <CurrentPage session={session} route={route} />
      </main>
      <Foot session={session} />
    </>
  );
}

/** The address holds the page, so that a link to #main would leave it. */
function skip(event: MouseEvent, to: HTMLElement | null): void {
  event.preventDefault();
  to?.focus();
}

function CurrentPage({ session, route }: { readonly session: Session; readonly route: Route }): JSX.Element {
  switch (route.page) {
    case "live":
      return <LivePage session={session} />;
    case "commits":
      return <CommitsPage session={session} />;
    case "commit":
      return <CommitPage key={route.index} session={session} index={route.index} />;
    case "transaction":
      return <TransactionPage key={route.id} session={session} id={route.id} />;
    case "account":
      return <AccountPage key={route.address} session={session} address={route.address} />;
    case "vertex":
      return <VertexPage key={route.name} session={session} name={route.name} />;
    case "validators":
      return <ValidatorsPage session={session} />;
    case "missing":
      return (
        <Page title="No such page">
          <Notice words={`There is no page at ${route.path}. Search, or go to the live DAG.`} />
        </Page>
      );
  }
}

/** Says what the link is like whenever it is not well. */
function LinkBar({ session }: { readonly session: Session }): JSX.Element {
  const state = useStore(session.linkState);
  const [left, setLeft] = useState(0);
  useEffect(() => {
    if (state.kind !== "lost") return;
    const endsMs = performance.now() + state.retryMs;
    const tick = (): void => setLeft(Math.max(0, Math.ceil((endsMs - performance.now()) / 1000)));
    tick();
    const timer = setInterval(tick, 250);
    return () => clearInterval(timer);
  }, [state]);
  if (state.kind !== "lost") {
    return (
      <p class="unseen" role="status">
        {state.kind === "open" ? (state.times > 1 ? "The link to the node is back." : "") : "Connecting to the node."}
      </p>
    );
  }
  return (
    <div class="link-bar" role="alert">
      <span>The link to the node is lost. What you see is as of then; it goes on where it left off.</span>
      <button type="button" onClick={() => session.link.connect()}>
        Try now
      </button>
      <span class="soft" aria-hidden="true">
        next try in {left} s
      </span>
    </div>
  );
}

function ThemeButton(): JSX.Element {
  const [now, setNow] = useState(theme());
  useEffect(() => onTheme(() => setNow(theme())), []);
  return (
    <button type="button" class="theme" onClick={toggleTheme}>
      {now === "dark" ? "Light" : "Dark"}
    </button>
  );
}

function Foot({ session }: { readonly session: Session }): JSX.Element {
  const info = useStore(session.info);
  const status = useStore(session.status);
  if (info === null) return <footer class="foot">{"Asking the node\u2026"}</footer>;
  return (
    <footer class="foot">
      <span>
        {info.name}, seen by {status?.validator == null ? "a node without a vote" : (info.validators[status.validator]?.name ?? "a validator")}, version {info.version}
      </span>
      <span>
        supply {grouped(BigInt(info.supply) / 10n ** 18n)} coins
      </span>
      <span class="digest">
        genesis <code>{info.genesis_digest}</code>
      </span>
    </footer>
  );
}

function Emblem(): JSX.Element {
  return (
    <svg viewBox="0 0 32 32" width="24" height="24" aria-hidden="true">
      <path class="faint" d="M7 9 16 16 25 9M7 23 16 16" />
      <path class="bold" d="M16 16 25 23" />
      <circle class="dot" cx="7" cy="9" r="3.5" />
      <circle class="dot" cx="25" cy="9" r="3.5" />
      <circle class="dot" cx="7" cy="23" r="3.5" />
      <circle class="lead" cx="16" cy="16" r="4.5" />
      <circle class="lead" cx="25" cy="23" r="4.5" />
    </svg>
  );
}
