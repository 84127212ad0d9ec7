"""The consensus of one node: inputs in, effects out. It ties acceptance, main chain and proposer together.

Vertices that come in have passed verify, signatures included. Every method takes the moment and returns what
the host has to do; the host calls on_tick at wake_at_ms. The moment is of a clock that never steps; with
wall_offset_ms, which the host keeps current, it is the wall clock, by which timestamps are made and judged.
"""

from collections.abc import Iterable, Sequence

from cherrydag.commit import Commit
from cherrydag.consensus.acceptance import Acceptance, Accepted, Clock
from cherrydag.consensus.author import VOTES_KEPT_MAX, Author, Identity
from cherrydag.consensus.checkpoints import Checkpoints
from cherrydag.consensus.commit_votes import CommitVotes
from cherrydag.consensus.effects import (
    Broadcast,
    Certified,
    Diverged,
    Effect,
    Entered,
    Execute,
    Lost,
    Relay,
    SubDag,
    Ticket,
)
from cherrydag.consensus.main_chain import ChainParams, Extension, MainChain
from cherrydag.consensus.outbox import Outbox
from cherrydag.consensus.ports import Store
from cherrydag.consensus.proposer import Scene
from cherrydag.consensus.recovery import load
from cherrydag.consensus.rounds import Rounds
from cherrydag.consensus.timing import Timing
from cherrydag.dag.graph import Limits, Outcome
from cherrydag.dag.tips import TipSelector
from cherrydag.dag.window import Window
from cherrydag.errors import invariant
from cherrydag.params import (
    COMMIT_SYNC_LAG,
    COMMIT_VERTICES_MAX,
    COMMITTEE_MAX,
    PEER_SELF,
    TIP_WINDOW,
    TIPS_MAX,
)
from cherrydag.primitives import Digest, Peer, PublicKey, Round, TimestampMs, ValidatorIndex
from cherrydag.verify import EpochRules
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex

PARENT_BLOCKS_MAX = -(-(COMMITTEE_MAX + TIPS_MAX) // 7)
"""Blocks of links that the parents of one vertex take."""

WINDOW = Limits(vertices=COMMIT_VERTICES_MAX, blocks=COMMIT_VERTICES_MAX * PARENT_BLOCKS_MAX)
"""A window holds no more vertices than one commit may order, so no commit can order too many; it never lacks
room for links before it lacks room for vertices."""


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
        self._store = store
        self._outbox = Outbox()
        self.window = Window([member.stake for member in committee.members], seed, WINDOW)
        self.chain = MainChain(committee, origin or rules.chain.genesis_digest, self.window, params)
        self.acceptance = Acceptance(self.window, timing, self._outbox)
        self.rounds = Rounds(committee)
        self.commit_votes = CommitVotes(committee)
        self.checkpoints = Checkpoints(rules.chain, committee)
        self.selector = TipSelector(self.window.graph, int.from_bytes(seed[:8], "little"))
        self.author: Author | None = None
        if identity is not None:
            equivocated = self.acceptance.equivocated
            scene = Scene(self.window, self.chain, self.rounds, self.commit_votes, self.selector, equivocated)
            self.author = Author(
                rules, params.gc_depth, timing, identity, scene, self.checkpoints, self._outbox
            )
        self._load: dict[Digest, None] = {}  # uncommitted vertices with a payload
        self._digests: dict[int, Digest] = {}  # of commits that wait for a checkpoint's root
        self.is_halted = False
        self._progress = (Round(0), TimestampMs(0))  # the clock's round, and when it was first seen there
        self.wall_offset_ms = 0
        self.wake_at_ms: TimestampMs | None = None

    # Inputs

    def start(self, now_ms: TimestampMs, executed_index: int = 0) -> list[Effect]:
        """Stand where the store left off. executed_index: of the last commit that was executed for good.

        Commits above it are to be executed again. A validator asks the others for the newest vertex of its
        own that they know, and proposes nothing before a quorum, itself included, has answered.
        """
        self._restore(executed_index)
        self._progress = (self.clock_round, now_ms)
        if self.author is not None:
            self.author.begin(now_ms)
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
        """The next commit that is certified, with its vertices in its order.

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
        if self.commit_votes.committed_index < self.chain.index + COMMIT_SYNC_LAG:
            self._advance(now_ms)
        return self._finish()

    def on_newest(
        self, vertices: Sequence[ValidatorVertex], source: Peer, now_ms: TimestampMs
    ) -> list[Effect]:
        """A validator's answer to AskNewest: what it knows of our own highest round; verified."""
        author = self.author
        if author is None or source >= len(self._rules.committee):
            return []
        rounds = [vertex.round for vertex in vertices if vertex.author == author.me]
        author.answered(ValidatorIndex(source), max(rounds, default=Round(0)), self.clock_round)
        return self.on_vertices(vertices, source, now_ms)

    def on_persisted(self, ticket: Ticket, now_ms: TimestampMs) -> list[Effect]:
        """All writes up to this ticket are durable."""
        released = self._outbox.on_persisted(ticket)
        if self.author is not None and released:
            self.author.mark(released[-1])
        self._advance(now_ms)
        return self._finish()

    def on_executed(self, index: int, state_root: Digest | None) -> list[Effect]:
        """A commit has been executed; the state root if a checkpoint follows it."""
        digest = self._digests.pop(index, None)
        if digest is not None and state_root is not None and not self.is_halted:
            signer = self.author.signer if self.author else None
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
        self._advance(now_ms)
        if self.author is not None:
            self.author.tick(now_ms)
        return self._finish()

    def set_issuer(self, issuer: PublicKey, bond: int, quota: int) -> None:
        """What the state says of an operator: his bond (0: none) and his quota of uncommitted vertices."""
        self.acceptance.set_issuer(issuer, bond, quota)
        if self.author is not None:
            self.author.set_bond(issuer, bond)

    @property
    def unsent_digests(self) -> list[Digest]:
        """Vertices of ours that are not durable yet: nobody may get them."""
        return self._outbox.unsent_digests

    @property
    def is_recovered(self) -> bool:
        """Whether enough validators have told what they know of our past for us to go on."""
        return self.author is None or self.author.past.is_complete

    @property
    def is_behind(self) -> bool:
        """Whether others are so far ahead that commits are fetched rather than vertices."""
        return self.commit_votes.committed_index >= self.chain.index + COMMIT_SYNC_LAG

    @property
    def clock_round(self) -> Round:
        """The highest round with a quorum of stake in the window, or of the last commit."""
        return max(self.rounds.highest, self.chain.leader_round)

    # From vertices to commits

    def _observe(self, vertex: ValidatorVertex) -> None:
        """What a signed vertex says counts even while its parents are missing."""
        self.commit_votes.note(vertex)
        if self.author is not None and vertex.author == self.author.me:
            # One of ours that we may not know: nothing is signed in its round again.
            self.author.proposer.raise_floor(vertex.round)
        certificate = self.checkpoints.note(vertex) if vertex.checkpoint else None
        if certificate is not None:
            self._outbox.emit(Certified(certificate))
            self._check_divergence()

    def _settle(self, accepted: Iterable[Accepted]) -> None:
        for vertex, source in accepted:
            self._note(vertex)
            self._outbox.write_vertex(vertex)
            if isinstance(vertex, OperatorVertex):
                relay = Relay(vertex, source)
                # What we have issued ourselves must not be forgotten once others have it.
                self._outbox.hold(relay) if source == PEER_SELF else self._outbox.emit(relay)
            else:
                self._outbox.emit(Entered(vertex, source))

    def _note(self, vertex: Vertex) -> None:
        """A vertex is in the window."""
        if len(vertex.payload):
            self._load[vertex.digest] = None
        if isinstance(vertex, ValidatorVertex):
            self.chain.note(vertex)
            self.rounds.note(vertex.round, vertex.author)
            if self.author is not None:
                self.author.proposer.note(vertex)

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
        if self.author is not None:
            self.author.vote([commit])

    def _collect_garbage(self) -> None:
        """The window has risen with the chain: everything beside it follows."""
        gc_round = self.chain.gc_round
        self.rounds.forget(gc_round)
        # Whoever issues next does so above the clock's round: what is lazy for it is so for all selections.
        self.selector.set_tip_round(Round(max(0, self.clock_round + 1 - TIP_WINDOW)))
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
            if self.author is not None:
                self.author.halt()
            certificate = self.checkpoints.certified
            invariant(certificate is not None, "divergence is from a certificate")
            if certificate is not None:
                self._outbox.emit(Diverged(self.checkpoints.own[index], certificate))

    def _propose(self, now_ms: TimestampMs) -> bool:
        """Put our next vertex into the window if it is time; whether it was."""
        if self.author is None:
            return False
        wall_ms = TimestampMs(now_ms + self.wall_offset_ms)
        vertex = self.author.make(now_ms, wall_ms, is_loaded=bool(self._load))
        if vertex is None:
            return False
        outcome = self.window.insert(vertex).outcome
        if outcome is Outcome.FULL:  # memory was refused: nobody will see this vertex
            self.author.proposer.raise_floor(vertex.round)
            self._outbox.emit(Lost((vertex,)))
            return False
        invariant(outcome is Outcome.INSERTED, "our vertex has its parents", outcome=outcome, ref=vertex.ref)
        self._note(vertex)
        self._observe(vertex)
        self._outbox.write_vertex(vertex)
        self._outbox.hold(Broadcast(vertex))
        return True

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
        if self.author is not None:
            # Votes for the commits that no vertex of ours has voted for yet.
            first = max(self.commit_votes.highest(self.author.me) + 1, found.last.index - VOTES_KEPT_MAX + 1)
            self.author.vote(self._store.commits(first, found.last.index))

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

    # The end of every input

    def _clock(self, now_ms: TimestampMs) -> Clock:
        wall_ms = TimestampMs(now_ms + self.wall_offset_ms)
        round_ = self.clock_round
        if round_ > self._progress[0]:
            self._progress = (round_, now_ms)
        is_stuck = now_ms >= self._progress[1] + self._timing.stuck_ms
        return Clock(wall_ms, round_, self.is_behind, is_stuck)

    def _finish(self) -> list[Effect]:
        due_ms = self.acceptance.due_ms
        wake_ms = None if due_ms is None else TimestampMs(due_ms - self.wall_offset_ms)
        own_ms = self.author.wake_ms if self.author else None
        self.wake_at_ms = own_ms if wake_ms is None or (own_ms is not None and own_ms < wake_ms) else wake_ms
        return self._outbox.take()
