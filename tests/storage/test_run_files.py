"""The files of a sorted-run index: their bytes, and what a damaged, full or dying disk does to them."""

import errno
import os
import random
import resource
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from reference.run_reference import (
    DATA,
    ENTRY,
    FENCE,
    FOOTER,
    HEAD,
    LAST,
    PAGE_BYTES,
    PAGE_ENTRIES,
    Entry,
    ReferenceIndex,
    run_file,
)
from reference.run_reference import (
    seal as seal_page,
)
from storage.lmdb_tools import flip, in_child
from storage.run_tools import NAME, SMALL, add, key, seal, sealed, work

from cherrydag._native import runs as native
from cherrydag.errors import ShapeError, StorageError
from cherrydag.storage.run_file import RunFolder
from cherrydag.storage.run_index import RunIndex

HOT = b"hot account 0001"
THREE_PAGES = [(key(number), number) for number in range(250)] + [(HOT, 250 + i) for i in range(200)]


def answers(folder: Path, runs: tuple[str, ...], reference: ReferenceIndex) -> int:
    """Ask for everything that there is: 0 if all answers are right, 1 if an error was raised; AssertionError
    if an answer is wrong."""
    try:
        index = RunIndex(folder, NAME, runs)
    except StorageError:
        return 1
    refused = 0
    for name in reference.places:
        try:
            assert index.find(name, limit=5) == reference.find(name, 5)
            assert index.page(name, after=-1, limit=400) == reference.page(name, None, -1, 400)
        except StorageError:
            refused = 1
    return refused


# Bytes


@pytest.mark.parametrize("count", [1, 169, 170, 171, 340, 341, 170 * 64, 170 * 170, 170 * 170 + 1])
def test_a_file_has_the_bytes_of_the_reference(tmp_path: Path, count: int, backend: str) -> None:
    rng = random.Random(count)
    entries = [(HOT if number % 3 == 0 else rng.randbytes(16), 5 * number) for number in range(count)]
    rng.shuffle(entries)
    name = sealed(tmp_path, entries)
    assert (tmp_path / name).read_bytes() == run_file(NAME, name, entries)
    index = RunIndex(tmp_path, NAME, [name])
    for wanted, place in entries[:300]:
        assert place in index.find(wanted, limit=65536)
    assert index.stats().entries == count
    assert index.stats().disk_bytes == (tmp_path / name).stat().st_size


@pytest.mark.parametrize("counts", [(1, 1), (170, 170), (171, 169, 1), (12_000, 700, 11_000), (1,) * 70])
def test_a_merged_file_has_the_bytes_of_the_reference(tmp_path: Path, counts: tuple[int, ...]) -> None:
    """More entries than a merge holds at once, more sources than its windows have pages, and a hot key."""
    rng = random.Random(len(counts))
    index = RunIndex(tmp_path, NAME)
    entries: list[Entry] = []
    for count in counts:
        start = len(entries)
        added = [(HOT if rng.random() < 0.3 else rng.randbytes(16), start + i) for i in range(count)]
        add(index, added)
        entries += added
        seal(index)
    sources = tuple(RunFolder(tmp_path, NAME).open(name) for name in index.runs)
    view = RunFolder(tmp_path, NAME).write("tx-00009999.run", native.Sources(sources))
    assert len(view) == len(entries)
    expected = run_file(NAME, "tx-00009999.run", entries)
    assert (tmp_path / "tx-00009999.run").read_bytes() == expected


def test_a_run_of_the_reference_opens(tmp_path: Path) -> None:
    (tmp_path / "tx-00000004.run").write_bytes(run_file(NAME, "tx-00000004.run", THREE_PAGES))
    assert answers(tmp_path, ("tx-00000004.run",), ReferenceIndex(THREE_PAGES)) == 0


# Damage


@pytest.fixture(scope="module")
def three_pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three data pages, the hot key in two of them; closed."""
    folder = tmp_path_factory.mktemp("three")
    return folder / sealed(folder, THREE_PAGES)


@pytest.fixture
def run_path(three_pages: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    (tmp_path / three_pages.name).write_bytes(three_pages.read_bytes())
    return tmp_path / three_pages.name


KINDS = {
    "page number": range(4),
    "kind": range(4, 6),
    "count": range(6, 8),
    "key": range(8, 24),
    "place": range(24, 32),
    "last entry": range(4064, 4088),
    "seal": range(4088, 4096),
}


@pytest.mark.parametrize("page", range(5))
@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_of_any_kind_is_found_and_named(run_path: Path, kind: str, page: int) -> None:
    """Pages 0 to 2 hold data, 3 the fences, 4 is the footer. Every byte of the kind is flipped in turn."""
    reference = ReferenceIndex(THREE_PAGES)
    rng = random.Random(f"{kind} {page}")
    for offset in KINDS[kind]:
        flip(run_path, page * PAGE_BYTES + offset, rng.randrange(8))
        with pytest.raises(StorageError, match=rf"{run_path.name}, page {page}: is damaged"):
            index = RunIndex(run_path.parent, NAME, [run_path.name])
            for name in reference.places:
                index.find(name, limit=300)
        run_path.write_bytes(run_file(NAME, run_path.name, THREE_PAGES))


def test_a_flipped_bit_anywhere_never_gives_a_wrong_answer(run_path: Path) -> None:
    reference = ReferenceIndex(THREE_PAGES)
    rng = random.Random(1)
    for offset in rng.sample(range(run_path.stat().st_size), 60):
        bit = rng.randrange(8)
        flip(run_path, offset, bit)
        assert answers(run_path.parent, (run_path.name,), reference) == 1
        flip(run_path, offset, bit)
    assert answers(run_path.parent, (run_path.name,), reference) == 0


def test_a_damaged_page_does_not_hide_the_others(run_path: Path) -> None:
    flip(run_path, 2 * PAGE_BYTES + 100, 1)
    index = RunIndex(run_path.parent, NAME, [run_path.name])
    found = 0
    for name, places in ReferenceIndex(THREE_PAGES).places.items():
        try:
            found += index.find(name, limit=300) == places
        except StorageError:
            continue
    assert 100 < found < 251


def test_a_key_that_ends_with_a_page_does_without_the_next(tmp_path: Path) -> None:
    name = sealed(tmp_path, [(bytes(16), place) for place in range(170)] + [(HOT, 170)])
    flip(tmp_path / name, PAGE_BYTES + 100, 1)
    index = RunIndex(tmp_path, NAME, [name])
    assert index.page(bytes(16), after=-1, limit=300) == list(range(170))
    assert index.find(bytes(16), limit=300) == list(range(170))


def test_a_merge_refuses_a_damaged_run_and_loses_nothing(tmp_path: Path) -> None:
    index = RunIndex(tmp_path, NAME, options=SMALL)
    for start in (0, 400, 800):
        add(index, [(key(start + i), start + i) for i in range(400)])
        seal(index)
    flip(tmp_path / index.runs[1], PAGE_BYTES + 50, 3)
    job = index.job()
    assert job is not None
    assert job.is_merge
    with pytest.raises(StorageError, match=rf"{index.runs[1]}, page 1: is damaged"):
        job.run()
    assert not index.adopt(job)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(index.runs)
    assert index.find(key(7)) == [7]
    flip(tmp_path / index.runs[1], PAGE_BYTES + 50, 3)
    assert work(index)
    assert all(index.find(key(number)) == [number] for number in range(1200))


@pytest.mark.parametrize("pages", range(5))
@pytest.mark.parametrize("extra", [0, 1, 4095])
def test_a_file_cut_off_anywhere_is_refused(run_path: Path, pages: int, extra: int) -> None:
    size = pages * PAGE_BYTES + extra
    open_before = RunIndex(run_path.parent, NAME, [run_path.name])
    os.truncate(run_path, size)
    with pytest.raises(StorageError, match=run_path.name):
        RunIndex(run_path.parent, NAME, [run_path.name])
    places = ReferenceIndex(THREE_PAGES).places
    refused = 0
    for name in places:
        try:
            assert open_before.find(name, limit=300) == places[name]
        except StorageError:
            refused += 1
    assert bool(refused) == (pages < 3)


@pytest.mark.parametrize("tail", [b"x", bytes(PAGE_BYTES), bytes(5 * PAGE_BYTES)])
def test_a_file_that_has_grown_is_refused(run_path: Path, tail: bytes) -> None:
    run_path.write_bytes(run_path.read_bytes() + tail)
    with pytest.raises(StorageError, match="is damaged"):
        RunIndex(run_path.parent, NAME, [run_path.name])


def test_pages_that_changed_places_are_found(run_path: Path) -> None:
    pages = np.frombuffer(run_path.read_bytes(), np.uint8).reshape(-1, PAGE_BYTES)
    run_path.write_bytes(pages[[1, 0, 2, 3, 4]].tobytes())
    assert answers(run_path.parent, (run_path.name,), ReferenceIndex(THREE_PAGES)) == 1


def test_a_run_under_another_name_or_of_another_index_is_refused(run_path: Path) -> None:
    folder = run_path.parent
    for index, name in ((NAME, "tx-00000002.run"), ("other", "other-00000001.run")):
        (folder / name).write_bytes(run_path.read_bytes())
        with pytest.raises(StorageError, match="is damaged, missing or of another file"):
            RunIndex(folder, index, [name])
    for name in ("other-00000001.run", "tx-00000001.run.new", "../tx-00000001.run", "tx-1.run"):
        with pytest.raises(StorageError, match="no run of the index 'tx' is called so"):
            RunIndex(folder, NAME, [name])


def test_a_run_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"tx-00000001\.run: No such file"):
        RunIndex(tmp_path, NAME, ["tx-00000001.run"])


def forged(name: str, number: int, content: bytes) -> bytes:
    """The run of three pages with another page in place of `number`, properly sealed."""
    whole = run_file(NAME, name, THREE_PAGES)
    at = number * PAGE_BYTES
    return whole[:at] + seal_page(NAME, name, content) + whole[at + PAGE_BYTES :]


FOOTER_HEAD = HEAD.pack(4, LAST, 0)
FORGERIES = {
    "a data page with too many entries": (0, HEAD.pack(0, DATA, 171) + bytes(4080)),
    "a data page with too few entries": (0, HEAD.pack(0, DATA, 169) + bytes(4080)),
    "a fence page in place of a data page": (0, HEAD.pack(0, FENCE, 170) + bytes(4080)),
    "a data page with a kind beyond a byte": (0, HEAD.pack(0, DATA + 256, 170) + bytes(4080)),
    "a fence page with too many entries": (3, HEAD.pack(3, FENCE, 4) + ENTRY.pack(HOT, 1) * 4),
    "another magic": (4, FOOTER_HEAD + FOOTER.pack(b"cherryrm", 1, 3, 450, 0, 449)),
    "another version": (4, FOOTER_HEAD + FOOTER.pack(b"cherryrn", 2, 3, 450, 0, 449)),
    "more pages than there are": (4, FOOTER_HEAD + FOOTER.pack(b"cherryrn", 1, 4, 450, 0, 449)),
    "no entries": (4, FOOTER_HEAD + FOOTER.pack(b"cherryrn", 1, 0, 0, 0, 449)),
    "too few entries": (4, FOOTER_HEAD + FOOTER.pack(b"cherryrn", 1, 3, 340, 0, 449)),
    "far too few entries": (4, FOOTER_HEAD + FOOTER.pack(b"cherryrn", 1, 3, 1, 0, 449)),
    "too many entries": (4, FOOTER_HEAD + FOOTER.pack(b"cherryrn", 1, 3, 511, 0, 449)),
    "entries beyond all bounds": (4, FOOTER_HEAD + FOOTER.pack(b"cherryrn", 1, 3, 2**64 - 1, 0, 449)),
    "places the wrong way round": (4, FOOTER_HEAD + FOOTER.pack(b"cherryrn", 1, 3, 450, 9, 8)),
    "a footer with a count": (4, HEAD.pack(4, LAST, 1) + FOOTER.pack(b"cherryrn", 1, 3, 450, 0, 449)),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_page_that_is_sealed_but_senseless_is_refused(tmp_path: Path, what: str) -> None:
    name = "tx-00000001.run"
    number, content = FORGERIES[what]
    (tmp_path / name).write_bytes(forged(name, number, content))
    if number >= 3:
        with pytest.raises(StorageError, match="is damaged"):
            RunIndex(tmp_path, NAME, [name])
    assert answers(tmp_path, (name,), ReferenceIndex(THREE_PAGES)) == 1


def test_sources_out_of_order_are_refused(tmp_path: Path) -> None:
    early, late = (native.Piece(HOT, np.array([place], np.uint64)) for place in (1, 2))
    for pieces in ((late, early), (early, early)):
        with pytest.raises(ShapeError):
            native.join(pieces)
        with pytest.raises(ShapeError):
            native.Sources(pieces).write(str(tmp_path / "run"), bytes(32))
    with pytest.raises(ShapeError):
        native.join(())
    with pytest.raises(ShapeError):
        native.Sources(()).write(str(tmp_path / "run"), bytes(32))


# A full disk


def write_under_limit(folder: Path, limit: int) -> int:
    """Seal under a limit on the size of files, then without one; 0 if all is as it must be."""
    index = RunIndex(folder, NAME)
    entries = [(key(number), number) for number in range(100_000)]
    add(index, entries)
    job = index.seal()
    assert job is not None
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    with pytest.raises(StorageError, match=rf"{job.name}\.new, page \d+: File too large"):
        job.run()
    assert list(folder.iterdir()) == []
    assert not index.adopt(job)
    assert index.runs == ()
    assert index.find(key(99_999)) == [99_999]
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    seal(index)
    assert all(index.find(name) == [place] for name, place in entries[::997])
    return 0


@pytest.mark.parametrize("limit", [0, 1, 4095, 1 << 20, 2_433_023])
def test_a_file_that_cannot_be_written_whole_is_gone_and_nothing_is_lost(tmp_path: Path, limit: int) -> None:
    """The whole file has 589 data pages, four fence pages and a footer: 2,433,024 bytes."""
    assert in_child(partial(write_under_limit, tmp_path, limit)) == 0


def test_a_file_that_cannot_be_synced_is_not_taken_for_durable() -> None:
    piece = native.Piece(HOT, np.array([1], np.uint64))
    with pytest.raises(StorageError, match="/dev/null, page 3: Invalid argument"):
        native.Sources((piece,)).write("/dev/null", bytes(32))


def merge_under_limit(folder: Path, limit: int) -> int:
    """Merge under a limit that the merged file alone passes; 0 if that is told of the right file."""
    index = RunIndex(folder, NAME, options=SMALL)
    for start in (0, 200, 400):
        add(index, [(key(start + i), start + i) for i in range(200)])
        seal(index)
    job = index.job()
    assert job is not None
    assert job.is_merge
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    if limit == 6 * PAGE_BYTES:
        job.run()
        return 0
    with pytest.raises(StorageError, match=rf"{job.name}\.new, page \d+: File too large"):
        job.run()
    assert not index.adopt(job)
    assert all(index.find(key(number)) == [number] for number in range(600))
    return 0


@pytest.mark.parametrize("limit", [0, PAGE_BYTES, 6 * PAGE_BYTES - 1, 6 * PAGE_BYTES])
def test_a_merge_that_cannot_be_written_names_the_file_that_it_makes(tmp_path: Path, limit: int) -> None:
    """600 entries take four pages, one of fences and the footer."""
    assert in_child(partial(merge_under_limit, tmp_path, limit)) == 0


@pytest.mark.parametrize("call", ["rename", "sync"])
def test_a_name_that_cannot_be_made_durable_fails_the_job(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = RunIndex(tmp_path, NAME)
    add(index, [(HOT, 1)])
    job = index.seal()
    assert job is not None

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if call == "rename":
            patch.setattr(Path, "rename", fail)
        else:
            patch.setattr("cherrydag.storage.run_file.sync_folder", fail)
        with pytest.raises(StorageError, match="No space left"):
            job.run()
    assert not index.adopt(job)
    assert index.find(HOT) == [1]
    assert not list(tmp_path.glob("*.new"))
    name = seal(index)
    index.discard()
    assert [path.name for path in tmp_path.iterdir()] == [name]


# A crash


def die_at(folder: Path, runs: tuple[str, ...], moment: str) -> int:
    """Seal, and die before the file has its name, or before that is adopted."""
    index = RunIndex(folder, NAME, runs)
    add(index, [(HOT, 10)])
    job = index.seal()
    assert job is not None
    if moment == "before the rename":
        Path.rename = lambda *_: os._exit(7)
    job.run()
    return 7


@pytest.mark.parametrize("moment", ["before the rename", "before it is adopted"])
def test_a_crash_leaves_what_the_manifest_names(tmp_path: Path, moment: str) -> None:
    index = RunIndex(tmp_path, NAME)
    add(index, [(HOT, 9)])
    seal(index)
    runs = index.runs
    index.close()
    assert in_child(partial(die_at, tmp_path, runs, moment)) == 7
    left = {path.name for path in tmp_path.iterdir()} - set(runs)
    assert len(left) == 1
    assert left.pop().endswith(".new") == (moment == "before the rename")
    again = RunIndex(tmp_path, NAME, runs)
    assert (again.find(HOT), again.last_place) == ([9], 9)
    add(again, [(HOT, 10), (HOT, 11)])
    name = seal(again)
    assert again.find(HOT) == [9, 10, 11]
    assert len(again.discard()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*runs, name])


def test_the_reference_has_the_layout_that_the_engine_states() -> None:
    assert (native.PAGE_BYTES, native.PAGE_ENTRIES, native.KEY_BYTES) == (PAGE_BYTES, PAGE_ENTRIES, 16)
