"""What a store is opened with and what it tells of itself."""

from dataclasses import dataclass
from typing import NamedTuple

from cherrydag.consensus.effects import Ticket


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
    """The ticket that could not be written, the native code and its words."""

    ticket: Ticket
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
