"""A pace with room for bursts."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from cherrydag.credit import Credit


def taken(credit: Credit, rate: int, burst: int, times_ms: list[int], count: int = 1) -> list[bool]:
    """Whether there were so many at each of these times."""
    found = []
    for now_ms in times_ms:
        is_enough, credit = credit.take(rate, burst, now_ms, count)
        found.append(is_enough)
    return found


def test_a_full_credit_is_for_a_burst_and_no_more() -> None:
    assert taken(Credit.full(3, 5), 2, 3, [5] * 5) == [True] * 3 + [False] * 2


def test_one_comes_back_when_its_time_has_passed_and_not_before() -> None:
    assert taken(Credit.full(1, 0), 4, 1, [0, 249, 250, 251, 499, 500]) == [
        *(True, False, True),
        *(False, False, True),
    ]


def test_a_silence_gives_a_burst_at_most() -> None:
    assert taken(Credit.full(2, 0), 1000, 2, [0, 0, 0, 10**9, 10**9, 10**9]) == [True, True, False] * 2


@given(
    st.integers(1, 50),
    st.integers(1, 9),
    st.lists(st.integers(0, 700), max_size=60).map(sorted),
    st.integers(1, 10),
)
def test_it_is_the_bucket_of_fractions(rate: int, burst: int, times_ms: list[int], count: int) -> None:
    level, since_ms, wanted = Fraction(burst), 0, []
    for now_ms in times_ms:
        level = min(Fraction(burst), level + Fraction((now_ms - since_ms) * rate, 1000))
        since_ms = now_ms
        wanted.append(level >= count)
        level -= count * wanted[-1]
    assert taken(Credit.full(burst, 0), rate, burst, times_ms, count) == wanted
