"""A node on an event loop: its effects performed, its inputs fed. The only place where they meet.

    store's descriptor ─→ on_persisted ─┐
    verifier's results ─→ on_verified ──┤→ node → effects, in order: Persist → store · Verify → workers
    peers' messages ────→ on_message ───┤                            Execute → books · Send → network
    timer ──────────────→ on_tick ──────┘

Everything runs on the loop's thread. An error that is not a client's or a peer's stops the host: it tells
`on_failure`, performs nothing more, and what is durable stays as it is. A full disk
alone is waited for: see `room`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cherrydag.commit import CheckpointCertificate
from cherrydag.consensus.effects import (
    Broadcast,
    Certified,
    Diverged,
    Execute,
    Lost,
    Persist,
    Relay,
    Report,
    SubDag,
    Ticket,
)
from cherrydag.errors import NoRoom, Overloaded
from cherrydag.gossip.effects import Penalise, Send, Verify
from cherrydag.node import Node, NodeEffect
from cherrydag.primitives import Digest, TimestampMs
from cherrydag.refs import AnyRef
from cherrydag.runtime.books import Books
from cherrydag.runtime.clock import Clock
from cherrydag.runtime.events import Tell, tell_nobody
from cherrydag.runtime.host_ports import Listener, Network, Watcher
from cherrydag.runtime.issuers import set_issuers, update_issuers
from cherrydag.runtime.known_ids import KnownIds
from cherrydag.runtime.marking import Marking
from cherrydag.runtime.room import Room
from cherrydag.runtime.verification import Verifier
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.vertex import Vertex

_CLOCK_S = 1.0
"""How often the wall clock is looked at."""


@dataclass(slots=True)
class HostStats:
    """Counters since the start. execution_waiting: commits that are durable and not executed yet."""

    commits: int = 0
    vertices_verified: int = 0
    vertices_refused: int = 0
    lost: int = 0
    equivocations: int = 0
    penalties: int = 0
    store_full: int = 0
    execution_waiting: int = 0


class Host:
    """Runs one node on the running event loop, from start() to stop().

    issued: the ids of the transactions in a payload of ours, by its root. marking: keeps the sign mark.
    """

    def __init__(
        self,
        node: Node,
        store: LmdbStore,
        books: Books,
        verifier: Verifier,
        network: Network,
        listener: Listener,
        clock: Clock,
        issued: Callable[[Digest], bytes | None],
        marking: Marking,
    ) -> None:
        self.node = node
        self.store = store
        self.books = books
        self.stats = HostStats()
        self.certificate: CheckpointCertificate | None = None
        self.agreed: CheckpointCertificate | None = None
        """The last one that is of our state."""
        self.diverged: Diverged | None = None
        self.tell: Tell = tell_nobody
        self.keep_evidence: Callable[[Diverged | Report], None] = lambda _: None
        self.watchers: list[Watcher] = []
        self._verifier = verifier
        self._network = network
        self._listener = listener
        self._clock = clock
        self._issued = issued
        self._marking = marking
        self._marking.attach(self._on_marked)
        self.after_step: Callable[[], None] = lambda: None
        self._loop = asyncio.get_running_loop()
        self._perform: dict[type, Callable[[Any], None]] = {
            Persist: self._persist,
            Execute: self._execute,
            Verify: self._verify,
            Broadcast: lambda effect: self._network.broadcast(effect.vertex),
            Send: lambda effect: self._network.send(effect.peer, effect.message),
            Relay: lambda effect: self._network.relay(effect.vertex, effect.source),
            Lost: self._lose,
            Report: self._report,
            Penalise: self._penalise,
            Certified: self._certify,
            Diverged: self._diverge,
        }
        self._ids = KnownIds()
        self._unwritten: deque[Persist] = deque()
        self._room = Room(self._unwritten, self.store.resume, self.fail)
        self._executing: deque[SubDag] = deque()
        self._is_executing = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms: int | None = None
        self._clock_timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_running = False
        self._failure: BaseException | None = None

    # Life

    def start(self) -> None:
        """Begin where the store and the books left off."""
        self._is_running = True
        self._loop.add_reader(self.store.fileno(), self._on_store)
        self._look_at_clock()
        set_issuers(self.node, self.books.bonds())
        self.step(self.node.start, self._clock.now_ms(), self.books.commit_index)

    def stop(self) -> None:
        """Perform nothing more. What is queued for the store is for its close to write. Idempotent."""
        if not self._is_running:
            return
        self._is_running = False
        self._loop.remove_reader(self.store.fileno())
        for timer in (self._timer, self._clock_timer):
            if timer is not None:
                timer.cancel()
        self._room.close()
        for task in self._tasks:
            task.cancel()

    def release(self) -> None:
        """Let go of all parts, once stopped."""
        self._perform.clear()
        self.watchers.clear()
        self._executing.clear()
        self._ids.clear()
        for name in ("node", "store", "books", "_verifier", "_network", "_listener", "_marking", "_issued"):
            self.__dict__.pop(name, None)

    @property
    def failure(self) -> BaseException | None:
        """Why the host has stopped by itself; None if it has not."""
        return self._failure

    @property
    def no_room(self) -> NoRoom | None:
        """Why nothing is written until there is room on the disk; None if that is not so."""
        return self._room.error

    @property
    def wall_ms(self) -> TimestampMs:
        """Unix time."""
        return self._clock.wall_ms()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be written or executed."""
        return not (self._unwritten or self._executing or self._is_executing or self.store.info().queued)

    # Inputs

    def step(self, call: Callable[..., list[NodeEffect]], *arguments: object) -> None:
        """Feed one input and do all that follows from it."""
        if not self._is_running:
            return
        try:
            for effect in call(*arguments):
                handler = self._perform.get(type(effect))
                if handler is not None:
                    handler(effect)
            self._arm()
            self.after_step()
        except Exception as error:  # noqa: BLE001 - the loop's edge: the host stops and says why
            self.fail(error)

    def on_payload(self) -> None:
        """The payload source has something."""
        self.step(self.node.on_payload, self._clock.now_ms())

    def fail(self, error: BaseException) -> None:
        """Stop for good: the state of this process cannot be trusted, or the disk does not take it."""
        if self._failure is None:
            self._failure = error
            self.stop()
            self._listener.on_failure(error)

    # Effects

    def _persist(self, effect: Persist) -> None:
        for vertex in effect.vertices:
            if self._marking.is_ours(vertex):
                self._ids.keep(vertex.digest, self._issued(vertex.payload.root) or b"")
                self._marking.expect(effect.ticket, vertex)
        self._unwritten.append(effect)
        self._write()
        for watcher in self.watchers:
            watcher.on_accepted(effect.vertices)
        for commit in effect.commits:
            self._listener.on_sequenced(commit, [self._ids_of(ref) for ref in commit.vertices])

    def _write(self) -> None:
        while self._unwritten:
            try:
                self.store.write(self._unwritten[0])
            except Overloaded:  # the disk is behind: on its next news
                self.stats.store_full += 1
                return
            except NoRoom as error:
                self._room.wait(error)
                return
            self._unwritten.popleft()

    def _on_store(self) -> None:
        try:
            ticket = self.store.collect()
            self._room.found()
            self._write()
            self.books.on_store_progress()
        except NoRoom as error:
            self._room.wait(error)
            return
        except Exception as error:  # noqa: BLE001 - the loop's edge
            self.fail(error)
            return
        self._marking.durable(ticket)

    def _on_marked(self, ticket: Ticket) -> None:
        self.step(self.node.on_persisted, ticket, self._clock.now_ms())

    def _verify(self, effect: Verify) -> None:
        task = self._loop.create_task(self._verified(effect.job, effect.vertices))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _verified(self, job: int, vertices: tuple[Vertex, ...]) -> None:
        try:
            verdicts = await self._verifier.vertices(vertices)
        except Exception as error:  # noqa: BLE001 - the loop's edge
            self.fail(error)
            return
        for vertex, verdict in zip(vertices, verdicts, strict=True):
            if verdict.fault is None:
                self.stats.vertices_verified += 1
                self._ids.keep(vertex.digest, verdict.ids)
            else:
                self.stats.vertices_refused += 1
        self.step(self.node.on_verified, job, [verdict.fault for verdict in verdicts], self._clock.now_ms())

    def _ids_of(self, ref: AnyRef) -> bytes | None:
        return self._ids.get(ref.digest)

    def _execute(self, effect: Execute) -> None:
        self._executing.append(effect.sub_dag)
        self.stats.execution_waiting = len(self._executing)
        if not self._is_executing:
            self._is_executing = True
            self._loop.call_soon(self._execute_next)

    def _execute_next(self) -> None:
        """One commit at a time, so that the loop turns in between."""
        if not self._is_running:
            return
        sub_dag = self._executing.popleft()
        commit = sub_dag.commit
        try:
            executed = self.books.apply(sub_dag, [self._ids.take(ref.digest) for ref in commit.vertices])
            update_issuers(self.node, executed.result)
            self._listener.on_executed(executed)
            for watcher in self.watchers:
                watcher.on_final(executed)
        except Exception as error:  # noqa: BLE001 - the loop's edge
            self.fail(error)
            return
        self.stats.commits += 1
        self.stats.execution_waiting = len(self._executing)
        self._is_executing = bool(self._executing)
        if self._is_executing:
            self._loop.call_soon(self._execute_next)
        self.step(self.node.on_executed, commit.index, executed.state_root, self._clock.now_ms())
        if executed.state_root is not None:
            self._agree()

    def _lose(self, effect: Lost) -> None:
        self.stats.lost += len(effect.vertices)
        for vertex in effect.vertices:
            self._ids.take(vertex.digest)
        self._listener.on_lost(effect.vertices)

    def _report(self, effect: Report) -> None:
        self.stats.equivocations += 1
        self.tell("equivocation", first=str(effect.first.ref), second=str(effect.second.ref))
        self.keep_evidence(effect)

    def _penalise(self, effect: Penalise) -> None:
        self.stats.penalties += 1
        self._network.penalise(effect.peer, effect.code, effect.reason)

    def _certify(self, effect: Certified) -> None:
        if self.diverged is not None:  # it would prove a state that is not ours
            return
        self.certificate = effect.certificate
        checkpoint = effect.certificate.checkpoint
        self.tell("checkpoint_certified", commit=checkpoint.index, state_root=checkpoint.state_root)
        self._agree()

    def _agree(self) -> None:
        found, own = self.certificate, self.node.engine.checkpoints.own
        if found is not None and own.get(found.checkpoint.index) == found.checkpoint:
            self.agreed = found

    def _diverge(self, effect: Diverged) -> None:
        """Nothing is signed any more. What a quorum has signed proves nothing of our state."""
        self.diverged = effect
        self.certificate = self.agreed
        self.tell(
            "diverged",
            commit=effect.own.index,
            own_root=effect.own.state_root,
            certified_root=effect.certificate.checkpoint.state_root,
        )
        self.keep_evidence(effect)

    # Time

    def _arm(self) -> None:
        wake_ms = self.node.wake_at_ms
        if wake_ms == self._timer_ms:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_ms = wake_ms
        if wake_ms is not None:
            late_ms = max(0, wake_ms - self._clock.now_ms())
            self._timer = self._loop.call_later(late_ms / 1000, self._tick)

    def _tick(self) -> None:
        self._timer = self._timer_ms = None
        self.step(self.node.on_tick, self._clock.now_ms())

    def _look_at_clock(self) -> None:
        self.node.set_clock(self._clock.wall_offset_ms())
        self._clock_timer = self._loop.call_later(_CLOCK_S, self._look_at_clock)
