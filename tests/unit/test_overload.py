"""The bounds of an overloaded node: the law against a model of rounds, and each of its claims by itself."""

from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cherrydag.errors import ConfigError, Overloaded
from cherrydag.overload import RETRY_MS_MAX, ROUND_MIN, WINDOW_MS, OverloadControl, OverloadLimits
from cherrydag.params import VERTEX_TRANSACTIONS_MAX
from cherrydag.primitives import TimestampMs

LIMITS = OverloadLimits()
VALIDATORS = 4
FLOOR = ROUND_MIN // VALIDATORS
REQUEST = 500
"""Transactions of a request."""
POOL = 1 << 17
"""What the mempool holds: as much as the patience with a burst may cost."""


class Plant:
    """One of VALIDATORS nodes that all do the same: a round takes idle_ms and the time to check what its
    vertices carry, `capacity` transactions a second; what a vertex carries is drained three rounds later.

    offered: to this node, transactions a second. Whatever it refuses is gone.
    """

    def __init__(self, capacity: int, idle_ms: int = 60, limits: OverloadLimits = LIMITS) -> None:
        self.control = OverloadControl(limits, VALIDATORS)
        self.capacity = capacity
        self.idle_ms = idle_ms
        self.now_ms = 0
        self.waiting = 0
        self.drained = 0
        self.refused = 0
        self.carried: list[int] = []
        self.rounds_ms: list[int] = []

    def run(self, seconds: int, offered: int) -> int:
        """Go on for a while; transactions drained a second in its second half."""
        until_ms = self.now_ms + 1000 * seconds
        half: tuple[int, int] | None = None
        while self.now_ms < until_ms:
            if half is None and self.now_ms >= until_ms - 500 * seconds:
                half = self.now_ms, self.drained
            self._round(offered)
        assert half is not None
        return (self.drained - half[1]) * 1000 // (self.now_ms - half[0])

    def _round(self, offered: int) -> None:
        carried = min(self.waiting, self.control.vertex_max)
        self.waiting -= carried
        self.carried.append(carried)
        took_ms = self.idle_ms + carried * VALIDATORS * 1000 // self.capacity
        self.rounds_ms.append(took_ms)
        requests = offered * took_ms // (1000 * REQUEST)
        for at in range(requests):
            self._offer(REQUEST, self.now_ms + took_ms * at // requests)
        self.now_ms += took_ms
        if len(self.carried) > 3:
            self.drained += self.carried[-4]
        self.control.observe(TimestampMs(self.now_ms), self.drained, self.waiting)

    def _offer(self, count: int, now_ms: int) -> None:
        after_ms = self.control.retry_after_ms(TimestampMs(now_ms), self.waiting)
        if after_ms or self.waiting + count > POOL:
            self.refused += count
        else:
            self.waiting += count


@pytest.mark.parametrize("load", [2, 5, 20])
def test_an_overload_keeps_the_rate_and_a_bounded_delay(load: int) -> None:
    plant = Plant(capacity=200_000)
    rate = plant.run(30, load * 50_000)
    assert rate >= 0.8 * 50_000
    assert plant.refused > 0
    late = plant.rounds_ms[len(plant.rounds_ms) // 2 :]
    assert max(late) <= 1.2 * LIMITS.vertex_ms
    wait_ms = plant.waiting * 1000 // rate
    assert wait_ms <= 1.3 * LIMITS.wait_ms + max(late)


def test_below_its_capacity_a_node_refuses_nothing() -> None:
    plant = Plant(capacity=200_000)
    assert plant.run(30, 40_000) >= 39_000
    assert plant.refused == 0


def test_the_bound_settles_where_a_round_takes_its_target_and_stays_there() -> None:
    plant = Plant(capacity=200_000)
    plant.run(40, 500_000)
    settled = plant.rounds_ms[-40:]
    assert max(settled) - min(settled) <= 0.05 * LIMITS.vertex_ms
    assert abs(settled[-1] - LIMITS.vertex_ms) <= 0.1 * LIMITS.vertex_ms


@pytest.mark.parametrize(("before", "after"), [(200_000, 400_000), (400_000, 200_000)])
def test_a_step_of_the_capacity_is_followed_without_passing_it(before: int, after: int) -> None:
    plant = Plant(capacity=before)
    plant.run(30, 500_000)
    plant.capacity = after
    start, at = plant.control.vertex_max, len(plant.carried)
    plant.run(30, 500_000)
    end = plant.control.vertex_max
    low, high = sorted((start, end))
    assert high >= 1.7 * low
    assert 0.9 * low <= min(plant.carried[at + 1 :]) <= max(plant.carried[at + 1 :]) <= 1.1 * high


def test_after_an_overload_nothing_is_refused_any_more() -> None:
    plant = Plant(capacity=200_000)
    plant.run(20, 500_000)
    assert plant.control.is_refusing
    plant.run(6, 10_000)
    assert not plant.control.is_refusing
    before = plant.refused
    assert plant.run(10, 40_000) >= 39_000
    assert plant.refused == before


def test_rounds_that_are_slower_than_the_target_keep_the_floor() -> None:
    plant = Plant(capacity=10_000_000, idle_ms=2 * LIMITS.vertex_ms)
    plant.run(60, 500_000)
    assert plant.control.vertex_max == FLOOR
    assert plant.carried[-1] == FLOOR


def test_a_standstill_ends_at_the_floor_and_the_rate_comes_back() -> None:
    plant = Plant(capacity=200_000)
    rate = plant.run(30, 500_000)
    for _ in range(20):
        plant.now_ms += 500
        plant.control.observe(TimestampMs(plant.now_ms), plant.drained, plant.waiting)
    assert (plant.control.rate, plant.control.vertex_max, plant.control.waiting_max) == (0, FLOOR, FLOOR)
    assert plant.run(20, 500_000) >= 0.95 * rate


@settings(max_examples=40, deadline=None)
@given(
    capacity=st.integers(20_000, 2_000_000),
    idle_ms=st.integers(1, 200),
    loads=st.lists(st.integers(0, 1_000_000), min_size=1, max_size=4),
)
def test_bounds_hold_whatever_is_offered(capacity: int, idle_ms: int, loads: list[int]) -> None:
    plant = Plant(capacity, idle_ms)
    for offered in loads:
        plant.run(5, offered)
        assert FLOOR <= plant.control.vertex_max <= VERTEX_TRANSACTIONS_MAX
        assert plant.control.vertex_max <= max(FLOOR, plant.control.waiting_max)
    waiting, refused = plant.waiting, plant.refused
    plant.run(3, 0)
    assert plant.refused == refused
    assert waiting == 0 or plant.waiting < waiting  # it never stalls


# Refusals


def observed(*drained: int, waiting: int = 0) -> OverloadControl:
    """A control that has seen so much drained in each half second."""
    control = OverloadControl(LIMITS, VALIDATORS)
    total = 0
    control.observe(TimestampMs(0), 0, waiting)
    for at, count in enumerate(drained, 1):
        total += count
        control.observe(TimestampMs(500 * at), total, waiting)
    return control


def test_a_burst_on_an_idle_node_is_not_refused() -> None:
    control = OverloadControl(LIMITS, VALIDATORS)
    for at_ms in (0, 10, LIMITS.patience_ms - 1):
        control.check(TimestampMs(at_ms), 200_000)


@pytest.mark.parametrize(("late_ms", "refuses"), [(-1, False), (0, True), (1, True)])
def test_what_stays_above_the_bound_for_long_enough_is_refused(late_ms: int, refuses: bool) -> None:
    control = OverloadControl(LIMITS, VALIDATORS)
    control.check(TimestampMs(7), FLOOR + 1)
    after_ms = control.retry_after_ms(TimestampMs(7 + LIMITS.patience_ms + late_ms), FLOOR + 1)
    assert (after_ms > 0) is refuses


def test_to_fall_to_the_bound_once_begins_the_patience_anew() -> None:
    control = OverloadControl(LIMITS, VALIDATORS)
    control.check(TimestampMs(0), FLOOR + 1)
    control.check(TimestampMs(10), FLOOR)
    control.check(TimestampMs(LIMITS.patience_ms + 9), FLOOR + 1)
    assert not control.is_refusing


def refusing() -> tuple[OverloadControl, int]:
    """A control that refuses, and the moment."""
    control = OverloadControl(LIMITS, VALIDATORS)
    control.check(TimestampMs(0), FLOOR + 1)
    with pytest.raises(Overloaded):
        control.check(TimestampMs(LIMITS.patience_ms), FLOOR + 1)
    return control, LIMITS.patience_ms


@pytest.mark.parametrize(("waiting", "refuses"), [(FLOOR - 1, False), (FLOOR, True), (FLOOR + 1, True)])
def test_an_overload_refuses_at_its_bound_at_once(waiting: int, refuses: bool) -> None:
    control, now_ms = refusing()
    assert (control.retry_after_ms(TimestampMs(now_ms), waiting) > 0) is refuses


def test_an_overload_is_over_when_little_has_waited_for_long() -> None:
    control, now_ms = refusing()
    control.check(TimestampMs(now_ms), FLOOR // 2)
    control.check(TimestampMs(now_ms + 1), FLOOR // 2 + 1)  # that was too short
    control.check(TimestampMs(now_ms + 2), FLOOR // 2)
    control.check(TimestampMs(now_ms + 1 + LIMITS.patience_ms), FLOOR // 2)
    assert control.is_refusing
    control.check(TimestampMs(now_ms + 2 + LIMITS.patience_ms), FLOOR // 2)
    assert not control.is_refusing
    control.check(TimestampMs(now_ms + 3 + LIMITS.patience_ms), 10 * FLOOR)


def test_a_refusal_names_its_limit_and_when_to_come_back() -> None:
    control, now_ms = refusing()
    with pytest.raises(Overloaded, match=r"overload\.wait_ms: .* try again in \d+ ms") as refused:
        control.check(TimestampMs(now_ms), FLOOR)
    assert (refused.value.limit, refused.value.retry_after_ms) == (FLOOR, LIMITS.wait_ms // 2)
    assert control.retry_after_ms(TimestampMs(now_ms), 100 * FLOOR) == RETRY_MS_MAX


def test_what_waits_takes_as_long_as_it_takes_to_drain_it() -> None:
    control = OverloadControl(LIMITS, VALIDATORS)
    assert (control.wait_ms(0), control.wait_ms(1)) == (0, None)
    control = observed(*[8000] * 4)
    assert [control.wait_ms(waiting) for waiting in (0, 15, 16, 16_000)] == [0, 0, 1, 1000]


# The measured rate


def test_the_rate_is_that_of_the_window() -> None:
    assert observed(1000).rate == 2000
    assert observed(1000, 3000).rate == 4000
    assert observed(*[1000] * 3, 9000, waiting=FLOOR).rate == 12_000 * 1000 // WINDOW_MS
    assert observed(0, 0, 0, 9000, 0, 0, 0, 0, waiting=FLOOR).rate == 0


def test_an_idle_node_keeps_its_rate_and_a_loaded_one_does_not() -> None:
    assert observed(*[8000] * 4, *[10] * 8).rate == 16_000
    assert observed(*[8000] * 4, *[10] * 8, waiting=FLOOR).rate == 20


@pytest.mark.parametrize(("waiting", "rate"), [(3999, 16_000), (4000, 20), (4001, 20)])
def test_half_a_vertex_that_waits_makes_a_slow_drain_credible(waiting: int, rate: int) -> None:
    control = OverloadControl(OverloadLimits(vertex_ms=500), 100)  # a vertex has 8000 at 16,000 a second
    for at in range(5):
        control.observe(TimestampMs(500 * at), 8000 * at, 0)
    assert control.vertex_max == 8000
    for at in range(1, 5):
        control.observe(TimestampMs(2000 + 500 * at), 32_000 + 10 * at, waiting if at == 4 else 0)
    assert control.rate == rate


@pytest.mark.parametrize(("validators", "floor"), [(1, 24_576), (4, 6144), (7, 3511), (200, 123)])
def test_the_floor_is_a_share_of_a_round(validators: int, floor: int) -> None:
    assert OverloadControl(LIMITS, validators).vertex_max == floor


@pytest.mark.parametrize("name", [item.name for item in fields(OverloadLimits)])
def test_limits_are_at_least_one(name: str) -> None:
    with pytest.raises(ConfigError, match=f"overload.{name}: expected at least 1, got 0"):
        OverloadLimits(**{name: 0})


def test_what_waits_is_at_least_a_vertex() -> None:
    assert OverloadLimits(vertex_ms=500, wait_ms=500).wait_ms == 500
    with pytest.raises(ConfigError, match="wait_ms: expected at least vertex_ms = 500, got 499"):
        OverloadLimits(vertex_ms=500, wait_ms=499)
