"""Checkers of the main chain: one chain, whoever makes it and however often (consensus, 8)."""

from collections.abc import Sequence
from typing import Final

from cherrydag.commit import Commit, CommitVote
from cherrydag.consensus.effects import SubDag, SwapRecord
from cherrydag.consensus.leader import SwapTable
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.primitives import Digest, Round
from cherrydag.refs import AnyRef, round_of
from cherrydag.sim.violation import must
from cherrydag.vertex import OperatorVertex, Vertex

UNDER_WAY: Final = 8
"""Rounds above a leader's that may have begun when it commits: three, or more if an anchor decides it."""


class Agreement:
    """I1, I2, I6, I7, I9, I10, I15: every node's commits, tables and roots are the first node's."""

    __slots__ = ("_params", "_slots", "_tails", "commits", "leader_rounds", "roots", "tables")

    def __init__(self, origin: Digest, params: ChainParams) -> None:
        self._params = params
        self.commits: list[tuple[Digest, Commit | None]] = [(origin, None)]
        self.leader_rounds: list[int] = [0]
        self.roots: dict[int, Digest] = {}
        self.tables: list[tuple[int, SwapRecord]] = []
        self._slots: dict[int, Digest | None] = {}
        self._tails: dict[int, int] = {}

    @property
    def height(self) -> int:
        """Index of the highest commit that a node has made."""
        return len(self.commits) - 1

    @property
    def swaps(self) -> SwapTable:
        """The newest table."""
        return self.tables[-1][1].swaps if self.tables else SwapTable()

    def table_at(self, round_: int) -> SwapTable:
        """The table in force for a round: of the last record whose leader lies below it."""
        found = [record.swaps for leader_round, record in self.tables if leader_round < round_]
        return found[-1] if found else SwapTable()

    def is_new_at(self, round_: int) -> bool:
        """Whether a table may have come into force while this round was under way.

        Then it has another leader than the one whose vertex its validators waited for.
        """
        return any(0 < round_ - leader_round <= UNDER_WAY for leader_round, _ in self.tables)

    def start(self, seat: int, index: int) -> None:
        """A node starts from a store whose last commit has this index."""
        self._tails[seat] = index

    def gc_round(self, seat: int) -> Round:
        """What a node's last commit has made of its gc_round."""
        return self._params.gc_round(Round(self.leader_rounds[self._tails.get(seat, 0)]))

    def tail(self, seat: int) -> int:
        """Index of a node's last commit."""
        return self._tails.get(seat, 0)

    def commit(self, seat: int, commit: Commit) -> None:
        """A node has made this commit."""
        before = self._tails.get(seat, 0)
        must(commit.index == before + 1, "I1", "a node's commits have no gap", seat=seat, index=commit.index)
        previous, round_ = self.leader_rounds[before], commit.leader.round
        must(round_ > previous, "I6", "leader rounds rise", seat=seat, index=commit.index, round=round_)
        self._decide(seat, previous, commit)
        if commit.index <= self.height:
            agreed = self.commits[commit.index][0]
            facts = {"seat": seat, "index": commit.index, "digest": commit.digest, "agreed": agreed}
            must(commit.digest == agreed, "I1", "honest nodes make the same commits", **facts)
        else:
            self._first(seat, previous, commit)
        self._tails[seat] = commit.index

    def _first(self, seat: int, previous: int, commit: Commit) -> None:
        digest, last = self.commits[-1]
        facts = {"seat": seat, "index": commit.index}
        must(commit.prev_digest == digest, "I1", "commits are chained", **facts)
        if last is not None:
            rises = commit.timestamp_ms >= last.timestamp_ms
            must(rises, "I6", "commit time does not fall", time_ms=commit.timestamp_ms, **facts)
        floor = self._params.gc_round(Round(previous))
        lowest = min(round_of(ref) for ref in commit.vertices)
        must(lowest > floor, "I7", "nothing at or below gc_round is committed", lowest=lowest, **facts)
        self.commits.append((commit.digest, commit))
        self.leader_rounds.append(commit.leader.round)

    def _decide(self, seat: int, previous: int, commit: Commit) -> None:
        """Every slot between two commits is skipped."""
        for round_ in range(previous + 1, commit.leader.round + 1):
            decided = commit.leader.digest if round_ == commit.leader.round else None
            known = self._slots.setdefault(round_, decided)
            facts = {"seat": seat, "round": round_, "was": known, "now": decided}
            must(known == decided, "I2", "a decided slot never changes", **facts)

    def swap(self, seat: int, record: SwapRecord) -> None:
        """A node has made this table."""
        known = {at.commit_index: at for _, at in self.tables}.get(record.commit_index)
        if known is None:
            self.tables.append((self.leader_rounds[record.commit_index], record))
            self.tables.sort(key=lambda item: item[0])
        else:
            same = known == record
            must(same, "I10", "swap tables are equal", seat=seat, index=record.commit_index)

    def root(self, seat: int, index: int, root: Digest) -> None:
        """A node has executed a commit to this state root."""
        known = self.roots.setdefault(index, root)
        must(known == root, "I15", "a commit has one state root", seat=seat, index=index, root=root)

    def votes(self, seat: int, votes: Sequence[CommitVote]) -> None:
        """An honest node's vertex votes for these commits."""
        for index, digest in votes:
            agreed = self.commits[index][0] if index <= self.height else None
            must(digest == agreed, "I9", "honest votes are for the agreed commits", seat=seat, index=index)


class Closure:
    """I5: in the order of commits, parents above gc_round come before their children, and nothing twice."""

    __slots__ = ("_committed", "_floor", "_next", "_params")

    def __init__(self, params: ChainParams) -> None:
        self._params = params
        self._committed: set[Digest] = set()
        self._floor = Round(0)
        self._next = 1

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._committed

    def execute(self, seat: int, sub_dag: SubDag) -> None:
        """A node executes this sub-DAG. Looked at once for each index; that all do the same is I1."""
        commit = sub_dag.commit
        found = [vertex.digest for vertex in sub_dag.vertices]
        named = [ref.digest for ref in commit.vertices]
        must(found == named, "I5", "a commit is executed with its vertices", seat=seat, index=commit.index)
        if commit.index != self._next:
            return
        for vertex in sub_dag.vertices:
            self._take(seat, commit, vertex)
        self._floor = self._params.gc_round(commit.leader.round)
        self._next += 1

    def _take(self, seat: int, commit: Commit, vertex: Vertex) -> None:
        facts = {"seat": seat, "index": commit.index, "vertex": vertex.ref}
        must(vertex.digest not in self._committed, "I5", "a vertex is committed once", **facts)
        for ref in parents_of(vertex):
            closed = round_of(ref) <= self._floor or ref.digest in self._committed
            must(closed, "I5", "parents above gc_round are committed first", parent=ref, **facts)
        self._committed.add(vertex.digest)


def parents_of(vertex: Vertex) -> tuple[AnyRef, ...]:
    """References to all of a vertex's parents."""
    if isinstance(vertex, OperatorVertex):
        return vertex.parents
    return (*vertex.ancestors, *vertex.tips) if vertex.tips else vertex.ancestors
