"""DAGs of dag_dsl as the production code meets them: real vertices in a real window.

Signatures are mock ones, and nothing is verified: a scenario says what is there, valid or not.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from reference.commit_reference import Slot, Status
from scenario.dag_dsl import Dag, Vertex

from cherrydag.committee import Committee, Member
from cherrydag.consensus.committer import Committer, Decision, decide_directly
from cherrydag.dag.graph import Outcome
from cherrydag.dag.window import Window
from cherrydag.primitives import Digest
from cherrydag.refs import OperatorRef, VertexRef
from cherrydag.vertex import OperatorVertex, ValidatorVertex, genesis_vertices
from cherrydag.vertex import Vertex as LiveVertex

EPOCH = 3
ORIGIN = Digest(bytes(range(32)))


def committee_of(stakes: Sequence[int]) -> Committee:
    """Validators with made-up keys."""
    return Committee(EPOCH, tuple(Member((1 + i).to_bytes(32, "little"), s) for i, s in enumerate(stakes)))


def in_order(dag: Dag) -> list[Vertex]:
    """The vertices above genesis, by round: a causal order."""
    return sorted(vertex for vertex in dag.ancestors if vertex.round)


Made = dict[Vertex, ValidatorVertex]


def genesis_of(committee: Committee) -> Made:
    return {Vertex(0, a): vertex for a, vertex in enumerate(genesis_vertices(committee, ORIGIN))}


def make(dag: Dag, vertex: Vertex, made: Made, committee: Committee, **fields: Any) -> ValidatorVertex:
    """The vertex, whose ancestors are made already, as a validator vertex."""
    settled = {"timestamp_ms": 100 * vertex.round + vertex.author} | fields
    return ValidatorVertex(
        epoch=committee.epoch,
        round=vertex.round,
        author=vertex.author,
        ancestors=tuple(made[ancestor].ref for ancestor in dag.ancestors[vertex]),
        signature=bytes([vertex.variant]) * 64,  # what tells the vertices of a slot apart
        **settled,
    )


def vertices_of(dag: Dag, committee: Committee) -> Made:
    """All vertices of the DAG, genesis too, in causal order."""
    made = genesis_of(committee)
    for vertex in in_order(dag):
        made[vertex] = make(dag, vertex, made, committee)
    return made


def with_operators(
    dag: Dag, committee: Committee, rng: random.Random, per_round: int, lag: int
) -> tuple[Made, list[LiveVertex]]:
    """The DAG's vertices, and in causal order all vertices, operators' too: per_round new ones after each
    round but the first, which validators list as tips for `lag` rounds."""
    made = genesis_of(committee)
    listed: list[LiveVertex] = []
    tips: list[OperatorRef] = []
    newest: dict[bytes, OperatorVertex] = {}
    for number in range(1, dag.highest_round + 1):
        for vertex in dag.at_round(number):
            open_tips = [tip for tip in tips if number - lag <= tip.anchor_round < number]
            count = min(len(open_tips), rng.choice((0, 0, 1, 2)))
            made[vertex] = make(
                dag,
                vertex,
                made,
                committee,
                timestamp_ms=rng.randrange(100 * number, 100 * number + 300),
                tips=tuple(sorted(rng.sample(open_tips, count))),
            )
            listed.append(made[vertex])
        for k in range(per_round if number > 1 else 0):
            issuer = (1000 + rng.randrange(3 * per_round)).to_bytes(32, "little")
            own = newest.get(issuer)
            parents: list[VertexRef | OperatorRef] = [] if own is None else [own.ref]
            near = dag.at_round(number) + dag.at_round(number - 1)
            parents += [made[v].ref for v in rng.sample(near, 2 - len(parents))]
            operator = OperatorVertex(
                epoch=committee.epoch,
                issuer=issuer,
                seq=0 if own is None else own.seq + 1,
                anchor_round=max(parent[0] for parent in parents),
                timestamp_ms=100 * number + k,
                parents=tuple(parents),
            )
            newest[issuer] = operator
            tips.append(operator.ref)
            listed.append(operator)
    return made, listed


class LiveDecider:
    """The committer behind the face of reference.commit_reference.Decider.

    It decides after every vertex, in the order in which the DAG got them, and sees a DAG grow.
    """

    def __init__(
        self, dag: Dag, leader: Callable[[int], int] | None = None, stakes: Sequence[int] | None = None
    ) -> None:
        self.dag = dag
        self.leader = leader or (lambda number: number % dag.authors)
        self.committee = committee_of(stakes or [1] * dag.authors)
        self.window = Window([member.stake for member in self.committee.members], bytes(16))
        self.committer = Committer(self.window.graph, self.leader)
        self._made = genesis_of(self.committee)
        self._named: dict[int, Vertex] = {}
        self._catch_up()

    def direct(self, slot: Slot) -> Status:
        self._catch_up()
        return self._status(slot, decide_directly(self.window.graph, *slot))

    def statuses(self, last_round: int = 0) -> list[Status]:
        self._catch_up()
        found = []
        for number in range(last_round + 1, self.dag.highest_round - 1):
            decided = self.committer.decide(number - 1)
            found.append(self._status((number, self.leader(number)), decided[0] if decided else None))
        return found

    def decide(self, last_round: int = 0) -> list[Status]:
        self._catch_up()
        return [self._status((d.round, d.leader), d) for d in self.committer.decide(last_round)]

    def _catch_up(self) -> None:
        for name in [name for name in self.dag.ancestors if name not in self._made]:
            vertex = self._made[name] = make(self.dag, name, self._made, self.committee)
            inserted = self.window.insert(vertex)
            assert inserted.outcome is Outcome.INSERTED, (name, inserted)
            self._named[inserted.handle] = name
            self.committer.note(vertex.round)
            self.committer.decide(0)

    def _status(self, slot: Slot, decision: Decision | None) -> Status:
        if decision is None:
            return Status(slot, "undecided")
        assert (decision.round, decision.leader) == slot
        if decision.handle is None:
            return Status(slot, "skip")
        return Status(slot, "commit", self._named[decision.handle])


def chunks(rng: random.Random, items: Sequence[LiveVertex], most: int) -> Iterator[Sequence[LiveVertex]]:
    """The items in order, in pieces of 1 to `most`."""
    at = 0
    while at < len(items):
        size = rng.randint(1, most)
        yield items[at : at + size]
        at += size
