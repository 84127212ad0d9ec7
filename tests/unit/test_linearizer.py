"""The lineariser: order and time of a commit follow from the leader's past, and nobody can steer them."""

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.dag_reference import ReferenceDag
from scenario.dag_dsl import full, parse
from scenario.live_dag import ORIGIN, committee_of, genesis_of, in_order, make, with_operators
from scenario.random_dags import causal_order, random_dag

from cherrydag.consensus.linearizer import Link, leader_time, linearize, weighted_median
from cherrydag.dag.graph import Handle, Outcome, operator
from cherrydag.dag.window import Window
from cherrydag.errors import InvariantViolation, ShapeError
from cherrydag.refs import AnyRef
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex

START = Link(0, ORIGIN, 0)
Timed = list[tuple[int, int]]
TIMED = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), min_size=1, max_size=12)


@given(TIMED)
def test_the_median_has_at_most_half_of_the_stake_below_it_and_less_than_half_above(timed: Timed) -> None:
    median = weighted_median(timed)
    total = sum(stake for _, stake in timed)
    assert median in [timestamp for timestamp, _ in timed]
    assert Fraction(sum(stake for at, stake in timed if at < median), total) <= Fraction(1, 2)
    assert Fraction(sum(stake for at, stake in timed if at > median), total) < Fraction(1, 2)


@given(TIMED, st.randoms(use_true_random=False))
def test_the_median_does_not_depend_on_the_order(timed: Timed, rng: random.Random) -> None:
    assert weighted_median(rng.sample(timed, len(timed))) == weighted_median(timed)


@pytest.mark.parametrize(
    ("timed", "median"),
    [
        ([(5, 1)], 5),
        ([(5, 1), (9, 1)], 9),  # half of the stake is not more than half
        ([(5, 2), (9, 1)], 5),
        ([(9, 1), (5, 1), (7, 1)], 7),
        ([(1, 1), (2, 1), (3, 1), (4, 1)], 3),
        ([(1, 3), (2, 1), (3, 1), (4, 1)], 2),
        ([(1, 4), (2, 1), (3, 1), (4, 1)], 1),
        ([(2**64 - 1, 2**62), (0, 2**62 - 1)], 2**64 - 1),
    ],
)
def test_the_median_by_example(timed: Timed, median: int) -> None:
    assert weighted_median(timed) == median


def test_no_stake_has_no_median() -> None:
    with pytest.raises(ShapeError, match="expected stake"):
        weighted_median([])


@given(st.data(), st.lists(st.integers(1, 30), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_liars_of_f_stake_cannot_move_the_time_out_of_the_honest_range(
    data: st.DataObject, stakes: list[int], rng: random.Random
) -> None:
    """However few of the others a leader lists: the quorum it must list suffices."""
    total = sum(stakes)
    faulty = (total - 1) // 3
    liars: list[int] = []
    for author in rng.sample(range(len(stakes)), len(stakes)):
        if sum(stakes[i] for i in liars) + stakes[author] <= faulty:
            liars.append(author)
    honest = [author for author in range(len(stakes)) if author not in liars]
    listed = [*liars]
    for author in rng.sample(honest, len(honest)):
        if sum(stakes[i] for i in listed) < total - faulty:
            listed.append(author)
    said = {author: data.draw(st.integers(1000, 1010)) for author in honest}
    lies = {author: data.draw(st.sampled_from([0, 999, 1005, 1011, 2**64 - 1])) for author in liars}
    median = weighted_median([((said | lies)[author], stakes[author]) for author in listed])
    among = [said[author] for author in listed if author in said]
    assert min(among) <= median <= max(among)


COMMITTEE = committee_of([1] * 4)


def filled(text: str, **timestamps: int) -> tuple[Window, dict[str, ValidatorVertex]]:
    """A window with the DAG, and its vertices by name; timestamps by name, too."""
    dag = parse(text)
    window = Window([1] * 4, bytes(16))
    made = genesis_of(COMMITTEE)
    for name in in_order(dag):
        at = timestamps.get(str(name), 100 * name.round + name.author)
        made[name] = make(dag, name, made, COMMITTEE, timestamp_ms=at)
        assert window.insert(made[name]).outcome is Outcome.INSERTED
    return window, {str(name): vertex for name, vertex in made.items()}


def handle_of(window: Window, vertex: Vertex) -> Handle:
    found = window.graph.find(vertex.digest)
    assert found is not None
    return found


def test_a_leader_of_round_one_has_the_time_of_genesis() -> None:
    window, named = filled(full(1, 1))
    assert leader_time(window, COMMITTEE, named["B1"]) == 0
    commit, vertices, _ = linearize(window, COMMITTEE, START, handle_of(window, named["B1"]))
    assert (commit.index, commit.prev_digest, commit.timestamp_ms) == (1, ORIGIN, 0)
    assert vertices == (named["B1"],)
    assert commit.vertices == (named["B1"].ref,)


def test_only_strong_ancestors_tell_the_time() -> None:
    """Neither the leader's own timestamp nor a weak ancestor's counts."""
    text = f"""{full(1, 2)}
        Round 3 : {{ A -> [A2, B2, C2, D1], B -> [*], C -> [*], D -> [*] }}"""
    window, named = filled(text, A3=0, D1=2**63, A2=7, B2=9, C2=8)
    assert leader_time(window, COMMITTEE, named["A3"]) == 8


def test_time_stands_still_rather_than_going_back() -> None:
    window, named = filled(full(1, 3))
    leader = handle_of(window, named["D3"])
    for previous, expected in ((201, 202), (202, 202), (203, 203), (0, 202)):
        found = linearize(window, COMMITTEE, Link(4, ORIGIN, previous), leader)
        assert found.commit.timestamp_ms == expected


def test_a_leader_whose_strong_ancestors_are_gone_is_a_bug() -> None:
    window, named = filled(full(1, 3))
    window.set_gc_round(2)
    with pytest.raises(InvariantViolation, match="strong ancestors are above gc_round"):
        leader_time(window, COMMITTEE, named["D3"])


def test_what_is_committed_or_below_gc_round_is_left_out() -> None:
    window, named = filled(full(1, 4))
    first = linearize(window, COMMITTEE, START, handle_of(window, named["C2"]))
    assert {str(v.ref[:2]) for v in first.vertices} == {"(1, 0)", "(1, 1)", "(1, 2)", "(1, 3)", "(2, 2)"}
    window.mark_committed(first.handles)
    window.set_gc_round(2)
    second = linearize(window, COMMITTEE, Link(1, first.commit.digest, 0), handle_of(window, named["A4"]))
    assert sorted(second.vertices, key=lambda v: v.ref) == sorted(
        [named[name] for name in ("A3", "B3", "C3", "D3", "A4")], key=lambda v: v.ref
    )
    assert second.commit.prev_digest == first.commit.digest
    assert second.commit.leader == named["A4"].ref


def test_to_linearize_changes_nothing() -> None:
    window, named = filled(full(1, 4))
    leader = handle_of(window, named["A4"])
    first, second = (linearize(window, COMMITTEE, START, leader) for _ in range(2))
    assert first.commit == second.commit
    assert not any(window.graph.vertex(handle).committed for handle in first.handles.tolist())


@pytest.mark.parametrize("seed", range(6))
def test_the_order_is_the_references_whatever_came_first(seed: int) -> None:
    """Parents first, then by the hash keyed with the leader's digest; operators' vertices take part."""
    rng = random.Random(seed)
    dag = random_dag(rng, [1] * 4, 8, leader=lambda r: r % 4, absent_chance=0.1, equivocators=[2])
    vertices = {v.digest: v for v in with_operators(dag, COMMITTEE, rng, per_round=3, lag=5)[1]}
    orders = []
    for reach in (1, 30):
        window = Window([1] * 4, rng.randbytes(16))
        parents = {d: [p.digest for p in window.parents_of(v)] for d, v in vertices.items()}
        for digest in causal_order(rng, parents, reach):
            assert window.insert(vertices[digest]).outcome is Outcome.INSERTED
        leader = max((v for v in vertices.values() if not isinstance(v, OperatorVertex)), key=lambda v: v.ref)
        orders.append(linearize(window, COMMITTEE, START, handle_of(window, leader)))
    assert orders[0].commit == orders[1].commit
    assert any(isinstance(v, OperatorVertex) for v in orders[0].vertices)

    reference = ReferenceDag([1] * 4)
    issuers: dict[bytes, int] = {}

    def ref_of(ref: AnyRef) -> tuple[bytes, int, int]:
        author = ref[1] if isinstance(ref[1], int) else operator(issuers.setdefault(ref[1], len(issuers)))
        return ref.digest, ref[0], author

    for vertex in vertices.values():
        outcome, _ = reference.insert(ref_of(vertex.ref), [ref_of(p) for p in window.parents_of(vertex)])
        assert outcome == 0
    expected = reference.order(reference.vertices[leader.digest], leader.digest)
    assert [v.digest for v in orders[0].vertices] == expected


def test_an_authors_place_differs_from_leader_to_leader() -> None:
    """A seed that did not depend on the leader would let authors search for a good digest."""
    window, named = filled(full(1, 2))
    places = {
        name: [
            v.author
            for v in linearize(window, COMMITTEE, START, handle_of(window, named[name])).vertices
            if v.round == 1
        ]
        for name in ("A2", "B2", "C2", "D2")
    }
    assert len(set(map(tuple, places.values()))) > 1
