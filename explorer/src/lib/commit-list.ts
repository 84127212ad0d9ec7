/** The newest commits, and older ones that the reader asked for: an unbroken run, newest first. */

import type { CommitSummary } from "../api/types.ts";

export class CommitList {
  static readonly PAGE = 50;
  static readonly MOST = 1_000;

  private constructor(readonly commits: readonly CommitSummary[]) {}

  static empty(): CommitList {
    return new CommitList([]);
  }

  /** ascending: as the API gives them. */
  static of(ascending: readonly CommitSummary[]): CommitList {
    return new CommitList([...ascending].reverse());
  }

  get newest(): number {
    return this.commits[0]?.commit_index ?? 0;
  }

  get oldest(): number {
    return this.commits[this.commits.length - 1]?.commit_index ?? 0;
  }

  /** Later commits added; a hole before them lets the earlier ones go. */
  with(ascending: readonly CommitSummary[]): CommitList {
    const fresh = ascending.filter((commit) => commit.commit_index > this.newest);
    const first = fresh[0];
    if (first === undefined) return this;
    const kept = this.newest === 0 || first.commit_index === this.newest + 1 ? this.commits : [];
    return new CommitList([...fresh.reverse(), ...kept].slice(0, Math.max(CommitList.PAGE, Math.min(CommitList.MOST, kept.length))));
  }

  /** Earlier commits added at the end, if they join on. */
  before(ascending: readonly CommitSummary[]): CommitList {
    const last = ascending[ascending.length - 1];
    if (last === undefined || last.commit_index !== this.oldest - 1) return this;
    return new CommitList([...this.commits, ...[...ascending].reverse()].slice(0, CommitList.MOST));
  }
}
