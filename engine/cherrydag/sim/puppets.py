"""Byzantine validators: a production node whose effects are bent on the way out (consensus, 9)."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cherrydag.consensus.effects import Broadcast
from cherrydag.errors import CherrydagError
from cherrydag.gossip.effects import Send
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
from cherrydag.node import NodeConfig, NodeEffect
from cherrydag.primitives import TimestampMs
from cherrydag.sim.chance import Chance
from cherrydag.sim.host import Host
from cherrydag.sim.keys import MockSigner

if TYPE_CHECKING:
    from cherrydag.sim.world import World

_SLOT_US: Final = 400_000


class Puppet(Host):
    """A host whose node may do what no honest one would; if it gives up, nobody minds."""

    is_honest = False

    def step(self, call: Callable[..., list[NodeEffect]], *arguments: object) -> None:
        """One input; an invariant that breaks stops this node and nothing else."""
        if not self.is_up:
            return
        try:
            super().step(call, *arguments)
        except CherrydagError:
            self.is_up = False

    def restart(self) -> None:
        """Once down, it stays down."""


class Withholder(Puppet):
    """Its vertices reach a few, late, or nobody at all until somebody asks."""

    def broadcast(self, effect: Broadcast) -> None:
        """Draw who gets it and when."""
        self.round = effect.vertex.round
        push, chance = Push(effect.vertex), self.chance
        manner = chance.below(5)
        reached = {2: 1, 3: len(self.linked) // 2}.get(manner, len(self.linked))
        if manner == 0:
            return
        late_us = chance.between(30_000, 1_500_000) if manner == 1 else 0
        for target in chance.sample(list(self.linked), min(reached, len(self.linked))):
            self.world.send(self.seat, target, push, late_us)


class SyncLiar(Puppet):
    """Honest but for its answers: none, late, empty, of something else, or of a chain that is not."""

    def send(self, effect: Send) -> None:
        """Bend answers; requests go out as they are."""
        message, target = effect.message, self.world.seat_of(effect.peer)
        if not isinstance(message, Vertices | Commits | Newest):
            super().send(effect)
            return
        manner = self.chance.below(5)
        if manner == 0:
            return
        if manner == 1:
            self.world.send(self.seat, target, message, self.chance.between(100_000, 6_000_000))
        elif manner == 2:
            self.world.send(self.seat, target, self._lie(message))
        else:
            self.world.send(self.seat, target, message)

    def _lie(self, message: Vertices | Commits | Newest) -> Message:
        """Something false that is well formed."""
        if isinstance(message, Newest):
            return replace(message, vertices=())
        if isinstance(message, Vertices):
            if self.chance.is_hit(500):
                return replace(message, vertices=message.vertices[:-1])
            strangers = self.node.engine.window.vertices(self.node.engine.chain.leader_round)
            return replace(message, vertices=tuple(strangers[:2]))
        if not message.commits or self.chance.is_hit(300):
            return replace(message, commits=message.commits[: len(message.commits) // 2])
        forged = []
        previous = message.commits[0].prev_digest
        for commit in message.commits:
            later = TimestampMs(commit.timestamp_ms + 1)
            forged.append(replace(commit, prev_digest=previous, timestamp_ms=later))
            previous = forged[-1].digest
        return replace(message, commits=tuple(forged))


class _Twin(Puppet):
    """One of two nodes with one key; it hears and is heard by those that its side of the moment holds."""

    def __init__(self, world: "World", seat: int, config: NodeConfig, signer: MockSigner, side: int) -> None:
        self._side = side
        super().__init__(world, seat, config, signer)
        self.chance = Chance.of(world.scenario.seed, f"twin {seat} {side}")

    def meets(self, other: int) -> bool:
        """Whether this twin is the one that the other seat deals with now, or one of both."""
        slot = self.world.now_us // _SLOT_US
        drawn = Chance.of(self.world.scenario.seed, f"twins {self.seat} {slot} {other}").below(5)
        return drawn == 0 or drawn % 2 == self._side

    def broadcast(self, effect: Broadcast) -> None:
        """To this side."""
        self.round = effect.vertex.round
        push = Push(effect.vertex)
        for target in self.linked:
            if self.meets(target):
                self.world.send(self.seat, target, push)
        if not self.payloads.waiting:
            self.payloads.waiting = 1

    def send(self, effect: Send) -> None:
        """To this side; questions are numbered so that the answer finds the twin that asked."""
        if not self.meets(self.world.seat_of(effect.peer)):
            return
        message = effect.message
        if isinstance(message, GetVertices | GetCommits | GetNewest):
            effect = Send(effect.peer, replace(message, number=2 * message.number + self._side))
        super().send(effect)

    def deliver(self, source: int, message: Message, connection: int) -> None:
        """From this side, or to its own question."""
        if not self.is_up:
            return
        if isinstance(message, Vertices | Commits | Newest):
            if message.number & 1 == self._side:
                super().deliver(source, replace(message, number=message.number >> 1), connection)
        elif self.meets(source):
            super().deliver(source, message, connection)


class Twins(_Twin):
    """Both of them, on one seat."""

    def __init__(self, world: "World", seat: int, config: NodeConfig, signer: MockSigner) -> None:
        super().__init__(world, seat, config, signer, 0)
        other_config = replace(config, seed=config.seed[::-1])
        self._other = _Twin(world, seat, other_config, signer, 1)

    def start(self, executed: int = 0) -> None:
        """Start both."""
        super().start(executed)
        self._other.start(executed)

    def link(self, other: int, connection: int) -> None:
        """Link both."""
        super().link(other, connection)
        self._other.link(other, connection)

    def unlink(self, other: int) -> None:
        """Unlink both."""
        super().unlink(other)
        self._other.unlink(other)

    def deliver(self, source: int, message: Message, connection: int) -> None:
        """To one, or to both."""
        super().deliver(source, message, connection)
        self._other.deliver(source, message, connection)
