"""What watches a world: feeds every checker where its invariant can change, and measures."""

from typing import TYPE_CHECKING, Final

from cherrydag.commit import CheckpointCertificate
from cherrydag.consensus.effects import Diverged, Persist, Report, SubDag
from cherrydag.consensus.leader import SwapTable, leader_of
from cherrydag.gossip.effects import Penalise
from cherrydag.gossip.messages import Message, Push, Vertices
from cherrydag.primitives import Digest, Round
from cherrydag.sim.chain_checks import Agreement, Closure
from cherrydag.sim.chance import Chance
from cherrydag.sim.clock import SECOND_US
from cherrydag.sim.recheck import check_recomputed, recompute
from cherrydag.sim.vertex_checks import Durability, Registry, Slots, Submissions, check_tables
from cherrydag.sim.violation import must
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex

if TYPE_CHECKING:
    from cherrydag.sim.host import Host
    from cherrydag.sim.world import World

STALL_US: Final = 10 * SECOND_US
"""I11: once the network is good, no honest node goes longer without a commit; twice that on a wan.

The commit rule alone promises no time: only three leaders in succession that commit are sure to decide every
slot below them, and until then one that an equivocating leader leaves open may stay so. The bound supposes
that faulty validators lead in about their share of rounds, and that rounds do not slow down meanwhile.
"""

SETTLE_US: Final = 2 * SECOND_US
LEADER_US: Final = 100_000
"""I11: from SETTLE_US after the network has become good, each honest leader of a lan commits whose vertex
leaves within LEADER_US (half of a leader's timeout) after the first honest one of its round."""

RECHECK_PERMILLE: Final = 250
"""I8 is looked at in this share of the worlds."""


class Blind:
    """Sees nothing: an adversary's node may do as it likes."""

    def on_step(self, host: "Host") -> None:
        """A node has taken an input."""

    def on_start(self, host: "Host", executed: int) -> None:
        """A node starts; its executor has this commit."""

    def on_crash(self, host: "Host") -> None:
        """A node dies."""

    def on_persist(self, host: "Host", write: Persist) -> None:
        """A node asks for a write."""

    def on_durable(self, host: "Host", write: Persist) -> None:
        """A write is durable."""

    def on_broadcast(self, host: "Host", vertex: ValidatorVertex) -> None:
        """A validator's own vertex leaves."""

    def on_send(self, host: "Host", message: Message) -> None:
        """A message leaves."""

    def on_submit(self, host: "Host", vertex: OperatorVertex) -> None:
        """An operator's own vertex goes in at its node."""

    def on_execute(self, host: "Host", sub_dag: SubDag) -> None:
        """A node gives a commit to its executor."""

    def on_root(self, host: "Host", index: int, root: Digest) -> None:
        """The executor is done with it."""

    def on_lost(self, host: "Host", vertices: tuple[Vertex, ...]) -> None:
        """A node says that these fell below the window uncommitted."""

    def on_report(self, host: "Host", report: Report) -> None:
        """A node has evidence."""

    def on_penalty(self, host: "Host", penalty: Penalise) -> None:
        """A node blames a peer."""

    def on_certified(self, host: "Host", certificate: CheckpointCertificate) -> None:
        """A node has a certificate of a checkpoint."""

    def on_diverged(self, host: "Host", effect: Diverged) -> None:
        """A node's state is not what a quorum has signed."""


class Checks(Blind):
    """All checkers of a world."""

    def __init__(self, world: "World") -> None:
        origin = world.rules.chain.genesis_digest
        self._world = world
        self.agreement = Agreement(origin, world.chain)
        self.closure = Closure(world.chain)
        self.slots = Slots()
        self.durability = Durability()
        self.submissions = Submissions()
        self.registry = Registry(world.committee)
        self.latencies_us: list[int] = []
        self.gaps_us: list[int] = []
        self._left_us: dict[int, dict[int, int]] = {}
        self._created_us: dict[Digest, int] = {}
        self._committed_us: dict[int, int] = {}
        self._executed: dict[int, int] = {}
        self._wants_leaders = not (world.scenario.wan or world.scenario.loss)

    @property
    def height(self) -> int:
        """Index of the highest commit."""
        return self.agreement.height

    @property
    def swaps(self) -> SwapTable:
        """The newest swap table."""
        return self.agreement.swaps

    # What nodes do

    def on_step(self, host: "Host") -> None:
        """I13."""
        pending, fetcher = host.node.engine.acceptance.pending, host.node.fetcher
        total_max, _, missing_max = pending.limits
        sizes = {
            "parked": (len(pending), total_max),
            "missing": (pending.missing_count, missing_max),
            "wanted": (len(fetcher), host.config.fetch.wanted_max),
        }
        check_tables(host.seat, sizes)

    def on_start(self, host: "Host", executed: int) -> None:
        """From here the node's chain is what its store holds."""
        last = host.store.last_commit()
        index = last.index if last else 0
        self.agreement.start(host.seat, index)
        self.durability.start(host.seat, host.store.vertices_above(Round(0)), index)
        self._executed[host.seat] = executed

    def on_crash(self, host: "Host") -> None:
        """What was submitted and not yet settled is the client's to ask for again."""
        self.submissions.crashed(host.seat)

    def on_persist(self, host: "Host", write: Persist) -> None:
        """Commits and tables are compared as soon as they are made."""
        now_us = self._world.now_us
        self.registry.note(write.vertices)
        if host.is_validator:
            for vertex in write.vertices:
                if isinstance(vertex, ValidatorVertex) and vertex.author == host.seat:
                    self._created_us[vertex.digest] = now_us
                    if len(vertex.payload):
                        self.submissions.submitted(host.seat, vertex)
        for commit in write.commits:
            self.agreement.commit(host.seat, commit)
        for record in write.swaps:
            self.agreement.swap(host.seat, record)
        if write.commits:
            before_us = self._committed_us.get(host.seat)
            self._committed_us[host.seat] = now_us
            if before_us is not None and before_us >= self._world.plan.good_us:
                self.gaps_us.append(now_us - before_us)

    def on_durable(self, host: "Host", write: Persist) -> None:
        """The write counts for I14 from now on."""
        self.durability.durable(host.seat, write)

    def on_broadcast(self, host: "Host", vertex: ValidatorVertex) -> None:
        """I4, I9, I14; and the moment for I11."""
        self._leaves(host, vertex)
        self.agreement.votes(host.seat, vertex.commit_votes)
        left = self._left_us.setdefault(vertex.round, {})
        left.setdefault(vertex.author, self._world.now_us)

    def on_send(self, host: "Host", message: Message) -> None:
        """Own vertices also leave in answers."""
        if type(message) is Push:
            self._own(host, message.vertex)
        elif type(message) is Vertices:
            for vertex in message.vertices:
                self._own(host, vertex)

    def on_submit(self, host: "Host", vertex: OperatorVertex) -> None:
        """I4, I12."""
        self.slots.made(vertex)
        self._created_us[vertex.digest] = self._world.now_us
        self.submissions.submitted(host.seat, vertex)

    def on_execute(self, host: "Host", sub_dag: SubDag) -> None:
        """I5; and latency at the author."""
        index, executed = sub_dag.commit.index, self._executed.get(host.seat, 0)
        must(index == executed + 1, "I5", "commits are executed in order", seat=host.seat, index=index)
        self._executed[host.seat] = index
        self.closure.execute(host.seat, sub_dag)
        self.submissions.settled(host.seat, sub_dag.vertices, sequenced=True)
        now_us, warm_us = self._world.now_us, self._world.plan.good_us
        for vertex in sub_dag.vertices:
            if host.issues(vertex):
                created_us = self._created_us.pop(vertex.digest, -1)
                if created_us >= warm_us:
                    self.latencies_us.append(now_us - created_us)

    def on_root(self, host: "Host", index: int, root: Digest) -> None:
        """I15."""
        self.agreement.root(host.seat, index, root)

    def on_lost(self, host: "Host", vertices: tuple[Vertex, ...]) -> None:
        """I12."""
        for vertex in vertices:
            committed = vertex.digest in self.closure
            must(not committed, "I12", "what is lost is not committed", seat=host.seat, vertex=vertex.ref)
        self.submissions.settled(host.seat, vertices, sequenced=False)

    def on_report(self, host: "Host", report: Report) -> None:
        """Evidence is never against an honest node."""
        seat = self._world.author_seat(report.first)
        guilty = seat is None or not self._world.hosts[seat].is_honest
        must(
            guilty, "I4", "nobody has evidence against an honest node", seat=host.seat, first=report.first.ref
        )

    def on_penalty(self, host: "Host", penalty: Penalise) -> None:
        """Nobody honest is to blame, unless the network repeats or reorders what was said."""
        seat = self._world.seat_of(penalty.peer)
        spoiled = {"duplicate", "reorder"} & set(self._world.scenario.faults)
        blamed = spoiled or not self._world.hosts[seat].is_honest
        facts = {"seat": host.seat, "blamed": seat, "code": penalty.code, "reason": penalty.reason}
        must(bool(blamed), "penalty", "no honest node penalises another", **facts)

    def on_certified(self, host: "Host", certificate: CheckpointCertificate) -> None:
        """I9, I15: what a quorum signs is what was agreed."""
        signed = certificate.checkpoint
        agreed = self.agreement.commits[signed.index][0] if signed.index <= self.height else None
        facts = {"seat": host.seat, "index": signed.index}
        must(signed.commit_digest == agreed, "I9", "a quorum signs the agreed commit", **facts)
        must(signed.state_root == self.agreement.roots.get(signed.index), "I15", "and its root", **facts)

    def on_diverged(self, host: "Host", effect: Diverged) -> None:
        """I15."""
        must(False, "I15", "no honest state diverges", seat=host.seat, index=effect.own.index)

    # Now and then

    def look(self) -> None:
        """I11, I12, I13: what only time tells."""
        now_us, plan = self._world.now_us, self._world.plan
        stall_us = STALL_US * (2 if self._world.scenario.wan else 1)
        for host in self._world.honest:
            if not host.is_up or host.is_paused:
                continue
            self._check_submissions(host)
            if host.seat in plan.ahead:
                continue
            last_us = max(plan.good_us, self._committed_us.get(host.seat, 0))
            facts = {"seat": host.seat, "round": host.round, "since_ms": last_us // 1000}
            must(now_us - last_us <= stall_us, "I11", "a good network commits", **facts)

    def finish(self) -> None:
        """I3, I8, I11, I12: at the end."""
        world = self._world
        for host in world.honest:
            if host.is_up:
                self._check_submissions(host)
            lives = host.is_validator and host.seat not in world.plan.ahead
            if lives and host.round < world.scenario.rounds:
                facts = {"round": host.round, "at_ms": world.now_us // 1000}
                must(False, "I11", "a good network's rounds grow", seat=host.seat, **facts)
        self.registry.certificates.check()
        if self._wants_leaders:
            self._check_leaders()
        chance = Chance.of(world.scenario.seed, "recheck")
        if chance.is_hit(RECHECK_PERMILLE):
            self._recheck(chance)

    def _leaves(self, host: "Host", vertex: Vertex) -> None:
        self.slots.made(vertex)
        self.durability.sent(host.seat, vertex, self.agreement.gc_round(host.seat))

    def _own(self, host: "Host", vertex: Vertex) -> None:
        if host.issues(vertex):
            self.slots.made(vertex)
            if host.is_validator:
                self.durability.sent(host.seat, vertex, self.agreement.gc_round(host.seat))

    def _check_submissions(self, host: "Host") -> None:
        """What the newest commits hold is still on its way to the executor."""
        coming: list[Digest] = []
        for index in range(self._executed.get(host.seat, 0) + 1, self.agreement.tail(host.seat) + 1):
            commit = self.agreement.commits[index][1]
            if commit is not None:
                coming += [ref.digest for ref in commit.vertices]
        self.submissions.check(host.seat, self.agreement.gc_round(host.seat), coming)

    def _check_leaders(self) -> None:
        """Each honest leader whose vertex left on a settled network is committed.

        Beside a jumper no network is settled: it keeps vertices from coming leaders to the end.
        """
        world, chain = self._world, self.agreement
        if world.has_jumper:
            return
        committed = set(chain.leader_rounds)
        settled_us = world.plan.good_us + SETTLE_US
        for round_ in range(1, chain.leader_rounds[-1]):
            leader = leader_of(world.committee, Round(round_), chain.table_at(round_))
            left = self._left_us.get(round_, {})
            left_us = left.get(leader, 0)
            is_late = left_us < settled_us or left_us > min(left.values()) + LEADER_US
            if not is_late and leader not in world.plan.ahead and not chain.is_new_at(round_):
                facts = {"round": round_, "leader": leader, "left_ms": left_us // 1000}
                must(round_ in committed, "I11", "a good network commits every honest leader", **facts)

    def _recheck(self, chance: Chance) -> None:
        world = self._world
        origin = world.rules.chain.genesis_digest
        vertices = self.registry.vertices.values()
        found = recompute(vertices, world.committee, origin, world.chain, chance)
        check_recomputed([digest for digest, _ in self.agreement.commits[1:]], found)
