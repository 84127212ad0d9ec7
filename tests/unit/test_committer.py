"""The committer: the commit rule, whatever comes in when, without doing work twice.

The named cases of the rule are in scenario/test_commit_scenarios.py.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from reference.commit_reference import Decider, Status
from scenario.dag_dsl import Dag, Vertex, full, parse
from scenario.live_dag import LiveDecider, committee_of, in_order, vertices_of
from scenario.random_dags import causal_order, random_dag

from cherrydag.consensus.committer import WAVE, Committer, decide_by_anchor, decide_directly
from cherrydag.dag.graph import Graph, Handle
from cherrydag.dag.window import Window
from cherrydag.errors import InvariantViolation
from cherrydag.primitives import Round, ValidatorIndex


class Case(NamedTuple):
    """Stakes, and who may equivocate: f of stake at most."""

    stakes: Sequence[int]
    equivocators: Sequence[int] = ()

    def leader(self, number: int) -> int:
        """Each validator in turn."""
        return number % len(self.stakes)

    def dag(self, seed: int, rounds: int = 20) -> Dag:
        """A DAG with slots of every kind."""
        return random_dag(
            random.Random(seed),
            self.stakes,
            rounds,
            leader=self.leader,
            leader_chance=0.6,
            absent_chance=0.1,
            equivocators=self.equivocators,
        )


CASES = [
    Case([1]),
    Case([1, 1]),
    Case([1] * 4, [3]),
    Case([5, 3, 3, 2, 1], [1, 4]),
    Case([1] * 7, [0, 5]),
    Case([1] * 10, [2, 3, 7]),
    Case([7, 1, 1, 9, 2, 2, 4, 4, 3, 1], [4, 5, 9, 0][:3]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: ",".join(map(str, case.stakes)))
@pytest.mark.parametrize("seed", range(6))
def test_any_order_of_arrival_and_any_batching_decide_as_the_reference(case: Case, seed: int) -> None:
    """Each delivery's decisions so far are a beginning of the reference's for the whole DAG."""
    rng = random.Random(seed)
    dag = case.dag(seed)
    whole = Decider(dag, case.leader, case.stakes).decide()
    ancestors = {v: dag.ancestors[v] for v in in_order(dag)}
    for reach, patience in ((1, 0.0), (6, 0.5), (40, 0.9)):
        partial = Dag(len(case.stakes))
        live = LiveDecider(partial, case.leader, case.stakes)
        taken: list[Status] = []
        for vertex in causal_order(rng, ancestors, reach):
            partial.add(vertex, ancestors[vertex])
            if rng.random() >= patience:
                taken += live.decide(len(taken))
                assert taken == whole[: len(taken)]
        assert taken + live.decide(len(taken)) == whole


@pytest.mark.parametrize("case", CASES[2:5], ids=lambda case: ",".join(map(str, case.stakes)))
@pytest.mark.parametrize("seed", range(3))
def test_after_each_vertex_the_decisions_are_those_of_all_that_is_there(case: Case, seed: int) -> None:
    rng = random.Random(seed)
    dag = case.dag(100 + seed, rounds=12)
    partial = Dag(len(case.stakes))
    live = LiveDecider(partial, case.leader, case.stakes)
    reference = Decider(partial, case.leader, case.stakes)
    for vertex in causal_order(rng, {v: dag.ancestors[v] for v in in_order(dag)}, 20):
        partial.add(vertex, dag.ancestors[vertex])
        assert live.decide() == reference.decide()


def test_a_late_blame_skips_at_once() -> None:
    """The decision round is there already, and only D4 was missing for a quorum against D3."""
    dag = parse(
        f"""{full(1, 3)}
        Round 4 : {{ A -> [-D3], B -> [-D3], C -> [*] }}
        Round 5 : {{ A -> [*], B -> [*], C -> [*] }}"""
    )
    live = LiveDecider(dag)
    assert len(live.decide()) == 2
    dag.add(Vertex(4, 3), tuple(v for v in dag.at_round(3) if v.author != 3))
    assert live.decide()[2:] == [Status((3, 3), "skip")]


def test_the_random_dags_hold_every_verdict_and_every_way_to_it() -> None:
    """Or the test above would say little."""
    seen: dict[tuple[str, str], int] = {}
    equivocal = 0
    for case in CASES[2:]:
        for seed in range(6):
            decider = Decider(case.dag(seed), case.leader, case.stakes)
            for status in decider.statuses():
                way = decider.direct(status.slot).verdict
                seen[status.verdict, way] = seen.get((status.verdict, way), 0) + 1
                equivocal += status.verdict == "commit" and len(decider.in_slot(status.slot)) > 1
    directly = [seen["commit", "commit"], seen["skip", "skip"]]
    by_anchor = [seen["commit", "undecided"], seen["skip", "undecided"]]
    assert min(directly) > 50, seen
    assert min(by_anchor) > 10, seen
    assert equivocal > 5


def test_decide_is_idempotent_and_may_go_back() -> None:
    dag = CASES[2].dag(4)
    live = LiveDecider(dag)
    whole = live.decide()
    assert len(whole) > 10
    for last in (5, 3, 10, 0, 0, len(whole), 1):
        assert live.decide(last) == whole[last:]


def late_committer(dag: Dag) -> Committer:
    """One that has not been asked yet."""
    live = LiveDecider(Dag(dag.authors))
    late = Committer(live.window.graph, live.leader)
    for name, vertex in vertices_of(dag, live.committee).items():
        if name.round:
            live.window.insert(vertex)
            late.note(vertex.round)
    return late


def test_one_late_call_decides_what_ten_waves_of_calls_would() -> None:
    dag = parse(full(1, 10 * WAVE))
    found = late_committer(dag).decide(Round(0))
    assert [(d.round, d.leader) for d in found] == [s.slot for s in LiveDecider(dag).decide()]
    assert len(found) == 10 * WAVE - 2
    assert all(d.handle for d in found)


def test_a_graph_that_is_filled_already_needs_no_note() -> None:
    live = LiveDecider(parse(full(1, 12)))
    fresh = Committer(live.window.graph, live.leader)
    assert fresh.decide(Round(0)) == live.committer.decide(Round(0))
    assert len(fresh.decide(Round(0))) == 10


def test_other_leaders_decide_anew() -> None:
    """Under them nothing decided before counts; a slot without a vertex is skipped."""
    dag = parse(full(1, 12).replace("Round 7 : { * }", "Round 7 : { A -> [*], B -> [*], C -> [*] }"))
    leaders = {"offset": 0}
    live = LiveDecider(dag, lambda number: (number + leaders["offset"]) % 4)
    before = live.decide(5)
    assert [s.slot for s in before] == [(6, 2), (7, 3), (8, 0), (9, 1), (10, 2)]
    assert [s.verdict for s in before] == ["commit", "skip", "commit", "commit", "commit"]
    leaders["offset"] = 1
    live.committer.forget()
    after = live.decide(5)
    assert [s.slot for s in after] == [(6, 3), (7, 0), (8, 1), (9, 2), (10, 3)]
    assert [s.verdict for s in after] == ["commit"] * 5


def test_two_committed_vertices_in_a_slot_stop_the_node() -> None:
    """More than f equivocate: A and B vote for D3 and D3', and certify both."""
    text = f"""{full(1, 2)}
        Round 3 : {{ A -> [*], B -> [*], C -> [*], D -> [*], D' -> [*] }}
        Round 4 : {{ A -> [*], A' -> [A3, B3, C3, D3'], B -> [*], B' -> [A3, B3, C3, D3'],
                     C -> [*], D -> [A3, B3, C3, D3'] }}
        Round 5 : {{ A -> [A4, B4, C4], A' -> [A4', B4', D4], B -> [A4, B4, C4], B' -> [A4', B4', D4],
                     C -> [A4, B4, C4], D -> [A4', B4', D4] }}"""
    with pytest.raises(InvariantViolation, match=r"one vertex of a slot commits.*round=3, leader=3"):
        late_committer(parse(text)).decide(Round(0))


def test_two_certified_vertices_in_an_anchors_past_stop_the_node() -> None:
    """B's certificates alone are too few for either, and the anchor C6 reaches one of each."""
    text = f"""{full(1, 2)}
        Round 3 : {{ A -> [*], B -> [*], C -> [*], D -> [*], D' -> [*] }}
        Round 4 : {{ A -> [*], A' -> [A3, B3, C3, D3'], B -> [*], B' -> [A3, B3, C3, D3'],
                     C -> [*], D -> [A3, B3, C3, D3'] }}
        Round 5 : {{ A -> [A4, B4, C4], B -> [A4', B4', D4], C -> [A4, C4], D -> [A4, C4] }}
        {full(6, 8)}"""
    with pytest.raises(InvariantViolation, match=r"one vertex of a slot is certified.*round=3, leader=3"):
        LiveDecider(parse(text)).decide()


def test_a_slot_below_gc_round_is_not_asked_for() -> None:
    live = LiveDecider(parse(full(1, 12)))
    live.window.set_gc_round(Round(6))
    assert [d.round for d in live.committer.decide(Round(6))] == [7, 8, 9, 10]
    with pytest.raises(InvariantViolation, match="undecided slots lie above gc_round"):
        live.committer.decide(Round(5))


class Counting:
    """A graph that counts how often the commit rule reads it."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.reads = 0
        self.quorum = graph.quorum

    def __getattr__(self, name: str) -> object:
        if name in ("blames", "certified_in_past"):
            self.reads += 1
        return getattr(self._graph, name)


def test_only_slots_that_can_have_changed_are_looked_at() -> None:
    """Of 40 rounds of 4: a slot is read once for each vertex of its decision round up to the quorum."""
    dag = parse(full(1, 40))
    committee = committee_of([1] * 4)
    window = Window([1] * 4, bytes(16))
    graph = Counting(window.graph)
    committer = Committer(graph, lambda number: ValidatorIndex(number % 4))
    last = 0
    for name, vertex in vertices_of(dag, committee).items():
        if name.round:
            window.insert(vertex)
            committer.note(vertex.round)
            last += len(committer.decide(Round(last)))
    assert last == 38
    assert graph.reads == 3 * 38
    committer.decide(Round(last))
    assert graph.reads == 3 * 38


def test_an_open_slot_is_read_once_by_its_anchor() -> None:
    """C6 stays open for want of votes either way, until B9 commits and finds no certificate."""
    text = f"""{full(1, 6)}
        Round 7 : {{ A -> [*], B -> [*], C -> [-C6], D -> [-C6] }}
        {full(8, 30)}"""
    live = LiveDecider(parse(text))
    graph = Counting(live.window.graph)
    committer = Committer(graph, live.leader)
    assert len(committer.decide(Round(0))) == 28
    assert graph.reads == 28 + 1


def test_the_parts_of_a_wave_stand_alone() -> None:
    live = LiveDecider(parse(full(1, 6)))
    graph = live.window.graph
    open_slot = decide_directly(graph, Round(5), ValidatorIndex(1))
    assert open_slot is None
    anchor = Handle(int(graph.slot(Round(5), 1)[0]))
    (found,) = graph.slot(Round(2), 2)
    assert decide_by_anchor(graph, Round(2), ValidatorIndex(2), anchor) == (2, 2, found)
    assert decide_by_anchor(graph, Round(4), ValidatorIndex(0), anchor) == (4, 0, None)


def test_a_leader_that_comes_after_its_skip_changes_nothing_later_either() -> None:
    dag = parse(
        f"""{full(1, 2)}
        Round 3 : {{ A -> [*], B -> [*], C -> [*] }}
        {full(4, 5)}"""
    )
    live = LiveDecider(dag)
    assert live.decide()[2] == Status((3, 3), "skip")
    dag.add(Vertex(3, 3), tuple(dag.at_round(2)))
    for number in range(6, 10):
        listed = tuple(v for v in dag.at_round(number - 1) if v.author != 3)
        for author in range(4):
            own = Vertex(3, 3) if number == 6 else Vertex(number - 1, 3)
            dag.add(Vertex(number, author), (*listed, own))
        assert live.decide() == Decider(dag).decide()
    assert live.decide()[2] == Status((3, 3), "skip")
