"""Virtual time: the world's, in microseconds from 0, and what a node's clock shows."""

from typing import Final

from cherrydag.primitives import TimestampMs

EPOCH_MS: Final = 1_800_000_000_000
"""What a right clock shows when the world starts."""

SECOND_US: Final = 1_000_000
DAY_MS: Final = 86_400_000


class Clock:
    """A node's wall clock, wrong by an offset. Its monotonic clock is the world's time."""

    __slots__ = ("offset_us",)

    def __init__(self, offset_us: int = 0) -> None:
        self.offset_us = offset_us

    def read(self, now_us: int) -> TimestampMs:
        """What it shows at this time of the world."""
        return TimestampMs(monotonic_ms(now_us) + self.offset_ms)

    @property
    def offset_ms(self) -> int:
        """What it shows minus what a right clock would."""
        return self.offset_us // 1000

    def step(self, by_ms: int) -> None:
        """Set it forward or back."""
        self.offset_us += by_ms * 1000


def monotonic_ms(now_us: int) -> TimestampMs:
    """The clock that never steps, the same for all nodes: what a right wall clock shows."""
    return TimestampMs(EPOCH_MS + now_us // 1000)


def moment_us(time_ms: int) -> int:
    """The first time of the world at which the monotonic clock shows time_ms; may be negative."""
    return (time_ms - EPOCH_MS) * 1000
