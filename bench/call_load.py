"""Calls of a node's API at full speed, from a process of its own: each connection sends the next request when
the answer to the last one has come. No HTTP library here, so that the caller costs less than what it calls.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from itertools import cycle
from multiprocessing import get_context
from typing import TYPE_CHECKING, NamedTuple, Self, cast
from urllib.parse import urlsplit

import uvloop

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection

_HELLO = (
    "GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_SWITCHED = b"HTTP/1.1 101 "
_OK = b"HTTP/1.1 200 "
_LENGTH = b"\r\nContent-Length: "
_CONNECT_S = 10.0


class Wanted(NamedTuple):
    """One load. bodies: in turn, over all connections. result: what the body of each answer must have, once
    for each of its calls. is_websocket: text frames at /ws rather than requests of HTTP."""

    url: str
    bodies: tuple[bytes, ...]
    result: bytes
    calls: int
    connections: int
    seconds: float
    is_websocket: bool = False


class Done(NamedTuple):
    """What came of it. latencies_us: of each answer. cpu_s: of the calling process."""

    seconds: float
    latencies_us: list[int]
    cpu_s: float


class Caller:
    """The process that calls. `with` ends it."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    def run(self, wanted: Wanted) -> Done:
        """Call. ConnectionError if an answer is not as it must be, or none comes."""
        self._pipe.send(wanted)
        if not self._pipe.poll(wanted.seconds + 2 * _CONNECT_S):
            raise ConnectionError(f"{wanted.url}: no answer")
        try:
            done = self._pipe.recv()
        except EOFError:
            raise ConnectionError(f"{wanted.url}: the calling process has ended") from None
        if isinstance(done, Done):
            return done
        raise ConnectionError(str(done))


def _serve(pipe: Connection) -> None:
    while True:
        wanted = pipe.recv()
        try:
            pipe.send(uvloop.run(_load(wanted)))
        except (OSError, TimeoutError) as error:
            pipe.send(f"{wanted.url}: {error or type(error).__name__}")


async def _load(wanted: Wanted) -> Done:
    loop = asyncio.get_running_loop()
    host = urlsplit(wanted.url).netloc
    name, _, port = host.rpartition(":")
    made = frames(wanted.bodies) if wanted.is_websocket else requests(wanted.bodies, host)
    load = _Load(wanted, cycle(made))
    kind = _Socket if wanted.is_websocket else _Requests
    transports: list[asyncio.Transport] = []
    try:
        for _ in range(wanted.connections):
            transport, _protocol = await loop.create_connection(lambda: kind(load), name, int(port))
            transports.append(transport)
        async with asyncio.timeout(_CONNECT_S):
            await load.opened
        cpu_s, start_ns = time.process_time(), time.monotonic_ns()
        load.begin()
        loop.call_later(wanted.seconds, load.end)
        async with asyncio.timeout(wanted.seconds + _CONNECT_S):
            await load.ended
        seconds = (time.monotonic_ns() - start_ns) / 1e9
        return Done(seconds, load.latencies_us, time.process_time() - cpu_s)
    finally:
        for transport in transports:
            transport.close()


def requests(bodies: Sequence[bytes], host: str) -> list[bytes]:
    """Of HTTP, whole."""
    head = f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: "
    return [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]


def frames(bodies: Sequence[bytes]) -> list[bytes]:
    """Text frames of a client, masked with zeros, which leave the text as it is."""
    made = []
    for body in bodies:
        size = len(body)
        if size < 126:
            length = bytes([0x80 | size])
        elif size < 1 << 16:
            length = bytes([0x80 | 126]) + size.to_bytes(2, "big")
        else:
            length = bytes([0x80 | 127]) + size.to_bytes(8, "big")
        made.append(b"\x81" + length + bytes(4) + body)
    return made


class _Load:
    """What the connections share."""

    def __init__(self, wanted: Wanted, requests: Iterator[bytes]) -> None:
        loop = asyncio.get_running_loop()
        self.wanted = wanted
        self.requests = requests
        self.latencies_us: list[int] = []
        self.opened = loop.create_future()
        self.ended = loop.create_future()
        self.is_over = False
        self._ready: list[_Line] = []
        self._busy = 0

    def ready(self, line: _Line) -> None:
        """A connection may begin."""
        self._ready.append(line)
        if len(self._ready) == self.wanted.connections:
            self.opened.set_result(None)

    def begin(self) -> None:
        """Send the first request of each."""
        self._busy = len(self._ready)
        for line in self._ready:
            line.send()

    def end(self) -> None:
        """Send no more."""
        self.is_over = True

    def idle(self) -> None:
        """A connection has the last answer that it waited for."""
        self._busy -= 1
        if not self._busy and not self.ended.done():
            self.ended.set_result(None)

    def fail(self, words: str) -> None:
        """Something else than an answer came."""
        awaited = self.ended if self.opened.done() else self.opened
        if not awaited.done():
            awaited.set_exception(ConnectionError(words))


class _Line(asyncio.Protocol, ABC):
    """One connection. Its answers come whole, one after another."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._transport: asyncio.Transport
        self._buffer = b""
        self._sent_ns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.fail(f"the connection was closed {exc or ''}".rstrip())

    def send(self) -> None:
        self._sent_ns = time.monotonic_ns()
        self._transport.write(next(self._load.requests))

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        start, end = self.bounds(data)
        if len(data) < end or not end:
            self._buffer = data
            return
        self._buffer = b""
        load = self._load
        if data.count(load.wanted.result, start, end) != load.wanted.calls or len(data) > end:
            load.fail(f"an answer that is none: {data[:400]!r}")
            return
        load.latencies_us.append((time.monotonic_ns() - self._sent_ns) // 1000)
        if load.is_over:
            load.idle()
        else:
            self.send()

    @abstractmethod
    def bounds(self, data: bytes) -> tuple[int, int]:
        """Where the body of the answer begins and ends; an end of 0 as long as its head is not there."""


class _Requests(_Line):
    """Requests of HTTP on a connection that is kept."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._load.ready(self)

    def bounds(self, data: bytes) -> tuple[int, int]:
        at = data.find(b"\r\n\r\n")
        if at < 0:
            return 0, 0
        if not data.startswith(_OK):
            self._load.fail(f"a status that is not 200: {data[:400]!r}")
            return 0, 0
        length_at = data.index(_LENGTH) + len(_LENGTH)
        return at + 4, at + 4 + int(data[length_at : data.index(b"\r", length_at)])


class _Socket(_Line):
    """Text frames on a WebSocket."""

    _is_switched = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._transport.write(_HELLO.format(host=urlsplit(self._load.wanted.url).netloc).encode())

    def data_received(self, data: bytes) -> None:
        if self._is_switched:
            super().data_received(data)
            return
        self._is_switched = True  # the answer to so short a request is one segment
        if not data.startswith(_SWITCHED) or not data.endswith(b"\r\n\r\n"):
            self._load.fail(f"no WebSocket: {data[:400]!r}")
            return
        self._load.ready(self)

    def bounds(self, data: bytes) -> tuple[int, int]:
        if len(data) < 10:
            return 0, 0
        size = data[1]
        if size < 126:
            return 2, 2 + size
        if size == 126:
            return 4, 4 + int.from_bytes(data[2:4], "big")
        return 10, 10 + int.from_bytes(data[2:10], "big")
