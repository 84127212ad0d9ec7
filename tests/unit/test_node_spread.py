"""Nodes that are no validators follow through one another: whole nodes in virtual time, no sockets."""

import heapq
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from engine_nodes import seat_of, sends
from engines import FOUR, START_MS, Forge, Marks, MockSigner, Payloads, changed, flat, of_type

from cherrydag.consensus.effects import Broadcast, Execute, Persist, Relay
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.gossip.effects import Penalise, Send, Verify
from cherrydag.gossip.messages import (
    Announce,
    GetCommits,
    GetNewest,
    GetVertices,
    Graft,
    Newest,
    Prune,
    Push,
)
from cherrydag.gossip.spread import SpreadLimits
from cherrydag.node import Node, NodeConfig
from cherrydag.params import COMMIT_SYNC_BATCH, PEER_OTHERS
from cherrydag.storage.memory import MemoryStore

FORGE = Forge()
ROWS = FORGE.rounds(6)
PACE = changed(min_round_delay_ms=10, idle_round_delay_ms=20)
DELAY_MS = 5
A, B, C = 4, 5, 6
"""Nodes that are no validators."""


class Web:
    """Four validators and some others, joined as told. Disks and verification take no time."""

    def __init__(self, others: int) -> None:
        self.now_ms = START_MS
        self.nodes: dict[int, Node] = {}
        self.stores = {number: MemoryStore() for number in range(4 + others)}
        self.executed: dict[int, list[bytes]] = {number: [] for number in range(4 + others)}
        self.links: dict[int, dict[int, None]] = {number: {} for number in range(4 + others)}
        self.blamed: list[Any] = []
        self.asked: list[tuple[int, int, Any]] = []
        self.events: list[tuple[int, int, int, int, Any]] = []
        self.count = 0
        for number in range(4):
            self.boot(number)
        for one in range(4):
            for other in range(one):
                self.join(one, other)

    def boot(self, number: int) -> None:
        me = number if number < 4 else None
        seed = number.to_bytes(16, "little")
        config = NodeConfig(FOUR, me, ChainParams(gc_depth=10), PACE, seed, spread=SpreadLimits())
        node = Node(config, MockSigner(number), Marks(), Payloads(0), self.stores[number])
        self.nodes[number] = node
        self.perform(number, node.start(self.now_ms))

    def join(self, one: int, other: int) -> None:
        for a, b in ((one, other), (other, one)):
            self.links[a][b] = None
        for a, b in ((one, other), (other, one)):
            self.perform(a, self.nodes[a].on_connected(peer(b), self.now_ms))

    def kill(self, number: int) -> None:
        del self.nodes[number]
        for other in self.links.pop(number):
            del self.links[other][number]
            self.perform(other, self.nodes[other].on_disconnected(peer(number), self.now_ms))

    def run(self, for_ms: int, until: Callable[[], bool] = lambda: False) -> None:
        end_ms = self.now_ms + for_ms
        while not until():
            wakes = [(n.wake_at_ms, i) for i, n in self.nodes.items() if n.wake_at_ms is not None]
            wake = min(wakes, default=(end_ms + 1, -1))
            if self.events and self.events[0][0] <= min(wake[0], end_ms):
                at_ms, _, source, target, message = heapq.heappop(self.events)
                self.now_ms = max(self.now_ms, at_ms)
                if target in self.links.get(source, {}):
                    node = self.nodes[target]
                    self.perform(target, node.on_message(peer(source), message, self.now_ms))
            elif wake[0] <= end_ms:
                self.now_ms = max(self.now_ms, wake[0])
                self.perform(wake[1], self.nodes[wake[1]].on_tick(self.now_ms))
            else:
                self.now_ms = end_ms
                return

    def perform(self, number: int, effects: Iterable[Any]) -> None:
        node, waiting = self.nodes[number], list(effects)
        while waiting:
            effect = waiting.pop(0)
            if isinstance(effect, Verify):
                waiting += node.on_verified(effect.job, [None] * len(effect.vertices), self.now_ms)
            elif isinstance(effect, Persist):
                self.stores[number].write(effect)
                self.stores[number].sync()
                waiting += node.on_persisted(effect.ticket, self.now_ms)
            elif isinstance(effect, Execute):
                commit = effect.sub_dag.commit
                self.executed[number].append(commit.digest)
                waiting += node.on_executed(commit.index, None, self.now_ms)
            elif isinstance(effect, Send):
                if isinstance(effect.message, GetVertices | GetCommits):
                    self.asked.append((number, seat(effect.peer), effect.message))
                self.post(number, seat(effect.peer), effect.message)
            elif isinstance(effect, Broadcast | Relay):
                source = effect.source if isinstance(effect, Relay) else -1
                for other in [n for n in self.links[number] if n < 4 and n != source]:
                    self.post(number, other, Push(effect.vertex))
            elif isinstance(effect, Penalise):
                self.blamed.append(effect)

    def post(self, source: int, target: int, message: Any) -> None:
        self.count += 1
        heapq.heappush(self.events, (self.now_ms + DELAY_MS, self.count, source, target, message))

    def lag(self, number: int) -> int:
        """Commits that it has executed fewer than the first validator."""
        behind, ahead = self.executed[number], self.executed[0]
        assert behind == ahead[: len(behind)] or ahead == behind[: len(ahead)]
        return len(ahead) - len(behind)


def peer(number: int) -> int:
    return number if number < 4 else PEER_OTHERS + number


def seat(number: int) -> int:
    return number if number < 4 else number - PEER_OTHERS


def chain_of(others: int) -> Web:
    """Validator 0 - A - B - C ..., and no other link."""
    web = Web(others)
    for number in range(4, 4 + others):
        web.boot(number)
        web.join(number, number - 1 if number > 4 else 0)
    return web


def test_nodes_behind_one_another_follow_live() -> None:
    web = chain_of(3)
    web.run(2000)
    assert len(web.executed[0]) > 30
    assert all(web.lag(number) <= 3 for number in (A, B, C))
    assert web.blamed == []
    fetched = [ask for number, _, ask in web.asked if number >= 4]
    assert fetched == []  # all of it was pushed


def test_who_comes_late_asks_those_it_is_linked_with_for_commits() -> None:
    web = chain_of(2)
    web.run(60_000, until=lambda: len(web.executed[B]) >= 2 * COMMIT_SYNC_BATCH)
    web.stores[C], web.executed[C], web.links[C] = MemoryStore(), [], {}
    web.boot(C)
    web.join(C, B)
    web.run(1000, until=lambda: web.executed[C] != [] and web.lag(C) <= 3)
    assert web.lag(C) <= 3
    asked = [(target, type(ask)) for number, target, ask in web.asked if number == C]
    assert (B, GetCommits) in asked and {target for target, _ in asked} == {B}
    assert web.blamed == []


def test_the_branch_dies_and_another_is_grafted() -> None:
    web = chain_of(3)
    web.join(C, A)  # a second way for C
    web.run(2000)
    web.kill(B)
    before = len(web.executed[C])
    web.run(2000)
    assert len(web.executed[C]) > before + 20 and web.lag(C) <= 3


def test_an_operators_vertex_goes_up_to_the_validators_and_down_to_all() -> None:
    web = chain_of(3)
    web.run(500)
    node = web.nodes[C]
    newest = node.engine.window.vertices(node.engine.clock_round)
    vertex = FORGE.operator(1, newest[:2], timestamp_ms=web.now_ms)
    for each in web.nodes.values():
        each.set_issuer(vertex.issuer, 1, 9)
    web.perform(C, node.submit_vertex(vertex, web.now_ms))
    web.run(2000)
    for number, store in web.stores.items():
        refs = [ref for commit in store.commits(1, 10_000) for ref in commit.vertices]
        assert vertex.ref in refs, number
    assert web.blamed == []


# One node


def spreader(me: int | None, *peers: int, **settings: Any) -> Any:
    return seat_of(me, *peers, settings={"spread": SpreadLimits()} | settings)


def test_a_node_that_is_no_validator_pushes_what_it_gets_to_all_but_its_source() -> None:
    node = spreader(None, 1, 2, PEER_OTHERS)
    vertex = ROWS[0][1]
    assert sends(node.say(1, Push(vertex)), Push) == [(2, Push(vertex)), (PEER_OTHERS, Push(vertex))]


def test_a_validator_pushes_others_vertices_to_nodes_that_are_none() -> None:
    node = spreader(3, 1, 2, PEER_OTHERS)
    effects = node.say(1, Push(ROWS[0][1]))
    assert sends(effects, Push) == [(PEER_OTHERS, Push(ROWS[0][1]))]


def test_without_spreading_nothing_is_passed_on() -> None:
    node = seat_of(None, 1, 2, PEER_OTHERS)
    assert sends(node.say(1, Push(ROWS[0][1])), Push) == []
    assert node.say(2, Graft((ROWS[0][1].ref,))) == [Send(2, Push(ROWS[0][1]))]


def test_what_does_not_verify_is_not_passed_on() -> None:
    node = spreader(None, 1, 2)
    bad = FORGE.first(1, variant=0xFF)
    assert sends(node.say(1, Push(bad)), Push) == []


def test_a_graft_brings_what_is_here_and_durable() -> None:
    node = spreader(None, 1, PEER_OTHERS)
    for vertex in ROWS[0][:2]:
        node.say(1, Push(vertex))
    refs = tuple(vertex.ref for vertex in ROWS[0][:3])
    assert sends(node.say(PEER_OTHERS, Graft(refs)), Push) == [
        (PEER_OTHERS, Push(vertex)) for vertex in ROWS[0][:2]
    ]


def test_our_own_vertices_are_spread_only_once_they_are_durable() -> None:
    node = spreader(0)
    effects = node.node.start(START_MS)
    for other in (1, 2, PEER_OTHERS):
        effects += node.node.on_connected(other, START_MS)
    for asked, ask in sends(effects, GetNewest):
        effects += node.node.on_message(asked, Newest(ask.number, 0, ()), START_MS)
    [persist] = of_type(effects, Persist)
    own = persist.vertices[-1]
    assert sends(effects, Push) == []
    assert sends(node.node.on_message(PEER_OTHERS, Graft((own.ref,)), START_MS), Push) == []
    assert sends(node.perform([persist]), Push) == [(PEER_OTHERS, Push(own))]


def test_announcements_far_ahead_are_not_believed() -> None:
    node = spreader(None, 1)
    most = node.timing.round_ahead_max
    for number, expected in ((most - 1, 1), (most, 2), (most + 1, 2)):
        node.say(1, Announce((ROWS[0][0].ref._replace(round=number),)))
        assert len(node.node.spreading.spread) == expected


def test_whoever_is_pruned_says_so_in_announcements() -> None:
    node = spreader(None, 1, 2)
    node.say(2, Prune())
    assert sends(node.say(1, Push(ROWS[0][1])), Push) == []
    assert sends(node.tick(100), Announce) == [(2, Announce((ROWS[0][1].ref,)))]


@pytest.mark.parametrize("me", [None, 0])
def test_whom_a_node_may_ask(me: int | None) -> None:
    """A validator asks validators; any other node whoever it is linked with."""
    node = spreader(me, PEER_OTHERS + 1, 2, PEER_OTHERS, 1)
    expected = [1, 2] if me == 0 else [1, 2, PEER_OTHERS, PEER_OTHERS + 1]
    assert node.node.spreading.peers_to_ask(node.node._connected) == expected
    assert flat([node.node.fetcher._peers]) == expected
