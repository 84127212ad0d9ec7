"""The vertices that are wanted, and who is known to hold them: bounded, each source within a share.

Nothing here trusts a peer: a source that fills its share evicts its own wants alone, the farthest above the
clock first. A want that others need too passes into the share of one of them.
"""

import heapq
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from cherrydag.params import PEER_OTHERS
from cherrydag.primitives import Digest, Peer, Round
from cherrydag.refs import AnyRef, round_of

HOLDERS_MAX: Final = 8
"""Peers that a want remembers as holders; whom else to ask is the caller's round robin."""

GONE: Final = Peer(-1)
"""In whose share the wants of disconnected strangers are: one for all, or reconnecting would enlarge it."""


@dataclass(slots=True, eq=False)
class Want:
    """A vertex that is wanted.

    source: in whose share it is. holders: peers known to hold it, in order. asked: those with a request in
    flight. tried: those asked in this lap over all peers. start, step: where in the peers the lap began, and
    how many it has passed. due_ms: not to be asked again before. queue: whose queue of new wants it is in.
    """

    ref: AnyRef
    source: Peer
    holders: list[Peer]
    due_ms: int
    queue: Peer | None = None
    asked: list[Peer] = field(default_factory=list)
    tried: set[Peer] = field(default_factory=set)
    start: int = -1
    step: int = 0
    laps: int = 0


@dataclass(slots=True, eq=False)
class _Share:
    """The wants of one source in the order of their turns, and a heap of them, farthest first.

    The heap has entries of wants that have left, too.
    """

    wants: dict[AnyRef, None] = field(default_factory=dict)
    heap: list[tuple[int, int, AnyRef]] = field(default_factory=list)


class WantedTable:
    """Wants by reference. wanted_max bounds all, source_max those of one source; both >= 1."""

    __slots__ = ("_by_digest", "_by_round", "_count", "_shares", "_wants", "source_max", "wanted_max")

    def __init__(self, wanted_max: int, source_max: int) -> None:
        self.wanted_max = wanted_max
        self.source_max = source_max
        self._wants: dict[AnyRef, Want] = {}
        self._by_digest: dict[Digest, list[AnyRef]] = {}
        self._by_round: dict[Round, dict[AnyRef, None]] = {}
        self._shares: dict[Peer, _Share] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._wants)

    def get(self, ref: AnyRef) -> Want | None:
        """The want of this reference."""
        return self._wants.get(ref)

    def turn(self, limit: int) -> list[Want]:
        """At most so many wants that have waited for their turn, lowest rounds first. O(limit log limit).

        Small shares come whole, the larger ones in equal parts, each going through its wants in turn: who
        wants in vain takes nothing from others.
        """
        taken: list[Want] = []
        shares = sorted(self._shares.items(), key=lambda item: (len(item[1].wants), item[0]))
        for place, (_, share) in enumerate(shares):
            part = (limit - len(taken)) // (len(shares) - place)
            for ref in list(islice(share.wants, part)):
                if part < len(share.wants):
                    del share.wants[ref]
                    share.wants[ref] = None
                taken.append(self._wants[ref])
        return sorted(taken, key=_round_of)

    def add(self, ref: AnyRef, source: Peer, now_ms: int) -> list[Want]:
        """Want what was not wanted; return what was evicted for it, maybe itself. O(log n) amortised."""
        want = Want(ref, source, [source], now_ms)
        self._wants[ref] = want
        # References that differ in the rest may share a digest: at most one of them is true.
        self._by_digest.setdefault(ref.digest, []).append(ref)
        self._by_round.setdefault(round_of(ref), {})[ref] = None
        self._own(want, source)
        return self._shrink(source)

    def hold(self, want: Want, peer: Peer) -> None:
        """A peer is known to hold what is wanted; beyond HOLDERS_MAX nobody is remembered."""
        if len(want.holders) >= HOLDERS_MAX or peer in want.holders:
            return
        want.holders.append(peer)
        if want.laps and not want.asked:
            want.due_ms = 0  # all others were asked in vain: this is news

    def remove(self, digest: Digest) -> list[Want]:
        """Want nothing of this digest any more; return what was wanted of it."""
        return [self._remove(self._wants[ref]) for ref in list(self._by_digest.get(digest, ()))]

    def remove_up_to(self, gc_round: Round) -> list[Want]:
        """Want nothing at or below gc_round any more; return what was."""
        low = [round_ for round_ in self._by_round if round_ <= gc_round]
        refs = [ref for round_ in sorted(low) for ref in self._by_round[round_]]
        return [self._remove(self._wants[ref]) for ref in refs]

    def leave(self, peer: Peer) -> list[Want]:
        """A peer has disconnected and holds nothing; return what was evicted. O(n).

        A validator keeps its share, since it comes back under its number.
        """
        for want in self._wants.values():
            if peer in want.holders:
                want.holders.remove(peer)
        share = self._shares.get(peer)
        if share is None or peer < PEER_OTHERS:
            return []
        evicted: list[Want] = []
        for ref in list(share.wants):
            evicted += self._pass_on(self._wants[ref], GONE)
        return evicted

    # Shares

    def _own(self, want: Want, source: Peer) -> None:
        want.source = source
        share = self._shares.setdefault(source, _Share())
        share.wants[want.ref] = None
        self._count += 1
        # The count ends every comparison: references of both kinds do not compare.
        heapq.heappush(share.heap, (-round_of(want.ref), -self._count, want.ref))
        if len(share.heap) > 2 * len(share.wants) + 64:
            share.heap = [entry for entry in share.heap if entry[2] in share.wants]
            heapq.heapify(share.heap)

    def _disown(self, want: Want) -> None:
        share = self._shares[want.source]
        del share.wants[want.ref]
        if not share.wants:
            del self._shares[want.source]

    def _pass_on(self, want: Want, source: Peer) -> list[Want]:
        self._disown(want)
        self._own(want, source)
        return self._shrink(source)

    def _shrink(self, source: Peer) -> list[Want]:
        """Evict until the source is within its share and the table within its bound."""
        evicted: list[Want] = []
        while True:
            share = self._shares.get(source)
            if share is None or len(share.wants) <= self.source_max:
                if len(self._wants) <= self.wanted_max:
                    return evicted
                # The largest share pays, so none up to wanted_max / sources ever does.
                source = max(self._shares, key=lambda peer: (len(self._shares[peer].wants), peer))
            want = self._farthest(source)
            heir = _heir(want)
            if heir is None:
                evicted.append(self._remove(want))
            else:
                self._disown(want)
                self._own(want, heir)
                source = heir

    def _farthest(self, source: Peer) -> Want:
        share = self._shares[source]
        while True:
            ref = heapq.heappop(share.heap)[2]
            if ref in share.wants:
                return self._wants[ref]

    def _remove(self, want: Want) -> Want:
        ref = want.ref
        del self._wants[ref]
        same = self._by_digest[ref.digest]
        same.remove(ref)
        if not same:
            del self._by_digest[ref.digest]
        round_ = self._by_round[round_of(ref)]
        del round_[ref]
        if not round_:
            del self._by_round[round_of(ref)]
        self._disown(want)
        return want


def _heir(want: Want) -> Peer | None:
    """The next of the holders after the source: all of them referred to it."""
    if want.source not in want.holders:
        return want.holders[0] if want.holders else None
    place = want.holders.index(want.source) + 1
    return want.holders[place] if place < len(want.holders) else None


def _round_of(want: Want) -> Round:
    return round_of(want.ref)
