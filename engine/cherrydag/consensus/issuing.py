"""An operator's own vertices: made when there is something to carry, one for each seq (consensus.md, 2).

A vertex is handed in, written durably, marked, and only then sent: whatever others have seen of us is in the
mark, and a crash before that leaves nothing that anybody has seen. So no seq is ever used for two vertices
that others know.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

from cherrydag.consensus.engine import Engine
from cherrydag.consensus.ports import PayloadSource, Signer, SignMark
from cherrydag.dag.graph import Handle
from cherrydag.dag.tips import SELECT_MAX
from cherrydag.errors import ConfigError
from cherrydag.params import OPERATOR_PARENTS_MAX, OPERATOR_PARENTS_MIN
from cherrydag.primitives import Digest, PublicKey, Round, TimestampMs
from cherrydag.refs import AnyRef, OperatorRef, round_of
from cherrydag.verify import EpochRules
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex

SEQ_MAX: Final = 2**32 - 2
"""Largest seq in an epoch: the mark keeps the next one as the round of a validator's would be kept."""

_FRESH_ROUNDS: Final = 2
"""A vertex is anchored at most so far below the clock's round, if anything newer is known."""


@dataclass(frozen=True, slots=True)
class IssueTiming:
    """When an operator issues. ConfigError for a value out of range.

    linger_ms: from the first transaction that waits, for more to come. batch_ms: least time between two
    vertices. resend_ms: after that long without a commit, the oldest uncommitted one is sent again. parents:
    of a vertex, its own last one included.
    """

    linger_ms: int = 10
    batch_ms: int = 100
    resend_ms: int = 2000
    parents: int = 4

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value < 0:
                raise ConfigError(f"issue_timing.{item.name}: expected at least 0, got {value}")
        if not OPERATOR_PARENTS_MIN <= self.parents <= OPERATOR_PARENTS_MAX:
            low, high = OPERATOR_PARENTS_MIN, OPERATOR_PARENTS_MAX
            raise ConfigError(f"issue_timing.parents: expected {low} to {high}, got {self.parents}")


def mark_of(vertex: OperatorVertex) -> SignMark:
    """The mark of an operator's vertex: the next seq in the place of a round, and its digest."""
    return SignMark(Round(vertex.seq + 1), vertex.digest)


class Issuing:
    """Decides on and makes the vertices of one operator over the engine of its node, once that has started.

    mark: the highest that was recorded, None for a key that has issued nothing. Not for threads.
    """

    def __init__(
        self,
        rules: EpochRules,
        engine: Engine,
        issuer: PublicKey,
        signer: Signer,
        payloads: PayloadSource,
        timing: IssueTiming,
        mark: SignMark | None,
    ) -> None:
        self._rules = rules
        self._engine = engine
        self._issuer = issuer
        self._signer = signer
        self._payloads = payloads
        self._timing = timing
        self._next_seq = 0 if mark is None else mark.round
        self._own: OperatorRef | None = None
        if mark is not None and mark.round:
            # What a node has lost with its data it names below every window, where nobody has to have it.
            self._own = OperatorRef(Round(0), issuer, mark.digest)
        self._open: dict[Digest, tuple[OperatorVertex, TimestampMs]] = {}
        self._waiting_since_ms: TimestampMs | None = None
        self._issued_ms: TimestampMs | None = None
        self.quota = 0
        """How many uncommitted vertices it may have: 0 without a bond."""
        self.wake_ms: int | None = None
        """When to call `make` or `overdue` if nothing happens before; None: never."""

    @property
    def next_seq(self) -> int:
        """The seq of the next vertex."""
        return self._next_seq

    @property
    def uncommitted(self) -> int:
        """Vertices of ours that no commit holds, and that are not lost."""
        return len(self._open)

    def recover(self, now_ms: TimestampMs) -> SignMark | None:
        """The engine has started: go on behind what its window has of us. Returns the mark to record."""
        window, mark = self._engine.window, None
        for vertex in window.issued_by(self._issuer):
            if vertex.seq + 1 >= self._next_seq:
                self._next_seq, self._own = vertex.seq + 1, vertex.ref
                mark = mark_of(vertex)
            if not window.is_committed(vertex.digest):
                self._open[vertex.digest] = vertex, TimestampMs(now_ms - self._timing.resend_ms)
        return mark

    def settled(self, vertices: Iterable[Vertex]) -> None:
        """These are committed or lost."""
        for vertex in vertices:
            self._open.pop(vertex.digest, None)

    def make(self, now_ms: TimestampMs) -> OperatorVertex | None:
        """The next vertex, signed, if it is time for one. Tell `issued` or `refused` what becomes of it."""
        self.wake_ms = self._overdue_at_ms()
        if self._payloads.is_empty():
            self._waiting_since_ms = None
            return None
        if self._waiting_since_ms is None:
            self._waiting_since_ms = now_ms
        engine = self._engine
        is_full = len(self._open) >= self.quota or self._next_seq > SEQ_MAX
        if is_full or engine.is_behind or engine.unsent_digests:
            return None  # a commit or a write says when to look again
        due_ms = self._waiting_since_ms + self._timing.linger_ms
        if self._issued_ms is not None:
            due_ms = max(due_ms, self._issued_ms + self._timing.batch_ms)
        if now_ms < due_ms:
            self.wake_ms = due_ms if self.wake_ms is None else min(due_ms, self.wake_ms)
            return None
        parents = self._parents()
        # By the engine's reading of the wall clock, or it would find its own vertex to be early.
        wall_ms = TimestampMs(now_ms + engine.wall_offset_ms)
        return None if len(parents) < OPERATOR_PARENTS_MIN else self._sign(parents, wall_ms)

    def issued(self, vertex: OperatorVertex, now_ms: TimestampMs) -> None:
        """The vertex is in the window and on its way to the disk."""
        self._own, self._next_seq = vertex.ref, vertex.seq + 1
        self._open[vertex.digest] = vertex, now_ms
        self._issued_ms = now_ms
        self._waiting_since_ms = None

    def refused(self, vertex: OperatorVertex, now_ms: TimestampMs) -> None:
        """Our own node has not taken the vertex, and nobody else has seen it. Its seq is left out all the
        same: were it to enter later, another one under its seq would be evidence."""
        if self._own is None:
            self._own = OperatorRef(Round(0), self._issuer, vertex.digest)
        self._next_seq = vertex.seq + 1
        self._issued_ms = now_ms

    def overdue(self, now_ms: TimestampMs) -> OperatorVertex | None:
        """The oldest uncommitted vertex if it is to be sent again: whoever got it may have refused it."""
        at_ms = self._overdue_at_ms()
        if at_ms is None or now_ms < at_ms:
            return None
        digest, (vertex, _) = next(iter(self._open.items()))
        if digest in self._engine.unsent_digests:
            return None
        # To the end of the queue, so that each has its turn; times rise along it.
        del self._open[digest]
        self._open[digest] = vertex, now_ms
        return vertex

    def _overdue_at_ms(self) -> int | None:
        oldest = next(iter(self._open.values()), None)
        return None if oldest is None else oldest[1] + self._timing.resend_ms

    def _parents(self) -> tuple[AnyRef, ...]:
        """Our own last vertex, then others by tip selection, one of them near the clock's round."""
        window, clock_round = self._engine.window, self._engine.clock_round
        own: tuple[AnyRef, ...] = () if self._own is None else (self._own,)
        room = self._timing.parents - len(own)
        tips = self._engine.selector.uniform(SELECT_MAX).tolist()
        vertices = [window.vertex(Handle(handle)) for handle in tips]
        chosen = [v.ref for v in vertices if not isinstance(v, OperatorVertex) or v.issuer != self._issuer]
        del chosen[room:]
        newest = max(map(round_of, chosen), default=Round(0))
        if len(own) + len(chosen) < OPERATOR_PARENTS_MIN or newest + _FRESH_ROUNDS < clock_round:
            fresh = self._validators_of(clock_round, chosen)[:OPERATOR_PARENTS_MIN]
            if len(own) + len(fresh) + len(chosen) < OPERATOR_PARENTS_MIN and clock_round:
                # The one vertex of a committee of one in this round: its own last one is there too.
                fresh += self._validators_of(Round(clock_round - 1), chosen)
            chosen = [*fresh, *chosen][:room]
        return (*own, *chosen)

    def _validators_of(self, round_: Round, chosen: Sequence[AnyRef]) -> list[AnyRef]:
        """Validators' vertices of a round that are not among the chosen, ascending."""
        known = [v.ref for v in self._engine.window.vertices(round_) if isinstance(v, ValidatorVertex)]
        return sorted(ref for ref in known if ref not in chosen)

    def _sign(self, parents: tuple[AnyRef, ...], wall_ms: TimestampMs) -> OperatorVertex:
        unsigned = OperatorVertex(
            epoch=self._rules.committee.epoch,
            issuer=self._issuer,
            seq=self._next_seq,
            anchor_round=max(map(round_of, parents)),
            timestamp_ms=wall_ms,
            parents=parents,
            payload=self._payloads.take(wall_ms),
        )
        digest = unsigned.signing_digest(self._rules.chain)
        return replace(unsigned, signature=self._signer.sign(digest))
