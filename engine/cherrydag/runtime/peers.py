"""The peers of a node: its host's network over TLS links.

A link's proven key decides who a peer is: a validator by its index in the committee, any other under a number
of its own. What a peer does wrong is counted against its key; who does too much of it is banned.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import count
from typing import TYPE_CHECKING, Final

from cherrydag.errors import PeerFault
from cherrydag.gossip.message_codec import decode_message, encode_message
from cherrydag.gossip.messages import Push
from cherrydag.net.transport import Handlers, Transport, TransportLimits
from cherrydag.params import PEER_OTHERS
from cherrydag.primitives import Peer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from cherrydag.gossip.messages import Message
    from cherrydag.net.connection import End
    from cherrydag.net.control import Hello
    from cherrydag.net.frame_reader import ReceivedFrame
    from cherrydag.net.link import Link
    from cherrydag.primitives import PublicKey, ValidatorIndex
    from cherrydag.runtime.host import Host
    from cherrydag.signing import KeyPair
    from cherrydag.vertex import OperatorVertex, ValidatorVertex

FAULTS_MAX: Final = 100
"""Points after which a peer is banned; one fades every FADE_MS."""

FADE_MS: Final = 6000
BAN_MS: Final = 10 * 60 * 1000

SCORED_MAX: Final = 4096
"""Keys whose points are remembered."""


class Peers:
    """runtime.host.Network over a Transport. attach(host) before start.

    validators: keys of the committee and their indices. clock: milliseconds that never step.
    """

    def __init__(
        self,
        key: KeyPair,
        hello: Hello,
        validators: Mapping[PublicKey, ValidatorIndex],
        clock: Callable[[], int],
        chance: Random,
        limits: TransportLimits | None = None,
    ) -> None:
        handlers = Handlers(self._opened, self._frame, self._closed)
        self.transport = Transport(key, hello, handlers, clock, chance, limits)
        self.transport.set_validators(validators)
        self.links: dict[Peer, Link] = {}
        self._validators = dict(validators)
        self._peers: dict[Link, Peer] = {}
        self._numbers = count(PEER_OTHERS)
        self._clock = clock
        self._points: OrderedDict[PublicKey, tuple[int, int]] = OrderedDict()
        self.last_faults: OrderedDict[Peer, str] = OrderedDict()

    def attach(self, host: Host) -> None:
        """The host that these are the peers of."""
        self._host = host

    # What the host asks for

    def send(self, peer: Peer, message: Message) -> None:
        """Send to one peer; dropped if it is not connected or does not take it."""
        link = self.links.get(peer)
        if link is not None:
            link.send(encode_message(message))

    def broadcast(self, vertex: ValidatorVertex) -> None:
        """Send our own vertex to all that are connected; it is encoded once."""
        encoded = encode_message(Push(vertex))
        for link in list(self.links.values()):
            link.send(encoded)

    def relay(self, vertex: OperatorVertex, source: Peer) -> None:
        """Send an operator's vertex to the validators, but not to where it came from."""
        encoded = encode_message(Push(vertex))
        for peer, link in list(self.links.items()):
            if peer < PEER_OTHERS and peer != source:
                link.send(encoded)

    def penalise(self, peer: Peer, code: str, reason: str) -> None:
        """Count a fault against a peer; too many end in a ban."""
        link = self.links.get(peer)
        if link is not None:
            self._count_fault(peer, link, f"{code}: {reason}")

    # What the transport tells

    def _opened(self, link: Link) -> None:
        index = self._validators.get(link.key)
        peer = Peer(next(self._numbers) if index is None else index)
        self._peers[link] = peer
        self.links[peer] = link
        self._host.step(self._host.node.on_connected, peer, self._clock())

    def _frame(self, link: Link, frame: ReceivedFrame) -> None:
        peer = self._peers[link]
        try:
            message = decode_message(frame.kind, frame.body)
        except PeerFault as fault:
            self._count_fault(peer, link, f"{fault.code}: {fault}")
            return
        self._host.step(self._host.node.on_message, peer, message, self._clock())

    def _closed(self, link: Link, end: End) -> None:  # noqa: ARG002 - the transport tells why it ended
        peer = self._peers.pop(link)
        self.links.pop(peer, None)
        self._host.step(self._host.node.on_disconnected, peer, self._clock())

    def _count_fault(self, peer: Peer, link: Link, text: str) -> None:
        key, now_ms = link.key, self._clock()
        points, since_ms = self._points.pop(key, (0, now_ms))
        points = max(0, points - (now_ms - since_ms) // FADE_MS) + 1
        self._points[key] = points, now_ms
        if len(self._points) > SCORED_MAX:
            self._points.popitem(last=False)
        self.last_faults[peer] = text
        if len(self.last_faults) > SCORED_MAX:
            self.last_faults.popitem(last=False)
        if points > FAULTS_MAX:
            self.transport.ban(key, "too many faults", BAN_MS)
