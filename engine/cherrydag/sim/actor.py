"""Adversaries' own small node: it follows the DAG in a window, answers for it, and issues what it likes.

It keeps no chain and stores nothing. It never crashes: nobody counts on it.
"""

from collections import deque
from typing import TYPE_CHECKING

from cherrydag.dag.graph import Limits, Outcome
from cherrydag.dag.window import Window
from cherrydag.gossip.messages import (
    Commits,
    GetCommits,
    GetNewest,
    GetVertices,
    Message,
    Newest,
    Push,
    Vertices,
)
from cherrydag.primitives import Digest, Round
from cherrydag.refs import AnyRef
from cherrydag.sim.chance import Chance
from cherrydag.sim.clock import Clock
from cherrydag.sim.keys import MockSigner
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex

if TYPE_CHECKING:
    from cherrydag.sim.world import World

_LIMITS = Limits(rounds=1024, vertices=1 << 16, blocks=1 << 18, issuers=1 << 10)
_KEPT_ROUNDS = 100
_PARKED_MAX = 2000


class Actor:
    """A seat that obeys no rule but those that its subclass keeps."""

    is_honest = False
    is_up = True
    is_paused = False

    def __init__(self, world: "World", seat: int, signer: MockSigner) -> None:
        self.world = world
        self.seat = seat
        self.signer = signer
        self.clock = Clock()
        self.chance = Chance.of(world.scenario.seed, f"actor {seat}")
        self.linked: dict[int, int] = {}
        self.round = 0
        stakes = [member.stake for member in world.committee.members]
        self.window = Window(stakes, bytes(16), _LIMITS)
        self.stake_at: dict[int, int] = {}
        self._authors: dict[int, int] = {}
        self._parked: dict[Digest, Vertex] = {}
        self._waiting: dict[Digest, list[Digest]] = {}
        self._asked: dict[Digest, None] = {}
        self._number = 0

    # What the world does with a seat

    @property
    def is_validator(self) -> bool:
        """Whether a member of the committee sits here."""
        return self.seat < self.world.scenario.validators

    def issues(self, vertex: Vertex) -> bool:
        """Whether this vertex is this seat's own."""
        if isinstance(vertex, OperatorVertex):
            return vertex.issuer == self.signer.public_key
        return vertex.author == self.seat

    def start(self) -> None:
        """Begin."""

    def crash(self) -> None:
        """Never."""

    def restart(self) -> None:
        """Nothing to do."""

    def pause(self) -> None:
        """Never."""

    def go_on(self) -> None:
        """Nothing to do."""

    def reset_clock(self) -> None:
        """Nothing to do."""

    def link(self, other: int, connection: int) -> None:
        """A connection is up."""
        self.linked[other] = connection

    def unlink(self, other: int) -> None:
        """A connection is gone."""
        self.linked.pop(other, None)

    def deliver(self, source: int, message: Message, connection: int) -> None:
        """A message has arrived."""
        if connection != self.linked.get(source):
            return
        self.world.deliveries += 1
        self.world.log.add(1, self.seat, source, message)
        if isinstance(message, Push):
            self.accept(message.vertex, source)
        elif isinstance(message, Vertices):
            for vertex in message.vertices:
                self.accept(vertex, source)
        elif isinstance(message, GetVertices | GetCommits | GetNewest):
            answer = self.answer(message)
            if answer is not None:
                self.send(source, answer)
        self.act()

    # What a subclass changes

    def act(self) -> None:
        """Something has come in: issue what is due."""

    def answer(self, request: GetVertices | GetCommits | GetNewest) -> Message | None:
        """An honest answer, as far as this node can give one."""
        if isinstance(request, GetVertices):
            found = [self.window.get(ref.digest) for ref in request.refs]
            return Vertices(request.number, tuple(vertex for vertex in found if vertex is not None))
        if isinstance(request, GetNewest):
            for round_ in range(self.window.graph.highest_round, self.window.graph.gc_round, -1):
                slot = self.window.slot(Round(round_), request.author)
                if slot:
                    return Newest(request.number, request.author, tuple(slot))
            return Newest(request.number, request.author, ())
        return Commits(request.number, (), ())

    # Following the DAG

    def send(self, target: int, message: Message, late_us: int = 0) -> None:
        """Send one message; late_us: only after so long."""
        self.world.send(self.seat, target, message, late_us)

    def push(self, vertex: Vertex, targets: list[int] | None = None, late_us: int = 0) -> None:
        """Push a vertex to these seats, to all that are linked by default."""
        message = Push(vertex)
        for target in list(self.linked) if targets is None else targets:
            if target != self.seat:
                self.send(target, message, late_us)

    def accept(self, vertex: Vertex, source: int) -> None:
        """Take a vertex, or park it and ask its sender for what it lacks."""
        if self.world.verifier.faults((vertex,))[0] is not None:
            return
        waiting = deque([vertex])
        while waiting:
            taken = waiting.popleft()
            inserted = self.window.insert(taken)
            if inserted.outcome is Outcome.MISSING:
                parents = self.window.parents_of(taken)
                self._park(taken, [parents[place] for place in inserted.missing], source)
            elif inserted.outcome is Outcome.INSERTED:
                self._note(taken)
                children = self._waiting.pop(taken.digest, ())
                waiting += [self._parked.pop(child) for child in children if child in self._parked]

    def _park(self, vertex: Vertex, missing: list[AnyRef], source: int) -> None:
        if len(self._parked) >= _PARKED_MAX:
            self._parked.clear()
            self._waiting.clear()
            self._asked.clear()
        self._parked[vertex.digest] = vertex
        for ref in missing:
            self._waiting.setdefault(ref.digest, []).append(vertex.digest)
        unasked = tuple(ref for ref in missing if ref.digest not in self._asked)
        self._asked |= dict.fromkeys(ref.digest for ref in unasked)
        if unasked:
            self._number += 1
            self.send(source, GetVertices(self._number, unasked))

    def _note(self, vertex: Vertex) -> None:
        if not isinstance(vertex, ValidatorVertex):
            return
        round_, bit = vertex.round, 1 << vertex.author
        authors = self._authors.get(round_, 0)
        if not authors & bit:
            self._authors[round_] = authors | bit
            stake = self.world.committee.members[vertex.author].stake
            self.stake_at[round_] = self.stake_at.get(round_, 0) + stake
        if round_ > self.window.graph.gc_round + 2 * _KEPT_ROUNDS:
            self.window.set_gc_round(Round(round_ - _KEPT_ROUNDS))
            for old in [number for number in self.stake_at if number <= round_ - _KEPT_ROUNDS]:
                del self.stake_at[old], self._authors[old]

    def has_quorum(self, round_: int) -> bool:
        """Whether a quorum of stake has a vertex in this round here."""
        return round_ == 0 or self.stake_at.get(round_, 0) >= self.world.committee.quorum
