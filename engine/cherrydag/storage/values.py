"""What a store is opened with, what it tells of itself, and what it holds beside the log."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cherrydag.consensus.effects import Ticket
from cherrydag.errors import ShapeError
from cherrydag.transaction import Octets
from cherrydag.vertex import Vertex


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """map_bytes: address space to begin with, doubled up to map_bytes_max when it is full; the file takes
    only what it needs. queue_batches, queue_bytes: what may wait to be written. group_bytes: what shares a
    transaction; 0 writes each ticket alone. preflight: let a child process read the database first.
    """

    map_bytes: int = 64 << 30
    map_bytes_max: int = 1 << 40
    queue_batches: int = 1024
    queue_bytes: int = 64 << 20
    group_bytes: int = 32 << 20
    preflight: bool = True


class WriteFailure(NamedTuple):
    """What could not be written: the number of the batch, the highest ticket up to it, what it is, the native
    code and its words."""

    batch: int
    ticket: Ticket
    what: str
    code: int
    words: str


class StoreInfo(NamedTuple):
    """map_bytes, used_bytes: address space of the database, and how much of it its pages take; map_bytes_max:
    how far the map may grow. readers: slots in use. queued: tickets that wait. The others count what was
    written since the store was opened: puts are values, bytes those of the batches."""

    map_bytes: int
    map_bytes_max: int
    used_bytes: int
    readers: int
    batches: int
    transactions: int
    puts: int
    bytes: int
    queued: int


@dataclass(frozen=True, slots=True, eq=False)
class CommitOutcome:
    """What the execution of a commit gave.

    statuses: for each vertex, in the commit's order, one byte for each transaction. receipts: as the
    executor's host encodes them. Two outcomes are equal if these are.
    """

    commit_index: int
    statuses: tuple[Octets, ...]
    receipts: bytes

    @classmethod
    def of(
        cls, commit_index: int, statuses: Sequence[Octets], vertices: Sequence[Vertex], receipts: bytes
    ) -> "CommitOutcome":
        """A copy that nothing else can change. ShapeError unless there is a status for each transaction."""
        if len(statuses) != len(vertices):
            raise ShapeError(
                f"statuses: expected {len(vertices)}, one array for each vertex, got {len(statuses)}"
            )
        for row, (of_vertex, vertex) in enumerate(zip(statuses, vertices, strict=True)):
            if of_vertex.dtype != np.uint8 or of_vertex.shape != (len(vertex.payload),):
                raise ShapeError(
                    f"statuses[{row}]: expected {len(vertex.payload)} uint8, "
                    f"got {of_vertex.dtype} of shape {of_vertex.shape}"
                )
        held = tuple(np.frombuffer(of_vertex.tobytes(), np.uint8) for of_vertex in statuses)
        return cls(commit_index, held, bytes(receipts))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CommitOutcome):
            return NotImplemented
        ours, theirs = ([of_vertex.tobytes() for of_vertex in it.statuses] for it in (self, other))
        return (self.commit_index, ours, self.receipts) == (other.commit_index, theirs, other.receipts)

    def __hash__(self) -> int:
        return self.commit_index


class RecordPlace(NamedTuple):
    """A transaction by its number within a commit, from 0, through all vertices in the commit's order."""

    commit_index: int
    position: int


class StoredRecord(NamedTuple):
    """The 176 bytes of a transaction's record, and its body. No seal was checked: the reader compares the id,
    which covers all but the signature, and the signature signs the id."""

    record: bytes
    body: bytes
