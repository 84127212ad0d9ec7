"""Whatever a disk does to the file, the store tells the truth or refuses. A child process may die of it."""

import errno
import random
import shutil
from functools import partial
from pathlib import Path

import pytest
from storage import crash_rig, powercut_rig
from storage.lmdb_tools import data_file, flip, flip_all, in_child, open_store
from storage.persists import check, commit_of, persist_of, swaps_of, vertices_of

from cherrydag._native.store import SEAL_BYTES, Store
from cherrydag.errors import StorageError
from cherrydag.refs import pack_refs
from cherrydag.storage.preflight import preflight
from cherrydag.storage.schema import (
    SEAL_KEY,
    SEQ,
    TABLES,
    Put,
    Table,
    encode_swaps,
    index_keys,
    pack_batch,
)

LAST = 30
PAGE = 4096
SAME, REFUSED, WRONG = 0, 1, 2


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 30 numbers, closed."""
    folder = tmp_path_factory.mktemp("filled") / "store"
    with open_store(folder, group_bytes=0) as store:
        for number in range(1, LAST + 1):
            store.write(persist_of(number, number))
    return folder


@pytest.fixture
def store_folder(filled: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(filled / "ledger", tmp_path / "store" / "ledger")
    return tmp_path / "store"


def verdict(folder: Path) -> int:
    """SAME, REFUSED or WRONG, as a start finds it: preflight, then all that can be read."""
    try:
        preflight(folder)
        with open_store(folder) as store:
            try:
                return SAME if check(store, 1 << 30) == LAST else WRONG
            except AssertionError:
                return WRONG
    except StorageError:
        return REFUSED


def test_an_undamaged_store_is_the_same(store_folder: Path) -> None:
    assert in_child(partial(verdict, store_folder)) == SAME


def sized(key: bytes) -> bytes:
    """A key as it lies in a page, behind its size: the keys of one index end like those of another."""
    return len(key).to_bytes(2, "little") + key


VALUES = {
    "vertex": vertices_of(LAST)[1].header,
    "vertex with a payload": vertices_of(22)[0].header + bytes(vertices_of(22)[0].payload.octets[:100]),
    "reference of a vertex": pack_refs([vertices_of(9)[2].ref]),
    "commit": commit_of(LAST).encoding,
    "swap table": SEQ.pack(28) + encode_swaps(swaps_of(28).swaps),
    "identity": b"identity",
} | {table.name: sized(key) for table, key in index_keys(3 * LAST - 1, vertices_of(LAST)[2].ref)}


@pytest.mark.parametrize("kind", VALUES)
def test_a_flipped_bit_in_any_kind_of_value_or_key_is_found(store_folder: Path, kind: str) -> None:
    path = data_file(store_folder)
    content = VALUES[kind]
    whole = path.read_bytes()
    rng = random.Random(kind)
    sealed = range(len(content) + 8)
    for offset in sorted({0, len(content) - 1, len(content), *rng.sample(sealed, 6)}):
        bit = rng.randrange(8)
        flip_all(path, content, offset, bit)
        assert in_child(partial(verdict, store_folder)) not in (SAME, WRONG, 99), (offset, bit)
        path.write_bytes(whole)
    assert in_child(partial(verdict, store_folder)) == SAME


def test_a_flipped_bit_anywhere_never_gives_a_wrong_answer(store_folder: Path) -> None:
    path = data_file(store_folder)
    rng = random.Random(1)
    found = []
    # The meta pages are left out: a flip there may bring back the state before the last transaction.
    for offset in [rng.randrange(2 * PAGE, path.stat().st_size) for _ in range(40)]:
        bit = rng.randrange(8)
        flip(path, offset, bit)
        found.append(in_child(partial(verdict, store_folder)))
        assert found[-1] not in (WRONG, 99), (offset, bit)
        flip(path, offset, bit)
    assert found.count(SAME) < len(found)


def test_a_key_that_one_index_has_lost_is_damage_and_no_absence(store_folder: Path) -> None:
    vertex = vertices_of(9)[2]
    for table, key in index_keys(3 * 9 - 1, vertex.ref)[:2]:
        whole = data_file(store_folder).read_bytes()
        flip_all(data_file(store_folder), sized(key), 7)
        with open_store(store_folder) as store:
            assert store.vertices([vertices_of(9)[1].ref]) == [vertices_of(9)[1]]
            with pytest.raises(StorageError, match="an index lacks vertex 26"):
                store.vertices([vertex.ref])
            with pytest.raises(StorageError, match=f"table {table.name.lower()}: vertex 26 is missing"):
                store.scrub(0, 99)
        data_file(store_folder).write_bytes(whole)


def test_a_table_with_a_wrong_number_of_entries_is_refused(store_folder: Path) -> None:
    native = Store(store_folder / "ledger", TABLES, SEAL_KEY, map_bytes=1 << 24, map_bytes_max=1 << 24)
    native.submit(1, pack_batch([Put(Table.VERTEX_ROUND, bytes(20))]))
    native.close()
    with pytest.raises(StorageError, match=r"table vertex_round: 91 entries, expected 90"):
        open_store(store_folder)


def test_the_seal_covers_table_key_and_value(tmp_path: Path) -> None:
    native = Store(
        tmp_path, TABLES, SEAL_KEY, map_bytes=1 << 20, map_bytes_max=1 << 20, create=True, group_bytes=0
    )
    value = b"the same in every table"
    places = [(Table.COMMITS, b"one"), (Table.SWAPS, b"one"), (Table.SWAPS, b"other")]
    native.submit(1, pack_batch([Put(table, key, (value,)) for table, key in places]))
    native.close()
    content = (tmp_path / "data.mdb").read_bytes()
    seals = {part[:SEAL_BYTES] for part in content.split(value)[1:]}
    assert len(seals) == len(places)


def test_a_file_that_was_cut_off_is_refused_before_it_is_mapped(store_folder: Path) -> None:
    path = data_file(store_folder)
    with open_store(store_folder) as store:
        needed = store.info().used_bytes
    whole = path.read_bytes()
    for size in [0, 1, 100, PAGE, PAGE + 100, 2 * PAGE, needed // 2, needed - PAGE, needed - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(StorageError, match="cut off"):
            open_store(store_folder)
        with pytest.raises(StorageError, match=r"preflight|cut off"):
            open_store(store_folder, preflight=True)
    path.write_bytes(whole[:needed])
    with open_store(store_folder) as store:
        assert check(store, 1 << 30) == LAST


def test_a_missing_or_foreign_file_is_refused_and_not_made_anew(store_folder: Path) -> None:
    path = data_file(store_folder)
    path.write_bytes(bytes(8 * PAGE))
    with pytest.raises(StorageError, match=r"no database of LMDB 0\.9"):
        open_store(store_folder)
    path.unlink()
    with pytest.raises(StorageError, match="No such file"):
        open_store(store_folder)
    assert not path.exists()


def test_a_preflight_that_dies_is_named(store_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    with pytest.raises(StorageError, match="preflight refused it: it said nothing"):
        open_store(store_folder, preflight=True)
    killed = store_folder / "killed"
    killed.write_text("#!/bin/sh\nkill -KILL $$\n")
    killed.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(killed))
    with pytest.raises(StorageError, match="preflight died of signal 9"):
        open_store(store_folder, preflight=True)


# Crashes and failures of the disk


@pytest.mark.parametrize(
    ("code", "cause", "advice"),
    [
        (errno.EIO, "Input/output error", "check the disk"),
        (errno.ENOSPC, "No space left on device", "make room on the disk"),
        (errno.EDQUOT, "Disk quota exceeded", "raise the quota"),
    ],
)
@pytest.mark.parametrize(
    ("kind", "durable_resumed_found"),
    [("write", "1 3 3"), ("sync", "1 3 3"), ("meta", "1 0 1")],
)
def test_a_disk_that_fails_is_named_and_nothing_is_acknowledged(
    tmp_path: Path, kind: str, durable_resumed_found: str, code: int, cause: str, advice: str
) -> None:
    words, found = powercut_rig.fail(tmp_path, kind, code)
    assert f"is read-only: the outcome of commit 1 could not be written: {cause}" in words
    assert advice in words
    assert found == durable_resumed_found


def test_a_crash_at_any_step_of_creation_leaves_what_can_be_opened(tmp_path: Path) -> None:
    acts = powercut_rig.crash_creation(tmp_path)
    assert acts > 15


def test_what_was_acknowledged_survives_kill_9() -> None:
    crashes = crash_rig.crash(20, seed=1)
    assert crashes.findings == []
    assert crashes.progress >= 0.99 * crashes.cycles
    assert crashes.last >= 2 * crashes.cycles


def test_what_was_acknowledged_survives_a_power_cut() -> None:
    recording = powercut_rig.record(60, seed=1)
    assert powercut_rig.cut(recording, 100, seed=1) == []
