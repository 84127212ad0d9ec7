"""The main chain: the same on every node, whatever comes in when, and over restarts and certified commits."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import pytest
from blake3 import blake3
from reference.commit_reference import Decider
from reference.score_reference import CommittedVertex, score
from scenario.dag_dsl import Dag, full, parse
from scenario.live_dag import ORIGIN, Made, chunks, committee_of, vertices_of, with_operators
from scenario.random_dags import causal_order, random_dag

from cherrydag.commit import Commit
from cherrydag.committee import Committee
from cherrydag.consensus.effects import SubDag, SwapRecord
from cherrydag.consensus.leader import SwapTable, leader_of, swap_table
from cherrydag.consensus.main_chain import (
    ChainParams,
    Extension,
    MainChain,
    MissingVerticesError,
    Tally,
)
from cherrydag.dag.graph import Outcome
from cherrydag.dag.window import Window
from cherrydag.errors import ConfigError, InvariantViolation, ShapeError
from cherrydag.refs import round_of
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex

PARAMS = ChainParams(gc_depth=6, scoring_commits=5, swap_share_permille=333)
NOBODY = SwapTable()


class Node:
    """A window, its chain, and what a host would have written down."""

    def __init__(self, committee: Committee, params: ChainParams = PARAMS, seed: bytes = bytes(16)) -> None:
        self.committee, self.params = committee, params
        self.window = Window([member.stake for member in committee.members], seed)
        self.chain = MainChain(committee, ORIGIN, self.window, params)
        self.log: list[Vertex] = []
        self.extensions: list[Extension] = []

    def insert(self, vertices: Iterable[Vertex]) -> None:
        """Insert; what is too old is dropped."""
        for vertex in vertices:
            outcome = self.window.insert(vertex).outcome
            assert outcome in (Outcome.INSERTED, Outcome.STALE, Outcome.DUPLICATE)
            if outcome is Outcome.INSERTED:
                self.log.append(vertex)
                if isinstance(vertex, ValidatorVertex):
                    self.chain.note(vertex)

    def take(self, vertices: Iterable[Vertex]) -> None:
        self.insert(vertices)
        self.extensions += self.chain.extend()

    @property
    def sub_dags(self) -> list[SubDag]:
        return [extension.sub_dag for extension in self.extensions]

    @property
    def commits(self) -> list[Commit]:
        return [sub_dag.commit for sub_dag in self.sub_dags]

    def restarted(self, seed: bytes) -> "Node":
        """A node that knows what this one has written down, and no more."""
        fresh = Node(self.committee, self.params, seed)
        fresh.extensions = self.extensions[:]
        if self.extensions:
            last = self.commits[-1]
            records = [sub_dag.swaps for sub_dag in self.sub_dags if sub_dag.swaps is not None]
            newest = records[-1] if records else None
            period = self.sub_dags[newest.commit_index :] if newest else self.sub_dags
            fresh.chain.recover(last, newest, period)
        fresh.insert(v for v in self.log if round_of(v.ref) > fresh.chain.gc_round)
        if self.extensions:
            first = len(self.commits) - 1
            while first and self.commits[first].leader.round > fresh.chain.gc_round:
                first -= 1
            fresh.chain.mark_committed(self.commits[first:])
        return fresh


class World(NamedTuple):
    """A random DAG with operators' vertices in it."""

    committee: Committee
    dag: Dag
    made: Made
    vertices: list[Vertex]

    def parents(self) -> dict[bytes, list[bytes]]:
        """By digest, of every vertex those above genesis."""
        known = {vertex.digest for vertex in self.vertices}
        parents_of = Window([1], bytes(16)).parents_of
        return {v.digest: [r.digest for r in parents_of(v) if r.digest in known] for v in self.vertices}

    def order(self, rng: random.Random, reach: int) -> list[Vertex]:
        """The vertices in a random causal order."""
        by_digest = {vertex.digest: vertex for vertex in self.vertices}
        return [by_digest[digest] for digest in causal_order(rng, self.parents(), reach)]


def world(seed: int, stakes: Sequence[int] = (1, 1, 1, 1), rounds: int = 30, **options: object) -> World:
    rng = random.Random(seed)
    committee = committee_of(stakes)
    settings = {"leader_chance": 0.85, "absent_chance": 0.1, "density": 0.8} | options
    dag = random_dag(
        rng, stakes, rounds, leader=lambda number: leader_of(committee, number, NOBODY), **settings
    )
    made, vertices = with_operators(dag, committee, rng, per_round=2, lag=PARAMS.gc_depth + 4)
    return World(committee, dag, made, vertices)


def reference_chain(of: World, params: ChainParams = PARAMS) -> list[SubDag]:
    """The chain by the words of the design, every decision made anew after each commit."""
    vertices = {vertex.digest: vertex for vertex in of.vertices}
    parents = of.parents()
    stakes = [member.stake for member in of.committee.members]
    chain: list[SubDag] = []
    committed: set[bytes] = set()
    table, last, gc_round, period = NOBODY, 0, 0, []
    while True:
        leaders = {r: leader_of(of.committee, r, table) for r in range(of.dag.highest_round + 1)}
        decided = Decider(of.dag, leaders.__getitem__, stakes).decide(last)
        name = next((status.vertex for status in decided if status.vertex), None)
        if name is None:
            return chain
        leader = of.made[name]
        left, waiting = {leader.digest}, [leader.digest]
        while waiting:
            for digest in parents[waiting.pop()]:
                if digest not in left | committed and round_of(vertices[digest].ref) > gc_round:
                    left.add(digest)
                    waiting.append(digest)
        committed |= left
        ordered = []
        while left:
            ready = [digest for digest in left if not left.intersection(parents[digest])]
            ordered.append(min(ready, key=lambda d: blake3(d, key=leader.digest).digest()))
            left.remove(ordered[-1])
        times = sorted(
            timestamp
            for ancestor in leader.ancestors
            if ancestor.round == leader.round - 1
            for timestamp in [vertices[ancestor.digest].timestamp_ms if ancestor.round else 0]
            * stakes[ancestor.author]
        )
        previous = chain[-1].commit if chain else None
        commit = Commit(
            epoch=of.committee.epoch,
            index=len(chain) + 1,
            prev_digest=previous.digest if previous else ORIGIN,
            timestamp_ms=max(previous.timestamp_ms if previous else 0, times[len(times) // 2]),
            vertices=tuple(vertices[digest].ref for digest in ordered),
        )
        period.append(SubDag(commit, tuple(vertices[digest] for digest in ordered)))
        last, gc_round = name.round, max(0, name.round - params.gc_depth)
        swaps = None
        if commit.index % params.scoring_commits == 0:
            scores = scores_of(of.committee, period)
            table, period = swap_table(of.committee, scores, params.swap_share_permille), []
            swaps = SwapRecord(commit.index, table)
        chain.append(SubDag(commit, tuple(vertices[digest] for digest in ordered), swaps))


def scores_of(committee: Committee, period: Sequence[SubDag]) -> list[int]:
    vertices = [v for s in period for v in s.vertices if isinstance(v, ValidatorVertex)]
    committed = [CommittedVertex(v.ref, v.ancestors) for v in vertices]
    return score(committee, [s.commit.leader for s in period], committed)


KINDS: dict[str, Callable[[int], World]] = {
    "alone": lambda seed: world(seed, [3]),
    "four": lambda seed: world(seed, equivocators=[2]),
    "unequal": lambda seed: world(seed, [5, 3, 3, 2, 1], equivocators=[1, 4]),
    "seven": lambda seed: world(seed, [1] * 7, 25, equivocators=[0, 5]),
    "ten": lambda seed: world(seed, [1] * 10, 20, equivocators=[2, 3, 7]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_two_nodes_fed_shuffled_chunks_make_the_references_chain(kind: str, seed: int) -> None:
    of = KINDS[kind](seed)
    expected = reference_chain(of)
    rng = random.Random(seed)
    for reach, most in ((1, 10_000), (1, 1), (8, 3), (60, 40)):
        node = Node(of.committee, seed=rng.randbytes(16))
        for chunk in chunks(rng, of.order(rng, reach), most):
            node.take(chunk)
        assert node.sub_dags == expected


def test_the_random_chains_swap_leaders_and_drop_vertices() -> None:
    """Or the other tests would say little."""
    worlds = [make(seed) for make in list(KINDS.values())[1:3] for seed in range(4)]
    chains = [reference_chain(of) for of in worlds]
    tables = [s.swaps.swaps for chain in chains for s in chain if s.swaps]
    assert sum(table != NOBODY for table in tables) > 8
    for change in ({"scoring_commits": 1000}, {"gc_depth": 5}, {"gc_depth": 7}):
        others = [reference_chain(of, replace(PARAMS, **change)) for of in worlds]
        assert sum(other != chain for other, chain in zip(others, chains, strict=True)) > 3, change


def test_a_hundred_orders_of_arrival_make_one_chain_and_settle_every_vertex_once() -> None:
    of = world(4, rounds=24, equivocators=[1])
    rng = random.Random(4)
    expected = reference_chain(of)
    assert len(expected) > 10
    for _ in range(100):
        node = Node(of.committee, seed=rng.randbytes(16))
        for chunk in chunks(rng, of.order(rng, rng.choice((2, 10, 40))), 12):
            node.take(chunk)
        assert node.sub_dags == expected
        ends = [v for e in node.extensions for v in (*e.sub_dag.vertices, *e.lost)]
        inside = {v.digest for number in range(25) for v in node.window.vertices(number)}
        assert len({v.digest for v in ends}) == len(ends)
        assert {v.digest for v in node.log} == {v.digest for v in ends} | inside


@pytest.mark.parametrize("kind", KINDS)
def test_commits_are_closed_under_parents_and_hold_nothing_twice(kind: str) -> None:
    of = KINDS[kind](9)
    node = Node(of.committee)
    node.take(of.vertices)
    parents = of.parents()
    rounds = {vertex.digest: round_of(vertex.ref) for vertex in of.vertices}
    done: set[bytes] = set()
    gc_round, time_ms, leader_round = 0, 0, 0
    for sub_dag in node.sub_dags:
        commit = sub_dag.commit
        for vertex in sub_dag.vertices:
            assert vertex.digest not in done
            assert round_of(vertex.ref) > gc_round
            assert all(p in done for p in parents[vertex.digest] if rounds[p] > gc_round)
            done.add(vertex.digest)
        assert commit.timestamp_ms >= time_ms
        assert commit.leader.round > leader_round
        time_ms, leader_round = commit.timestamp_ms, commit.leader.round
        gc_round = max(0, leader_round - PARAMS.gc_depth)
    assert (node.chain.timestamp_ms, node.chain.leader_round) == (time_ms, leader_round)
    assert node.chain.gc_round == gc_round == node.window.graph.gc_round
    assert (node.chain.index, node.chain.digest) == (len(node.commits), node.commits[-1].digest)


def test_before_the_first_commit_the_chain_stands_at_its_origin() -> None:
    chain = Node(committee_of([1])).chain
    assert (chain.index, chain.digest, chain.timestamp_ms) == (0, ORIGIN, 0)
    assert (chain.leader_round, chain.gc_round, chain.swaps) == (0, 0, NOBODY)


def test_a_chain_of_one_commits_every_round_but_the_last_two() -> None:
    committee = committee_of([7])
    node = Node(committee)
    for number, vertex in enumerate(list(vertices_of(parse(full(1, 40), authors=1), committee).values())[1:]):
        node.take([vertex])
        assert node.chain.index == max(0, number - 1)
    assert [commit.leader.round for commit in node.commits] == list(range(1, 39))
    assert all(len(commit.vertices) == 1 for commit in node.commits)


def test_a_committee_of_two_hundred() -> None:
    committee = committee_of([1] * 200)
    dag = Dag(200)
    for number in range(1, 5):
        before = tuple(dag.at_round(number - 1))
        for vertex in [v._replace(round=number) for v in before]:
            dag.add(vertex, before)
    node = Node(committee)
    node.take(vertex for name, vertex in vertices_of(dag, committee).items() if name.round)
    assert [commit.leader.author for commit in node.commits] == [
        leader_of(committee, number, NOBODY) for number in (1, 2)
    ]
    assert [len(commit.vertices) for commit in node.commits] == [1, 200]


def test_extend_makes_nothing_twice() -> None:
    of = world(3)
    node = Node(of.committee)
    node.take(of.vertices)
    assert node.extensions
    assert node.chain.extend() == []


# Leaders and scores


def test_leaders_above_a_boundary_follow_the_new_table_and_those_below_stay() -> None:
    of = world(4, rounds=40)
    node = Node(of.committee)
    tables = 0
    for vertex in of.vertices:
        known = {r: node.chain.leader(r) for r in range(node.chain.gc_round + 1, 60)}
        before = len(node.extensions)
        node.take([vertex])
        for round_, leader in known.items():
            if node.chain.gc_round < round_ <= node.chain.leader_round:
                assert node.chain.leader(round_) == leader
            elif round_ > node.chain.leader_round:
                assert node.chain.leader(round_) == leader_of(of.committee, round_, node.chain.swaps)
        tables += sum(s.swaps is not None and s.swaps.swaps != NOBODY for s in node.sub_dags[before:])
    assert tables > 2


def test_every_period_ends_with_a_record_and_only_periods_do() -> None:
    of = world(6, leader_chance=1.0, absent_chance=0.0)
    node = Node(of.committee, replace(PARAMS, scoring_commits=4, swap_share_permille=0))
    node.take(of.vertices)
    assert len(node.sub_dags) == 28
    for sub_dag in node.sub_dags:
        index = sub_dag.commit.index
        assert sub_dag.swaps == (SwapRecord(index, NOBODY) if index % 4 == 0 else None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_tally_is_the_score_of_the_committed_vertices(kind: str) -> None:
    of = KINDS[kind](14)  # some votes are linked when they are at gc_round
    node = Node(of.committee, replace(PARAMS, gc_depth=3, scoring_commits=1000))
    node.take(of.vertices)
    tally = Tally(of.committee)
    for count, sub_dag in enumerate(node.sub_dags, 1):
        tally.add(sub_dag.vertices, node.params.gc_round(sub_dag.commit.leader.round))
        assert tally.scores() == scores_of(of.committee, node.sub_dags[:count])
    assert any(tally.scores())


# Restarts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scoring_commits", [1, 3, 5])
def test_a_node_restarted_at_every_step_makes_the_chain_of_one_that_never_was(
    kind: str, scoring_commits: int
) -> None:
    """So some restart comes right before, at and after each boundary between two tables."""
    of = KINDS[kind](20)
    rng = random.Random(20)
    params = replace(PARAMS, scoring_commits=scoring_commits, gc_depth=4)
    order = of.order(rng, 20)
    steady, restarting = Node(of.committee, params), Node(of.committee, params)
    boundaries = 0
    for chunk in chunks(rng, order, 5):
        steady.take(chunk)
        restarting.take(chunk)
        assert restarting.sub_dags == steady.sub_dags
        restarting = restarting.restarted(rng.randbytes(16))
        assert standing(restarting) == standing(steady)
        assert restarting.chain.extend() == []
        boundaries += restarting.chain.index % scoring_commits == 0 < restarting.chain.index
    assert steady.chain.index > 6
    assert boundaries > 1


def standing(node: Node) -> tuple[object, ...]:
    chain = node.chain
    committed = {
        vertex.digest: node.window.graph.vertex(handle).committed
        for number in range(60)
        for vertex in node.window.vertices(number)
        if (handle := node.window.graph.find(vertex.digest)) is not None
    }
    leaders = [chain.leader(r) for r in range(chain.leader_round + 1, chain.leader_round + 20)]
    place = (chain.index, chain.digest, chain.timestamp_ms, chain.leader_round, chain.gc_round)
    return *place, chain.swaps, leaders, committed


def test_commits_that_were_not_written_before_a_crash_are_made_again() -> None:
    """The log of vertices may be ahead of the commits: at each index from the start to the end."""
    of = world(21)
    whole = Node(of.committee)
    whole.take(of.vertices)
    for kept in range(len(whole.extensions) + 1):
        behind = Node(of.committee)
        behind.log, behind.extensions = whole.log, whole.extensions[:kept]
        node = behind.restarted(bytes(16))
        node.take([])
        assert node.sub_dags == whole.sub_dags


def test_recover_wants_what_belongs_together() -> None:
    of = world(22)
    node = Node(of.committee, replace(PARAMS, scoring_commits=4))
    node.take(of.vertices)
    subs, commits = node.sub_dags, node.commits
    old, new = subs[3].swaps, subs[7].swaps
    for last, swaps, recent, said in (
        (9, old, subs[4:10], "expected the record of commit 8"),
        (9, None, subs[:10], "expected the record of commit 8"),
        (2, old, subs[:3], "expected the record of commit 0"),
        (9, new, subs[8:9], "expected commits 9..10, got"),
        (9, new, subs[7:10], "expected commits 9..10, got"),
        (7, new, subs[7:8], r"expected commits 9..8, got \[8\]"),
    ):
        fresh = Node(of.committee, node.params)
        with pytest.raises(ShapeError, match=said):
            fresh.chain.recover(commits[last], swaps, recent)
        fresh.take(of.vertices)
        assert fresh.sub_dags == subs, "nothing has changed"
    with pytest.raises(ShapeError, match="expected an empty window and no commit"):
        node.chain.recover(commits[9], new, subs[8:10])
    early = Node(of.committee, node.params)
    early.insert(of.vertices[:1])
    with pytest.raises(ShapeError, match="expected an empty window and no commit"):
        early.chain.recover(commits[9], new, subs[8:10])


def test_nothing_is_committed_between_recover_and_the_marks() -> None:
    of = world(23)
    node = Node(of.committee, replace(PARAMS, scoring_commits=1000))
    node.take(of.vertices)
    fresh = Node(of.committee, node.params)
    fresh.chain.recover(node.commits[-2], None, node.sub_dags[:-1])
    fresh.insert(v for v in of.vertices if round_of(v.ref) > fresh.chain.gc_round)
    with pytest.raises(ShapeError, match="mark_committed must come before"):
        fresh.chain.extend()
    with pytest.raises(ShapeError, match="mark_committed must come before"):
        fresh.chain.apply(node.commits[-1])
    above = next(i for i, c in enumerate(node.commits) if c.leader.round > fresh.chain.gc_round)
    for short in ([], node.commits[above:-1]):
        with pytest.raises(ShapeError, match="expected them back to gc_round"):
            fresh.chain.mark_committed(short)
    with pytest.raises(InvariantViolation, match="chained by their digests"):
        fresh.chain.mark_committed(node.commits)
    with pytest.raises(InvariantViolation, match="chained by their digests"):
        fresh.chain.mark_committed([*node.commits[:-4], *node.commits[-3:-1]])
    fresh.chain.mark_committed(node.commits[above - 1 : -1])
    assert [extension.sub_dag for extension in fresh.chain.extend()] == node.sub_dags[-1:]


def test_a_commit_without_its_vertices_is_no_store() -> None:
    of = world(23)
    node = Node(of.committee, replace(PARAMS, scoring_commits=1000))
    node.take(of.vertices)
    fresh = Node(of.committee, node.params)
    fresh.chain.recover(node.commits[-1], None, node.sub_dags)
    with pytest.raises(InvariantViolation, match="vertices of a stored commit are stored"):
        fresh.chain.mark_committed(node.commits)


# Certified commits


@pytest.mark.parametrize("kind", KINDS)
def test_a_follower_that_applies_certified_commits_stands_where_the_others_do(kind: str) -> None:
    """It has only their vertices, and goes on by itself from any point."""
    of = KINDS[kind](30)
    node = Node(of.committee)
    node.take(of.vertices)
    for handover in range(0, len(node.extensions) + 1, 3):
        follower = Node(of.committee)
        for sub_dag in node.sub_dags[:handover]:
            follower.insert(sub_dag.vertices)
            extension = follower.chain.apply(sub_dag.commit)
            follower.extensions.append(extension)
            assert extension == (sub_dag, ())
        follower.take(of.vertices)
        assert follower.sub_dags == node.sub_dags
        assert follower.restarted(bytes(16)).chain.digest == node.chain.digest


def test_a_commit_without_its_vertices_is_refused_and_names_them() -> None:
    of = world(31)
    node = Node(of.committee)
    node.take(of.vertices)
    sub_dag = next(s for s in node.sub_dags if len(s.vertices) > 3)
    follower = Node(of.committee)
    for earlier in node.sub_dags[: sub_dag.commit.index - 1]:
        follower.insert(earlier.vertices)
        follower.chain.apply(earlier.commit)
    follower.insert(sub_dag.vertices[:-2])
    before = standing(follower)
    with pytest.raises(MissingVerticesError, match="2 of its vertices are not in the window") as missing:
        follower.chain.apply(sub_dag.commit)
    assert missing.value.refs == sub_dag.commit.vertices[-2:]
    assert standing(follower) == before
    follower.insert(sub_dag.vertices[-2:])
    assert follower.chain.apply(sub_dag.commit).sub_dag == sub_dag


def test_a_commit_out_of_turn_is_refused() -> None:
    of = world(32)
    node = Node(of.committee)
    node.take(of.vertices)
    first, second = node.commits[:2]
    follower = Node(of.committee)
    follower.insert(v for s in node.sub_dags[:2] for v in s.vertices)
    for wrong in (second, replace(first, index=0), replace(first, epoch=first.epoch + 1)):
        with pytest.raises(ShapeError, match=f"expected epoch {first.epoch}, index 1"):
            follower.chain.apply(wrong)
    follower.chain.apply(first)
    with pytest.raises(ShapeError, match="index 2"):
        follower.chain.apply(first)


def test_a_certified_commit_that_differs_from_ours_stops_the_node() -> None:
    of = world(33)
    node = Node(of.committee)
    node.take(of.vertices)
    commit = next(c for c in node.commits if len(c.vertices) > 4)
    a, b, *others = commit.vertices
    strangers = [v.ref for v in of.made.values() if v.round == commit.leader.round and v.ref != commit.leader]
    for forged, said in (
        (replace(commit, vertices=(b, a, *others)), "is what its leader's past gives here"),
        (replace(commit, vertices=(b, *others)), "is what its leader's past gives here"),
        (replace(commit, timestamp_ms=commit.timestamp_ms + 1), "is what its leader's past gives here"),
        (replace(commit, prev_digest=bytes(32)), "is what its leader's past gives here"),
        (replace(commit, vertices=(*others[:-1], strangers[0])), "is its round's leader's"),
    ):
        follower = Node(of.committee)
        for earlier in node.sub_dags[: commit.index - 1]:
            follower.insert(earlier.vertices)
            follower.chain.apply(earlier.commit)
        follower.insert(of.vertices)
        with pytest.raises(InvariantViolation, match=said):
            follower.chain.apply(forged)


# Parameters


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("gc_depth", 3, 512),
        ("scoring_commits", 1, 1_000_000),
        ("swap_share_permille", 0, 333),
        ("checkpoint_commits", 1, 1_000_000),
    ],
)
def test_parameters_have_a_range(name: str, low: int, high: int) -> None:
    for value in (low, low + 1, high - 1, high):
        assert getattr(ChainParams(**{name: value}), name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(ConfigError, match=f"chain.{name}: expected {low} to {high}, got {value}"):
            ChainParams(**{name: value})


def test_gc_round_stays_gc_depth_below_the_leader() -> None:
    params = ChainParams(gc_depth=5)
    assert [params.gc_round(leader_round) for leader_round in (0, 1, 4, 5, 6, 100)] == [0, 0, 0, 0, 1, 95]


def test_operators_vertices_are_lost_or_committed_by_anchor_round() -> None:
    """Tips may be older than gc_round when a validator lists them: some are too late for the leader."""
    of = world(40, rounds=40)
    node = Node(of.committee)
    node.take(of.vertices)
    committed = [v for s in node.sub_dags for v in s.vertices if isinstance(v, OperatorVertex)]
    lost = [v for extension in node.extensions for v in extension.lost if isinstance(v, OperatorVertex)]
    assert min(len(committed), len(lost)) > 3
