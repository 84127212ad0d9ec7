"""When a sorted-run index joins its pieces and merges its runs."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cherrydag._native import runs as native
from cherrydag.storage.run_index import KEY_BYTES
from cherrydag.storage.run_policy import joined_pieces, merge_slice


@given(st.lists(st.integers(1, 5000), max_size=120))
def test_pieces_stay_few_and_their_levels_fall(adds: list[int]) -> None:
    sizes: list[int] = []  # newest first
    for size in adds:
        taken = joined_pieces(sizes, size, 4096)
        joined = size + sum(sizes[:taken])
        assert taken == 0 or joined < size + 3 * 4096  # of each level below the top
        sizes[:taken] = [joined]
    assert sum(sizes) == sum(adds)
    levels = [3 if size >= 4096 else (size.bit_length() - 1) // 4 for size in sizes]
    assert levels == sorted(levels)
    assert all(levels.count(level) < 16 for level in range(3))


@pytest.mark.parametrize(("size", "count"), [(4095, 2), (2048, 2), (2047, 3), (1024, 4), (256, 16)])
def test_no_join_goes_far_beyond_the_size_from_which_pieces_stay(size: int, count: int) -> None:
    sizes: list[int] = []
    for _ in range(100):
        taken = joined_pieces(sizes, size, 4096)
        sizes[:taken] = [size + sum(sizes[:taken])]
    assert max(sizes) == count * size


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
