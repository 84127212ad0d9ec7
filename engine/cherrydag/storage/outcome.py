"""The outcome of a commit as it lies in the database: where its transactions are, and what became of each.

A value of RESULTS, little-endian: number of vertices u32; for each in the commit's order sequence number
u64, transactions u32, offset of the records in the value of VERTICES u32; a seal of 8 bytes over all that;
one status byte for each transaction; the receipts. The head has a seal of its own, so that a transaction is
found without reading the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

import numpy as np

from cherrydag import crypto
from cherrydag.errors import ShapeError, StorageError
from cherrydag.layout import TAGGED_OPERATOR_REF, TAGGED_VERTEX_REF
from cherrydag.params import COMMIT_VERTICES_MAX
from cherrydag.storage.schema import SEQ, DamagedOutcomeError, Put, Table
from cherrydag.storage.values import CommitOutcome
from cherrydag.transaction import Records
from cherrydag.vertex import ValidatorVertex, Vertex

HEAD_KEY: Final = crypto.derive_key("cherrydag 2026-11-22 storage outcome head v1", b"")
"""Hashing key of the seals of heads."""

HEAD_BYTES: Final = 4096
"""What is read of a value at first: the heads of up to 255 vertices."""

_COUNT: Final = Struct("<I")
_VERTEX: Final = np.dtype([("seq", "<u8"), ("transactions", "<u4"), ("records_at", "<u4")])
_SEAL_BYTES: Final = 8
_PLACE: Final = Struct("=QIII4x")


class Place(NamedTuple):
    """Where a record lies: sequence number of its vertex, offset of the vertex's records in the stored value,
    how many they are, and which of them it is."""

    seq: int
    records_at: int
    transactions: int
    row: int

    def pack(self) -> bytes:
        """The row that the native store takes: cd_place of ext/store/store.h."""
        return _PLACE.pack(*self)


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where the transactions of a commit are. rows: one for each vertex, in the commit's order."""

    rows: Records

    @classmethod
    def of(cls, seqs: Sequence[int], vertices: Sequence[Vertex]) -> "Places":
        """Of these vertices under these sequence numbers."""
        rows = np.empty(len(vertices), _VERTEX)
        rows["seq"] = seqs
        rows["transactions"] = [len(vertex.payload) for vertex in vertices]
        rows["records_at"] = [records_at(vertex) for vertex in vertices]
        return cls(rows)

    def find(self, position: int) -> Place | None:
        """The place of a transaction, by its number within the commit from 0; None if there is none."""
        ends = self.rows["transactions"].cumsum(dtype=np.int64)
        index = int(ends.searchsorted(position, "right"))
        if position < 0 or index == len(ends):
            return None
        seq, transactions, at = self.rows[index].item()
        return Place(seq, at, transactions, position - int(ends[index]) + transactions)


def records_at(vertex: Vertex) -> int:
    """Where the records begin in the stored value of a vertex."""
    head = TAGGED_VERTEX_REF if isinstance(vertex, ValidatorVertex) else TAGGED_OPERATOR_REF
    return head.size + len(vertex.header)


def outcome_put(outcome: CommitOutcome, places: Places, *, append: bool) -> Put:
    """The record of an outcome."""
    head = _COUNT.pack(len(places.rows)) + places.rows.tobytes()
    statuses = [each.tobytes() for each in outcome.statuses]
    parts = (head, _seal(outcome.commit_index, head), *statuses, outcome.receipts)
    return Put(Table.RESULTS, SEQ.pack(outcome.commit_index), parts, append)


def head_size(commit_index: int, value: bytes) -> int:
    """How long the head is. DamagedOutcomeError if it is none."""
    count = _COUNT.unpack_from(value)[0] if len(value) >= _COUNT.size else 0
    if not 1 <= count <= COMMIT_VERTICES_MAX:
        raise DamagedOutcomeError(commit_index, f"it is of {count} vertices")
    return _COUNT.size + int(count) * _VERTEX.itemsize + _SEAL_BYTES


def decode_places(commit_index: int, value: bytes) -> Places:
    """The places in a value, of which the head is enough. DamagedOutcomeError unless its seal fits."""
    size = head_size(commit_index, value)
    head, seal = value[: size - _SEAL_BYTES], value[size - _SEAL_BYTES : size]
    if _seal(commit_index, head) != seal:
        raise DamagedOutcomeError(commit_index, "its head is damaged")
    return Places(np.frombuffer(head, _VERTEX, offset=_COUNT.size))


def decode_outcome(commit_index: int, value: bytes) -> CommitOutcome:
    """The outcome in a whole value. DamagedOutcomeError if it is none."""
    counts = decode_places(commit_index, value).rows["transactions"].tolist()
    at = head_size(commit_index, value)
    if len(value) - at < sum(counts):
        raise DamagedOutcomeError(commit_index, f"{len(value) - at} bytes for {sum(counts)} transactions")
    statuses = []
    for count in counts:
        statuses.append(np.frombuffer(value, np.uint8, count, at))
        at += count
    return CommitOutcome(commit_index, tuple(statuses), value[at:])


def is_next(index: int, outcomes: tuple[int, int] | None, commits: tuple[int, int] | None) -> bool:
    """Whether the outcome of this commit follows on those that are there; False if it is one of them.

    Both arguments: lowest and highest index. ShapeError if it is neither, or there is no such commit.
    """
    if commits is None or not commits[0] <= index <= commits[1]:
        raise ShapeError(f"outcome: commit {index} was not written")
    if outcomes is None:
        return True
    if not outcomes[0] <= index <= outcomes[1] + 1:
        raise ShapeError(f"outcome: expected that of commit {outcomes[1] + 1}, got {index}")
    return index > outcomes[1]


def diverged(commit_index: int) -> StorageError:
    """What to raise if another outcome is there."""
    return StorageError(
        f"the outcome of commit {commit_index} is not the one that is stored: the derived state has diverged"
    )


def _seal(commit_index: int, head: bytes) -> bytes:
    return crypto.hash_bytes(SEQ.pack(commit_index) + head, HEAD_KEY)[:_SEAL_BYTES]
