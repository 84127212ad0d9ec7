"""Histograms of latencies against sorted lists."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cherrydag.bench.histogram import SUB_BITS, VALUE_BITS, Histogram
from cherrydag.errors import ShapeError

LATENCIES = st.lists(
    st.tuples(st.integers(0, 2**VALUE_BITS - 1), st.integers(1, 50)), min_size=1, max_size=60
)
SHARES = (0.0, 0.001, 0.5, 0.9, 0.99, 0.999, 1.0)


def of(pairs: list[tuple[int, int]]) -> Histogram:
    made = Histogram()
    values, counts = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    made.record(values, counts)
    return made


def exact_quantile(pairs: list[tuple[int, int]], share: float) -> int:
    ordered = sorted(value for value, count in pairs for _ in range(count))
    return ordered[max(1, int(np.ceil(share * len(ordered)))) - 1]


@given(LATENCIES)
def test_quantiles_are_exact_to_a_part_in_128(pairs: list[tuple[int, int]]) -> None:
    made = of(pairs)
    for share in SHARES:
        exact = exact_quantile(pairs, share)
        assert exact <= made.quantile(share) <= exact + exact // 2**SUB_BITS


@given(LATENCIES)
def test_count_least_most_and_mean_are_exact(pairs: list[tuple[int, int]]) -> None:
    made = of(pairs)
    total = sum(count for _, count in pairs)
    assert made.count == total
    assert (made.least, made.most) == (min(pairs)[0], max(pairs)[0])
    assert made.mean == sum(value * count for value, count in pairs) / total
    assert made.quantile(1.0) == made.most


@given(LATENCIES, LATENCIES)
def test_merged_is_as_if_recorded_in_one(a: list[tuple[int, int]], b: list[tuple[int, int]]) -> None:
    merged, nothing = of(a), Histogram()
    merged.merge(of(b))
    merged.merge(nothing)
    nothing.merge(merged)
    assert merged.as_dict() == nothing.as_dict() == of(a + b).as_dict()


@given(LATENCIES)
def test_it_comes_back_from_json(pairs: list[tuple[int, int]]) -> None:
    made = of(pairs)
    again = Histogram.of_dict(json.loads(json.dumps(made.as_dict())))
    assert again.as_dict() == made.as_dict()
    assert [again.quantile(share) for share in SHARES] == [made.quantile(share) for share in SHARES]


@pytest.mark.parametrize("value", [0, 1, 127, 128, 129, 254, 255])
def test_small_values_have_buckets_of_their_own(value: int) -> None:
    assert of([(value, 1), (value + 1, 1)]).quantile(0.5) == value


@pytest.mark.parametrize("edge", [1 << power for power in range(8, VALUE_BITS)])
def test_a_power_of_two_begins_a_bucket(edge: int) -> None:
    assert of([(edge - 1, 1), (edge, 1)]).quantile(0.5) == edge - 1


def test_the_largest_value_and_those_beyond_count_as_the_largest() -> None:
    largest = 2**VALUE_BITS - 1
    assert of([(largest - 1, 1)]).most == largest - 1
    assert of([(largest, 1)]).most == of([(largest + 1, 1)]).most == largest
    assert of([(largest + 1, 3)]).quantile(0.5) == largest


def test_a_negative_latency_counts_as_none() -> None:
    assert of([(-5, 2)]).quantile(0.5) == 0


def test_nothing_has_quantiles_of_0() -> None:
    empty = Histogram()
    empty.record(np.zeros(2, np.int64), np.zeros(2, np.int64))
    assert (empty.count, empty.mean, empty.quantile(0.99), empty.most) == (0, 0.0, 0, 0)
    assert Histogram.of_dict(empty.as_dict()).count == 0


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ShapeError):
        Histogram().record(np.zeros(2, np.int64), np.ones(3, np.int64))
