"""One connection without a socket: bytes and time in, events and bytes out.

Either side says hello first; then messages, pings and pongs flow until one ends it with a goodbye. A peer
owes progress in both directions: a frame that has begun must be whole, and one that is first in our queue
must leave, within a fixed time and its size at the least rate. Bytes of a peer become events or an end.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from cherrydag.errors import PeerFault
from cherrydag.gossip.message_codec import (
    ANSWERS,
    CONTROL_BYTES_MAX,
    FRAME_HEAD,
    Buffer,
    EncodedMessage,
    body_bytes_max,
)
from cherrydag.net.control import (
    BYTES_MAX,
    ControlKind,
    Hello,
    decode_goodbye,
    decode_hello,
    decode_token,
    encode_goodbye,
    encode_hello,
    encode_token,
)
from cherrydag.net.faults import EndCode, NetFault
from cherrydag.net.frame_reader import FrameReader, ReceivedFrame
from cherrydag.net.handshake import agree
from cherrydag.net.pacing import ConnectionLimits, Pace, Ping
from cherrydag.net.send_queue import Lane, SendQueue
from cherrydag.primitives import PublicKey

FRAMES_AT_ONCE: Final = 32
"""Frames looked at in one go: nine thousand fit into what is received at once."""


class Opened(NamedTuple):
    """The peer has said who it is, and it fits. version: of the protocol, the one to speak."""

    hello: Hello
    version: int


class End(NamedTuple):
    """Why the connection ended. code: a NetFault, EndCode or other fault's. by_peer: it said so."""

    code: str
    text: str
    by_peer: bool = False


Event: TypeAlias = Opened | ReceivedFrame
"""What a peer's bytes come to; a ReceivedFrame is of a message's kind, or of peer records."""


@dataclass(slots=True)
class Traffic:
    """What has gone through a connection, frames' heads included. shed: answers refused for lack of room."""

    bytes_in: int = 0
    bytes_out: int = 0
    frames_in: int = 0
    frames_out: int = 0
    shed: int = 0


class Connection:
    """The state of one connection from the moment the peer has proven its key.

    dialled_key: the key of the node that we dialled, None if the peer dialled us. now_ms never sinks.
    After every call: send what `take` gives, and look at `end`.
    """

    def __init__(
        self,
        own: Hello,
        proven_key: PublicKey,
        dialled_key: PublicKey | None,
        now_ms: int,
        limits: ConnectionLimits | None = None,
    ) -> None:
        self._limits = limits or ConnectionLimits()
        self._own = own
        self._proven_key = proven_key
        self._dialled_key = dialled_key
        self._reader = FrameReader(self._check_head)
        self._queue = SendQueue()
        self._in_pace, self._out_pace = Pace(), Pace()
        self._hello_by_ms = now_ms + self._limits.handshake_ms
        self._close_by_ms = 0
        self._heard_ms = now_ms
        self._ping = Ping(now_ms)
        self._owes_pong = False
        self._owed: dict[int, int] = dict.fromkeys(ANSWERS.values(), 0)
        self._paused = False
        self.has_more = False
        """Whether frames may lie here that were not looked at."""
        self.end: End | None = None
        """Why it ended; None while it lives."""
        self.hello: Hello | None = None
        """The peer's, once it fits."""
        self.traffic = Traffic()
        self._put(Lane.CONTROL, ControlKind.HELLO, encode_hello(own), now_ms)

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self.hello is not None and self.end is None

    @property
    def is_flushed(self) -> bool:
        """Whether it has ended and nothing is left to be sent."""
        return self.end is not None and (self.end.by_peer or self._queue.size is None)

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait to be sent, without the rest of a frame that has begun."""
        return sum(map(self._queue.bytes_of, Lane))

    @property
    def rtt_ms(self) -> int | None:
        """Round trip of the last ping; None before the first pong."""
        return self._ping.rtt_ms

    # Bytes in

    def receive_buffer(self) -> memoryview:
        """Room for the next bytes of the peer, never empty; then call `received`."""
        return self._reader.buffer()

    def received(self, count: int, now_ms: int) -> list[Event]:
        """The first `count` bytes of the room have been filled: what they come to, in order.

        It may also come to an end, after these events. While `has_more`, receive nothing and call `more`.
        """
        self.traffic.bytes_in += count
        if self.end is not None:
            return []
        self._reader.received(count)
        return self.more(now_ms)

    def more(self, now_ms: int) -> list[Event]:
        """What the next FRAMES_AT_ONCE frames come to, of the bytes that are here."""
        self._heard_ms = now_ms
        self.has_more = False
        events: list[Event] = []
        last = self._reader.frames + FRAMES_AT_ONCE
        try:
            while self.end is None and (frame := self._reader.next()) is not None:
                self.traffic.frames_in += 1
                if (event := self._event(frame, now_ms)) is not None:
                    events.append(event)
                if self._reader.frames == last:
                    self.has_more = self.end is None
                    break
        except PeerFault as fault:
            self._finish(fault.code, str(fault), now_ms)
        self._in_pace.follow(self._reader.frames, self._reader.size, now_ms, self._limits)
        return events

    def feed(self, octets: Buffer, now_ms: int) -> list[Event]:
        """`received` for bytes that lie elsewhere, however many."""
        view, events = memoryview(octets), []
        while len(view):
            room = self.receive_buffer()
            count = min(len(room), len(view))
            room[:count] = view[:count]
            events += self.received(count, now_ms)
            while self.has_more:
                events += self.more(now_ms)
            view = view[count:]
        return events

    def _check_head(self, kind: int, size: int) -> None:
        """PeerFault unless a frame of this kind and size has its place now. Asked before memory is taken."""
        # One hello, and before it nothing but a goodbye.
        if kind != ControlKind.GOODBYE and (kind == ControlKind.HELLO) != (self.hello is None):
            state = "before" if self.hello is None else "after"
            raise PeerFault(NetFault.KIND, f"kind: {kind} has no place {state} the hello")
        limit = BYTES_MAX[ControlKind(kind)] if kind in BYTES_MAX else body_bytes_max(kind)
        # Who was asked nothing cannot make us hold much: an answer that nothing is owed for stays small.
        if not self._owed.get(kind, 1):
            limit = min(limit, CONTROL_BYTES_MAX)
        if size > limit:
            raise PeerFault(
                NetFault.FRAME_SIZE, f"size: {size} bytes of kind {kind}, at most {limit} are allowed"
            )

    def _event(self, frame: ReceivedFrame, now_ms: int) -> Event | None:
        """What a frame comes to. PeerFault if it breaks a rule."""
        kind, body = frame
        if kind == ControlKind.HELLO:
            theirs = decode_hello(body)
            version = agree(self._own, theirs, self._proven_key, self._dialled_key)
            self.hello = theirs
            return Opened(theirs, version)
        if kind == ControlKind.GOODBYE:
            self.end = End(*decode_goodbye(body), by_peer=True)
            self._reader.clear()
            self._queue.drop_waiting()
        elif kind == ControlKind.PING:
            token = decode_token(body)
            # An honest peer has one ping under way, so pongs never pile up here.
            if self._owes_pong:
                raise PeerFault(NetFault.PING, "ping: the pong to the one before has not been sent")
            self._owes_pong = True
            self._put(Lane.CONTROL, ControlKind.PONG, encode_token(token), now_ms)
        elif kind == ControlKind.PONG:
            self._ping.answered(decode_token(body), now_ms)
        else:
            if self._owed.get(kind):
                self._owed[kind] -= 1
            return frame
        return None

    # Bytes out

    def send(self, message: EncodedMessage, now_ms: int) -> bool:
        """Queue a message; False if it is not taken.

        That is so if the connection is not open; for an answer if its lane is full, and the peer will ask
        another; for anything else if its lane is full, and then the connection has ended: SLOW_READER.
        """
        if not self.is_open:
            return False
        lane = Lane.ANSWER if message.kind in self._owed else Lane.CONSENSUS
        waiting, limit = self._queue.bytes_of(lane), self._limits.queue_bytes_max
        if waiting >= limit:
            if lane is Lane.ANSWER:
                self.traffic.shed += 1
            else:
                self._finish(
                    NetFault.SLOW_READER, f"queue: {waiting} bytes wait, {limit} are allowed", now_ms
                )
            return False
        if message.kind in ANSWERS:
            self._owed[ANSWERS[message.kind]] += 1
        self._queue.put(lane, message.parts)
        self._follow_out(now_ms)
        return True

    def say(self, kind: ControlKind, body: bytes, now_ms: int) -> bool:
        """Queue a frame of peer records, behind all messages; False if it is not open or has no room."""
        if not self.is_open:
            return False
        if self._queue.bytes_of(Lane.ANSWER) >= self._limits.queue_bytes_max:
            self.traffic.shed += 1
            return False
        self._put(Lane.ANSWER, kind, body, now_ms)
        return True

    def take(self, limit: int, now_ms: int) -> list[Buffer]:
        """At most `limit` bytes to be sent now; empty if there are none. Call it when the socket has room."""
        taken = self._queue.take(limit)
        self.traffic.bytes_out += sum(map(len, taken))
        self.traffic.frames_out = self._queue.frames
        if taken and not self._queue.bytes_of(Lane.CONTROL):
            self._owes_pong = False
            self._ping.left(now_ms)
        self._follow_out(now_ms)
        return taken

    def _put(self, lane: Lane, kind: ControlKind, body: bytes, now_ms: int) -> None:
        self._queue.put(lane, [FRAME_HEAD.pack(len(body), kind) + body])
        self._follow_out(now_ms)

    def _follow_out(self, now_ms: int) -> None:
        self._out_pace.follow(self._queue.frames, self._queue.size, now_ms, self._limits)

    # Time

    def tick(self, now_ms: int) -> None:
        """Time has passed: end what is too slow, ping when it is time."""
        limits = self._limits
        if self.end is not None:
            return
        if self.hello is None:
            if now_ms >= self._hello_by_ms:
                self._finish(NetFault.SLOW_SENDER, f"hello: not here after {limits.handshake_ms} ms", now_ms)
        elif not self._paused and self._in_pace.is_late(now_ms):
            self._finish(NetFault.SLOW_SENDER, f"frame: {self._reader.size} bytes took too long", now_ms)
        elif self._out_pace.is_late(now_ms):
            self._finish(NetFault.SLOW_READER, f"frame: {self._queue.size} bytes left too slowly", now_ms)
        elif not self._paused and self._ping.is_silent(self._heard_ms, now_ms, limits):
            self._finish(NetFault.SILENT, f"nothing came for {now_ms - self._heard_ms} ms", now_ms)
        elif self._ping.is_due(now_ms, limits):
            self._put(Lane.CONTROL, ControlKind.PING, encode_token(self._ping.start()), now_ms)

    def is_overdue(self, now_ms: int) -> bool:
        """Whether it has ended and what is left has had its time: drop the socket."""
        return self.end is not None and now_ms >= self._close_by_ms

    def pause(self) -> None:
        """Nothing will be received for a while, by our own will: it is not held against the peer."""
        self._paused = True

    def resume(self, now_ms: int) -> None:
        """Receiving goes on."""
        self._paused = False
        self._heard_ms = now_ms
        self._in_pace.frame = -1
        self._in_pace.follow(self._reader.frames, self._reader.size, now_ms, self._limits)

    # The end

    def close(self, code: str, text: str, now_ms: int, drain_ms: int = 0) -> None:
        """End it, with a goodbye. drain_ms: how long what waits may still be sent; 0: it is dropped."""
        if self.end is None:
            self._finish(code, text, now_ms, drain_ms)

    def lost(self, text: str) -> None:
        """The socket is gone."""
        if self.end is None:
            self.end = End(EndCode.LOST, text)

    def _finish(self, code: str, text: str, now_ms: int, drain_ms: int = 0) -> None:
        self.end = End(code, text)
        self._close_by_ms = now_ms + max(drain_ms, self._limits.close_ms)
        self._reader.clear()
        if not drain_ms:
            self._queue.drop_waiting()
        self._put(Lane.LAST, ControlKind.GOODBYE, encode_goodbye(code, text), now_ms)
