"""Entries of tables as the native store gives them: whether one is sound, what its key says, all of them."""

from collections.abc import Iterator
from typing import Final, TypeAlias

from cherrydag._native.store import Store
from cherrydag.errors import StorageError
from cherrydag.storage.schema import SEQ, Table

Entry: TypeAlias = tuple[int, bytes, bytes, bool]
"""Row of the key or prefix asked for, key, value, whether the seal fits: as the native store has it."""

BYTES_PER_READ: Final = 32 << 20
"""Values that one native call copies, unless it is a single one."""

ENTRIES_PER_READ: Final = 1024


def sound(table: Table, entry: Entry) -> bytes:
    """The value. StorageError unless its seal fits."""
    _, key, value, is_sound = entry
    if not is_sound:
        raise StorageError(f"{name_of(table)}: the value of key {key.hex()} is damaged, {len(value)} bytes")
    return value


def seq_of(key: bytes) -> int:
    """The number that is a key of the log. StorageError if it is none."""
    if len(key) != SEQ.size:
        raise StorageError(f"a key of the log has {len(key)} bytes: {key.hex()}")
    return int.from_bytes(key, "big")


def name_of(table: Table) -> str:
    """What messages call a table."""
    return f"table {table.name.lower()}"


def bounds_of(native: Store, table: Table) -> tuple[int, int] | None:
    """The lowest and the highest number in a table of the log; None if it is empty."""
    lowest = native.range(table, b"", b"", 1, 0)
    if not lowest:
        return None
    highest = native.range(table, b"", b"", 1, 0, True)
    return seq_of(lowest[0][1]), seq_of(highest[0][1])


def scan(native: Store, table: Table, start: bytes = b"", stop: bytes = b"") -> Iterator[Entry]:
    """The entries of start <= key < stop, ascending; an empty stop is above all keys. StorageError at one
    that is damaged."""
    while True:
        entries = native.range(table, start, stop, ENTRIES_PER_READ, BYTES_PER_READ)
        for entry in entries:
            sound(table, entry)
            yield entry
        if not entries:
            return
        start = entries[-1][1] + b"\0"


def scan_numbers(native: Store, table: Table, first: int, last: int) -> Iterator[Entry]:
    """The entries of the numbers first..last in a table of the log, as `scan` gives them."""
    stop = SEQ.pack(last + 1) if last + 1 < 1 << 64 else b""
    return scan(native, table, SEQ.pack(first), stop)
