import random

import numpy as np
import pytest
from engines import SEED, Forge, flat, issuer

from cherrydag.dag.graph import Limits, Outcome
from cherrydag.dag.window import Window
from cherrydag.errors import ShapeError
from cherrydag.refs import OperatorRef
from cherrydag.vertex import Vertex

FORGE = Forge()


def window_of(vertices: list[Vertex], limits: Limits | None = None) -> Window:
    window = Window([1] * 4, SEED, limits)
    for vertex in vertices:
        assert window.insert(vertex).outcome is Outcome.INSERTED
    return window


def number_of(window: Window, vertex: Vertex) -> int:
    """The number of an operator in the graph."""
    return window.graph.vertex(window.graph.find(vertex.digest)).ref.author


def handles(window: Window, vertices: list[Vertex]) -> list[int]:
    return [window.graph.find(vertex.digest) for vertex in vertices]


def test_a_vertex_is_found_by_digest_handle_round_and_slot() -> None:
    rows = FORGE.rounds(2)
    window = window_of(flat(rows))
    vertex = rows[1][2]
    assert window.get(vertex.digest) is vertex
    assert window.vertex(window.graph.find(vertex.digest)) is vertex
    assert window.vertices(2) == rows[1]
    assert window.slot(2, 2) == [vertex]
    assert (window.slot(3, 2), window.vertices(3), len(window)) == ([], [], 8)


def test_an_equivocation_is_listed_by_digest_whatever_came_first() -> None:
    pair = [FORGE.first(1, variant=variant) for variant in range(3)]
    for order in (pair, pair[::-1]):
        assert window_of(order).slot(1, 1) == sorted(pair, key=lambda vertex: vertex.digest)


def test_missing_parents_are_told_by_their_place() -> None:
    rows = FORGE.rounds(1)
    window = window_of(rows[0][:3])
    tip = FORGE.operator(7, rows[0][:2])
    child = FORGE.vertex(2, 3, rows[0], tips=(tip.ref,))
    inserted = window.insert(child)
    assert inserted.outcome is Outcome.MISSING
    parents = window.parents_of(child)
    assert [parents[place] for place in inserted.missing] == [rows[0][3].ref, tip.ref]
    assert window.insert(FORGE.operator(8, [rows[0][0], tip])).missing == (1,)
    assert window.get(child.digest) is None


@pytest.mark.parametrize("as_tip", [True, False])
@pytest.mark.parametrize("is_numbered", [True, False])
def test_a_reference_under_another_issuer_is_missing(as_tip: bool, is_numbered: bool) -> None:
    """A reference that does not match in every field is to nothing, on every node."""
    row = FORGE.rounds(1)[0]
    true = FORGE.operator(1, row[:2])
    window = window_of([*row, true])
    if is_numbered:
        window.set_issuer(issuer(2), 1, 1)
    bogus = OperatorRef(1, issuer(2), true.digest)
    child = FORGE.vertex(2, 0, row, tips=(bogus,)) if as_tip else FORGE.operator(3, [row[0], bogus])
    inserted = window.insert(child)
    assert inserted.outcome is Outcome.MISSING
    assert [window.parents_of(child)[place] for place in inserted.missing] == [bogus]


def test_a_reference_under_another_anchor_round_is_missing() -> None:
    rows = FORGE.rounds(2)
    true = FORGE.operator(1, rows[0][:2])
    window = window_of([*flat(rows), true])
    bogus = OperatorRef(2, true.issuer, true.digest)
    assert window.insert(FORGE.vertex(3, 0, rows[1], tips=(bogus,))).outcome is Outcome.MISSING
    assert window.insert(FORGE.vertex(3, 0, rows[1], tips=(true.ref,))).outcome is Outcome.INSERTED


def test_what_no_commit_holds_is_lost_when_it_falls_below_the_window() -> None:
    rows = FORGE.rounds(4)
    tip = FORGE.operator(1, rows[1][:2])
    window = window_of([*rows[0], *rows[1], tip, *rows[2], *rows[3]])
    committed = rows[0][:3] + rows[1][1:]
    window.mark_committed(np.array(handles(window, committed), np.uint64))
    assert window.set_gc_round(2) == [rows[0][3], rows[1][0], tip]
    assert len(window) == 8
    assert window.get(rows[0][0].digest) is None
    assert window.vertices(2) == []
    with pytest.raises(ShapeError):
        window.vertex(1)
    assert window.set_gc_round(4) == flat(rows[2:])


def test_parents_at_or_below_gc_round_are_exempt() -> None:
    rows = FORGE.rounds(4)
    window = window_of([])
    window.set_gc_round(2)
    assert window.insert(rows[1][0]).outcome is Outcome.STALE
    assert window.insert(rows[3][0]).outcome is Outcome.MISSING
    assert [window.insert(vertex).outcome for vertex in rows[2]] == [Outcome.INSERTED] * 4
    assert window.insert(rows[3][0]).outcome is Outcome.INSERTED


# Numbers of operators


def test_an_operators_number_is_free_again_when_his_last_vertex_is_gone() -> None:
    rows = FORGE.rounds(3)
    first = FORGE.operator(1, rows[0][:2])
    second = FORGE.operator(1, [first, rows[1][0]], seq=1)
    window = window_of([*flat(rows), first, second], Limits(issuers=4))
    number = number_of(window, first)
    assert number_of(window, second) == number
    other = FORGE.operator(2, rows[2][:2])
    third = FORGE.operator(3, rows[2][:2])
    window.set_gc_round(1)
    assert window.insert(other).outcome is Outcome.INSERTED
    assert number_of(window, other) != number
    assert window.insert(third).outcome is Outcome.FULL
    window.set_gc_round(2)
    assert window.insert(third).outcome is Outcome.INSERTED
    assert number_of(window, third) == number


def test_a_bond_keeps_an_operators_number_until_it_is_gone() -> None:
    rows = FORGE.rounds(4)
    window = window_of(flat(rows))
    window.set_issuer(issuer(1), 5, 2)
    window.set_issuer(issuer(1), 6, 3)
    assert window.is_bonded(issuer(1))
    first = FORGE.operator(1, rows[0][:2])
    window.insert(first)
    number = number_of(window, first)
    window.set_gc_round(1)
    stranger = FORGE.operator(2, rows[1][:2])
    window.insert(stranger)
    assert number_of(window, stranger) != number
    again = FORGE.operator(1, rows[1][:2])
    window.insert(again)
    assert number_of(window, again) == number
    window.set_gc_round(2)
    for _ in range(2):
        window.set_issuer(issuer(1), 0, 0)
        assert not window.is_bonded(issuer(1))
    newcomers = [FORGE.operator(key, rows[2][:2]) for key in (3, 4)]
    for newcomer in newcomers:
        window.insert(newcomer)
    assert number in [number_of(window, newcomer) for newcomer in newcomers]
    window.set_issuer(issuer(9), 0, 0)
    assert not window.is_bonded(issuer(9))


def test_numbers_are_distinct_and_stay_as_long_as_a_vertex_is_in_the_window() -> None:
    for seed in range(30):
        rng = random.Random(seed)
        rows = FORGE.rounds(30)
        window = window_of([], Limits(issuers=64))
        gc_round = 0
        alive: dict[Vertex, int] = {}
        for number in range(1, 31):
            for vertex in rows[number - 1]:
                window.insert(vertex)
            for key in rng.sample(range(13), 3):
                vertex = FORGE.operator(key, rows[number - 1][:2], variant=number)
                window.insert(vertex)
                alive[vertex] = number_of(window, vertex)
            window.set_issuer(issuer(rng.randrange(10, 13)), rng.choice((0, 0, 7)), 4)
            if rng.random() < 0.3 and number - 3 > gc_round:
                gc_round = number - rng.randint(1, 3)
                window.set_gc_round(gc_round)
                alive = {v: n for v, n in alive.items() if v.anchor_round > gc_round}
            assert all(number_of(window, vertex) == n for vertex, n in alive.items())
            numbers = {(vertex.issuer, n) for vertex, n in alive.items()}
            assert len(numbers) == len({n for _, n in numbers}) == len({key for key, _ in numbers})


def test_half_of_the_numbers_are_for_those_with_a_bond() -> None:
    row = FORGE.rounds(1)[0]
    window = window_of([*row, FORGE.operator(0, row[:2]), FORGE.operator(1, row[:2])], Limits(issuers=4))
    assert window.insert(FORGE.operator(2, row[:2])).outcome is Outcome.FULL
    assert window.insert(FORGE.operator(1, row[1:3], seq=1)).outcome is Outcome.INSERTED
    window.set_issuer(issuer(3), 1, 1)
    with pytest.raises(ShapeError, match="at most 3 operators"):
        window.set_issuer(issuer(4), 1, 1)
    assert not window.is_bonded(issuer(4))
    window.set_gc_round(1)
    window.set_issuer(issuer(4), 1, 1)
    assert window.is_bonded(issuer(4))
    assert window.is_bonded(issuer(3))
