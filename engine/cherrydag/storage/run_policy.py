"""When an index joins pieces in memory, and when it merges runs on disk.

Both go by levels, the logarithms of sizes: what is put together rises by a level, so that an entry is
moved once a level, and of each level there are few.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from cherrydag._native import runs as native
from cherrydag.errors import ConfigError

UNMERGED_MAX: Final = 1024
"""Runs at which nothing more is written before some are merged."""

_FANOUT_BITS: Final = 4
"""Sixteen pieces of one level become one of the next."""
_LARGE_PIECES: Final = 256
"""Pieces of the top level that full memory holds at most."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """flush_entries: in memory before a job writes them, 24 bytes each. memory_entries_max: in memory at all,
    also while they are written. merge_ratio: how much larger a merged run is than its inputs; after 1,000
    flushes, 4 has written an entry 4.7 times and looks into at most 14 runs, 8 has 3.5 and 21. runs_max:
    above it, merging comes before writing what is in memory.

    Raises ConfigError for what cannot work.
    """

    flush_entries: int = 1 << 20
    memory_entries_max: int = 1 << 22
    merge_ratio: int = 4
    runs_max: int = 64

    def __post_init__(self) -> None:
        limits = (
            ("flush_entries", 1, self.memory_entries_max),
            ("memory_entries_max", 1, native.PIECE_MAX),
            ("merge_ratio", 2, 64),
            ("runs_max", 2, UNMERGED_MAX),
        )
        for name, low, high in limits:
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name}: expected {low}..{high}, got {getattr(self, name)}")


def piece_entries_max(options: RunOptions) -> int:
    """Size from which a piece is not joined any more: joining it would hold up the caller for too long."""
    return max(options.flush_entries >> _FANOUT_BITS, options.memory_entries_max // _LARGE_PIECES)


def joined_pieces(sizes: Sequence[int], size: int, entries_max: int) -> int:
    """How many of the pieces before a new one, newest first, are joined with it.

    A piece's level is the logarithm of its size. The new one takes in those of lower levels before it, and
    sixteen of one level become one of the next, or as many as are entries_max together, which is the top
    level. So levels fall from old to new, there are fewer than sixteen pieces of a level below the top, an
    entry is sorted anew at most twice a level, and no join costs its caller much more than entries_max.
    """
    top = _level(entries_max, _FANOUT_BITS) + 1

    def level_of(entries: int) -> int:
        return top if entries >= entries_max else _level(entries, _FANOUT_BITS)

    taken, is_done = 0, False
    while not is_done:
        level, reach = level_of(size), taken
        while reach < len(sizes) and level_of(sizes[reach]) < level:
            reach += 1
        alike = reach
        while level < top and alike < len(sizes) and level_of(sizes[alike]) == level:
            alike += 1
        if alike - reach + 1 >= 1 << _FANOUT_BITS or size + sum(sizes[taken:alike]) >= entries_max:
            reach = alike
        size += sum(sizes[taken:reach])
        is_done = reach == taken
        taken = reach
    return taken


def _level(entries: int, bits: int) -> int:
    return (entries.bit_length() - 1) // bits


def merge_slice(sizes: Sequence[int], ratio: int, unit: int, *, is_crowded: bool = False) -> range | None:
    """Which of neighbouring runs to merge, oldest first: the smallest that make a run of a higher level.

    A run's level is the logarithm of its size; `unit` entries, as a flush has, begin a level. A merge lifts
    all of its entries by a level or more, so an entry is written once a level, and neighbours of one level
    are fewer than `ratio`. If crowded, the `ratio` neighbours that are smallest together when no merge
    would lift them.
    """
    steps = next(step for step in range(unit.bit_length() + 1) if ratio**step >= unit)
    scaled = [size * ratio**steps for size in sizes]  # in units of 1 / ratio^steps: a unit is a power
    levels = [_run_level(size // unit, ratio) for size in scaled]
    for level in sorted(set(levels)):
        for is_low, group in groupby(range(len(sizes)), lambda i: levels[i] <= level):  # noqa: B023
            places = list(group)
            if is_low and len(places) > 1:
                total = sum(scaled[i] for i in places)
                if total // unit >= ratio ** (level + 1):
                    return range(places[0], places[-1] + 1)
    if not is_crowded or len(sizes) < 2:
        return None
    width = min(ratio, len(sizes))
    start = min(range(len(sizes) - width + 1), key=lambda i: sum(sizes[i : i + width]))
    return range(start, start + width)


def _run_level(scaled: int, ratio: int) -> int:
    level = 0
    while scaled >= ratio:
        scaled //= ratio
        level += 1
    return level
