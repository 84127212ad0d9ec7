"""Who may put what into the window: slots, bonds, quotas, and what a reference excuses (consensus, 2 and 3).

A vertex that something here refers to passes where an unsolicited one would not, since what refers to it
could not enter otherwise. As anyone can park a vertex that refers to anything, each sponsor (the validator or
operator at the top of the references) has a bound on what it brings in this way.
"""

from enum import StrEnum
from typing import Final, TypeAlias, TypeVar

from cherrydag.consensus.effects import Report
from cherrydag.consensus.outbox import Outbox
from cherrydag.dag.pending import PendingTable
from cherrydag.dag.window import Window
from cherrydag.primitives import Digest, PublicKey, Round, ValidatorIndex
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex

SPONSORED_MAX: Final = 1024
"""Uncommitted operator vertices that one sponsor's references may excuse from bond, quota and seq."""

Slot: TypeAlias = tuple[Round, ValidatorIndex]
Seq: TypeAlias = tuple[PublicKey, int]
Sponsor: TypeAlias = ValidatorIndex | PublicKey

_NOTHING: Final = Digest(b"")
"""The digest of no vertex."""

_Key = TypeVar("_Key", bound=ValidatorIndex | PublicKey)


class Refusal(StrEnum):
    """Why a vertex was not taken; stable codes, for counters and for tests."""

    KNOWN = "known"
    """It is in the window or parked already."""
    STALE = "stale"
    """Its round is at or below gc_round."""
    FAR = "far"
    """Its round is too far above ours."""
    FUTURE = "future"
    """Its timestamp is too far ahead of our clock."""
    EARLY = "early"
    """Its timestamp is a little ahead, and too many of this peer's vertices wait for theirs already."""
    SLOT = "slot"
    """Its author has another vertex in this round, here or parked, and nothing here refers to this one."""
    SEQ = "seq"
    """Its issuer has another vertex of this seq, and nothing here refers to this one."""
    UNBONDED = "unbonded"
    """Its issuer has no bond, and nothing here refers to it."""
    QUOTA = "quota"
    """Its issuer has as many uncommitted vertices as he may, and nothing here refers to it."""
    SPONSOR = "sponsor"
    """Something here refers to it, but who brought that has had too much excused already."""
    BEHIND = "behind"
    """We are far behind and fetch commits instead of parking what comes."""
    EVICTED = "evicted"
    """It waits for parents, and the pending table keeps others."""
    FULL = "full"
    """The window is full, or so full that what is left of it is for others."""
    INVALID = "invalid"
    """It contradicts the window: a parent's round is not below its own."""


class Door:
    """The books of one window's slots and issuers."""

    __slots__ = (
        "_gc_round",
        "_outbox",
        "_parked_slots",
        "_parked_sponsors",
        "_pending",
        "_quotas",
        "_reported",
        "_seqs",
        "_seqs_of_round",
        "_slots_of_round",
        "_sponsored",
        "_sponsors",
        "_uncommitted",
        "_window",
        "equivocated",
    )

    def __init__(self, window: Window, pending: PendingTable[Vertex], outbox: Outbox) -> None:
        self._window = window
        self._pending = pending
        self._outbox = outbox
        self._gc_round = window.gc_round
        self._parked_slots: dict[Slot, Digest] = {}
        self._slots_of_round: dict[Round, list[Slot]] = {}
        self._seqs: dict[Seq, OperatorVertex] = {}
        self._seqs_of_round: dict[Round, list[Seq]] = {}
        self._reported: dict[Slot | Seq, None] = {}
        self.equivocated: dict[ValidatorIndex, Round] = {}
        """The highest round in which two vertices of a validator were seen."""
        self._quotas: dict[PublicKey, int] = {}
        self._uncommitted: dict[PublicKey, int] = {}
        self._sponsors: dict[Digest, Sponsor] = {}
        self._parked_sponsors: dict[Digest, Sponsor] = {}
        self._sponsored: dict[Sponsor, int] = {}

    def judge(self, vertex: Vertex) -> Refusal | None:
        """Whether this vertex may be parked or enter now. Two of one slot or seq are evidence even so."""
        size, most = len(self._window), self._window.limits.vertices
        if 16 * size > 15 * most:
            return Refusal.FULL  # what is left is for our own vertices and for certified commits
        if isinstance(vertex, ValidatorVertex):
            return None if self._pending.wants(vertex.digest) else self._judge_slot(vertex)
        refusal = self._judge_issuer(vertex)
        if refusal is None and 4 * size > 3 * most:
            refusal = Refusal.FULL
        if refusal is None or not self._pending.wants(vertex.digest):
            return refusal
        return Refusal.SPONSOR if self._sponsor_of(vertex) is None else None

    def parked(self, vertex: Vertex) -> None:
        """It waits for parents. An unsolicited one takes its slot meanwhile."""
        if isinstance(vertex, ValidatorVertex):
            if not self._pending.wants(vertex.digest):
                slot = (vertex.round, vertex.author)
                if slot not in self._parked_slots:
                    self._slots_of_round.setdefault(vertex.round, []).append(slot)
                self._parked_slots[slot] = vertex.digest
        elif (sponsor := self._sponsor_of(vertex)) is not None:
            self._parked_sponsors[vertex.digest] = sponsor

    def unparked(self, vertex: Vertex) -> None:
        """It was evicted."""
        self._parked_sponsors.pop(vertex.digest, None)
        if isinstance(vertex, ValidatorVertex):
            slot = (vertex.round, vertex.author)
            if self._parked_slots.get(slot) == vertex.digest:
                self._parked_slots[slot] = _NOTHING

    def entered(self, vertex: Vertex, *, is_wanted: bool) -> None:
        """It is in the window. is_wanted: something parked referred to it."""
        if isinstance(vertex, ValidatorVertex):
            if is_wanted:
                self._compare_slot(vertex)
            return
        self._parked_sponsors.pop(vertex.digest, None)
        if is_wanted and self._judge_issuer(vertex) is not None:
            sponsor = self._sponsor_of(vertex)
            if sponsor is not None:
                self._sponsors[vertex.digest] = sponsor
                self._sponsored[sponsor] = self._sponsored.get(sponsor, 0) + 1
        key = (vertex.issuer, vertex.seq)
        self._uncommitted[vertex.issuer] = self._uncommitted.get(vertex.issuer, 0) + 1
        if self._seqs.setdefault(key, vertex) is vertex:
            self._seqs_of_round.setdefault(vertex.anchor_round, []).append(key)
        else:
            self._report(key, self._seqs[key], vertex)

    def settled(self, vertices: tuple[Vertex, ...]) -> None:
        """These are committed or lost: they no longer count against anybody."""
        for vertex in vertices:
            if isinstance(vertex, OperatorVertex):
                _lower(self._uncommitted, vertex.issuer)
                sponsor = self._sponsors.pop(vertex.digest, None)
                if sponsor is not None:
                    _lower(self._sponsored, sponsor)

    def set_issuer(self, issuer: PublicKey, bond: int, quota: int) -> None:
        """Who may issue: bond > 0, and at most `quota` uncommitted vertices in the window."""
        self._window.set_issuer(issuer, bond, quota)
        if bond:
            self._quotas[issuer] = quota
        else:
            self._quotas.pop(issuer, None)

    def set_gc_round(self, gc_round: Round) -> None:
        """Forget what lies at or below it."""
        for number in range(self._gc_round + 1, gc_round + 1):
            for slot in self._slots_of_round.pop(Round(number), ()):
                self._parked_slots.pop(slot, None)
            for key in self._seqs_of_round.pop(Round(number), ()):
                self._reported.pop(key, None)
                del self._seqs[key]
        for digest in [d for d in self._parked_sponsors if d not in self._pending]:
            del self._parked_sponsors[digest]
        for reported in [k for k in self._reported if isinstance(k[0], int) and k[0] <= gc_round]:
            del self._reported[reported]
        self._gc_round = gc_round

    def _judge_slot(self, vertex: ValidatorVertex) -> Refusal | None:
        slot = (vertex.round, vertex.author)
        if len(self._window.graph.slot(*slot)):
            self._compare_slot(vertex)
            return Refusal.SLOT
        parked = self._pending.get(self._parked_slots.get(slot, _NOTHING))
        if parked is None or parked.digest == vertex.digest:
            return None
        self._report(slot, parked, vertex)
        return Refusal.SLOT

    def _compare_slot(self, vertex: ValidatorVertex) -> None:
        for other in self._window.slot(vertex.round, vertex.author):
            if other.digest != vertex.digest:
                self._report((vertex.round, vertex.author), other, vertex)
                return

    def _judge_issuer(self, vertex: OperatorVertex) -> Refusal | None:
        quota = self._quotas.get(vertex.issuer)
        if quota is None:
            return Refusal.UNBONDED
        key = (vertex.issuer, vertex.seq)
        if key in self._seqs:
            self._report(key, self._seqs[key], vertex)
            return Refusal.SEQ
        return Refusal.QUOTA if self._uncommitted.get(vertex.issuer, 0) >= quota else None

    def _sponsor_of(self, vertex: OperatorVertex) -> Sponsor | None:
        """Who stands at the top of the references to this vertex and has room to bring it in; None if nobody.

        Of the sponsors of what is parked for it, the first with room. One that nothing refers to is its
        issuer's own.
        """
        sponsors: list[Sponsor] = []
        for digest in self._pending.waiting_for(vertex.digest):
            parked = self._pending.get(digest)
            if isinstance(parked, ValidatorVertex):
                sponsors.append(parked.author)
            elif parked is not None:
                sponsors.append(self._parked_sponsors.get(digest, parked.issuer))
        for sponsor in sponsors or [vertex.issuer]:
            if self._sponsored.get(sponsor, 0) < SPONSORED_MAX:
                return sponsor
        return None

    def _report(self, key: Slot | Seq, first: Vertex, second: Vertex) -> None:
        """Evidence, once for a slot or seq."""
        if key not in self._reported and first.digest != second.digest:
            self._reported[key] = None
            if isinstance(second, ValidatorVertex):
                known = self.equivocated.get(second.author, second.round)
                self.equivocated[second.author] = max(known, second.round)
            self._outbox.emit(Report(first, second))


def _lower(counts: dict[_Key, int], key: _Key) -> None:
    left = counts.get(key, 1) - 1
    if left:
        counts[key] = left
    else:
        counts.pop(key, None)
