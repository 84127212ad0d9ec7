"""What is due when, and on which lane."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cherrydag.bench.schedule import BATCH_MS_MAX, RATE_MAX, Due, lanes_of, parts, schedule
from cherrydag.errors import ConfigError
from cherrydag.workload import WorkloadSpec, generate

LANE_LISTS = st.lists(st.integers(0, 3), max_size=200)


@given(LANE_LISTS, st.floats(1, 10_000), st.integers(1, 500))
def test_every_transfer_is_due_once_and_at_its_moment(lanes: list[int], rate: float, batch_ms: int) -> None:
    lane_of = np.array(lanes, np.int64)
    plans = schedule(lane_of, 4, rate, batch_ms)
    for lane, plan in enumerate(plans):
        numbers = np.flatnonzero(lane_of == lane)
        assert [row for due in plan for row in range(due.first, due.last)] == list(range(len(numbers)))
        assert [due.due_us for due in plan] == sorted({due.due_us for due in plan})
        for due in plan:
            begins_us = due.due_us - lane * batch_ms * 1000 // 4
            for number in numbers[due.first : due.last]:
                assert begins_us <= number * 1e6 / rate + 1 < begins_us + batch_ms * 1000 + 2


def test_lanes_take_turns_within_a_batch() -> None:
    plans = schedule(np.arange(8) % 4, 4, 4000, 2)
    assert plans == [[Due(500 * lane, 0, 2)] for lane in range(4)]


def test_a_lane_without_transfers_has_nothing_to_do() -> None:
    assert schedule(np.zeros(3, np.int64), 2, 10, 10)[1] == []
    assert parts(np.zeros(3, np.int64), 2, 2) == [[Due(0, 0, 2), Due(0, 2, 3)], []]


@pytest.mark.parametrize(
    ("rate", "is_good"), [(0, False), (0.01, True), (RATE_MAX, True), (RATE_MAX + 1, False)]
)
def test_rates_are_bounded(rate: float, is_good: bool) -> None:
    if is_good:
        schedule(np.zeros(1, np.int64), 1, rate, 1)
    else:
        with pytest.raises(ConfigError, match="rate"):
            schedule(np.zeros(1, np.int64), 1, rate, 1)


@pytest.mark.parametrize(
    ("batch_ms", "is_good"), [(0, False), (1, True), (BATCH_MS_MAX, True), (BATCH_MS_MAX + 1, False)]
)
def test_batches_are_bounded(batch_ms: int, is_good: bool) -> None:
    if is_good:
        schedule(np.zeros(1, np.int64), 1, 1, batch_ms)
    else:
        with pytest.raises(ConfigError, match="batch_ms"):
            schedule(np.zeros(1, np.int64), 1, 1, batch_ms)


def test_a_senders_transfers_share_a_lane_and_all_lanes_are_used() -> None:
    records = generate(WorkloadSpec(seed=3, accounts=40, transfers=400)).records
    lane_of = lanes_of(records, 4)
    of_sender: dict[bytes, set[int]] = {}
    for sender, lane in zip(records["sender"], lane_of.tolist(), strict=True):
        of_sender.setdefault(sender.tobytes(), set()).add(lane)
    assert all(len(lanes) == 1 for lanes in of_sender.values())
    assert np.bincount(lane_of, minlength=4).min() > 50
