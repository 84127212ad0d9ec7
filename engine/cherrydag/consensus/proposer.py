"""When a validator makes its next vertex, and what the vertex refers to (consensus.md, 3)."""

from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

from cherrydag.consensus.commit_votes import CommitVotes
from cherrydag.consensus.main_chain import MainChain
from cherrydag.consensus.rounds import Rounds
from cherrydag.consensus.timing import Timing
from cherrydag.dag.graph import Handle
from cherrydag.dag.tips import SELECT_MAX, TipSelector
from cherrydag.dag.window import Window
from cherrydag.params import TIP_WINDOW, TIPS_MAX
from cherrydag.primitives import Digest, Round, TimestampMs, ValidatorIndex
from cherrydag.refs import OperatorRef, VertexRef
from cherrydag.verify import EpochRules
from cherrydag.vertex import OperatorVertex, ValidatorVertex

_PATIENT_ROUNDS: Final = 8
"""Rounds whose leaders do not commit after which the leader timeout doubles, and again after as many."""

_DOUBLINGS_MAX: Final = 6

_SILENT_ROUNDS: Final = 2
"""A leader that made no vertex in so many rounds before its own one is not waited for."""

DISTRUST_ROUNDS: Final = 10_000
"""For which an equivocator is left out, ten minutes or so: each time he is let in again, the others have to
fetch what he has made since, one vertex after another."""


class Scene(NamedTuple):
    """What a proposer looks at; it changes none of it but the selector's turns.

    equivocated: the highest round in which two vertices of a validator were seen.
    """

    window: Window
    chain: MainChain
    rounds: Rounds
    votes: CommitVotes
    selector: TipSelector
    equivocated: Mapping[ValidatorIndex, Round]


class Proposer:
    """Rounds, pace and parents of one validator's vertices. It makes none: the engine does."""

    def __init__(self, rules: EpochRules, me: ValidatorIndex, timing: Timing, scene: Scene) -> None:
        self._rules = rules
        self._me = me
        self._window, self._chain, self._rounds, self._votes, self._selector = scene[:5]
        self._equivocated = scene.equivocated
        self._timing = timing
        self._is_solo = len(rules.committee) == 1
        n = len(rules.committee)
        self._included = [-1] * n
        self._highest = [0] * n
        self._recent: deque[Digest] = deque(maxlen=timing.unreferenced_max + 1)
        self._entered = (Round(0), TimestampMs(0))
        self._clock = (Round(0), TimestampMs(0))
        self._idle_delay_ms = timing.min_round_delay_ms
        self._floor = Round(0)
        self._own_ms = TimestampMs(0)
        self.own = VertexRef(Round(0), me, rules.genesis[me])
        self.wake_ms: TimestampMs | None = None
        self.is_unheard = False
        """Whether a quorum has linked none of our newest few: no more are made while the others go on."""

    def note(self, vertex: ValidatorVertex) -> None:
        """A validator's vertex has entered the window, our own ones among them."""
        author = vertex.author
        if vertex.round > self._highest[author]:
            self._highest[author] = vertex.round
        if author == self._me:
            for ref in vertex.ancestors:
                self._included[ref.author] = max(self._included[ref.author], ref.round)
            if vertex.round > self.own.round:
                self.own = vertex.ref
                self._recent.append(vertex.digest)

    def raise_floor(self, round_: Round) -> None:
        """Propose only above this round: we have signed in it, or may have."""
        self._floor = max(self._floor, round_)

    def proposed(self, now_ms: TimestampMs, *, is_busy: bool) -> None:
        """Our vertex has been made: the next one waits its time."""
        self._own_ms = now_ms
        self._idle_delay_ms = self._paced_ms(is_busy=is_busy)
        if not is_busy:
            doubled = max(1, 2 * self._idle_delay_ms)
            self._idle_delay_ms = min(doubled, self._timing.idle_round_delay_ms)

    def next_round(self) -> Round | None:
        """The round after our last vertex, if a quorum of stake is in that vertex's round.

        Rounds that are committed already are passed over: whoever lags that much counts as faulty
        in them, and nobody else may leave out a round, since letting the clock jump to whatever round is
        seen loses liveness (Qiu, Xiao, Shao: IEEE S&P 2026).
        """
        chain = self._chain
        committed = chain.leader_round + max(0, self._votes.committed_index - chain.index)
        base = Round(max(self.own.round, self._floor, committed))
        limits = self._window.limits
        is_full = len(self._window) >= limits.vertices or base >= self._window.gc_round + limits.rounds
        return Round(base + 1) if self._rounds.has_quorum(base) and not is_full else None

    def ready(self, now_ms: TimestampMs, *, is_busy: bool) -> Round | None:
        """The round to make a vertex for now, or None; then wake_ms says when to ask again, if time alone
        can change the answer. is_busy: there is something to order."""
        self.wake_ms = None
        self.is_unheard = False
        if self._clock[0] != self._rounds.highest:
            self._clock = (self._rounds.highest, now_ms)
        round_ = self.next_round()
        if round_ is None or (self._is_solo and not is_busy):
            return None
        if self._entered[0] != round_:
            self._entered = (round_, now_ms)
        due_ms = self._due_ms(round_, now_ms, is_busy=is_busy)
        if now_ms < due_ms:
            self.wake_ms = due_ms
            return None
        late_ms = TimestampMs(self._entered[1] + self._leader_timeout_ms(round_))
        if now_ms < late_ms and not self._has_trusted(round_):
            self.wake_ms = late_ms  # without the others an equivocator has to do
            return None
        self.is_unheard = not self._is_referenced()
        stands_ms = TimestampMs(self._clock[1] + self._timing.resend_ms)
        if self.is_unheard and now_ms < stands_ms:
            self.wake_ms = stands_ms  # others may wait for just this vertex, and link none of ours before
            return None
        return round_

    def ancestors(self, round_: Round) -> tuple[VertexRef, ...]:
        """Our last vertex, then the highest of each other author below the round that is new to us.

        Of an equivocation the lowest digest is taken, and the others never, since rounds only rise. Who has
        equivocated lately is left out as long as the others are a quorum: each of us may have seen another
        one of his vertices, which the rest would have to fetch, and where he leads nobody would have a
        quorum of votes nor of blames.
        """
        others = (a for a in range(len(self._highest)) if a != self._me)
        found = (self._newest(ValidatorIndex(author), round_) for author in others)
        refs = [self.own, *(ref for ref in found if ref is not None)]
        if self._has_trusted(round_):
            refs = [ref for ref in refs if not self._is_distrusted(ref.author, round_)]
        return tuple(refs)

    def tips(self, round_: Round, tip_cost: int) -> tuple[OperatorRef, ...]:
        """Operator vertices for a vertex of this round, by fair selection, within the tip window."""
        chosen: dict[int, None] = {}
        for _ in range(TIPS_MAX // SELECT_MAX):
            known = len(chosen)
            chosen.update(dict.fromkeys(self._selector.fair(SELECT_MAX, tip_cost).tolist()))
            if len(chosen) == known:
                break
        vertices = [self._window.vertex(Handle(handle)) for handle in chosen]
        return tuple(
            vertex.ref
            for vertex in vertices
            if isinstance(vertex, OperatorVertex) and round_ - TIP_WINDOW <= vertex.anchor_round < round_
        )

    def _due_ms(self, round_: Round, now_ms: TimestampMs, *, is_busy: bool) -> TimestampMs:
        """When to make the vertex, as things stand: C3 at once, C1 after the delay, C2 after the timeout."""
        if self._is_solo or self._rounds.has_quorum(round_):
            return TimestampMs(0)
        pace_ms = self._paced_ms(is_busy=is_busy)
        timeout_ms = self._leader_timeout_ms(round_) + (0 if is_busy else pace_ms)
        late_ms = TimestampMs(self._entered[1] + timeout_ms)
        paced_ms = TimestampMs(self._own_ms + pace_ms)
        if now_ms < paced_ms < late_ms:
            return paced_ms  # the leader is looked at then
        if self._has_leader(round_) and self._is_leader_judged(round_):
            return min(late_ms, paced_ms)
        return late_ms

    def _leader_timeout_ms(self, round_: Round) -> int:
        """Grows with the rounds since the last committed leader, so that any delay is waited for in the end.

        Rounds whose leaders commit behind a slot that is still open do not count: they were waited for long
        enough, and a leader that equivocates leaves its slot open however long anybody waits. It also keeps
        the window from filling up while nothing commits: its rounds come ever more slowly.
        """
        doublings = min(self._barren_rounds(round_) // _PATIENT_ROUNDS, _DOUBLINGS_MAX)
        return self._timing.leader_timeout_ms << doublings

    def _barren_rounds(self, round_: Round) -> int:
        """Rounds since the last committed leader, but for as many as are patience."""
        chain = self._chain
        return max(0, round_ - chain.leader_round - chain.leaders_ahead - _PATIENT_ROUNDS)

    def _paced_ms(self, *, is_busy: bool) -> int:
        if is_busy:
            self._idle_delay_ms = self._timing.min_round_delay_ms
        return self._idle_delay_ms

    def _has_leader(self, round_: Round) -> bool:
        before = Round(round_ - 1)
        window = self._window
        if before <= window.gc_round:
            return True
        leader = self._chain.leader(before)
        is_there = len(window.graph.slot(before, leader)) > 0
        return is_there or self._is_distrusted(leader, round_) or self._is_silent(leader, round_)

    def _is_silent(self, leader: ValidatorIndex, round_: Round) -> bool:
        """Whether it was away already before its round, while others' leaders commit: it is down, or so late
        that each of its rounds would take the whole timeout. Where none commits it may be one that a quorum
        needs and that only slower rounds let come along, so then every leader is waited for."""
        is_away = self._highest[leader] < round_ - 1 - _SILENT_ROUNDS
        return is_away and self._barren_rounds(round_) == 0

    def _is_leader_judged(self, round_: Round) -> bool:
        """Whether a quorum of the round before has voted for the leader of the one before, or blames it."""
        judged = Round(max(0, round_ - 2))
        graph = self._window.graph
        if judged <= self._window.gc_round:
            return True
        leader, quorum = self._chain.leader(judged), self._rules.committee.quorum
        voted = any(graph.votes(handle).stake >= quorum for handle in graph.slot(judged, leader).tolist())
        return voted or graph.blames(judged, leader).stake >= quorum

    def _is_referenced(self) -> bool:
        """Whether a quorum has linked our vertices, but for the newest few: else we talk to ourselves.

        No reason to be silent where the rounds stand still: then the others may lack just our vertex, and
        would link those before in the one that they make after it.
        """
        if len(self._recent) <= self._timing.unreferenced_max:
            return True
        graph = self._window.graph
        handle = graph.find(self._recent[0])
        return handle is None or graph.approval(handle).stake >= self._rules.committee.quorum

    def _is_distrusted(self, author: ValidatorIndex, round_: Round) -> bool:
        """Whether this author has equivocated in the rounds before this one."""
        seen = self._equivocated.get(author)
        return seen is not None and round_ <= seen + DISTRUST_ROUNDS and author != self._me

    def _has_trusted(self, round_: Round) -> bool:
        """Whether those that have not equivocated lately are a quorum in the round before."""
        if not self._equivocated or round_ == 1:
            return True
        before = Round(round_ - 1)
        authors = [a for a in range(len(self._highest)) if self._window.graph.slot(before, a).size]
        trusted = [ValidatorIndex(a) for a in authors if not self._is_distrusted(ValidatorIndex(a), round_)]
        return self._rules.committee.stake_of(trusted) >= self._rules.committee.quorum

    def _newest(self, author: ValidatorIndex, below: Round) -> VertexRef | None:
        if below == 1:
            return VertexRef(Round(0), author, self._rules.genesis[author])
        lowest = max(self._included[author], self._window.gc_round, 0)
        for number in range(min(below - 1, self._highest[author]), lowest, -1):
            slot = self._window.slot(Round(number), author)
            if slot:
                return slot[0].ref
        return None
