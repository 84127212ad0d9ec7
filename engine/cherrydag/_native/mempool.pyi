"""The mempool in C. Use cherrydag.mempool, which states the contracts."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Bytes: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.generic]
_Octets: TypeAlias = npt.NDArray[np.uint8]
_Words: TypeAlias = npt.NDArray[np.uint64]

TRANSACTIONS_MAX: int
SENDER_MAX: int
RECENT_MAX: int
BODY_MAX: int
BLOCK_BYTES: int
BODIES_MAX: int
STEPS: int
DROPPED_MIN: int

class Pool:
    """One mempool. ShapeError for a wrong length or limit, OverflowError if a number does not fit its
    field's width, MemoryError if the system has no memory for a new one."""

    def __init__(
        self,
        transactions_max: int,
        sender_max: int,
        recent_max: int,
        body_bytes_max: int,
        fee_min: int,
        seed: bytes,
        prefault: bool = False,
    ) -> None: ...
    def add(
        self,
        records: _Bytes,
        ids: _Bytes,
        now_s: int,
        bodies: _Bytes,
        offsets: _Words | None,
        tags: _Words | None,
    ) -> _Octets: ...
    def take(
        self, transactions_max: int, body_bytes_max: int, bytes_max: int, now_s: int
    ) -> tuple[_Octets, bytes, bytes]: ...
    def settle(self, ids: _Bytes, tags_out: _Words | None) -> None: ...
    def forget(self, ids: _Bytes) -> None: ...
    def status(self, ids: _Bytes) -> _Octets: ...
    def drain_dropped(self) -> tuple[_Words, _Octets]: ...
    def put_back(self, ids: _Bytes) -> int: ...
    def expire(self, now_s: int, scan_max: int) -> int: ...
    def drop_stale(self, senders: _Bytes, bases: _Words) -> int: ...
    def waiting(self) -> int: ...
    def stats(
        self,
    ) -> tuple[int, int, int, int, int, int, tuple[int, ...], int, int, int, int, int, int, int]: ...
