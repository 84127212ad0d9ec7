"""Which subscribers wait for which keys: a commit's keys are looked up in one go."""

from collections.abc import Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from cherrydag.transaction import Octets

_Waiter = TypeVar("_Waiter", bound=Hashable)


class Found(NamedTuple, Generic[_Waiter]):
    """A row whose key somebody waits for."""

    row: int
    key: bytes
    waiters: list[_Waiter]


class Watch(Generic[_Waiter]):
    """Keys of one width in bytes, eight at least, and who waits for each, in the order of coming."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._wanted: dict[bytes, dict[_Waiter, None]] = {}
        self._heads: npt.NDArray[np.uint64] | None = None

    def __len__(self) -> int:
        return len(self._wanted)

    def add(self, waiter: _Waiter, keys: Iterable[bytes]) -> None:
        """It waits for these."""
        for key in keys:
            self._wanted.setdefault(key, {})[waiter] = None
        self._heads = None

    def remove(self, waiter: _Waiter, keys: Iterable[bytes]) -> None:
        """It waits for these no more."""
        for key in keys:
            waiting = self._wanted.get(key)
            if waiting is not None:
                waiting.pop(waiter, None)
                if not waiting:
                    del self._wanted[key]
        self._heads = None

    def find(self, rows: Octets) -> list[Found[_Waiter]]:
        """Those of n x width bytes that somebody waits for, in order."""
        if self._heads is None:
            joined = np.frombuffer(b"".join(self._wanted), np.uint8)
            self._heads = _heads(joined.reshape(-1, self._width))
        found = []
        for row in np.flatnonzero(np.isin(_heads(rows), self._heads)).tolist():
            key = rows[row].tobytes()
            waiting = self._wanted.get(key)
            if waiting:
                found.append(Found(row, key, list(waiting)))
        return found


def _heads(rows: Octets) -> npt.NDArray[np.uint64]:
    """The first eight bytes of each row as a number."""
    return np.ascontiguousarray(rows[:, :8]).view(np.uint64).reshape(-1)
