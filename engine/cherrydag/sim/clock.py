"""Virtual time: the world's, in microseconds from 0, and what a node's clock shows."""

from typing import Final

from cherrydag.primitives import TimestampMs

EPOCH_MS: Final = 1_800_000_000_000
"""What a right clock shows when the world starts."""

SECOND_US: Final = 1_000_000
DAY_MS: Final = 86_400_000


class Clock:
    """A node's wall clock: wrong by an offset, and faster or slower by a few millionths."""

    __slots__ = ("drift_ppm", "offset_us")

    def __init__(self, offset_us: int = 0, drift_ppm: int = 0) -> None:
        self.offset_us = offset_us
        self.drift_ppm = drift_ppm

    def read(self, now_us: int) -> TimestampMs:
        """What it shows at this time of the world."""
        shown_us = now_us + self.offset_us
        if self.drift_ppm:
            shown_us += now_us * self.drift_ppm // 1_000_000
        return TimestampMs(EPOCH_MS + shown_us // 1000)

    def when(self, time_ms: int) -> int:
        """The first time of the world at which it shows time_ms or more; may be negative."""
        shown_us = (time_ms - EPOCH_MS) * 1000 - self.offset_us
        if not self.drift_ppm:
            return shown_us
        at_us = shown_us * 1_000_000 // (1_000_000 + self.drift_ppm)
        while self.read(at_us) < time_ms:
            at_us += 1
        return at_us

    def step(self, by_ms: int) -> None:
        """Set it forward or back."""
        self.offset_us += by_ms * 1000
