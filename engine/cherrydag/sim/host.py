"""A seat with a production node in it: performs its effects, feeds its inputs, kills and revives it."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

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
from cherrydag.errors import InvariantViolation
from cherrydag.gossip.effects import Penalise, Send, Verify
from cherrydag.gossip.messages import Message, Push
from cherrydag.node import Node, NodeConfig, NodeEffect
from cherrydag.primitives import TimestampMs
from cherrydag.sim.chance import Chance
from cherrydag.sim.clock import Clock, moment_us, monotonic_ms
from cherrydag.sim.devices import Executor, Payloads, SignState
from cherrydag.sim.keys import MockSigner
from cherrydag.storage.memory import MemoryStore
from cherrydag.vertex import OperatorVertex, Vertex

if TYPE_CHECKING:
    from cherrydag.sim.world import World

_BUSY_TICKS_MAX: Final = 1000
"""Ticks at one moment of a node's clock, beyond which it is spinning."""


_REFILL_US: Final = 120_000
"""A client brings the next payload within this, so that some vertices go without."""


class Host:
    """A seat of the world. `checks` watches what an honest node does; an adversary's seat has a blind one."""

    is_honest = True

    def __init__(self, world: "World", seat: int, config: NodeConfig, signer: MockSigner) -> None:
        self.world = world
        self.seat = seat
        self.config = config
        self.signer = signer
        self.peer = world.peer_of(seat)
        self.clock = Clock()
        self.store = MemoryStore()
        self.sign_state = SignState()
        self.payloads = Payloads(world.payloads, seat * 16)
        self.executor = Executor()
        self.chance = Chance.of(world.scenario.seed, f"host {seat}")
        self.linked: dict[int, int] = {}
        self.incarnation = 0
        self.is_up = False
        self.is_paused = False
        self.round = 0
        self.reports: list[Report] = []
        self.penalties: list[Penalise] = []
        self.certified = 0
        self.checks = world.checks if self.is_honest else world.blind
        self._perform: dict[type, Callable[..., None]] = {
            Send: self.send,
            Verify: self._verify,
            Persist: self._persist,
            Broadcast: self.broadcast,
            Relay: self.relay,
            Execute: self._execute,
            Lost: self._lose,
            Report: self._report,
            Penalise: self._penalise,
            Certified: self._certify,
            Diverged: self._diverge,
        }
        self._verifying: deque[tuple[int, tuple[Vertex, ...]]] = deque()
        self._unsynced: deque[Persist] = deque()
        self._syncing = False
        self._executing: deque[SubDag] = deque()
        self._timer_us: int | None = None
        self._busy: tuple[int, int] = (-1, 0)
        self._held: list[tuple[Callable[..., None], tuple[object, ...]]] = []

    @property
    def is_validator(self) -> bool:
        """Whether a member of the committee sits here."""
        return self.seat < self.world.scenario.validators

    def issues(self, vertex: Vertex) -> bool:
        """Whether this vertex is this seat's own."""
        if isinstance(vertex, OperatorVertex):
            return vertex.issuer == self.signer.public_key
        return vertex.author == self.seat

    # Life

    def start(self, executed: int = 0) -> None:
        """Make the node and let it recover from its store; the world links it then."""
        self.is_up = True
        self.node: Node = self.world.make_node(
            self.config, self.signer, self.sign_state, self.payloads, self.store
        )
        self.node.set_clock(self.clock.offset_ms)
        del self.executor.roots[executed + 1 :]
        self.checks.on_start(self, executed)
        for issuer, bond, quota in self.world.issuers:
            self.node.set_issuer(issuer, bond, quota)
        self.step(self.node.start, self.now_ms, executed)

    def crash(self) -> None:
        """Lose all but what is durable, some of the unsynced writes, and the sign mark."""
        if not self.is_up:
            return
        self.checks.on_crash(self)
        self.is_up, self.is_paused = False, False
        self.incarnation += 1
        self.store = self.store.crash(self.chance.between(0, len(self._unsynced)))
        self._unsynced.clear()
        self._executing.clear()
        self._held.clear()
        self._syncing, self._timer_us = False, None
        self.world.unlink_all(self.seat)

    def restart(self) -> None:
        """Start again; the executor's own mark may be a few commits behind what it had executed."""
        if self.is_up:
            return
        last = self.store.last_commit()
        durable = min(self.executor.index, last.index if last else 0)
        self.start(max(0, durable - self.chance.below(4)))
        self.world.link_all(self.seat)

    def pause(self) -> None:
        """Stop in the middle of life; inputs wait."""
        self.is_paused = self.is_up

    def go_on(self) -> None:
        """Take the inputs that have waited."""
        if not self.is_paused:
            return
        self.is_paused = False
        held, self._held = self._held, []
        for call, arguments in held:
            call(*arguments)
        if self.is_up:
            self._arm()

    @property
    def now_ms(self) -> TimestampMs:
        """The moment, by the clock that never steps."""
        return monotonic_ms(self.world.now_us)

    # Inputs

    def deliver(self, source: int, message: Message, connection: int) -> None:
        """A message has arrived, if the connection that it was sent over is still there."""
        if connection != self.linked.get(source):
            return
        if self.is_paused:
            self._held.append((self.deliver, (source, message, connection)))
            return
        self.world.deliveries += 1
        self.world.log.add(1, self.seat, source, message)
        self.step(self.node.on_message, self.world.peer_of(source), message, self.now_ms)

    def link(self, other: int, connection: int) -> None:
        """A connection is up; its number is new."""
        self.linked[other] = connection
        self.take(self._connected, other)

    def unlink(self, other: int) -> None:
        """A connection is gone."""
        if self.linked.pop(other, 0) and self.is_up:
            self.take(self._disconnected, other)

    def take(self, call: Callable[..., None], *arguments: object) -> None:
        """Call now, or when a pause is over."""
        if self.is_paused:
            self._held.append((call, arguments))
        else:
            call(*arguments)

    def _connected(self, other: int) -> None:
        self.step(self.node.on_connected, self.world.peer_of(other), self.now_ms)

    def _disconnected(self, other: int) -> None:
        self.step(self.node.on_disconnected, self.world.peer_of(other), self.now_ms)

    def refill(self, _unused: object, __unused: object, incarnation: int) -> None:
        """A client brings a payload."""
        if incarnation == self.incarnation and not self.payloads.waiting:
            self.payloads.waiting = 1
            self.take(self._refilled)

    def _refilled(self) -> None:
        self.step(self.node.on_payload, self.now_ms)

    def step(self, call: Callable[..., list[NodeEffect]], *arguments: object) -> None:
        """One input and everything that follows from it at once."""
        self.perform(call(*arguments))
        while self._verifying:
            job, vertices = self._verifying.popleft()
            faults = self.world.verifier.faults(vertices)
            self.perform(self.node.on_verified(job, faults, self.now_ms))
        if self.world.is_crowded:
            self.checks.on_step(self)
        self._arm()

    # Effects

    def perform(self, effects: Iterable[NodeEffect]) -> None:
        """Do what the node asks for, in order."""
        for effect in effects:
            self._perform[type(effect)](effect)

    def send(self, effect: Send) -> None:
        """Send one message."""
        self.checks.on_send(self, effect.message)
        self.world.send(self.seat, self.world.seat_of(effect.peer), effect.message)

    def broadcast(self, effect: Broadcast) -> None:
        """Send our own vertex to all that are linked."""
        vertex = effect.vertex
        self.round = vertex.round
        self.checks.on_broadcast(self, vertex)
        push = Push(vertex)
        for target in self.linked:
            self.world.send(self.seat, target, push)
        if not self.payloads.waiting:
            self.world.later(self.chance.below(_REFILL_US), self.refill, None, None, self.incarnation)

    def relay(self, effect: Relay) -> None:
        """Send an operator's vertex on to the validators."""
        push = Push(effect.vertex)
        for target in self.linked:
            if target < self.world.scenario.validators and self.world.peer_of(target) != effect.source:
                self.world.send(self.seat, target, push)

    def _verify(self, effect: Verify) -> None:
        self._verifying.append((effect.job, effect.vertices))

    def _persist(self, effect: Persist) -> None:
        self.store.write(effect)
        self._unsynced.append(effect)
        self.checks.on_persist(self, effect)
        if not self._syncing:
            self._sync()

    def _sync(self) -> None:
        self._syncing = True
        delay_us = 50_000 if self.chance.is_hit(5) else self.chance.between(200, 5_000)
        ticket = self._unsynced[-1].ticket
        self.world.later(delay_us, self._synced, ticket, None, self.incarnation)

    def _synced(self, ticket: Ticket, _unused: object, incarnation: int) -> None:
        if incarnation != self.incarnation:
            return
        if self.is_paused:
            self._held.append((self._synced, (ticket, None, incarnation)))
            return
        self.store.sync()
        while self._unsynced and self._unsynced[0].ticket <= ticket:
            self.checks.on_durable(self, self._unsynced.popleft())
        self._syncing = False
        if self._unsynced:
            self._sync()
        self.world.log.add(2, self.seat, ticket, None)
        self.step(self.node.on_persisted, ticket, self.now_ms)

    def _execute(self, effect: Execute) -> None:
        self.checks.on_execute(self, effect.sub_dag)
        self._executing.append(effect.sub_dag)
        if len(self._executing) == 1:
            self.world.later(self.chance.between(100, 3_000), self._executed, 0, None, self.incarnation)

    def _executed(self, _unused: int, __unused: object, incarnation: int) -> None:
        if incarnation != self.incarnation:
            return
        if self.is_paused:
            self._held.append((self._executed, (0, None, incarnation)))
            return
        sub_dag = self._executing.popleft()
        root = self.executor.execute(sub_dag)
        self.checks.on_root(self, sub_dag.commit.index, root)
        if self._executing:
            self.world.later(self.chance.between(100, 3_000), self._executed, 0, None, self.incarnation)
        self.world.log.add(3, self.seat, sub_dag.commit.index, None)
        self.step(self.node.on_executed, sub_dag.commit.index, root, self.now_ms)

    def _lose(self, effect: Lost) -> None:
        self.checks.on_lost(self, effect.vertices)

    def _report(self, effect: Report) -> None:
        self.reports.append(effect)
        self.checks.on_report(self, effect)

    def _penalise(self, effect: Penalise) -> None:
        self.penalties.append(effect)
        self.checks.on_penalty(self, effect)

    def _certify(self, effect: Certified) -> None:
        self.certified += 1
        self.checks.on_certified(self, effect.certificate)

    def _diverge(self, effect: Diverged) -> None:
        self.checks.on_diverged(self, effect)

    # Time

    def _arm(self) -> None:
        """Wake the node when it asks for it, if no earlier timer does."""
        wake_ms = self.node.wake_at_ms
        if wake_ms is None:
            return
        at_us = moment_us(wake_ms)
        if at_us <= self.world.now_us:
            at_us = self.world.now_us + 1
        if self._timer_us is None or at_us < self._timer_us or self._timer_us <= self.world.now_us:
            self._timer_us = at_us
            self.world.at(at_us, self._tick, at_us, None, self.incarnation)

    def _tick(self, at_us: int, _unused: object, incarnation: int) -> None:
        if incarnation != self.incarnation or at_us != self._timer_us:
            return
        self._timer_us = None
        if self.is_paused:
            return
        now_ms, wake_ms = self.now_ms, self.node.wake_at_ms
        if wake_ms is None or wake_ms > now_ms:
            self._arm()
            return
        self._note_busy(now_ms)
        self.world.log.add(4, self.seat, 0, None)
        self.step(self.node.on_tick, now_ms)

    def _note_busy(self, now_ms: int) -> None:
        at_ms, ticks = self._busy
        self._busy = (now_ms, ticks + 1 if at_ms == now_ms else 1)
        if ticks > _BUSY_TICKS_MAX:
            raise InvariantViolation(f"a node that has ticked waits for a later moment: seat={self.seat}")

    def reset_clock(self) -> None:
        """The wall clock was set."""
        if self.is_up:
            self.node.set_clock(self.clock.offset_ms)
