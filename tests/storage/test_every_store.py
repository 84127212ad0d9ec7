"""One suite for every store: a store is made by `make_store`, and read again after a restart by `reopen`."""

import pytest
from storage.stores import CHAIN_OF_20, MakeStore, Reopen, dump, fill, persist
from vertices import digest, validator_vertex

from cherrydag.consensus.effects import Persist, SwapRecord, Ticket
from cherrydag.consensus.leader import SwapTable
from cherrydag.errors import ShapeError
from cherrydag.primitives import Round
from cherrydag.refs import OperatorRef, VertexRef
from cherrydag.vertex import Vertex


def test_an_empty_store_has_nothing(make_store: MakeStore) -> None:
    store = make_store()
    assert store.sync() == 0
    log = (None, [], [None] * len(CHAIN_OF_20.vertices), [], None, [[]] * 4)
    assert dump(store) == (*log, [None] * 22, [], [None] * 66)
    assert store.outcomes_bounds() is None
    assert store.durable_batch == 0


def test_what_was_written_is_read(make_store: MakeStore) -> None:
    store = make_store()
    fill(store)
    assert store.last_commit() == CHAIN_OF_20.commits[-1]
    refs = list(CHAIN_OF_20.vertices)
    assert store.vertices(refs[::-1]) == [CHAIN_OF_20.vertices[ref] for ref in refs[::-1]]


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(1, 20, range(1, 21)), (3, 5, range(3, 6)), (20, 25, [20]), (21, 30, []), (0, 1, [1]), (5, 4, [])],
)
def test_commits_are_read_by_index(make_store: MakeStore, first: int, last: int, expected: list[int]) -> None:
    store = make_store()
    fill(store)
    assert [commit.index for commit in store.commits(first, last)] == list(expected)


def test_commits_need_not_begin_with_the_first(make_store: MakeStore) -> None:
    store = make_store()
    fill(store, first=8)
    assert [commit.index for commit in store.commits(1, 9)] == [8, 9]
    assert store.commits(1, 7) == []


def test_a_reference_that_differs_in_any_field_is_to_nothing(make_store: MakeStore) -> None:
    store = make_store()
    fill(store)
    ref = CHAIN_OF_20.commits[4].leader
    tip = next(ref for ref in CHAIN_OF_20.vertices if isinstance(ref, OperatorRef))
    wrong = [
        VertexRef(Round(ref.round + 1), ref.author, ref.digest),
        VertexRef(ref.round, ref.author - 1, ref.digest),
        VertexRef(ref.round, ref.author, digest("other")),
        OperatorRef(ref.round, tip.issuer, ref.digest),
        OperatorRef(Round(tip.anchor_round + 1), tip.issuer, tip.digest),
    ]
    assert store.vertices([*wrong, ref, tip]) == [None] * 5 + [
        CHAIN_OF_20.vertices[ref],
        CHAIN_OF_20.vertices[tip],
    ]


def test_vertices_above_come_in_the_order_written(make_store: MakeStore) -> None:
    store = make_store()
    fill(store)
    late = validator_vertex(round=12, author=2, timestamp_ms=77, signed=False)
    store.write(Persist(Ticket(21), (late,), (), ()))
    written: list[Vertex] = [*CHAIN_OF_20.vertices.values(), late]
    for round_ in (0, 9, 10, 11, 12, 20, 2**32 - 1):
        assert list(store.vertices_above(Round(round_))) == [v for v in written if v.ref[0] > round_]


def test_newest_are_all_of_the_highest_round(make_store: MakeStore) -> None:
    store = make_store()
    fill(store, last=6)
    twins = [validator_vertex(round=6, author=1, timestamp_ms=t, signed=False) for t in (5, 6)]
    store.write(Persist(Ticket(7), tuple(twins), (), ()))
    (own,) = (v for v in CHAIN_OF_20.of(CHAIN_OF_20.commits[5]) if v.ref[1] == 1)
    assert store.newest(1) == sorted([own, *twins], key=lambda vertex: vertex.digest)
    assert [vertex.round for vertex in store.newest(3)] == [6]
    assert store.newest(4) == []


def test_the_last_swap_table_holds(make_store: MakeStore) -> None:
    store = make_store()
    tables = [SwapRecord(index, SwapTable((0,), (index,))) for index in (1, 2)]
    store.write(persist(1, CHAIN_OF_20.commits[0], tables[0]))
    assert store.swaps() == tables[0]
    store.write(persist(2, CHAIN_OF_20.commits[1], tables[1]))
    assert store.swaps() == tables[1]


def test_a_vertex_that_is_there_keeps_its_place(make_store: MakeStore, reopen: Reopen) -> None:
    store = make_store()
    fill(store, last=3)
    store.sync()
    before = dump(store)
    store.write(Persist(Ticket(4), CHAIN_OF_20.of(CHAIN_OF_20.commits[0]), (), ()))
    assert dump(store) == before
    assert dump(reopen(store)) == before


def test_a_gap_in_tickets_or_commits_is_our_bug(make_store: MakeStore) -> None:
    store = make_store()
    fill(store, last=3)
    before = dump(store)
    for ticket, index in ((3, 3), (5, 3), (4, 4), (4, 2)):
        with pytest.raises(ShapeError):
            store.write(persist(ticket, CHAIN_OF_20.commits[index]))
    assert dump(store) == before


def test_sync_says_what_is_durable(make_store: MakeStore, reopen: Reopen) -> None:
    store = make_store()
    fill(store, last=3)
    assert store.sync() == 3
    durable = dump(store)
    fill(store, first=4, last=6)
    assert store.last_commit() == CHAIN_OF_20.commits[5]
    assert dump(reopen(store)) == durable


def test_a_restart_counts_tickets_anew_and_goes_on(make_store: MakeStore, reopen: Reopen) -> None:
    store = make_store()
    fill(store, last=3)
    store.sync()
    restarted = reopen(store)
    restarted.write(persist(1, CHAIN_OF_20.commits[3]))
    assert restarted.sync() == 1
    expected = make_store()
    fill(expected, last=4)
    assert dump(reopen(restarted)) == dump(expected)
