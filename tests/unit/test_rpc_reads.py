"""Reads that come all at once leave the loop its turns: consensus goes first."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import WSMsgType
from rpc_rig import api

from cherrydag.address import Network
from cherrydag.rpc.backend import READS_AT_ONCE
from cherrydag.rpc.calls import Calls
from cherrydag.rpc.limits import RpcLimits
from cherrydag.rpc.methods import Method
from cherrydag.rpc.sockets import write_all
from cherrydag.rpc.turnstile import Turnstile

ASK = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "read"}).encode()
SEND = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "write"}).encode()


class Desk:
    """A table of two methods that note in which turn of the loop they run."""

    def __init__(self) -> None:
        self.turn = 0
        self.ran: list[int] = []
        backend: Any = SimpleNamespace(
            limits=RpcLimits(),
            lag=SimpleNamespace(lag_ms=0),
            network=Network.DEV,
            check_running=lambda: None,
            reads=Turnstile(READS_AT_ONCE),
            large_bodies=Turnstile(1),
        )
        methods = {
            "read": Method("read", "", (), "", self.run),
            "write": Method("write", "", (), "", self.run, is_read=False),
        }
        self.calls = Calls(backend, methods)

    def run(self, _: object) -> int:
        self.ran.append(self.turn)
        return self.turn

    async def answer_all(self, bodies: list[bytes]) -> int:
        """Most calls of one turn, and every call is answered."""
        answering = asyncio.gather(*[self.calls.answer(body) for body in bodies])
        while not answering.done():
            await asyncio.sleep(0)
            self.turn += 1
        assert len(answering.result()) == len(self.ran) == len(bodies)
        assert self.calls.open == 0
        return max(map(self.ran.count, self.ran))


@pytest.mark.parametrize("count", [READS_AT_ONCE - 1, READS_AT_ONCE, READS_AT_ONCE + 1, 64])
async def test_so_many_reads_run_in_one_turn_of_the_loop_and_no_more(count: int) -> None:
    assert await Desk().answer_all([ASK] * count) <= READS_AT_ONCE


async def test_a_batch_of_reads_takes_its_turns_with_the_others() -> None:
    batch = b"[" + b",".join([ASK] * 50) + b"]"
    desk = Desk()
    await asyncio.gather(*[desk.calls.answer(body) for body in [batch, ASK, batch]])
    assert len(desk.ran) == 101


async def test_submissions_do_not_wait_for_reads() -> None:
    assert await Desk().answer_all([SEND] * 64) == 64


async def test_a_large_body_takes_a_turn_of_its_own() -> None:
    """It is parsed for milliseconds, whatever its call does."""
    assert await Desk().answer_all([SEND + b" " * 40_000] * 8) == 1
    desk = Desk()
    small, large = (desk.calls.answer(SEND + b" " * padding) for padding in (30_000, 40_000))
    await asyncio.gather(*[desk.calls.answer(SEND + b" " * 40_000) for _ in range(4)], large, small)
    assert desk.ran[:2] == [0, 0]  # the first of the large ones, and the small one


async def test_messages_of_all_sockets_share_the_turns_of_the_loop() -> None:
    turn, sent = 0, []

    class Socket:
        async def send_frame(self, data: bytes, _: WSMsgType) -> None:
            sent.append((turn, data))

    class Waiting:
        def __init__(self) -> None:
            self.left = [b"%d" % number for number in range(16)]

        async def next(self) -> bytes:
            if not self.left:
                raise ConnectionError
            return self.left[0]

        def sent(self) -> None:
            del self.left[0]

    stile = Turnstile(8)
    sockets: list[Any] = [(Socket(), Waiting()) for _ in range(5)]
    writing = asyncio.gather(*[write_all(*pair, stile) for pair in sockets])
    while not writing.done():
        await asyncio.sleep(0)
        turn += 1
    turns = [at for at, _ in sent]
    assert len(turns) == 80 and max(map(turns.count, turns)) <= 8


async def test_a_read_that_is_cut_off_gives_its_place_back() -> None:
    desk = Desk()
    tasks = [asyncio.create_task(desk.calls.answer(ASK)) for _ in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    desk.ran.clear()
    assert await desk.answer_all([ASK] * 20) <= READS_AT_ONCE


async def test_parts_of_a_long_read_take_their_turns_with_other_reads() -> None:
    stile, ran, turn = Turnstile(2), [], 0

    async def read(parts: int) -> None:
        for _ in range(parts):
            await stile.enter()
            ran.append(turn)

    reading = asyncio.gather(*[read(parts) for parts in (20, 1, 1, 20, 5)])
    while not reading.done():
        await asyncio.sleep(0)
        turn += 1
    assert len(ran) == 47 and max(map(ran.count, ran)) <= 2
    assert len(stile) == 0


class Clock:
    """Processor time that reads say they have taken."""

    def __init__(self) -> None:
        self.now_us = 0

    def __call__(self) -> int:
        return self.now_us


@pytest.mark.parametrize(
    ("cost_us", "crowd", "rests_ms"), [(5000, 20, [20, 20]), (100, 20, []), (5000, 8, []), (5000, 13, [20])]
)
async def test_a_crowd_of_dear_reads_leaves_half_of_the_time(
    cost_us: int, crowd: int, rests_ms: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first four pass unmeasured; four or fewer that wait are no crowd."""
    clock, rests, done = Clock(), [], 0
    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def noted(delay_s: float, *call: Any) -> asyncio.TimerHandle:
        rests.append(round(1000 * delay_s))
        return call_later(delay_s, *call)

    monkeypatch.setattr(loop, "call_later", noted)
    stile = Turnstile(4, has_rests=True, spent_us=clock)

    async def read() -> None:
        nonlocal done
        await stile.enter()
        done += 1
        clock.now_us += cost_us

    await asyncio.gather(*[read() for _ in range(crowd)])
    assert (done, rests) == (crowd, rests_ms)


async def test_a_rest_ends_when_all_who_waited_have_left() -> None:
    clock = Clock()
    stile = Turnstile(1, has_rests=True, spent_us=clock)

    async def read() -> None:
        await stile.enter()
        clock.now_us += 20_000

    tasks = [asyncio.create_task(read()) for _ in range(5)]
    while sum(task.done() for task in tasks) < 2:
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(5):
        await asyncio.gather(*[read() for _ in range(3)])
    assert len(stile) == 0


async def test_who_comes_first_passes_first() -> None:
    stile, order = Turnstile(1), []

    async def read(name: int) -> None:
        await stile.enter()
        order.append(name)

    await asyncio.gather(*[read(name) for name in range(20)])
    assert order == list(range(20))


async def test_commits_that_subscribers_catch_up_with_take_their_turns_too(tmp_path, monkeypatch) -> None:
    async with api(tmp_path / "l") as node:
        for nonce in range(5):
            await (
                await node.ledger.submit(node.transfers(node.ledger.treasury, bytes(20), 1, nonce))
            ).final()
        entered = 0
        enter = node.server.backend.reads.enter

        async def counted() -> None:
            nonlocal entered
            entered += 1
            await enter()

        monkeypatch.setattr(node.server.backend.reads, "enter", counted)
        index = node.server.backend.commit_index
        async with node.http.ws_connect(node.url + "/ws") as socket:
            ask = {"jsonrpc": "2.0", "id": 1, "method": "subscribe_commits", "params": {"after": 0}}
            await socket.send_json(ask)
            for _ in range(1 + index):
                await socket.receive_json(timeout=30)
        assert index >= 5 and entered >= index


class Watch:
    """A clock in the test's hand, for the running loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = asyncio.get_running_loop().time()
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now_s)


@pytest.mark.parametrize(("each_ms", "done"), [(999, 3), (1000, 2), (1001, 2), (2000, 1), (0, 5)])
async def test_the_reads_of_a_batch_have_their_time_in_all(
    each_ms: int, done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, watch = Desk(), Watch(monkeypatch)

    def slow(_: object) -> int:
        watch.now_s += each_ms / 1000
        return 1

    desk.calls._methods["read"] = Method("read", "", (), "", slow)  # type: ignore[index]
    answers = json.loads(await desk.calls.answer(b"[" + b",".join([ASK] * 5 + [SEND]) + b"]") or b"")
    assert [one.get("result") for one in answers] == [1] * done + [None] * (5 - done) + [0]
    codes = {one["error"]["data"]["code"] for one in answers if "error" in one}
    assert codes == ({"batch_read_ms"} if done < 5 else set())


async def test_a_batch_whose_answer_is_full_does_no_more_work() -> None:
    desk = Desk()
    desk.calls._backend.limits = RpcLimits(response_bytes=2 + 2 * 41)  # type: ignore[misc]
    await desk.calls.answer(b"[" + b",".join([ASK] * 50) + b"]")
    assert len(desk.ran) <= 2
