"""Engines that exchange vertices in virtual time; what leaves them is checked against their disks."""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engines import ALWAYS, START_MS, Host, Payloads, rules_of

from cherrydag.consensus.effects import (
    AskNewest,
    Broadcast,
    Effect,
    Entered,
    Execute,
    Fetch,
    Persist,
    Relay,
    Ticket,
)
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.consensus.timing import Timing
from cherrydag.refs import AnyRef
from cherrydag.vertex import ValidatorVertex


@dataclass
class Site:
    """A host in a network: what it has sent and executed, and what its disk holds for certain."""

    host: Host
    up: bool = True
    boots: int = 0
    sent: list[ValidatorVertex] = field(default_factory=list)
    known: dict[bytes, None] = field(default_factory=dict)
    executed: list[tuple[int, bytes]] = field(default_factory=list)
    written: list[Persist] = field(default_factory=list)
    durable: dict[AnyRef, None] = field(default_factory=dict)
    durable_index: int = 0
    others: list[Effect] = field(default_factory=list)


class Network:
    """Engines that exchange vertices in virtual time. Every send and execution is checked against the disk.

    passes: whether a vertex of a sender reaches a receiver at a moment. Fetches are answered by whoever has
    the vertex, after the same delay.
    """

    def __init__(
        self,
        hosts: Sequence[Host],
        *,
        delay_ms: int = 10,
        sync_ms: int = 1,
        passes: Callable[[int, int, int], bool] | None = None,
    ) -> None:
        self.sites = [Site(host) for host in hosts]
        self.delay_ms = delay_ms
        self.sync_ms = sync_ms
        self.passes = passes or (lambda sender, receiver, now_ms: True)
        self.now_ms = START_MS
        self._events: list[tuple[int, int, int, int, str, Any]] = []
        self._count = 0
        self.history: list[tuple[int, int, str]] = []

    def start(self) -> "Network":
        for number in range(len(self.sites)):
            self.boot(number)
        return self

    def boot(self, number: int) -> None:
        site = self.sites[number]
        site.up = True
        executed = site.executed[-1][0] if site.executed else 0
        self._perform(number, site.host.engine.start(self.now_ms, executed))

    def crash(self, number: int, keep: int = 0, *, executed: int | None = None) -> None:
        """Stop a node; its disk keeps the first `keep` writes that were not synced. Boot it later."""
        site = self.sites[number]
        site.up = False
        site.boots += 1
        for persist in site.written[:keep]:
            self._note_durable(site, persist)
        site.written = []
        site.host.store = site.host.store.crash(keep)
        if executed is not None:
            site.executed = [item for item in site.executed if item[0] <= executed]
        site.host.boot()

    def run(self, for_ms: int, until: Callable[[], bool] = lambda: False) -> None:
        end_ms = self.now_ms + for_ms
        while not until():
            wakes = [
                (site.host.engine.wake_at_ms, number)
                for number, site in enumerate(self.sites)
                if site.up and site.host.engine.wake_at_ms is not None
            ]
            wake = min(wakes, default=None)
            if self._events and (wake is None or self._events[0][0] <= wake[0]):
                if self._events[0][0] > end_ms:
                    break
                at_ms, _, number, boots, kind, item = heapq.heappop(self._events)
                self.now_ms = max(self.now_ms, at_ms)
                site = self.sites[number]
                if site.up and site.boots == boots:
                    self._deliver(number, kind, item)
            elif wake is not None:
                if wake[0] > end_ms:
                    break
                self.now_ms = max(self.now_ms, wake[0])
                self._perform(wake[1], self.sites[wake[1]].host.engine.on_tick(self.now_ms))
            else:
                break
        self.now_ms = max(self.now_ms, end_ms) if not until() else self.now_ms

    def offer(self, number: int, count: int = ALWAYS) -> None:
        """Transactions for the next vertices of a node."""
        site = self.sites[number]
        site.host.payloads.left += count
        self._perform(number, site.host.engine.on_payload(self.now_ms))

    def chains(self) -> list[list[bytes]]:
        """Digests of the executed commits of each node."""
        return [[digest for _, digest in site.executed] for site in self.sites]

    def _deliver(self, number: int, kind: str, item: Any) -> None:
        engine = self.sites[number].host.engine
        if kind == "vertices":
            source, vertices = item
            self._perform(number, engine.on_vertices(vertices, source, self.now_ms))
        elif kind == "newest":
            source, vertices = item
            self._perform(number, engine.on_newest(vertices, source, self.now_ms))
        else:
            self._synced(number, item)

    def _synced(self, number: int, ticket: Ticket) -> None:
        site = self.sites[number]
        site.host.store.sync()
        for persist in site.written:
            self._note_durable(site, persist)
        # One sync covers all that was written before it.
        ticket = max([ticket, *(persist.ticket for persist in site.written)])
        site.written = []
        self._perform(number, site.host.engine.on_persisted(ticket, self.now_ms))

    def _note_durable(self, site: Site, persist: Persist) -> None:
        site.durable |= dict.fromkeys(vertex.ref for vertex in persist.vertices)
        if persist.commits:
            site.durable_index = persist.commits[-1].index

    def _push(self, at_ms: int, number: int, kind: str, item: Any) -> None:
        self._count += 1
        heapq.heappush(self._events, (at_ms, self._count, number, self.sites[number].boots, kind, item))

    def _perform(self, number: int, effects: Iterable[Effect]) -> None:
        site = self.sites[number]
        for effect in effects:
            self.history.append((self.now_ms, number, _short(effect)))
            if isinstance(effect, Persist):
                site.host.store.write(effect)
                site.written.append(effect)
                self._push(self.now_ms + self.sync_ms, number, "synced", effect.ticket)
            elif isinstance(effect, Broadcast):
                self._send(number, effect.vertex)
            elif isinstance(effect, Execute):
                self._execute(site, effect)
            elif isinstance(effect, AskNewest):
                for peer, other in enumerate(self.sites):
                    if peer != number and other.up and self.passes(peer, number, self.now_ms):
                        known = other.host.engine.window
                        rounds = range(known.graph.highest_round, known.graph.gc_round, -1)
                        found = next((slot for r in rounds if (slot := known.slot(r, number))), [])
                        self._push(self.now_ms + 2 * self.delay_ms, number, "newest", (peer, found))
            elif isinstance(effect, Fetch):
                self._fetch(number, effect.refs, effect.source)
            elif isinstance(effect, Relay):
                for peer in range(len(self.sites)):
                    if peer not in (number, effect.source):
                        self._push(self.now_ms + self.delay_ms, peer, "vertices", (number, (effect.vertex,)))
            elif not isinstance(effect, Entered):
                site.others.append(effect)

    def _send(self, number: int, vertex: ValidatorVertex) -> None:
        site = self.sites[number]
        gc_round = site.host.engine.chain.gc_round
        for ref in (vertex.ref, *vertex.ancestors, *vertex.tips):
            assert ref in site.durable or ref[0] <= gc_round, "persist before send"
        for vote in vertex.commit_votes:
            assert vote.commit_index <= site.durable_index, "commits are durable before they are voted for"
        if vertex.digest not in site.known:
            site.known[vertex.digest] = None
            site.sent.append(vertex)
        for peer in range(len(self.sites)):
            if peer != number and self.passes(number, peer, self.now_ms):
                self._push(self.now_ms + self.delay_ms, peer, "vertices", (number, (vertex,)))

    def _execute(self, site: Site, effect: Execute) -> None:
        commit = effect.sub_dag.commit
        assert commit.index <= site.durable_index, "a commit is durable before it is executed"
        following = site.executed[-1][0] + 1 if site.executed else 1
        assert commit.index == following, "commits are executed in order, without a gap"
        assert tuple(vertex.ref for vertex in effect.sub_dag.vertices) == commit.vertices
        site.executed.append((commit.index, commit.digest))

    def _fetch(self, number: int, refs: Sequence[AnyRef], source: int) -> None:
        for peer in [source, *(peer for peer in range(len(self.sites)) if peer != source)]:
            if peer >= len(self.sites) or peer == number or not self.sites[peer].up:
                continue
            host = self.sites[peer].host
            found = [host.engine.window.get(ref.digest) or host.store.vertices([ref])[0] for ref in refs]
            have = tuple(vertex for vertex in found if vertex is not None)
            if have and self.passes(peer, number, self.now_ms):
                self._push(self.now_ms + 2 * self.delay_ms, number, "vertices", (peer, have))
                return


def network_of(
    n: int, *, timing: Timing | None = None, params: ChainParams | None = None, **options: Any
) -> Network:
    """n validators of equal stake, each with a payload for every vertex."""
    rules = rules_of([1] * n)
    hosts = [
        Host(me, rules, timing or Timing(), params or ChainParams(), Payloads(ALWAYS)) for me in range(n)
    ]
    return Network(hosts, **options)


def prefix_equal(chains: Iterable[Sequence[bytes]]) -> bool:
    longest = max(chains := list(chains), key=len)
    return all(list(chain) == list(longest[: len(chain)]) for chain in chains)


def _short(effect: Effect) -> str:
    """What tells two runs apart."""
    if isinstance(effect, Persist):
        names = [vertex.digest.hex() for vertex in effect.vertices] + [c.digest.hex() for c in effect.commits]
        return f"Persist {effect.ticket} {' '.join(names)}"
    if isinstance(effect, Broadcast | Relay):
        return f"{type(effect).__name__} {effect.vertex.digest.hex()}"
    if isinstance(effect, Execute):
        return f"Execute {effect.sub_dag.commit.digest.hex()}"
    return repr(effect)
