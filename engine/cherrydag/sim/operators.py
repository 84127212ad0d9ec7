"""Operators: honest ones with a production node that does not vote, and adversaries (consensus, 2 and 9)."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeAlias

from cherrydag.dag.graph import Handle
from cherrydag.dag.tips import TipSelector
from cherrydag.gossip.messages import GetCommits, GetNewest, GetVertices, Message, Vertices
from cherrydag.node import NodeConfig
from cherrydag.params import OPERATOR_PARENTS_MIN
from cherrydag.payload import EMPTY_PAYLOAD
from cherrydag.primitives import Epoch, PublicKey, Round, TimestampMs
from cherrydag.refs import AnyRef, OperatorRef, VertexRef, round_of
from cherrydag.sim.actor import Actor
from cherrydag.sim.clock import SECOND_US
from cherrydag.sim.host import Host
from cherrydag.sim.keys import MockSigner, mock_key, mock_sign
from cherrydag.vertex import OperatorVertex

if TYPE_CHECKING:
    from cherrydag.sim.world import World

QUOTA: Final = 8
"""Uncommitted vertices that each operator may have."""

ReadClock: TypeAlias = Callable[[int], TimestampMs]
"""What a clock shows at a time of the world."""

_PARENTS: Final = 3
_FLOOD: Final = 12


class Operator(Host):
    """Issues a vertex now and then, over tips of its own node's window, as long as its quota allows."""

    def __init__(self, world: "World", seat: int, config: NodeConfig, signer: MockSigner) -> None:
        super().__init__(world, seat, config, signer)
        self.issued = 0
        self._own: OperatorRef | None = None

    def start(self, executed: int = 0) -> None:
        """Start the node, and the first pause."""
        super().start(executed)
        self._selector = TipSelector(self.node.engine.window.graph, self.chance.getrandbits(64))
        self.world.later(self.chance.below(SECOND_US), self._issue, None, None, self.incarnation)

    def _issue(self, _unused: None, __unused: None, incarnation: int) -> None:
        if incarnation != self.incarnation:
            return
        self.world.later(self.chance.between(100_000, 400_000), self._issue, None, None, incarnation)
        if self.is_paused or self.world.checks.submissions.open_count(self.seat) >= QUOTA:
            return
        parents = self._choose()
        if len(parents) < OPERATOR_PARENTS_MIN:
            return
        seq = 0 if self._own is None else self.issued
        vertex = operator_vertex(self.world, self.signer.public_key, seq, parents, self.clock.read)
        self.issued += 1
        self._own = vertex.ref
        self.checks.on_submit(self, vertex)
        self.step(self.node.submit_vertex, vertex, self.now_ms)

    def _choose(self) -> tuple[AnyRef, ...]:
        """Our own last vertex first, then tips of others."""
        window = self.node.engine.window
        tips = [window.vertex(Handle(handle)) for handle in self._selector.uniform(_PARENTS).tolist()]
        others = tuple(tip.ref for tip in tips if not self.issues(tip))
        return others if self._own is None else (self._own, *others)


def operator_vertex(
    world: "World", issuer: PublicKey, seq: int, parents: tuple[AnyRef, ...], read: ReadClock
) -> OperatorVertex:
    """A signed vertex with a payload that follows from issuer and seq."""
    payload = world.payloads[(issuer[0] + seq) % len(world.payloads)]
    return sign(
        world,
        OperatorVertex(
            epoch=Epoch(1),
            issuer=issuer,
            seq=seq,
            anchor_round=max(round_of(ref) for ref in parents),
            timestamp_ms=read(world.now_us),
            parents=parents,
            payload=payload,
        ),
    )


def sign(world: "World", vertex: OperatorVertex) -> OperatorVertex:
    """The vertex with its issuer's mock signature."""
    digest = vertex.signing_digest(world.rules.chain)
    return replace(vertex, signature=mock_sign(digest, vertex.issuer))


class RogueOperator(Actor):
    """Wakes up every now and then over the newest round with a quorum."""

    pace_us = 300_000

    def __init__(self, world: "World", seat: int, signer: MockSigner) -> None:
        super().__init__(world, seat, signer)
        self.seq = 0
        self.own: OperatorRef | None = None

    def start(self) -> None:
        """The first pause."""
        self.world.later(self.pace_us, self._wake, None, None, 0)

    def _wake(self, _unused: None, __unused: None, ___unused: int) -> None:
        self.world.later(self.pace_us, self._wake, None, None, 0)
        tops = self._tops()
        if len(tops) >= OPERATOR_PARENTS_MIN:
            self.misbehave(tops)

    def _tops(self) -> tuple[VertexRef, ...]:
        top = max((round_ for round_ in self.stake_at if self.has_quorum(round_)), default=0)
        vertices = [v for author in range(self.world.scenario.validators) for v in self._slot(top, author)]
        return tuple(vertices[:_PARENTS])

    def _slot(self, round_: int, author: int) -> list[VertexRef]:
        return [vertex.ref for vertex in self.window.slot(Round(round_), author)[:1]] if round_ else []

    def misbehave(self, tops: tuple[VertexRef, ...]) -> None:
        """Issue something; tops: good parents."""

    def issue(self, tops: tuple[AnyRef, ...]) -> OperatorVertex:
        """The next vertex of our chain, pushed to nobody yet."""
        parents = tops if self.own is None else (self.own, *tops)
        vertex = operator_vertex(self.world, self.signer.public_key, self.seq, parents, self.clock.read)
        self.own = vertex.ref
        self.seq += 1
        self.accept(vertex, self.seat)
        return vertex


class Flooder(RogueOperator):
    """Far over its quota, in deep chains, and under names that have no bond."""

    def misbehave(self, tops: tuple[VertexRef, ...]) -> None:
        """A chain of many, and many strangers'."""
        for _ in range(_FLOOD):
            self.push(self.issue(tops[:1] if self.own else tops))
        for number in range(_FLOOD):
            stranger = mock_key(f"stranger {self.seat} {number}")
            self.push(operator_vertex(self.world, stranger, 0, tops, self.clock.read))
        orphan = OperatorRef(tops[0].round, self.signer.public_key, tops[0].digest)
        for number in range(_FLOOD):
            parents: tuple[AnyRef, ...] = (orphan, *tops[1:])
            lost = operator_vertex(
                self.world, self.signer.public_key, 10_000 + number, parents, self.clock.read
            )
            self.push(lost)


class ParentWithholder(RogueOperator):
    """Its vertices stand on one that it shows to nobody, or to a single validator."""

    def misbehave(self, tops: tuple[VertexRef, ...]) -> None:
        """Two in a chain: the first is withheld."""
        withheld = self.issue(tops)
        target = self.chance.below(self.world.scenario.validators)
        if self.chance.is_hit(500):
            self.push(withheld, [target])
        self.push(self.issue(tops), [target] if self.chance.is_hit(500) else None)

    def answer(self, request: GetVertices | GetCommits | GetNewest) -> Message | None:
        """Never a vertex."""
        if isinstance(request, GetVertices):
            return Vertices(request.number, ()) if self.chance.is_hit(500) else None
        return super().answer(request)


class SeqEquivocator(RogueOperator):
    """Two vertices under one seq, for different validators."""

    def misbehave(self, tops: tuple[VertexRef, ...]) -> None:
        """Both are children of the same vertex."""
        before = self.own
        first = self.issue(tops)
        parents: tuple[AnyRef, ...] = tops if before is None else (before, *tops)
        second = replace(first, parents=parents, payload=EMPTY_PAYLOAD)
        second = sign(self.world, second)
        self.accept(second, self.seat)
        for target in self.linked:
            self.push(self.chance.pick((first, second)), [target])


ROGUES: Final = {
    "flooder": Flooder,
    "parent_withholder": ParentWithholder,
    "seq_equivocator": SeqEquivocator,
}
