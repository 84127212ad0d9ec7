"""One socket of an event loop under one connection: moves bytes, keeps no rule of its own."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, cast

from cherrydag.errors import PeerFault, ShapeError
from cherrydag.net.admission import plain
from cherrydag.net.certificates import peer_key
from cherrydag.net.faults import EndCode

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from cherrydag.gossip.message_codec import EncodedMessage
    from cherrydag.net.connection import Connection, End, Event
    from cherrydag.net.control import ControlKind
    from cherrydag.primitives import PublicKey

WRITE_AHEAD_BYTES: Final = 256 * 1024
"""What the loop's transport may hold: the rest waits in our queue, where a later frame can still go first."""


class LinkOwner(Protocol):
    """Who makes links, knows the time, and hears what becomes of them."""

    def clock(self) -> int:
        """Milliseconds of a clock that never steps."""

    def greet(self, link: Link, proven_key: PublicKey) -> Connection:
        """The socket is there and the peer has proven its key: the connection to run over it."""

    def link_event(self, link: Link, event: Event) -> None:
        """The peer has said something. It may raise PeerFault, which ends the link."""

    def link_ended(self, link: Link) -> None:
        """`connection.end` is set: nothing more is heard or said. Called once."""

    def link_gone(self, link: Link) -> None:
        """The socket is closed. Called once, last."""


class Link(asyncio.BufferedProtocol):
    """A connection over a socket.

    host, port: whence the peer comes, or whither we dialled. dialled_key: whom we dialled, None if the peer
    dialled us. started_ms: when the socket came or was asked for; the handshake's time counts from there.
    """

    def __init__(
        self,
        owner: LinkOwner,
        host: str,
        dialled_key: PublicKey | None,
        proof: Callable[[asyncio.BaseTransport], PublicKey] | None = None,
    ) -> None:
        self.host = plain(host)
        self.port = 0
        self.dialled_key = dialled_key
        self.started_ms = owner.clock()
        self.connection: Connection | None = None
        self._owner = owner
        self._proof = proof or _proven_key
        self._transport: asyncio.Transport | None = None
        self._events: deque[Event] = deque()  # that the owner has not heard
        self._end_read: End | None = None  # to which the bytes came behind these
        self._is_paused = False
        self._is_stopped = False
        self._is_turn_due = False
        self._lost: str | None = None
        self._is_full = False
        self._is_flush_due = False
        self._end_told = False

    @property
    def key(self) -> PublicKey:
        """The peer's key, once it is open. ShapeError before."""
        hello = None if self.connection is None else self.connection.hello
        if hello is None:
            raise ShapeError("link: its peer has said no hello yet")
        return hello.public_key

    @property
    def end(self) -> End | None:
        """Why it ended, None while it lives."""
        return None if self.connection is None else self.connection.end

    @property
    def local_host(self) -> str | None:
        """Our own address towards the peer; None without a socket."""
        name = self._transport.get_extra_info("sockname") if self._transport is not None else None
        return None if not name else plain(str(name[0]))

    # For the host

    def send(self, message: EncodedMessage) -> bool:
        """Queue a message; False if it is not taken, as Connection.send says."""
        if self.connection is None:
            return False
        taken = self.connection.send(message, self._owner.clock())
        self._flush_soon()
        return taken

    def say(self, kind: ControlKind, body: bytes) -> bool:
        """Queue a frame about peer records, as Connection.say says."""
        if self.connection is None:
            return False
        taken = self.connection.say(kind, body, self._owner.clock())
        self._flush_soon()
        return taken

    def close(self, code: str, text: str, drain_ms: int = 0) -> None:
        """End it with a goodbye, as Connection.close says. What is not heard yet stays unheard."""
        self._events.clear()
        if self.connection is not None:
            self.connection.close(code, text, self._owner.clock(), drain_ms)
            self._flush_soon()

    def pause_reading(self) -> None:
        """Take no more from the peer until resume_reading; its frames wait on its side."""
        if self.connection is not None and not self._is_paused:
            self._is_paused = True
            self.connection.pause()
            self._control_reading()

    def resume_reading(self) -> None:
        """Go on after pause_reading."""
        if self.connection is not None and self._is_paused:
            self._is_paused = False
            self.connection.resume(self._owner.clock())
            self._control_reading()

    # For the owner

    def tell_end(self) -> None:
        """Tell the owner that it has ended, if so and not told. Never from within a call of the host's."""
        if self.end is not None and not self._end_told:
            self._end_told = True
            self._owner.link_ended(self)

    def tick(self, now_ms: int) -> None:
        """Time has passed."""
        if self.connection is not None:
            self.connection.tick(now_ms)
            self.tell_end()
            self._flush_soon()
            if self.connection.is_overdue(now_ms):
                self.abort()

    def abort(self) -> None:
        """Drop the socket and what is left to be sent."""
        if self._transport is not None:
            self._transport.abort()

    # From the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there, and TLS is done."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_AHEAD_BYTES)
        try:
            proven_key = self._proof(transport)
        except PeerFault:
            self._transport.abort()
            return
        self.connection = self._owner.greet(self, proven_key)
        self._flush_soon()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the reader knows better
        """Room for what comes."""
        if self.connection is None:
            return memoryview(bytearray(4096))
        return self.connection.receive_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """The first bytes of the room are filled."""
        if self.connection is not None:
            self._take_in(self.connection, self.connection.received(nbytes, self._owner.clock()))

    def eof_received(self) -> None:
        """The peer sends nothing more: the loop closes the socket."""

    def pause_writing(self) -> None:
        """The loop's transport holds enough."""
        self._is_full = True

    def resume_writing(self) -> None:
        """It has room again."""
        self._is_full = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone. What came before is still heard: there may be a goodbye in it."""
        self._transport = None
        self._lost = str(exc) if exc else "the peer closed it without a goodbye"
        self._control_reading()
        if not self._is_turn_due:
            self._go()

    # Between them

    def _take_in(self, connection: Connection, events: list[Event]) -> None:
        """Tell the owner what has come, until it ends the link or the host pauses it."""
        self._events.extend(events)
        if events:
            self._end_read = connection.end
        try:
            while self._events and not self._is_paused and connection.end is self._end_read:
                self._owner.link_event(self, self._events.popleft())
        except PeerFault as fault:
            connection.close(fault.code, str(fault), self._owner.clock())
        except Exception:  # for the loop to report; nothing may hang on this link
            connection.close(EndCode.INTERNAL, "the node has failed at it", self._owner.clock())
            raise
        finally:
            if connection.end is not None:
                self._events.clear()
            self._flush_soon()
            self._control_reading()
            self.tell_end()

    def _control_reading(self) -> None:
        """Receive nothing while the host pauses, or there is something left of what came before: that has
        its turns of the loop."""
        transport, connection = self._transport, self.connection
        if connection is None:
            return
        is_left = bool(self._events) or connection.has_more
        if is_left and not self._is_paused and not self._is_turn_due:
            self._is_turn_due = True
            asyncio.get_running_loop().call_soon(self._turn)
        is_stopped = is_left or self._is_paused
        if transport is not None and not transport.is_closing() and is_stopped != self._is_stopped:
            self._is_stopped = is_stopped
            transport.pause_reading() if is_stopped else transport.resume_reading()

    def _turn(self) -> None:
        """Go on with what came before."""
        self._is_turn_due = False
        try:
            if self.connection is not None and not self._is_paused:
                now_ms = self._owner.clock()
                events = [] if self._events else self.connection.more(now_ms)
                self._take_in(self.connection, events)
        finally:
            if self._lost is not None and not self._is_turn_due:
                self._go()

    def _go(self) -> None:
        """The socket is gone, and what came before was heard."""
        text, self._lost = self._lost, None
        try:
            if self.connection is not None and text is not None:
                self.connection.lost(text)
                self._events.clear()
                self.tell_end()
        finally:
            self._owner.link_gone(self)

    def _flush_soon(self) -> None:
        """Send in the loop's next turn: once for all that this one queues."""
        if not self._is_flush_due and (not self._is_full or self.end is not None):
            self._is_flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        self.tell_end()
        transport, connection = self._transport, self.connection
        if transport is None or connection is None or transport.is_closing():
            return
        now_ms = self._owner.clock()
        while not self._is_full and (parts := connection.take(WRITE_AHEAD_BYTES, now_ms)):
            transport.writelines(parts)
        if connection.is_flushed:
            transport.close()


def _proven_key(transport: asyncio.BaseTransport) -> PublicKey:
    tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
    return peer_key(tls.getpeercert(binary_form=True))
