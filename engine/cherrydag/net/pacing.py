"""How fast one connection has to go on, and whether its peer is still there."""

from dataclasses import dataclass
from typing import NamedTuple

from cherrydag.errors import PeerFault
from cherrydag.net.faults import NetFault


class ConnectionLimits(NamedTuple):
    """Bounds of one connection.

    handshake_ms: until the peer's hello is here. frame_ms: what any frame may take, in either direction,
    besides its size at rate_min bytes a second. ping_ms: between pings. silent_ms: without a byte from the
    peer after a ping. close_ms: for what is left to be sent after the end. queue_bytes_max: once so much
    waits in a lane, nothing is added to it; one frame may go beyond.
    """

    handshake_ms: int = 3000
    frame_ms: int = 5000
    rate_min: int = 256 * 1024
    ping_ms: int = 5000
    silent_ms: int = 15_000
    close_ms: int = 1000
    queue_bytes_max: int = 4 * 1024 * 1024


@dataclass(slots=True)
class Pace:
    """By when the frame under way must be through, in one direction. frame: its number."""

    frame: int = -1
    started_ms: int = 0
    deadline_ms: int | None = None

    def follow(self, frame: int, size: int | None, now_ms: int, limits: ConnectionLimits) -> None:
        """size: of the frame under way as far as known, None if there is none."""
        if size is None:
            self.frame, self.deadline_ms = -1, None
            return
        if frame != self.frame:
            self.frame, self.started_ms = frame, now_ms
        self.deadline_ms = self.started_ms + limits.frame_ms + size * 1000 // limits.rate_min

    def is_late(self, now_ms: int) -> bool:
        """Whether the frame under way has had its time."""
        return self.deadline_ms is not None and now_ms >= self.deadline_ms


class Ping:
    """Our pings, one at a time. rtt_ms: of the last one that was answered."""

    __slots__ = ("_at_ms", "_left_ms", "_token", "_waits", "rtt_ms")

    def __init__(self, now_ms: int) -> None:
        self._at_ms = now_ms
        self._token = 0
        self._waits = False
        self._left_ms: int | None = None
        self.rtt_ms: int | None = None

    def is_due(self, now_ms: int, limits: ConnectionLimits) -> bool:
        """Whether to ask again."""
        return not self._waits and now_ms >= self._at_ms + limits.ping_ms

    def start(self) -> int:
        """The token of the next ping."""
        self._token += 1
        self._waits = True
        return self._token

    def left(self, now_ms: int) -> None:
        """The queue has let go of the ping: what waits behind a large frame is not silent."""
        if self._waits and self._left_ms is None:
            self._left_ms = now_ms

    def answered(self, token: int, now_ms: int) -> None:
        """A pong is here. PeerFault if it is to no ping of ours."""
        if self._left_ms is None or token != self._token:
            raise PeerFault(NetFault.PING, f"pong: {token} is no ping of ours")
        self.rtt_ms = now_ms - self._left_ms
        self._at_ms, self._waits, self._left_ms = now_ms, False, None

    def is_silent(self, heard_ms: int, now_ms: int, limits: ConnectionLimits) -> bool:
        """Whether nothing has come for long. heard_ms: when something came last."""
        return self._left_ms is not None and now_ms >= max(heard_ms, self._left_ms) + limits.silent_ms
