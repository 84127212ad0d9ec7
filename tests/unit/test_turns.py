"""Who is answered next: bounded, fair by cost, within a share of the time."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cherrydag.gossip.turns import TurnLimits, Turns
from cherrydag.params import PEER_OTHERS

STRANGER, OTHER = PEER_OTHERS, PEER_OTHERS + 1
ASK = 7


def always(_: int) -> bool:
    return True


def run(turns: Turns[int], for_us: int, costs: dict[Any, int], step_us: int = 100) -> dict[Any, int]:
    """Serve whenever something may be served; what each peer has had, in microseconds."""
    had = dict.fromkeys(costs, 0)
    now_us = 0
    while now_us < for_us:
        for peer in costs:
            turns.put(peer, ASK, 1)
        taken = turns.take(now_us, always)
        if taken is None:
            now_us += step_us
            continue
        peer, _ = taken
        now_us += costs[peer]
        had[peer] += costs[peer]
        turns.served(peer, costs[peer], now_us)
    return had


@pytest.mark.parametrize(("before", "is_taken"), [(3, True), (4, True), (5, False)])
def test_requests_of_a_peer_that_wait_are_bounded(before: int, is_taken: bool) -> None:
    turns: Turns[int] = Turns(TurnLimits(requests_max=5))
    for _ in range(before):
        assert turns.put(STRANGER, ASK, 1)
    assert turns.put(STRANGER, ASK, 1) is is_taken
    assert turns.put(OTHER, ASK, 1)
    assert len(turns) == min(before + 1, 5) + 1


@pytest.mark.parametrize(("size", "is_taken"), [(39, True), (40, True), (41, False)])
def test_their_bytes_are_bounded(size: int, is_taken: bool) -> None:
    turns: Turns[int] = Turns(TurnLimits(bytes_max=100))
    assert not turns.put(STRANGER, ASK, 101) and turns.ready_us() is None
    assert turns.put(STRANGER, ASK, 60)
    assert turns.put(STRANGER, ASK, size) is is_taken
    if is_taken:
        turns.take(0, always)
        assert not turns.put(STRANGER, ASK, 101 - size)
        assert turns.put(STRANGER, ASK, 100 - size)


def test_requests_of_one_peer_are_answered_in_their_order() -> None:
    turns: Turns[int] = Turns()
    asked = list(range(5))
    for request in asked:
        turns.put(STRANGER, request, 1)
    assert [turns.take(0, always) for _ in asked] == [(STRANGER, request) for request in asked]
    assert turns.take(0, always) is None and turns.ready_us() is None


@pytest.mark.parametrize(("peer", "percent"), [(2, 30), (STRANGER, 10)])
def test_answers_take_their_share_of_the_time_and_no_more(peer: int, percent: int) -> None:
    had = run(Turns(), 10_000_000, {peer: 20_000})
    assert percent * 95_000 <= had[peer] <= percent * 105_000


def test_strangers_take_nothing_from_validators() -> None:
    alone = run(Turns(), 10_000_000, {2: 5000})[2]
    beside = run(Turns(), 10_000_000, {2: 5000, STRANGER: 50_000, OTHER: 50_000})
    assert beside[2] >= 0.8 * alone


def test_who_costs_much_waits_for_itself() -> None:
    had = run(Turns(), 20_000_000, {1: 200, 2: 50_000})
    assert had[1] > 0.8 * had[2]


def test_a_newcomer_neither_waits_for_those_who_have_had_much_nor_has_credit_for_its_absence() -> None:
    turns: Turns[int] = Turns()
    run(turns, 5_000_000, {1: 10_000, 2: 10_000})
    turns.put(3, ASK, 1)
    start = turns.ready_us()
    assert start is not None
    order = []
    for _ in range(9):
        turns.put(3, ASK, 1)
        now_us = turns.ready_us() or 0
        peer, _ = turns.take(now_us, always) or (-1, ASK)
        turns.served(peer, 10_000, now_us)
        order.append(peer)
    assert 3 in order[:3] and order.count(3) <= 4


def test_a_peer_that_has_not_taken_its_last_answer_waits_and_holds_nobody_up() -> None:
    turns: Turns[int] = Turns()
    turns.put(STRANGER, ASK, 1)
    turns.put(OTHER, ASK, 1)
    assert turns.take(0, lambda peer: peer != STRANGER) == (OTHER, ASK)
    turns.served(OTHER, 0, 0)
    assert turns.take(0, lambda peer: peer != STRANGER) is None
    assert turns.ready_us() == 0
    assert turns.take(0, always) == (STRANGER, ASK)


def test_who_is_gone_wants_nothing() -> None:
    turns: Turns[int] = Turns()
    turns.put(STRANGER, ASK, 1)
    turns.gone(STRANGER)
    turns.gone(STRANGER)
    turns.served(STRANGER, 10, 0)
    assert len(turns) == 0 and turns.ready_us() is None


@given(st.lists(st.tuples(st.sampled_from([1, 2, STRANGER, OTHER]), st.integers(0, 50_000)), max_size=200))
def test_everything_that_is_taken_in_is_answered_once(asked: list[tuple[int, int]]) -> None:
    turns: Turns[int] = Turns(TurnLimits(requests_max=10))
    taken_in = [n for n, (peer, _) in enumerate(asked) if turns.put(peer, n, 1)]
    answered, now_us = [], 0
    while (ready_us := turns.ready_us()) is not None:
        now_us = max(now_us, ready_us)
        found = turns.take(now_us, always)
        assert found is not None
        peer, request = found
        answered.append(request)
        turns.served(peer, asked[request][1], now_us)
    assert sorted(answered) == taken_in
