"""The accepted window with its vertices: the graph deals in numbers, this in values.

It keeps each vertex of the window by its handle, and numbers the operators whose vertices are in it.
"""

from collections.abc import Sequence

import numpy as np

from cherrydag.dag.graph import (
    REF,
    Graph,
    Handle,
    Handles,
    Inserted,
    Limits,
    Outcome,
    Ref,
    Refs,
    operator,
    pack_refs,
)
from cherrydag.errors import ShapeError
from cherrydag.layout import VALIDATOR_HEAD
from cherrydag.primitives import Digest, PublicKey, Round, Stake
from cherrydag.refs import AnyRef, OperatorRef, round_of
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex

_ANCESTOR = np.dtype([("round", "<u4"), ("author", "<u2"), ("digest", "u1", (32,))])
_UNLIMITED = 2**32 - 1

_NOBODY = 0
"""The number of an operator who has none: never given out, so that a reference to him matches nothing."""


class Window:
    """The vertices above gc_round, accepted only when all their parents above it are in.

    graph: their links, votes and order. Not for threads. A vertex must have passed verify.
    """

    __slots__ = (
        "_bonded",
        "_by_round",
        "_free",
        "_held",
        "_issuers",
        "_uncommitted",
        "_vertices",
        "gc_round",
        "graph",
        "limits",
    )

    def __init__(self, stakes: Sequence[Stake], seed: bytes, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.graph = Graph(stakes, seed, self.limits)
        self.gc_round = self.graph.gc_round
        """Nothing at or below it is in the window."""
        self._vertices: dict[Handle, Vertex] = {}
        self._by_round: dict[Round, list[Handle]] = {}
        self._uncommitted: dict[Handle, Vertex] = {}
        self._issuers: dict[PublicKey, int] = {}
        self._held: dict[PublicKey, int] = {}
        self._bonded: dict[PublicKey, None] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._vertices)

    def insert(self, vertex: Vertex) -> Inserted:
        """Insert a vertex, if its parents above gc_round are in; `missing` are places in parents_of."""
        if isinstance(vertex, ValidatorVertex):
            ref = Ref(vertex.round, vertex.author, vertex.digest)
            inserted = self.graph.insert(ref, self._pack_validator(vertex))
        else:
            index = self._issuers.get(vertex.issuer)
            if index is None:
                # Half of the numbers are kept for those with a bond.
                if 2 * (len(self._issuers) - len(self._bonded)) >= self.limits.issuers:
                    return Inserted(Outcome.FULL, Handle(0), ())
                index = self._next_index()
            ref = Ref(vertex.anchor_round, operator(index), vertex.digest)
            inserted = self.graph.insert(ref, self._pack(vertex.parents))
            if inserted.outcome is Outcome.INSERTED:
                self._hold(vertex.issuer, index)
        if inserted.outcome is Outcome.INSERTED:
            self._vertices[inserted.handle] = vertex
            self._by_round.setdefault(round_of(vertex.ref), []).append(inserted.handle)
            self._uncommitted[inserted.handle] = vertex
        return inserted

    def get(self, digest: Digest) -> Vertex | None:
        """The vertex with this digest, or None."""
        handle = self.graph.find(digest)
        return None if handle is None else self.vertex(handle)

    def vertex(self, handle: Handle) -> Vertex:
        """The vertex of a handle. ShapeError if it is gone."""
        try:
            return self._vertices[handle]
        except KeyError:
            raise ShapeError(f"handle: {handle} is of no vertex in the window") from None

    def vertices(self, round_: Round) -> list[Vertex]:
        """The vertices of a round (or anchor round) in order of arrival: no rule may depend on it."""
        return [self._vertices[handle] for handle in self._by_round.get(round_, ())]

    def issued_by(self, issuer: PublicKey) -> list[OperatorVertex]:
        """The vertices of an operator, by seq. O(window): for a start."""
        found = [vertex for vertex in self._vertices.values() if isinstance(vertex, OperatorVertex)]
        return sorted([v for v in found if v.issuer == issuer], key=lambda v: (v.seq, v.digest))

    def is_committed(self, digest: Digest) -> bool:
        """Whether a vertex is in the window and in a commit."""
        handle = self.graph.find(digest)
        return handle is not None and handle not in self._uncommitted

    def slot(self, round_: Round, author: int) -> list[ValidatorVertex]:
        """The validator vertices of one slot by digest; more than one is an equivocation."""
        found = [self._vertices[handle] for handle in self.graph.slot(round_, author).tolist()]
        vertices = [vertex for vertex in found if isinstance(vertex, ValidatorVertex)]
        return sorted(vertices, key=lambda vertex: vertex.digest) if len(vertices) > 1 else vertices

    def mark_committed(self, handles: Handles) -> None:
        """Mark vertices committed."""
        self.graph.mark_committed(handles)
        for handle in handles.tolist():
            self._uncommitted.pop(handle, None)

    def set_gc_round(self, gc_round: Round) -> list[Vertex]:
        """Drop all at or below gc_round; return those that no commit holds, lowest rounds first."""
        low, self.gc_round = self.gc_round, gc_round
        self.graph.set_gc_round(gc_round)
        lost: list[Vertex] = []
        for number in range(low + 1, gc_round + 1):
            for handle in self._by_round.pop(Round(number), ()):
                vertex = self._vertices.pop(handle)
                if self._uncommitted.pop(handle, None) is not None:
                    lost.append(vertex)
                if isinstance(vertex, OperatorVertex):
                    self._release(vertex.issuer)
        return lost

    def set_issuer(self, issuer: PublicKey, bond: int, quota: int) -> None:
        """An operator's bond and quota, as in TipSelector.set_issuer; a bond of 0 dismisses him.

        ShapeError if there are more operators than the window numbers.
        """
        index = self._issuers.get(issuer)
        if bond and issuer not in self._bonded:
            index = self._next_index() if index is None else index
            if index >= self.limits.issuers:
                raise ShapeError(f"issuer: the window numbers at most {self.limits.issuers - 1} operators")
            self._hold(issuer, index)
            self._bonded[issuer] = None
        if index is None:
            return
        self.graph.index.set_issuer(index, bond, quota if bond else _UNLIMITED)
        if not bond and self._bonded.pop(issuer, 0) is None:
            self._release(issuer)

    def is_bonded(self, issuer: PublicKey) -> bool:
        """Whether set_issuer gave this operator a bond."""
        return issuer in self._bonded

    def parents_of(self, vertex: Vertex) -> tuple[AnyRef, ...]:
        """A vertex's parents in the order of Inserted.missing."""
        if isinstance(vertex, OperatorVertex):
            return vertex.parents
        return (*vertex.ancestors, *vertex.tips) if vertex.tips else vertex.ancestors

    def _pack_validator(self, vertex: ValidatorVertex) -> Refs:
        """Ancestors come from the header as they lie there: a tenth of the time of packing tuples."""
        count = len(vertex.ancestors)
        packed = np.empty(count + len(vertex.tips), REF)
        listed = np.frombuffer(vertex.header, _ANCESTOR, count, VALIDATOR_HEAD.size)
        for name in ("digest", "round", "author"):
            packed[name][:count] = listed[name]
        if vertex.tips:
            packed[count:] = self._pack(vertex.tips)
        return packed

    def _pack(self, refs: Sequence[AnyRef]) -> Refs:
        numbers = [
            operator(self._issuers.get(ref.issuer, _NOBODY)) if isinstance(ref, OperatorRef) else ref.author
            for ref in refs
        ]
        return pack_refs([Ref(round_of(ref), n, ref.digest) for ref, n in zip(refs, numbers, strict=True)])

    def _next_index(self) -> int:
        if self._free:
            return self._free[-1]
        return len(self._issuers) + 1

    def _hold(self, issuer: PublicKey, index: int) -> None:
        if issuer not in self._issuers:
            self._issuers[issuer] = index
            if self._free and self._free[-1] == index:
                self._free.pop()
        self._held[issuer] = self._held.get(issuer, 0) + 1

    def _release(self, issuer: PublicKey) -> None:
        self._held[issuer] -= 1
        if not self._held[issuer]:
            del self._held[issuer]
            index = self._issuers.pop(issuer)
            self.graph.index.set_issuer(index, 0, _UNLIMITED)
            self._free.append(index)
