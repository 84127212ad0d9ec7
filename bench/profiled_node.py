"""`python profiled_node.py FILE run DIR ...`: a node whose main thread is sampled.

Every few milliseconds of the thread's CPU time, not of the clock, its Python stack is noted, so that a busy
machine does not distort the picture; what native code takes counts for the line that called it. At the end
FILE has a line for each stack, root first, and how often it was seen.
"""

import ctypes
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

from cherrydag.cli import main

INTERVAL_NS: Final = 2_000_000
"""Of CPU time between two samples; the kernel rounds it up to its tick."""

_CLOCK_THREAD_CPUTIME_ID: Final = 3


class _Interval(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("number", ctypes.c_int),
        ("notify", ctypes.c_int),  # 0: by a signal
        ("padding", ctypes.c_char * 48),
    )


class Sampler:
    """Counts the main thread's stacks from start() on."""

    def __init__(self) -> None:
        self._stacks: Counter[tuple[CodeType, ...]] = Counter()

    def start(self) -> None:
        """Begin. OSError if the system has no such timer."""
        signal.signal(signal.SIGPROF, self._sample)
        signal.siginterrupt(signal.SIGPROF, False)
        system = ctypes.CDLL(None, use_errno=True)
        event = _Event(None, signal.SIGPROF, 0)
        timer = ctypes.c_void_p()
        if system.timer_create(_CLOCK_THREAD_CPUTIME_ID, ctypes.byref(event), ctypes.byref(timer)):
            raise OSError(ctypes.get_errno(), "timer_create")
        every = _Interval(0, INTERVAL_NS, 0, INTERVAL_NS)
        if system.timer_settime(timer, 0, ctypes.byref(every), None):
            raise OSError(ctypes.get_errno(), "timer_settime")

    def stop(self) -> None:
        """Take no more samples; the timer goes with the process."""
        signal.signal(signal.SIGPROF, signal.SIG_IGN)

    def _sample(self, _: int, frame: FrameType | None) -> None:
        codes = []
        while frame is not None:
            codes.append(frame.f_code)
            frame = frame.f_back
        self._stacks[tuple(reversed(codes))] += 1

    def write(self, path: Path) -> None:
        """A line for each stack."""
        with path.open("w") as file:
            for codes, count in self._stacks.most_common():
                names = (
                    f"{code.co_qualname} ({'/'.join(Path(code.co_filename).parts[-2:])})" for code in codes
                )
                file.write(f"{';'.join(names)} {count}\n")


if __name__ == "__main__":
    sampler = Sampler()
    target = Path(sys.argv.pop(1))
    sampler.start()
    try:
        main()
    finally:
        sampler.stop()
        sampler.write(target)
