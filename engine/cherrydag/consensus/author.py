"""A validator's own vertices: made when it is time, signed once, sent when durable (consensus.md, 3)."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from cherrydag.commit import Commit, CommitVote
from cherrydag.consensus.checkpoints import Checkpoints
from cherrydag.consensus.effects import AskNewest, Broadcast
from cherrydag.consensus.outbox import Outbox
from cherrydag.consensus.ports import PayloadSource, Signer, SignMark, SignState
from cherrydag.consensus.proposer import Proposer, Scene
from cherrydag.consensus.recollection import Recollection
from cherrydag.consensus.timing import Timing
from cherrydag.params import COMMIT_VOTES_MAX
from cherrydag.payload import EMPTY_PAYLOAD
from cherrydag.primitives import PublicKey, Round, TimestampMs, ValidatorIndex
from cherrydag.verify import EpochRules
from cherrydag.vertex import ValidatorVertex

VOTES_KEPT_MAX: Final = 10 * COMMIT_VOTES_MAX
"""Commit votes that wait for our next vertices; who lags by more leaves the oldest out."""

_CLOSING_ROUNDS: Final = 2
"""Rounds after its own that decide a vertex: a solo chain makes them under the same write."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A validator: its index in the committee, its key, where its sign mark is, what its vertices carry.

    has_lost_sign_state: an operator's word that the mark is gone for good. Then nothing is proposed until a
    quorum has answered, and for gc_depth rounds above what it and we know: what was signed lies below.
    """

    me: ValidatorIndex
    signer: Signer
    sign_state: SignState
    payloads: PayloadSource
    has_lost_sign_state: bool = False


class Author:
    """Decides on and makes the vertices of one validator. The engine puts them into the window."""

    def __init__(
        self,
        rules: EpochRules,
        gc_depth: int,
        timing: Timing,
        identity: Identity,
        scene: Scene,
        checkpoints: Checkpoints,
        outbox: Outbox,
    ) -> None:
        self._rules = rules
        self._timing = timing
        self._identity = identity
        self._window = scene.window
        self._rounds = scene.rounds
        self._checkpoints = checkpoints
        self._outbox = outbox
        self._is_solo = len(rules.committee) == 1
        self._votes: deque[CommitVote] = deque(maxlen=VOTES_KEPT_MAX)
        self._bonds: dict[PublicKey, int] = {}
        self._burst = 0  # vertices since nothing waited for a write
        self._resend_ms = TimestampMs(0)
        self._is_halted = False
        self.proposer = Proposer(rules, identity.me, timing, scene)
        margin = 0 if self._is_solo else gc_depth
        self.past = Recollection(rules.committee, identity.me, timing.newest_ms, margin)

    @property
    def me(self) -> ValidatorIndex:
        """Our index in the committee."""
        return self._identity.me

    @property
    def signer(self) -> Signer:
        """Our key."""
        return self._identity.signer

    @property
    def wake_ms(self) -> TimestampMs | None:
        """When to call `tick` and `make` if nothing happens before."""
        if self._is_halted:
            return None
        wake_ms = self.proposer.wake_ms
        if not self._is_solo and (wake_ms is None or self._resend_ms < wake_ms):
            wake_ms = self._resend_ms
        ask_ms = self.past.ask_again_ms
        return wake_ms if ask_ms is None or (wake_ms is not None and wake_ms < ask_ms) else ask_ms

    def begin(self, now_ms: TimestampMs) -> None:
        """The window is as the store left it: find out where we stood, and send our last vertex again."""
        identity, proposer = self._identity, self.proposer
        lost = identity.has_lost_sign_state
        self.past.begin(identity.sign_state, proposer.own.round, has_lost_sign_state=lost)
        proposer.raise_floor(self.past.floor)
        own = self._window.get(proposer.own.digest)
        if isinstance(own, ValidatorVertex):
            self.mark(own)
        self._send_again(now_ms)
        self._ask(now_ms)

    def mark(self, vertex: ValidatorVertex) -> None:
        """A durable vertex of ours is about to be sent: record that nothing in its round or below may be
        signed anew. Its signature came first, but until now a crash would have taken that along.

        Were the mark higher than what is durable, a power cut of all could leave a round that each has
        promised not to sign again, and nobody has a vertex of: no chain would ever go on.
        """
        mark = self._identity.sign_state.load()
        if mark is None or mark.round < vertex.round:
            digest = vertex.signing_digest(self._rules.chain)
            self._identity.sign_state.record(SignMark(vertex.round, digest))

    def halt(self) -> None:
        """Sign and send nothing more."""
        self._is_halted = True

    def vote(self, commits: Iterable[Commit]) -> None:
        """Our next vertices vote for these."""
        self._votes.extend(CommitVote(commit.index, commit.digest) for commit in commits)

    def set_bond(self, issuer: PublicKey, bond: int) -> None:
        """An operator's bond, 0 for none."""
        if bond:
            self._bonds[issuer] = bond
        else:
            self._bonds.pop(issuer, None)

    def answered(self, source: ValidatorIndex, highest_round: Round, clock_round: Round) -> None:
        """A validator has told the highest round that it knows of us."""
        self.past.answered(source, highest_round, clock_round)
        self.proposer.raise_floor(self.past.floor)

    def tick(self, now_ms: TimestampMs) -> None:
        """Time has passed: ask or send again if nobody answered."""
        self._ask(now_ms)
        if now_ms >= self._resend_ms and not self._is_halted:
            is_heard = self._rounds.has_quorum(self.proposer.own.round) and not self.proposer.is_unheard
            if is_heard or self._outbox.unsent:
                self._resend_ms = TimestampMs(now_ms + self._timing.resend_ms)
            else:
                self._send_again(now_ms)

    def make(self, now_ms: TimestampMs, wall_ms: TimestampMs, *, is_loaded: bool) -> ValidatorVertex | None:
        """Our next vertex, with wall_ms as timestamp, if it is time. is_loaded: there is something to order.

        The one before must be durable, but a solo chain closes a batch with its three vertices in one write.
        """
        self.proposer.wake_ms = None
        if self._is_halted or not self.past.is_complete or self._must_wait_for_write():
            return None
        takes = not self._is_solo or self._burst < self._timing.solo_burst
        is_busy = is_loaded or (takes and not self._identity.payloads.is_empty())
        round_ = self.proposer.ready(now_ms, is_busy=is_busy)
        if round_ is None:
            return None
        vertex = self._sign(round_, wall_ms, takes=takes)
        self.proposer.proposed(now_ms, is_busy=is_busy)
        self._burst += 1
        self._resend_ms = TimestampMs(now_ms + self._timing.resend_ms)
        return vertex

    def _must_wait_for_write(self) -> bool:
        if self._outbox.is_clear:
            self._burst = 0
        most = self._timing.solo_burst + _CLOSING_ROUNDS if self._is_solo else 0
        return self._outbox.unsent > most

    def _sign(self, round_: Round, wall_ms: TimestampMs, *, takes: bool) -> ValidatorVertex:
        """Nobody sees it before it is durable and the sign mark is as high."""
        count = min(len(self._votes), COMMIT_VOTES_MAX)
        is_crowded = 2 * len(self._window) > self._window.limits.vertices
        lists = bool(self._bonds) and not is_crowded
        unsigned = ValidatorVertex(
            epoch=self._rules.committee.epoch,
            round=round_,
            author=self._identity.me,
            timestamp_ms=wall_ms,
            ancestors=self.proposer.ancestors(round_),
            tips=self.proposer.tips(round_, self._tip_cost) if lists else (),
            commit_votes=tuple(self._votes.popleft() for _ in range(count)),
            checkpoint=self._checkpoints.take_due(),
            payload=self._identity.payloads.take(wall_ms) if takes else EMPTY_PAYLOAD,
        )
        digest = unsigned.signing_digest(self._rules.chain)
        return replace(unsigned, signature=self._identity.signer.sign(digest))

    @property
    def _tip_cost(self) -> int:
        return max(1, sum(self._bonds.values()) // len(self._bonds))

    def _send_again(self, now_ms: TimestampMs) -> None:
        """Nobody answers: our last vertex may be lost, and a round with it."""
        self._resend_ms = TimestampMs(now_ms + self._timing.resend_ms)
        own = self._window.get(self.proposer.own.digest)
        if isinstance(own, ValidatorVertex):
            self._outbox.emit(Broadcast(own))

    def _ask(self, now_ms: TimestampMs) -> None:
        if self.past.is_due(now_ms):
            self._outbox.emit(AskNewest())
