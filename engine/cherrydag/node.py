"""One node without its host: routes messages between peers, consensus, fetch and commit sync. No rules here.

Every input is a method that takes the moment and returns effects to be performed in order. Verification,
durable writes and execution are effects too; their results come back as inputs. The moment is of a clock that
never steps; set_clock says how far the wall clock is from it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

from cherrydag.consensus.author import Identity
from cherrydag.consensus.effects import AskNewest, Broadcast, Effect, Entered, Fetch, Relay, Ticket
from cherrydag.consensus.engine import Engine
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.consensus.ports import PayloadSource, Signer, SignState, Store
from cherrydag.consensus.timing import Timing
from cherrydag.errors import PeerFault
from cherrydag.gossip.backlog import Backlog
from cherrydag.gossip.commit_sync import CommitSync
from cherrydag.gossip.effects import Penalise, Send, Verify
from cherrydag.gossip.fetcher import Fetcher, FetchLimits
from cherrydag.gossip.jobs import Job, Jobs
from cherrydag.gossip.messages import (
    Announce,
    Commits,
    GetCommits,
    GetNewest,
    GetVertices,
    Graft,
    Message,
    Newest,
    Prune,
    Push,
    Vertices,
)
from cherrydag.gossip.newest_asked import NewestAsked
from cherrydag.gossip.push_filter import PushFilter
from cherrydag.gossip.recheck import TURN_MAX, Recheck
from cherrydag.gossip.server import Server
from cherrydag.gossip.spread import SpreadLimits
from cherrydag.gossip.spreading import Spreading, unsent_left_out
from cherrydag.params import PEER_SELF
from cherrydag.primitives import Digest, Peer, PublicKey, TimestampMs, ValidatorIndex
from cherrydag.refs import AnyRef, round_of
from cherrydag.verify import EpochRules, VertexFault
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex

NodeEffect: TypeAlias = Effect | Send | Verify | Penalise

DEFAULT_FETCH = FetchLimits()


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What a node is and how it behaves.

    me: index of the validator that it is; None for a node that does not vote. seed: 16 secret bytes of the
    process. origin: the digest that the epoch's first commit continues; None for the genesis'. jobs_max:
    verifications of one peer's pushes under way; more are dropped. spread: None for a network in which every
    validator sends to every node.
    """

    rules: EpochRules
    me: ValidatorIndex | None
    chain: ChainParams
    timing: Timing
    seed: bytes
    fetch: FetchLimits = DEFAULT_FETCH
    origin: Digest | None = None
    jobs_max: int = 256
    spread: SpreadLimits | None = None


class Node:
    """Wires one Engine, Fetcher, CommitSync and Server.

    signer, sign_state and payloads are a validator's; of another node they are never used.
    """

    def __init__(
        self,
        config: NodeConfig,
        signer: Signer,
        sign_state: SignState,
        payloads: PayloadSource,
        store: Store,
    ) -> None:
        rules = config.rules
        self._config = config
        self._me = config.me
        identity = None if config.me is None else Identity(config.me, signer, sign_state, payloads)
        self.engine = Engine(rules, config.chain, config.timing, identity, store, config.seed, config.origin)
        numbers = count(1)
        turn = int.from_bytes(config.seed[8:], "little")
        self.fetcher = Fetcher(config.fetch, numbers, turn)
        self.commit_sync: CommitSync | None = None
        self._numbers = numbers
        self.server = Server(rules.committee, self.engine.window, store, store.newest)
        self.spreading = Spreading(self.engine, self.server, config.me, config.spread, config.timing, turn)
        self._connected: dict[Peer, None] = {}
        self._jobs = Jobs(numbers, config.jobs_max)
        self._filter = PushFilter(self.engine.acceptance, self._jobs)
        self._effects: list[NodeEffect] = []
        self._newest_asked = NewestAsked(config.me, numbers)
        self._seen_index = 0
        self._backlog = Backlog()
        self._recheck = Recheck()
        self.wake_at_ms: int | None = None
        """When to call on_tick if nothing happens before; None: never."""

    @property
    def me(self) -> ValidatorIndex | None:
        """Which validator it is; None if it does not vote."""
        return self._me

    def expects(self, peer: Peer, number: int) -> bool:
        """Whether this peer was asked under this number: what else comes as an answer need not be read."""
        sync = self.commit_sync
        return (
            self.fetcher.expects(peer, number)
            or self._newest_asked.expects(peer, number)
            or (sync is not None and sync.expects(peer, number))
        )

    # Inputs

    def start(self, now_ms: TimestampMs, executed_index: int = 0) -> list[NodeEffect]:
        """Recover from the store. executed_index: of the last commit whose execution is durable."""
        self._backlog = Backlog(executed_index)
        effects = self.engine.start(now_ms, executed_index)
        chain = self.engine.chain
        self.commit_sync = CommitSync(
            self._config.rules, chain.index, chain.digest, numbers=self._numbers, find=self._find
        )
        self._set_peers(now_ms)
        self._route(effects, now_ms)
        return self._take(now_ms)

    def on_connected(self, peer: Peer, now_ms: TimestampMs) -> list[NodeEffect]:
        """A peer can be spoken to. Validators have their index as number, others from PEER_OTHERS on."""
        self._connected[peer] = None
        self.spreading.connected(peer)
        if not self.engine.is_recovered:
            self._effects += self._newest_asked.ask([peer])
        self._set_peers(now_ms)
        return self._take(now_ms)

    def on_disconnected(self, peer: Peer, now_ms: TimestampMs) -> list[NodeEffect]:
        """A peer is gone."""
        self._connected.pop(peer, None)
        self._newest_asked.gone(peer)
        self._filter.gone(peer)
        self.fetcher.gone(peer, now_ms)
        self.spreading.gone(peer)
        self._set_peers(now_ms)
        return self._take(now_ms)

    def on_message(self, peer: Peer, message: Message, now_ms: TimestampMs) -> list[NodeEffect]:
        """A peer says something. Whatever it is, at worst the peer is penalised."""
        try:
            self._on_message(peer, message, now_ms)
        except PeerFault as fault:
            self._effects.append(Penalise(peer, fault.code, str(fault)))
        if isinstance(message, Push):  # it is verified first: nothing has changed yet
            taken, self._effects = self._effects, []
            return taken
        return self._take(now_ms)

    def on_verified(
        self, job: int, faults: Sequence[VertexFault | None], now_ms: TimestampMs
    ) -> list[NodeEffect]:
        """The verdicts on a job's vertices, in order."""
        peer, message, vertices = closed = self._jobs.close(job)
        pairs = list(zip(vertices, faults, strict=True))
        wanted = [one for vertex, fault in pairs for one in self._settle(closed, vertex, fault, now_ms)]
        good = [vertex for vertex, fault in pairs if fault is None]
        if isinstance(message, Commits):
            if self.commit_sync is not None:
                self.commit_sync.on_votes_verified(message.number, len(good) == len(vertices), now_ms)
                self._apply_certified(now_ms)
        elif isinstance(message, Newest):
            own = [vertex for vertex in good if isinstance(vertex, ValidatorVertex)]
            self._enter(own, self.engine.on_newest(own, peer, now_ms), now_ms)
        else:
            self._enter(good, self.engine.on_vertices(good, peer, now_ms), now_ms)
        for source, ref in wanted:
            if not self.spreading.has(ref):
                self._want([ref], source, now_ms)
        return self._take(now_ms)

    def _settle(
        self, job: Job, vertex: Vertex, fault: VertexFault | None, now_ms: TimestampMs
    ) -> Sequence[tuple[Peer, AnyRef]]:
        """The verdict on a vertex goes for its copies too; who still wants it, should it not be here then."""
        copies, wanted = self._jobs.settle(job, vertex)
        senders = [job, *copies]
        if fault is VertexFault.PAYLOAD_ROOT:  # but for this one: another copy may be whole
            senders = [job]
            for copy in copies:
                self._verify(*copy)
        elif fault is not None:
            self.fetcher.arrived(vertex.digest)
            wanted = ()
        for sender in senders:
            if fault is not None:
                self._effects.append(Penalise(sender.peer, fault, f"vertex {vertex.digest.hex()}"))
            elif isinstance(sender.message, Push):
                self._effects += self.spreading.pushed(sender.peer, vertex, now_ms)
        return wanted

    def on_persisted(self, ticket: Ticket, now_ms: TimestampMs) -> list[NodeEffect]:
        """All writes up to this ticket are durable."""
        self._route(self.engine.on_persisted(ticket, now_ms), now_ms)
        return self._take(now_ms)

    def on_executed(self, index: int, state_root: Digest | None, now_ms: TimestampMs) -> list[NodeEffect]:
        """A commit has been executed; the state root if a checkpoint follows it."""
        self._backlog.executed(index)
        self._press_back()
        self._route(self.engine.on_executed(index, state_root), now_ms)
        self._apply_certified(now_ms)
        return self._take(now_ms)

    def on_payload(self, now_ms: TimestampMs) -> list[NodeEffect]:
        """The payload source has something."""
        self._route(self.engine.on_payload(now_ms), now_ms)
        return self._take(now_ms)

    def on_tick(self, now_ms: TimestampMs) -> list[NodeEffect]:
        """wake_at_ms has come."""
        self._route(self.engine.on_tick(now_ms), now_ms)
        if self._recheck.is_due(now_ms):
            for source, refs in self.engine.acceptance.unknown_parents(TURN_MAX):
                self._want(refs, source, now_ms)
        return self._take(now_ms)

    def submit_vertex(self, vertex: OperatorVertex, now_ms: TimestampMs) -> list[NodeEffect]:
        """An operator vertex that this node has made; it must have passed verify."""
        self._enter([vertex], self.engine.on_vertices([vertex], Peer(PEER_SELF), now_ms), now_ms)
        return self._take(now_ms)

    def set_clock(self, wall_offset_ms: int) -> None:
        """Wall clock minus the clock of the inputs; may change at any time, by any step."""
        self.engine.wall_offset_ms = wall_offset_ms

    def set_issuer(self, issuer: PublicKey, bond: int, quota: int) -> None:
        """An operator's bond and quota, as the executed state says."""
        self.engine.set_issuer(issuer, bond, quota)

    # Messages

    def _on_message(self, peer: Peer, message: Message, now_ms: TimestampMs) -> None:
        sync = self.commit_sync
        if isinstance(message, Push):
            self._on_push(peer, message, now_ms)
        elif isinstance(message, Vertices):
            if sync is not None and sync.expects(peer, message.number):
                sync.on_vertices(peer, message, now_ms)
                self._apply_certified(now_ms)
            else:
                self._verify(peer, message, self.fetcher.on_reply(peer, message, now_ms))
        elif isinstance(message, GetVertices):
            self._answer(peer, self.server.vertices(message))
        elif isinstance(message, GetCommits):
            self._effects.append(Send(peer, self.server.commits(message)))
        elif isinstance(message, Commits):
            if sync is not None:
                self._verify(peer, message, sync.on_commits(peer, message, now_ms))
                self._apply_certified(now_ms)
        elif isinstance(message, GetNewest):
            self._answer(peer, self.server.newest(message))
        elif isinstance(message, Announce | Graft | Prune):
            self._effects += self.spreading.on_message(peer, message, now_ms)
        else:
            self._on_newest(peer, message, now_ms)

    def _answer(self, peer: Peer, message: Vertices | Newest) -> None:
        """Send what was asked for, without vertices of ours that a crash could make us forget."""
        self._effects.append(Send(peer, unsent_left_out(message, self.engine)))

    def _on_push(self, peer: Peer, message: Push, now_ms: TimestampMs) -> None:
        vertex = message.vertex
        engine = self.engine
        known = engine.window.graph.find(vertex.digest) is not None
        if known or vertex.digest in engine.acceptance.pending:
            self._effects += self.spreading.pushed(peer, vertex, now_ms)
        elif self._filter.admits(peer, vertex, now_ms):
            self._verify(peer, message, (vertex,))

    def _on_newest(self, peer: Peer, message: Newest, now_ms: TimestampMs) -> None:
        self._newest_asked.on_newest(peer, message)
        if message.vertices:
            self._verify(peer, message, message.vertices)
        else:
            self._route(self.engine.on_newest((), peer, now_ms), now_ms)

    def _verify(self, peer: Peer, message: Message, vertices: Sequence[Vertex]) -> None:
        if (verify := self._jobs.open(peer, message, vertices)) is not None:
            self._effects.append(verify)

    # Between the parts

    def _enter(self, vertices: Sequence[Vertex], effects: Sequence[Effect], now_ms: TimestampMs) -> None:
        """The engine has looked at these: what it took is wanted no more."""
        engine = self.engine
        for vertex in vertices:
            digest = vertex.digest
            if len(self.fetcher) and (
                engine.window.graph.find(digest) is not None
                or digest in engine.acceptance.pending
                or round_of(vertex.ref) <= engine.chain.gc_round
            ):
                self.fetcher.arrived(digest)
            if isinstance(vertex, ValidatorVertex) and vertex.commit_votes and self.commit_sync:
                index = engine.commit_votes.highest(vertex.author)
                self.commit_sync.peer_index(Peer(vertex.author), index)
        self._route(effects, now_ms)

    def _apply_certified(self, now_ms: TimestampMs) -> None:
        sync = self.commit_sync
        while sync is not None and (ready := sync.ready(limit=1)):
            ((commit, vertices),) = ready
            self._enter(vertices, self.engine.on_certified(commit, vertices, now_ms), now_ms)
            self._backlog.certified(commit.index, vertices)
            self._press_back()

    def _route(self, effects: Sequence[Effect], now_ms: TimestampMs) -> None:
        for effect in effects:
            if isinstance(effect, Fetch):
                self._want(effect.refs, effect.source, now_ms)
            elif isinstance(effect, AskNewest):
                self._effects += self._newest_asked.ask(self._connected)
            elif isinstance(effect, Broadcast | Entered | Relay):
                if self.spreading.is_for_host(effect):
                    self._effects.append(effect)
                self._effects += self.spreading.on_effect(effect, now_ms)
            else:
                self._effects.append(effect)

    def _want(self, refs: Iterable[AnyRef], source: Peer, now_ms: TimestampMs) -> None:
        """Fetch what is not under verification already."""
        self.fetcher.want(self._jobs.not_under_way(refs, source), source, now_ms)

    def _find(self, ref: AnyRef) -> Vertex | None:
        """A vertex that is here and verified."""
        vertex = self.engine.window.get(ref.digest)
        return vertex if vertex is not None and vertex.ref == ref else None

    def _set_peers(self, now_ms: TimestampMs) -> None:
        peers = self.spreading.peers_to_ask(self._connected)
        self.fetcher.set_peers(peers)
        if self.commit_sync is not None:
            self.commit_sync.set_peers(peers, now_ms)

    def _take(self, now_ms: TimestampMs) -> list[NodeEffect]:
        """The effects of this input, with what fetch and commit sync have to ask now."""
        self._follow_chain()
        wake_ms: int | None = self.engine.wake_at_ms
        fetcher = self.fetcher
        if fetcher.is_due(now_ms):
            self._effects += [Send(peer, request) for peer, request in fetcher.requests(now_ms)]
        wake_ms = _earlier(wake_ms, fetcher.wake_at_ms)
        sync = self.commit_sync
        if sync is not None and (self.engine.is_behind or sync.is_active):
            sync.set_target(self.engine.commit_votes.committed_index, now_ms)
            self._effects += [Send(peer, ask) for peer, ask in sync.requests(now_ms)]
            wake_ms = _earlier(wake_ms, sync.wake_at_ms)
        self._effects += self.spreading.due(now_ms)
        wake_ms = _earlier(wake_ms, self.spreading.wake_at_ms)
        wake_ms = _earlier(wake_ms, self._recheck.next_ms(len(self.engine.acceptance.pending), now_ms))
        self.wake_at_ms = wake_ms
        taken, self._effects = self._effects, []
        return taken

    def _follow_chain(self) -> None:
        """The main chain has grown: fetch and commit sync let go of what it has left behind."""
        chain = self.engine.chain
        if chain.index == self._seen_index:
            return
        self._seen_index = chain.index
        self.fetcher.set_gc_round(chain.gc_round)
        if self.commit_sync is not None:
            self.commit_sync.applied(chain.index, chain.digest)
            self._press_back()

    def _press_back(self) -> None:
        """No more commits are fetched while too many wait for their execution."""
        if self.commit_sync is not None:
            self.commit_sync.set_back_pressure(self._backlog.is_full(self.engine.chain.index))


def _earlier(one_ms: int | None, other_ms: int | None) -> int | None:
    return min((ms for ms in (one_ms, other_ms) if ms is not None), default=None)
