"""The sorted-run index: what it answers, and what it refuses."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.run_reference import ReferenceIndex
from storage.run_tools import NAME, SMALL, add, key, seal, work

from cherrydag._native import runs as native
from cherrydag.errors import Closed, ConfigError, Overloaded, ShapeError
from cherrydag.storage.run_index import LIMIT_MAX, RunIndex, RunOptions

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
