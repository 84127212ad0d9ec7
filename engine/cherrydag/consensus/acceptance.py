"""How a vertex that is valid alone enters the DAG: a vertex in context (consensus.md, 3).

Everything here is this node's own policy or depends on what it has: a refusal is no verdict on the vertex,
which may come again, or be fetched once something accepted refers to it.
"""

import heapq
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from cherrydag.consensus.door import Door, Refusal
from cherrydag.consensus.effects import Fetch
from cherrydag.consensus.outbox import Outbox
from cherrydag.consensus.timing import Timing
from cherrydag.dag.graph import Outcome
from cherrydag.dag.pending import Missing, Parked, PendingTable
from cherrydag.dag.window import Window
from cherrydag.primitives import Digest, Peer, PublicKey, Round, TimestampMs, ValidatorIndex
from cherrydag.refs import AnyRef, round_of
from cherrydag.vertex import ValidatorVertex, Vertex

_SEARCH_MAX: Final = 512
"""References looked at for what one parked vertex lacks."""


class Clock(NamedTuple):
    """What acceptance needs to know of the moment. now_ms: wall clock. round: the highest with a quorum of
    stake, or that of the last commit. is_behind: others are far ahead of us. is_stuck: no
    round has come to a quorum for long."""

    now_ms: TimestampMs
    round: Round
    is_behind: bool
    is_stuck: bool = False


class Accepted(NamedTuple):
    """A vertex that has entered the window, and the peer that it came from."""

    vertex: Vertex
    source: Peer


class Acceptance:
    """The door of one window: parks, releases, refuses. Refusals are counted by code."""

    def __init__(self, window: Window, timing: Timing, outbox: Outbox) -> None:
        self._window = window
        self._timing = timing
        self._outbox = outbox
        self.pending: PendingTable[Vertex] = PendingTable(
            timing.pending_max,
            timing.pending_peer_max,
            timing.missing_max,
            timing.pending_bytes_max,
            timing.pending_peer_bytes_max,
        )
        self._early: list[tuple[TimestampMs, int, Peer, Vertex]] = []
        self._early_number = 0
        self._early_by_peer: dict[Peer, int] = {}
        self._door = Door(window, self.pending, outbox)
        self.refused: dict[Refusal, int] = dict.fromkeys(Refusal, 0)

    @property
    def equivocated(self) -> Mapping[ValidatorIndex, Round]:
        """The highest round in which two vertices of a validator were seen."""
        return self._door.equivocated

    def offer(self, vertex: Vertex, source: Peer, clock: Clock) -> list[Accepted]:
        """Take a vertex that has passed verify; return what has entered because of it, parents first."""
        window, digest = self._window, vertex.digest
        round_ = vertex.round if isinstance(vertex, ValidatorVertex) else vertex.anchor_round
        if round_ <= window.gc_round:
            return self._refuse(Refusal.STALE)
        if window.graph.find(digest) is not None or digest in self.pending:
            return self._refuse(Refusal.KNOWN)
        if round_ > clock.round + self._timing.round_ahead_max:
            return self._refuse(Refusal.FAR)
        if not self.pending.wants(digest):
            if clock.is_behind and round_ > clock.round:
                return self._refuse(Refusal.BEHIND)
            # One that others refer to is taken whatever it says of the time, or they would wait for ever; and
            # if nothing moves, one whose author's clock is wrong may be what the quorum lacks.
            if vertex.timestamp_ms > clock.now_ms and not clock.is_stuck:
                return self._wait_until_due(vertex, source, clock)
        return self._enter([(vertex, source)])

    def is_orphan(self, vertex: Vertex, is_coming: Callable[[Digest], bool]) -> bool:
        """Whether a vertex that nothing here refers to would be parked. is_coming: whether a parent is under
        verification."""
        if self.pending.wants(vertex.digest):
            return False
        graph, gc_round = self._window.graph, self._window.gc_round
        return any(
            round_of(ref) > gc_round and graph.find(ref.digest) is None and not is_coming(ref.digest)
            for ref in self._window.parents_of(vertex)
        )

    def due(self, clock: Clock) -> list[Accepted]:
        """Take the vertices whose timestamp has come."""
        accepted: list[Accepted] = []
        while self._early and self._early[0][0] <= clock.now_ms:
            _, _, source, vertex = heapq.heappop(self._early)
            self._early_by_peer[source] -= 1
            if not self._early_by_peer[source]:
                del self._early_by_peer[source]
            accepted += self.offer(vertex, source, clock)
        return accepted

    @property
    def due_ms(self) -> TimestampMs | None:
        """When `due` has something to do."""
        return self._early[0][0] if self._early else None

    def unknown_parents(self, limit: int) -> list[tuple[Peer, tuple[AnyRef, ...]]]:
        """For the next `limit` parked vertices in turn, whom each came from and which parents nobody has
        brought; those that lack none are left out."""
        found = []
        for entry in self.pending.turn(limit):
            awaited = self.pending.waits_for(entry.digest)
            parents = self._window.parents_of(entry.vertex)
            unknown = tuple(r for r in parents if r.digest in awaited and r.digest not in self.pending)
            if unknown:
                found.append((Peer(entry.peer), unknown))
        return found

    def restore(self, vertex: Vertex) -> Outcome:
        """Take a vertex that was accepted before a restart, or that a certified commit holds."""
        inserted = self._window.insert(vertex)
        if inserted.outcome is Outcome.INSERTED:
            self._door.entered(vertex, is_wanted=True)
        return inserted.outcome

    def release(self, vertex: Vertex) -> list[Accepted]:
        """A restored vertex is in: take what was parked for it."""
        return self._enter(
            [(entry.vertex, Peer(entry.peer)) for entry in self.pending.resolve(vertex.digest)]
        )

    def set_gc_round(self, gc_round: Round) -> list[Accepted]:
        """The window has risen: forget what lies below, take what waited for it."""
        ready = self.pending.set_gc_round(gc_round)
        self._door.set_gc_round(gc_round)
        return self._enter([(entry.vertex, Peer(entry.peer)) for entry in ready])

    def set_issuer(self, issuer: PublicKey, bond: int, quota: int) -> None:
        """Who may issue: bond > 0, and at most `quota` uncommitted vertices in the window."""
        self._door.set_issuer(issuer, bond, quota)

    def settled(self, vertices: tuple[Vertex, ...]) -> None:
        """These are committed or lost: they no longer count against their issuers' quotas."""
        self._door.settled(vertices)

    def _enter(self, waiting: list[tuple[Vertex, Peer]]) -> list[Accepted]:
        """Insert vertices and, iteratively, what was parked for them."""
        accepted: list[Accepted] = []
        waiting.reverse()
        while waiting:
            vertex, source = waiting.pop()
            refusal = self._door.judge(vertex)
            if refusal is not None:
                self._refuse(refusal)
                continue
            is_wanted = self.pending.wants(vertex.digest)
            inserted = self._window.insert(vertex)
            if inserted.outcome is Outcome.INSERTED:
                self._door.entered(vertex, is_wanted=is_wanted)
                accepted.append(Accepted(vertex, source))
                released = self.pending.resolve(vertex.digest)
                waiting += [(entry.vertex, Peer(entry.peer)) for entry in reversed(released)]
            elif inserted.outcome is Outcome.MISSING:
                parents = self._window.parents_of(vertex)
                self._park(vertex, source, [parents[place] for place in inserted.missing])
            else:
                self._refuse(_OUTCOMES[inserted.outcome])
        return accepted

    def _park(self, vertex: Vertex, source: Peer, missing: list[AnyRef]) -> None:
        wanted = tuple(Missing(round_of(ref), ref.digest) for ref in missing)
        size = len(vertex.header) + len(vertex.payload.octets) + len(vertex.payload.bodies)
        entry: Parked[Vertex] = Parked(round_of(vertex.ref), vertex.digest, source, wanted, vertex, size)
        evicted = self.pending.park(entry)
        for lost in evicted:
            self.refused[Refusal.EVICTED] += 1
            self._door.unparked(lost.vertex)
            for digest in self.pending.waiting_for(lost.digest):
                # Parked, it was fetched by nobody; now its children wait for it in vain.
                self._outbox.emit(Fetch((lost.vertex.ref,), Peer(self.pending.source(digest))))
                break
        if vertex.digest in self.pending:
            self._door.parked(vertex)
            # Who refers to what is parked here has had its parents too, and may answer where others did not.
            unknown = self._unknown_below(missing)
            if unknown:
                self._outbox.emit(Fetch(unknown, source))

    def _unknown_below(self, refs: list[AnyRef]) -> tuple[AnyRef, ...]:
        """Those of these that are not here, and the parents that parked ones wait for, to a bound."""
        unknown: dict[AnyRef, None] = {}
        waiting, seen = list(refs), {ref.digest for ref in refs}
        while waiting and len(seen) <= _SEARCH_MAX:
            ref = waiting.pop()
            parked = self.pending.get(ref.digest)
            if parked is None:
                unknown[ref] = None
                continue
            awaited = self.pending.waits_for(ref.digest) - seen
            waiting += [parent for parent in self._window.parents_of(parked) if parent.digest in awaited]
            seen |= awaited
        return tuple(unknown)

    def _wait_until_due(self, vertex: Vertex, source: Peer, clock: Clock) -> list[Accepted]:
        if vertex.timestamp_ms > clock.now_ms + self._timing.future_ms:
            return self._refuse(Refusal.FUTURE)
        held = self._early_by_peer.get(source, 0)
        if held >= self._timing.early_peer_max:
            return self._refuse(Refusal.EARLY)
        self._early_by_peer[source] = held + 1
        self._early_number += 1
        heapq.heappush(self._early, (vertex.timestamp_ms, self._early_number, source, vertex))
        return []

    def _refuse(self, refusal: Refusal) -> list[Accepted]:
        self.refused[refusal] += 1
        return []


_OUTCOMES = {
    Outcome.DUPLICATE: Refusal.KNOWN,
    Outcome.STALE: Refusal.STALE,
    Outcome.FAR: Refusal.FAR,
    Outcome.FULL: Refusal.FULL,
    Outcome.INVALID: Refusal.INVALID,
}
