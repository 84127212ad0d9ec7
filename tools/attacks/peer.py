"""A peer of our own making: TLS with any key, from any address, saying whatever it likes."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

from attacks.site import ATTACKER, VICTIM, Site, stranger_address
from cherrydag.gossip.message_codec import FRAME_HEAD, encode_message
from cherrydag.gossip.messages import Message
from cherrydag.net.certificates import tls_context
from cherrydag.net.control import NONCE_BYTES, ControlKind, Goodbye, Hello, decode_goodbye, encode_hello
from cherrydag.net.frame_reader import ReceivedFrame
from cherrydag.primitives import ValidatorIndex
from cherrydag.signing import KeyPair, generate_keypair

GONE = (OSError, EOFError, asyncio.IncompleteReadError)
"""What a connection that the node has cut raises."""


def frame(kind: int, body: bytes, size: int | None = None) -> bytes:
    """A frame; size: what its head announces, if not the truth."""
    return FRAME_HEAD.pack(len(body) if size is None else size, kind) + body


def hello_of(site: Site, key: KeyPair, **changes: Any) -> bytes:
    """The frame of a hello that fits, but for the changes."""
    is_validator = key.public_key == site.validator_key.public_key
    fields: dict[str, Any] = {
        "version_min": 1,
        "version_max": 1,
        "chain": site.home.genesis.digest,
        "epoch": site.home.genesis.committee().epoch,
        "validator": ValidatorIndex(ATTACKER) if is_validator else None,
        "public_key": key.public_key,
        "head": 0,
        "nonce": os.urandom(NONCE_BYTES),
    }
    return frame(ControlKind.HELLO, encode_hello(Hello(**fields | changes)))


class Peer:
    """One connection to a node. bytes_in, bytes_out: of frames. goodbye: the last word of the node."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.bytes_in = self.bytes_out = 0
        self.goodbye: Goodbye | None = None

    @classmethod
    async def connect(
        cls, site: Site, key: KeyPair, number: int = 0, node: int = VICTIM, timeout_s: float = 5.0
    ) -> Self:
        """TLS with a key, from the address of stranger `number`, or the validators' own for the attacker's
        key. OSError if the node does not want it."""
        is_validator = key.public_key == site.validator_key.public_key
        source = "127.0.0.1" if is_validator else stranger_address(number)
        try:
            async with asyncio.timeout(timeout_s):
                streams = await asyncio.open_connection(
                    "127.0.0.1",
                    site.peer_ports[node],
                    ssl=tls_context(key, server=False),
                    server_hostname="",
                    local_addr=(source, 0),
                    limit=1 << 18,
                )
        except TimeoutError:
            raise ConnectionError("no handshake in time") from None
        return cls(*streams)

    @classmethod
    async def greet(cls, site: Site, key: KeyPair, number: int = 0, node: int = VICTIM, **said: Any) -> Self:
        """Connect and exchange hellos. OSError or EOFError if the node does not want it."""
        peer = await cls.connect(site, key, number, node)
        try:
            peer.write(hello_of(site, key, **said))
            async with asyncio.timeout(5.0):
                kind = (await peer.frame()).kind
            if kind != ControlKind.HELLO:
                raise ConnectionError(f"no hello: {peer.goodbye}")
        except BaseException as error:
            peer.abort()
            if isinstance(error, TimeoutError):
                raise ConnectionError("no hello in time") from None
            raise
        return peer

    def write(self, octets: bytes) -> None:
        """Queue bytes, whatever they are. ConnectionError once it is over."""
        if self.writer.is_closing():
            raise ConnectionResetError("the node has ended it")
        self.bytes_out += len(octets)
        self.writer.write(octets)

    async def send(self, octets: bytes) -> None:
        """Write, and wait while the node takes no more."""
        self.write(octets)
        await self.writer.drain()

    async def say(self, message: Message) -> None:
        """Send a message as an honest node would."""
        await self.send(b"".join(encode_message(message).parts))

    async def frame(self) -> ReceivedFrame:
        """The next frame; pings are answered on the way."""
        while True:
            size, kind = FRAME_HEAD.unpack(await self.reader.readexactly(FRAME_HEAD.size))
            body = await self.reader.readexactly(size)
            self.bytes_in += FRAME_HEAD.size + size
            if kind == ControlKind.PING:
                self.write(frame(ControlKind.PONG, body))
                continue
            if kind == ControlKind.GOODBYE:
                self.goodbye = decode_goodbye(body)
            return ReceivedFrame(kind, memoryview(body))

    async def drain(self) -> None:
        """Read until the node ends it."""
        with suppress(*GONE):
            while True:
                await self.frame()

    def abort(self) -> None:
        """Cut it."""
        self.writer.transport.abort()

    @property
    def is_closing(self) -> bool:
        """Whether it is over."""
        return self.writer.is_closing() or self.reader.at_eof()


@asynccontextmanager
async def drained(peer: Peer) -> AsyncIterator[Peer]:
    """A peer whose incoming frames are read and forgotten meanwhile."""
    task = asyncio.create_task(peer.drain())
    try:
        yield peer
    finally:
        peer.abort()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def stranger_key(number: int) -> KeyPair:
    """The key of stranger `number`, the same in every run."""
    return generate_keypair(number.to_bytes(32, "big"))
