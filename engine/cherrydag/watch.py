"""What a node's log tells of how it fares, found by looking at it once a second."""

from typing import Final, NamedTuple

from cherrydag.runtime.events import Tell

STALL_MS: Final = 15_000
"""A network commits even when idle: without a commit for so long it has stalled."""

DISK_LOW_BYTES: Final = 1 << 30
"""Free space below which the disk is low, until there is half as much again."""

CLOCK_STEP_MS: Final = 500
"""A wall clock that moves by more, against the one that never steps, between two looks was set."""


class Sample(NamedTuple):
    """A node at a moment. now_ms: of the clock that never steps; offset_ms: the wall clock's, minus that.
    reasons: codes of what keeps it from being of use."""

    now_ms: int
    offset_ms: int
    commit_index: int
    free_bytes: int
    reasons: tuple[str, ...]


class Watch:
    """Tells what has changed from one sample to the next. expects_commits: whether there are some when nobody
    hands anything in."""

    def __init__(self, tell: Tell, *, expects_commits: bool) -> None:
        self._tell = tell
        self._expects_commits = expects_commits
        self._last: Sample | None = None
        self._committed_ms = 0
        self._is_stalled = False
        self._is_low = False

    def look(self, sample: Sample) -> None:
        """Compare with the sample before."""
        last, self._last = self._last, sample
        if last is None:
            self._committed_ms = sample.now_ms
        elif abs(sample.offset_ms - last.offset_ms) > CLOCK_STEP_MS:
            self._tell("clock_step", by_ms=sample.offset_ms - last.offset_ms)
        if last is None or last.reasons != sample.reasons:
            self._tell_readiness(sample.reasons)
        self._look_at_commits(sample, last)
        self._look_at_disk(sample.free_bytes)

    def _tell_readiness(self, reasons: tuple[str, ...]) -> None:
        if reasons:
            self._tell("not_ready", reasons=reasons)
        else:
            self._tell("ready")

    def _look_at_commits(self, sample: Sample, last: Sample | None) -> None:
        if last is not None and sample.commit_index > last.commit_index:
            if self._is_stalled:
                away_ms = sample.now_ms - self._committed_ms
                self._tell("commits_resumed", commit=sample.commit_index, after_ms=away_ms)
            self._is_stalled, self._committed_ms = False, sample.now_ms
        elif self._expects_commits and not self._is_stalled:
            self._is_stalled = sample.now_ms - self._committed_ms >= STALL_MS
            if self._is_stalled:
                self._tell("commits_stalled", commit=sample.commit_index, for_ms=STALL_MS)

    def _look_at_disk(self, free_bytes: int) -> None:
        is_low = free_bytes < (DISK_LOW_BYTES * 3 // 2 if self._is_low else DISK_LOW_BYTES)
        if is_low != self._is_low:
            self._is_low = is_low
            self._tell("disk_low" if is_low else "disk_recovered", free_bytes=free_bytes)
