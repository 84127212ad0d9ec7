"""The sorted-run index: what it answers, what it refuses, and when it joins, writes and merges."""

import threading
from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.run_reference import ReferenceIndex
from storage.run_tools import NAME, SMALL, add, key, seal, work

from cherrydag._native import runs as native
from cherrydag.errors import Closed, ConfigError, Overloaded, ShapeError, StorageError
from cherrydag.storage.run_index import KEY_BYTES, LIMIT_MAX, RunIndex, RunOptions
from cherrydag.storage.run_policy import joined_pieces, merge_slice

HOT = b"hot account 0001"
PLACE_MAX = 2**64 - 1


@pytest.fixture
def index(tmp_path: Path) -> Iterator[RunIndex]:
    made = RunIndex(tmp_path / "index", NAME, options=SMALL)
    yield made
    made.close()


# Answers


def test_an_empty_index_answers_nothing(index: RunIndex) -> None:
    assert index.find(HOT) == index.page(HOT, limit=5) == []
    assert index.last_place is index.job() is index.seal() is None
    assert index.runs == ()
    assert index.stats() == (0, 0, 0, 0, 0, 0, 0)


def test_places_are_found_at_once_in_any_order_of_one_add(index: RunIndex) -> None:
    add(index, [(HOT, 7), (key(1), 3), (HOT, 2), (key(2), 7)])
    assert index.find(HOT) == [2, 7]
    assert index.find(key(1)) == [3]
    assert index.find(key(3)) == []
    assert index.last_place == 7


def test_keys_are_told_apart_by_every_byte(index: RunIndex) -> None:
    keys = [bytes(at) + b"\x01" + bytes(15 - at) for at in range(16)] + [bytes(16), b"\xff" * 16]
    add(index, [(name, place) for place, name in enumerate(keys)])
    for _ in range(2):
        assert [index.find(name) for name in keys] == [[place] for place in range(len(keys))]
        work(index, seal=True)


def test_find_keeps_the_newest_and_gives_them_ascending(index: RunIndex) -> None:
    for start in range(0, 100, 10):
        add(index, [(HOT, place) for place in range(start, start + 10)])
        seal(index)
    assert index.find(HOT) == list(range(84, 100))
    assert index.find(HOT, limit=1) == [99]
    assert index.find(HOT, limit=100) == index.find(HOT, limit=LIMIT_MAX) == list(range(100))


def test_the_ends_of_the_range_of_places_are_reached(index: RunIndex) -> None:
    add(index, [(HOT, 0)])
    add(index, [(HOT, PLACE_MAX)])
    for _ in range(2):
        assert index.find(HOT) == index.page(HOT, after=-1, limit=9) == [0, PLACE_MAX]
        assert index.page(HOT, limit=9) == index.page(HOT, before=2**64, limit=9) == [PLACE_MAX, 0]
        assert index.page(HOT, before=2**70, limit=9) == [PLACE_MAX, 0]
        assert index.page(HOT, before=PLACE_MAX, limit=9) == [0]
        assert index.page(HOT, after=0, limit=9) == [PLACE_MAX]
        for nowhere in (0, -1, -(2**70)):
            assert index.page(HOT, before=nowhere, limit=9) == []
        for nowhere in (PLACE_MAX, 2**64, 2**70):
            assert index.page(HOT, after=nowhere, limit=9) == []
        work(index, seal=True)


@pytest.mark.parametrize("sealed", [False, True])
def test_cursors_walk_a_hot_key_across_pages_and_runs(index: RunIndex, sealed: bool) -> None:
    """The hot key has all of some pages, begins and ends within others, and its neighbours surround it."""
    reference, place = ReferenceIndex(), 0
    for count in (1, 168, 169, 170, 171, 340, 511):
        entries = [(HOT, place + 3 * i) for i in range(count)]
        entries += [(bytes(16), place + 1), (b"\xff" * 16, place + 2), (HOT[:-1] + b"2", place + 1)]
        place += 3 * count + 3
        add(index, entries)
        reference.add(entries)
        if sealed:
            seal(index)
    all_places = reference.places[HOT]
    for limit in (1, 169, 170, 171, 2000):
        newest, cursor = [], None
        while page := index.page(HOT, before=cursor, limit=limit):
            assert len(page) == min(limit, len(all_places) - len(newest))
            newest += page
            cursor = page[-1]
        oldest, cursor = [], -1
        while page := index.page(HOT, after=cursor, limit=limit):
            oldest += page
            cursor = page[-1]
        assert newest[::-1] == oldest == all_places
    for cursor in [at + by for at in all_places[::7] for by in (-1, 0, 1)]:
        assert index.page(HOT, before=cursor, limit=3) == reference.page(HOT, cursor, None, 3)
        assert index.page(HOT, after=cursor, limit=3) == reference.page(HOT, None, cursor, 3)


def test_a_view_never_changes_and_outlives_files_and_index(index: RunIndex) -> None:
    add(index, [(HOT, 1)])
    seal(index)
    view = index.view()
    add(index, [(HOT, 2)])
    work(index, seal=True)
    add(index, [(HOT, 3)])
    index.discard()
    assert view.find(HOT) == [1]
    assert index.find(HOT) == [1, 2, 3]
    index.close()
    assert view.page(HOT, limit=9) == [1]


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 255]), st.integers(0, 40)), unique=True, min_size=1))
def test_sorting_is_right_for_any_keys(pairs: list[tuple[int, int]]) -> None:
    """Few distinct keys, which differ in one byte of any place: ranges that no hash would give."""
    entries = [(bytes([byte * (at % 3 == 0) for at in range(16)]), place) for byte, place in pairs]
    entries += [(bytes([7] * (place % 16)).ljust(16, b"\0"), place + 41) for _, place in pairs]
    reference = ReferenceIndex(dict.fromkeys(entries))
    ordered = list(dict.fromkeys(entries))
    keys = np.frombuffer(b"".join(name for name, _ in ordered), np.uint8)
    piece = native.Piece(keys, np.array([place for _, place in ordered], np.uint64))
    view = native.Sources((piece,))
    for name, places in reference.places.items():
        assert view.select(name, 0, PLACE_MAX, LIMIT_MAX, False) == places


@pytest.mark.parametrize("n", [1, 2, 16, 17, 170, 1000, 70_000])
@pytest.mark.parametrize("spread", ["hashes", "one bit", "one key", "long prefixes"])
def test_a_piece_of_any_size_and_spread_is_sorted(tmp_path: Path, n: int, spread: str) -> None:
    rng = np.random.default_rng(n)
    keys = rng.integers(0, 256, (n, 16), dtype=np.uint8)
    if spread == "one bit":
        keys &= np.array([0] * 9 + [16] + [0] * 6, np.uint8)
    elif spread == "one key":
        keys[:] = 5
    elif spread == "long prefixes":
        keys[np.arange(16)[None, :] < rng.integers(0, 17, n)[:, None]] = 9
    places = rng.permutation(n).astype(np.uint64)
    native.Sources((native.Piece(keys, places),)).write(str(tmp_path / "run"), bytes(32))
    pages = np.frombuffer((tmp_path / "run").read_bytes(), np.uint8).reshape(-1, 4096)
    entries = pages[: -(-n // 170), 8:4088].reshape(-1, 24)[:n]
    order = np.lexsort((places, *[keys[:, at] for at in reversed(range(16))]))
    assert (entries[:, :16] == keys[order]).all()
    assert (np.ascontiguousarray(entries[:, 16:]).view("<u8")[:, 0] == places[order]).all()


# Refusals


def test_what_add_refuses_leaves_no_trace(index: RunIndex) -> None:
    add(index, [(HOT, 5), (key(1), 9)])
    before = index.stats()
    for entries in ([(HOT, 9)], [(HOT, 10), (key(2), 9)], [(HOT, 3)], [(key(1), 10)] * 2):
        with pytest.raises(ShapeError):
            add(index, entries)
    zeros = np.zeros((1, 16), np.uint8)
    for keys, places in (
        (zeros, np.zeros(2, np.uint64)),
        (zeros, np.zeros(0, np.uint64)),
        (zeros[:0], np.array([10], np.uint64)),
        (zeros, np.array([10], np.int64)),
        (zeros, np.array([[10]], np.uint64)),
        (np.zeros(15, np.uint8), np.array([10], np.uint64)),
    ):
        with pytest.raises(ShapeError):
            index.add(keys, places)
    assert index.stats() == before
    assert index.last_place == 9
    add(index, [])
    add(index, [(HOT, 10)])
    assert index.find(HOT) == [5, 10]


def test_queries_out_of_shape_are_refused(index: RunIndex) -> None:
    for wrong in (bytes(15), bytes(17), b""):
        with pytest.raises(ShapeError, match="expected 16 bytes"):
            index.find(wrong)
    for limit in (-1, 0, LIMIT_MAX + 1):
        with pytest.raises(ShapeError, match="limit"):
            index.find(HOT, limit=limit)
        with pytest.raises(ShapeError, match="limit"):
            index.page(HOT, limit=limit)
    with pytest.raises(ShapeError, match="one or neither"):
        index.page(HOT, before=3, after=1, limit=1)


def test_memory_is_bounded_and_a_full_index_says_so(tmp_path: Path) -> None:
    options = RunOptions(flush_entries=4, memory_entries_max=8)
    index = RunIndex(tmp_path, NAME, options=options)
    with pytest.raises(ShapeError, match="at most 8"):
        add(index, [(HOT, place) for place in range(9)])
    add(index, [(HOT, place) for place in range(7)])
    with pytest.raises(Overloaded, match="7 entries in memory, 8 allowed"):
        add(index, [(HOT, 7), (HOT, 8)])
    add(index, [(HOT, 7)])
    job = index.job()
    assert job is not None
    job.run()
    with pytest.raises(Overloaded):
        add(index, [(HOT, 8)])
    assert index.adopt(job)
    add(index, [(HOT, place) for place in range(8, 16)])
    assert index.find(HOT, limit=99) == list(range(16))
    assert index.stats().memory_entries == 8


@pytest.mark.parametrize(
    "wrong",
    [
        {"flush_entries": 0},
        {"flush_entries": 9, "memory_entries_max": 8},
        {"memory_entries_max": native.PIECE_MAX + 1},
        {"merge_ratio": 1},
        {"merge_ratio": 65},
        {"runs_max": 1},
        {"runs_max": 1025},
    ],
)
def test_options_that_cannot_work_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        RunOptions(**wrong)


@pytest.mark.parametrize("name", ["", "a" * 33, "A", "a-1", "../a", "a.b"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        RunIndex(tmp_path, name)


def test_a_closed_index_refuses_everything(index: RunIndex) -> None:
    add(index, [(HOT, place) for place in range(64)])
    job = index.job()
    assert job is not None
    index.close()
    index.close()
    for call in (index.job, index.seal, index.stats, index.view, index.discard):
        with pytest.raises(Closed):
            call()
    with pytest.raises(Closed):
        add(index, [(HOT, 99)])
    with pytest.raises(Closed):
        index.adopt(job)


# Jobs


def test_memory_is_written_when_it_is_enough_and_not_before(index: RunIndex) -> None:
    add(index, [(HOT, place) for place in range(63)])
    assert index.job() is None
    add(index, [(HOT, 63)])
    job = index.job()
    assert job is not None
    assert not job.is_merge
    assert index.job() is index.seal() is None
    job.run()
    assert index.runs == ()
    assert index.adopt(job)
    assert index.runs == (job.name,)
    assert index.find(HOT, limit=99) == list(range(64))
    assert index.stats()[:3] == (64, 0, 1)


def test_a_job_ends_once(index: RunIndex) -> None:
    add(index, [(HOT, 1)])
    job = index.seal()
    assert job is not None
    job.run()
    with pytest.raises(ShapeError, match="has run"):
        job.run()
    assert index.adopt(job)
    with pytest.raises(ShapeError, match="not under way"):
        index.adopt(job)


def test_a_job_that_is_given_back_unrun_frees_its_entries(index: RunIndex) -> None:
    add(index, [(HOT, 1)])
    job = index.seal()
    assert job is not None
    assert not index.adopt(job)
    with pytest.raises(ShapeError, match="given back"):
        job.run()
    assert index.find(HOT) == [1]
    assert seal(index) != job.name
    assert index.find(HOT) == [1]


def test_a_running_job_cannot_be_adopted(index: RunIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    add(index, [(HOT, 1)])
    job = index.seal()
    assert job is not None
    seen: list[str] = []

    def sync(_: Path) -> None:
        with pytest.raises(ShapeError, match="still running"):
            index.adopt(job)
        seen.append("running")

    monkeypatch.setattr("cherrydag.storage.run_file.sync_folder", sync)
    thread = threading.Thread(target=job.run)
    thread.start()
    thread.join()
    assert seen == ["running"]
    assert index.adopt(job)


def test_answers_are_right_while_jobs_run_in_another_thread(index: RunIndex) -> None:
    """Each job runs while its owner adds and asks; what it wrote comes in between two questions."""
    place, merges = 0, 0
    while merges < 3:
        add(index, [(HOT, place), *((key(number), place + number) for number in range(1, 80))])
        place += 80
        while (job := index.job()) is not None:
            thread = threading.Thread(target=job.run)
            thread.start()
            add(index, [(HOT, place)])
            place += 80
            assert index.page(HOT, after=-1, limit=LIMIT_MAX) == list(range(0, place, 80))
            thread.join()
            merges += job.is_merge
            assert index.adopt(job)
            assert index.page(HOT, after=-1, limit=LIMIT_MAX) == list(range(0, place, 80))


def test_a_manifest_never_has_a_hole(index: RunIndex) -> None:
    """Two flushes are under way and the later one ends first: a crash now must not lose the earlier alone."""
    add(index, [(HOT, 1)])
    early = index.seal()
    add(index, [(HOT, 2)])
    late = index.seal()
    assert early is not None
    assert late is not None
    late.run()
    assert index.adopt(late)
    assert index.runs == ()
    assert index.find(HOT) == [1, 2]
    assert not index.adopt(early)
    again = index.job()
    assert again is not None
    again.run()
    assert index.adopt(again)
    assert index.runs == (again.name, late.name)
    assert index.find(HOT) == [1, 2]


def test_seal_is_refused_before_runs_are_without_bound(
    index: RunIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cherrydag.storage.run_index.UNMERGED_MAX", 3)
    for place in range(3):
        add(index, [(HOT, place)])
        seal(index)
    add(index, [(HOT, 3)])
    with pytest.raises(Overloaded, match="3 runs"):
        index.seal()
    work(index)
    seal(index)
    assert index.find(HOT) == [0, 1, 2, 3]


def test_above_runs_max_merging_comes_first(tmp_path: Path) -> None:
    options = RunOptions(flush_entries=4, memory_entries_max=64, merge_ratio=4, runs_max=2)
    index = RunIndex(tmp_path, NAME, options=options)
    for start in (0, 4, 8):
        add(index, [(HOT, place) for place in range(start, start + 4)])
        seal(index)
    add(index, [(HOT, place) for place in range(12, 16)])
    job = index.job()
    assert job is not None
    assert job.is_merge
    assert index.job() is None
    job.run()
    index.adopt(job)
    assert index.stats().runs == 1
    flush = index.job()
    assert flush is not None
    assert not flush.is_merge


def test_discard_spares_what_is_live_kept_or_in_the_making(index: RunIndex, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    for start in (0, 10, 20):
        add(index, [(HOT, start + i) for i in range(10)])
        seal(index)
    manifest = index.runs
    merges = work(index)
    assert merges
    add(index, [(HOT, 99)])
    flush = index.seal()
    assert flush is not None
    flush.run()
    for stranger in ("other-00000001.run", "tx-1.run", "tx-00000001.run.bak", "tx-00000001.run.new"):
        (folder / stranger).touch()
    assert index.discard(keep=manifest[1:]) == [manifest[0], "tx-00000001.run.new"]
    assert index.discard(keep=manifest[1:]) == []
    assert index.adopt(flush)
    assert index.discard() == list(manifest[1:])
    left = sorted(path.name for path in folder.iterdir())
    assert left == sorted([*index.runs, "other-00000001.run", "tx-1.run", "tx-00000001.run.bak"])
    assert index.find(HOT, limit=99) == [*range(30), 99]


def test_reopening_finds_what_the_manifest_names(tmp_path: Path) -> None:
    index = RunIndex(tmp_path, NAME, options=SMALL)
    add(index, [(HOT, 1), (key(1), 2)])
    seal(index)
    add(index, [(HOT, 3)])
    first = index.runs
    seal(index)
    second = index.runs
    index.close()
    with_all = RunIndex(tmp_path, NAME, second)
    assert (with_all.find(HOT), with_all.last_place, with_all.runs) == ([1, 3], 3, second)
    older = RunIndex(tmp_path, NAME, first)
    assert (older.find(HOT), older.last_place) == ([1], 2)
    add(older, [(HOT, 3), (HOT, 4)])
    assert seal(older) not in second
    assert older.find(HOT) == [1, 3, 4]
    with pytest.raises(StorageError, match="overlap in time"):
        RunIndex(tmp_path, NAME, second[::-1])
    with pytest.raises(StorageError, match="overlap in time"):
        RunIndex(tmp_path, NAME, [first[0], first[0]])


# When to join and to merge


@given(st.lists(st.integers(1, 5000), max_size=120))
def test_pieces_stay_few_and_their_levels_fall(adds: list[int]) -> None:
    sizes: list[int] = []  # newest first
    for size in adds:
        taken = joined_pieces(sizes, size, 4096)
        sizes[:taken] = [size + sum(sizes[:taken])]
    assert sum(sizes) == sum(adds)
    levels = [3 if size >= 4096 else (size.bit_length() - 1) // 4 for size in sizes]
    assert levels == sorted(levels)
    assert all(levels.count(level) < 16 for level in range(3))


def test_sixteen_pieces_become_one_and_large_ones_stay() -> None:
    assert joined_pieces([1] * 14, 1, 4096) == 0
    assert joined_pieces([1] * 15, 1, 4096) == 15
    assert joined_pieces([1] * 15 + [16] * 15, 1, 4096) == 30
    assert joined_pieces([4095] * 15, 4095, 4096) == 15
    assert joined_pieces([4096] * 15, 4096, 4096) == 0
    assert joined_pieces([3, 20, 4096], 5000, 4096) == 2


@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=40),
    st.integers(2, 5),
    st.sampled_from([1, 2, 3, 64, 100]),
)
def test_merging_lifts_every_entry_and_leaves_few_runs(flushes: list[int], ratio: int, unit: int) -> None:
    """Nothing is written more often than there are levels, and no neighbours are left that would rise."""
    runs: list[tuple[int, int]] = []  # entries, and how often the most moved of them were written
    for entries in flushes:
        runs.append((entries, 1))
        while (found := merge_slice([size for size, _ in runs], ratio, unit)) is not None:
            merged = runs[found.start : found.stop]
            total = sum(size for size, _ in merged)
            assert level_of(total, ratio, unit) > max(level_of(size, ratio, unit) for size, _ in merged)
            runs[found.start : found.stop] = [(total, 1 + max(moves for _, moves in merged))]
    sizes = [size for size, _ in runs]
    assert sum(sizes) == sum(flushes)
    assert max(moves for _, moves in runs) <= 1 + level_of(max(sizes), ratio, unit) - level_of(1, ratio, unit)
    for start, stop in combinations(range(len(sizes) + 1), 2):
        some = sizes[start:stop]
        if len(some) > 1:
            assert level_of(sum(some), ratio, unit) <= max(level_of(size, ratio, unit) for size in some)


def level_of(entries: int, ratio: int, unit: int) -> int:
    return max(level for level in range(-12, 40) if unit * Fraction(ratio) ** level <= entries)


@pytest.mark.parametrize("ratio", [2, 3, 4, 8, 10])
@pytest.mark.parametrize("unit", [1, 64, 1000, 1 << 20])
def test_flushes_of_one_size_are_merged_by_the_ratio(ratio: int, unit: int) -> None:
    assert merge_slice([unit] * (ratio - 1), ratio, unit) is None
    assert merge_slice([unit] * ratio, ratio, unit) == range(ratio)
    assert merge_slice([ratio * unit] * (ratio - 1) + [unit], ratio, unit) is None
    assert merge_slice([ratio * unit] * ratio, ratio, unit) == range(ratio)


def test_crowded_runs_are_merged_even_if_that_lifts_none() -> None:
    assert merge_slice([100, 5, 2, 1, 40], 10, 1) is None
    assert merge_slice([100, 5, 2, 1, 40], 10, 1, is_crowded=True) == range(5)
    assert merge_slice([3000, 900, 5, 17, 100], 4, 1) is None
    assert merge_slice([3000, 900, 5, 17, 100], 4, 1, is_crowded=True) == range(1, 5)
    assert merge_slice([7], 4, 1, is_crowded=True) is None
    assert merge_slice([], 4, 1, is_crowded=True) is None


def test_the_smallest_runs_that_rise_are_merged_first() -> None:
    assert merge_slice([64, 64, 64, 64, 4, 4, 4, 4], 4, 1) == range(4, 8)
    assert merge_slice([64, 64, 64, 64, 4, 4, 4], 4, 1) == range(7)
    assert merge_slice([64, 64, 64, 4, 4, 4], 4, 1) is None
    assert merge_slice([4, 4, 64, 64, 64, 4, 4, 4, 4], 4, 1) == range(5, 9)


@pytest.mark.parametrize("kind", ["hashes", "one key", "a key in half of them"])
@pytest.mark.parametrize("sizes", [(1, 1), (127, 1, 128), (1, 900, 3), (400, 400, 400, 129), (2000, 1)])
def test_joined_pieces_hold_what_they_held(kind: str, sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(7)
    pieces: list[native.Piece] = []
    held: dict[bytes, list[int]] = {}
    place = 0
    for size in sizes:
        keys = rng.integers(0, 256, (size, KEY_BYTES), dtype=np.uint8)
        if kind != "hashes":
            keys[:: 1 if kind == "one key" else 2] = 9
        places = np.arange(place, place + size, dtype=np.uint64)
        pieces.append(native.Piece(keys, places))
        for row, number in zip(keys, places.tolist(), strict=True):
            held.setdefault(row.tobytes(), []).append(number)
        place += size
    joined = native.join(tuple(pieces))
    sources = native.Sources((joined,))
    assert len(joined) == sum(sizes)
    assert {wanted: sources.select(wanted, 0, 2**64 - 1, 4096, False) for wanted in held} == held
