"""The durable store beyond the suite of every store: order, groups, failures, who may open what."""

import os
import resource
import select
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from small_disk import fill as fill_disk
from small_disk import small_disk
from storage.lmdb_tools import data_file, flip_all, held_writer, in_child, open_store
from storage.persists import EPOCH, IDENTITY, check, commit_of, persist_of, vertices_of
from vertices import digest, validator_vertex, zeros

from cherrydag._native.store import Store
from cherrydag.codec import encode_vertex
from cherrydag.consensus.effects import Persist, Ticket
from cherrydag.errors import Closed, NoRoom, Overloaded, StorageError
from cherrydag.params import VERTEX_BYTES_MAX
from cherrydag.primitives import Digest
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.schema import (
    SCHEMA_VERSION,
    SEAL_KEY,
    TABLES,
    DamagedVertexError,
    Identity,
    Put,
    Table,
    pack_batch,
)

ALL = 1 << 30


def fill(store: LmdbStore, last: int, first: int = 1) -> None:
    for number in range(first, last + 1):
        store.write(persist_of(number, number))


# Durability


def test_a_restart_finds_all_that_was_written(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        fill(store, 50)
        assert check(store, ALL) == 50
    with open_store(tmp_path, preflight=True) as store:
        assert check(store, ALL) == 50
        assert store.durable == 0
        assert store.scrub(0, ALL) == []


def test_nothing_is_durable_before_its_transaction_and_all_before_it_is(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        fill(store, 3)
        assert store.sync() == 3
        with held_writer(tmp_path):
            fill(store, 20, first=4)
            assert store.collect() == 3
            assert check(store, ALL) == 20
            assert store.info().queued == 17
        seen = [3]
        while seen[-1] < 20:
            select.select([store.fileno()], [], [], 30)
            seen.append(store.collect())
        assert seen == sorted(seen)
        assert check(store, ALL) == 20


def test_a_vertex_is_found_by_the_beginning_of_its_digest_durable_or_not(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        fill(store, 3)
        store.sync()
        with held_writer(tmp_path):
            fill(store, 6, first=4)
            for number in range(1, 7):
                for vertex in vertices_of(number):
                    assert store.named(vertex.digest[:8]) == [vertex]
            assert store.named(bytes(8)) == []


@pytest.mark.parametrize(("group_bytes", "transactions"), [(1 << 25, 2), (0, 20)])
def test_what_waits_shares_a_transaction_if_it_may(
    tmp_path: Path, group_bytes: int, transactions: int
) -> None:
    with open_store(tmp_path, group_bytes=group_bytes) as store:
        with held_writer(tmp_path):
            fill(store, 20)
        store.sync()
        info = store.info()
        assert info.batches == 20
        # The writer may have taken up some before the others came.
        assert info.transactions == transactions or (group_bytes and info.transactions < transactions)


@pytest.mark.parametrize("bound", [{"queue_batches": 5}, {"queue_bytes": 5}])
def test_the_queue_is_bounded(tmp_path: Path, bound: dict[str, int]) -> None:
    size = len(pack_batch([])) + 5 * 10_000
    bound = {name: value if name == "queue_batches" else size for name, value in bound.items()}
    with open_store(tmp_path, **bound) as store:
        with held_writer(tmp_path):
            accepted = 0
            with pytest.raises(Overloaded):
                while True:
                    store.write(persist_of(accepted + 1, accepted + 1))
                    accepted += 1
            assert accepted == 5 if "queue_batches" in bound else 5 < accepted < 50
            assert check(store, ALL) == accepted
        assert store.sync() == accepted
        store.write(persist_of(accepted + 1, accepted + 1))
        assert store.sync() == accepted + 1


def test_a_batch_beyond_the_bound_is_taken_alone(tmp_path: Path) -> None:
    with open_store(tmp_path, queue_bytes=1) as store:
        store.write(persist_of(1, 1))
        assert store.sync() == 1


@pytest.mark.parametrize("size", [VERTEX_BYTES_MAX - 1, VERTEX_BYTES_MAX])
def test_the_largest_frames_come_back(tmp_path: Path, size: int) -> None:
    body = size - len(validator_vertex(signed=False).header) - 176 * 30_000
    vertex = validator_vertex(signed=False, payload=zeros(30_000, body=body))
    assert len(encode_vertex(vertex)) == size
    with open_store(tmp_path) as store:
        store.write(Persist(Ticket(1), (vertex,), (), ()))
        store.sync()
        assert store.vertices([vertex.ref]) == [vertex]
    with open_store(tmp_path, preflight=True) as store:
        assert store.vertices([vertex.ref]) == [vertex]


def test_a_forged_digest_prefix_finds_only_the_vertex_that_was_asked_for(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        fill(store, 1)
        store.sync()
        (vertex, *_) = vertices_of(1)
        forged = vertex.ref._replace(digest=Digest(vertex.digest[:8] + bytes(24)))
        assert store.vertices([forged, vertex.ref]) == [None, vertex]


# Failures


def test_a_full_map_grows(tmp_path: Path) -> None:
    with open_store(tmp_path, map_bytes=1 << 16, map_bytes_max=1 << 24) as store:
        fill(store, 100)
        store.sync()
        assert 1 << 16 < store.info().map_bytes <= 1 << 24
        assert check(store, ALL) == 100


@pytest.mark.parametrize("group_bytes", [1 << 25, 0])
def test_a_map_that_may_not_grow_makes_the_store_read_only_until_it_may(
    tmp_path: Path, group_bytes: int
) -> None:
    with open_store(tmp_path, map_bytes=1 << 18, map_bytes_max=1 << 18, group_bytes=group_bytes) as store:
        with held_writer(tmp_path):
            fill(store, 60)
        with pytest.raises(StorageError, match=r"read-only: ticket .* MDB_MAP_FULL.*raise map_bytes_max"):
            store.sync()
        failure = store.failure
        assert failure is not None
        assert 1 < failure.ticket == store.durable + 1 < 60
        with pytest.raises(StorageError, match="read-only"):
            store.write(persist_of(61, 61))
        with pytest.raises(StorageError, match="read-only"):
            store.collect()
        assert check(store, ALL) == 60
        assert _last_of_copy(tmp_path, tmp_path / "copy") == store.durable
        store.resume(map_bytes_max=1 << 24)
        assert store.sync() == 60
        store.write(persist_of(61, 61))
        assert store.sync() == 61
    with open_store(tmp_path) as store:
        assert check(store, ALL) == 61


def test_the_ticket_that_does_not_fit_is_found_among_those_of_its_group(tmp_path: Path) -> None:
    large = validator_vertex(signed=False, payload=zeros(2000))
    with open_store(tmp_path, map_bytes=1 << 18, map_bytes_max=1 << 18) as store:
        with held_writer(tmp_path):
            fill(store, 9)
            store.write(Persist(Ticket(10), (large,), (), ()))
        for _ in range(2):
            with pytest.raises(StorageError, match="ticket 10 could not be written"):
                store.sync()
            assert store.durable == 9
            store.resume()


def _last_of_copy(folder: Path, copy: Path) -> int:
    """The last number in a copy of the files as they are."""
    (copy / "ledger").mkdir(parents=True)
    data_file(copy).write_bytes(data_file(folder).read_bytes())
    with open_store(copy) as store:
        return check(store, ALL)


def test_a_store_that_failed_closes_without_what_it_could_not_write(tmp_path: Path) -> None:
    with open_store(tmp_path, map_bytes=1 << 18, map_bytes_max=1 << 18) as store:
        with pytest.raises(StorageError, match="raise map_bytes_max"):
            fill(store, 600)
            store.sync()  # on a busy machine none of them has been tried yet
        with pytest.raises(StorageError, match="raise map_bytes_max"):
            store.sync()
        durable = store.durable
    with open_store(tmp_path) as store:
        assert check(store, ALL) == durable


def test_a_full_disk_makes_the_store_read_only_until_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2) as disk:
        with open_store(disk / "store") as store:
            fill(store, 3)
            store.sync()
            ballast = fill_disk(disk, leaving=256 << 10)
            with pytest.raises(NoRoom, match=r"No space left on device.*make room on the disk"):
                for number in range(4, 200):
                    store.write(persist_of(number, number))
                    store.collect()
                store.sync()
            written = store.last_commit()
            assert written is not None
            with pytest.raises(NoRoom):
                store.sync()
            ballast.unlink()
            store.resume()
            assert store.sync() == written.index
        with open_store(disk / "store") as store:
            assert check(store, ALL) == written.index


def test_a_limit_on_the_file_makes_the_store_read_only(tmp_path: Path) -> None:
    def run() -> int:
        with open_store(tmp_path) as store:
            limit = data_file(tmp_path).stat().st_size + (200 << 10)
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            with pytest.raises(StorageError, match="File too large"):
                fill(store, 60)
                store.sync()
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            store.resume()
            fill(store, 60, first=store.sync() + 1)
            return 0 if store.sync() == 60 else 2

    assert in_child(run) == 0
    with open_store(tmp_path) as store:
        assert check(store, ALL) == 60


# Who may open what


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        (Identity(digest("other"), EPOCH), "of the chain with genesis"),
        (Identity(IDENTITY.genesis_digest, EPOCH + 1), f"of epoch {EPOCH}, not {EPOCH + 1}"),
    ],
)
def test_another_chain_or_epoch_is_refused(tmp_path: Path, identity: Identity, words: str) -> None:
    open_store(tmp_path).close()
    for _ in range(2):
        with pytest.raises(StorageError, match=words):
            open_store(tmp_path, identity)
    open_store(tmp_path).close()


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    native = Store(tmp_path / "ledger", TABLES, SEAL_KEY, map_bytes=1 << 20, map_bytes_max=1 << 20)
    version = (SCHEMA_VERSION + 1).to_bytes(4, "little")
    native.submit(1, pack_batch([Put(Table.META, b"identity", (version + bytes(36),))]))
    native.close()
    with pytest.raises(StorageError, match=f"schema version {SCHEMA_VERSION + 1}, this code"):
        open_store(tmp_path)
    with pytest.raises(StorageError, match=r"preflight refused it: .* schema version"):
        open_store(tmp_path, preflight=True)


def test_a_folder_is_one_processes(tmp_path: Path) -> None:
    with open_store(tmp_path):
        with pytest.raises(StorageError, match=f"in use by process {os.getpid()}"):
            open_store(tmp_path)
        code = (
            "import sys; from pathlib import Path\n"
            "from storage.lmdb_tools import open_store\n"
            "open_store(Path(sys.argv[1]))"
        )
        search = f"{Path(__file__).parents[1]}:{os.environ.get('PYTHONPATH', '')}"
        environment = {**os.environ, "PYTHONPATH": search}
        command = [sys.executable, "-c", code, str(tmp_path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert f"InUse: {tmp_path} is in use by process {os.getpid()}" in done.stderr
    open_store(tmp_path).close()


def test_a_forked_child_is_refused(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        fill(store, 3)
        store.sync()
        uses = [
            store.sync,
            store.collect,
            store.fileno,
            store.info,
            store.maintain,
            store.last_commit,
            lambda: store.vertices([vertices_of(1)[0].ref]),
            lambda: store.write(persist_of(4, 4)),
            lambda: store.backup(tmp_path / "backup"),
        ]

        def run() -> int:
            refused = 0
            for use in uses:
                try:
                    use()
                except Closed as error:
                    refused += "does not survive a fork" in str(error)
            store.close()
            return refused

        assert in_child(run) == len(uses)
        fill(store, 5, first=4)
        assert store.sync() == 5
    with open_store(tmp_path) as store:
        assert check(store, ALL) == 5


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.close()
    store.close()
    for use in (store.fileno, store.last_commit, store.info, lambda: store.write(persist_of(1, 1))):
        with pytest.raises(Closed, match="the store is closed"):
            use()


def test_the_database_is_not_open_in_a_program_that_is_run(tmp_path: Path) -> None:
    with open_store(tmp_path):
        listing = ["ls", "-l", "/proc/self/fd"]
        done = subprocess.run(listing, close_fds=False, capture_output=True, text=True, check=True)
    assert str(tmp_path) not in done.stdout


# Care


def test_a_backup_of_a_store_in_use_can_be_opened(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        fill(store, 10)
        store.sync()
        store.backup(tmp_path / "backup")
        fill(store, 12, first=11)
        with pytest.raises(StorageError, match="has a database already"):
            store.backup(tmp_path / "backup")
    with open_store(tmp_path / "backup", preflight=True) as copy:
        assert check(copy, ALL) == 10


def test_readers_that_died_are_cleared(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        fill(store, 1)
        store.sync()
        code = (
            "import ctypes, os, sys\n"
            "lmdb = ctypes.CDLL('liblmdb.so.0')\n"
            "env, txn = ctypes.c_void_p(), ctypes.c_void_p()\n"
            "lmdb.mdb_env_create(ctypes.byref(env))\n"
            "lmdb.mdb_env_open(env, sys.argv[1].encode(), 0, 0o600)\n"
            "lmdb.mdb_txn_begin(env, None, 0x20000, ctypes.byref(txn))\n"
            "os._exit(0)"
        )
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "ledger")], check=True)
        assert store.maintain() == 1
        assert store.maintain() == 0


# Damage that a peer can make good


@pytest.mark.parametrize("where", ["frame", "reference"])
def test_a_damaged_vertex_is_named_and_repaired(tmp_path: Path, where: str) -> None:
    with open_store(tmp_path) as store:
        fill(store, 30)
    vertex = vertices_of(25)[0]
    flip_all(data_file(tmp_path), vertex.header, 40 if where == "frame" else -40)
    with open_store(tmp_path, preflight=where == "frame") as store:
        with pytest.raises(DamagedVertexError, match=vertex.digest.hex()) as damage:
            store.vertices([vertices_of(1)[0].ref, vertex.ref])
        assert damage.value.ref == vertex.ref
        if where == "frame":
            assert store.scrub(0, ALL) == [vertex.ref]
        assert store.repair(vertex)
        assert not store.repair(vertex)
        assert check(store, ALL) == 30
        with pytest.raises(StorageError, match="no vertex"):
            store.repair(vertices_of(31)[0])
    with open_store(tmp_path) as store:
        assert check(store, ALL) == 30


def test_a_vertex_is_not_written_over_one_that_is_damaged_without_notice(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        fill(store, 3)
    flip_all(data_file(tmp_path), vertices_of(3)[0].header, 9)
    with open_store(tmp_path) as store:
        twin = replace(commit_of(4), timestamp_ms=5)
        with pytest.raises(StorageError, match="is damaged"):
            store.write(Persist(Ticket(1), vertices_of(3), (twin,), ()))
        assert store.write(Persist(Ticket(1), vertices_of(4), (commit_of(4),), ())) is None
