"""Frames that wait to be sent: bounded, by lane, without a copy of what is large."""

from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from cherrydag.gossip.message_codec import Buffer

JOIN_BYTES_MAX: Final = 4096
"""Parts up to this size are joined with their neighbours: a buffer, or a TLS record, for each would cost
more than the copy."""


class Lane(IntEnum):
    """What goes first. A frame that has begun is finished before another one."""

    CONTROL = 0
    CONSENSUS = 1
    ANSWER = 2
    LAST = 3


class _Waiting(NamedTuple):
    size: int
    parts: Sequence[Buffer]


class SendQueue:
    """Frames to be sent, in the order of their lanes, and within a lane in that of their coming."""

    __slots__ = ("_bytes", "_current", "_current_size", "_lanes", "frames")

    def __init__(self) -> None:
        self._lanes: tuple[deque[_Waiting], ...] = tuple(deque() for _ in Lane)
        self._bytes = [0] * len(Lane)
        self._current: deque[Buffer] = deque()
        self._current_size = 0
        self.frames = 0
        """Frames that have been taken whole."""

    def bytes_of(self, lane: Lane) -> int:
        """Bytes of the frames of a lane of which none has been taken yet."""
        return self._bytes[lane]

    @property
    def size(self) -> int | None:
        """Bytes of the frame that is being taken, or is next; None if there is none."""
        if self._current:
            return self._current_size
        return next((lane[0].size for lane in self._lanes if lane), None)

    def put(self, lane: Lane, parts: Sequence[Buffer]) -> None:
        """Queue a whole frame. Its parts must not change until they have been sent."""
        size = sum(map(len, parts))
        self._lanes[lane].append(_Waiting(size, parts))
        self._bytes[lane] += size

    def drop_waiting(self) -> None:
        """Forget every frame but the one of which a part is gone already."""
        for lane in Lane:
            self._lanes[lane].clear()
            self._bytes[lane] = 0

    def take(self, limit: int) -> list[Buffer]:
        """At most `limit` bytes, at least 1 if anything waits; large parts are views of what was put."""
        taken: list[Buffer] = []
        small: list[Buffer] = []
        while limit and (self._current or self._begin()):
            part = self._current.popleft()
            if len(part) > limit:
                view = memoryview(part)
                self._current.appendleft(view[limit:])
                part = view[:limit]
            limit -= len(part)
            if len(part) <= JOIN_BYTES_MAX:
                small.append(part)
            else:
                _join(small, taken)
                taken.append(part)
            if not self._current:
                self.frames += 1
        _join(small, taken)
        return taken

    def _begin(self) -> bool:
        """Make the next frame the current one; False if there is none."""
        for number, lane in enumerate(self._lanes):
            if lane:
                self._current_size, parts = lane.popleft()
                self._bytes[number] -= self._current_size
                self._current.extend(part for part in parts if len(part))
                return True
        return False


def _join(small: list[Buffer], taken: list[Buffer]) -> None:
    if small:
        taken.append(b"".join(small) if len(small) > 1 else small[0])
        small.clear()
