"""What the store in memory has besides the suite of every store: a crash."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage.stores import CHAIN_OF_20, dump, execute, fill, persist

from cherrydag.consensus.effects import SwapRecord
from cherrydag.consensus.leader import SwapTable
from cherrydag.errors import Closed
from cherrydag.storage.memory import MemoryStore


@given(synced=st.integers(0, 20), written=st.integers(0, 20), keep=st.integers(0, 21))
def test_a_crash_keeps_what_was_synced_and_whole_tickets_in_order(
    synced: int, written: int, keep: int
) -> None:
    store, expected = MemoryStore(), MemoryStore()
    table = SwapRecord(10, SwapTable((0,), (1,)))
    total = max(synced, written)
    for stored, last in ((store, total), (expected, min(total, synced + keep))):
        for ticket, commit in enumerate(CHAIN_OF_20.commits[:last], 1):
            stored.write(persist(ticket, commit, *([table] if ticket == 10 else [])))
            if stored is store and ticket == synced:
                assert store.sync() == synced
    assert dump(store.crash(keep)) == dump(expected)


def test_what_survives_a_crash_survives_the_next() -> None:
    store = MemoryStore()
    fill(store, last=4)
    survivor = store.crash(keep=2)
    before = dump(survivor)
    assert dump(survivor.crash(keep=0)) == before


@pytest.mark.parametrize("keep", range(6))
def test_a_crash_keeps_outcomes_and_tickets_in_the_order_written(keep: int) -> None:
    store = MemoryStore()
    for ticket, commit in enumerate(CHAIN_OF_20.commits[:3], 1):
        store.write(persist(ticket, commit))
        assert execute(store, commit) == 2 * ticket
        if ticket == 1:
            assert store.durable_batch == 0
            store.sync()
            assert store.durable_batch == 2
    survivor = store.crash(keep)
    last = survivor.last_commit()
    kept = min(keep, 4)
    assert last is not None
    assert last.index == 1 + (kept + 1) // 2
    assert survivor.outcomes_bounds() == (1, 1 + kept // 2)


def test_a_store_that_crashed_is_closed() -> None:
    store = MemoryStore()
    fill(store, last=2)
    store.crash()
    for use in (store.last_commit, store.sync, store.swaps, store.crash):
        with pytest.raises(Closed):
            use()
    with pytest.raises(Closed):
        store.write(persist(3, CHAIN_OF_20.commits[2]))
