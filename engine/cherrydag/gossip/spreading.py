"""Spread as a node has it: which links take part, what is answered to a graft, what is known already.

A validator spreads to nodes that are none, and has the others of its kind in a mesh; any other node spreads
to all. Without limits nothing is spread: validators broadcast to whoever is connected.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from cherrydag.consensus.effects import Broadcast, Entered, Relay
from cherrydag.consensus.engine import Engine
from cherrydag.consensus.timing import Timing
from cherrydag.gossip.effects import Send
from cherrydag.gossip.messages import Announce, GetVertices, Graft, Newest, Prune, Push, Vertices
from cherrydag.gossip.server import Server
from cherrydag.gossip.spread import Sent, Spread, SpreadLimits
from cherrydag.params import PEER_OTHERS, PEER_SELF
from cherrydag.primitives import Peer, TimestampMs, ValidatorIndex
from cherrydag.refs import AnyRef, round_of
from cherrydag.vertex import Vertex


class Spreading:
    """Between one engine and its node. limits: None for one that does not spread."""

    def __init__(
        self,
        engine: Engine,
        server: Server,
        me: ValidatorIndex | None,
        limits: SpreadLimits | None,
        timing: Timing,
        seed: int,
    ) -> None:
        self._engine = engine
        self._server = server
        self._me = me
        self._timing = timing
        self._is_on = limits is not None
        self.spread = Spread(self.has, limits, seed=seed, is_fed=me is not None)

    # Links

    def connected(self, peer: Peer) -> None:
        """A peer can be spoken to."""
        if self._is_on and not (self._me is not None and peer < PEER_OTHERS):
            self.spread.connected(peer)

    def gone(self, peer: Peer) -> None:
        """A peer is gone."""
        self.spread.gone(peer)

    def peers_to_ask(self, connected: Iterable[Peer]) -> list[Peer]:
        """Who can be asked for anything, in a fixed order: validators; by a node that spreads and is none,
        the others as well, which have what it has."""
        with_others = self._is_on and self._me is None
        return sorted(peer for peer in connected if peer < PEER_OTHERS or with_others)

    # Vertices

    def on_effect(self, effect: Broadcast | Entered | Relay, now_ms: TimestampMs) -> list[Send]:
        """A vertex is in the window, and ours durable: push it along the tree."""
        source = Peer(PEER_SELF) if isinstance(effect, Broadcast) else effect.source
        return _sends(self.spread.entered(effect.vertex, source, now_ms))

    def is_for_host(self, effect: Broadcast | Entered | Relay) -> bool:
        """Whether the host has to send it, too: to the validators, if it is one or does not spread."""
        if isinstance(effect, Entered):
            return False
        return self._me is not None or not self._is_on

    def pushed(self, peer: Peer, vertex: Vertex, now_ms: TimestampMs) -> list[Send]:
        """A peer has pushed a valid vertex, new or not."""
        return _sends(self.spread.pushed(peer, vertex, now_ms))

    # Messages

    def on_message(self, peer: Peer, message: Announce | Graft | Prune, now_ms: TimestampMs) -> list[Send]:
        """What a peer says of its vertices, and how it wants ours."""
        if isinstance(message, Prune):
            self.spread.on_prune(peer)
        elif isinstance(message, Graft):
            self.spread.on_graft(peer, message)
            found = unsent_left_out(self._server.vertices(GetVertices(0, message.refs)), self._engine)
            return [Send(peer, Push(vertex)) for vertex in found.vertices]
        elif not self._engine.is_behind:  # else commits are fetched, and these with them
            highest = self._engine.clock_round + self._timing.round_ahead_max
            near = tuple(ref for ref in message.refs if round_of(ref) <= highest)
            self.spread.on_announce(peer, replace(message, refs=near), now_ms)
        return []

    def due(self, now_ms: TimestampMs) -> list[Send]:
        """What is to be sent now for its time has come."""
        wake_at_ms = self.spread.wake_at_ms
        return [] if wake_at_ms is None or now_ms < wake_at_ms else _sends(self.spread.due(now_ms))

    @property
    def wake_at_ms(self) -> int | None:
        """When to call `due`."""
        return self.spread.wake_at_ms

    def has(self, ref: AnyRef) -> bool:
        """Whether a vertex is in the window, parked, or below what is kept."""
        engine = self._engine
        return (
            round_of(ref) <= engine.chain.gc_round
            or engine.window.graph.find(ref.digest) is not None
            or ref.digest in engine.acceptance.pending
        )


_Answer = TypeVar("_Answer", bound=Vertices | Newest)


def unsent_left_out(answer: _Answer, engine: Engine) -> _Answer:
    """The answer without vertices of ours that a crash could make us forget."""
    unsent = engine.unsent_digests
    if not unsent:
        return answer
    kept = tuple(vertex for vertex in answer.vertices if vertex.digest not in unsent)
    return replace(answer, vertices=kept)  # type: ignore[arg-type]


def _sends(sent: Iterable[Sent]) -> list[Send]:
    return [Send(peer, message) for peer, message in sent]
