/** What the explorer holds while it is open: the link, the chain, the live DAG and what the charts show. */

import { Series } from "./charts/series.ts";
import { Link, type LinkState } from "./api/link.ts";
import type { DagEvent, LedgerInfo, Status } from "./api/types.ts";
import { inWords } from "./api/errors.ts";
import { DagModel, type Changes } from "./dag/model.ts";
import { Store } from "./lib/store.ts";

const POLL_MS = 2_000;
const POLL_TIMEOUT_MS = 10_000;
const HIDDEN_MS = 60_000; // a page that nobody sees so long lets its feeds go
const QUIET_MS = 600; // in which a window of the past comes, which the charts leave out
const BEHIND_MAX = 2_000; // commits; a page that is further behind begins anew

export type ChangesListener = (changes: Changes) => void;

export class Session {
  readonly link: Link;
  readonly info = new Store<LedgerInfo | null>(null);
  readonly status = new Store<Status | null>(null);
  readonly linkState = new Store<LinkState>({ kind: "connecting" });
  readonly feedError = new Store<string | null>(null);
  readonly dag = new DagModel();
  readonly series = new Series();
  /** Which time it is that the page reads its feeds; null while nobody sees it and it rests. */
  readonly waking = new Store<number | null>(null);
  private readonly dagListeners = new Set<ChangesListener>();
  private times = 0;
  private endDag: () => void = () => undefined;
  private commitIndex = 0; // that the feed has told of
  private hiddenTimer = 0;
  private isBusy = false;
  private quietUntilMs = 0;

  constructor() {
    this.link = new Link({
      open: () => new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`),
      after: (ms, act) => {
        const timer = setTimeout(act, ms);
        return () => clearTimeout(timer);
      },
      random: () => Math.random(),
    });
  }

  start(): void {
    this.link.watch((state) => {
      this.linkState.set(state);
      if (state.kind === "open") void this.greet();
    });
    this.link.connect();
    this.wake();
    setInterval(() => void this.poll(), POLL_MS);
    addEventListener("online", () => this.link.connect());
    document.addEventListener("visibilitychange", () => this.seen(!document.hidden));
  }

  /** Hear of every change of the DAG. */
  onDag(listener: ChangesListener): () => void {
    this.dagListeners.add(listener);
    return () => this.dagListeners.delete(listener);
  }

  /** What an author is called. */
  authorName(author: number | null, issuer: string): string {
    if (author === null) return `op ${issuer.slice(0, 6)}`;
    return this.info.get()?.validators[author]?.name ?? `validator ${author}`;
  }

  private async greet(): Promise<void> {
    try {
      const info = await this.link.call("ledger_info", {});
      const known = this.info.get();
      if (known !== null && known.genesis_digest !== info.genesis_digest) location.reload(); // another chain
      this.info.set(info);
    } catch (error) {
      this.feedError.set(inWords(error));
    }
    await this.poll();
  }

  private async poll(): Promise<void> {
    if (this.isBusy || document.hidden || this.linkState.get().kind !== "open") return;
    this.isBusy = true;
    try {
      this.status.set(await this.link.call("status", {}, POLL_TIMEOUT_MS));
    } catch {
      if (this.linkState.get().kind === "open") this.link.drop("the node does not answer");
    } finally {
      this.isBusy = false;
    }
  }

  private wake(): void {
    this.dag.clear();
    this.series.clear();
    this.endDag = this.link.follow("subscribe_dag", null, {
      onEvent: (event) => this.takeDag(event),
      onGap: () => this.takeDag({ is_gap: true, round: 0, gc_round: 0, vertices: [], commits: [] }),
      onError: (error) => this.feedError.set(inWords(error)),
    });
    this.waking.set(++this.times);
  }

  private takeDag(event: DagEvent): void {
    this.feedError.set(null);
    const nowMs = Date.now();
    if (event.is_gap || this.dag.nodes.size === 0) this.quietUntilMs = nowMs + QUIET_MS;
    const changes = this.dag.apply(event);
    this.commitIndex = event.commits[event.commits.length - 1]?.commit_index ?? this.commitIndex;
    if (nowMs > this.quietUntilMs) {
      this.series.vertices(nowMs, changes.added.length);
      for (const commit of event.commits) {
        const times = commit.vertices.flatMap((name) => this.dag.nodes.get(name)?.timeMs ?? []);
        this.series.commit(nowMs, commit.transactions, times);
      }
    }
    for (const listener of this.dagListeners) listener(changes);
  }

  /** The page has come to be seen, or is not any more. */
  private seen(isSeen: boolean): void {
    clearTimeout(this.hiddenTimer);
    if (!isSeen) {
      this.hiddenTimer = window.setTimeout(() => this.rest(), HIDDEN_MS);
    } else if (this.waking.get() === null) this.wake();
    else void this.catchUp();
    if (isSeen) this.link.connect();
  }

  private rest(): void {
    this.endDag();
    this.waking.set(null);
  }

  /** A machine that slept comes back far behind: it begins anew rather than reading all that it missed. */
  private async catchUp(): Promise<void> {
    await this.poll();
    const head = this.status.get()?.commit_index ?? 0;
    if (head - this.commitIndex <= BEHIND_MAX) return;
    this.rest();
    this.wake();
  }
}
