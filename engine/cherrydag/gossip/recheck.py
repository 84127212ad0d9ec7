"""When to make sure that what parked vertices wait for is wanted: a flood may have pushed that out of the
fetcher's table. They are looked at in turn, a few at a time, so that many of them do not hold up the loop."""

from typing import Final

from cherrydag.primitives import TimestampMs

PERIOD_MS: Final = 2000
"""In which each has its turn, unless there are too many."""

TURN_MAX: Final = 128
"""Parked vertices of one look: 2 ms."""

_PAUSE_MS: Final = 50


class Recheck:
    """The next look. now_ms never sinks."""

    __slots__ = ("_at_ms",)

    def __init__(self) -> None:
        self._at_ms: TimestampMs | None = None

    def is_due(self, now_ms: TimestampMs) -> bool:
        """Whether to look now; true once."""
        if self._at_ms is None or now_ms < self._at_ms:
            return False
        self._at_ms = None
        return True

    def next_ms(self, parked: int, now_ms: TimestampMs) -> TimestampMs | None:
        """When to look next while so many are parked; None: no need to."""
        if self._at_ms is None and parked:
            looks = -(-parked // TURN_MAX)
            self._at_ms = TimestampMs(now_ms + max(PERIOD_MS // looks, _PAUSE_MS))
        return self._at_ms if parked else None
