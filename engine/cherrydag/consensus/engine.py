"""The consensus of one node: inputs in, effects out. It ties acceptance, main chain and proposer together.

Vertices that come in have passed verify, signatures included. Every method takes the moment and returns what
the host has to do; the host calls on_tick at wake_at_ms.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from cherrydag.commit import Commit, CommitVote
from cherrydag.consensus.acceptance import Acceptance, Accepted, Clock
from cherrydag.consensus.checkpoints import Checkpoints
from cherrydag.consensus.commit_votes import CommitVotes
from cherrydag.consensus.effects import (
    AskNewest,
    Broadcast,
    Certified,
    Diverged,
    Effect,
    Execute,
    Lost,
    Relay,
    SubDag,
    Ticket,
)
from cherrydag.consensus.main_chain import ChainParams, Extension, MainChain
from cherrydag.consensus.outbox import Outbox
from cherrydag.consensus.ports import PayloadSource, Signer, SignMark, SignState, Store
from cherrydag.consensus.proposer import Proposer, Scene
from cherrydag.consensus.recovery import load
from cherrydag.consensus.rounds import Rounds
from cherrydag.consensus.timing import Timing
from cherrydag.dag.graph import Limits, Outcome
from cherrydag.dag.tips import TipSelector
from cherrydag.dag.window import Window
from cherrydag.errors import invariant
from cherrydag.params import COMMIT_SYNC_BATCH, COMMIT_VERTICES_MAX, COMMIT_VOTES_MAX
from cherrydag.payload import EMPTY_PAYLOAD
from cherrydag.primitives import Digest, Peer, PublicKey, Round, TimestampMs, ValidatorIndex
from cherrydag.verify import EpochRules
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex

VOTES_KEPT_MAX = 10 * COMMIT_VOTES_MAX
"""Commit votes that wait for our next vertices; who lags by more leaves the oldest out."""

WINDOW = Limits(vertices=COMMIT_VERTICES_MAX)
"""A window holds no more vertices than one commit may order, so no commit can order too many."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A validator: its index in the committee, its key, where its sign mark is, what its vertices carry."""

    me: ValidatorIndex
    signer: Signer
    sign_state: SignState
    payloads: PayloadSource


class Engine:
    """Consensus of one epoch. identity: None for a node that follows without voting.

    origin: the digest that the first commit continues. seed: 16 secret bytes of the process. store: what was
    persisted before this start; it is read by `start` alone.
    """

    def __init__(
        self,
        rules: EpochRules,
        params: ChainParams,
        timing: Timing,
        identity: Identity | None,
        store: Store,
        seed: bytes,
        origin: Digest | None = None,
    ) -> None:
        committee = rules.committee
        self._rules = rules
        self._timing = timing
        self._identity = identity
        self._store = store
        self._quorum = committee.quorum
        self._is_solo = len(committee) == 1
        self._outbox = Outbox()
        self.window = Window([member.stake for member in committee.members], seed, WINDOW)
        self.chain = MainChain(committee, origin or rules.chain.genesis_digest, self.window, params)
        self.acceptance = Acceptance(self.window, timing, self._outbox)
        self.rounds = Rounds(committee)
        self.commit_votes = CommitVotes(committee)
        self.checkpoints = Checkpoints(rules.chain, committee)
        self.selector = TipSelector(self.window.graph, int.from_bytes(seed[:8], "little"))
        self._proposer: Proposer | None = None
        if identity is not None:
            scene = Scene(self.window, self.chain, self.rounds, self.commit_votes, self.selector)
            self._proposer = Proposer(rules, identity.me, timing, scene)
        self._bonds: dict[PublicKey, int] = {}
        self._load: dict[Digest, None] = {}  # uncommitted vertices with a payload
        self._votes: deque[CommitVote] = deque(maxlen=VOTES_KEPT_MAX)
        self._digests: dict[int, Digest] = {}  # of commits that wait for a checkpoint's root
        self._burst = 0
        self._ask_again_ms: TimestampMs | None = None
        self._answers: dict[ValidatorIndex, None] = {}
        self._is_recovered = identity is None
        self._resend_ms = TimestampMs(0)
        self.is_halted = False
        self.wake_at_ms: TimestampMs | None = None

    # Inputs

    def start(self, now_ms: TimestampMs, executed_index: int = 0) -> list[Effect]:
        """Stand where the store left off. executed_index: of the last commit that was executed for good.

        Commits above it are to be executed again. A validator asks the others for the newest vertex of its
        own that they know, and proposes nothing before a quorum, itself included, has answered.
        """
        self._restore(executed_index)
        if self._identity is not None and self._proposer is not None:
            mark = self._identity.sign_state.load()
            if mark is not None:
                self._proposer.raise_floor(mark.round)
            self._answers[self._identity.me] = None
            own = self.window.get(self._proposer.own.digest)
            if isinstance(own, ValidatorVertex):
                self._outbox.emit(Broadcast(own))
            self._ask(now_ms)
            self._resend_ms = TimestampMs(now_ms + self._timing.resend_ms)
        self._advance(now_ms)
        return self._finish()

    def on_vertices(self, vertices: Iterable[Vertex], source: Peer, now_ms: TimestampMs) -> list[Effect]:
        """Vertices from a peer, each of which has passed verify."""
        for vertex in vertices:
            if isinstance(vertex, ValidatorVertex):
                self._observe(vertex)
            self._settle(self.acceptance.offer(vertex, source, self._clock(now_ms)))
        self._advance(now_ms)
        return self._finish()

    def on_certified(self, commit: Commit, vertices: Sequence[Vertex], now_ms: TimestampMs) -> list[Effect]:
        """The next commit that a quorum has certified, with its vertices in its order.

        One that the chain has already must be the same. Raises ShapeError if it is not the next one.
        """
        if commit.index <= self.chain.index:
            return []
        for vertex in vertices:
            self._restore_vertex(vertex, is_new=True)
        extension = self.chain.apply(commit)
        self._on_extension(extension)
        for vertex in vertices:
            self._settle(self.acceptance.release(vertex))
        self._collect_garbage()
        if self.commit_votes.quorum_index < self.chain.index + COMMIT_SYNC_BATCH:
            self._advance(now_ms)
        return self._finish()

    def on_newest(
        self, vertices: Sequence[ValidatorVertex], source: Peer, now_ms: TimestampMs
    ) -> list[Effect]:
        """A validator's answer to AskNewest: what it knows of our own highest round; verified."""
        if self._identity is None or self._is_recovered or source >= len(self._rules.committee):
            return []
        if self._proposer is not None:
            for vertex in vertices:
                if vertex.author == self._identity.me:
                    self._proposer.raise_floor(vertex.round)
        self._answers[ValidatorIndex(source)] = None
        if self._rules.committee.stake_of(self._answers) >= self._quorum:
            self._is_recovered = True
            self._ask_again_ms = None
        return self.on_vertices(vertices, source, now_ms)

    def on_persisted(self, ticket: Ticket, now_ms: TimestampMs) -> list[Effect]:
        """All writes up to this ticket are durable."""
        self._outbox.on_persisted(ticket)
        if self._outbox.is_clear:
            self._burst = 0
        self._advance(now_ms)
        return self._finish()

    def on_executed(self, index: int, state_root: Digest | None) -> list[Effect]:
        """A commit has been executed; the state root if a checkpoint follows it."""
        digest = self._digests.pop(index, None)
        if digest is not None and state_root is not None and not self.is_halted:
            signer = self._identity.signer if self._identity else None
            self.checkpoints.on_executed(index, digest, state_root, signer)
            self._check_divergence()
        return self._finish()

    def on_payload(self, now_ms: TimestampMs) -> list[Effect]:
        """The payload source has something."""
        self._advance(now_ms)
        return self._finish()

    def on_tick(self, now_ms: TimestampMs) -> list[Effect]:
        """Time has passed."""
        self._settle(self.acceptance.due(self._clock(now_ms)))
        if self._ask_again_ms is not None and now_ms >= self._ask_again_ms:
            self._ask(now_ms)
        self._advance(now_ms)
        self._resend(now_ms)
        return self._finish()

    def set_issuer(self, issuer: PublicKey, bond: int, quota: int) -> None:
        """What the state says of an operator: his bond (0: none) and his quota of uncommitted vertices."""
        self.acceptance.set_issuer(issuer, bond, quota)
        if bond:
            self._bonds[issuer] = bond
        else:
            self._bonds.pop(issuer, None)

    @property
    def is_behind(self) -> bool:
        """Whether a quorum is so far ahead that commits are fetched rather than vertices."""
        return self.commit_votes.quorum_index >= self.chain.index + COMMIT_SYNC_BATCH

    @property
    def clock_round(self) -> Round:
        """The highest round with a quorum of stake in the window, or of the last commit."""
        return max(self.rounds.highest, self.chain.leader_round)

    # From vertices to commits

    def _observe(self, vertex: ValidatorVertex) -> None:
        """What a signed vertex says counts even while its parents are missing."""
        self.commit_votes.note(vertex)
        certificate = self.checkpoints.note(vertex) if vertex.checkpoint else None
        if certificate is not None:
            self._outbox.emit(Certified(certificate))
            self._check_divergence()

    def _settle(self, accepted: Iterable[Accepted]) -> None:
        for vertex, source in accepted:
            self._note(vertex)
            self._outbox.write_vertex(vertex)
            if isinstance(vertex, OperatorVertex):
                self._outbox.emit(Relay(vertex, source))

    def _note(self, vertex: Vertex) -> None:
        """A vertex is in the window."""
        if len(vertex.payload):
            self._load[vertex.digest] = None
        if isinstance(vertex, ValidatorVertex):
            self.chain.note(vertex)
            self.rounds.note(vertex.round, vertex.author)
            if self._proposer is not None:
                self._proposer.note(vertex)

    def _advance(self, now_ms: TimestampMs) -> None:
        """Commit and propose as long as one of them leads to the other."""
        while True:
            while extensions := self.chain.extend():
                for extension in extensions:
                    self._on_extension(extension)
                self._collect_garbage()
            if not self._propose(now_ms):
                return

    def _on_extension(self, extension: Extension) -> None:
        sub_dag, lost = extension
        commit = sub_dag.commit
        self._forget(sub_dag.vertices)
        if lost:
            self._forget(lost)
            self._outbox.emit(Lost(lost))
        self._outbox.write_commit(commit, sub_dag.swaps)
        self._execute(sub_dag)
        self._votes.append(CommitVote(commit.index, commit.digest))

    def _collect_garbage(self) -> None:
        """The window has risen with the chain: everything beside it follows."""
        gc_round = self.chain.gc_round
        self.rounds.forget(gc_round)
        self._settle(self.acceptance.set_gc_round(gc_round))

    def _forget(self, vertices: tuple[Vertex, ...]) -> None:
        """These are committed or lost: they are nothing to order any more."""
        self.acceptance.settled(vertices)
        for vertex in vertices:
            self._load.pop(vertex.digest, None)

    def _execute(self, sub_dag: SubDag) -> None:
        commit = sub_dag.commit
        if commit.index % self.chain.params.checkpoint_commits == 0:
            self._digests[commit.index] = commit.digest
        self._outbox.hold(Execute(sub_dag))

    def _check_divergence(self) -> None:
        """Our state is not what a quorum signed: sign nothing more, and say so."""
        index = self.checkpoints.has_diverged()
        if index is not None and not self.is_halted:
            self.is_halted = True
            certificate = self.checkpoints.certified
            invariant(certificate is not None, "divergence is from a certificate")
            if certificate is not None:
                self._outbox.emit(Diverged(self.checkpoints.own[index], certificate))

    # Our own vertices

    @property
    def _is_busy(self) -> bool:
        """Whether there is something to order."""
        if self._load:
            return True
        may_take = not self._is_solo or self._burst < self._timing.solo_burst
        return self._identity is not None and may_take and not self._identity.payloads.is_empty()

    def _propose(self, now_ms: TimestampMs) -> bool:
        """Make our next vertex if it is time; whether it was. The one before must be durable first, but a
        solo chain closes a batch with its three vertices in one write."""
        identity, proposer = self._identity, self._proposer
        if identity is None or proposer is None or not self._is_recovered or self.is_halted:
            return False
        proposer.wake_ms = None
        if self._outbox.unsent and not self._is_solo:
            return False
        if self._is_solo and self._burst and self._outbox.unsent > self._timing.solo_burst + 2:
            return False
        round_ = proposer.ready(now_ms, is_busy=self._is_busy)
        if round_ is None:
            return False
        is_busy = self._is_busy
        vertex = self._make(round_, identity, proposer, now_ms)
        proposer.proposed(now_ms, is_busy=is_busy)
        self._burst += 1
        outcome = self.window.insert(vertex).outcome
        invariant(
            outcome is Outcome.INSERTED, "our own vertex has its parents", outcome=outcome, round=round_
        )
        self._note(vertex)
        self._observe(vertex)
        self._outbox.write_vertex(vertex)
        self._outbox.hold(Broadcast(vertex))
        self._resend_ms = TimestampMs(now_ms + self._timing.resend_ms)
        return True

    def _make(
        self, round_: Round, identity: Identity, proposer: Proposer, now_ms: TimestampMs
    ) -> ValidatorVertex:
        """Our vertex, its sign mark recorded before it is signed: no second one of this round can follow."""
        count = min(len(self._votes), COMMIT_VOTES_MAX)
        votes = tuple(self._votes.popleft() for _ in range(count))
        checkpoint, self.checkpoints.due = self.checkpoints.due, None
        crowded = 2 * len(self.window) > WINDOW.vertices
        takes = not self._is_solo or self._burst < self._timing.solo_burst
        unsigned = ValidatorVertex(
            epoch=self._rules.committee.epoch,
            round=round_,
            author=identity.me,
            timestamp_ms=now_ms,
            ancestors=proposer.ancestors(round_),
            tips=() if crowded or not self._bonds else proposer.tips(round_, self._tip_cost),
            commit_votes=votes,
            checkpoint=checkpoint,
            payload=identity.payloads.take(now_ms) if takes else EMPTY_PAYLOAD,
        )
        digest = unsigned.signing_digest(self._rules.chain)
        identity.sign_state.record(SignMark(round_, digest))
        return replace(unsigned, signature=identity.signer.sign(digest))

    @property
    def _tip_cost(self) -> int:
        return max(1, sum(self._bonds.values()) // len(self._bonds))

    def _resend(self, now_ms: TimestampMs) -> None:
        """Nobody answers: our last vertex may be lost, and a round with it."""
        proposer = self._proposer
        if proposer is None or now_ms < self._resend_ms:
            return
        self._resend_ms = TimestampMs(now_ms + self._timing.resend_ms)
        own = self.window.get(proposer.own.digest)
        is_alone = not self.rounds.has_quorum(proposer.own.round)
        if isinstance(own, ValidatorVertex) and is_alone and not self._outbox.unsent:
            self._outbox.emit(Broadcast(own))

    def _ask(self, now_ms: TimestampMs) -> None:
        if self._is_recovered or self._rules.committee.stake_of(self._answers) >= self._quorum:
            self._is_recovered = True
            self._ask_again_ms = None
            return
        self._ask_again_ms = TimestampMs(now_ms + self._timing.newest_ms)
        self._outbox.emit(AskNewest())

    # Restart

    def _restore(self, executed_index: int) -> None:
        found = load(self._store, self.chain.params, executed_index)
        if found.last is not None:
            self.chain.recover(found.last, found.swaps, found.period)
            self.acceptance.set_gc_round(self.chain.gc_round)
        for vertex in found.vertices:
            self._restore_vertex(vertex, is_new=False)
        if found.last is None:
            return
        self.chain.mark_committed(found.held)
        for ref in [ref for commit in found.held for ref in commit.vertices]:
            held = self.window.get(ref.digest)
            if held is not None:
                self._forget((held,))
        for sub_dag in found.unexecuted:
            self._execute(sub_dag)
        self._restore_votes(found.last)

    def _restore_vertex(self, vertex: Vertex, *, is_new: bool) -> None:
        outcome = self.acceptance.restore(vertex)
        if outcome is Outcome.DUPLICATE:
            return
        invariant(
            outcome is Outcome.INSERTED,
            "what was accepted or certified before has its parents in the window",
            outcome=outcome,
            ref=vertex.ref,
        )
        if isinstance(vertex, ValidatorVertex):
            self._observe(vertex)
        self._note(vertex)
        if is_new:
            self._outbox.write_vertex(vertex)

    def _restore_votes(self, last: Commit) -> None:
        """Votes for the commits that no vertex of ours has voted for yet."""
        if self._identity is None:
            return
        voted = self.commit_votes.highest(self._identity.me)
        first = max(voted + 1, last.index - VOTES_KEPT_MAX + 1)
        for commit in self._store.commits(first, last.index):
            self._votes.append(CommitVote(commit.index, commit.digest))

    # The end of every input

    def _clock(self, now_ms: TimestampMs) -> Clock:
        return Clock(now_ms, self.clock_round, self.is_behind)

    def _finish(self) -> list[Effect]:
        proposer = self._proposer
        wake_ms = self.acceptance.due_ms
        if proposer is not None:
            resend_ms = None if self._is_solo else self._resend_ms
            wake_ms = _earliest(wake_ms, proposer.wake_ms, resend_ms, self._ask_again_ms)
        self.wake_at_ms = wake_ms
        return self._outbox.take()


def _earliest(*times_ms: TimestampMs | None) -> TimestampMs | None:
    return min((time_ms for time_ms in times_ms if time_ms is not None), default=None)
