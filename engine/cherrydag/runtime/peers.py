"""The peers of a node: its host's network over TLS links.

A link's proven key decides who a peer is: a validator by its index in the committee, any other under a number
of its own. What a peer does wrong is counted against its key; who does too much of it is banned.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple

from cherrydag.errors import PeerFault
from cherrydag.gossip.faults import SyncFault
from cherrydag.gossip.message_codec import ANSWERS, MessageKind, decode_message, encode_message
from cherrydag.gossip.messages import Push
from cherrydag.gossip.pushes import PushLimits, PushPace
from cherrydag.gossip.turns import Turns
from cherrydag.net.control import RECORD_KINDS
from cherrydag.net.transport import Handlers, Transport, TransportLimits
from cherrydag.params import PEER_OTHERS
from cherrydag.primitives import Peer
from cherrydag.runtime.events import Tell, tell_nobody
from cherrydag.runtime.spent import Spent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from cherrydag.gossip.messages import Message
    from cherrydag.net.admission import Ban
    from cherrydag.net.connection import End
    from cherrydag.net.control import Hello
    from cherrydag.net.frame_reader import ReceivedFrame
    from cherrydag.net.link import Link
    from cherrydag.primitives import PublicKey, ValidatorIndex
    from cherrydag.runtime.host import Host
    from cherrydag.runtime.peer_finder import PeerFinder
    from cherrydag.signing import KeyPair
    from cherrydag.vertex import OperatorVertex, ValidatorVertex

FAULTS_MAX: Final = 100
"""Points after which a peer is banned; one fades every FADE_MS."""

FADE_MS: Final = 6000
BAN_MS: Final = 10 * 60 * 1000

SCORED_MAX: Final = 4096
"""Keys whose points are remembered."""

_PAUSE_S: Final = 0.1
"""How long nothing is read from a peer that pushes more than it may."""

_NUMBER_BYTES = 8
_ANSWER_KINDS: Final = frozenset(ANSWERS.values())

_ROOM_US: Final = 20_000
"""How often it is looked whether those whose requests wait have taken what they were sent before."""


class PeerLine(NamedTuple):
    """A link as an operator sees it.

    validator: its index, None for another node. port: where we dialled it, or from where it came. is_ours: we
    dialled it. rtt_ms: of the last ping. faults: points against its key now; last_fault: what the last was.
    """

    peer: Peer
    key: PublicKey
    validator: ValidatorIndex | None
    host: str
    port: int
    is_ours: bool
    since_ms: int
    rtt_ms: int | None
    bytes_in: int
    bytes_out: int
    faults: int
    last_fault: str | None


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
        handlers = Handlers(self._opened, self._frame, self._closed, self._dial_failed)
        self.transport = Transport(key, hello, handlers, clock, chance, limits)
        self.transport.set_validators(validators)
        self.links: dict[Peer, Link] = {}
        self.tell: Tell = tell_nobody
        self._validators = dict(validators)
        self._peers: dict[Link, Peer] = {}
        self._finder: PeerFinder | None = None
        self._opened_ms: dict[Link, int] = {}
        self._numbers = count(PEER_OTHERS)
        self._clock = clock
        self._points: OrderedDict[PublicKey, tuple[int, int]] = OrderedDict()
        self.last_faults: OrderedDict[Peer, str] = OrderedDict()
        self._pushes = PushPace(_push_limits(key.public_key, validators))
        self._paused: dict[Link, None] = {}
        self._turns: Turns[ReceivedFrame] = Turns()
        self._turn: asyncio.TimerHandle | None = None

    def attach(self, host: Host) -> None:
        """The host that these are the peers of."""
        self._host = host

    def find_with(self, finder: PeerFinder) -> None:
        """Who decides whom to dial. Without one, the transport dials whom it is told."""
        self._finder = finder

    # What the host asks for

    def send(self, peer: Peer, message: Message) -> None:
        """Send to one peer; dropped if it is not connected or does not take it."""
        link = self.links.get(peer)
        if link is not None:
            link.send(encode_message(message))

    def broadcast(self, vertex: ValidatorVertex) -> None:
        """Send our own vertex to the other validators; it is encoded once. The rest get it by the tree."""
        encoded = encode_message(Push(vertex))
        for peer, link in list(self.links.items()):
            if peer < PEER_OTHERS:
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

    # What an operator asks for

    def lines(self) -> list[PeerLine]:
        """The links, validators first. since_ms: Unix time if the clock's offset is added."""
        return [self._line(peer, self.links[peer]) for peer in sorted(self.links)]

    @property
    def requests_waiting(self) -> int:
        """Requests of all peers that wait for their turn."""
        return len(self._turns)

    @property
    def paused(self) -> int:
        """Peers from which nothing is read for a moment."""
        return len(self._paused)

    def bans(self) -> list[Ban]:
        """Who is refused, the first that ends first. until_ms: of the peers' clock."""
        return self.transport.admission.bans(self._clock())

    def ban(self, key: PublicKey, text: str, ms: int) -> None:
        """Drop a peer and refuse it for so long, across restarts."""
        self.transport.ban(key, text, ms)
        if self._finder is not None:
            self._finder.save_soon()

    def unban(self, key: PublicKey) -> bool:
        """Take a peer up again, its faults forgotten; whether it was banned."""
        self._points.pop(key, None)
        was_banned = self.transport.admission.unban(key)
        if self._finder is not None:
            self._finder.save_soon()
        return was_banned

    def _line(self, peer: Peer, link: Link) -> PeerLine:
        connection = link.connection
        traffic = None if connection is None else connection.traffic
        return PeerLine(
            peer,
            link.key,
            self._validators.get(link.key),
            link.host,
            link.port,
            link.dialled_key is not None,
            self._opened_ms[link],
            None if connection is None else connection.rtt_ms,
            0 if traffic is None else traffic.bytes_in,
            0 if traffic is None else traffic.bytes_out,
            self._faded(link.key)[0],
            self.last_faults.get(peer),
        )

    # What the transport tells

    def _opened(self, link: Link) -> None:
        index = self._validators.get(link.key)
        peer = Peer(next(self._numbers) if index is None else index)
        self._peers[link] = peer
        self.links[peer] = link
        self._opened_ms[link] = self._clock()
        self.tell("peer_opened", peer=peer, key=link.key, host=link.host)
        self._host.step(self._host.node.on_connected, peer, self._clock())
        if self._finder is not None:
            self._finder.opened(link)

    def _frame(self, link: Link, frame: ReceivedFrame) -> None:
        peer = self._peers[link]
        try:
            if frame.kind in RECORD_KINDS:
                if self._finder is not None:
                    self._finder.received(link, frame)
                return
            if not self._is_due(peer, link, frame):
                return
            message = decode_message(frame.kind, frame.body)
        except PeerFault as fault:
            self._count_fault(peer, link, f"{fault.code}: {fault}")
            return
        self._host.step(self._host.node.on_message, peer, message, self._clock())

    def _closed(self, link: Link, end: End) -> None:
        peer = self._peers.pop(link)
        del self._opened_ms[link]
        self.links.pop(peer, None)
        self._turns.gone(peer)
        self._pushes.gone(peer)
        self.tell("peer_closed", peer=peer, key=link.key, code=end.code, reason=end.text)
        self._host.step(self._host.node.on_disconnected, peer, self._clock())
        if self._finder is not None:
            self._finder.closed(link, end.code)

    def _dial_failed(self, key: PublicKey, code: str) -> None:
        if self._finder is not None:
            self._finder.dial_failed(key, code)

    def _faded(self, key: PublicKey) -> tuple[int, int]:
        """Points against a key now, and since when the next one fades."""
        now_ms = self._clock()
        points, since_ms = self._points.get(key, (0, now_ms))
        gone = (now_ms - since_ms) // FADE_MS
        return (points - gone, since_ms + gone * FADE_MS) if points > gone else (0, now_ms)

    def _is_due(self, peer: Peer, link: Link, frame: ReceivedFrame) -> bool:
        """Whether to read a frame now: a push within the peer's pace, an answer to a request of ours.

        Requests wait for their turn. PeerFault for an answer to nothing: a long one would cost much.
        """
        if frame.kind == MessageKind.PUSH and not self._pushes.admits(peer, self._clock()):
            _count_shed(link)
            self._pause(link)
            return False
        if frame.kind in ANSWERS or frame.kind == MessageKind.GRAFT:
            if self._turns.put(peer, frame, len(frame.body)):
                self._serve_soon()
            else:
                _count_shed(link)
                self._pause(link)
            return False
        if frame.kind in _ANSWER_KINDS:
            number = int.from_bytes(frame.body[:_NUMBER_BYTES], "little")
            if not self._host.node.expects(peer, number):
                raise PeerFault(SyncFault.UNSOLICITED, f"number: peer {peer} was not asked under {number}")
        return True

    def _pause(self, link: Link) -> None:
        """Read nothing from this peer for a moment: what it sends waits on its side."""
        if link not in self._paused:
            self._paused[link] = None
            link.pause_reading()
            asyncio.get_running_loop().call_later(_PAUSE_S, self._resume, link)

    def _resume(self, link: Link) -> None:
        del self._paused[link]
        link.resume_reading()

    # Answers, in turn

    def _serve_soon(self, pause_us: int = 0) -> None:
        ready_us = self._turns.ready_us()
        if self._turn is None and ready_us is not None:
            late_us = max(pause_us, ready_us - _now_us())
            self._turn = asyncio.get_running_loop().call_later(late_us / 1e6, self._serve)

    def _serve(self) -> None:
        """One answer, so that the loop turns in between."""
        self._turn = None
        started = Spent.now()
        taken = self._turns.take(started.clock_us, self._has_room)
        if taken is not None:
            self._answer(*taken)
            ended = Spent.now()
            self._turns.served(taken[0], ended.since(started), ended.clock_us)
        self._serve_soon(_ROOM_US if taken is None else 0)

    def _answer(self, peer: Peer, frame: ReceivedFrame) -> None:
        try:
            message = decode_message(frame.kind, frame.body)
        except PeerFault as fault:
            self._count_fault(peer, self.links[peer], f"{fault.code}: {fault}")
            return
        self._host.step(self._host.node.on_message, peer, message, self._clock())

    def _has_room(self, peer: Peer) -> bool:
        """Whether a peer has taken what it was sent before."""
        connection = self.links[peer].connection
        return connection is not None and not connection.queued_bytes

    def _count_fault(self, peer: Peer, link: Link, text: str) -> None:
        key = link.key
        points, since_ms = self._faded(key)
        points += 1
        self._points.pop(key, None)
        self._points[key] = points, since_ms
        if len(self._points) > SCORED_MAX:
            self._points.popitem(last=False)
        self.last_faults[peer] = text
        self.tell("penalty", peer=peer, key=key, fault=text, points=points)
        if len(self.last_faults) > SCORED_MAX:
            self.last_faults.popitem(last=False)
        if points > FAULTS_MAX:
            self.tell("ban", peer=peer, key=key, for_ms=BAN_MS)
            self.ban(key, "too many faults", BAN_MS)


def _count_shed(link: Link) -> None:
    if link.connection is not None:
        link.connection.traffic.shed += 1


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def _push_limits(own: PublicKey, validators: Mapping[PublicKey, ValidatorIndex]) -> PushLimits:
    """A node that is no validator may get all vertices by any link; a validator gets operators' by others."""
    rate = PushLimits().validator_rate
    if own not in validators:
        rate *= max(1, len(validators))
    return PushLimits(validator_rate=rate, other_rate=rate)
