import pytest

from cherrydag.gossip.recheck import PERIOD_MS, TURN_MAX, Recheck
from cherrydag.primitives import TimestampMs


def at(now_ms: int) -> TimestampMs:
    return TimestampMs(now_ms)


def test_nothing_parked_is_not_looked_at() -> None:
    recheck = Recheck()
    assert recheck.next_ms(0, at(5)) is None
    assert not recheck.is_due(at(10**6))


def test_a_few_are_looked_at_once_a_period() -> None:
    recheck = Recheck()
    assert recheck.next_ms(TURN_MAX, at(5)) == 5 + PERIOD_MS
    assert recheck.next_ms(1, at(500)) == 5 + PERIOD_MS  # it stands
    assert not recheck.is_due(at(4 + PERIOD_MS))
    assert recheck.is_due(at(5 + PERIOD_MS))
    assert not recheck.is_due(at(5 + PERIOD_MS))
    assert recheck.next_ms(1, at(6 + PERIOD_MS)) == 6 + 2 * PERIOD_MS


@pytest.mark.parametrize("looks", [2, 3, 32])
def test_many_have_all_had_their_turn_within_a_period(looks: int) -> None:
    recheck, now_ms = Recheck(), at(0)
    for _ in range(looks):
        next_ms = recheck.next_ms(looks * TURN_MAX, now_ms)
        assert next_ms is not None
        now_ms = next_ms
        assert recheck.is_due(now_ms)
    assert now_ms <= PERIOD_MS


def test_a_flood_leaves_the_loop_its_pauses() -> None:
    assert Recheck().next_ms(10**6, at(0)) == 50
