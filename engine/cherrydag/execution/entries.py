"""The modules' entries: values under a module's prefix and a key, and the provider of them for the state.

Plain dictionaries: an operation of a module costs Python anyhow. Everything that comes out is sorted, so
it depends on the entries alone.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import accumulate
from typing import Final

import numpy as np
import numpy.typing as npt

from cherrydag import crypto
from cherrydag.errors import Rejected, ShapeError, invariant
from cherrydag.execution.state_tree import Buckets
from cherrydag.state_proof import (
    DEPTH_DEFAULT,
    DEPTH_MAX,
    DEPTH_MIN,
    ENTRIES,
    INLINE_BYTES_MAX,
    VALUE_BYTES_MAX,
    TreeKeys,
    encode_entry,
)

MODULE_KEY_BYTES_MAX: Final = 128
"""Largest key of a module's entry, without the prefix."""

ENTRY_OVERHEAD_BYTES: Final = 512
"""What an entry counts beside its key and value: rather more than what Python takes to hold it."""

TABLE_BYTES_MAX: Final = 16 * 1024**3
"""Most that all entries may count together, unless genesis says otherwise."""

SCAN_MAX: Final = 1024
"""Most entries of one page of a scan."""

PREFIX_BYTES: Final = 2
PREFIX_MAX: Final = 0xFFFF
"""A module's prefix, which a provider's key begins with, its high byte first."""

_BLOCK_KEYS: Final = 512


class EntryRefusal(StrEnum):
    """Why an entry is refused; stable codes."""

    KEY_SIZE = "entry_key_size"
    """The key is longer than an entry's may be."""
    VALUE_SIZE = "entry_value_size"
    """The value is longer than an entry's may be."""
    TABLE_FULL = "entry_table_full"
    """The state has no room for the entry."""


class EntryTable:
    """Values by (module prefix, key): a prefix of 16 bits, up to 128 bytes of key and 64 KiB of value.

    depth: of the tree that commits to the entries. bytes_max: bounds what the entries count together, each
    its key, its value and ENTRY_OVERHEAD_BYTES; like the depth it is a rule, and equal on every node.
    A key or a value that is too long is Rejected with an EntryRefusal: a client's operation brought it. A
    prefix beyond 16 bits is a ShapeError.
    """

    __slots__ = (
        "_buckets",
        "_bytes",
        "_bytes_max",
        "_digests",
        "_dirty",
        "_frozen",
        "_index",
        "_keys",
        "_values",
        "depth",
    )

    def __init__(self, depth: int = DEPTH_DEFAULT, bytes_max: int = TABLE_BYTES_MAX) -> None:
        if not DEPTH_MIN <= depth <= DEPTH_MAX:
            raise ShapeError(f"depth: expected {DEPTH_MIN} to {DEPTH_MAX}, got {depth}")
        self.depth = depth
        self._bytes_max = bytes_max
        self._bytes = 0
        self._keys = TreeKeys.of(ENTRIES)
        self._values: dict[bytes, bytes] = {}
        self._digests: dict[bytes, bytes] = {}  # of the long values
        self._buckets: dict[int, list[bytes]] = {}  # ascending keys of the buckets that have any
        self._dirty: set[int] = set()
        self._index = _KeyIndex()
        self._frozen: FrozenEntries | None = None

    def __len__(self) -> int:
        return len(self._values)

    @property
    def bytes_used(self) -> int:
        """What the entries count together, at most bytes_max."""
        return self._bytes

    def get(self, prefix: int, key: bytes) -> bytes | None:
        """The value, or None if there is no such entry."""
        return self._values.get(_full_key(prefix, key))

    def put(self, prefix: int, key: bytes, value: bytes) -> None:
        """Set an entry, new or not."""
        full = _full_key(prefix, key)
        if len(value) > VALUE_BYTES_MAX:
            raise Rejected(EntryRefusal.VALUE_SIZE, f"value: {len(value)} bytes, at most {VALUE_BYTES_MAX}")
        before = self._values.get(full)
        if before == value:
            return
        count = self._bytes - _counted(full, before) + _counted(full, value)
        if count > self._bytes_max:
            raise Rejected(EntryRefusal.TABLE_FULL, f"entries: no room within {self._bytes_max} bytes")
        bucket = self._keys.bucket_of(full, self.depth)
        if self._frozen is not None:
            self._frozen.keep(full, before)
        if before is None:
            insort(self._buckets.setdefault(bucket, []), full)
            self._index.add(full)
        self._values[full] = bytes(value)
        self._bytes = count
        if len(value) > INLINE_BYTES_MAX:
            self._digests[full] = crypto.hash_bytes(value, self._keys.value)
        else:
            self._digests.pop(full, None)
        self._dirty.add(bucket)

    def delete(self, prefix: int, key: bytes) -> bool:
        """Remove an entry; whether there was one."""
        full = _full_key(prefix, key)
        before = self._values.pop(full, None)
        if before is None:
            return False
        if self._frozen is not None:
            self._frozen.keep(full, before)
        bucket = self._keys.bucket_of(full, self.depth)
        keys = self._buckets[bucket]
        del keys[bisect_left(keys, full)]
        if not keys:
            del self._buckets[bucket]
        self._index.remove(full)
        self._digests.pop(full, None)
        self._bytes -= _counted(full, before)
        self._dirty.add(bucket)
        return True

    def scan(
        self, prefix: int, *, starts_with: bytes = b"", after: bytes | None = None, limit: int = SCAN_MAX
    ) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
        """One page of a module's entries, (key, value) in ascending order of their keys' bytes.

        starts_with: only keys that begin so. after: only keys beyond this one, which need not exist: the
        cursor of the page before. limit: 1 to SCAN_MAX entries, else ShapeError.
        Returns the page and its cursor, the last key, or None if no more follow.
        """
        if not 1 <= limit <= SCAN_MAX:
            raise ShapeError(f"limit: expected 1 to {SCAN_MAX}, got {limit}")
        begin = _full_key(prefix, starts_with)
        page: list[tuple[bytes, bytes]] = []
        past = b"" if after is None else _full_key(prefix, after)
        for full in self._index.since(max(begin, past), beyond=past >= begin):
            if not full.startswith(begin):
                break
            if len(page) == limit:
                return page, page[-1][0]
            page.append((full[PREFIX_BYTES:], self._values[full]))
        return page, None

    # Snapshots

    def freeze(self) -> "FrozenEntries":
        """All entries as they stand, to be read while the table goes on, and closed by `thaw`.

        Costs a list of references to blocks of 512 keys and more, and later a copy of each block and a
        reference to each value that change before it thaws. InvariantViolation if the table is frozen.
        """
        invariant(self._frozen is None, "the entries are frozen once at a time")
        self._frozen = FrozenEntries(self._values, self._index.share(), len(self._values))
        return self._frozen

    def thaw(self) -> None:
        """Keep nothing any more for what freeze gave, which must not be read again. Fine if there is none."""
        self._frozen = None

    # The state's provider

    def drain_dirty(self) -> Buckets:
        """The buckets in which an entry was set or removed since the last call, ascending."""
        dirty = np.array(sorted(self._dirty), np.uint32)
        self._dirty.clear()
        return dirty

    def bucket_entries(self, buckets: Buckets) -> tuple[bytes, npt.NDArray[np.uint64]]:
        """The entries of these buckets in canonical form, and where each bucket's begin and end."""
        contents = [self._bucket(bucket) for bucket in buckets.tolist()]
        offsets = np.fromiter(accumulate(map(len, contents), initial=0), np.uint64, len(contents) + 1)
        return b"".join(contents), offsets

    def value_of(self, key: bytes) -> bytes | None:
        """The value under a provider's key, prefix and all, or None."""
        return self._values.get(key)

    def _bucket(self, bucket: int) -> bytes:
        keys = self._buckets.get(bucket, ())
        return b"".join([encode_entry(key, self._values[key], self._digests.get(key)) for key in keys])


class FrozenEntries:
    """The entries of a table as they stood: (key with its prefix, value), ascending by key, `count` of them.

    keys: in blocks that nobody changes. values: the table's own, of which `keep` has what has changed.
    """

    __slots__ = ("_before", "_keys", "_values", "count")

    def __init__(self, values: Mapping[bytes, bytes], keys: Sequence[Sequence[bytes]], count: int) -> None:
        self._values = values
        self._keys = keys
        self._before: dict[bytes, bytes | None] = {}
        self.count = count

    def keep(self, key: bytes, value: bytes | None) -> None:
        """Note the value that stands under a key which is about to change; the first one counts."""
        self._before.setdefault(key, value)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        for block in self._keys:
            for key in block:
                value = self._before.get(key)
                yield key, self._values[key] if value is None else value


def _full_key(prefix: int, key: bytes) -> bytes:
    """The provider's key, as state_proof.entry_key has it: all of a module's keys are neighbours."""
    if not 0 <= prefix <= PREFIX_MAX:
        raise ShapeError(f"prefix: expected 0 to {PREFIX_MAX}, got {prefix}")
    if len(key) > MODULE_KEY_BYTES_MAX:
        raise Rejected(EntryRefusal.KEY_SIZE, f"key: {len(key)} bytes, at most {MODULE_KEY_BYTES_MAX}")
    return prefix.to_bytes(PREFIX_BYTES, "big") + key


def _counted(full: bytes, value: bytes | None) -> int:
    return 0 if value is None else len(full) + len(value) + ENTRY_OVERHEAD_BYTES


class _KeyIndex:
    """Distinct keys in order: blocks of at most 2 x _BLOCK_KEYS, so that a change moves few.

    A block has a floor, which no key of it is below and none of those before reaches. One that is shared is
    copied before it changes.
    """

    __slots__ = ("_blocks", "_floors", "_shared")

    def __init__(self) -> None:
        self._blocks: list[list[bytes]] = []
        self._floors: list[bytes] = []
        self._shared: list[bool] = []

    def share(self) -> list[list[bytes]]:
        """The blocks as they are, ascending: they will not change."""
        self._shared = [True] * len(self._blocks)
        return self._blocks.copy()

    def add(self, key: bytes) -> None:
        """Add a key that is not there."""
        if not self._blocks:
            self._blocks, self._floors, self._shared = [[key]], [key], [False]
            return
        at = max(bisect_right(self._floors, key) - 1, 0)
        block = self._own(at)
        insort(block, key)
        self._floors[at] = min(self._floors[at], key)
        if len(block) > 2 * _BLOCK_KEYS:
            self._blocks[at : at + 1] = block[:_BLOCK_KEYS], block[_BLOCK_KEYS:]
            self._floors.insert(at + 1, block[_BLOCK_KEYS])
            self._shared.insert(at + 1, False)

    def remove(self, key: bytes) -> None:
        """Remove a key that is there."""
        at = bisect_right(self._floors, key) - 1
        block = self._own(at)
        del block[bisect_left(block, key)]
        if not block:
            del self._blocks[at], self._floors[at], self._shared[at]

    def _own(self, at: int) -> list[bytes]:
        """A block that may be changed."""
        if self._shared[at]:
            self._blocks[at], self._shared[at] = self._blocks[at].copy(), False
        return self._blocks[at]

    def since(self, key: bytes, *, beyond: bool = False) -> Iterator[bytes]:
        """The keys from this one on, or those beyond it. The index must not change meanwhile."""
        at = max(bisect_right(self._floors, key) - 1, 0)
        for block in self._blocks[at : at + 1]:
            yield from block[(bisect_right if beyond else bisect_left)(block, key) :]
        for i in range(at + 1, len(self._blocks)):
            yield from self._blocks[i]
