"""Transports on loopback with a clock in the test's hand, and the loops they run on."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
import uvloop
from messages import frame, hello
from vertices import KEYS

from cherrydag.gossip.message_codec import FRAME_HEAD, EncodedMessage, MessageKind
from cherrydag.net.admission import AdmissionLimits
from cherrydag.net.certificates import tls_context
from cherrydag.net.connection import End
from cherrydag.net.control import ControlKind, Goodbye, decode_goodbye, encode_hello
from cherrydag.net.frame_reader import ReceivedFrame
from cherrydag.net.link import Link
from cherrydag.net.transport import Handlers, Transport, TransportLimits
from cherrydag.primitives import PublicKey

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}

OPEN_DOOR = TransportLimits(admission=AdmissionLimits(prefix_rate=1000))
"""Everything comes from one address here."""

_TURN_S = 0.002
_TURNS_MAX = 10_000


def on_both_loops(story: Callable[[], Awaitable[None]]) -> Callable[[str], None]:
    """A test for each loop; whatever a callback raises fails it."""

    @pytest.mark.parametrize("loop", LOOPS)
    def test(loop: str) -> None:
        raised: list[Any] = []
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: raised.append(context))
            runner.run(story())  # type: ignore[arg-type]
        assert raised == [], raised

    test.__name__, test.__doc__, test.__module__ = story.__name__, story.__doc__, story.__module__
    return test


async def until(holds: Callable[[], object], what: str = "") -> None:
    """Let the loop turn until it holds."""
    for _ in range(_TURNS_MAX):
        if holds():
            return
        await asyncio.sleep(_TURN_S)
    raise AssertionError(f"it never came to {what or 'that'}")


class Clock:
    """Milliseconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_ms = 0

    def __call__(self) -> int:
        return self.now_ms


class Seat:
    """One node's transport and what it has told."""

    def __init__(self, number: int, clock: Clock, limits: TransportLimits, **said: Any) -> None:
        self.opened: list[Link] = []
        self.frames: list[ReceivedFrame] = []
        self.closed: list[tuple[Link, End]] = []
        self.clock = clock
        self.key = KEYS[number].public_key
        self.heed: Callable[[Link], None] = lambda _: None
        handlers = Handlers(self.opened.append, self._on_frame, self._on_close)
        said = {"validator": None} | said
        self.transport = Transport(
            KEYS[number], hello(number, **said), handlers, clock, Random(number), limits
        )

    def _on_frame(self, link: Link, received: ReceivedFrame) -> None:
        self.frames.append(received)
        self.heed(link)

    def _on_close(self, link: Link, end: End) -> None:
        self.closed.append((link, end))

    @property
    def links(self) -> dict[PublicKey, Link]:
        return self.transport.links

    @property
    def ends(self) -> list[tuple[str, bool]]:
        """Code of each end, and whether the peer said it."""
        return [(end.code, end.by_peer) for _, end in self.closed]

    def start(self, port: int = 0) -> "Seat":
        self.transport.start(("127.0.0.1", port))
        return self

    def dial(self, other: "Seat") -> None:
        self.transport.dial(other.key, "127.0.0.1", other.transport.port)

    def pause_before(self, key: PublicKey) -> int:
        """How long until this peer is dialled again."""
        return self.transport._dialer.targets[key].next_ms - self.clock()


class Loopback:
    """The seats of one test."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.seats: list[Seat] = []

    def seat(self, number: int, limits: TransportLimits = OPEN_DOOR, port: int = 0, **said: Any) -> Seat:
        """A node that listens."""
        self.seats.append(Seat(number, self.clock, limits, **said).start(port))
        return self.seats[-1]

    def pass_ms(self, ms: int) -> None:
        """Time passes, and everyone looks at what is late."""
        self.clock.now_ms += ms
        for seat in self.seats:
            seat.transport.tick()

    async def stop(self, seat: Seat) -> None:
        """Close a seat, whatever its peers do."""
        self.seats.remove(seat)
        closing = asyncio.ensure_future(seat.transport.close())
        while not closing.done():
            await asyncio.sleep(_TURN_S)
            self.clock.now_ms += 20
            seat.transport.tick()
        await closing

    async def connected(self, one: Seat, other: Seat) -> None:
        """One dials the other; both ends are open."""
        one.dial(other)
        await until(lambda: other.key in one.links and one.key in other.links, "an open link")


@asynccontextmanager
async def loopback() -> AsyncIterator[Loopback]:
    """Seats that are all closed at the end; then no socket may be left."""
    made = Loopback()
    try:
        yield made
    finally:
        for seat in list(made.seats):
            await made.stop(seat)
        await asyncio.sleep(_TURN_S)


def push(body: Any) -> EncodedMessage:
    """A frame as of a vertex, with any body."""
    view = memoryview(body)
    return EncodedMessage(MessageKind.PUSH, len(view), (FRAME_HEAD.pack(len(view), MessageKind.PUSH), view))


def hello_frame(number: int, **said: Any) -> bytes:
    """What a node of this key, no validator, says first."""
    return frame(ControlKind.HELLO, encode_hello(hello(number, **({"validator": None} | said))))


class Stranger:
    """A peer of our own making over TLS, which says what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, kind: int, body: bytes) -> None:
        self.writer.write(frame(kind, body))

    def say_hello(self, number: int, **said: Any) -> None:
        self.writer.write(hello_frame(number, **said))

    async def heard(self) -> tuple[int, bytes]:
        """The next frame."""
        size, kind = FRAME_HEAD.unpack(await self.reader.readexactly(FRAME_HEAD.size))
        return kind, await self.reader.readexactly(size)

    async def goodbye(self) -> Goodbye:
        """The goodbye, whatever comes before it."""
        while True:
            kind, body = await self.heard()
            if kind == ControlKind.GOODBYE:
                return decode_goodbye(body)

    async def leave(self) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(_TURN_S)


async def stranger(number: int, seat: Seat) -> Stranger:
    """Connect with a node's key, and say nothing yet."""
    tls = tls_context(KEYS[number], server=False)
    streams = await asyncio.open_connection(
        "127.0.0.1", seat.transport.port, ssl=tls, server_hostname="", limit=1 << 16
    )
    return Stranger(*streams)


def raw_socket(port: int) -> socket.socket:
    """A bare TCP connection that never blocks."""
    made = socket.create_connection(("127.0.0.1", port))
    made.setblocking(False)
    return made


def is_cut(raw: socket.socket) -> bool:
    """Whether the other end has closed it."""
    try:
        return raw.recv(1 << 16) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
