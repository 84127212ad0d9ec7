"""Byzantine validators that make vertices of their own (consensus, 9)."""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cherrydag.commit import CommitVote
from cherrydag.payload import EMPTY_PAYLOAD
from cherrydag.primitives import Digest, Epoch, Round, TimestampMs, ValidatorIndex
from cherrydag.refs import OperatorRef, VertexRef
from cherrydag.sim.actor import Actor
from cherrydag.sim.clock import DAY_MS
from cherrydag.sim.keys import MockSigner, mock_key
from cherrydag.vertex import ValidatorVertex

if TYPE_CHECKING:
    from cherrydag.sim.world import World

_PACE_US: Final = 45_000


class Issuer(Actor):
    """Issues one honest-looking vertex a round, a little faster than others; subclasses change what leaves.

    Each round it may pass over rounds that it has missed.
    """

    pace_us = _PACE_US

    def __init__(self, world: "World", seat: int, signer: MockSigner) -> None:
        super().__init__(world, seat, signer)
        self.own = self.genesis(seat)
        self._due: int | None = None

    def genesis(self, author: int) -> VertexRef:
        """An author's vertex of round 0."""
        return VertexRef(Round(0), ValidatorIndex(author), self.world.rules.genesis[author])

    def start(self) -> None:
        """Issue for round 1."""
        self.world.later(0, self._issue, None, None, 1)

    def act(self) -> None:
        """Issue for the round after the highest that has a quorum, after a while."""
        round_ = self.round
        while self.has_quorum(round_ + 1):
            round_ += 1
        if self.has_quorum(round_) and self._due != round_ + 1:
            self._due = round_ + 1
            self.world.later(self.pace_us, self._issue, None, None, round_ + 1)

    def _issue(self, _unused: None, __unused: None, round_: int) -> None:
        if round_ <= self.round or not self.has_quorum(round_ - 1):
            return
        self.round = round_
        vertex = self.make(round_, self.own, self.world.now_us)
        self.own = vertex.ref
        self.accept(vertex, self.seat)
        self.release(vertex)
        self.act()

    def make(self, round_: int, own: VertexRef, now_us: int) -> ValidatorVertex:
        """A valid vertex; own: the one before in its chain."""
        vertex = ValidatorVertex(
            epoch=Epoch(1),
            round=Round(round_),
            author=ValidatorIndex(self.seat),
            timestamp_ms=self.clock.read(now_us),
            ancestors=(own, *self.parents(round_)),
            payload=self.chance.pick(self.world.payloads) if self.chance.is_hit(200) else EMPTY_PAYLOAD,
        )
        return self.sign(vertex)

    def sign(self, vertex: ValidatorVertex) -> ValidatorVertex:
        """The vertex with a good signature of this seat."""
        digest = vertex.signing_digest(self.world.rules.chain)
        return replace(vertex, signature=self.signer.sign(digest))

    def parents(self, round_: int) -> tuple[VertexRef, ...]:
        """A vertex of each other author of the round before, of an equivocation any."""
        if round_ == 1:
            return tuple(self.genesis(a) for a in range(self.world.scenario.validators) if a != self.seat)
        found = []
        for author in range(self.world.scenario.validators):
            slot = self.window.slot(Round(round_ - 1), author) if author != self.seat else []
            if slot:
                found.append(self.chance.pick(slot).ref)
        return tuple(found)

    def release(self, vertex: ValidatorVertex) -> None:
        """Let the round's vertex out."""
        self.push(vertex)


class Jumper(Issuer):
    """Runs ahead: a vertex as soon as a quorum is in the round before, without that round's leader if it can.

    While one sits in a world, what honest nodes send to the next leader is late by less than its timeout. A
    node that lets its clock jump to whatever round it sees hears of the jumper's round first, passes over its
    own, and never leads: nothing commits (Qiu, Xiao, Shao: IEEE S&P 2026).
    """

    pace_us = 0

    def parents(self, round_: int) -> tuple[VertexRef, ...]:
        """All but the leader, unless a quorum needs it."""
        found = super().parents(round_)
        leader = self.world.leader(Round(round_ - 1))
        rest = tuple(ref for ref in found if ref.author != leader)
        stake = self.world.committee.stake_of([ValidatorIndex(self.seat), *(ref.author for ref in rest)])
        return rest if stake >= self.world.committee.quorum else found

    def release(self, vertex: ValidatorVertex) -> None:
        """Never as a leader, and never to the round's leader: that it hears of the next round first."""
        leader = self.world.leader(vertex.round)
        if leader != self.seat:
            self.push(vertex, [target for target in self.linked if target != leader])


class Equivocator(Issuer):
    """Two vertices in every round, each a chain of its own, shown to different halves; rarely both."""

    chains = 2

    def __init__(self, world: "World", seat: int, signer: MockSigner) -> None:
        super().__init__(world, seat, signer)
        self._tails = [self.own] * self.chains

    def release(self, vertex: ValidatorVertex) -> None:
        """This round's vertex of each chain, and who gets to see which."""
        made = [vertex]
        self._tails[0] = vertex.ref
        for chain in range(1, self.chains):
            fork = self.make(vertex.round, self._tails[chain], self.world.now_us + 1000 * chain)
            self._tails[chain] = fork.ref
            self.accept(fork, self.seat)
            made.append(fork)
        for target in self.linked:
            shown = made if self.chance.is_hit(50) else [self.chance.pick(made)]
            for fork in shown:
                self.push(fork, [target])


class ManyChains(Equivocator):
    """A vertex for everybody in every round."""

    def __init__(self, world: "World", seat: int, signer: MockSigner) -> None:
        self.chains = min(8, world.scenario.validators)
        super().__init__(world, seat, signer)


class TimestampLiar(Issuer):
    """Timestamps far in the past, at the edge of what is refused, and far ahead."""

    def release(self, vertex: ValidatorVertex) -> None:
        """The same vertex at another time; its chain goes on from what was sent."""
        by_ms = self.chance.pick((-DAY_MS * 365, -60_000, 499, 500, 501, 60_000, DAY_MS * 365, 0))
        lie = self.sign(replace(vertex, timestamp_ms=TimestampMs(vertex.timestamp_ms + by_ms)))
        if by_ms:
            self.own = lie.ref
            self.accept(lie, self.seat)
        self.push(lie)


class Malformed(Issuer):
    """Now and then a vertex that breaks a rule, in place of a good one or beside it."""

    def release(self, vertex: ValidatorVertex) -> None:
        """A bad one in half of the rounds."""
        if self.chance.is_hit(500):
            self.push(self.spoil(vertex))
        if self.chance.is_hit(800):
            self.push(vertex)

    def spoil(self, vertex: ValidatorVertex) -> ValidatorVertex:
        """Break one rule, drawn; most are signed well."""
        n = self.world.scenario.validators
        own, *others = vertex.ancestors
        someone = others[-1].author
        stranger = VertexRef(Round(vertex.round - 1), ValidatorIndex(n), own.digest)
        digest = Digest(mock_key(f"nobody {vertex.round}"))
        tip = OperatorRef(Round(vertex.round - 1), mock_key("nobody"), digest)
        payload = self.world.payloads[0]
        bad: list[ValidatorVertex] = [
            replace(vertex, epoch=Epoch(2)),
            replace(vertex, round=Round(0)),
            replace(vertex, author=ValidatorIndex(n)),
            replace(vertex, author=ValidatorIndex((self.seat + 1) % n)),
            replace(vertex, ancestors=()),
            replace(vertex, ancestors=(own,)),
            replace(vertex, ancestors=(*others, own)),
            replace(vertex, ancestors=(own, *others, *others[:1])),
            replace(vertex, ancestors=(own, *others[:-1], stranger)),
            replace(vertex, ancestors=(own, *others[:-1], VertexRef(vertex.round, someone, digest))),
            replace(vertex, ancestors=(own, *others[:-1], VertexRef(Round(0), someone, digest))),
            replace(vertex, tips=(tip, tip)),
            replace(vertex, tips=(OperatorRef(vertex.round, mock_key("nobody"), digest),)),
            replace(vertex, tips=tuple(tip._replace(digest=Digest(mock_key(f"{i}"))) for i in range(65))),
            replace(vertex, commit_votes=(CommitVote(2, digest), CommitVote(1, digest))),
            replace(vertex, commit_votes=tuple(CommitVote(i, digest) for i in range(101))),
            replace(vertex, payload=replace(payload, root=digest)),
        ]
        drawn = self.chance.below(len(bad) + 2)
        if drawn >= len(bad):
            return replace(vertex, signature=bytes(64) if drawn == len(bad) else vertex.signature[::-1])
        return self.sign(bad[drawn])


class Replayer(Issuer):
    """Sends vertices of others and of long ago again, to everybody, again and again."""

    def __init__(self, world: "World", seat: int, signer: MockSigner) -> None:
        super().__init__(world, seat, signer)
        self._kept: list[ValidatorVertex] = []

    def release(self, vertex: ValidatorVertex) -> None:
        """A good vertex, and a few old ones."""
        self.push(vertex)
        before = Round(max(0, vertex.round - 1))
        slots = (self.window.slot(before, author) for author in range(self.world.scenario.validators))
        self._kept += [other for slot in slots for other in slot[:1]]
        for _ in range(3):
            if self._kept:
                self.push(self.chance.pick(self._kept))
