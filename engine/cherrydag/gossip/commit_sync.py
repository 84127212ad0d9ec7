"""Catching up with the main chain by certified commits instead of by the DAG (consensus, 7).

Votes of validity stake (f + 1, so one is honest) for the last commit of a range certify it, its hash links
certify the others, and these name every vertex by digest: nothing else needs a signature check. Who lies,
cuts short or keeps silent costs time and is asked last.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count
from typing import Final

from cherrydag.codec import vertex_parts
from cherrydag.errors import PeerFault, invariant
from cherrydag.gossip.certified import CommitLink, check_answer, check_vertices
from cherrydag.gossip.messages import Commits, GetCommits, GetVertices, Vertices
from cherrydag.gossip.ranges import CertifiedCommit, CommitRange, certified_links, first_gap, in_order
from cherrydag.gossip.scores import PeerScores
from cherrydag.gossip.sync_limits import SyncLimits
from cherrydag.gossip.sync_requests import Request, SyncRequests
from cherrydag.primitives import Digest, Peer
from cherrydag.refs import AnyRef
from cherrydag.verify import EpochRules
from cherrydag.vertex import ValidatorVertex, Vertex

_FIRST_ASK: Final = 64
"""Vertices of a request while nobody knows how long they are."""


class CommitSync:
    """Commit sync from our last commit on, (index, digest), within one epoch. Not for threads.

    numbers: where request numbers come from; share it with whoever else sends requests. find: a vertex that
    we have verified already, which then is not fetched. now_ms never sinks.
    """

    __slots__ = (
        "_find",
        "_handed",
        "_head",
        "_limits",
        "_now_ms",
        "_numbers",
        "_paused",
        "_ranges",
        "_requests",
        "_rules",
        "_scores",
        "_stalls",
        "_target",
        "_vertex_bytes",
    )

    def __init__(
        self,
        rules: EpochRules,
        index: int,
        digest: Digest,
        *,
        limits: SyncLimits | None = None,
        numbers: Iterator[int] | None = None,
        find: Callable[[AnyRef], Vertex | None] | None = None,
    ) -> None:
        self._rules = rules
        self._limits = limits or SyncLimits()
        self._numbers = numbers if numbers is not None else count(1)
        self._find = find or (lambda _: None)
        self._head = self._handed = CommitLink(index, digest)
        self._target = index
        self._paused = False
        self._ranges: dict[int, CommitRange] = {}
        self._requests = SyncRequests()
        self._scores = PeerScores(self._limits.pause_ms, self._limits.pause_max_ms)
        self._stalls = 0
        self._now_ms = 0
        self._vertex_bytes = self._limits.response_bytes_max // _FIRST_ASK  # of the frames that came last

    # What the host tells

    def set_peers(self, peers: Sequence[Peer], now_ms: int) -> None:
        """Who can be asked. What others were asked for is asked again of these."""
        for number in [n for n, request in self._requests.items() if request.peer not in peers]:
            self._give_up(number)
        self._scores.set_peers(peers)
        self._now_ms = now_ms

    def peer_index(self, peer: Peer, index: int) -> None:
        """A peer is known, or says, to have the commits up to this index."""
        self._scores.set_index(peer, index)

    def set_target(self, committed_index: int, now_ms: int) -> None:
        """The highest index that is committed for certain. It does not sink."""
        self._target = max(self._target, committed_index)
        self._now_ms = now_ms

    def applied(self, index: int, digest: Digest) -> None:
        """Our main chain has advanced to this commit, by commits from here or by its own decisions.

        InvariantViolation if another commit of this index is certified.
        """
        if index <= self._head.commit_index:
            return
        self._head = CommitLink(index, digest)
        certified = [held.commit_at(index) for held in self._ranges.values() if held.certified]
        digests = [commit.digest for commit in certified if commit is not None]
        if index == self._handed.commit_index:
            digests.append(self._handed.digest)
        invariant(all(known == digest for known in digests), "our commits are the certified ones", at=index)
        if index >= self._handed.commit_index:
            self._handed = self._head
        for held in list(self._ranges.values()):
            held.drop_up_to(index)
            if held.last <= index:
                self._drop(held)
        self._trim()

    def set_back_pressure(self, paused: bool) -> None:
        """While commits pile up that are not executed yet, nothing is asked for and nothing handed out."""
        self._paused = paused

    # What the host asks

    @property
    def is_active(self) -> bool:
        """Whether we are far behind, or have part of what we lack."""
        return self._is_behind or bool(self._ranges)

    def expects(self, peer: Peer, number: int) -> bool:
        """Whether this peer was asked under this number, and has not answered."""
        return self._requests.expects(peer, number)

    def lies(self, peer: Peer) -> int:
        """How many false answers this peer has given."""
        return self._scores.lies(peer)

    @property
    def held_bytes(self) -> int:
        """Bytes of the frames of commits and vertices that wait here."""
        return sum(held.held_bytes for held in self._ranges.values())

    @property
    def wake_at_ms(self) -> int | None:
        """When to call `requests` at the latest if nothing else happens; None while there is nothing to do.

        After every other call here `requests` may have something new too.
        """
        times = [request.deadline_ms for request in self._requests.values()]
        patience_ms = self._requests.patience_ms(self._limits.hedge_ms)
        late_ms = (request.asked_ms + patience_ms for request in self._requests.values())
        times += [at_ms for at_ms in late_ms if at_ms > self._now_ms]
        if not self._paused and (self._gap() or any(held.is_wanting for held in self._ranges.values())):
            pause_ends = self._scores.wake_at_ms(self._now_ms)
            times += [] if pause_ends is None else [pause_ends]
        return min(times, default=None)

    def requests(self, now_ms: int) -> list[tuple[Peer, GetCommits | GetVertices]]:
        """What to send now."""
        self._now_ms = now_ms
        self._expire(now_ms)
        if self._paused:
            return []
        self._overtake(now_ms)
        return [*self._ask_commits(now_ms), *self._ask_vertices(now_ms)]

    def ready(self, limit: int | None = None) -> list[CertifiedCommit]:
        """The next commits whose vertices are all here, by index, each handed out once; `limit` at most."""
        found: list[CertifiedCommit] = []
        while not self._paused and (limit is None or len(found) < limit):
            index = self._handed.commit_index + 1
            held = next((r for r in self._ranges.values() if r.certified and r.commit_at(index)), None)
            taken = None if held is None else held.pop_complete()
            if held is None or taken is None:
                break
            is_next = taken.commit.prev_digest == self._handed.digest
            invariant(is_next, "certified commits form one chain", at=index)
            self._handed = CommitLink(index, taken.commit.digest)
            found.append(taken)
            if not held.commits:
                self._drop(held)
        return found

    # Commits

    def on_commits(self, peer: Peer, message: Commits, now_ms: int) -> tuple[ValidatorVertex, ...]:
        """Take an answer whose links hold and whose votes would certify the last commit.

        Returns these votes: verify them, every rule and signature, then call on_votes_verified with the
        answer's number. Nothing if there is nothing to verify: no commit, or no longer needed.
        Raises PeerFault with UNSOLICITED, COMMIT_RANGE, COMMIT_EPOCH, COMMIT_LINK, COMMIT_VERTICES, VOTE or
        VOTE_STAKE.
        """
        self._now_ms = now_ms
        self._requests.take(peer, message.number, now_ms, of_vertices=False)
        held = self._ranges.get(message.number)
        if held is None:
            return ()
        try:
            known = [self._head, self._handed, *certified_links(self._ranges.values())]
            votes = check_answer(message, held.first, held.last, self._rules.committee, known)
        except PeerFault:
            self._drop(held)
            self._scores.lied(peer, now_ms)
            raise
        if message.commits:
            held.fill(message.commits)
        else:
            self._drop(held)
            self._scores.failed(peer, now_ms)
        return votes

    def on_votes_verified(self, number: int, all_valid: bool, now_ms: int) -> None:
        """The votes that on_commits returned for this number are valid, or not all of them."""
        self._now_ms = now_ms
        held = self._ranges.get(number)
        if held is None or held.certified or not held.commits:
            return
        if not all_valid:
            self._drop(held)
            self._scores.lied(held.peer, now_ms)
            return
        self._stalls = 0
        self._rate(held.peer, is_whole=held.is_whole, size=held.held_bytes, now_ms=now_ms)
        held.certify(self._find)
        held.drop_up_to(self._handed.commit_index)
        if not held.commits:
            self._drop(held)
        self._trim()

    # Vertices

    def on_vertices(self, peer: Peer, message: Vertices, now_ms: int) -> None:
        """Take vertices of certified commits: a digest and a payload root are all there is to check.

        Raises PeerFault with UNSOLICITED, TOO_MANY, NOT_ASKED or PAYLOAD, and takes nothing of the answer.
        """
        self._now_ms = now_ms
        request, is_late = self._requests.take(peer, message.number, now_ms, of_vertices=True)
        held = self._ranges.get(request.range_number)
        if held is None:
            return
        back = () if is_late else request.refs  # what was given up was given back then
        try:
            check_vertices(message.vertices, request.refs, self._rules.chain)
        except PeerFault:
            held.give_back(back)
            self._scores.lied(peer, now_ms)
            raise
        held.add(message.vertices)
        held.give_back(back)
        is_whole = len(message.vertices) == len(request.refs)
        size = sum(map(len, chain.from_iterable(map(vertex_parts, message.vertices))))
        if message.vertices:
            self._vertex_bytes = (3 * self._vertex_bytes + size // len(message.vertices)) // 4
        if not is_late:
            self._stalls = 0 if message.vertices else self._stalls
            self._rate(peer, is_whole=is_whole, size=size, now_ms=now_ms)

    def _rate(self, peer: Peer, *, is_whole: bool, size: int, now_ms: int) -> None:
        """A true answer: a part may be all that the peer has or may send, but must not be its habit."""
        if is_whole:
            self._scores.delivered(peer)
        elif size < self._limits.response_bytes_max // 2:
            self._scores.failed(peer, now_ms)

    # Requests

    @property
    def _is_behind(self) -> bool:
        return self._target - self._head.commit_index >= self._limits.lag

    def _gap(self) -> tuple[int, int] | None:
        """The lowest indices that should be asked for and are not."""
        first = max(self._head.commit_index, self._handed.commit_index) + 1
        ahead = self._limits.batches_max * self._limits.batch
        limit = min(self._target - self._limits.tail, self._head.commit_index + ahead)
        lacking = first_gap(self._ranges.values(), first, limit if self._is_behind else 0)
        return lacking and (lacking[0], min(lacking[1], lacking[0] + self._limits.batch - 1))

    def _ask_commits(self, now_ms: int) -> Iterator[tuple[Peer, GetCommits]]:
        busy = [request.peer for request in self._requests.values() if not request.refs]
        while len(busy) < self._limits.ranges_max and (gap := self._gap()):
            first, last = gap
            peer = self._scores.best(last, None, now_ms, busy, self._requests.load(now_ms))
            if peer is None:
                return
            number = self._open(peer, None, (), now_ms)
            self._ranges[number] = CommitRange(number, peer, first, last)
            busy.append(peer)
            yield peer, GetCommits(number, first, last)

    def _ask_vertices(self, now_ms: int) -> Iterator[tuple[Peer, GetVertices]]:
        for held in in_order(self._ranges.values()):
            while held.is_wanting:
                in_flight = [request.peer for request in self._requests.values() if request.refs]
                if len(in_flight) >= self._limits.vertex_requests_max:
                    return
                on_their_way = len(in_flight) * self._limits.response_bytes_max
                is_full = self.held_bytes + on_their_way >= self._limits.held_bytes_max
                is_next = held.commits[0].index == self._handed.commit_index + 1
                if is_full and (in_flight or not is_next):
                    return
                per_peer = self._limits.vertex_requests_per_peer
                busy = [peer for peer in in_flight if in_flight.count(peer) >= per_peer]
                peer = self._scores.best(held.last, held.peer, now_ms, busy, self._requests.load(now_ms))
                if peer is None:
                    return
                refs = held.take_refs(self._refs_per_request, of_first=is_full)
                if not refs:
                    break
                yield peer, GetVertices(self._open(peer, held, refs, now_ms), refs)

    @property
    def _refs_per_request(self) -> int:
        """As many as are likely to fit into one answer: what it has no room for would wait for another round
        trip to the same peer, while others could send it."""
        fitting = self._limits.response_bytes_max // max(1, self._vertex_bytes)
        return max(1, min(fitting, self._limits.refs_per_request))

    def _open(self, peer: Peer, held: CommitRange | None, refs: tuple[AnyRef, ...], now_ms: int) -> int:
        number = next(self._numbers)
        # While nobody at all answers in time, the links may be slow: give them more of it.
        patience = min(self._stalls // max(1, len(self._scores)), 3)
        deadline_ms = now_ms + (self._limits.timeout_ms << patience)
        range_number = number if held is None else held.number
        self._requests.open(number, Request(peer, range_number, refs, now_ms, deadline_ms))
        self._scores.asked(peer)
        return number

    def _expire(self, now_ms: int) -> None:
        for number in [n for n, request in self._requests.items() if request.deadline_ms <= now_ms]:
            self._stalls += 1
            self._scores.failed(self._give_up(number).peer, now_ms)

    def _overtake(self, now_ms: int) -> None:
        """Give up what the next commit waits for, if that takes long and the best one to ask instead owes no
        answer. The late answer is taken all the same."""
        since_ms = now_ms - self._requests.patience_ms(self._limits.hedge_ms)
        for number, request in self._requests.items():
            if request.asked_ms <= since_ms and self._is_awaited(request):
                held, load = self._ranges[request.range_number], self._requests.load(now_ms)
                peer = self._scores.best(held.last, held.peer, now_ms, (), load)
                if peer is not None and not load[peer]:
                    self._give_up(number)
                return

    def _is_awaited(self, request: Request) -> bool:
        """Whether the next commit waits for an answer to this request."""
        index, held = self._handed.commit_index + 1, self._ranges[request.range_number]
        if not request.refs:
            return held.first <= index <= held.last
        return any(held.lacks(ref, index) for ref in request.refs)

    def _give_up(self, number: int) -> Request:
        """Expect no answer any more: what was asked for is to be asked for again."""
        request = self._requests.give_up(number)
        held = self._ranges.get(request.range_number)
        if held is not None and request.refs:
            held.give_back(request.refs)
        elif held is not None:
            self._drop(held)
        return request

    def _drop(self, held: CommitRange) -> None:
        del self._ranges[held.number]
        for number in [n for n, r in self._requests.items() if r.range_number == held.number]:
            self._give_up(number)

    def _trim(self) -> None:
        """Once little is lacking, give up what nothing certified waits for."""
        if self._is_behind:
            return
        for held in reversed(in_order(self._ranges.values())):
            if held.certified:
                return
            self._drop(held)
