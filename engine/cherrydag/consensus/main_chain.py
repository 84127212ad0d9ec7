"""The main chain: commits one after another, and what each of them changes (consensus, 4 to 7)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

import numpy as np

from cherrydag.commit import Commit
from cherrydag.committee import Committee
from cherrydag.consensus.committer import WAVE, Committer
from cherrydag.consensus.effects import SubDag, SwapRecord
from cherrydag.consensus.leader import SwapTable, leader_of, swap_table
from cherrydag.consensus.linearizer import Linearized, Link, linearize
from cherrydag.dag.graph import Handle
from cherrydag.dag.window import Window
from cherrydag.errors import ConfigError, ShapeError, invariant
from cherrydag.primitives import Digest, Round, TimestampMs, ValidatorIndex
from cherrydag.refs import AnyRef, VertexRef, round_of
from cherrydag.vertex import ValidatorVertex, Vertex

GC_DEPTH_MIN: Final = WAVE
"""A vertex of round r that comes when round r + 2 has begun is first listed in round r + 3, whose leader can
commit it only if the commit before, of round r + 2 at most, left it in the window."""

_RANGES: Final = {
    "gc_depth": (GC_DEPTH_MIN, 512),  # half of the rounds of a window; the rest is for undecided ones
    "scoring_commits": (1, 1_000_000),
    "swap_share_permille": (0, 333),
    "checkpoint_commits": (1, 1_000_000),
}


@dataclass(frozen=True, slots=True)
class ChainParams:
    """Rules of one chain, the same on every node: they are part of its genesis.

    gc_depth: rounds that stay in the window below the last committed leader, from GC_DEPTH_MIN.
    scoring_commits: commits between two swap tables. swap_share_permille: most stake that a table swaps.
    checkpoint_commits: commits between two checkpoints.
    Raises ConfigError for a value out of its range.
    """

    gc_depth: int = 60
    scoring_commits: int = 300
    swap_share_permille: int = 200
    checkpoint_commits: int = 1000

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"chain.{name}: expected {low} to {high}, got {value}")

    def gc_round(self, leader_round: Round) -> Round:
        """What a commit of a leader of this round makes the window's gc_round."""
        return Round(max(0, leader_round - self.gc_depth))


class Extension(NamedTuple):
    """One commit more. `lost`: vertices that it dropped from the window and no commit holds."""

    sub_dag: SubDag
    lost: tuple[Vertex, ...]


class MissingVerticesError(ShapeError):
    """A certified commit was applied before its vertices were in the window: `refs`, in its order."""

    def __init__(self, refs: tuple[AnyRef, ...]) -> None:
        super().__init__(f"commit: {len(refs)} of its vertices are not in the window, first {refs[0]}")
        self.refs = refs


class MainChain:
    """The chain of one epoch over one window, which it alone marks committed and drops from.

    origin: the digest that the first commit continues. The window is empty and at gc_round 0. Of each vertex
    that enters it the chain hears before the next extend. Not for threads.

    To go on after a restart, before anything else:
      1. recover(last commit, newest swap record, sub-DAGs since that record); it sets the window's gc_round.
      2. Insert what is stored above gc_round into the window, parents first, and `note` each validator's.
      3. mark_committed(commits back to the first whose leader is at or below gc_round).
    """

    __slots__ = (
        "_committer",
        "_decided_round",
        "_leader_round",
        "_leaders",
        "_link",
        "_swaps",
        "_tally",
        "_unmarked",
        "_window",
        "committee",
        "params",
    )

    def __init__(self, committee: Committee, origin: Digest, window: Window, params: ChainParams) -> None:
        self.committee = committee
        self.params = params
        self._window = window
        self._committer = Committer(window.graph, self.leader)
        self._link = Link(0, origin, TimestampMs(0))
        self._leader_round = self._decided_round = Round(0)
        self._leaders: dict[Round, ValidatorIndex] = {}
        self._swaps = SwapTable()
        self._tally = Tally(committee)
        self._unmarked = False

    @property
    def index(self) -> int:
        """Of the last commit; 0 before the first."""
        return self._link.commit_index

    @property
    def digest(self) -> Digest:
        """Of the last commit; the origin before the first."""
        return self._link.digest

    @property
    def timestamp_ms(self) -> TimestampMs:
        """Of the last commit; 0 before the first."""
        return self._link.timestamp_ms

    @property
    def leader_round(self) -> Round:
        """Round of the last committed leader; 0 before the first."""
        return self._leader_round

    @property
    def leaders_ahead(self) -> int:
        """How many leaders above leader_round are sure to commit, but after a slot that is open; as of the
        last extend."""
        return self._committer.ahead

    @property
    def gc_round(self) -> Round:
        """Nothing at or below it is in the window or will be committed."""
        return self.params.gc_round(self._leader_round)

    @property
    def swaps(self) -> SwapTable:
        """The table in force for rounds above leader_round."""
        return self._swaps

    def leader(self, round_: Round) -> ValidatorIndex:
        """The leader of a round above 0: under the table in force, or for a round up to leader_round under
        the one in force when it was first asked for."""
        known = self._leaders.get(round_)
        if known is None:
            known = leader_of(self.committee, round_, self._swaps)
            if round_ > self.gc_round:
                self._leaders[round_] = known
        return known

    def note(self, vertex: ValidatorVertex) -> None:
        """This vertex has entered the window."""
        self._committer.note(vertex.round)

    def extend(self) -> list[Extension]:
        """Make every commit that the window decides now, in order; cheap if there is none."""
        self._check_marked()
        extensions: list[Extension] = []
        while decisions := self._committer.decide(self._decided_round):
            for decision in decisions:
                self._decided_round = decision.round
                if decision.handle is not None:
                    extensions.append(self._accept(self._linearize(decision.handle)))
                    if extensions[-1].sub_dag.swaps is not None:
                        break  # what follows was decided under the old table
        return extensions

    def apply(self, commit: Commit) -> Extension:
        """Make a certified commit, the next one, as extend would.

        It is made anew from its leader and must come out the same (InvariantViolation: the chain has forked).
        Raises ShapeError if it is of another epoch or not the next, MissingVerticesError if the window lacks
        some of its vertices. Then nothing has changed.
        """
        self._check_marked()
        if (commit.epoch, commit.index) != (self.committee.epoch, self.index + 1):
            following = f"epoch {self.committee.epoch}, index {self.index + 1}"
            raise ShapeError(f"commit: expected {following}, got {commit.epoch}, {commit.index}")
        find = self._window.graph.find
        missing = tuple(ref for ref in commit.vertices if find(ref.digest) is None)
        if missing:
            raise MissingVerticesError(missing)
        ref = commit.leader
        leader = cast(Handle, find(ref.digest))
        invariant(self.leader(ref.round) == ref.author, "a certified commit is its round's leader's", ref=ref)
        found = self._linearize(leader)
        invariant(
            found.commit == commit,
            "a certified commit is what its leader's past gives here",
            index=commit.index,
            certified=commit.digest.hex(),
            found=found.commit.digest.hex(),
        )
        self._decided_round = ref.round
        return self._accept(found)

    def recover(self, last: Commit, swaps: SwapRecord | None, recent: Sequence[SubDag]) -> None:
        """Stand where `last` left the chain. The window is empty; mark_committed must follow.

        swaps: the newest record, None before the first. recent: the sub-DAGs of the commits after it up to
        `last`, in order, for the scores. Raises ShapeError if these do not fit one another.
        """
        if self.index or len(self._window):
            raise ShapeError("recover: expected an empty window and no commit")
        period_start = last.index - last.index % self.params.scoring_commits
        if (swaps.commit_index if swaps else 0) != period_start:
            raise ShapeError(f"swaps: expected the record of commit {period_start}, got {swaps}")
        found = [sub_dag.commit.index for sub_dag in recent]
        if found != list(range(period_start + 1, last.index + 1)):
            raise ShapeError(f"recent: expected commits {period_start + 1}..{last.index}, got {found}")
        self._link = Link(last.index, last.digest, last.timestamp_ms)
        self._leader_round = self._decided_round = last.leader.round
        self._swaps = swaps.swaps if swaps else SwapTable()
        for sub_dag in recent:
            self._tally.add(sub_dag.vertices, self.params.gc_round(sub_dag.commit.leader.round))
        self._window.set_gc_round(self.gc_round)
        self._unmarked = True

    def mark_committed(self, commits: Sequence[Commit]) -> None:
        """Say what is committed among the vertices inserted after recover, before the next extend.

        commits: the last one, back to the first whose leader is at or below gc_round, or to index 1; in
        order. Raises ShapeError if they do not reach so far.
        """
        digest, floor = self.digest, self.gc_round
        for commit in reversed(commits):
            invariant(
                commit.digest == digest, "stored commits are chained by their digests", commit=commit.index
            )
            digest = commit.prev_digest
        if not commits or (commits[0].index > 1 and commits[0].leader.round > floor):
            raise ShapeError(f"commits: expected them back to gc_round {floor} or to index 1")
        refs = [ref for commit in commits for ref in commit.vertices if round_of(ref) > floor]
        handles = [self._window.graph.find(ref.digest) for ref in refs]
        for ref, handle in zip(refs, handles, strict=True):
            invariant(handle is not None, "the vertices of a stored commit are stored", ref=ref)
        self._window.mark_committed(np.array(handles, np.uint64))
        self._unmarked = False

    def _check_marked(self) -> None:
        if self._unmarked:
            raise ShapeError("recover: mark_committed must come before the next commit")

    def _linearize(self, leader: Handle) -> Linearized:
        return linearize(self._window, self.committee, self._link, leader)

    def _accept(self, found: Linearized) -> Extension:
        """Make it the last commit, with its consequences."""
        commit = found.commit
        round_ = commit.leader.round
        invariant(
            round_ > self._leader_round, "leader rounds rise", round=round_, previous=self._leader_round
        )
        self._window.mark_committed(found.handles)
        self._link = Link(commit.index, commit.digest, commit.timestamp_ms)
        self._leader_round = round_
        self._tally.add(found.vertices, self.gc_round)
        lost = self._collect_garbage()
        swaps = self._swap() if commit.index % self.params.scoring_commits == 0 else None
        return Extension(SubDag(commit, found.vertices, swaps), tuple(lost))

    def _collect_garbage(self) -> list[Vertex]:
        low, high = self._window.gc_round, self.gc_round
        for number in range(low + 1, high + 1):
            self._leaders.pop(Round(number), None)
        return self._window.set_gc_round(high) if high > low else []

    def _swap(self) -> SwapRecord:
        """The period ends with this commit: a new table for the rounds above its leader's."""
        self._swaps = swap_table(self.committee, self._tally.scores(), self.params.swap_share_permille)
        self._tally = Tally(self.committee)
        self._leaders = {
            number: leader for number, leader in self._leaders.items() if number <= self._leader_round
        }
        self._committer.forget()
        return SwapRecord(self.index, self._swaps)


class Tally:
    """How well each author voted in a period, brought up to date commit by commit (consensus, 5).

    A committed vertex of round r + 1 that links a committed leader of round r is a vote; its author gains the
    stake of the distinct authors of committed vertices of round r + 2 that link the vote. Who has more than
    one committed vertex in a round gains nothing there: each of an equivocator's votes would count, and it
    would lead in the place of honest ones, in slots that it leaves open.

    The vertices need not be kept: what is held are leaders, votes and authors above gc_round.
    """

    __slots__ = ("_equivocates", "_leaders", "_links", "_scores", "_stakes")

    def __init__(self, committee: Committee) -> None:
        self._scores = [0] * len(committee)
        self._stakes = [member.stake for member in committee.members]
        self._leaders: dict[Round, VertexRef] = {}
        self._links: dict[Round, dict[VertexRef, list[ValidatorIndex]]] = {}
        self._equivocates: dict[Round, dict[ValidatorIndex, bool]] = {}  # of each author in a round

    def add(self, vertices: Sequence[Vertex], gc_round: Round) -> None:
        """Count the vertices of the next commit, in its order. gc_round: what it has made of the window's."""
        for vertex in vertices:
            if isinstance(vertex, ValidatorVertex):
                self._count(vertex)
        leader = cast(ValidatorVertex, vertices[-1]).ref
        self._leaders[leader.round] = leader
        # A vertex yet to be committed is above gc_round, and what it links strongly is not below.
        for number in [number for number in self._links if number < gc_round]:
            self._settle(self._scores, number, self._links.pop(number))
        for number in [number for number in self._equivocates if number < gc_round]:
            del self._equivocates[number]
        for number in [number for number in self._leaders if number < gc_round]:
            del self._leaders[number]

    def scores(self) -> list[int]:
        """Of each member, so far."""
        scores = [*self._scores]
        for number, links in self._links.items():
            self._settle(scores, number, links)
        return scores

    def _count(self, vertex: ValidatorVertex) -> None:
        # What a vertex links was committed before it, so leaders come before votes, and votes before links.
        authors = self._equivocates.setdefault(vertex.round, {})
        authors[vertex.author] = vertex.author in authors
        before = Round(vertex.round - 1)
        votes = self._links.get(before)
        if votes:
            for linked_by in map(votes.get, vertex.ancestors):
                if linked_by is not None:
                    linked_by.append(vertex.author)
        if self._leaders.get(before) in vertex.ancestors:
            self._links.setdefault(vertex.round, {})[vertex.ref] = []

    def _settle(self, scores: list[int], number: Round, links: dict[VertexRef, list[ValidatorIndex]]) -> None:
        equivocates = self._equivocates[number]
        for vote, authors in links.items():
            if equivocates[vote.author]:
                continue
            distinct = dict.fromkeys(authors)  # an equivocating author may have linked it twice
            scores[vote.author] += sum(map(self._stakes.__getitem__, distinct))
