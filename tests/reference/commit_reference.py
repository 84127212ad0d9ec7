"""The commit rule of the main chain, as slow and as close to its words as can be (consensus.md, section 4).

Works on the DAGs of scenario.dag_dsl: leaders of every round, equal stake unless given. The decider to be
held against it is fast and incremental; this one recomputes everything from the whole DAG each time.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from scenario.dag_dsl import Dag, Vertex

Slot = tuple[int, int]
"""(round, author)"""


@dataclass(frozen=True)
class Status:
    """What is known of a slot; `vertex` only if it commits."""

    slot: Slot
    verdict: Literal["commit", "skip", "undecided"]
    vertex: Vertex | None = None

    def __str__(self) -> str:
        return f"{self.verdict} {self.vertex or self.slot}"


class Decider:
    """Decide the slots of a DAG. leader(round) names the author; stakes default to 1 each."""

    def __init__(
        self, dag: Dag, leader: Callable[[int], int] | None = None, stakes: Sequence[int] | None = None
    ) -> None:
        self.dag = dag
        self.leader = leader or (lambda number: number % dag.authors)
        self.stakes = list(stakes or [1] * dag.authors)
        total = sum(self.stakes)
        self.quorum = total - (total - 1) // 3

    def stake_of(self, authors: Iterable[int]) -> int:
        """Each author counts once, however many vertices it made."""
        return sum(self.stakes[author] for author in set(authors))

    def supported(self, vertex: Vertex, slot: Slot) -> Vertex | None:
        """The vertex of the slot that is first met going down depth-first, in listed order."""
        for ancestor in self.dag.ancestors[vertex]:
            if (ancestor.round, ancestor.author) == slot:
                return ancestor
            if ancestor.round > slot[0]:
                found = self.supported(ancestor, slot)
                if found is not None:
                    return found
        return None

    def certifies(self, vertex: Vertex, leader: Vertex) -> bool:
        """Whether its direct ancestors hold a quorum of votes for the leader."""
        slot = (leader.round, leader.author)
        votes = [
            ancestor.author
            for ancestor in self.dag.ancestors[vertex]
            if ancestor.round == leader.round + 1 and self.supported(ancestor, slot) == leader
        ]
        return self.stake_of(votes) >= self.quorum

    def in_slot(self, slot: Slot) -> list[Vertex]:
        return [vertex for vertex in self.dag.at_round(slot[0]) if vertex.author == slot[1]]

    def direct(self, slot: Slot) -> Status:
        blames = [
            vertex.author
            for vertex in self.dag.at_round(slot[0] + 1)
            if not any((a.round, a.author) == slot for a in self.dag.ancestors[vertex])
        ]
        if self.stake_of(blames) >= self.quorum:
            return Status(slot, "skip")
        committed = []
        for candidate in self.in_slot(slot):
            certifying = [v.author for v in self.dag.at_round(slot[0] + 2) if self.certifies(v, candidate)]
            if self.stake_of(certifying) >= self.quorum:
                committed.append(candidate)
        assert len(committed) <= 1, f"the fault bound is broken: {committed}"
        return Status(slot, "commit", committed[0]) if committed else Status(slot, "undecided")

    def indirect(self, slot: Slot, later: Iterable[Status]) -> Status:
        """By the anchor: the first later slot, three rounds on or more, that does not skip."""
        for status in later:
            if status.slot[0] < slot[0] + 3 or status.verdict == "skip":
                continue
            if status.vertex is None:
                break
            past = self.past(status.vertex)
            for candidate in self.in_slot(slot):
                if any(v.round == slot[0] + 2 and self.certifies(v, candidate) for v in past):
                    return Status(slot, "commit", candidate)
            return Status(slot, "skip")
        return Status(slot, "undecided")

    def past(self, vertex: Vertex) -> set[Vertex]:
        found, waiting = {vertex}, [vertex]
        while waiting:
            for ancestor in self.dag.ancestors[waiting.pop()]:
                if ancestor not in found:
                    found.add(ancestor)
                    waiting.append(ancestor)
        return found

    def statuses(self, last_round: int = 0) -> list[Status]:
        """Of every slot after last_round whose decision round has begun, in order."""
        found: list[Status] = []
        for number in range(self.dag.highest_round - 2, last_round, -1):
            slot = (number, self.leader(number))
            status = self.direct(slot)
            found.insert(0, status if status.verdict != "undecided" else self.indirect(slot, found))
        return found

    def decide(self, last_round: int = 0) -> list[Status]:
        """The longest decided prefix after last_round; skips are output too."""
        decided = []
        for status in self.statuses(last_round):
            if status.verdict == "undecided":
                break
            decided.append(status)
        return decided
