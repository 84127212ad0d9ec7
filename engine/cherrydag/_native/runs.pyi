"""Sorted runs in C. Use cherrydag.storage.run_index, which states the contracts."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Bytes: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.generic]
_Words: TypeAlias = npt.NDArray[np.uint64]

KEY_BYTES: int
PAGE_BYTES: int
PAGE_ENTRIES: int
PIECE_MAX: int
SOURCES_MAX: int
LIMIT_MAX: int

class Source:
    """A sorted set of entries that never changes; at least one."""

    def __len__(self) -> int: ...
    @property
    def first_place(self) -> int: ...
    @property
    def last_place(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...

class Piece(Source):
    """Entries in memory, sorted. ShapeError if there are none or one occurs twice."""

    def __init__(self, keys: _Bytes, places: _Words) -> None: ...

def join(pieces: tuple[Piece, ...]) -> Piece:
    """One piece out of several. ShapeError if they are not in order of time."""

class Run(Source):
    """A run file, open until nothing refers to it. StorageError if it is missing, damaged or another's."""

    def __init__(self, path: str, seal_key: bytes) -> None: ...
    @property
    def path(self) -> str: ...
    @property
    def file_bytes(self) -> int: ...

class Sources:
    """Sources in order of time. StorageError names the file and page that could not be read or written."""

    def __init__(self, sources: tuple[Source, ...]) -> None: ...
    @property
    def held(self) -> tuple[Source, ...]: ...
    def select(self, key: _Bytes, first: int, last: int, limit: int, descending: bool) -> list[int]:
        """Places of a key with first <= place <= last, in that order, at most limit."""

    def write(self, path: str, seal_key: bytes) -> None:
        """Write all entries into a new file, durably but for its name."""
