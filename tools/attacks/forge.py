"""A Byzantine validator: it hears the honest ones and makes vertices that are signed well and mean ill."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Self

from attacks.peer import GONE, Peer
from attacks.site import ATTACKER, HONEST, Site
from cherrydag import crypto
from cherrydag.errors import PeerFault
from cherrydag.gossip.message_codec import MessageKind, decode_message
from cherrydag.gossip.messages import Push
from cherrydag.primitives import Digest, Round, TimestampMs, ValidatorIndex
from cherrydag.refs import VertexRef
from cherrydag.signing import sign_digest
from cherrydag.verify import EpochRules
from cherrydag.vertex import ValidatorVertex

_KEPT_ROUNDS = 50


class Forger:
    """Makes vertices under the attacker's key, from what it has been told of the DAG."""

    def __init__(self, site: Site) -> None:
        genesis = site.home.genesis
        self.site = site
        self.rules = EpochRules.of(genesis.chain(), genesis.committee())
        self.key = site.validator_key
        self._slots: dict[int, dict[int, VertexRef]] = {
            0: {author: self._genesis_ref(author) for author in range(HONEST + 1)}
        }
        self.own = self._slots[0][ATTACKER]

    def refs(self, round_: int) -> list[VertexRef]:
        """Vertices of a round that it knows, one of each author."""
        return [ref for _, ref in sorted(self._slots.get(round_, {}).items())]

    def note(self, vertex: ValidatorVertex) -> None:
        """A vertex has come, or was found."""
        for ref in (vertex.ref, *vertex.ancestors):
            self._slots.setdefault(ref.round, {}).setdefault(ref.author, ref)
        for old in [round_ for round_ in self._slots if 0 < round_ < vertex.round - _KEPT_ROUNDS]:
            del self._slots[old]

    def _genesis_ref(self, author: int) -> VertexRef:
        return VertexRef(Round(0), ValidatorIndex(author), self.rules.genesis[author])

    # Vertices

    @property
    def round(self) -> Round:
        """The highest in which it knows a quorum of vertices."""
        quorum = self.rules.committee.quorum
        return Round(max(round_ for round_, slot in self._slots.items() if len(slot) >= quorum))

    async def turn(self) -> Round:
        """Wait for a round that it has not used; that round."""
        while self.round < self.own.round:
            await asyncio.sleep(0.01)
        return self.round

    def vertex(self, **changes: Any) -> ValidatorVertex:
        """The vertex that an honest node could make now, but for the changes, signed."""
        round_ = self.round
        others = [ref for author, ref in sorted(self._slots[round_].items()) if author != ATTACKER]
        own = self._slots[round_].get(ATTACKER, self.own)
        fields: dict[str, Any] = {
            "epoch": self.rules.committee.epoch,
            "round": Round(round_ + 1),
            "author": ValidatorIndex(ATTACKER),
            "timestamp_ms": now_ms(),
            "ancestors": (own, *others),
        }
        return self.sign(ValidatorVertex(**fields | changes))

    def orphan(self, round_: int, number: int, **changes: Any) -> ValidatorVertex:
        """A vertex whose parents nobody has."""
        refs = tuple(
            VertexRef(Round(round_ - 1), ValidatorIndex(author), digest_of(number, author))
            for author in (ATTACKER, *range(HONEST))
        )
        return self.vertex(round=Round(round_), ancestors=refs, **changes)

    def sign(self, vertex: ValidatorVertex) -> ValidatorVertex:
        """The vertex with a good signature of the attacker's."""
        return replace(vertex, signature=sign_digest(vertex.signing_digest(self.rules.chain), self.key))


class Byzantine(Forger):
    """Linked with all nodes under the attacker's key. kinds: how many frames of each came; pushed: bodies."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.peers: dict[int, Peer] = {}
        self.pushed: list[bytes] = []
        self.kinds: dict[int, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        for node in range(HONEST):
            await self.link(node)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for peer in self.peers.values():
            peer.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def link(self, node: int, **said: Any) -> Peer:
        """Connect to a node, again if need be."""
        for _ in range(20):
            with suppress(*GONE):
                self.peers[node] = await Peer.greet(self.site, self.key, node=node, **said)
                self._tasks.append(asyncio.create_task(self._listen(self.peers[node])))
                return self.peers[node]
            await asyncio.sleep(0.2)
        raise ConnectionError(f"v{node} does not take the attacker's key")

    async def _listen(self, peer: Peer) -> None:
        with suppress(*GONE):
            while True:
                kind, body = await peer.frame()
                self.kinds[kind] = self.kinds.get(kind, 0) + 1
                if kind != MessageKind.PUSH:
                    continue
                if len(self.pushed) < 1000:
                    self.pushed.append(bytes(body))
                with suppress(PeerFault):
                    message = decode_message(kind, body)
                    if isinstance(message, Push) and isinstance(message.vertex, ValidatorVertex):
                        self.note(message.vertex)

    async def push(self, vertices: Iterable[ValidatorVertex], nodes: Iterable[int] = (0,)) -> int:
        """Send vertices; links that the nodes have cut are made anew. How many were cut."""
        encoded, cut = [Push(vertex) for vertex in vertices], 0
        for node in nodes:
            for message in encoded:
                try:
                    if self.peers[node].is_closing:
                        raise ConnectionError
                    await self.peers[node].say(message)
                except GONE:
                    cut += 1
                    await self.link(node)
        return cut


def now_ms() -> TimestampMs:
    """The wall clock."""
    return TimestampMs(int(time.time() * 1000))


def digest_of(*label: object) -> Digest:
    """32 bytes that are the digest of no vertex."""
    return Digest(crypto.hash_bytes(repr(label).encode()))
