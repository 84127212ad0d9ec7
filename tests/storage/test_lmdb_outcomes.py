"""Outcomes and single records in the durable store: order, places, damage, and a disk that is full."""

import os
import resource
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from storage.lmdb_tools import data_file, flip_all, held_writer, in_child, open_store
from storage.persists import (
    IDENTITY,
    LARGE_EVERY,
    check,
    commit_of,
    execute,
    outcome_of,
    persist_of,
    statuses_of,
    steps,
    vertices_of,
)

from cherrydag._native.store import PLACE_BYTES, Store
from cherrydag.codec import encode_vertex
from cherrydag.commit import Commit
from cherrydag.consensus.effects import Persist, Ticket
from cherrydag.errors import Overloaded, ShapeError, StorageError
from cherrydag.params import RECORD_BYTES
from cherrydag.refs import pack_refs
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.outcome import HEAD_BYTES, Place, Places, decode_places, outcome_put, records_at
from cherrydag.storage.preflight import preflight
from cherrydag.storage.schema import (
    IDENTITY_KEY,
    SEAL_KEY,
    TABLES,
    DamagedOutcomeError,
    DamagedVertexError,
    Put,
    Table,
    index_keys,
    pack_batch,
)
from cherrydag.storage.values import CommitOutcome, RecordPlace
from cherrydag.vertex import ValidatorVertex

ALL = 1 << 30


def fill(store: LmdbStore, last: int, first: int = 1) -> None:
    for number in range(first, last + 1):
        store.write(persist_of(number, number))
        execute(store, number)


def expected_records(number: int) -> list[tuple[bytes, bytes]]:
    payloads = [vertex.payload for vertex in vertices_of(number)]
    return [
        (payload.records[row].tobytes(), bytes(payload.body(row)))
        for payload in payloads
        for row in range(len(payload))
    ]


# Order


def test_outcomes_are_durable_in_their_order_and_read_before_that(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        fill(store, 3)
        store.sync()
        assert store.durable_batch == 6
        with held_writer(tmp_path):
            store.write(persist_of(4, 4))
            assert execute(store, 4) == 8
            assert execute(store, 4) == 8
            fill(store, 12, first=5)
            assert store.collect() == 3
            assert store.durable_batch == 6
            assert store.outcomes_bounds() == (1, 12)
            assert check(store, ALL) == 12
            assert store.records([RecordPlace(11, 299), RecordPlace(2, 1)]) == [
                expected_records(11)[299],
                expected_records(2)[1],
            ]
        store.sync()
        assert store.durable_batch == 24
        assert check(store, ALL) == 12
    with open_store(tmp_path, preflight=True) as store:
        assert check(store, ALL) == 12
        assert execute(store, 12) == 0
        assert store.info().batches == 0


def test_an_outcome_of_durable_and_of_queued_vertices_finds_both(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.write(persist_of(1, 1))
        store.sync()
        with held_writer(tmp_path):
            vertices = (*vertices_of(1), *vertices_of(2))
            twice = Commit(IDENTITY.epoch, 2, commit_of(1).digest, 2, tuple(v.ref for v in vertices))
            store.write(Persist(Ticket(2), vertices_of(2), (twice,), ()))
            execute(store, 1)
            store.write_outcome(2, statuses_of(1) + statuses_of(2), vertices)
            expected = expected_records(1) + expected_records(2)
            places = [RecordPlace(2, position) for position in range(len(expected) + 1)]
            assert store.records(places) == [*expected, None]
        store.sync()
        assert store.records(places) == [*expected, None]


# Single records


def test_every_record_and_body_is_found(tmp_path: Path) -> None:
    last = 2 * LARGE_EVERY
    with open_store(tmp_path) as store:
        fill(store, last)
        store.sync()
        expected = {
            RecordPlace(number, position): record
            for number in range(1, last + 1)
            for position, record in enumerate(expected_records(number))
        }
        assert len(expected) > 600
        assert any(body for _, body in expected.values())
        assert store.records(list(expected)) == list(expected.values())
        for place in list(expected)[::37]:
            assert store.record(*place) == expected[place]
        assert store.record(LARGE_EVERY, 300) is None
        assert store.record(3, 0) is None


@pytest.mark.parametrize("count", [1, 254, 255, 256, 600])
def test_heads_of_any_length_are_read(tmp_path: Path, count: int) -> None:
    (operator, *_) = vertices_of(2)
    author = [
        ValidatorVertex(operator.epoch, 3, author % 200, author, (), payload=operator.payload)
        for author in range(count)
    ]
    whole = Commit(IDENTITY.epoch, 1, bytes(32), 1, tuple(vertex.ref for vertex in author))
    with open_store(tmp_path) as store:
        store.write(Persist(Ticket(1), tuple(author), (whole,), ()))
        store.write_outcome(1, [np.arange(2, dtype=np.uint8)] * count, author)
        store.sync()
        assert store.record(1, 2 * count - 1) == expected_records(2)[1]
        assert store.record(1, 2 * count) is None
        (places,) = store.reader.commits.places([1])
        assert len(places.rows) == count
    assert HEAD_BYTES == 4096


def test_a_place_is_found_past_vertices_without_transactions() -> None:
    rows = Places.of([5, 6, 7], vertices_of(2)).rows.copy()
    rows["transactions"] = [0, 3, 0]
    places = Places(rows)
    at = [int(at) for at in rows["records_at"]]
    assert [places.find(position) for position in (-1, 0, 2, 3)] == [
        None,
        Place(6, at[1], 3, 0),
        Place(6, at[1], 3, 2),
        None,
    ]
    rows["transactions"] = 0
    assert places.find(0) is None
    assert len(Place(1, 2, 3, 4).pack()) == PLACE_BYTES


def test_a_record_that_does_not_fit_its_value_is_left_out(tmp_path: Path) -> None:
    def record(body_size: int) -> bytes:
        return bytes(44) + body_size.to_bytes(4, "little") + bytes(RECORD_BYTES - 48)

    values = [record(2) + record(3) + b"ab" + b"cd"[:left] + b"e" for left in (0, 1, 2)]
    native = Store(tmp_path, TABLES, SEAL_KEY, map_bytes=1 << 20, map_bytes_max=1 << 20, create=True)
    puts = [Put(Table.VERTICES, seq.to_bytes(8, "big"), (b"head", v)) for seq, v in enumerate(values)]
    native.submit(1, pack_batch(puts))
    native.wait()

    def read(*place: int) -> tuple[bytes, bytes] | None:
        return native.records(Table.VERTICES, RECORD_BYTES, 44, Place(*place).pack())[0]

    assert read(2, 4, 2, 0) == (record(2), b"ab")
    assert read(2, 4, 2, 1) == (record(3), b"cde")
    assert read(1, 4, 2, 1) is None
    assert read(1, 4, 2, 0) == (record(2), b"ab")
    assert read(3, 4, 2, 0) is None
    assert read(2, 4, 2, 2) is None
    assert read(2, 4, 3, 0) is None
    assert read(2, 2**32 - 1, 2**32 - 1, 2**32 - 2) is None
    assert read(2, 4 + 2 * RECORD_BYTES + 5, 0, 0) is None
    with pytest.raises(ShapeError):
        native.records(Table.VERTICES, RECORD_BYTES, RECORD_BYTES - 3, Place(2, 4, 2, 0).pack())
    with pytest.raises(ShapeError):
        native.records(99, RECORD_BYTES, 44, Place(2, 4, 2, 0).pack())
    assert native.records(Table.VERTICES, RECORD_BYTES, 44, b"") == []
    native.close()


def test_records_begin_where_the_frame_says() -> None:
    for vertex in vertices_of(LARGE_EVERY)[:2]:
        stored = pack_refs([vertex.ref]) + encode_vertex(vertex)
        payload = bytes(vertex.payload.octets) + bytes(vertex.payload.bodies)
        assert stored[records_at(vertex) :] == payload


# Damage


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    with open_store(tmp_path, group_bytes=0) as store:
        fill(store, 23)
    return tmp_path


def stored_value(number: int, folder: Path) -> bytes:
    """The outcome of a number as it lies in the file, whose vertices have the sequence numbers 3n - 3 ..."""
    places = Places.of(range(3 * number - 3, 3 * number), vertices_of(number))
    return b"".join(map(bytes, outcome_put(outcome_of(number), places, append=True).parts))


@pytest.mark.parametrize("where", ["count", "head", "head seal", "statuses", "receipts", "seal"])
def test_a_damaged_outcome_is_named_and_written_anew(filled: Path, where: str) -> None:
    value = stored_value(22, filled)
    head = 4 + 16 * 3
    offset = {
        "count": 0,
        "head": 4 + 17,
        "head seal": head + 3,
        "statuses": head + 8 + 200,
        "receipts": len(value) - 1,
        "seal": len(value) + 7,
    }[where]
    flip_all(data_file(filled), value, offset, 3)
    preflight(filled)
    with open_store(filled) as store:
        with pytest.raises(DamagedOutcomeError, match="outcome of commit 22 is damaged") as damage:
            store.outcome(22)
        assert damage.value.commit_index == 22
        if "head" in where or where == "count":
            with pytest.raises(DamagedOutcomeError, match="outcome of commit 22 is damaged"):
                store.record(22, 0)
        else:
            assert store.record(22, 0) == expected_records(22)[0]
        assert store.outcome(23) == outcome_of(23)
        assert execute(store, 22) == store.durable_batch
        assert check(store, ALL) == 23
    with open_store(filled, preflight=True) as store:
        assert check(store, ALL) == 23
        assert steps(store) == 46


def test_a_flipped_bit_in_a_record_fails_its_id_and_is_named_by_the_vertex(filled: Path) -> None:
    vertex = vertices_of(22)[0]
    flip_all(data_file(filled), bytes(vertex.payload.octets), 7 * RECORD_BYTES + 9)
    with open_store(filled) as store:
        assert store.record(22, 7) != expected_records(22)[7]
        assert store.record(22, 8) == expected_records(22)[8]
        with pytest.raises(DamagedVertexError):
            store.vertices([vertex.ref])


def test_a_stored_vertex_that_is_too_short_for_its_outcome_is_named(filled: Path) -> None:
    vertex = vertices_of(22)[0]
    bodies_at = 44 + 3 * RECORD_BYTES
    flip_all(data_file(filled), bytes(vertex.payload.octets), bodies_at + 3, 6)  # the size of a body
    with open_store(filled) as store, pytest.raises(DamagedVertexError):
        store.record(22, 3)


@pytest.mark.parametrize("index", [0, 1])
def test_a_vertex_that_an_index_has_lost_gets_no_outcome(tmp_path: Path, index: int) -> None:
    with open_store(tmp_path) as store:
        store.write(persist_of(1, 1))
    (_, key) = index_keys(2, vertices_of(1)[2].ref)[index]
    flip_all(data_file(tmp_path), len(key).to_bytes(2, "little") + key, 2 + len(key) - 9)
    with open_store(tmp_path) as store:
        with pytest.raises(StorageError, match="an index lacks vertex 2"):
            execute(store, 1)
        assert store.outcomes_bounds() is None


def test_outcomes_without_commits_are_refused(filled: Path) -> None:
    places = Places.of([0, 1, 2], vertices_of(24))
    native = Store(filled / "ledger", TABLES, SEAL_KEY, map_bytes=1 << 24, map_bytes_max=1 << 24)
    native.submit(1, pack_batch([outcome_put(outcome_of(24), places, append=True)]))
    native.close()
    with pytest.raises(StorageError, match=r"table results: outcomes of \(1, 24\), but commits of \(1, 23\)"):
        open_store(filled)
    with pytest.raises(StorageError, match=r"preflight refused it: table results"):
        open_store(filled, preflight=True)


def test_the_head_of_one_outcome_is_not_another_ones() -> None:
    value = stored_value(22, Path())
    assert len(decode_places(22, value).rows) == 3
    with pytest.raises(DamagedOutcomeError):
        decode_places(21, value)
    for size in range(len(value)):
        if size < 4 + 3 * 16 + 8:
            with pytest.raises(DamagedOutcomeError):
                decode_places(22, value[:size])


def test_a_schema_without_a_table_is_named(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.mkdir()
    native = Store(ledger, TABLES[:-1], SEAL_KEY, map_bytes=1 << 20, map_bytes_max=1 << 20, create=True)
    version = (1).to_bytes(4, "little")
    native.submit(1, pack_batch([Put(Table.META, IDENTITY_KEY, (version + bytes(36),))]))
    native.close()
    for is_looked_at in (False, True):
        with pytest.raises(StorageError, match="the database has schema version 1, this code"):
            open_store(tmp_path, preflight=is_looked_at)


# No room


def large_outcome(store: LmdbStore, number: int) -> int:
    """An outcome whose receipts take a MiB."""
    return store.write_outcome(number, statuses_of(number), vertices_of(number), bytes(1 << 20))


def test_an_outcome_that_does_not_fit_is_named_and_kept_until_there_is_room(tmp_path: Path) -> None:
    with open_store(tmp_path, map_bytes=1 << 18, map_bytes_max=1 << 18) as store:
        fill(store, 3)
        store.write(persist_of(4, 4))
        with held_writer(tmp_path):
            assert large_outcome(store, 4) == 8
            store.write(persist_of(5, 5))
        words = r"read-only: the outcome of commit 4 could not .*MDB_MAP_FULL.*raise map_bytes_max"
        for _ in range(2):
            with pytest.raises(StorageError, match=words):
                store.sync()
        assert (store.durable, store.durable_batch) == (4, 7)
        assert store.failure is not None
        assert (store.failure.batch, store.failure.ticket) == (8, 4)
        for write in (partial(execute, store, 5), lambda: store.write(persist_of(6, 6))):
            with pytest.raises(StorageError, match=words):
                write()
        assert store.outcomes_bounds() == (1, 4)
        assert store.outcome(4) == CommitOutcome(4, tuple(statuses_of(4)), bytes(1 << 20))
        assert store.record(4, 0) == expected_records(4)[0]
        store.resume(map_bytes_max=1 << 24)
        execute(store, 5)
        store.sync()
        assert store.durable_batch == 10
    with open_store(tmp_path) as store:
        assert store.outcomes_bounds() == (1, 5)
        assert store.outcome(4) == CommitOutcome(4, tuple(statuses_of(4)), bytes(1 << 20))


def test_a_limit_on_the_file_keeps_outcomes_that_wait(tmp_path: Path) -> None:
    def run() -> int:
        with open_store(tmp_path) as store:
            fill(store, 2)
            store.sync()
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            size = data_file(tmp_path).stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + (200 << 10), hard))
            store.write(persist_of(3, 3))
            with pytest.raises(StorageError, match=r"the outcome of commit 3 .*File too large"):
                large_outcome(store, 3)
                store.sync()
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            store.resume()
            store.sync()
            return store.durable_batch

    assert in_child(run) == 6
    with open_store(tmp_path) as store:
        assert store.outcomes_bounds() == (1, 3)


def test_outcomes_wait_in_a_bounded_queue(tmp_path: Path) -> None:
    with open_store(tmp_path, queue_batches=4) as store:
        fill(store, 1)
        store.write(persist_of(2, 2))
        store.sync()
        with held_writer(tmp_path):
            execute(store, 2)
            for number in (3, 4, 5):
                store.write(persist_of(number, number))
            with pytest.raises(Overloaded):
                execute(store, 3)
            assert store.outcomes_bounds() == (1, 2)
        store.sync()
        assert execute(store, 3) == 8
        store.sync()
        assert store.outcomes_bounds() == (1, 3)


def test_a_forked_child_cannot_write_outcomes(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        fill(store, 2)
        store.write(persist_of(3, 3))
        store.sync()

        def run() -> int:
            refused = 0
            for use in (
                partial(execute, store, 3),
                partial(store.record, 1, 0),
                partial(store.outcome, 1),
                store.outcomes_bounds,
            ):
                try:
                    use()
                except Exception as error:  # noqa: BLE001 - counted by its words
                    refused += "does not survive a fork" in str(error)
            return refused

        assert in_child(run) == 4
    assert os.getpid() == store._native.owner
