"""Vertices that came before their parents: parked until these are in, within bounds.

Nothing here trusts a peer: each has its own share of the places, and where a table is full, whoever holds
most of it pays, with its entry farthest above the clock: the lowest is what is needed next.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from cherrydag.errors import ShapeError
from cherrydag.primitives import Digest, Round

T = TypeVar("T")
"""What the owner parks with a digest: the decoded vertex."""


class Missing(NamedTuple):
    """A parent that somebody waits for: its round as the child's reference says, and its digest."""

    round: Round
    digest: Digest


class Parked(NamedTuple, Generic[T]):
    """A vertex that waits. `missing` are the parents that were not there when it came; size: of its frame."""

    round: Round
    digest: Digest
    peer: int
    missing: tuple[Missing, ...]
    vertex: T
    size: int = 0


class _Share:
    """What one peer has parked: rounds by digest, how many parents that waits for, its bytes, and a heap,
    farthest first, with entries of some that have left."""

    __slots__ = ("heap", "missing", "rounds", "size")

    def __init__(self) -> None:
        self.rounds: dict[Digest, Round] = {}
        self.missing = 0
        self.size = 0
        self.heap: list[tuple[int, Digest]] = []

    def add(self, digest: Digest, round_: Round, missing: int, size: int) -> None:
        self.rounds[digest] = round_
        self.missing += missing
        self.size += size
        heapq.heappush(self.heap, (-round_, digest))
        if len(self.heap) > 2 * len(self.rounds) + 64:
            self.heap = [(-round_, digest) for digest, round_ in self.rounds.items()]
            heapq.heapify(self.heap)

    def farthest(self) -> tuple[Round, Digest]:
        """Of what is parked, not empty."""
        while self.heap[0][1] not in self.rounds:
            heapq.heappop(self.heap)
        negated, digest = self.heap[0]
        return Round(-negated), digest


class PendingTable(Generic[T]):
    """Parked vertices and the parents they wait for.

    total_max and peer_max bound parked vertices, missing_max the distinct parents waited for, bytes_max and
    peer_bytes_max the frames of what is parked; a peer's only one may be larger than its bound. All >= 1.
    """

    __slots__ = ("_children", "_parked", "_shares", "_size", "_wanted", "bytes_limits", "limits")

    def __init__(
        self,
        total_max: int,
        peer_max: int,
        missing_max: int,
        bytes_max: int = 1 << 62,
        peer_bytes_max: int = 1 << 62,
    ) -> None:
        if min(total_max, peer_max, missing_max, bytes_max, peer_bytes_max) < 1:
            raise ShapeError(f"bounds must be >= 1, got {total_max}, {peer_max}, {missing_max}")
        self.limits = (total_max, peer_max, missing_max)
        self.bytes_limits = (bytes_max, peer_bytes_max)
        self._size = 0
        self._parked: dict[Digest, Parked[T]] = {}
        self._wanted: dict[Digest, set[Missing]] = {}
        self._children: dict[Digest, dict[Digest, None]] = {}
        self._shares: dict[int, _Share] = {}

    def __len__(self) -> int:
        return len(self._parked)

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._parked

    @property
    def missing_count(self) -> int:
        """Distinct parents waited for."""
        return len(self._children)

    @property
    def size(self) -> int:
        """Bytes of the frames of what is parked."""
        return self._size

    def wants(self, digest: Digest) -> bool:
        """Whether a parked vertex waits for this one."""
        return digest in self._children

    def get(self, digest: Digest) -> T | None:
        """The parked vertex with this digest."""
        entry = self._parked.get(digest)
        return None if entry is None else entry.vertex

    def waits_for(self, digest: Digest) -> frozenset[Digest]:
        """The parents that a parked vertex still waits for."""
        return frozenset(ref.digest for ref in self._wanted[digest])

    def source(self, digest: Digest) -> int:
        """The peer that a parked vertex came from."""
        return self._parked[digest].peer

    def waiting_for(self, digest: Digest) -> Iterator[Digest]:
        """What is parked for this one, in the order in which it came."""
        return iter(self._children.get(digest, ()))

    def turn(self, limit: int) -> list[Parked[T]]:
        """At most so many of what is parked, each in its turn. O(limit) amortised."""
        taken = list(islice(self._parked.values(), limit))
        if len(taken) < len(self._parked):
            for entry in taken:
                del self._parked[entry.digest]
                self._parked[entry.digest] = entry
        return taken

    def missing(self) -> list[Missing]:
        """What to fetch: parents waited for that are not parked themselves, by (round, digest)."""
        wanted = {ref for refs in self._wanted.values() for ref in refs if ref.digest not in self._parked}
        return sorted(wanted)

    def park(self, entry: Parked[T]) -> list[Parked[T]]:
        """Park a vertex with at least one missing parent; return what was evicted to stay within bounds.

        A peer beyond its bound pays with its own entries; beyond a bound of the table, the peer that holds
        most of what is short. The entry itself comes back if it is the farthest of the one that pays, or
        waits for more than missing_max parents. A digest that is parked already stays as it is.
        O(log n + peers) amortised, plus its parents.
        """
        if not entry.missing:
            raise ShapeError("missing: a vertex that waits for nothing is not parked")
        if entry.digest in self._parked:
            return []
        total_max, peer_max, missing_max = self.limits
        if len(set(entry.missing)) > missing_max:
            return [entry]
        self._add(entry)
        evicted = []
        if len(self._shares[entry.peer].rounds) > peer_max:
            evicted.append(self._evict(self._shares[entry.peer]))
        bytes_max, peer_bytes_max = self.bytes_limits
        while (share := self._shares.get(entry.peer)) is not None and len(share.rounds) > 1:
            if share.size <= peer_bytes_max:
                break
            evicted.append(self._evict(share))
        while self._size > bytes_max:
            evicted.append(self._evict(max(self._shares.values(), key=_by_size)))
        while len(self._parked) > total_max:
            evicted.append(self._evict(max(self._shares.values(), key=_by_parked)))
        while len(self._children) > missing_max:
            evicted.append(self._evict(max(self._shares.values(), key=_by_missing)))
        return evicted

    def resolve(self, digest: Digest) -> list[Parked[T]]:
        """A vertex has entered the graph: take out what waited for it alone, by (round, digest)."""
        ready = []
        for child in list(self._children.get(digest, ())):
            wanted = self._wanted[child]
            wanted -= {ref for ref in wanted if ref.digest == digest}
            if not wanted:
                ready.append(child)
        self._children.pop(digest, None)
        return self._take(ready)

    def set_gc_round(self, gc_round: Round) -> list[Parked[T]]:
        """Drop what is parked at or below gc_round, and take out what now waits for nothing, since parents
        at or below it are exempt; by (round, digest). O(all that is parked)."""
        for digest in [d for d, entry in self._parked.items() if entry.round <= gc_round]:
            self._remove(digest)
        ready = []
        for child, wanted in self._wanted.items():
            exempt = {ref for ref in wanted if ref.round <= gc_round}
            wanted -= exempt
            self._forget(child, exempt)
            if not wanted:
                ready.append(child)
        return self._take(ready)

    def _add(self, entry: Parked[T]) -> None:
        self._parked[entry.digest] = entry
        self._wanted[entry.digest] = set(entry.missing)
        for ref in entry.missing:
            self._children.setdefault(ref.digest, {})[entry.digest] = None
        share = self._shares.setdefault(entry.peer, _Share())
        share.add(entry.digest, entry.round, len(entry.missing), entry.size)
        self._size += entry.size

    def _evict(self, share: _Share) -> Parked[T]:
        return self._remove(share.farthest()[1])

    def _remove(self, digest: Digest) -> Parked[T]:
        entry = self._parked.pop(digest)
        self._forget(digest, self._wanted.pop(digest))
        share = self._shares[entry.peer]
        del share.rounds[digest]
        share.missing -= len(entry.missing)
        share.size -= entry.size
        self._size -= entry.size
        if not share.rounds:
            del self._shares[entry.peer]
        return entry

    def _forget(self, child: Digest, refs: Iterable[Missing]) -> None:
        for ref in refs:
            waiting = self._children.get(ref.digest)
            if waiting is not None:
                waiting.pop(child, None)
                if not waiting:
                    del self._children[ref.digest]

    def _take(self, ready: Sequence[Digest]) -> list[Parked[T]]:
        return sorted(
            (self._remove(digest) for digest in ready), key=lambda entry: (entry.round, entry.digest)
        )


def _by_parked(share: _Share) -> tuple[int, tuple[Round, Digest]]:
    return len(share.rounds), share.farthest()


def _by_size(share: _Share) -> tuple[int, tuple[Round, Digest]]:
    return share.size, share.farthest()


def _by_missing(share: _Share) -> tuple[int, tuple[Round, Digest]]:
    return share.missing, share.farthest()
