"""WebSockets: calls, subscriptions that have no gap, clients that do not keep up."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
from rpc_rig import ALICE, BOB, CAROL, api

from cherrydag.address import Network, address_of, encode_address
from cherrydag.rpc.limits import RpcLimits
from cherrydag.rpc.subscriptions import LAG_CLOSE, Hub, Session

TO = address_of(BOB.public_key)
SLOW_S = 20


class Socket:
    """Calls and notifications over one WebSocket."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.told: list[dict] = []

    async def send(self, method: str, request_id=1, **params) -> None:
        await self.ws.send_str(
            json.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
        )

    async def read(self) -> dict:
        async with asyncio.timeout(SLOW_S):
            message = await self.ws.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return json.loads(message.data)

    async def answer(self, method: str, **params) -> dict:
        """The answer to a call; notifications before it are kept."""
        await self.send(method, **params)
        while "id" not in (answer := await self.read()):
            self.told.append(answer["params"])
        return answer

    async def call(self, method: str, **params):
        answer = await self.answer(method, **params)
        assert "error" not in answer, answer
        return answer["result"]

    async def error(self, method: str, **params) -> str:
        return (await self.answer(method, **params))["error"]["data"]["code"]

    async def event(self) -> dict:
        """The next notification."""
        return self.told.pop(0) if self.told else (await self.read())["params"]

    async def close_code(self) -> tuple[int, str]:
        """Code and reason of the close, whatever comes before."""
        async with asyncio.timeout(SLOW_S):
            while True:
                message = await self.ws.receive()
                if message.type is aiohttp.WSMsgType.CLOSE:
                    return message.data, message.extra
                assert message.type is aiohttp.WSMsgType.TEXT, message
                self.told.append(json.loads(message.data)["params"])


@asynccontextmanager
async def connected(node):
    async with node.http.ws_connect(node.url + "/ws", max_msg_size=0) as ws:
        yield Socket(ws)


async def pay(node, amount: int = 1, to=BOB):
    return await (await node.ledger.transfer(node.ledger.treasury, to, amount))


async def test_every_call_works_over_a_socket_too(tmp_path):
    async with api(tmp_path / "l") as node, connected(node) as socket:
        assert (await socket.call("balance", address=encode_address(TO, Network.DEV)))["balance"] == "0"
        assert await socket.error("nothing") == "method"
        await socket.ws.send_str("{")
        assert (await socket.read())["error"]["code"] == -32700
        await socket.ws.send_str('[{"jsonrpc":"2.0","id":1,"method":"limits"},1]')
        assert len(await socket.read()) == 2
        await socket.ws.send_str('{"jsonrpc":"2.0","method":"limits"}')
        assert (await socket.call("status"))["is_ready"]


async def test_commits_are_told_as_they_become_final(tmp_path):
    async with api(tmp_path / "l") as node, connected(node) as socket:
        await pay(node)
        begun = await socket.call("subscribe_commits")
        assert begun == {"subscription": 1, "commit_index": node.ledger.status().commit_index}
        sent = await pay(node)
        event = await socket.event()
        assert event["subscription"] == 1 and event["cursor"] == event["result"]["commit_index"]
        assert event["cursor"] == begun["commit_index"] + 1
        assert int(sent.places[0]) >> 32 >= event["cursor"]


async def test_old_commits_and_new_ones_come_without_a_gap(tmp_path):
    async with api(tmp_path / "l") as node, connected(node) as socket:
        for _ in range(5):
            await pay(node)
        payments = asyncio.gather(*[pay(node) for _ in range(40)])
        await socket.call("subscribe_commits", after=0)
        await payments
        last = node.ledger.status().commit_index
        seen = [(await socket.event())["cursor"] for _ in range(last)]
        assert seen == list(range(1, last + 1))


async def test_a_subscription_resumes_across_a_restart_without_a_gap(tmp_path):
    seen: list[int] = []
    for _ in range(3):
        async with api(tmp_path / "l") as node, connected(node) as socket:
            await pay(node)
            await socket.call("subscribe_commits", after=seen[-1] if seen else 0)
            await pay(node)
            last = node.ledger.status().commit_index
            stop = last - 1 if len(seen) < 4 else last
            while (seen[-1] if seen else 0) < stop:
                seen.append((await socket.event())["cursor"])
    assert seen == list(range(1, last + 1))


async def test_old_events_are_the_live_ones(tmp_path):
    async with api(tmp_path / "l") as node, connected(node) as live, connected(node) as late:
        await live.call("subscribe_commits", after=0)
        for _ in range(3):
            await pay(node)
        last = node.ledger.status().commit_index
        lived = [await live.event() for _ in range(last)]
        node.server.hub._encoded.clear()
        await late.call("subscribe_commits", after=0)
        assert [await late.event() for _ in range(last)] == lived


async def test_a_cursor_ahead_of_the_chain_is_refused(tmp_path):
    async with api(tmp_path / "l") as node, connected(node) as socket:
        await pay(node)
        last = node.ledger.status().commit_index
        assert await socket.error("subscribe_commits", after=last + 1) == "cursor_ahead"
        await socket.call("subscribe_commits", after=last)
        await socket.call("subscribe_commits", after=last - 1)


async def test_a_commit_that_is_not_kept_ends_the_subscription(tmp_path):
    async with api(tmp_path / "l") as node, connected(node) as socket:
        await pay(node)
        node.ledger._running.lookups.event = lambda _: None
        await socket.call("subscribe_commits", after=0)
        event = await socket.event()
        assert event["error"]["code"] == "cursor_gone" and event["cursor"] == 0
        assert await socket.call("unsubscribe", subscription=1) == {"was_open": False}


async def test_transactions_of_an_address_are_told(tmp_path):
    async with api(tmp_path / "l") as node, connected(node) as socket:
        text = encode_address(TO, Network.DEV)
        await pay(node, 50)
        await socket.call("subscribe_transactions", address=text)
        await pay(node, 5, CAROL)
        got = await pay(node, 7)
        gave = await (await node.ledger.transfer(BOB, ALICE, 3))
        to_self = await (await node.ledger.transfer(BOB, BOB, 2))
        events = [await socket.event() for _ in range(3)]
        assert [event["result"]["id"] for event in events] == [
            sent.id().hex() for sent in (got, gave, to_self)
        ]
        assert [event["result"]["amount"] for event in events] == ["7", "3", "2"]
        assert [event["subscription"] for event in events] == [1, 1, 1]
        assert events[0]["result"] == (await node.call("commit", events[0]["cursor"]))["rows"][0]


async def test_a_transaction_is_told_to_both_ends_and_once_to_each(tmp_path):
    async with api(tmp_path / "l") as node, connected(node) as socket:
        for key in (node.ledger.treasury, BOB):
            text = encode_address(address_of(key.public_key), Network.DEV)
            await socket.call("subscribe_transactions", address=text)
        sent = await pay(node)
        events = [await socket.event() for _ in range(2)]
        assert sorted(event["subscription"] for event in events) == [1, 2]
        assert {event["result"]["id"] for event in events} == {sent.id().hex()}
        await socket.call("status")
        assert socket.told == []


async def test_finality_is_told_once_for_each_id(tmp_path):
    async with api(tmp_path / "l") as node, connected(node) as socket:
        before = await pay(node)
        records = node.transfers(node.ledger.treasury, TO, 3, first=1)
        first = await node.ledger.submit(records[:1])
        ids = [before.id().hex(), first.id().hex(), *["ff" * 32] * 2]
        await socket.call("subscribe_finality", ids=ids)
        await first
        events = [await socket.event() for _ in range(2)]
        assert [event["result"]["id"] for event in events] == ids[:2]
        assert {event["result"]["phase"] for event in events} == {"final"}
        assert events[1]["result"]["status"] == "applied"
        await pay(node)
        await pay(node)
        await socket.call("status")
        assert socket.told == []
        assert len(node.server.hub.ids) == 1


async def test_an_ended_subscription_is_silent(tmp_path):
    async with api(tmp_path / "l") as node, connected(node) as socket:
        text = encode_address(TO, Network.DEV)
        numbers = [
            (await socket.call(method, **params))["subscription"]
            for method, params in (
                ("subscribe_commits", {}),
                ("subscribe_transactions", {"address": text}),
                ("subscribe_finality", {"ids": ["ff" * 32]}),
            )
        ]
        assert numbers == [1, 2, 3] and node.server.hub.subscriptions == 3
        for number in numbers:
            assert await socket.call("unsubscribe", subscription=number) == {"was_open": True}
            assert await socket.call("unsubscribe", subscription=number) == {"was_open": False}
        await pay(node)
        await socket.call("status")
        assert socket.told == []
        hub = node.server.hub
        assert not (hub.commits or hub.addresses or hub.ids or hub.subscriptions)


async def test_a_connection_that_ends_leaves_nothing_behind(tmp_path):
    async with api(tmp_path / "l") as node:
        async with connected(node) as socket:
            await socket.call("subscribe_commits")
            await socket.call("subscribe_finality", ids=["ff" * 32])
        hub = node.server.hub
        while hub.sessions:
            await asyncio.sleep(0)
        assert not (hub.commits or hub.addresses or hub.ids or node.server._sockets._open)


@pytest.mark.parametrize(("count", "is_taken"), [(2, True), (3, True), (4, False)])
async def test_the_subscriptions_of_a_connection_are_bounded(tmp_path, count, is_taken):
    async with api(tmp_path / "l", replace(RpcLimits(), subscriptions=3)) as node, connected(node) as socket:
        for _ in range(count - 1):
            await socket.call("subscribe_commits")
        if is_taken:
            await socket.call("subscribe_commits")
        else:
            for method, params in (
                ("subscribe_commits", {}),
                ("subscribe_finality", {"ids": []}),
                ("subscribe_transactions", {"address": encode_address(TO, Network.DEV)}),
            ):
                assert await socket.error(method, **params) == "limit_subscriptions"
            assert not node.server.hub.ids and not node.server.hub.addresses


@pytest.mark.parametrize(("count", "is_taken"), [(2, True), (3, True), (4, False)])
async def test_the_ids_of_a_subscription_are_bounded(tmp_path, count, is_taken):
    async with api(tmp_path / "l", replace(RpcLimits(), ids_watched=3)) as node, connected(node) as socket:
        ids = [f"{number:064x}" for number in range(count)]
        if is_taken:
            await socket.call("subscribe_finality", ids=ids)
        else:
            assert await socket.error("subscribe_finality", ids=ids) == "limit_ids"


@pytest.mark.parametrize(("count", "is_taken"), [(1, True), (2, True), (3, False)])
async def test_websockets_are_bounded(tmp_path, count, is_taken):
    async with api(tmp_path / "l", replace(RpcLimits(), websockets=2)) as node:
        opened = [await node.http.ws_connect(node.url + "/ws") for _ in range(count - 1)]
        assert len(opened) == count - 1
        if is_taken:
            await node.http.ws_connect(node.url + "/ws")
        else:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await node.http.ws_connect(node.url + "/ws")
            assert caught.value.status == 503


@pytest.mark.parametrize(("size", "is_taken"), [(999, True), (1000, True), (1001, False)])
async def test_a_message_is_bounded(tmp_path, size, is_taken):
    async with api(tmp_path / "l", replace(RpcLimits(), body_bytes=1000)) as node, connected(node) as socket:
        await socket.ws.send_str('{"jsonrpc":"2.0","id":1,"method":"limits"}'.ljust(size))
        if is_taken:
            assert (await socket.read())["id"] == 1
        else:
            assert (await socket.close_code())[0] == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


async def test_frames_of_bytes_are_refused(tmp_path):
    async with api(tmp_path / "l") as node, connected(node) as socket:
        await socket.ws.send_bytes(b"{}")
        assert (await socket.close_code())[0] == aiohttp.WSCloseCode.UNSUPPORTED_DATA


async def test_a_server_that_closes_says_goodbye(tmp_path):
    async with api(tmp_path / "l") as node, connected(node) as socket:
        await socket.call("subscribe_commits")
        closing = asyncio.create_task(node.server.close())
        assert (await socket.close_code())[0] == aiohttp.WSCloseCode.GOING_AWAY
        await socket.ws.close()
        await closing


async def test_a_node_that_stops_says_goodbye(tmp_path):
    async with api(tmp_path / "l") as node, connected(node) as socket:
        await socket.call("subscribe_commits")
        node.ledger._running.host.fail(OSError("the disk is gone"))
        assert (await socket.close_code())[0] == aiohttp.WSCloseCode.GOING_AWAY


async def test_a_client_that_does_not_read_is_closed_with_its_cursor_and_goes_on(tmp_path):
    """Its events fill the queue behind a writer that the socket stops."""
    async with api(tmp_path / "l", replace(RpcLimits(), queue_bytes=3000)) as node, connected(node) as socket:
        await socket.call("subscribe_commits")
        first = await _pay_until_told(node, socket)
        (session,) = node.server.hub.sessions
        blocked = asyncio.Event()
        taken = session.next

        async def stopped() -> bytes:
            await blocked.wait()
            return await taken()

        session.next = stopped
        for _ in range(20):
            await pay(node)
        assert session.has_ended and node.server.hub.lagged == 1
        code, reason = await socket.close_code()
        assert code == LAG_CLOSE
        cursor = int(reason.removeprefix("lag cursor="))
        told = [event["cursor"] for event in socket.told]
        assert cursor == (told[-1] if told else first)
        async with connected(node) as again:
            await again.call("subscribe_commits", after=cursor)
            last = node.ledger.status().commit_index
            seen = [(await again.event())["cursor"] for _ in range(last - cursor)]
            assert [*told, *seen] == list(range(first + 1, last + 1))


async def _pay_until_told(node, socket) -> int:
    """All commits so far have been told; the last one's index."""
    await pay(node)
    cursor = 0
    while cursor < node.ledger.status().commit_index:
        cursor = (await socket.event())["cursor"]
    return cursor


# The session alone


class Lagging:
    """A session whose client is this test."""

    def __init__(self, node, **limits: int) -> None:
        node.server.backend.limits = replace(RpcLimits(), **limits)
        self.ends: list[tuple[int, str]] = []
        self.hub = Hub(node.server.backend)
        self.session = Session(self.hub, lambda *end: self.ends.append(end))


@pytest.mark.parametrize(("sizes", "is_lagging"), [((60, 39), False), ((60, 40), False), ((60, 41), True)])
async def test_the_queue_of_a_connection_is_bounded(tmp_path, sizes, is_lagging):
    async with api(tmp_path / "l") as node:
        lagging = Lagging(node, queue_bytes=100)
        for size in sizes:
            lagging.session.push(bytes(size))
        assert lagging.session.has_ended == is_lagging and len(lagging.ends) == is_lagging
        lagging.session.push(bytes(100))
        assert lagging.ends == [(LAG_CLOSE, "lag cursor=0")]


async def test_one_message_may_be_larger_than_the_queue(tmp_path):
    async with api(tmp_path / "l") as node:
        session = Lagging(node, queue_bytes=100).session
        session.push(bytes(500))
        assert not session.has_ended
        assert len(await session.next()) == 500
        session.sent()
        assert session.queued_bytes == 0


async def test_old_commits_wait_for_room_and_a_queue_that_does_not_move_lags(tmp_path):
    async with api(tmp_path / "l") as node:
        for _ in range(6):
            await pay(node)
        lagging = Lagging(node, queue_bytes=600, stall_ms=20)
        session = lagging.session
        session.subscribe_commits(0)
        session.answer(b"{}")
        while not session.has_ended:
            await asyncio.sleep(0)
        assert lagging.ends == [(LAG_CLOSE, "lag cursor=0")] and session.queued_bytes <= 1200
        session.close()


async def test_what_happens_before_the_answer_is_told_behind_it(tmp_path):
    async with api(tmp_path / "l") as node:
        lagging = Lagging(node)
        session, hub = lagging.session, lagging.hub
        session.subscribe_transactions(TO)
        await pay(node)
        hub._tell(node.ledger._running.lookups.event(node.ledger.status().commit_index))
        assert session.queued_bytes == 0
        session.answer(b"answer")
        assert await session.next() == b"answer"
        session.sent()
        assert b'"subscription":1' in await session.next()
        session.close()


async def test_a_cursor_ahead_of_the_hub_is_told_nothing_twice(tmp_path):
    async with api(tmp_path / "l") as node:
        for _ in range(3):
            await pay(node)
        lagging = Lagging(node)
        session, hub = lagging.session, lagging.hub
        last, lookups = hub.index, node.ledger._running.lookups
        hub.index = 0
        session.subscribe_commits(last)
        session.answer(b"answer")
        while not hub.commits:
            await asyncio.sleep(0)
        for index in range(1, last + 1):
            hub._tell(lookups.event(index))
        assert session.queued_bytes == len(b"answer")
        session.close()
