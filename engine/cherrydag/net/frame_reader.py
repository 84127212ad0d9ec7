"""Received bytes cut into frames, each byte copied once at most.

What comes in lands in a fixed staging buffer. A frame that lies whole in it is copied out; for one that does
not, memory of exactly its size is reserved, and the rest of it is received straight into that. So a frame
is contiguous, owns its memory, and nothing is reserved before its length has been checked.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from cherrydag.errors import invariant
from cherrydag.gossip.message_codec import FRAME_HEAD

STAGING_BYTES: Final = 256 * 1024
"""Size of the staging buffer, once for each connection."""


class ReceivedFrame(NamedTuple):
    """A frame from a peer. body: read-only, of its own memory."""

    kind: int
    body: memoryview


class FrameReader:
    """Room for received bytes, and the frames in them.

    check(kind, size) raises PeerFault if a frame of this head is not allowed now; it is asked once for each
    frame, after those before it have been taken.
    """

    __slots__ = ("_check", "_end", "_filled", "_frame", "_kind", "_staging", "_start", "frames")

    def __init__(self, check: Callable[[int, int], None], staging_bytes: int = STAGING_BYTES) -> None:
        self._check = check
        self._staging = _reserve(staging_bytes)
        self._start = self._end = 0
        self._frame: memoryview | None = None
        self._filled = 0
        self._kind = 0
        self.frames = 0
        """Whole frames taken."""

    @property
    def size(self) -> int | None:
        """Bytes of the frame that has begun and is not whole, as far as known; None between frames."""
        if self._frame is not None:
            return FRAME_HEAD.size + len(self._frame)
        return FRAME_HEAD.size if self._end > self._start else None

    def buffer(self) -> memoryview:
        """Room for the next bytes, never empty. Take all frames before asking for it."""
        if self._frame is not None:
            return self._frame[self._filled :]
        # Only a part of a head can be left here.
        left = self._end - self._start
        self._staging[:left] = self._staging[self._start : self._end]
        self._start, self._end = 0, left
        return self._staging[left:]

    def clear(self) -> None:
        """Forget what is here: nothing more is expected."""
        self._start = self._end = self._filled = 0
        self._frame = None

    def received(self, count: int) -> None:
        """The first `count` bytes of the room have been filled."""
        if self._frame is None:
            self._end += count
        else:
            self._filled += count

    def next(self) -> ReceivedFrame | None:
        """The next whole frame, None if there is none yet. PeerFault from check."""
        if self._frame is not None:
            return self._large()
        body_at = self._start + FRAME_HEAD.size
        if self._end < body_at:
            return None
        size, kind = FRAME_HEAD.unpack_from(self._staging, self._start)
        self._check(kind, size)
        here = self._staging[body_at : min(self._end, body_at + size)]
        if len(here) == size:
            self._start = body_at + size
            self.frames += 1
            return ReceivedFrame(kind, memoryview(bytes(here)))
        self._frame = _reserve(size)
        self._frame[: len(here)] = here
        self._kind, self._filled = kind, len(here)
        self._start = self._end = 0
        return None

    def _large(self) -> ReceivedFrame | None:
        frame = self._frame
        invariant(frame is not None and self._filled <= len(frame), "no frame is filled beyond its end")
        if frame is None or self._filled < len(frame):
            return None
        self._frame = None
        self.frames += 1
        return ReceivedFrame(self._kind, frame.toreadonly())


def _reserve(size: int) -> memoryview:
    """Memory that is not zeroed: a page costs nothing until it is written to, whatever a head announces."""
    return memoryview(np.empty(size, np.uint8))  # type: ignore[arg-type]
