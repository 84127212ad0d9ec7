"""Peers over TCP and TLS: listens, dials, shakes hands, and keeps one link to each peer.

Runs on asyncio or uvloop, in one thread. All deadlines are decided by `tick` on the clock that it is given;
a timer of the loop calls it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING, Final, NamedTuple

from cherrydag.errors import ConfigError
from cherrydag.net.addresses import Place
from cherrydag.net.admission import Admission, AdmissionLimits, Ban, plain
from cherrydag.net.certificates import tls_context
from cherrydag.net.connection import Connection, Opened, Traffic
from cherrydag.net.dialing import Dialer, DialLimits, Target
from cherrydag.net.faults import EndCode, NetFault
from cherrydag.net.handshake import check_validator, is_newer_kept
from cherrydag.net.link import Link
from cherrydag.net.pacing import ConnectionLimits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from random import Random

    from cherrydag.net.connection import End, Event
    from cherrydag.net.control import Hello
    from cherrydag.net.frame_reader import ReceivedFrame
    from cherrydag.primitives import PublicKey, ValidatorIndex
    from cherrydag.signing import KeyPair

TICK_S: Final = 0.1
"""How often the timer looks at deadlines."""

ACCEPTS_PER_WAKE: Final = 64
"""Sockets accepted before the loop does something else."""

_ACCEPT_PAUSE_MS = 1000
_BACKLOG = 128
_NO_LINGER = struct.pack("ii", 1, 0)
_TLS_TIMEOUT_S = 60.0  # a net below the tick's deadline

_IN_VAIN: Final = frozenset(
    {NetFault.CHAIN, NetFault.VERSION, NetFault.IDENTITY, NetFault.WRONG_KEY}
    | {EndCode.SELF, EndCode.SAME_KEY, EndCode.BANNED, EndCode.FULL}
)
"""Ends after which to dial soon again is in vain."""


class TransportLimits(NamedTuple):
    """Bounds of each part."""

    connection: ConnectionLimits = ConnectionLimits()
    admission: AdmissionLimits = AdmissionLimits()
    dial: DialLimits = DialLimits()


class Handlers(NamedTuple):
    """What the host does when a peer is there, says something, or is gone.

    on_open comes once for each link, before its frames; on_close once after it, and only after it. There is
    one open link for a key at a time. All come from the loop, never from within a call of the host's, such as
    a send that is too much. on_frame may raise PeerFault: the link ends with its code. on_failed: a dial of
    this key came to nothing, with the code of the end, LOST if nobody was there.
    """

    on_open: Callable[[Link], None]
    on_frame: Callable[[Link, ReceivedFrame], None]
    on_close: Callable[[Link, End], None]
    on_failed: Callable[[PublicKey, str], None] = lambda key, code: None  # noqa: ARG005 - nobody asks


class Transport:
    """The links of one node.

    key: the node's, which every peer sees proven. hello: what to say first; set it anew as the node goes on.
    clock: milliseconds, never steps. chance: seeded; only the pauses between dials depend on it.
    Raises ConfigError if the hello is of another key.
    """

    def __init__(
        self,
        key: KeyPair,
        hello: Hello,
        handlers: Handlers,
        clock: Callable[[], int],
        chance: Random,
        limits: TransportLimits | None = None,
    ) -> None:
        self.limits = limits or TransportLimits()
        if hello.public_key != key.public_key:
            raise ConfigError(f"hello.public_key: expected {key.public_key.hex()}, the node's own")
        self.hello = hello
        self.clock = clock
        self.links: dict[PublicKey, Link] = {}
        """The open ones, by their peers' keys."""
        self.admission = Admission(self.limits.admission)
        self._handlers = handlers
        self._dialer = Dialer(chance, self.limits.dial)
        self._server_tls = tls_context(key, server=True)
        self._client_tls = tls_context(key, server=False)
        self._validators: Mapping[PublicKey, ValidatorIndex] = {}
        self._listener: socket.socket | None = None
        self._accept_at_ms: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: dict[Link, asyncio.Task[None]] = {}
        self._sockets: dict[Link, None] = {}
        self._pending: dict[Link, None] = {}
        self._gone = Traffic()
        self._is_closing = False
        self._idle = asyncio.Event()

    # For the host

    def start(self, listen: tuple[str, int] | None) -> None:
        """Listen there, port 0 for any, and begin to dial. OSError if the address is taken or not ours."""
        loop = asyncio.get_running_loop()
        if listen is not None:
            host, port = listen
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
            listener.setblocking(False)
            self._listener = listener
            loop.add_reader(listener, self._accept)
        self._beat()

    @property
    def port(self) -> int:
        """Where it listens. ConfigError if it does not."""
        if self._listener is None:
            raise ConfigError("transport: it does not listen")
        return int(self._listener.getsockname()[1])

    @property
    def pending(self) -> int:
        """Handshakes under way with peers that dialled us."""
        return len(self._pending)

    @property
    def traffic(self) -> Traffic:
        """What has gone through all links so far. Of one peer: link.connection.traffic."""
        return _sum([self._gone, *[link.connection.traffic for link in self._sockets if link.connection]])

    def set_validators(self, validators: Mapping[PublicKey, ValidatorIndex]) -> None:
        """The committee of hello's epoch: these keys always have a place."""
        self._validators = dict(validators)
        self._reserve()

    def dial(self, key: PublicKey, host: str, port: int) -> None:
        """Keep a link to this peer from now on; to ourselves there is none."""
        self.dial_any(key, [Place(host, port)])

    def dial_any(self, key: PublicKey, places: Sequence[Place]) -> None:
        """As dial, a peer that may be at any of these places."""
        if key != self.hello.public_key:
            self._dialer.want(key, places)
            if key in self.links:
                self._dialer.opened(key, self.clock())
            self._reserve()

    def forget(self, key: PublicKey) -> None:
        """Dial this peer no more; a link that is there stays."""
        self._dialer.forget(key)
        self._reserve()

    def ban(self, key: PublicKey, text: str, ms: int) -> None:
        """Drop this peer and refuse it for so long; its address too, unless it is a validator."""
        link = self.links.get(key)
        host = link.host if link is not None and key not in self._validators else None
        self.admission.ban(Ban(key, host, self.clock() + ms, text))
        if link is not None:
            link.close(EndCode.BANNED, text)

    async def close(self, drain_ms: int = 0) -> None:
        """Stop: say goodbye to all, give them `drain_ms` for what waits, return when no socket is left."""
        self._is_closing = True
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for task in list(self._tasks.values()):
            task.cancel()
        for link in list(self._sockets):
            link.close(EndCode.SHUTDOWN, "the node stops", drain_ms)
        while self._sockets or self._tasks:
            self._idle.clear()
            await self._idle.wait()
        if self._timer is not None:
            self._timer.cancel()

    def tick(self) -> None:
        """Decide what is late by now, and dial whoever is due."""
        now_ms = self.clock()
        handshake_ms = self.limits.connection.handshake_ms
        for link, task in list(self._tasks.items()):
            if now_ms >= link.started_ms + handshake_ms:
                task.cancel()
        for link in list(self._sockets):
            link.tick(now_ms)
        if self._is_closing:
            return
        if self._accept_at_ms is not None and now_ms >= self._accept_at_ms and self._listener is not None:
            self._accept_at_ms = None
            asyncio.get_running_loop().add_reader(self._listener, self._accept)
        for target in self._dialer.due(now_ms):
            if self.admission.is_banned(target.key, now_ms):
                self._dialer.failed(target.key, now_ms, is_final=True)
            else:
                self._dial(target)

    def _beat(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._beat)
        self.tick()

    def _reserve(self) -> None:
        targets = [target for key, target in self._dialer.targets.items() if key in self._validators]
        self.admission.set_reserved(place.host for target in targets for place in target.places)

    # Sockets

    def _accept(self) -> None:
        """Take what waits, and close at once what has no place: a handshake costs us a millisecond."""
        listener = self._listener
        for _ in range(ACCEPTS_PER_WAKE):
            if listener is None:
                return
            try:
                accepted, address = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                # Files run out: what waits is taken up again when some may be free.
                self._accept_at_ms = self.clock() + _ACCEPT_PAUSE_MS
                asyncio.get_running_loop().remove_reader(listener)
                return
            host = plain(address[0])
            if self.admission.admits_socket(host, len(self._pending), self.clock()):
                self._shake_hands(accepted, host, int(address[1]))
            else:
                _reset(accepted)

    def _shake_hands(self, accepted: socket.socket, host: str, port: int) -> None:
        accepted.setblocking(False)
        loop = asyncio.get_running_loop()
        link = Link(self, host, None)
        link.port = port
        self._pending[link] = None
        self._run(
            link,
            lambda: loop.connect_accepted_socket(
                lambda: link, accepted, ssl=self._server_tls, ssl_handshake_timeout=_TLS_TIMEOUT_S
            ),
            accepted,
        )

    def _dial(self, target: Target) -> None:
        host, port = target.place
        link = Link(self, host, target.key)
        link.port = port
        self._run(link, lambda: self._connect(link, host, port))

    async def _connect(self, link: Link, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        # Looked up apart: cancelled within create_connection, a failing look-up would be logged as forgotten.
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        address = str(found[0][4][0])
        link.host = plain(address)
        await loop.create_connection(
            lambda: link,
            address,
            port,
            ssl=self._client_tls,
            server_hostname="",
            ssl_handshake_timeout=_TLS_TIMEOUT_S,
        )

    def _run(
        self, link: Link, connect: Callable[[], Awaitable[object]], accepted: socket.socket | None = None
    ) -> None:
        """Connect in a task, which a tick cancels if it takes too long."""
        begun = False

        async def run() -> None:
            nonlocal begun
            begun = True
            with suppress(OSError, UnicodeError):  # `done` sees that there is no connection
                await connect()

        def done(_: asyncio.Task[None]) -> None:
            if accepted is not None and not begun:
                _reset(accepted)
            self._tasks.pop(link, None)
            if link.connection is None:
                self._pending.pop(link, None)
                self._dial_failed(link)
            elif self._is_closing:
                link.close(EndCode.SHUTDOWN, "the node stops")
            self._check_idle()

        task = asyncio.get_running_loop().create_task(run())
        self._tasks[link] = task
        task.add_done_callback(done)

    # From links

    def greet(self, link: Link, proven_key: PublicKey) -> Connection:
        """A peer has proven its key: say hello."""
        self._sockets[link] = None
        return Connection(self.hello, proven_key, link.dialled_key, link.started_ms, self.limits.connection)

    def link_event(self, link: Link, event: Event) -> None:
        """A peer has said something."""
        if isinstance(event, Opened):
            self._opened(link, event.hello)
        else:
            self._handlers.on_frame(link, event)

    def link_ended(self, link: Link) -> None:
        """A link is over: its place is free, its socket may take a little longer."""
        self._pending.pop(link, None)
        end = link.end
        is_final = end is not None and end.code in _IN_VAIN
        hello = None if link.connection is None else link.connection.hello
        if hello is not None and end is not None and self.links.get(hello.public_key) is link:
            del self.links[hello.public_key]
            self._dialer.failed(hello.public_key, self.clock(), is_final=is_final)
            self._handlers.on_close(link, end)
        else:
            self._dial_failed(link, is_final=is_final)

    def link_gone(self, link: Link) -> None:
        """A socket is closed."""
        if link in self._sockets:
            del self._sockets[link]
            if link.connection is not None:
                self._gone = _sum([self._gone, link.connection.traffic])
        self._check_idle()

    def _opened(self, link: Link, hello: Hello) -> None:
        """A peer has said who it is: give it a place, or end the link."""
        key, now_ms = hello.public_key, self.clock()
        self._pending.pop(link, None)
        check_validator(self.hello, hello, self._validators)
        if self.admission.is_banned(key, now_ms):
            link.close(EndCode.BANNED, "banned for what it did before")
            return
        older = self.links.get(key)
        if older is not None:
            own, ours, theirs = self.hello.public_key, link.dialled_key, older.dialled_key
            former = hello if older.connection is None else older.connection.hello or hello
            if not is_newer_kept(own, former, hello, theirs is not None, ours is not None):
                link.close(EndCode.DUPLICATE, "another connection is kept")
                return
            older.close(EndCode.DUPLICATE, "a newer connection is kept")
            older.tell_end()
        elif not self._has_room(link, key):
            link.close(EndCode.FULL, f"{self.limits.admission.others_max} peers are here, or of that network")
            return
        self.links[key] = link
        self._dialer.opened(key, now_ms)
        self._handlers.on_open(link)

    def _has_room(self, link: Link, key: PublicKey) -> bool:
        """Whether a peer may stay: whom we dialled and validators always, others within the bounds."""
        if link.dialled_key is not None or key in self._validators:
            return True
        inbound = [(other_key, other) for other_key, other in self.links.items() if not other.dialled_key]
        others = [other.host for other_key, other in inbound if other_key not in self._validators]
        return self.admission.admits_peer(link.host, others)

    def _dial_failed(self, link: Link, *, is_final: bool = False) -> None:
        """A link came to nothing: whom it was to reach is dialled again, unless another link is there."""
        key = link.dialled_key
        if key is not None and key not in self.links:
            self._dialer.failed(key, self.clock(), is_final=is_final)
            self._handlers.on_failed(key, EndCode.LOST if link.end is None else link.end.code)

    def _check_idle(self) -> None:
        if not self._sockets and not self._tasks:
            self._idle.set()


def _reset(accepted: socket.socket) -> None:
    """Close without a trace: a flood must not leave sockets in TIME_WAIT."""
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    accepted.close()


def _sum(parts: list[Traffic]) -> Traffic:
    return Traffic(*[sum(getattr(part, field.name) for part in parts) for field in fields(Traffic)])
