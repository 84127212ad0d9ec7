"""The accepted window: vertices above gc_round, their links, votes, order and approval.

The graph deals in numbers and digests; whether a vertex is valid was decided before. An author is a
validator's index, or `operator(i)` for the operator whose account has the dense index i (the caller keeps
that numbering, and it must not change while a vertex of that operator is in the window). Genesis, at round
0, is exempt like everything at or below gc_round and never enters.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final, NamedTuple, NewType, TypeAlias

import numpy as np
import numpy.typing as npt

from cherrydag._native import dagindex
from cherrydag.errors import ShapeError
from cherrydag.primitives import Digest, Round, Stake

Handle = NewType("Handle", int)
"""A vertex of the window, for ever: once it is gone, its handle is refused."""

Handles: TypeAlias = npt.NDArray[np.uint64]
Refs: TypeAlias = npt.NDArray[np.void]
Octets: TypeAlias = npt.NDArray[np.uint8]

REF: Final = np.dtype([("digest", "u1", (32,)), ("round", "<u4"), ("author", "<u4")])
"""A reference in a batch: 40 bytes."""

PARENTS_MAX: Final = dagindex.PARENTS_MAX


class Outcome(IntEnum):
    """What became of a vertex; only INSERTED changed the graph."""

    INSERTED = 0
    DUPLICATE = 1
    MISSING = 2
    """Some parents above gc_round are not there."""
    STALE = 3
    """Its round is at or below gc_round."""
    FAR = 4
    """Its round is more than rounds_max above gc_round."""
    FULL = 5
    """The window holds as much as it may."""
    INVALID = 6
    """A parent is not below it, repeated or itself, or an author is unknown: verify let it pass wrongly."""


class Ref(NamedTuple):
    """(round, author, digest): what identifies a vertex. All three must match."""

    round: Round
    author: int
    digest: Digest


class Vertex(NamedTuple):
    """A vertex of the window. `parents` counts those above gc_round."""

    ref: Ref
    parents: int
    has_children: bool
    committed: bool


class Inserted(NamedTuple):
    """Outcome of one insertion; `handle` is 0 unless INSERTED or DUPLICATE; `missing` are places in its
    parents."""

    outcome: Outcome
    handle: Handle
    missing: tuple[int, ...]


class BatchInserted(NamedTuple):
    """Per vertex an Outcome and a handle (or 0), per parent 1 where it is missing."""

    outcomes: Octets
    handles: Handles
    missing: Octets


class Support(NamedTuple):
    """Validators, bit i of `authors` for validator i, and their stake: each counts once."""

    authors: int
    stake: Stake


class Limits(NamedTuple):
    """Bounds of one window: memory grows up to them and no further.

    rounds: rounds above gc_round, a power of two. vertices. blocks: of seven parent links each. issuers:
    operators' indices are below it.
    """

    rounds: int = 1024
    vertices: int = 1 << 20
    blocks: int = 1 << 21
    issuers: int = 1 << 16


def operator(index: int) -> int:
    """The author number of the operator with this index."""
    if not 0 <= index < dagindex.OPERATOR:
        raise ShapeError(f"operator: index must be 0..2^31-1, got {index}")
    return dagindex.OPERATOR | index


def is_operator(author: int) -> bool:
    """Whether an author number is an operator's."""
    return author >= dagindex.OPERATOR


def pack_refs(refs: Iterable[Ref]) -> Refs:
    """A batch of references, in order. ShapeError unless every digest has 32 bytes."""
    listed = list(refs)
    wrong = {len(ref.digest) for ref in listed} - {32}
    if wrong:
        raise ShapeError(f"digest: expected 32 bytes, got {min(wrong)}")
    packed = np.empty(len(listed), REF)
    if listed:
        packed["digest"] = np.frombuffer(b"".join(ref.digest for ref in listed), np.uint8).reshape(-1, 32)
        packed["round"] = [ref.round for ref in listed]
        packed["author"] = [ref.author for ref in listed]
    return packed


class Graph:
    """The window of one epoch's DAG.

    stakes: one per validator, 1..200 of them, summing to 1..2^64-1. seed: 16 secret bytes of the process;
    they keep strangers from aiming collisions at the table and change no answer.
    Every method that takes a handle raises ShapeError if its vertex is gone. One owner; not for threads.
    """

    __slots__ = ("_index", "quorum", "stake_total")

    def __init__(self, stakes: Sequence[int], seed: bytes, limits: Limits | None = None) -> None:
        bounds = limits or Limits()
        shares = np.array(stakes, dtype=np.uint64)
        self._index = dagindex.Index(
            shares, bounds.rounds, bounds.vertices, bounds.blocks, bounds.issuers, seed
        )
        self.stake_total = Stake(sum(int(stake) for stake in stakes))
        self.quorum = Stake(self._index.quorum)

    @property
    def index(self) -> dagindex.Index:
        """The native index, for the tip selection beside this module."""
        return self._index

    def insert(self, ref: Ref, parents: Refs) -> Inserted:
        """Insert one vertex with its parents in listed order (see pack_refs)."""
        outcome, handle, missing = self._index.insert_one(ref.digest, ref.round, ref.author, parents)
        if outcome == 0:
            return Inserted(Outcome.INSERTED, Handle(handle), ())
        places = tuple(i for i, lacks in enumerate(missing) if lacks) if outcome == Outcome.MISSING else ()
        return Inserted(Outcome(outcome), Handle(handle), places)

    def insert_batch(self, refs: Refs, parents: Refs, offsets: npt.NDArray[np.uint64]) -> BatchInserted:
        """Insert n vertices in order, in one native call.

        refs: n items of REF. The parents of vertex i are parents[offsets[i]:offsets[i + 1]], so offsets
        has n + 1 values and rises from 0 to len(parents). ShapeError if it does not.
        """
        return BatchInserted(*self._index.insert(refs, parents, offsets))

    def set_gc_round(self, gc_round: Round) -> int:
        """Drop all with round <= gc_round and return how many. It may not sink."""
        return self._index.set_gc_round(gc_round)

    def find(self, digest: Digest) -> Handle | None:
        """The vertex with this digest, or None."""
        return Handle(found) if (found := self._index.find(digest)) else None

    def vertex(self, handle: Handle) -> Vertex:
        """What the graph knows of a vertex."""
        digest, round_, author, parents, has_children, committed = self._index.get(handle)
        return Vertex(Ref(Round(round_), author, Digest(digest)), parents, has_children, committed)

    def parents(self, handle: Handle) -> Handles:
        """Its parents above gc_round, in listed order."""
        return self._index.parents(handle)

    def children(self, handle: Handle) -> Handles:
        """Its children, newest first: the order of arrival, so no rule may depend on it."""
        return self._index.children(handle)

    def slot(self, round_: Round, author: int) -> Handles:
        """The vertices of (round, author), newest first; more than one is an equivocation (validators)."""
        return self._index.slot(round_, author)

    def round_authors(self, round_: Round) -> Support:
        """Validators with a vertex in this round."""
        return _support(self._index.round_authors(round_))

    def votes(self, handle: Handle) -> Support:
        """Authors of votes for a validator's vertex X of round r: round-(r+1) vertices that list X."""
        return _support(self._index.votes(handle))

    def blames(self, round_: Round, author: int) -> Support:
        """Authors of round-(r+1) vertices without an ancestor in slot (r, author); none if r <= gc_round."""
        return _support(self._index.blames(round_, author))

    def certificates(self, handle: Handle) -> Support:
        """Authors of round-(r+2) vertices whose ancestors hold votes for X of a quorum's stake."""
        return _support(self._index.certificates(handle))

    def approval(self, handle: Handle) -> Support:
        """Approval weight: validators with a vertex that is this one or has it in its past.

        Exact and computed anew; at worst it walks the vertex's whole future, but it ends as soon as every
        validator is found. The share is stake / stake_total.
        """
        return _support(self._index.approval(handle))

    def certified_in_past(self, anchor: Handle, handle: Handle) -> bool:
        """Whether a certificate for X is the anchor or reached from it over validators' vertices."""
        return self._index.certified_in_past(anchor, handle)

    def is_reachable(self, source: Handle, target: Handle, *, validators_only: bool = False) -> bool:
        """Whether `target` is `source` or in its past."""
        return self._index.is_reachable(source, target, validators_only)

    def order(self, leader: Handle, seed: bytes) -> Handles:
        """The leader and what is uncommitted in its past, parents first.

        Among the vertices whose parents are all placed, the lowest keyed BLAKE3 of the digest (key: the 32
        bytes of seed) comes next: the same on every node with the same commits. Marks nothing.
        """
        return self._index.order(leader, seed)

    def mark_committed(self, handles: Handles) -> None:
        """Mark vertices committed, all or (if one is gone) none; twice is once."""
        self._index.mark_committed(handles)

    @property
    def gc_round(self) -> Round:
        """Nothing at or below it is in the window."""
        return Round(self._index.stats()[0])

    @property
    def highest_round(self) -> Round:
        """Highest round of a validator's vertex so far; 0 if there was none."""
        return Round(self._index.stats()[1])

    def __len__(self) -> int:
        return self._index.stats()[2]

    @property
    def memory_bytes(self) -> int:
        """Allocated native memory."""
        return self._index.stats()[4]


def _support(found: tuple[int, int]) -> Support:
    return Support(found[0], Stake(found[1]))
