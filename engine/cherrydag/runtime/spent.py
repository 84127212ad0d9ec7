"""What a piece of work takes of a loop's thread, on a machine whose cores others use too."""

import resource
import time
from typing import Final, NamedTuple, Self

_CROWDED: Final = 2
"""Time on the clock for each second of processor time that counts as the work's own."""


class Spent(NamedTuple):
    """A moment of this thread. clock_us: of a clock that never steps. cpu_us: processor time so far. faults:
    pages so far that it waited for the disk to read."""

    clock_us: int
    cpu_us: int
    faults: int

    @classmethod
    def now(cls) -> Self:
        """This moment."""
        # The processor time of getrusage stands still between two ticks of the kernel.
        faults = resource.getrusage(resource.RUSAGE_THREAD).ru_majflt
        return cls(time.monotonic_ns() // 1000, time.thread_time_ns() // 1000, faults)

    def since(self, before: "Spent") -> int:
        """Microseconds of the work since an earlier moment.

        What it waited for the disk is its own; what else it waited is for a core that others had, and counts
        up to its processor time alone, so that who asks a busy machine does not pay for that.
        """
        clock_us = self.clock_us - before.clock_us
        if self.faults > before.faults:
            return clock_us
        return min(clock_us, _CROWDED * (self.cpu_us - before.cpu_us))
