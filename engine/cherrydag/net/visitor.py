"""A node's stored vertices for a program that is no node: one connection, asked and answered in turn.

It comes under a key that it has just made. What it gets is for the caller to prove, by digest.
"""

import os
import socket
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, TypeVar

from cherrydag.errors import PeerFault
from cherrydag.gossip.message_codec import MessageKind, decode_message, encode_message
from cherrydag.gossip.messages import GetVertices, Vertices
from cherrydag.net.certificates import peer_key, tls_context
from cherrydag.net.connection import Connection, Event, Opened
from cherrydag.net.control import NONCE_BYTES, PROTOCOL_MAX, PROTOCOL_MIN, Hello
from cherrydag.primitives import Digest, Epoch, PublicKey
from cherrydag.refs import AnyRef
from cherrydag.signing import SEED_BYTES, generate_keypair
from cherrydag.vertex import Vertex

ANSWER_S: Final = 10.0
"""How long an answer may take."""

_T = TypeVar("_T")
_STEP_BYTES = 256 * 1024


class Visitor:
    """A connection to the node that listens for peers at (host, port). Blocks; a context manager.

    Raises OSError if nobody is there, ConnectionError if it is no node, refuses us or leaves, TimeoutError if
    it does not answer: all of them name the node.
    """

    def __init__(
        self, place: tuple[str, int], chain: Digest, epoch: Epoch, answer_s: float = ANSWER_S
    ) -> None:
        key = generate_keypair(os.urandom(SEED_BYTES))
        hello = Hello(
            version_min=PROTOCOL_MIN,
            version_max=PROTOCOL_MAX,
            chain=chain,
            epoch=epoch,
            validator=None,
            public_key=key.public_key,
            head=0,
            nonce=os.urandom(NONCE_BYTES),
        )
        self._answer_s = answer_s
        self._number = 0
        self._name = f"{place[0]}:{place[1]}"
        try:
            plain = socket.create_connection(place, timeout=answer_s)
        except OSError as error:
            raise ConnectionError(f"{self._name}: {error.strerror or error}") from error
        try:
            self._socket = tls_context(key, server=False).wrap_socket(plain)
        except BaseException as error:
            plain.close()
            if isinstance(error, OSError):
                raise ConnectionError(f"{self._name}: it speaks no TLS of ours: {error}") from error
            raise
        try:
            self._proven = self._checked(peer_key, self._socket.getpeercert(binary_form=True))
            self._connection = Connection(hello, self._proven, None, self._now_ms())
            self._wait_for(None)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def public_key(self) -> PublicKey:
        """The node's, which it has proven."""
        return self._proven

    def vertices(self, refs: Sequence[AnyRef]) -> list[Vertex | None]:
        """What the node gives for each of at most FETCH_REFS_MAX references; None for what it does not."""
        self._number += 1
        self._connection.send(encode_message(GetVertices(self._number, tuple(refs))), self._now_ms())
        answer = self._wait_for(self._number)
        by_ref = {} if answer is None else {vertex.ref: vertex for vertex in answer.vertices}
        return [by_ref.get(ref) for ref in refs]

    def close(self) -> None:
        """Leave. Idempotent."""
        self._socket.close()

    def _wait_for(self, number: int | None) -> Vertices | None:
        """Until the answer of this number is here; None: until the peer has said hello."""
        connection, until = self._connection, time.monotonic() + self._answer_s
        while True:
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"{self._name}: no answer within {self._answer_s:g} s")
            events = self._exchange(left_s)
            if connection.end is not None:
                raise ConnectionError(f"{self._name}: {connection.end.code}: {connection.end.text}")
            if number is None and connection.hello is not None:
                return None
            for event in events:
                if isinstance(event, Opened) or event.kind != MessageKind.VERTICES:  # what all are told
                    continue
                answer = self._checked(decode_message, event.kind, event.body)
                if isinstance(answer, Vertices) and answer.number == number:
                    return answer

    def _exchange(self, left_s: float) -> list[Event]:
        """Send what waits, take what comes within this time. ConnectionError if the socket fails."""
        connection, now_ms = self._connection, self._now_ms()
        connection.tick(now_ms)
        self._socket.settimeout(left_s)
        try:
            while parts := connection.take(_STEP_BYTES, now_ms):
                for part in parts:
                    self._socket.sendall(part)
            count = self._socket.recv_into(connection.receive_buffer())
        except TimeoutError:
            return []
        except OSError as error:
            raise ConnectionError(f"{self._name}: {error.strerror or error}") from error
        if not count:
            connection.lost("the peer closed it without a goodbye")
            return []
        events = connection.received(count, self._now_ms())
        while connection.has_more:
            events += connection.more(self._now_ms())
        return events

    def _checked(self, call: Callable[..., _T], *arguments: object) -> _T:
        try:
            return call(*arguments)
        except PeerFault as fault:
            raise ConnectionError(f"{self._name}: {fault.code}: {fault}") from fault

    @staticmethod
    def _now_ms() -> int:
        return time.monotonic_ns() // 1_000_000
