"""Which missing vertices to ask of whom, and which answers to take (consensus, 7).

The peer that referred to a vertex comes first, then others known to hold it, then every validator in turn,
never a random one. New wants are asked at once, repeats by a scheduler.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Final, NamedTuple, NoReturn

from cherrydag.errors import PeerFault
from cherrydag.gossip.faults import SyncFault
from cherrydag.gossip.messages import GetVertices, Vertices
from cherrydag.gossip.wanted import Want, WantedTable
from cherrydag.params import FETCH_REFS_MAX
from cherrydag.primitives import Digest, Peer, Round
from cherrydag.refs import AnyRef, round_of
from cherrydag.vertex import Vertex

_LATE_MAX: Final = 16


class FetchLimits(NamedTuple):
    """Bounds of fetching; all >= 1.

    peers_per_vertex, requests_per_peer: in flight at once. refs_per_request: as in GetVertices. wanted_max:
    vertices wanted. source_max: those of one source. turns_per_tick: wants that a tick looks at; with more
    than that, each has to wait. backoff_max_ms: longest pause after all were asked in vain.
    hedge_ms: after that long without an answer, another peer that holds the vertex is asked too.
    """

    peers_per_vertex: int = 2
    requests_per_peer: int = 5
    timeout_ms: int = 2000
    tick_ms: int = 500
    refs_per_request: int = FETCH_REFS_MAX
    wanted_max: int = 65_536
    source_max: int = 8192
    turns_per_tick: int = 4096
    backoff_max_ms: int = 8000
    hedge_ms: int = 50


class _Request(NamedTuple):
    peer: Peer
    refs: tuple[AnyRef, ...]
    deadline_ms: int


class Fetcher:
    """What is wanted, of whom it was asked, and what to ask now. Not for threads.

    numbers: where request numbers come from; share it with whoever else sends requests. seed: turns the
    order of the validators, so that nodes do not all ask the same one first. now_ms never sinks.
    """

    __slots__ = (
        "_cursor",
        "_gc_round",
        "_hedges",
        "_in_flight",
        "_late",
        "_limits",
        "_new",
        "_numbers",
        "_peers",
        "_requests",
        "_strikes",
        "_tick_at_ms",
        "_wanted",
    )

    def __init__(
        self, limits: FetchLimits | None = None, numbers: Iterator[int] | None = None, seed: int = 0
    ) -> None:
        self._limits = limits or FetchLimits()
        self._numbers = numbers if numbers is not None else count(1)
        self._wanted = WantedTable(self._limits.wanted_max, self._limits.source_max)
        self._new: dict[Peer, dict[AnyRef, None]] = {}
        self._requests: dict[int, _Request] = {}
        self._late: dict[Peer, dict[int, _Request]] = {}
        self._hedges: OrderedDict[AnyRef, int] = OrderedDict()  # when to ask another holder, earliest first
        self._in_flight: dict[Peer, int] = {}
        self._strikes: dict[Peer, int] = {}
        self._peers: tuple[Peer, ...] = ()
        self._cursor = seed
        self._gc_round = Round(0)
        self._tick_at_ms: int | None = None

    def __len__(self) -> int:
        """How many vertices are wanted."""
        return len(self._wanted)

    # What is wanted

    def want(self, refs: Iterable[AnyRef], source: Peer, now_ms: int) -> None:
        """Get these vertices, to which something that `source` sent refers."""
        for ref in refs:
            known = self._wanted.get(ref)
            if known is not None:
                self._wanted.hold(known, source)
                if source not in known.tried and self._is_slow(known, source, now_ms):
                    self._enqueue(known, source)
            elif round_of(ref) > self._gc_round:
                evicted = self._wanted.add(ref, source, now_ms)
                if (want := self._wanted.get(ref)) is not None:
                    self._enqueue(want, source)
                    self._hedge(want, now_ms)
                self._forget(evicted)
        if self._tick_at_ms is None and len(self._wanted):
            self._tick_at_ms = now_ms + self._limits.tick_ms

    def _is_slow(self, want: Want, holder: Peer, now_ms: int) -> bool:
        """Whether a new holder should be asked at once: who was asked had nothing, or takes long, or is not
        asked before it has answered other requests."""
        if want.queue is not None:
            return not self._room(want.queue, {}) and self._room(holder, {}) > 0
        if not want.asked:
            return True
        asked_ms = want.due_ms - self._limits.tick_ms
        return now_ms >= asked_ms + self._limits.hedge_ms and len(want.asked) < self._limits.peers_per_vertex

    def holds(self, refs: Iterable[AnyRef], peer: Peer) -> None:
        """A peer holds those of these that are wanted: it sent something that refers to them."""
        for ref in refs:
            if (want := self._wanted.get(ref)) is not None:
                self._wanted.hold(want, peer)

    def arrived(self, digest: Digest) -> None:
        """No longer wanted: in the window, parked, or known to be invalid for ever."""
        self._forget(self._wanted.remove(digest))

    def set_gc_round(self, gc_round: Round) -> None:
        """Forget what lies at or below it, and want no more of that."""
        self._gc_round = gc_round
        self._forget(self._wanted.remove_up_to(gc_round))

    # Peers

    def set_peers(self, peers: Sequence[Peer]) -> None:
        """The validators that can be asked for anything, in a fixed order."""
        self._peers = tuple(peers)

    def gone(self, peer: Peer, now_ms: int) -> None:
        """A peer has disconnected: what it was asked for becomes due for others."""
        for number in [n for n, request in self._requests.items() if request.peer == peer]:
            request = self._requests[number]
            self._close(number)
            self._release(request, request.refs, now_ms)
        self._forget(self._wanted.leave(peer))
        for ref in self._new.pop(peer, ()):
            if (want := self._wanted.get(ref)) is not None:
                want.queue = None
        self._late.pop(peer, None)
        self._strikes.pop(peer, None)

    def strikes(self, peer: Peer) -> int:
        """How many requests this peer has left unanswered; an answer that is merely late is taken off."""
        return self._strikes.get(peer, 0)

    # Answers

    def expects(self, peer: Peer, number: int) -> bool:
        """Whether this peer was asked under this number, and has not answered."""
        request = self._requests.get(number)
        return (request is not None and request.peer == peer) or number in self._late.get(peer, ())

    def on_reply(self, peer: Peer, reply: Vertices, now_ms: int) -> tuple[Vertex, ...]:
        """Take an answer; return those of its vertices that are still wanted, as received.

        They stay wanted until `arrived`; should they fail verification, others are asked after a while.
        Raises PeerFault with UNSOLICITED, TOO_MANY or NOT_ASKED: nothing of the answer is taken then.
        """
        request = self._take(peer, reply.number)
        vertices = reply.vertices
        places = {ref: place for place, ref in enumerate(request.refs)}
        found = [places.pop(vertex.ref, None) for vertex in vertices]
        if None in found:
            self._release(request, request.refs, now_ms)
            if len(vertices) > len(request.refs):
                _refuse(SyncFault.TOO_MANY, f"vertices: asked for {len(request.refs)}, got {len(vertices)}")
            _refuse(SyncFault.NOT_ASKED, f"vertices[{found.index(None)}]: not asked for, or there twice")
        self._release(request, places, now_ms)
        # Who answers takes the references in turn and stops when the answer is full: what comes after the
        # last vertex was not denied, so the same peer is asked for it again.
        last = max((place for place in found if place is not None), default=len(request.refs))
        for ref in request.refs[last + 1 :]:
            if (want := self._wanted.get(ref)) is not None:
                want.tried.discard(peer)
                want.step = 0
                self._wanted.hold(want, peer)
                self._enqueue(want, peer)
        taken = []
        for vertex in vertices:
            if (want := self._wanted.get(vertex.ref)) is not None:
                self._answered(want, peer)
                want.due_ms = now_ms + self._limits.timeout_ms
                taken.append(vertex)
        return tuple(taken)

    def _take(self, peer: Peer, number: int) -> _Request:
        """The open request of this number, closed."""
        request = self._requests.get(number)
        if request is not None and request.peer == peer:
            self._close(number)
            return request
        late = self._late.get(peer, {}).pop(number, None)
        if late is None:
            _refuse(SyncFault.UNSOLICITED, f"number: peer {peer} was not asked under {number}")
        self._strikes[peer] -= 1
        return late

    # Requests

    @property
    def wake_at_ms(self) -> int | None:
        """When to call `requests` at the latest if nothing else happens; None while there is nothing to do.

        After every other call here `requests` may have something new too.
        """
        at_ms = self._tick_at_ms
        return None if at_ms is None else min(at_ms, next(iter(self._hedges.values()), at_ms))

    def is_due(self, now_ms: int) -> bool:
        """Whether `requests` may have something to send."""
        wake_at_ms = self.wake_at_ms
        return bool(self._new) or (wake_at_ms is not None and now_ms >= wake_at_ms)

    def requests(self, now_ms: int) -> list[tuple[Peer, GetVertices]]:
        """What to send now. O(what is asked), on a tick O(turns_per_tick)."""
        self._expire(now_ms)
        batches: dict[Peer, list[AnyRef]] = {}
        self._ask_new(now_ms, batches)
        self._ask_holders(now_ms, batches)
        if self._tick_at_ms is not None and now_ms >= self._tick_at_ms:
            self._ask_again(now_ms, batches)
            busy = len(self._wanted) or self._requests
            self._tick_at_ms = now_ms + self._limits.tick_ms if busy else None
        width = self._limits.refs_per_request
        return [
            (peer, self._open(peer, tuple(refs[at : at + width]), now_ms))
            for peer, refs in batches.items()
            for at in range(0, len(refs), width)
        ]

    def _ask_new(self, now_ms: int, batches: dict[Peer, list[AnyRef]]) -> None:
        """Ask for what waits to be asked of the peer that is first in question."""
        for peer in list(self._new):
            room = self._room(peer, batches)
            if room < 1:
                continue
            for ref in sorted(self._new[peer], key=round_of)[:room]:
                want = self._wanted.get(ref)
                if want is None:
                    continue
                self._dequeue(want)
                if peer not in want.tried and len(want.asked) < self._limits.peers_per_vertex:
                    self._ask(want, peer, now_ms, batches)

    def _ask_holders(self, now_ms: int, batches: dict[Peer, list[AnyRef]]) -> None:
        """Ask one more holder for each want that has not come in time, be it that nobody answers or that
        nobody could be asked. Looks once at each; who holds it later is asked when that is known."""
        while self._hedges and next(iter(self._hedges.values())) <= now_ms:
            want = self._wanted.get(self._hedges.popitem(last=False)[0])
            if want is None or len(want.asked) >= self._limits.peers_per_vertex:
                continue
            if (peer := self._choose_holder(want, batches)) is not None:
                self._ask(want, peer, now_ms, batches)

    def _ask_again(self, now_ms: int, batches: dict[Peer, list[AnyRef]]) -> None:
        """Ask one more peer for each want that is due and has its turn."""
        start = self._cursor
        for want in self._wanted.turn(self._limits.turns_per_tick):
            if want.due_ms > now_ms or len(want.asked) >= self._limits.peers_per_vertex:
                continue
            if want.start < 0:
                want.start = start
                self._cursor = start + 1
            peer = self._choose(want, batches)
            if peer is not None:
                self._ask(want, peer, now_ms, batches)
            elif self._is_lap_over(want):
                if not want.asked:
                    self._begin_lap(want, now_ms)
            elif not any(self._room(other, batches) for other in self._peers):
                return

    def _choose(self, want: Want, batches: dict[Peer, list[AnyRef]]) -> Peer | None:
        """The first holder that was not tried in this lap and has room, or else validator."""
        if (holder := self._choose_holder(want, batches)) is not None:
            return holder
        peers, n = self._peers, len(self._peers)
        while want.step < n and peers[(want.start + want.step) % n] in want.tried:
            want.step += 1
        for step in range(want.step, n):
            peer = peers[(want.start + step) % n]
            if peer not in want.tried and self._room(peer, batches):
                return peer
        return None

    def _choose_holder(self, want: Want, batches: dict[Peer, list[AnyRef]]) -> Peer | None:
        untried = (peer for peer in want.holders if peer not in want.tried)
        return next((peer for peer in untried if self._room(peer, batches)), None)

    def _is_lap_over(self, want: Want) -> bool:
        return want.step >= len(self._peers) and all(peer in want.tried for peer in want.holders)

    def _begin_lap(self, want: Want, now_ms: int) -> None:
        """All were asked in vain: begin anew after a pause that doubles."""
        want.tried.clear()
        want.step = 0
        pause_ms = self._limits.tick_ms << min(want.laps, 16)
        want.due_ms = now_ms + min(pause_ms, self._limits.backoff_max_ms)
        want.laps += 1

    def _room(self, peer: Peer, batches: dict[Peer, list[AnyRef]]) -> int:
        """How many more references this peer can be asked for."""
        free = self._limits.requests_per_peer - self._in_flight.get(peer, 0)
        return free * self._limits.refs_per_request - len(batches.get(peer, ()))

    def _ask(self, want: Want, peer: Peer, now_ms: int, batches: dict[Peer, list[AnyRef]]) -> None:
        want.tried.add(peer)
        want.asked.append(peer)
        want.due_ms = now_ms + self._limits.tick_ms
        self._hedge(want, now_ms)
        batches.setdefault(peer, []).append(want.ref)

    def _hedge(self, want: Want, now_ms: int) -> None:
        self._hedges[want.ref] = now_ms + self._limits.hedge_ms
        self._hedges.move_to_end(want.ref)  # now_ms never sinks

    def _open(self, peer: Peer, refs: tuple[AnyRef, ...], now_ms: int) -> GetVertices:
        number = next(self._numbers)
        self._requests[number] = _Request(peer, refs, now_ms + self._limits.timeout_ms)
        self._in_flight[peer] = self._in_flight.get(peer, 0) + 1
        return GetVertices(number, refs)

    def _close(self, number: int) -> None:
        peer = self._requests.pop(number).peer
        self._in_flight[peer] -= 1
        if not self._in_flight[peer]:
            del self._in_flight[peer]

    def _expire(self, now_ms: int) -> None:
        """Give up what was not answered in time. The oldest requests come first, since all wait as long."""
        expired = []
        for number, request in self._requests.items():
            if request.deadline_ms > now_ms:
                break
            expired.append(number)
        for number in expired:
            request = self._requests[number]
            self._close(number)
            self._release(request, request.refs, now_ms)
            self._strikes[request.peer] = self._strikes.get(request.peer, 0) + 1
            late = self._late.setdefault(request.peer, {})
            late[number] = request
            if len(late) > _LATE_MAX:
                del late[next(iter(late))]

    def _release(self, request: _Request, refs: Iterable[AnyRef], now_ms: int) -> None:
        """A request has not brought these: others may be asked for them on the next tick."""
        for ref in refs:
            if (want := self._wanted.get(ref)) is not None:
                self._answered(want, request.peer)
                want.due_ms = min(want.due_ms, now_ms)

    def _answered(self, want: Want, peer: Peer) -> None:
        # A want that was given up and came back knows nothing of the request before.
        if peer in want.asked:
            want.asked.remove(peer)

    # Queues of new wants

    def _enqueue(self, want: Want, peer: Peer) -> None:
        self._dequeue(want)
        want.queue = peer
        self._new.setdefault(peer, {})[want.ref] = None

    def _dequeue(self, want: Want) -> None:
        if want.queue is None:
            return
        queue = self._new[want.queue]
        del queue[want.ref]
        if not queue:
            del self._new[want.queue]
        want.queue = None

    def _forget(self, wants: Iterable[Want]) -> None:
        for want in wants:
            self._dequeue(want)
            self._hedges.pop(want.ref, None)


def _refuse(fault: SyncFault, message: str) -> NoReturn:
    raise PeerFault(fault, message)
