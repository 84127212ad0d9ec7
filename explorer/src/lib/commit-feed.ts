/** The newest commits, kept up to date for whoever shows them. */

import { inWords } from "../api/errors.ts";
import type { Link } from "../api/link.ts";
import type { CommitSummary } from "../api/types.ts";
import { CommitList } from "./commit-list.ts";

const SHOWN_MS = 250; // commits are shown a few times a second, however many come

export interface CommitReader {
  /** A new list in the place of what there was. */
  readonly onList: (list: CommitList) => void;
  /** Later commits, the oldest first. */
  readonly onCommits: (ascending: readonly CommitSummary[]) => void;
  readonly onError: (words: string) => void;
}

/** Begin with the last page of commits and tell of every later one; the answer ends it. Whoever shows only how many
 * there are has that from the feed of the DAG and spares the node this one. */
export function followCommits(link: Link, reader: CommitReader): () => void {
  let isWanted = true;
  let endFeed = (): void => undefined;
  let timer = 0;
  let queued: CommitSummary[] = [];
  const take = (commit: CommitSummary): void => {
    queued.push(commit);
    if (queued.length > 1) return;
    timer = window.setTimeout(() => {
      const ascending = queued;
      queued = [];
      reader.onCommits(ascending);
    }, SHOWN_MS);
  };
  const start = async (): Promise<void> => {
    const head = (await link.call("status", {})).commit_index;
    const first = Math.max(1, head - CommitList.PAGE + 1);
    const page = head > 0 ? (await link.call("commits", { first, count: CommitList.PAGE })).commits : [];
    if (!isWanted) return;
    reader.onList(CommitList.of(page));
    endFeed = link.follow("subscribe_commits", page[page.length - 1]?.commit_index ?? 0, {
      onEvent: take,
      onGap: () => reader.onList(CommitList.empty()),
      onError: (error) => reader.onError(inWords(error)),
    });
  };
  start().catch((error: unknown) => {
    if (isWanted) reader.onError(inWords(error));
  });
  return () => {
    isWanted = false;
    clearTimeout(timer);
    endFeed();
  };
}
