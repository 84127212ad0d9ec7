"""The durable store's environment and writer thread. Used through cherrydag.storage."""

from os import PathLike
from typing import TypeAlias

_Entry: TypeAlias = tuple[int, bytes, bytes, bool]
"""(row of the key or prefix asked for, key, value, whether the value's seal fits)."""

MAP_FULL: int
APPEND: int
SEAL_BYTES: int
TABLES_MAX: int
KEY_MAX: int
QUEUE_MAX: int
PLACE_BYTES: int

def message(code: int) -> str:
    """The words for a code of store.h."""

def library() -> str:
    """Name and version of the database library."""

class Store:
    """An environment; unless it is read-only, with a writer thread behind a bounded queue.

    Raises StorageError if the system or LMDB refuses, Closed after close() and in a forked child. Close it;
    a store that is dropped, or alive when the interpreter exits, discards its queue.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        tables: tuple[str, ...],
        seal_key: bytes,
        *,
        map_bytes: int,
        map_bytes_max: int,
        queue_batches: int = 1024,
        queue_bytes: int = ...,
        group_bytes: int = ...,
        create: bool = False,
        read_only: bool = False,
    ) -> None: ...
    @property
    def owner(self) -> int:
        """Process id of the process that may use the store."""
    @property
    def tables(self) -> tuple[str, ...]:
        """Their names, in the order of their numbers."""
    @property
    def eventfd(self) -> int:
        """A descriptor that polls readable when there is progress or a failure; only collect reads it."""
    def submit(self, ticket: int, batch: bytes) -> None:
        """Queue a batch (layout: store.h). Overloaded if the queue is full, StorageError after a failure."""
    def collect(self) -> tuple[int, int, int, int]:
        """(durable ticket, number of durable batches, code of the write that failed or 0, its ticket)."""
    def wait(self) -> None:
        """Block, without the GIL, until nothing waits to be written or a write has failed."""
    def resume(self, map_bytes_max: int = 0) -> None:
        """After a failure: write on, beginning with the batch that failed; the map may grow that far."""
    def close(self, drain: bool = True) -> None:
        """Write what waits, or drop it; end the thread and the environment. Idempotent."""
    def keys(self, table: int, keys: bytes, key_size: int, bytes_max: int) -> tuple[list[_Entry], int]:
        """Entries of n keys, row-major, that are there; and how many keys fitted into bytes_max."""
    def prefixes(self, table: int, prefixes: bytes, prefix_size: int) -> list[_Entry]:
        """Entries whose keys begin with each of n prefixes, row-major; StorageError above 16 under one."""
    def range(
        self, table: int, start: bytes, stop: bytes, n: int, bytes_max: int, descending: bool = False
    ) -> list[_Entry]:
        """Entries of start <= key < stop, at most n; an empty stop is above all keys."""
    def heads(self, table: int, keys: bytes, key_size: int, size: int) -> list[_Entry]:
        """What the values of n keys begin with, `size` bytes at most, where there are some; not sealed."""
    def records(
        self, table: int, record_size: int, size_at: int, places: bytes
    ) -> list[tuple[bytes, bytes] | None]:
        """Record and body of each of n places, rows of cd_place; None if the value is not there or shorter.
        The seals of the values are not looked at."""
    def info(self) -> dict[str, int]:
        """The fields of cd_store_info."""
    def table(self, table: int) -> tuple[int, int]:
        """Entries and pages of a table."""
    def pages(self) -> tuple[int, int]:
        """(bytes of a page, free pages)."""
    def check_readers(self) -> int:
        """Free the slots of readers that died; how many there were."""
    def copy(self, path: str | PathLike[str]) -> None:
        """Copy what is durable to data.mdb in an empty folder, and sync it."""
