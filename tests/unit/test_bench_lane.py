"""A lane against a node that answers as it is told."""

import asyncio
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from cherrydag.bench.lane import ROWS_MAX, Lane
from cherrydag.bench.schedule import Due
from cherrydag.errors import Rejected
from cherrydag.execution.accounts import Status
from cherrydag.mempool import AddStatus
from cherrydag.params import RECORD_BYTES
from cherrydag.rpc.forms import ANSWER
from cherrydag.rpc.link import RemoteOverloaded
from cherrydag.runtime.submissions import FAR_CODE, Phase

Answer = Callable[[int], tuple[bytes, str]]


def rows(count: int, phase: Phase = Phase.FINAL, code: int = 1, status: int = Status.APPLIED) -> bytes:
    answer = np.zeros(count, ANSWER)
    answer["phase"], answer["code"], answer["status"] = phase, code, status
    return answer.tobytes()


def final(count: int) -> tuple[bytes, str]:
    return rows(count), ""


def raising(error: Exception) -> Answer:
    def answer(_: int) -> tuple[bytes, str]:
        raise error

    return answer


class FakeLink:
    """A node. answers: to its first requests; the others are all final. gate: what it waits for."""

    def __init__(self, answers: Sequence[Answer] = (), gate: asyncio.Event | None = None) -> None:
        self.answers = list(answers)
        self.gate = gate
        self.requests: list[bytes] = []
        self.asked: list[str] = []

    async def post_final(self, body: bytes, count: int) -> tuple[bytes, str]:
        assert len(body) == count * RECORD_BYTES
        self.requests.append(body)
        answer = self.answers.pop(0) if self.answers else final
        if self.gate is not None:
            await self.gate.wait()
        return answer(count)

    async def results(self, token: str) -> tuple[bytes, str]:
        self.asked.append(token)
        if token == "forgotten":
            raise Rejected("submission_unknown", "its results are not kept here")
        return final(len(self.requests[-1]) // RECORD_BYTES)


def octets(count: int) -> np.ndarray:
    return (
        np.repeat(np.arange(count, dtype="<u8"), RECORD_BYTES // 8).view(np.uint8).reshape(-1, RECORD_BYTES)
    )


def numbers(body: bytes) -> list[int]:
    return np.frombuffer(body, "<u8")[:: RECORD_BYTES // 8].tolist()


def lane_to(*links: FakeLink, plan: Sequence[Due], connections: int = 4) -> Lane:
    return Lane(links, octets(plan[-1].last), plan, connections)  # type: ignore[arg-type]


async def run(lane: Lane, drain_s: float = 20.0) -> Lane:
    await lane.run(time.monotonic_ns(), drain_s)
    return lane


async def test_every_transfer_is_sent_once_in_order_and_counted() -> None:
    link = FakeLink()
    lane = await run(lane_to(link, plan=[Due(0, 0, 3), Due(1000, 3, 5)]))
    assert [number for body in link.requests for number in numbers(body)] == [0, 1, 2, 3, 4]
    assert (lane.offered, lane.final, lane.queued) == (5, 5, 0)
    assert [(sample.due_us, sample.transfers) for sample in lane.samples] == [(0, 3), (1000, 2)]
    assert lane.dues == [(0, 3), (1000, 2)]
    assert all(sample.due_us <= sample.sent_us <= sample.done_us for sample in lane.samples)


async def test_what_waits_for_a_connection_goes_together_and_keeps_its_moment() -> None:
    gate = asyncio.Event()
    link = FakeLink(gate=gate)
    lane = lane_to(link, plan=[Due(at, at, at + 1) for at in range(5)], connections=1)
    running = asyncio.create_task(run(lane))
    while lane.offered < 5:
        await asyncio.sleep(0)
    assert lane.queued == 4
    gate.set()
    await running
    assert [numbers(body) for body in link.requests] == [[0], [1, 2, 3, 4]]
    assert [sample.due_us for sample in lane.samples] == [0, 1, 2, 3, 4]
    assert len({sample.sent_us for sample in lane.samples[1:]}) == 1


@pytest.mark.parametrize(("second", "requests"), [(ROWS_MAX - 2, 2), (ROWS_MAX - 1, 2), (ROWS_MAX, 3)])
async def test_a_request_has_so_many_transfers_at_most(second: int, requests: int) -> None:
    gate = asyncio.Event()
    link = FakeLink(gate=gate)
    lane = lane_to(link, plan=[Due(0, 0, 1), Due(1, 1, 2), Due(2, 2, 2 + second)], connections=1)
    running = asyncio.create_task(run(lane))
    while lane.offered < 2 + second:
        await asyncio.sleep(0)
    gate.set()
    await running
    assert len(link.requests) == requests


async def test_an_overloaded_node_is_asked_again_and_it_is_counted() -> None:
    link = FakeLink([raising(RemoteOverloaded("full", "overloaded", None, 1))] * 2)
    lane = await run(lane_to(link, plan=[Due(0, 0, 2)]))
    assert (lane.counters.overloaded, lane.counters.requests, lane.final) == (2, 1, 2)
    assert lane.samples[0].due_us == 0


@pytest.mark.parametrize("code", [AddStatus.FULL, AddStatus.SENDER_FULL, FAR_CODE])
async def test_only_what_found_no_room_is_sent_again(code: AddStatus) -> None:
    def half(count: int) -> tuple[bytes, str]:
        return rows(count - 1) + rows(1, Phase.REFUSED, code, 0), ""

    link = FakeLink([half])
    lane = await run(lane_to(link, plan=[Due(0, 0, 3)]))
    assert [numbers(body) for body in link.requests] == [[0, 1, 2], [2]]
    assert (lane.counters.refused, lane.final) == (1, 3)


async def test_without_retries_what_found_no_room_is_given_up_and_the_lane_ends() -> None:
    def half(count: int) -> tuple[bytes, str]:
        return rows(count - 1) + rows(1, Phase.REFUSED, AddStatus.FULL, 0), ""

    link = FakeLink([raising(RemoteOverloaded("full", "overloaded", None, 1)), half])
    plan = [Due(0, 0, 2), Due(1000, 2, 5)]
    lane = await run(Lane([link], octets(5), plan, 1, retries=False))  # type: ignore[list-item]
    assert [numbers(body) for body in link.requests] == [[0, 1], [2, 3, 4]]
    assert (lane.counters.refused, lane.counters.given_up, lane.final) == (3, 3, 2)
    assert lane.dues == [(0, 2), (1000, 3)]
    assert not lane.counters.failed


async def test_what_was_dropped_is_sent_again() -> None:
    link = FakeLink([lambda count: (rows(count, Phase.DROPPED, 1, 0), "")])
    lane = await run(lane_to(link, plan=[Due(0, 0, 3)]))
    assert (lane.counters.dropped, lane.final) == (3, 3)


async def test_what_is_refused_for_good_is_a_failure_by_its_cause() -> None:
    link = FakeLink([lambda count: (rows(count, Phase.REFUSED, AddStatus.FEE_LOW, 0), "")])
    lane = await run(lane_to(link, plan=[Due(0, 0, 3)]))
    assert lane.counters.failed == {"mempool_fee_low": 3}
    assert (lane.final, len(link.requests)) == (0, 1)


async def test_a_refused_request_is_a_failure_of_all_its_transfers() -> None:
    lane = await run(lane_to(FakeLink([raising(Rejected("limit", "no"))]), plan=[Due(0, 0, 3)]))
    assert lane.counters.failed == {"limit": 3}


async def test_final_but_not_applied_is_told_apart() -> None:
    link = FakeLink([lambda count: (rows(count, status=Status.INSUFFICIENT), "")])
    lane = await run(lane_to(link, plan=[Due(0, 0, 2)]))
    assert lane.counters.statuses == {"insufficient": 2}
    assert lane.final == 2


async def test_an_answer_that_is_not_final_yet_is_asked_for_again() -> None:
    link = FakeLink([lambda count: (rows(count, Phase.ACCEPTED, 1, 0), "token")])
    lane = await run(lane_to(link, plan=[Due(0, 0, 2)]))
    assert (link.asked, lane.final) == (["token"], 2)


async def test_what_the_node_has_forgotten_is_handed_in_again() -> None:
    link = FakeLink([lambda count: (rows(count, Phase.ACCEPTED, 1, 0), "forgotten")])
    lane = await run(lane_to(link, plan=[Due(0, 0, 2)]))
    assert (len(link.requests), lane.final, lane.counters.failed) == (2, 2, {})


@pytest.mark.parametrize("wrong", [raising(ConnectionError("gone")), lambda count: (rows(count + 1), "")])
async def test_without_a_sound_answer_the_next_node_is_asked(wrong: Answer) -> None:
    broken, whole = FakeLink([wrong]), FakeLink()
    lane = await run(lane_to(broken, whole, plan=[Due(0, 0, 1), Due(400_000, 1, 2)]))
    assert (len(broken.requests), len(whole.requests)) == (1, 2)
    assert (lane.counters.disconnected, lane.final) == (1, 2)


async def test_two_lost_requests_do_not_skip_a_node() -> None:
    gate = asyncio.Event()
    broken, second, third = FakeLink([raising(ConnectionError())] * 2, gate), FakeLink(), FakeLink()
    lane = lane_to(broken, second, third, plan=[Due(0, 0, 1), Due(1, 1, 2)])
    running = asyncio.create_task(run(lane))
    while len(broken.requests) < 2:
        await asyncio.sleep(0)
    gate.set()
    await running
    assert (len(second.requests) > 0, len(third.requests)) == (True, 0)


async def test_what_is_not_final_when_the_drain_ends_stays_open() -> None:
    lane = await run(lane_to(FakeLink(gate=asyncio.Event()), plan=[Due(0, 0, 2)]), drain_s=0.01)
    assert (lane.offered, lane.final, lane.counters.failed.total()) == (2, 0, 0)


async def test_a_closed_loop_sends_a_part_on_each_connection_until_its_time_is_over() -> None:
    gate = asyncio.Event()
    link = FakeLink(gate=gate)
    lane = lane_to(link, plan=[Due(0, at, at + 1) for at in range(10)], connections=3)
    running = asyncio.create_task(lane.run_closed(time.monotonic_ns(), 0, 20.0))
    while len(link.requests) < 3:
        await asyncio.sleep(0)
    gate.set()
    await running
    assert (lane.offered, lane.final, len(link.requests)) == (3, 3, 3)
    assert all(sample.due_us <= sample.sent_us for sample in lane.samples)


async def test_a_closed_loop_ends_when_there_is_nothing_left() -> None:
    link = FakeLink()
    lane = lane_to(link, plan=[Due(0, at, at + 2) for at in range(0, 8, 2)], connections=3)
    await lane.run_closed(time.monotonic_ns(), 60_000_000, 20.0)
    assert sorted(number for body in link.requests for number in numbers(body)) == list(range(8))
