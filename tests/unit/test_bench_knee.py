"""The search for the knee against networks whose knee is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cherrydag.bench.knee import KneeSearch, Step, is_good


def search(capacity: float, first: float, most: float, halvings: int = 3) -> KneeSearch:
    found = KneeSearch(first, most, halvings)
    while (rate := found.next_rate) is not None:
        found.steps.append(Step(rate, min(rate, capacity), 1, 1, 1, rate <= capacity))
        assert len(found.steps) < 60
    return found


@given(st.floats(1, 1e6), st.integers(1, 5000), st.integers(5000, 10**6), st.integers(0, 6))
def test_the_best_is_good_and_close_to_the_capacity(
    capacity: float, first: int, most: int, halvings: int
) -> None:
    found = search(capacity, first, most, halvings)
    rates = [step.rate for step in found.steps]
    assert rates[0] == first and max(rates) <= most
    bad = [step.rate for step in found.steps if not step.is_good]
    best = 0.0 if found.best is None else found.best.rate
    assert best <= capacity
    if not bad:
        assert best == most
        return
    good_before = max((step.rate for step in found.steps[: rates.index(bad[0])]), default=0)
    assert capacity < min(bad)
    assert min(bad) - best <= (bad[0] - good_before) / 2**halvings + halvings + 1


def test_it_doubles_then_halves() -> None:
    assert [step.rate for step in search(5000, 1000, 64_000).steps] == [
        1000,
        2000,
        4000,
        8000,
        6000,
        5000,
        5500,
    ]


def test_it_ends_at_the_most() -> None:
    found = search(1e9, 1000, 3000)
    assert [step.rate for step in found.steps] == [1000, 2000, 3000]
    assert found.best is not None and found.best.rate == 3000


def test_a_good_rate_above_a_bad_one_does_not_count() -> None:
    found = KneeSearch(1000, 64_000)
    found.steps += [Step(rate, rate, 1, 1, 1, rate != 2000) for rate in (1000.0, 2000.0, 4000.0)]
    assert found.best is not None and found.best.rate == 1000


def test_nothing_is_best_if_nothing_was_good() -> None:
    assert search(0, 1000, 2000).best is None


@pytest.mark.parametrize(
    ("final_rate", "p99_ms", "failures", "expected"),
    [(970, 1000, 0, True), (969, 1000, 0, False), (1000, 1000.1, 0, False), (1000, 1, 1, False)],
)
def test_a_rate_is_good_if_it_was_taken_in_time(
    final_rate: float, p99_ms: float, failures: int, expected: bool
) -> None:
    assert is_good(1000, final_rate, p99_ms, 1000, failures) is expected
