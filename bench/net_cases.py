"""The benches of frames between nodes, in the same registry as those of cases.py. Both ends on one core."""

import asyncio
import random
import ssl
import struct
from collections.abc import Callable

import numpy as np
import uvloop

from cases import SEED, Prepared, case
from cherrydag.codec import decode_vertex, encode_vertex
from cherrydag.gossip.message_codec import (
    FRAME_HEAD,
    EncodedMessage,
    MessageKind,
    decode_message,
    encode_message,
)
from cherrydag.gossip.messages import Push
from cherrydag.net.certificates import tls_context
from cherrydag.net.connection import Connection, Event, Opened
from cherrydag.net.control import Hello
from cherrydag.net.link import Link
from cherrydag.params import RECORD_BYTES
from cherrydag.payload import EMPTY_ROOT, Payload
from cherrydag.primitives import Digest, Epoch, PublicKey, Round, TimestampMs
from cherrydag.refs import OperatorRef
from cherrydag.signing import generate_keypair
from cherrydag.transaction import as_records
from cherrydag.vertex import OperatorVertex

STREAMS = "asyncio streams on the same loop (uvloop)"
MB = 1_000_000
KEYS = [generate_keypair(bytes([1 + number]) * 32) for number in range(2)]
_HEAD = struct.Struct("<IB")


class End:
    """One end of a link: sends what it is told, and counts what comes."""

    def __init__(self, own: int, peer: int) -> None:
        key = KEYS[own].public_key
        self.hello = Hello(1, 1, Digest(bytes(32)), Epoch(0), None, key, 0, bytes([own]) * 16)
        self.peer_key = KEYS[peer].public_key
        self.received = 0
        self.opened = asyncio.Event()
        self.moved = asyncio.Event()
        self.gone = asyncio.Event()

    def clock(self) -> int:
        return 0

    def greet(self, link: Link, proven_key: PublicKey) -> Connection:  # noqa: ARG002
        return Connection(self.hello, proven_key, None, 0)

    def link_event(self, link: Link, event: Event) -> None:  # noqa: ARG002
        if isinstance(event, Opened):
            self.opened.set()
        else:
            self.received += 1
            self.moved.set()

    def link_ended(self, link: Link) -> None:
        """It stays open as long as the bench."""

    def link_gone(self, link: Link) -> None:  # noqa: ARG002
        self.gone.set()


class Links:
    """Two ends of one link over loopback; `move` sends frames one way and waits for the last."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tls: bool, size: int) -> None:
        self.loop = loop
        self.ends = End(0, 1), End(1, 0)
        body = memoryview(np.random.default_rng(SEED).integers(0, 256, size, np.uint8))  # type: ignore[arg-type]
        self.frame = EncodedMessage(MessageKind.PUSH, size, (FRAME_HEAD.pack(size, MessageKind.PUSH), body))
        self.links = loop.run_until_complete(self._open(tls))

    async def _open(self, tls: bool) -> tuple[Link, Link]:
        links = [Link(end, "127.0.0.1", None, proof(end, tls)) for end in self.ends]
        server = await self.loop.create_server(lambda: links[1], "127.0.0.1", 0, ssl=context(1, tls))
        port = server.sockets[0].getsockname()[1]
        await self.loop.create_connection(
            lambda: links[0], "127.0.0.1", port, ssl=context(0, tls), server_hostname="" if tls else None
        )
        for end in self.ends:
            await end.opened.wait()
        server.close()
        return links[0], links[1]

    def move(self, frames: int) -> None:
        self.loop.run_until_complete(self._move(frames))

    async def _move(self, frames: int) -> None:
        source, target = self.links[0], self.ends[1]
        last = target.received + frames
        sent = 0
        connection = source.connection
        while target.received < last:
            # As a host does that looks at the queue before it makes more.
            while sent < frames and connection is not None and connection.queued_bytes < 2 << 20:
                source.send(self.frame)
                sent += 1
            target.moved.clear()
            await target.moved.wait()


class Streams:
    """The same with asyncio's streams."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tls: bool, size: int) -> None:
        self.loop = loop
        self.body = random.Random(SEED).randbytes(size)
        self.readers: asyncio.Queue[asyncio.StreamReader] = asyncio.Queue()
        loop.run_until_complete(self._open(tls))

    async def _open(self, tls: bool) -> None:
        async def accept(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await self.readers.put(reader)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context(1, tls), limit=4 << 20)
        port = server.sockets[0].getsockname()[1]
        _, self.writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context(0, tls), server_hostname="" if tls else None
        )
        self.reader = await self.readers.get()
        server.close()

    def move(self, frames: int) -> None:
        self.loop.run_until_complete(self._move(frames))

    async def _move(self, frames: int) -> None:
        async def send() -> None:
            for _ in range(frames):
                self.writer.writelines([_HEAD.pack(len(self.body), 16), self.body])
                await self.writer.drain()

        sending = asyncio.ensure_future(send())
        for _ in range(frames):
            size, _ = _HEAD.unpack(await self.reader.readexactly(_HEAD.size))
            await self.reader.readexactly(size)
        await sending


def proof(end: End, tls: bool) -> Callable[[asyncio.BaseTransport], PublicKey] | None:
    """Without TLS a key is taken for granted: only here."""
    return None if tls else lambda _: end.peer_key


def context(own: int, tls: bool) -> ssl.SSLContext | None:
    return tls_context(KEYS[own], server=own == 1) if tls else None


@case("net.tls/frame=1000", "us/MB", STREAMS, size=1000, tls=True)
@case("net.tls/frame=65536", "us/MB", STREAMS, size=1 << 16, tls=True)
@case("net.tls/frame=1048576", "us/MB", STREAMS, size=1 << 20, tls=True)
@case("net.tls/frame=8388608", "us/MB", STREAMS, size=1 << 23, tls=True)
@case("net.plain/frame=1000", "us/MB", STREAMS, size=1000, tls=False)
@case("net.plain/frame=65536", "us/MB", STREAMS, size=1 << 16, tls=False)
@case("net.plain/frame=1048576", "us/MB", STREAMS, size=1 << 20, tls=False)
@case("net.plain/frame=8388608", "us/MB", STREAMS, size=1 << 23, tls=False)
def move(size: int, tls: bool) -> Prepared:
    """Frames from one end of a link to the other over loopback, both on this core; 1e6 / value is MB/s."""
    loop = uvloop.new_event_loop()
    frames = max(1, (2 if size < 1 << 16 else 16) * MB // size)
    links, streams = Links(loop, tls, size), Streams(loop, tls, size)
    items = frames * size // 1000
    run, baseline = (lambda: links.move(frames)), (lambda: streams.move(frames))
    return Prepared(run, max(1, items // 1000), baseline, max(1, items // 1000))


@case("net.handshake/mutual", "us/handshake", "the same TLS without certificates of the peers")
def handshake() -> Prepared:
    """TLS 1.3 in memory, both ends: each proves its Ed25519 key and checks the other's."""
    anonymous = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anonymous.check_hostname, anonymous.verify_mode = False, ssl.CERT_NONE
    lenient = tls_context(KEYS[1], server=True)
    lenient.verify_mode = ssl.CERT_NONE
    client, server = tls_context(KEYS[0], server=False), tls_context(KEYS[1], server=True)
    return Prepared(lambda: shake(client, server), 1, lambda: shake(anonymous, lenient), 1)


def shake(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    while ends:
        for end in list(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)


def vertex(txs: int) -> OperatorVertex:
    """A vertex of three parents and so many records of zeros: nothing here is verified."""
    parents = tuple(OperatorRef(Round(3), KEYS[0].public_key, Digest(bytes([i]) * 32)) for i in range(3))
    payload = Payload(as_records(bytes(txs * RECORD_BYTES)), b"", None, EMPTY_ROOT)
    return OperatorVertex(Epoch(0), KEYS[0].public_key, 0, Round(3), TimestampMs(0), parents, payload)


@case("net.encode/push,txs=2048", "us/message", "the vertex's frame in one piece", txs=2048)
@case("net.encode/push,txs=0", "us/message", "the vertex's frame in one piece", txs=0)
def encode(txs: int) -> Prepared:
    """A vertex as the parts of a frame; the baseline copies them into one."""
    message = Push(vertex(txs))
    return Prepared(lambda: encode_message(message), 1, lambda: encode_vertex(message.vertex), 1)


@case("net.decode/push,txs=2048", "us/message", "codec.decode_vertex of the same vertex", txs=2048)
@case("net.decode/push,txs=0", "us/message", "codec.decode_vertex of the same vertex", txs=0)
def decode(txs: int) -> Prepared:
    """A vertex from a received body."""
    body = encode_vertex(vertex(txs))
    return Prepared(lambda: decode_message(MessageKind.PUSH, body), 1, lambda: decode_vertex(body), 1)
