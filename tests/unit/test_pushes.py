"""How many vertices a peer may push unasked."""

import pytest

from cherrydag.gossip.pushes import PushLimits, PushPace
from cherrydag.params import PEER_OTHERS

LIMITS = PushLimits(validator_rate=10, other_rate=2, seconds=3)
STRANGER = PEER_OTHERS


def admitted(pace: PushPace, peer: int, count: int, now_ms: int) -> int:
    return sum(pace.admits(peer, now_ms) for _ in range(count))


@pytest.mark.parametrize(("peer", "burst"), [(0, 30), (STRANGER, 6)])
def test_a_burst_is_bounded_at_its_bound(peer: int, burst: int) -> None:
    pace = PushPace(LIMITS)
    assert admitted(pace, peer, burst - 1, 0) == burst - 1
    assert pace.admits(peer, 0)
    assert not pace.admits(peer, 0)


@pytest.mark.parametrize(("peer", "rate"), [(0, 10), (STRANGER, 2)])
def test_credit_comes_back_at_the_rate_and_is_kept_up_to_a_burst(peer: int, rate: int) -> None:
    pace = PushPace(LIMITS)
    admitted(pace, peer, 100, 0)
    assert [admitted(pace, peer, 100, now_ms) for now_ms in (1000, 1000, 2500)] == [rate, 0, rate * 3 // 2]
    assert admitted(pace, peer, 100, 10**9) == 3 * rate


def test_what_is_refused_costs_nothing() -> None:
    pace = PushPace(LIMITS)
    assert sum(admitted(pace, 0, 50, now_ms) for now_ms in range(0, 10_000, 10)) == 30 + 10 * 10 - 1


def test_peers_do_not_share_and_a_validator_that_comes_back_has_no_new_burst() -> None:
    pace = PushPace(LIMITS)
    admitted(pace, 0, 100, 0)
    admitted(pace, STRANGER, 100, 0)
    assert pace.admits(1, 0)
    for peer in (0, STRANGER):
        pace.gone(peer)
    assert not pace.admits(0, 0)
    assert len(pace._credits) == 2
