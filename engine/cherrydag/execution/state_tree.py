"""The Merkle trees over the state, and the root and the proofs that they give.

A provider of entries has one StateTree; the StateCommitment keeps all of them in step with their providers.
What is hashed, and how, stands in cherrydag.state_proof.
"""

from collections.abc import Mapping
from enum import StrEnum
from itertools import accumulate
from typing import Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from cherrydag import crypto
from cherrydag._native import statetree
from cherrydag.errors import Rejected, ShapeError, invariant
from cherrydag.primitives import Amount, Digest
from cherrydag.state_proof import (
    BUCKET_BYTES_MAX,
    DEPTH_DEFAULT,
    DEPTH_MAX,
    DEPTH_MIN,
    KEY_BYTES_MAX,
    LEDGER,
    StateKey,
    StateProof,
    TreeKeys,
    TreeRoot,
    encode_entry,
    find_entry,
    state_root,
)

Buckets: TypeAlias = npt.NDArray[np.uint32]
"""Buckets, strictly ascending."""


class StateTree:
    """The tree of one provider: 2^(depth + 1) x 32 bytes, 64 MiB at depth 20, touched as buckets fill.

    One thread at a time; large calls let go of the GIL, and a call during one is refused with a ShapeError.
    The tree depends on the entries alone, not on the order or grouping of the updates.
    """

    __slots__ = ("_tree", "depth", "keys", "name")

    def __init__(self, name: str, depth: int = DEPTH_DEFAULT) -> None:
        """Raises ShapeError for a name or a depth that none may have."""
        if not DEPTH_MIN <= depth <= DEPTH_MAX:
            raise ShapeError(f"depth: expected {DEPTH_MIN} to {DEPTH_MAX}, got {depth}")
        self.name = name
        self.depth = depth
        self.keys = TreeKeys.of(name)
        self._tree = statetree.Tree(
            depth, self.keys.node, self.keys.root, crypto.hash_bytes(b"", self.keys.leaf)
        )

    def update(self, buckets: Buckets, contents: crypto.BytesLike, offsets: crypto.Offsets) -> Digest:
        """Take over the entries of n changed buckets and return the new root.

        buckets: n numbers below 2^depth, strictly ascending. contents: all entries of each, in canonical
        form, the first bucket's first; those of buckets[i] are contents[offsets[i]:offsets[i + 1]], and an
        empty bucket has none. Raises ShapeError, with nothing changed, if these do not fit together; the
        form of the entries is the provider's responsibility.
        """
        if buckets.dtype != np.uint32 or buckets.ndim != 1:
            raise ShapeError(f"buckets: expected a row of uint32, got {buckets.ndim}-D of {buckets.dtype}")
        leaves = crypto.hash_many(contents, offsets, self.keys.leaf)
        self._tree.set_leaves(np.ascontiguousarray(buckets), leaves)
        return self.root

    @property
    def root(self) -> Digest:
        """The root, which binds the depth."""
        return Digest(self._tree.root())

    def leaf(self, bucket: int) -> Digest:
        """The digest of a bucket's entries."""
        return Digest(self._tree.leaf(bucket))

    def siblings(self, bucket: int) -> bytes:
        """From the bucket's leaf up to the top, depth x 32 bytes, lowest first."""
        return self._tree.siblings(bucket)

    def snapshot(self) -> bytes:
        """All leaves, 2^depth x 32 bytes: the rest of the tree follows from them."""
        return self._tree.leaves()

    def load(self, snapshot: crypto.BytesLike) -> Digest:
        """Become the tree of a snapshot and return its root, which the caller compares with the one that it
        trusts. Raises ShapeError for a snapshot of another depth."""
        self._tree.load(snapshot)
        return self.root

    def audit(self) -> None:
        """Recompute every node: InvariantViolation unless each follows from its children. O(2^depth)."""
        place = self._tree.audit()
        invariant(
            place == 0, "every node of a state tree follows from its children", tree=self.name, at=place
        )


class EntrySource(Protocol):
    """A provider of entries, with a tree of 2^depth buckets."""

    @property
    def depth(self) -> int:
        """Fixed at genesis."""

    def drain_dirty(self) -> Buckets:
        """The buckets whose entries may have changed since the last call, strictly ascending."""

    def bucket_entries(self, buckets: Buckets) -> tuple[crypto.BytesLike, crypto.Offsets]:
        """The entries of these buckets, as StateTree.update takes them."""

    def value_of(self, key: bytes) -> bytes | None:
        """The value under one of the provider's own keys, or None."""


LEDGER_DEPTH: Final = 1
"""Depth of the ledger's tree: it has three entries, on every chain."""


class LedgerFigures:
    """The provider of what the ledger says of itself, so that the state's root says it too."""

    __slots__ = ("_values",)

    depth = LEDGER_DEPTH

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}

    def set(self, commit_index: int, fees: Amount, supply: Amount) -> None:
        """commit_index: of the last commit in the state. fees: in the pot. supply: of the native coin."""
        self._values = {
            b"commit_index": commit_index.to_bytes(8, "little"),
            b"fees": fees.to_bytes(16, "little"),
            b"supply": supply.to_bytes(16, "little"),
        }

    def drain_dirty(self) -> Buckets:
        """All buckets: they are few."""
        return np.arange(1 << self.depth, dtype=np.uint32)

    def bucket_entries(self, buckets: Buckets) -> tuple[bytes, npt.NDArray[np.uint64]]:
        """The entries of these buckets in canonical form, and where each bucket's begin and end."""
        contents = [self._bucket(bucket) for bucket in buckets.tolist()]
        offsets = np.fromiter(accumulate(map(len, contents), initial=0), np.uint64, len(contents) + 1)
        return b"".join(contents), offsets

    def value_of(self, key: bytes) -> bytes | None:
        """The value under a key, or None."""
        return self._values.get(key)

    def _bucket(self, bucket: int) -> bytes:
        return b"".join(
            [
                encode_entry(key, self._values[key])
                for key in sorted(self._values)
                if _LEDGER_KEYS.bucket_of(key, self.depth) == bucket
            ]
        )


_LEDGER_KEYS: Final = TreeKeys.of(LEDGER)


class ProofRefusal(StrEnum):
    """Why a proof cannot be had; stable codes."""

    PROVIDER = "state_proof_unknown_provider"
    """The state has no such provider."""
    KEY = "state_proof_key"
    """No entry can have a key of that size."""
    STALE = "state_proof_stale"
    """The bucket has changed since the last root: ask again after the next one."""
    TOO_LARGE = "state_proof_too_large"
    """The bucket's entries are more than a proof may carry."""


class StateCommitment:
    """The root of the whole state, brought up to date at each checkpoint, and proofs against the last one."""

    __slots__ = ("_sources", "_trees", "root")

    def __init__(self, sources: Mapping[str, EntrySource]) -> None:
        """sources: the providers by name; what they call dirty is taken over by the first commit.

        Raises ShapeError for no provider, for too many, and for a name or a depth that none may have.
        """
        self._sources = {name: sources[name] for name in sorted(sources)}
        self._trees = {name: StateTree(name, source.depth) for name, source in self._sources.items()}
        self.root = state_root(self.tree_roots())

    def commit(self) -> Digest:
        """Take over what has changed since the last call, and return the state's root."""
        for name, source in self._sources.items():
            buckets = source.drain_dirty()
            if len(buckets):
                self._trees[name].update(buckets, *source.bucket_entries(buckets))
        self.root = state_root(self.tree_roots())
        return self.root

    def tree_roots(self) -> list[TreeRoot]:
        """Of every provider, ascending by name."""
        return [TreeRoot(name, tree.depth, tree.root) for name, tree in self._trees.items()]

    def audit(self) -> None:
        """Recompute every node of every tree: InvariantViolation if one is wrong."""
        for tree in self._trees.values():
            tree.audit()

    def prove(self, key: StateKey) -> StateProof:
        """What shows whether, and with which value, `key` stands in the state of the last root.

        Raises Rejected with a ProofRefusal.
        """
        tree = self._trees.get(key.provider)
        if tree is None:
            raise Rejected(ProofRefusal.PROVIDER, f"provider: the state has no {key.provider!r}")
        if not 1 <= len(key.key) <= KEY_BYTES_MAX:
            raise Rejected(ProofRefusal.KEY, f"key: 1 to {KEY_BYTES_MAX} bytes, got {len(key.key)}")
        source = self._sources[key.provider]
        bucket = tree.keys.bucket_of(key.key, tree.depth)
        contents, _ = source.bucket_entries(np.array([bucket], np.uint32))
        entries = bytes(contents)
        if crypto.hash_bytes(entries, tree.keys.leaf) != tree.leaf(bucket):
            raise Rejected(ProofRefusal.STALE, "the entry's bucket has changed since the last root")
        if len(entries) > BUCKET_BYTES_MAX:
            raise Rejected(ProofRefusal.TOO_LARGE, f"the bucket has {len(entries)} bytes of entries")
        found = find_entry(entries, key.key)
        value = source.value_of(key.key) if found and found.inline is None else None
        others = tuple(root for root in self.tree_roots() if root.provider != key.provider)
        return StateProof(key.provider, tree.depth, others, tree.siblings(bucket), entries, value or b"")
