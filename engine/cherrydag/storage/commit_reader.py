"""Commits, swap tables and outcomes as they lie in the database, and single records of committed vertices.

What is there and wrong raises StorageError; a damaged outcome DamagedOutcomeError, since it can be had again.
"""

from collections.abc import Sequence
from typing import Final

from cherrydag._native.store import Store
from cherrydag.codec import decode_commit
from cherrydag.commit import Commit
from cherrydag.consensus.effects import SwapRecord
from cherrydag.errors import PeerFault, StorageError
from cherrydag.params import RECORD_BYTES
from cherrydag.storage.entry import (
    BYTES_PER_READ,
    ENTRIES_PER_READ,
    Entry,
    bounds_of,
    name_of,
    scan,
    scan_numbers,
    seq_of,
    sound,
)
from cherrydag.storage.outcome import HEAD_BYTES, Place, Places, decode_outcome, decode_places, head_size
from cherrydag.storage.schema import SEQ, DamagedOutcomeError, Table, decode_swaps
from cherrydag.storage.values import CommitOutcome, StoredRecord

_BODY_SIZE_AT: Final = 44
"""Offset of body_size in a record (transaction.RECORD)."""


class CommitReader:
    """Reads what an open native store has by commit index."""

    __slots__ = ("_native",)

    def __init__(self, native: Store) -> None:
        self._native = native

    # Commits and swap tables

    def bounds(self) -> tuple[int, int] | None:
        """The lowest and the highest index of a commit; None without commits."""
        return bounds_of(self._native, Table.COMMITS)

    def commits(self, first: int, last: int) -> list[Commit]:
        """Commits of these indices, all of which are there. StorageError if one is not."""
        if first > last:
            return []
        found = [_commit(entry) for entry in scan_numbers(self._native, Table.COMMITS, first, last)]
        _check_all(Table.COMMITS, "commit", first, last, [commit.index for commit in found])
        return found

    def all_swaps(self) -> list[SwapRecord]:
        """Every swap table. StorageError unless each that is counted can be read."""
        found = [_swaps(entry) for entry in scan(self._native, Table.SWAPS)]
        if len(found) != (expected := self._native.table(Table.SWAPS)[0]):
            raise StorageError(f"{name_of(Table.SWAPS)}: {len(found)} entries, expected {expected}")
        return found

    def swaps(self) -> SwapRecord | None:
        """The swap table of the highest index."""
        newest = self._native.range(Table.SWAPS, b"", b"", 1, 0, True)
        return _swaps(newest[0]) if newest else None

    def swaps_of(self, commit_index: int) -> SwapRecord | None:
        """The swap table that this commit brought."""
        entries, _ = self._native.keys(Table.SWAPS, SEQ.pack(commit_index), SEQ.size, 0)
        return _swaps(entries[0]) if entries else None

    # Outcomes

    def outcome_bounds(self) -> tuple[int, int] | None:
        """The lowest and the highest index of an outcome; None without outcomes."""
        return bounds_of(self._native, Table.RESULTS)

    def outcomes(self, first: int, last: int) -> list[CommitOutcome]:
        """Outcomes of these commits, all of which are there. StorageError if one is not."""
        found: list[CommitOutcome] = []
        while first + len(found) <= last:
            wanted = range(first + len(found), min(last + 1, first + len(found) + ENTRIES_PER_READ))
            keys = b"".join([SEQ.pack(index) for index in wanted])
            entries, done = self._native.keys(Table.RESULTS, keys, SEQ.size, BYTES_PER_READ)
            _check_all(Table.RESULTS, "outcome", wanted[0], wanted[done - 1], [seq_of(e[1]) for e in entries])
            found += map(_outcome, entries)
        return found

    def places(self, commit_indices: Sequence[int]) -> list[Places]:
        """Where the transactions of these commits are, whose outcomes are all there: from their heads."""
        places = []
        for index, value in zip(commit_indices, self._heads(commit_indices, HEAD_BYTES), strict=True):
            size = head_size(index, value)
            whole = value if size <= HEAD_BYTES else self._heads([index], size)[0]
            places.append(decode_places(index, whole))
        return places

    def records(self, places: Sequence[Place]) -> list[StoredRecord | None]:
        """Record and body at each place; None where the stored vertex ends before it, or is not there."""
        packed = b"".join([place.pack() for place in places])
        found = self._native.records(Table.VERTICES, RECORD_BYTES, _BODY_SIZE_AT, packed)
        return [None if record is None else StoredRecord(*record) for record in found]

    def _heads(self, commit_indices: Sequence[int], size: int) -> list[bytes]:
        keys = b"".join([SEQ.pack(index) for index in commit_indices])
        entries = self._native.heads(Table.RESULTS, keys, SEQ.size, size)
        if len(entries) != len(commit_indices):
            gone = set(commit_indices) - {seq_of(entry[1]) for entry in entries}
            raise StorageError(f"{name_of(Table.RESULTS)}: outcome {min(gone)} is missing")
        return [entry[2] for entry in entries]


def _check_all(table: Table, noun: str, first: int, last: int, found: list[int]) -> None:
    """StorageError unless these are the numbers first..last."""
    if found != list(range(first, last + 1)):
        there = set(found)
        gone = next(number for number in range(first, last + 1) if number not in there)
        raise StorageError(f"{name_of(table)}: {noun} {gone} is missing")


def _swaps(entry: Entry) -> SwapRecord:
    return decode_swaps(entry[1], sound(Table.SWAPS, entry))


def _outcome(entry: Entry) -> CommitOutcome:
    index = seq_of(entry[1])
    if not entry[3]:
        raise DamagedOutcomeError(index, f"{len(entry[2])} bytes")
    return decode_outcome(index, entry[2])


def _commit(entry: Entry) -> Commit:
    index = seq_of(entry[1])
    try:
        commit = decode_commit(entry[2])
    except PeerFault as fault:
        raise StorageError(f"commit {index} does not decode: {fault}") from fault
    if commit.index != index:
        raise StorageError(f"the commit stored as {index} has index {commit.index}")
    return commit
