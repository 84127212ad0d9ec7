"""The two clocks of a host: one that never steps, for timers, and the wall clock, for timestamps."""

import time

from cherrydag.primitives import TimestampMs


class Clock:
    """Milliseconds of both clocks, each read from the system when asked."""

    __slots__ = ()

    def now_ms(self) -> TimestampMs:
        """The moment, by the clock that never steps; its zero means nothing."""
        return TimestampMs(time.monotonic_ns() // 1_000_000)

    def wall_ms(self) -> TimestampMs:
        """Unix time."""
        return TimestampMs(time.time_ns() // 1_000_000)

    def wall_offset_ms(self) -> int:
        """Wall clock minus the other: it changes when somebody sets the clock."""
        return self.wall_ms() - self.now_ms()
