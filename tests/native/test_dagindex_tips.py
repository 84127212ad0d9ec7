"""Tip selection: distribution, fairness by bonds, exclusions."""

import random
from collections import Counter

import pytest
from reference.dag_reference import OPERATOR

from cherrydag.dag import graph as g
from cherrydag.dag.graph import Graph, Limits, Outcome
from cherrydag.dag.tips import TipSelector
from cherrydag.errors import ShapeError

SEED = bytes(range(16))
ROOT = g.Ref(1, 0, bytes(32))


def with_tips(counts: list[int], round_: int = 2) -> tuple[Graph, TipSelector]:
    """Issuer i has counts[i] tips over one validator's vertex."""
    graph = Graph([1] * 4, SEED, Limits(issuers=len(counts) + 1))
    graph.insert(ROOT, g.pack_refs([]))
    for issuer, count in enumerate(counts):
        for i in range(count):
            digest = random.Random(issuer * 10_000 + i + 1).randbytes(32)
            inserted = graph.insert(g.Ref(round_, g.operator(issuer), digest), g.pack_refs([ROOT]))
            assert inserted.outcome == Outcome.INSERTED
    return graph, TipSelector(graph, 42)


def test_uniform_selection_is_uniform() -> None:
    graph, _ = with_tips([10, 10, 20])
    chosen, counts, _ = graph.index.select_uniform(4, False, 7, 50_000)
    assert (counts == 4).all()
    seen = Counter(chosen[:, :4].ravel().tolist())
    expected = 50_000 * 4 / 40
    chi_square = sum((count - expected) ** 2 / expected for count in seen.values())
    assert len(seen) == 40
    assert chi_square < 73  # 39 degrees of freedom: p = 0.001
    assert all(len(set(row)) == 4 for row in chosen[:500, :4].tolist())


def test_equal_seeds_select_alike() -> None:
    first, second = with_tips([30])[1], with_tips([30])[1]
    for k in range(2, 9):
        assert first.uniform(k).tolist() == second.uniform(k).tolist()
    assert first.rng == second.rng != 42


def test_fair_selection_follows_the_bonds() -> None:
    graph, selector = with_tips([50, 50, 50, 50])
    for issuer, bond in enumerate([100, 200, 400, 1600]):
        selector.set_issuer(issuer, bond, 1000)
    chosen, counts = graph.index.select_fair(8, 100, 2300)
    assert (counts == 8).all()
    issuers = Counter(graph.vertex(h).ref.author - OPERATOR for h in chosen.ravel())
    for issuer, share in enumerate([1, 2, 4, 16]):
        assert abs(issuers[issuer] - 800 * share) <= 16, issuers


def test_an_issuer_with_many_tips_gains_nothing_by_them() -> None:
    graph, selector = with_tips([1000, 8])
    for issuer in range(2):
        selector.set_issuer(issuer, 5, 5000)
    issuers = Counter(graph.vertex(h).ref.author - OPERATOR for h in selector.fair(8, 5))
    assert issuers == {0: 4, 1: 4}


@pytest.mark.parametrize("bond", [1, 16, 2**64 - 1])
def test_fair_selection_finds_all_there_is_whatever_the_bond(bond: int) -> None:
    _, selector = with_tips([3, 2])
    selector.set_issuer(0, bond, 100)
    selector.set_issuer(1, bond, 100)
    assert len(set(selector.fair(8, 16).tolist())) == 5
    assert len(set(selector.fair(8, 2**64 - 1).tolist())) == 5
    assert len(set(selector.fair(8, 1).tolist())) == 5


def test_lazy_over_quota_and_unbonded_tips_are_passed_over() -> None:
    graph, selector = with_tips([3, 3, 3])
    root = graph.find(ROOT.digest)
    late = graph.insert(g.Ref(5, g.operator(2), bytes([99]) * 32), g.pack_refs([ROOT])).handle
    for issuer, quota in ((0, 3), (1, 2), (2, 100)):
        selector.set_issuer(issuer, 10, quota)
    chosen = [graph.vertex(h).ref.author - OPERATOR for h in selector.uniform(8)]
    assert sorted(chosen) == [0, 0, 0, 2, 2, 2, 2]
    assert sorted(graph.vertex(h).ref.author - OPERATOR for h in selector.fair(8, 10)) == sorted(chosen)
    selector.set_issuer(0, 0, 3)
    assert {graph.vertex(h).ref.author - OPERATOR for h in selector.fair(8, 10)} == {2}
    selector.set_tip_round(3)
    assert selector.uniform(8).tolist() == selector.fair(8, 10).tolist() == [late]
    assert graph.vertex(root).has_children
    with pytest.raises(ShapeError, match="sink"):
        selector.set_tip_round(2)


def test_quota_counts_uncommitted_vertices_and_lets_tips_back_in() -> None:
    graph, selector = with_tips([4])
    selector.set_issuer(0, 1, 3)
    assert len(selector) == 0
    assert not len(selector.uniform(2)) and not len(selector.fair(2, 1))
    graph.mark_committed(graph.slot(2, g.operator(0))[:1])
    assert len(selector.uniform(8)) == len(selector.fair(8, 1)) == 3


def test_selection_refuses_numbers_out_of_range() -> None:
    graph, selector = with_tips([4])
    for k in (0, 1, 9):
        with pytest.raises(ShapeError):
            selector.uniform(k)
        with pytest.raises(ShapeError):
            selector.fair(k, 1)
    with pytest.raises(ShapeError):
        selector.fair(2, 0)
    with pytest.raises(ShapeError):
        selector.set_issuer(2, 1, 1)
    with pytest.raises(ShapeError):
        TipSelector(graph, 2**64)


def test_few_tips_are_chosen_evenly_too() -> None:
    graph, _ = with_tips([3, 2])
    chosen, counts, _ = graph.index.select_uniform(2, False, 7, 20_000)
    assert (counts == 2).all()
    seen = Counter(chosen[:, :2].ravel().tolist())
    chi_square = sum((count - 8000) ** 2 / 8000 for count in seen.values())
    assert len(seen) == 5
    assert chi_square < 18.5  # 4 degrees of freedom: p = 0.001


def test_lazy_tips_leave_the_rest_uniform() -> None:
    graph, selector = with_tips([30])
    for i in range(20):
        graph.insert(g.Ref(3, g.operator(0), bytes([1 + i]) * 32), g.pack_refs([ROOT]))
    selector.set_tip_round(3)
    seen: Counter[int] = Counter()
    for _ in range(4000):
        chosen = selector.uniform(5).tolist()
        assert len(set(chosen)) == 5
        seen.update(chosen)
    assert len(seen) == len(selector) == 20
    assert sum((count - 1000) ** 2 / 1000 for count in seen.values()) < 43.8  # 19 degrees of freedom
