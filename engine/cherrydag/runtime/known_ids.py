"""Transaction ids of vertices that were verified, so that their commit need not hash them again."""

from collections import OrderedDict
from typing import Final

from cherrydag.primitives import Digest

_ENTRY_BYTES: Final = 256
"""What an entry takes beside its ids."""


class KnownIds:
    """By vertex, until it is committed or lost. Many never are: beyond bytes_max the oldest go."""

    BYTES_MAX: Final = 16 << 20

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._size = 0
        self._ids: OrderedDict[Digest, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ids)

    def keep(self, digest: Digest, ids: bytes) -> None:
        """Of a vertex with transactions; n x 32 bytes."""
        if not ids:
            return
        self.take(digest)
        self._ids[digest] = ids
        self._size += _ENTRY_BYTES + len(ids)
        while self._size > self._bytes_max:
            self.take(next(iter(self._ids)))

    def get(self, digest: Digest) -> bytes | None:
        """None if they are not kept."""
        return self._ids.get(digest)

    def take(self, digest: Digest) -> bytes | None:
        """As `get`, and keep them no more."""
        ids = self._ids.pop(digest, None)
        if ids is not None:
            self._size -= _ENTRY_BYTES + len(ids)
        return ids

    def clear(self) -> None:
        """Keep none."""
        self._ids.clear()
        self._size = 0
