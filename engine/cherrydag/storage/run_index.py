"""An index that only grows: from 16-byte keys to places, hundreds of thousands of entries a second.

New entries lie in memory in sorted pieces; jobs write them to sorted files, and merge those, while entries
are added and found. What is found is the same at every moment. Nothing is written but whole files, from
their beginning to their end, so the disk sees no random writes and a key's entries lie together.

Places rise from add to add. So every piece and file holds a span of time of its own, the newest places of a
key are found without looking at old files, and what a crash lost is what lies above `last_place` on opening.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from cherrydag._native import runs as native
from cherrydag.crypto import BytesLike
from cherrydag.errors import Closed, Overloaded, ShapeError, StorageError, invariant
from cherrydag.storage.run_file import Job, RunFolder
from cherrydag.storage.run_policy import (
    UNMERGED_MAX,
    RunOptions,
    joined_pieces,
    merge_slice,
    piece_entries_max,
)

__all__ = ["KEY_BYTES", "LIMIT_MAX", "Job", "RunIndex", "RunOptions", "RunStats", "RunView"]

KEY_BYTES: Final = native.KEY_BYTES
LIMIT_MAX: Final = native.LIMIT_MAX
"""Places of one answer."""

_PLACE_MAX: Final = 2**64 - 1


class RunStats(NamedTuple):
    """entries: all of them, and those in memory. runs: files that are live. memory_bytes: of the entries in
    memory and of what is kept of each file; disk_bytes: of the live files. flushed_bytes, merged_bytes: of
    the files that jobs of either kind have written since the index was opened."""

    entries: int
    memory_entries: int
    runs: int
    memory_bytes: int
    disk_bytes: int
    flushed_bytes: int
    merged_bytes: int


class RunView:
    """What an index held at one moment. It never changes, and any thread may ask it.

    Every answer raises StorageError if a page that it needs is damaged or cannot be read.
    """

    __slots__ = ("_sources",)

    def __init__(self, sources: tuple[native.Source, ...]) -> None:
        self._sources = native.Sources(sources)

    def find(self, key: BytesLike, limit: int = 16) -> list[int]:
        """The newest `limit` places of a key, ascending. ShapeError unless the key has 16 bytes and the
        limit is 1 to LIMIT_MAX."""
        return self._sources.select(key, 0, _PLACE_MAX, limit, True)[::-1]

    def page(
        self, key: BytesLike, *, before: int | None = None, after: int | None = None, limit: int
    ) -> list[int]:
        """Up to `limit` places of a key: the newest below `before`, descending, or the oldest above `after`,
        ascending; the newest of all if neither is given. after=-1 begins with the oldest.

        Costs two searches of each run in question, however many entries the key has. ShapeError as of
        `find`, or if both are given.
        """
        if before is not None and after is not None:
            raise ShapeError("before and after: give one or neither, they are two directions")
        first = 0 if after is None else max(after + 1, 0)
        last = _PLACE_MAX if before is None else min(before - 1, _PLACE_MAX)
        if not 0 <= first <= last <= _PLACE_MAX:
            first, last = 1, 0
        return self._sources.select(key, first, last, limit, after is None)


@dataclass(slots=True, eq=False)
class _Part:
    """One of the sources, oldest first; `name` if it is a file, and the job that has claimed it."""

    source: native.Source
    name: str | None = None
    job: Job | None = None

    @property
    def is_file(self) -> bool:
        return self.name is not None


class RunIndex:
    """A multimap from 16-byte keys to places below 2^64, in files of a folder. One thread owns it.

    The owner's work goes round like this, where run() may be called in any thread:

        while job := index.job():
            job.run()
            index.adopt(job)

    The index does not know which of its files count: `runs` tells, and the caller keeps it, durably, before
    it lets `discard` delete files that an older manifest names. Every method raises Closed after close().
    """

    def __init__(
        self, folder: Path, name: str, runs: Sequence[str] = (), options: RunOptions | None = None
    ) -> None:
        """Open the runs of the index `name` that a manifest names, in its order.

        StorageError if one is missing, damaged in its footer or fences, not of this index, or not in order
        of time; ConfigError for a bad name. Other files are left alone until `discard`.
        """
        self.options = options or RunOptions()
        self._files = RunFolder(folder, name)
        self._parts = [_Part(self._files.open(run), run) for run in runs]
        for before, after in pairwise(self._parts):
            if before.source.last_place >= after.source.first_place:
                raise StorageError(f"{self._files.folder}: {before.name} and {after.name} overlap in time")
        self._last_place = self._parts[-1].source.last_place if self._parts else None
        self._number = self._files.next_number()
        self._memory_entries = 0
        self._flushed_bytes = self._merged_bytes = 0
        self._view: RunView | None = None
        self._is_closed = False
        self._piece_entries = piece_entries_max(self.options)

    # Adding and finding

    def add(self, keys: BytesLike, places: npt.NDArray[np.uint64]) -> None:
        """Add entries, to be found at once. keys: n x 16 bytes, row-major; places: n, in any order, all of
        them above every place that was added before.

        Raises Overloaded if memory would hold more than memory_entries_max: nothing was added, and room
        comes with the next job that is adopted. ShapeError for a wrong shape, places that do not rise, an
        entry that occurs twice, or more entries than memory may ever hold.
        """
        self._check_open()
        if places.ndim != 1 or places.dtype != np.uint64:
            raise ShapeError(f"places: expected 1-D uint64, got {places.ndim}-D {places.dtype}")
        n, limit = len(places), self.options.memory_entries_max
        if n > limit:
            raise ShapeError(f"places: expected at most {limit} in one call, got {n}")
        if self._memory_entries + n > limit:
            held = self._memory_entries
            raise Overloaded(f"index {self._files.name}: {held} entries in memory, {limit} allowed")
        if n == 0 and len(keys) == 0:
            return
        piece = native.Piece(keys, np.ascontiguousarray(places))
        if self._last_place is not None and piece.first_place <= self._last_place:
            raise ShapeError(f"places: expected all above {self._last_place}, got {piece.first_place}")
        last_place = piece.last_place
        self._append(piece)
        self._memory_entries += n
        self._last_place = last_place

    def find(self, key: BytesLike, limit: int = 16) -> list[int]:
        """As RunView.find, of what is in the index now."""
        return self.view().find(key, limit)

    def page(
        self, key: BytesLike, *, before: int | None = None, after: int | None = None, limit: int
    ) -> list[int]:
        """As RunView.page, of what is in the index now."""
        return self.view().page(key, before=before, after=after, limit=limit)

    def view(self) -> RunView:
        """What the index holds now, for any thread. It keeps its files readable, and its memory in use, for
        as long as it is kept."""
        self._check_open()
        if self._view is None:
            self._view = RunView(tuple(part.source for part in self._parts))
        return self._view

    @property
    def last_place(self) -> int | None:
        """The highest place there is; None in an empty index. On opening: the highest that is on disk, and
        all of its add is, and all adds before."""
        return self._last_place

    # Background work

    def job(self) -> Job | None:
        """The next piece of background work that no job has claimed, or None if there is none now.

        Several jobs may be under way at once. Each must be given back to `adopt`, in any order.
        """
        return self.flush() or self.merge()

    def flush(self) -> Job | None:
        """As `job`, of what is in memory."""
        self._check_open()
        return self._claim(self._unwritten(_PLACE_MAX if self._is_crowded else self.options.flush_entries))

    def merge(self) -> Job | None:
        """As `job`, of files."""
        self._check_open()
        return self._claim(self._mergeable(self._is_crowded))

    @property
    def can_seal(self) -> bool:
        """Whether there is room for one more run."""
        return self._files_held < UNMERGED_MAX

    def seal(self) -> Job | None:
        """A job that writes what is in memory, however little; None if other jobs have all of it, or there is
        nothing. When all jobs are adopted and seal gives None, `runs` holds every entry.

        Raises Overloaded if there are UNMERGED_MAX runs: adopt some merges first.
        """
        self._check_open()
        if not self.can_seal:
            raise Overloaded(f"index {self._files.name}: {UNMERGED_MAX} runs wait to be merged")
        return self._claim(self._unwritten(1))

    def adopt(self, job: Job) -> bool:
        """End a job: take in the run that it wrote, and tell whether there is one. If it failed or was never
        run, what it had claimed is free again and nothing is lost.

        ShapeError if it is still running, or not a job of this index that is under way.
        """
        self._check_open()
        claimed = [i for i, part in enumerate(self._parts) if part.job is job]
        if not claimed:
            raise ShapeError(f"job: {job.name} is not under way in the index {self._files.name}")
        run = job.finish()
        if run is None:
            for i in claimed:
                self._parts[i].job = None
            return False
        inputs = self._parts[claimed[0] : claimed[-1] + 1]
        entries = sum(len(part.source) for part in inputs)
        invariant(len(run) == entries, "a run holds what its sources held", run=job.name, entries=entries)
        self._parts[claimed[0] : claimed[-1] + 1] = [_Part(run, job.name)]
        self._view = None
        if job.is_merge:
            self._merged_bytes += run.file_bytes
        else:
            self._flushed_bytes += run.file_bytes
            self._memory_entries -= entries
        return True

    @property
    def runs(self) -> tuple[str, ...]:
        """The files, oldest first, that hold all entries up to the first one that is not on disk."""
        names = []
        for part in self._parts:
            if part.name is None:
                break
            names.append(part.name)
        return tuple(names)

    def discard(self, keep: Collection[str] = ()) -> list[str]:
        """Delete the files of this index that are neither live, nor of a job under way, nor in `keep`; their
        names. keep: the runs of the last manifest that is durable."""
        self._check_open()
        live = {part.name for part in self._parts if part.name is not None}
        making = {part.job.name for part in self._parts if part.job is not None}
        return self._files.discard(live | making | set(keep))

    def stats(self) -> RunStats:
        """What there is, and what was written."""
        self._check_open()
        files = [part.source for part in self._parts if isinstance(part.source, native.Run)]
        return RunStats(
            entries=sum(len(part.source) for part in self._parts),
            memory_entries=self._memory_entries,
            runs=len(files),
            memory_bytes=sum(part.source.memory_bytes for part in self._parts),
            disk_bytes=sum(run.file_bytes for run in files),
            flushed_bytes=self._flushed_bytes,
            merged_bytes=self._merged_bytes,
        )

    def close(self) -> None:
        """Let files and memory go; what is not in `runs` is lost. Idempotent.

        Jobs that run may end; what they write is left for `discard` of the next opening.
        """
        self._is_closed = True
        self._parts = []
        self._view = None

    def _check_open(self) -> None:
        if self._is_closed:
            raise Closed(f"the index {self._files.name} is closed")

    # Pieces and slices

    @property
    def _files_held(self) -> int:
        return sum(part.is_file for part in self._parts)

    @property
    def _is_crowded(self) -> bool:
        return self._files_held > self.options.runs_max

    def _append(self, piece: native.Piece) -> None:
        """Put a piece at the end, joined with those before it that it has caught up with."""
        tail: list[native.Piece] = []
        for part in reversed(self._parts):
            if part.job is not None or not isinstance(part.source, native.Piece):
                break
            tail.append(part.source)
        taken = joined_pieces([len(source) for source in tail], len(piece), self._piece_entries)
        if taken:
            piece = native.join((*reversed(tail[:taken]), piece))
        self._parts[len(self._parts) - taken :] = [_Part(piece)]
        self._view = None

    def _segments(self, *, files: bool) -> Iterator[range]:
        """Where neighbours of one kind lie that no job has claimed."""
        groups = groupby(range(len(self._parts)), self._is_free_file)
        for is_file, group in groups:
            if is_file is files:
                places = list(group)
                yield range(places[0], places[-1] + 1)

    def _is_free_file(self, i: int) -> bool | None:
        """Whether a part is a file; None if it is claimed."""
        return None if self._parts[i].job is not None else self._parts[i].is_file

    def _unwritten(self, entries_min: int) -> range | None:
        """Pieces to write: those that a newer file has overtaken, or the newest if they are enough."""
        for segment in self._segments(files=False):
            entries = sum(len(self._parts[i].source) for i in segment)
            if segment.stop < len(self._parts) or entries >= entries_min:
                return segment
        return None

    def _mergeable(self, is_crowded: bool) -> range | None:
        """Runs to merge."""
        for segment in self._segments(files=True):
            sizes = [len(self._parts[i].source) for i in segment]
            ratio, unit = self.options.merge_ratio, self.options.flush_entries
            found = merge_slice(sizes, ratio, unit, is_crowded=is_crowded)
            if found is not None:
                return segment[found.start : found.stop]
        return None

    def _claim(self, segment: range | None) -> Job | None:
        """A job that makes one run out of these parts."""
        if segment is None:
            return None
        parts = [self._parts[i] for i in segment]
        sources = tuple(part.source for part in parts)
        job = Job(self._files, self._files.run_name(self._number), sources, is_merge=parts[0].is_file)
        self._number += 1
        for part in parts:
            part.job = job
        return job
