"""What every store holds of the execution of commits, and how single transactions are read back."""

from dataclasses import replace

import numpy as np
import pytest
from storage.stores import (
    CHAIN_OF_20,
    MakeStore,
    Reopen,
    WritableStore,
    dump,
    execute,
    fill,
    outcome_of,
    persist,
    statuses_of,
)

from cherrydag.consensus.effects import SubDag, SwapRecord
from cherrydag.consensus.leader import SwapTable
from cherrydag.errors import ShapeError, StorageError
from cherrydag.storage.values import RecordPlace
from cherrydag.transaction import RECORD

COMMITS = CHAIN_OF_20.commits


def run(store: WritableStore, last: int, first: int = 1) -> None:
    for commit in COMMITS[first - 1 : last]:
        execute(store, commit)


def test_outcomes_come_back_by_index(make_store: MakeStore, reopen: Reopen) -> None:
    store = make_store()
    fill(store)
    run(store, 20)
    for found in (store, None):
        if found is None:
            store.sync()
            found = reopen(store)
        assert found.outcomes_bounds() == (1, 20)
        assert list(found.outcomes(0, 99)) == [outcome_of(commit) for commit in COMMITS]
        assert list(found.outcomes(19, 25)) == [outcome_of(commit) for commit in COMMITS[18:]]
        assert list(found.outcomes(5, 4)) == []
        assert found.outcome(7) == outcome_of(COMMITS[6])
        assert found.outcome(21) is None
        assert found.outcome(0) is None


def test_outcomes_begin_anywhere_and_have_no_gap(make_store: MakeStore) -> None:
    store = make_store()
    fill(store, first=3, last=12)
    run(store, first=6, last=7)
    before = dump(store)
    for index in (5, 9, 12, 13, 2):
        with pytest.raises(ShapeError, match=r"expected that of commit 8, got|was not written"):
            execute(store, COMMITS[index - 1])
    assert dump(store) == before
    assert store.outcomes_bounds() == (6, 7)
    execute(store, COMMITS[7])
    assert store.outcomes_bounds() == (6, 8)


def test_an_outcome_needs_its_commit_and_its_vertices(make_store: MakeStore) -> None:
    store = make_store()
    with pytest.raises(ShapeError, match="commit 1 was not written"):
        execute(store, COMMITS[0])
    fill(store, last=2)
    with pytest.raises(ShapeError, match="commit 3 was not written"):
        execute(store, COMMITS[2])
    later = CHAIN_OF_20.of(COMMITS[10])
    with pytest.raises(ShapeError, match="was not written, or is listed twice"):
        store.write_outcome(1, [np.zeros(len(vertex.payload), np.uint8) for vertex in later], later)
    (vertex, *_) = CHAIN_OF_20.of(COMMITS[0])
    with pytest.raises(ShapeError, match="was not written, or is listed twice"):
        store.write_outcome(1, [np.zeros(0, np.uint8)] * 2, [vertex, vertex])
    assert store.outcomes_bounds() is None


def test_there_is_a_status_for_each_transaction(make_store: MakeStore) -> None:
    store = make_store()
    fill(store, last=7)
    run(store, last=6)
    commit = COMMITS[6]
    statuses, vertices = list(statuses_of(commit)), CHAIN_OF_20.of(commit)
    row = next(row for row, of_vertex in enumerate(statuses) if len(of_vertex))
    for wrong in (
        np.zeros(1, np.uint8),
        np.zeros(3, np.uint8),
        np.zeros(2, np.int8),
        np.zeros((1, 2), np.uint8),
    ):
        with pytest.raises(ShapeError, match=rf"statuses\[{row}\]: expected 2 uint8"):
            store.write_outcome(7, [*statuses[:row], wrong, *statuses[row + 1 :]], vertices)
    with pytest.raises(ShapeError, match="one array for each vertex"):
        store.write_outcome(7, statuses[1:], vertices)
    assert store.outcomes_bounds() == (1, 6)


def test_the_same_outcome_again_changes_nothing(make_store: MakeStore, reopen: Reopen) -> None:
    store = make_store()
    fill(store, last=9)
    run(store, last=9)
    store.sync()
    before, durable = dump(store), store.durable_batch
    assert execute(store, COMMITS[3]) <= durable
    assert dump(store) == before
    restarted = reopen(store)
    assert execute(restarted, COMMITS[8]) == 0
    restarted.sync()
    assert dump(restarted) == before


@pytest.mark.parametrize("is_durable", [True, False])
def test_another_outcome_of_a_commit_says_that_the_state_diverged(
    make_store: MakeStore, is_durable: bool
) -> None:
    store = make_store()
    fill(store, last=7)
    run(store, last=7)
    if is_durable:
        store.sync()
    before = dump(store)
    statuses, vertices = statuses_of(COMMITS[6]), CHAIN_OF_20.of(COMMITS[6])
    other = [of_vertex.copy() for of_vertex in statuses]
    next(of_vertex for of_vertex in other if len(of_vertex))[1] ^= 1
    for wrong, receipts in ((other, outcome_of(COMMITS[6]).receipts), (statuses, b"others")):
        with pytest.raises(StorageError, match=r"outcome of commit 7 .* has diverged"):
            store.write_outcome(7, wrong, vertices, receipts)
    assert dump(store) == before


def test_what_is_written_is_a_copy(make_store: MakeStore) -> None:
    store = make_store()
    fill(store, last=7)
    run(store, last=6)
    statuses = list(statuses_of(COMMITS[6]))
    store.write_outcome(7, statuses, CHAIN_OF_20.of(COMMITS[6]), outcome_of(COMMITS[6]).receipts)
    for of_vertex in statuses:
        of_vertex[:] = 99
    found = store.outcome(7)
    assert found == outcome_of(COMMITS[6])
    with pytest.raises(ValueError, match="read-only"):
        found.statuses[-2][:] = 1


def test_a_crash_loses_what_was_not_synced(make_store: MakeStore, reopen: Reopen) -> None:
    store = make_store()
    fill(store, last=5)
    run(store, last=3)
    store.sync()
    batches = store.durable_batch
    assert batches == 8
    before = dump(store)
    assert execute(store, COMMITS[3]) == batches + 1
    assert store.outcomes_bounds() == (1, 4)
    restarted = reopen(store)
    assert dump(restarted) == before
    assert execute(restarted, COMMITS[3]) == 1
    restarted.sync()
    assert restarted.durable_batch == 1
    assert restarted.outcomes_bounds() == (1, 4)


def test_tickets_and_outcomes_are_counted_together(make_store: MakeStore) -> None:
    store = make_store()
    store.write(persist(1, COMMITS[0]))
    assert execute(store, COMMITS[0]) == 2
    store.write(persist(2, COMMITS[1]))
    assert execute(store, COMMITS[1]) == 4
    assert store.sync() == 2
    assert store.durable_batch == 4


def test_a_sub_dag_has_its_vertices_and_its_swap_table(make_store: MakeStore, reopen: Reopen) -> None:
    store = make_store()
    table = SwapRecord(2, SwapTable((0,), (1,)))
    fill(store, last=1)
    store.write(persist(2, COMMITS[1], table))
    store.sync()
    store.write(persist(3, COMMITS[2], replace_index(table, 3)))
    assert store.sub_dag(1) == SubDag(COMMITS[0], CHAIN_OF_20.of(COMMITS[0]))
    assert store.sub_dag(2) == SubDag(COMMITS[1], CHAIN_OF_20.of(COMMITS[1]), table)
    assert store.sub_dag(3) == SubDag(COMMITS[2], CHAIN_OF_20.of(COMMITS[2]), replace_index(table, 3))
    assert store.sub_dag(0) is None
    assert store.sub_dag(4) is None
    assert reopen(store).sub_dag(2) == SubDag(COMMITS[1], CHAIN_OF_20.of(COMMITS[1]), table)


def replace_index(record: SwapRecord, index: int) -> SwapRecord:
    return record._replace(commit_index=index)


def test_a_commit_whose_vertex_is_missing_is_no_sub_dag(make_store: MakeStore) -> None:
    store = make_store()
    store.write(replace(persist(1, COMMITS[0]), vertices=CHAIN_OF_20.of(COMMITS[0])[:-1]))
    with pytest.raises(StorageError, match="a vertex of commit 1 is missing"):
        store.sub_dag(1)


def test_transactions_are_read_by_their_place(make_store: MakeStore, reopen: Reopen) -> None:
    store = make_store()
    fill(store)
    run(store, last=17)
    expected = {}
    for commit in COMMITS[:17]:
        payloads = [vertex.payload for vertex in CHAIN_OF_20.of(commit)]
        rows = [row.tobytes() for payload in payloads for row in payload.records]
        expected |= {RecordPlace(commit.index, position): (row, b"") for position, row in enumerate(rows)}
    assert len(expected) == 4
    wrong = [RecordPlace(7, 2), RecordPlace(7, -1), RecordPlace(6, 0), RecordPlace(18, 0), RecordPlace(0, 0)]
    places = [*expected, *wrong, *list(expected)[::-1]]
    wanted = [*expected.values(), *[None] * 5, *list(expected.values())[::-1]]
    assert store.records(places) == wanted
    assert store.record(7, 1) == expected[RecordPlace(7, 1)]
    assert store.records([]) == []
    store.sync()
    assert reopen(store).records(places) == wanted


def test_the_offset_of_a_body_size_is_the_records() -> None:
    from cherrydag.storage import commit_reader

    assert RECORD.fields is not None
    assert RECORD.fields["body_size"][1] == commit_reader._BODY_SIZE_AT
