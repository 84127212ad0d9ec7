"""A world: seats with nodes, one heap of events, one virtual time, a network, and a plan of faults.

Everything follows from the scenario. Time is an integer of microseconds; events of one moment go in the order
in which they were made.
"""

import heapq
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from struct import Struct
from traceback import extract_tb
from typing import Any, Final

import numpy as np

from cherrydag import crypto
from cherrydag.chain import Chain
from cherrydag.committee import Committee, Member
from cherrydag.consensus.leader import leader_of
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.consensus.ports import PayloadSource, Signer, SignState
from cherrydag.gossip.messages import Message, Push
from cherrydag.node import Node, NodeConfig
from cherrydag.params import PEER_OTHERS
from cherrydag.payload import Payload, build_payload
from cherrydag.primitives import Epoch, Peer, PublicKey, Round, Stake, ValidatorIndex
from cherrydag.sim import casting
from cherrydag.sim.actor import Actor
from cherrydag.sim.chance import Chance
from cherrydag.sim.checks import Blind, Checks
from cherrydag.sim.clock import SECOND_US
from cherrydag.sim.faults import Plan, draw_plan
from cherrydag.sim.host import Host
from cherrydag.sim.keys import Verifier, mock_key
from cherrydag.sim.network import Network
from cherrydag.sim.outcome import Outcome
from cherrydag.sim.scenario import Scenario
from cherrydag.sim.violation import Violation, ViolationError
from cherrydag.storage.memory import MemoryStore
from cherrydag.transaction import build_transfers
from cherrydag.verify import EpochRules
from cherrydag.vertex import ValidatorVertex, Vertex

PAYLOADS: Final = 64
"""Payloads that a world's clients bring over and over."""

JUMP_US: Final = 120_000
"""How late vertices reach the next leader while a jumper is about: less than a leader's timeout."""

_RECORDS: Final = 4
_LOG_BYTES: Final = 1 << 16
_EVENT: Final = Struct("<QBHQ")

MakeNode = Callable[[NodeConfig, Signer, SignState, PayloadSource, MemoryStore], Node]
Event = tuple[int, int, Callable[[Any, Any, int], None], Any, Any, int]


@cache
def world_chain() -> Chain:
    """The chain of every world."""
    return Chain.of(crypto.hash_bytes(b"cherrydag.sim"))


@cache
def world_payloads() -> tuple[Payload, ...]:
    """Payloads of a few transfers each, unsigned: nobody here looks at users' signatures."""
    count = PAYLOADS * _RECORDS
    senders = np.frombuffer(b"".join(mock_key(f"user {i}") for i in range(8)), np.uint8).reshape(-1, 32)
    records = build_transfers(
        senders=senders[np.arange(count) % 8],
        recipients=bytes(range(20)),
        amounts=np.arange(count) + 1,
        nonces=np.arange(count) // 8,
    )
    return tuple(
        build_payload(records[at : at + _RECORDS], world_chain()) for at in range(0, count, _RECORDS)
    )


def _where(error: Exception) -> str:
    """The innermost lines that raised it."""
    frames = extract_tb(error.__traceback__)[-3:]
    return " < ".join(f"{Path(frame.filename).stem}.{frame.name}:{frame.lineno}" for frame in frames[::-1])


class EventLog:
    """The hash of everything that has happened, so that two runs can be compared."""

    __slots__ = ("_bytes", "_digest", "_world")

    def __init__(self, world: "World") -> None:
        self._world = world
        self._bytes = bytearray()
        self._digest = b""

    def add(self, kind: int, seat: int, number: int, message: Message | None) -> None:
        """Note an event: its kind, the seat, a number, and what message it delivers."""
        self._bytes += _EVENT.pack(self._world.now_us, kind, seat, number)
        if type(message) is Push:
            self._bytes += message.vertex.digest
        elif message is not None:
            self._bytes += type(message).__name__.encode()
        if len(self._bytes) >= _LOG_BYTES:
            self._fold()

    def hexdigest(self) -> str:
        """The hash up to now."""
        self._fold()
        return self._digest.hex()

    def _fold(self) -> None:
        self._digest = crypto.hash_bytes(self._digest + self._bytes)
        self._bytes.clear()


class World:
    """One world, ready to run. make_node: for tests that plant a bug."""

    def __init__(self, scenario: Scenario, make_node: MakeNode = Node) -> None:
        self.scenario = scenario
        self.make_node = make_node
        self.now_us = 0
        self.deliveries = 0
        self.events = 0
        self._heap: list[Event] = []
        self._number = 0
        self._connections = 0
        self._leaders: dict[tuple[int, Round], ValidatorIndex] = {}
        chance = Chance.of(scenario.seed, "world")
        n = scenario.validators
        self.seats = n + scenario.operators
        stakes = [1] * n if chance.is_hit(750) else [chance.between(1, 3) for _ in range(n)]
        keys = [mock_key(f"validator {seat}") for seat in range(n)]
        self.committee = Committee(
            Epoch(1), tuple(Member(key, Stake(stake)) for key, stake in zip(keys, stakes, strict=True))
        )
        self.rules = EpochRules.of(world_chain(), self.committee)
        self.verifier = Verifier(self.rules)
        self.payloads: Sequence[Payload] = world_payloads()
        self.log = EventLog(self)
        self.network = Network(
            self.seats,
            Chance.of(scenario.seed, "network"),
            wan=scenario.wan,
            lasting_loss=scenario.loss,
        )
        self.plan: Plan = draw_plan(scenario, self.committee)
        self.chain: ChainParams = self.plan.chain
        self.issuers: list[tuple[PublicKey, int, int]] = []
        self.blind = Blind()
        self.checks = Checks(self)
        self.network.trouble = self.plan.trouble
        self.is_crowded = "limits" in scenario.faults or "flooder" in self.plan.cast.values()
        self.has_jumper = "jumper" in self.plan.cast.values()
        self.hosts: list[Host | Actor] = []
        casting.seat_all(self)
        self._honest = [
            host
            for host in self.hosts
            if isinstance(host, Host) and host.is_honest and host.seat not in self.plan.crashed
        ]

    # Seats

    def peer_of(self, seat: int) -> Peer:
        """A seat as nodes number it."""
        n = self.scenario.validators
        return Peer(seat if seat < n else PEER_OTHERS + seat - n)

    def seat_of(self, peer: Peer) -> int:
        """The seat that a node calls this."""
        return peer if peer < PEER_OTHERS else peer - PEER_OTHERS + self.scenario.validators

    def author_seat(self, vertex: Vertex) -> int | None:
        """Where the author or issuer of a vertex sits, None if nowhere."""
        if isinstance(vertex, ValidatorVertex):
            return vertex.author
        return next((host.seat for host in self.hosts if host.issues(vertex)), None)

    @property
    def honest(self) -> list[Host]:
        """Hosts with an honest node that lives, or will again."""
        return self._honest

    @property
    def _counted(self) -> list[Host]:
        """Validators of which liveness is asked."""
        return [host for host in self._honest if host.is_validator and host.seat not in self.plan.ahead]

    # Events

    def at(self, at_us: int, call: Callable[[Any, Any, int], None], a: Any, b: Any, number: int) -> None:
        """Call call(a, b, number) at this time."""
        self._number += 1
        heapq.heappush(self._heap, (at_us, self._number, call, a, b, number))

    def later(
        self, after_us: int, call: Callable[[Any, Any, int], None], a: Any, b: Any, number: int
    ) -> None:
        """Call call(a, b, number) after this time."""
        self._number += 1
        heapq.heappush(self._heap, (self.now_us + after_us, self._number, call, a, b, number))

    def send(self, source: int, target: int, message: Message, late_us: int = 0) -> None:
        """Put a message on the way; late_us: the sender holds it back for so long."""
        network, host = self.network, self.hosts[target]
        connection = host.linked.get(source)
        if connection is None:
            return
        if self.has_jumper:
            late_us += self._late_to_leader(source, target, message)
        if network.trouble is None:
            at_us = network.arrival(source, target, self.now_us)
            if at_us >= 0:
                self._number += 1
                event = (at_us + late_us, self._number, host.deliver, source, message, connection)
                heapq.heappush(self._heap, event)
            return
        of_leader = bool(network.trouble.leader_us) and self._is_leaders(message)
        for at_us in network.arrivals(source, target, self.now_us, of_leader=of_leader):
            self.at(at_us + late_us, host.deliver, source, message, connection)

    def leader(self, round_: Round) -> ValidatorIndex:
        """The leader of a round, by the newest swap table that a node has made."""
        key = len(self.checks.agreement.tables), round_
        if key not in self._leaders:
            self._leaders[key] = leader_of(self.committee, round_, self.checks.swaps)
        return self._leaders[key]

    def _late_to_leader(self, source: int, target: int, message: Message) -> int:
        """How much later a jumper's friend in the network lets an honest vertex reach a coming leader."""
        if not isinstance(message, Push) or not self.hosts[source].is_honest:
            return 0
        vertex = message.vertex
        if not isinstance(vertex, ValidatorVertex):
            return 0
        leads = target in (self.leader(vertex.round), self.leader(Round(vertex.round + 1)))
        return JUMP_US if leads else 0

    def _is_leaders(self, message: Message) -> bool:
        if not isinstance(message, Push) or not isinstance(message.vertex, ValidatorVertex):
            return False
        vertex = message.vertex
        return vertex.author == self.leader(vertex.round)

    # Connections

    def link(self, one: int, other: int) -> None:
        """Connect two seats, if both are up and the network lets them."""
        cut = self.network.trouble.cut if self.network.trouble else set()
        a, b = self.hosts[one], self.hosts[other]
        if a.is_up and b.is_up and other not in a.linked and (one, other) not in cut:
            self._connections += 1
            a.link(other, self._connections)
            b.link(one, self._connections)

    def unlink(self, one: int, other: int) -> None:
        """Disconnect two seats."""
        self.hosts[one].unlink(other)
        self.hosts[other].unlink(one)

    def link_all(self, seat: int) -> None:
        """Connect a seat to all it talks to: validators to everybody, others to validators."""
        n = self.scenario.validators
        for other in range(self.seats if seat < n else n):
            if other != seat:
                self.link(seat, other)

    def unlink_all(self, seat: int) -> None:
        """A seat has died: its connections are gone."""
        for other in range(self.seats):
            if other != seat:
                self.unlink(seat, other)

    # Running

    def run(self) -> Outcome:
        """Run to the end, or to the first violation."""
        violation = None
        try:
            self._begin()
            self._loop()
            self.checks.finish()
        except ViolationError as error:
            violation = error.violation
        except Exception as error:  # noqa: BLE001 - whatever escapes from a node is a violation
            violation = Violation("node", f"{type(error).__name__}: {error}", {"where": _where(error)})
        return Outcome(
            scenario=self.scenario,
            violation=violation,
            rounds=min(
                (host.round for host in self.honest if host.seat < self.scenario.validators), default=0
            ),
            commits=self.checks.height,
            latencies_us=tuple(self.checks.latencies_us),
            gaps_us=tuple(self.checks.gaps_us),
            deliveries=self.deliveries,
            events=self.events,
            virtual_us=self.now_us,
            faults=dict(self.plan.suffered),
            event_hash=self.log.hexdigest(),
        )

    def _begin(self) -> None:
        for host in self.hosts:
            if host.seat not in self.plan.crashed:
                host.start()
        for seat in range(self.scenario.validators):
            self.link_all(seat)
        for at_us, deed in self.plan.deeds:
            self.at(at_us, self._do, deed, None, 0)
        self.at(self.plan.good_us, self._make_good, None, None, 0)
        self.later(SECOND_US, self._look, None, None, 0)

    def _do(self, deed: Callable[["World"], None], _unused: None, __unused: int) -> None:
        self.log.add(5, 0, 0, None)
        deed(self)

    def _make_good(self, _unused: None, __unused: None, ___unused: int) -> None:
        """From now on the network is good, clocks are right and nobody crashes."""
        self.network.trouble = None
        for host in self.hosts:
            if host.is_honest and host.clock.offset_us:
                host.clock.offset_us = 0
                host.reset_clock()
            if host.seat not in self.plan.crashed:
                host.restart()
                host.go_on()
        for seat in range(self.scenario.validators):
            if self.hosts[seat].is_up:
                self.link_all(seat)

    def _look(self, _unused: None, __unused: None, ___unused: int) -> None:
        """Once a second: has everybody gone on?"""
        self.checks.look()
        self.later(SECOND_US, self._look, None, None, 0)

    def _loop(self) -> None:
        heap, pop = self._heap, heapq.heappop
        rounds, last_us = self.scenario.rounds, self.plan.last_us
        honest = self._counted
        while heap and self.now_us < last_us:
            at_us, _, call, a, b, number = pop(heap)
            self.now_us = at_us
            call(a, b, number)
            self.events += 1
            if not self.events & 255 and self.is_good and min(host.round for host in honest) >= rounds:
                return

    @property
    def is_good(self) -> bool:
        """Whether the network's troubles are over."""
        return self.now_us >= self.plan.good_us
