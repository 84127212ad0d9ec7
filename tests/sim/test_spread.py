"""A network of spreaders in virtual time: every node gets every vertex, mostly once, whatever dies."""

import heapq
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from engines import Forge

from cherrydag.gossip.messages import Announce, Graft, Prune, Push
from cherrydag.gossip.spread import Sent, Spread, SpreadLimits
from cherrydag.primitives import Peer

FORGE = Forge()
MESH = 4
"""The first nodes are validators: they have one another's vertices by themselves."""

LATE_MS = 3000
"""By then what was lost has been repaired."""


@dataclass
class Site:
    """A node: what it has, by digest, and when it came."""

    spread: Spread
    links: list[int]
    has: dict[bytes, tuple[Any, int]] = field(default_factory=dict)
    up: bool = True
    wake_ms: int | None = None


class Net:
    """Spreaders joined at random. loss: permille of the messages that never arrive, outside the mesh."""

    def __init__(self, nodes: int, degree: int, seed: int, loss: int = 0, delay_ms: int = 10) -> None:
        self.random = random.Random(seed)
        self.loss, self.delay_ms = loss, delay_ms
        self.now_ms = 0
        self.events: list[tuple[int, int, int, int, Any]] = []
        self.count = self.pushes = self.repeats = self.bytes_announced = 0
        self.sites: list[Site] = []
        for number in range(nodes):
            has = lambda ref, n=number: ref.digest in self.sites[n].has  # noqa: E731 - one for each
            self.sites.append(Site(Spread(has, seed=seed + number, is_fed=number < MESH), []))
        for one, other in self._edges(nodes, degree):
            self.join(one, other)

    def _edges(self, nodes: int, degree: int) -> set[tuple[int, int]]:
        """A ring, so that all are connected, and chords; none between two validators."""
        edges = {(number, number + 1) for number in range(MESH - 1, nodes - 1)}
        while len(edges) < nodes * degree // 2:
            one, other = sorted(self.random.sample(range(nodes), 2))
            if other >= MESH:
                edges.add((one, other))
        return edges

    def join(self, one: int, other: int) -> None:
        for a, b in ((one, other), (other, one)):
            self.sites[a].links.append(b)
            self.sites[a].spread.connected(Peer(b))

    def kill(self, number: int) -> None:
        self.sites[number].up = False
        for other in self.sites[number].links:
            self.sites[other].spread.gone(Peer(number))

    def publish(self, number: int, vertex: Any) -> None:
        self._enter(number, vertex, number)
        self._arm(number)

    def run(self, until_ms: int) -> None:
        while self.events and self.events[0][0] <= until_ms:
            at_ms, _, source, target, message = heapq.heappop(self.events)
            self.now_ms = max(self.now_ms, at_ms)
            site = self.sites[target]
            if not site.up or not self.sites[source].up:
                continue
            if message is not None:
                self._deliver(source, target, message)
            elif site.wake_ms == at_ms:
                site.wake_ms = None
                self._send(target, site.spread.due(self.now_ms))
            self._arm(target)
        self.now_ms = until_ms

    def _arm(self, number: int) -> None:
        site = self.sites[number]
        wake_ms = site.spread.wake_at_ms
        if wake_ms is not None and (site.wake_ms is None or wake_ms < site.wake_ms):
            site.wake_ms = wake_ms
            self._post(number, number, None, wake_ms - self.now_ms)

    def _enter(self, number: int, vertex: Any, source: int) -> None:
        site = self.sites[number]
        site.has[vertex.digest] = vertex, self.now_ms
        if number < MESH and (source == number or source >= MESH):
            for other in range(MESH):  # a validator's own, and what it has got from outside
                if other != number:
                    self._post(number, other, Push(vertex), self.delay_ms)
        self._send(number, site.spread.entered(vertex, Peer(source), self.now_ms))

    def _deliver(self, source: int, target: int, message: Any) -> None:
        site = self.sites[target]
        if isinstance(message, Push):
            self.pushes += not self._is_mesh(source, target)
            known = message.vertex.digest in site.has
            self.repeats += known and not self._is_mesh(source, target)
            self._send(target, site.spread.pushed(Peer(source), message.vertex, self.now_ms))
            if not known:
                self._enter(target, message.vertex, source)
        elif isinstance(message, Announce):
            self.bytes_announced += 70 * len(message.refs)
            site.spread.on_announce(Peer(source), message, self.now_ms)
        elif isinstance(message, Graft):
            site.spread.on_graft(Peer(source), message)
            found = [site.has[ref.digest][0] for ref in message.refs if ref.digest in site.has]
            self._send(target, [(Peer(source), Push(vertex)) for vertex in found])
        else:
            assert isinstance(message, Prune)
            site.spread.on_prune(Peer(source))

    def _send(self, number: int, sent: list[Sent]) -> None:
        for peer, message in sent:
            if self.random.randrange(1000) >= self.loss:
                jitter = self.random.randrange(self.delay_ms)
                self._post(number, peer, message, self.delay_ms + jitter)

    def _post(self, source: int, target: int, message: Any, late_ms: int) -> None:
        self.count += 1
        heapq.heappush(self.events, (self.now_ms + late_ms, self.count, source, target, message))

    def _is_mesh(self, source: int, target: int) -> bool:
        return source < MESH and target < MESH

    # What came of it

    def rounds(self, first: int, last: int, pace_ms: int = 50, issuers: tuple[int, ...] = ()) -> list[Any]:
        """Rounds of the validators' vertices, and in each one of an operator at one of these nodes."""
        made = []
        for number in range(first, last + 1):
            for author in range(MESH):
                vertex = FORGE.vertex(number, author, FORGE.genesis)
                made.append(vertex)
                self.publish(author, vertex)
            for issuer in issuers[number % max(1, len(issuers)) :][:1]:
                vertex = FORGE.operator(issuer, made[-2:], number)
                made.append(vertex)
                self.publish(issuer, vertex)
            self.run(self.now_ms + pace_ms)
        return made

    def lacking(self, vertices: list[Any]) -> list[tuple[int, int]]:
        return [
            (number, place)
            for number, site in enumerate(self.sites)
            if site.up
            for place, vertex in enumerate(vertices)
            if vertex.digest not in site.has
        ]

    def redundancy(self, vertices: list[Any], pushes: int) -> float:
        """Pushes for each vertex and node that is no validator."""
        others = sum(site.up for site in self.sites[MESH:])
        return pushes / (others * len(vertices))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_node_gets_every_vertex_at_one_percent_loss(seed: int) -> None:
    net = Net(50, 8, seed, loss=10)
    first = net.rounds(1, 20, issuers=(10, 30, 49))
    before = net.pushes
    rest = net.rounds(21, 60, issuers=(10, 30, 49))
    redundancy = net.redundancy(rest, net.pushes - before)
    net.run(net.now_ms + LATE_MS)
    assert net.lacking(first + rest) == []
    assert redundancy < 1.5, redundancy  # flooding all of degree 8 would be 7
    assert all(len(site.spread) == 0 for site in net.sites)


def test_without_loss_the_tree_settles_and_brings_nearly_everything_once() -> None:
    net = Net(50, 8, 4)
    net.rounds(1, 60, issuers=(10, 30))
    before, repeats = net.pushes, net.repeats
    settled = net.rounds(61, 80, issuers=(10, 30))
    net.run(net.now_ms + LATE_MS)
    assert net.lacking(settled) == []
    assert net.redundancy(settled, net.pushes - before) < 1.02
    assert net.repeats - repeats < 0.02 * (net.pushes - before)
    assert sum(len(site.spread.branches) for site in net.sites) == 2 * (50 - MESH)  # a tree


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_the_tree_is_repaired_after_nodes_die(seed: int) -> None:
    net = Net(50, 8, seed, loss=10)
    net.rounds(1, 20)
    victims = sorted(range(MESH, 50), key=lambda n: -len(net.sites[n].spread.branches))
    for victim in victims[:5]:  # those on which most depend
        net.kill(victim)
    after = net.rounds(21, 40)
    net.run(net.now_ms + LATE_MS)
    assert net.lacking(after) == []
    late = [net.sites[n].has[v.digest][1] for n in range(50) if net.sites[n].up for v in after[-4:]]
    assert max(late) - min(late) < 1000


def test_a_validator_dies_and_its_leaves_are_fed_by_others() -> None:
    net = Net(30, 4, 8)
    net.rounds(1, 20)
    net.kill(0)
    made = []
    for number in range(21, 41):
        for author in range(1, MESH):
            made.append(FORGE.vertex(number, author, FORGE.genesis))
            net.publish(author, made[-1])
        net.run(net.now_ms + 50)
    net.run(net.now_ms + LATE_MS)
    assert net.lacking(made) == []


def test_equal_seeds_give_equal_histories() -> None:
    counts = []
    for _ in range(2):
        net = Net(20, 4, 9, loss=50)
        net.rounds(1, 20, issuers=(7,))
        counts.append((net.pushes, net.repeats, net.bytes_announced, net.count))
    assert counts[0] == counts[1]


# One spreader


def spreader(
    *peers: int, has: tuple[Any, ...] = (), seed: int = 1, is_fed: bool = False, **limits: int
) -> Spread:
    spread = Spread(lambda ref: ref in has, SpreadLimits(**limits), seed=seed, is_fed=is_fed)
    for peer in peers:
        spread.connected(Peer(peer))
    return spread


ROW = FORGE.rounds(2)[0]
ONE, TWO, THREE = ROW[:3]


def copies(spread: Spread, peer: int, vertices: Any, until_ms: int) -> list[Sent]:
    """What is said to a peer that brings these again and again, every 10 ms."""
    said: list[Sent] = []
    for now_ms in range(0, until_ms, 10):
        for vertex in vertices:
            said += spread.pushed(Peer(peer), vertex, now_ms)
    return said


def test_second_copies_prune_their_branch_within_the_pause_and_the_last_branch_stays() -> None:
    spread = spreader(1, 2, prune_ms=1000)
    assert copies(spread, 1, ROW, 10) == []
    assert copies(spread, 2, ROW, 1001) == [(2, Prune())]
    assert spread.branches == [1]
    assert copies(spread, 1, ROW, 5000) == []  # though the first copy of some came from there
    assert spread.branches == [1]


def test_what_is_late_once_is_not_pruned_at_once() -> None:
    spread = spreader(1, 2, seed=3, prune_ms=1000)
    spread.pushed(Peer(1), ONE, 0)
    assert spread.pushed(Peer(2), ONE, 0) == []
    spread.pushed(Peer(1), TWO, 2001)
    assert spread.pushed(Peer(2), TWO, 2001) == []  # the pause begins anew
    assert spread.branches == [1, 2]


def test_who_goes_on_pushing_is_told_again() -> None:
    spread = spreader(1, 2, prune_ms=100)
    copies(spread, 1, ROW, 10)
    assert copies(spread, 2, ROW, 1000) == [(2, Prune())] * 10
    assert spread.branches == [1]


def test_a_branch_that_feeds_a_validator_may_be_its_last() -> None:
    spread = spreader(1, is_fed=True, prune_ms=100)
    spread.entered(ONE, Peer(9), 0)  # from one of the others
    assert copies(spread, 1, [ONE], 101) == [(1, Prune())]
    assert spread.branches == []


def test_operators_vertices_neither_make_nor_prune_branches() -> None:
    vertex = FORGE.operator(1, ROW[:2])
    spread = spreader(1, 2)
    copies(spread, 1, [vertex], 10)
    assert copies(spread, 2, [vertex], 5000) == []
    spread.on_prune(Peer(2))
    assert spread.pushed(Peer(2), FORGE.operator(1, ROW[:2], 1), 0) == [] and spread.branches == [1]
    spread.on_graft(Peer(2), Graft((vertex.ref,)))
    assert spread.branches == [1]
    spread.on_announce(Peer(2), Announce((vertex.ref.__class__(1, vertex.issuer, b"x" * 32),)), 0)
    [(peer, graft)] = spread.due(10_000)
    assert peer == 2 and isinstance(graft, Graft) and spread.branches == [1]


def test_a_first_copy_makes_a_branch() -> None:
    spread = spreader(1)
    spread.on_prune(Peer(1))
    assert spread.branches == []
    spread.pushed(Peer(1), ONE, 0)
    assert spread.branches == [1]


def test_who_pruned_us_gets_announcements_and_who_grafts_pushes() -> None:
    spread = spreader(1, 2, 3, announce_ms=40)
    spread.on_prune(Peer(2))
    assert spread.entered(ONE, Peer(3), 100) == [(1, Push(ONE))]
    assert spread.entered(TWO, Peer(3), 120) == [(1, Push(TWO))]
    assert spread.wake_at_ms == 140 and spread.due(139) == []
    assert spread.due(140) == [(2, Announce((ONE.ref, TWO.ref)))]
    spread.on_graft(Peer(2), Graft((ONE.ref,)))
    assert spread.entered(THREE, Peer(3), 150) == [(1, Push(THREE)), (2, Push(THREE))]
    assert spread.wake_at_ms is None


def test_what_is_announced_and_does_not_come_is_grafted_from_each_in_turn() -> None:
    spread = spreader(1, 2, 3, graft_ms=120, retry_ms=500)
    for peer in (1, 2):
        spread.on_announce(Peer(peer), Announce((ONE.ref,)), 0)
    assert spread.wake_at_ms is not None and 120 <= spread.wake_at_ms < 240 and spread.due(119) == []
    graft = Graft((ONE.ref,))
    asked = [spread.due(at_ms) for at_ms in (240, 740, 1240, 1740)]
    assert asked == [[(1, graft)], [(2, graft)], [(1, graft)], [(2, graft)]]
    assert spread.due(2240) == [] and len(spread) == 0 and spread.wake_at_ms is None


def test_what_comes_in_time_is_not_grafted_nor_sent_to_who_has_it() -> None:
    spread = spreader(1, 2)
    spread.on_announce(Peer(1), Announce((ONE.ref,)), 0)
    assert spread.entered(ONE, Peer(9), 50) == [(2, Push(ONE))]
    assert spread.due(1000) == [] and len(spread) == 0


def test_what_is_here_is_not_waited_for() -> None:
    spread = spreader(1, has=(ONE.ref,))
    spread.on_announce(Peer(1), Announce((ONE.ref,)), 0)
    assert len(spread) == 0


def test_what_has_come_otherwise_meanwhile_is_not_grafted() -> None:
    here: list[Any] = []
    spread = Spread(lambda ref: ref in here)
    spread.connected(Peer(1))
    spread.on_announce(Peer(1), Announce((ONE.ref,)), 0)
    here.append(ONE.ref)  # it is parked, say
    assert spread.due(10_000) == [] and len(spread) == 0


def test_a_peer_that_leaves_is_not_asked() -> None:
    spread = spreader(1, 2)
    spread.on_announce(Peer(1), Announce((ONE.ref, TWO.ref)), 0)
    spread.on_announce(Peer(2), Announce((ONE.ref,)), 0)
    spread.gone(Peer(1))
    assert len(spread) == 1
    assert spread.due(10_000) == [(2, Graft((ONE.ref,)))]


@pytest.mark.parametrize("count", [63, 64, 65])
def test_a_graft_asks_for_so_many(count: int) -> None:
    refs = tuple(ONE.ref._replace(round=number) for number in range(count))
    spread = spreader(1)
    spread.on_announce(Peer(1), Announce(refs), 0)
    assert [len(message.refs) for _, message in spread.due(240)] == [
        min(count, 64),
        *([1] if count > 64 else []),
    ]


@pytest.mark.parametrize("count", [4, 5, 6])
def test_a_peer_makes_us_wait_for_so_many_and_takes_nobody_else_s_room(count: int) -> None:
    spread = spreader(1, 2, missing_peer_max=5, missing_max=6)
    refs = [ONE.ref._replace(round=number) for number in range(9)]
    spread.on_announce(Peer(1), Announce(tuple(refs[:count])), 0)
    assert len(spread) == min(count, 5)
    spread.on_announce(Peer(2), Announce(tuple(refs[6:])), 0)
    assert len(spread) == 6


@pytest.mark.parametrize("count", [3, 4, 5])
def test_so_much_waits_to_be_announced_and_the_oldest_is_left_out(count: int) -> None:
    spread = spreader(1, announced_max=4)
    spread.on_prune(Peer(1))
    vertices = FORGE.rounds(2)[0] + FORGE.rounds(2)[1]
    for vertex in vertices[:count]:
        spread.entered(vertex, Peer(9), 0)
    [(_, announced)] = spread.due(1000)
    assert announced.refs == tuple(vertex.ref for vertex in vertices[max(0, count - 4) : count])


def test_strangers_say_nothing() -> None:
    spread = spreader(1)
    spread.on_announce(Peer(2), Announce((ONE.ref,)), 0)
    spread.on_graft(Peer(2), Graft(()))
    spread.on_prune(Peer(2))
    spread.gone(Peer(2))
    assert spread.pushed(Peer(2), ONE, 0) == [] and len(spread) == 0
