"""What goes on at a WebSocket beside a call in work: pings, calls behind it, the end of the connection."""

import asyncio
import json

import aiohttp
import pytest
from rpc_rig import BOB, Api, api

from cherrydag.address import address_of
from cherrydag.rpc.limits import RpcLimits

TO = address_of(BOB.public_key)
SLOW_S = 20


def call(request_id: int, method: str = "limits", **params: object) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})


class Held:
    """A socket with a call in work that waits for what does not come, until it is let go."""

    def __init__(self, node: Api, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.node = node
        self.socket = socket
        self._host = node.ledger._running.host
        self._execute = self._host._execute_next
        self._commits = 0

    async def begin(self) -> None:
        """Call number 0 is in work."""
        self._host._execute_next = self._put_off
        records = self.node.transfers(self.node.ledger.treasury, TO, 1).tobytes().hex()
        await self.socket.send_str(call(0, "submit", records=records, wait="final", wait_ms=30_000))
        while not self.node.server.calls.open:
            await asyncio.sleep(0)

    async def read(self) -> aiohttp.WSMessage:
        async with asyncio.timeout(SLOW_S):
            return await self.socket.receive()

    def let_go(self) -> None:
        self._host._execute_next = self._execute
        if self._commits:
            self._execute()

    def _put_off(self) -> None:
        self._commits += 1


async def _ended(node: Api) -> None:
    """Until nothing is left of any socket."""
    async with asyncio.timeout(SLOW_S):
        while node.server.hub.sessions or node.server._sockets._open or node.server.calls.open:
            await asyncio.sleep(0)


@pytest.mark.parametrize("behind", [0, 1, RpcLimits().calls_waiting - 1])
async def test_a_ping_is_answered_while_calls_are_in_work(tmp_path, behind):
    async with api(tmp_path / "l") as node, node.http.ws_connect(node.url + "/ws", autoping=False) as socket:
        held = Held(node, socket)
        await held.begin()
        for number in range(behind):
            await socket.send_str(call(1 + number))
        await socket.ping(b"are you there")
        message = await held.read()
        assert (message.type, message.data) == (aiohttp.WSMsgType.PONG, b"are you there")
        assert node.server.calls.open == 1


async def test_answers_keep_the_order_of_calls_however_many_wait(tmp_path):
    async with api(tmp_path / "l") as node, node.http.ws_connect(node.url + "/ws") as socket:
        held = Held(node, socket)
        await held.begin()
        count = 3 * node.server.options.limits.calls_waiting
        for number in range(1, count):
            await socket.send_str(call(number))
        held.let_go()
        got = [json.loads((await held.read()).data)["id"] for _ in range(count)]
        assert got == list(range(count))


@pytest.mark.parametrize("way", ["goodbye", "cut"])
@pytest.mark.parametrize("behind", [0, 3])
async def test_who_leaves_gives_up_the_call_in_work_and_those_behind_it(tmp_path, way, behind):
    async with api(tmp_path / "l") as node, node.http.ws_connect(node.url + "/ws") as socket:
        held = Held(node, socket)
        await held.begin()
        for number in range(behind):
            await socket.send_str(call(1 + number, "status"))
        if way == "goodbye":
            await socket.close()
        else:
            socket._response.connection.transport.abort()
        await _ended(node)
        assert node.server.calls.counts["status", "ok"] == 0


async def test_a_frame_of_bytes_ends_the_call_in_work(tmp_path):
    async with api(tmp_path / "l") as node, node.http.ws_connect(node.url + "/ws") as socket:
        held = Held(node, socket)
        await held.begin()
        await socket.send_bytes(b"{}")
        message = await held.read()
        assert message.data == aiohttp.WSCloseCode.UNSUPPORTED_DATA
        await _ended(node)


async def test_a_server_that_closes_does_not_wait_for_the_call_in_work(tmp_path):
    async with api(tmp_path / "l") as node, node.http.ws_connect(node.url + "/ws") as socket:
        held = Held(node, socket)
        await held.begin()
        closing = asyncio.create_task(node.server.close())
        assert (await held.read()).data == aiohttp.WSCloseCode.GOING_AWAY
        await socket.close()
        async with asyncio.timeout(SLOW_S):
            await closing


async def test_a_fault_of_ours_in_a_call_ends_its_connection(tmp_path, caplog):
    async with api(tmp_path / "l") as node, node.http.ws_connect(node.url + "/ws") as socket:

        async def broken(body: bytes, session: object) -> bytes:
            raise RuntimeError("a bug")

        node.server.calls.answer = broken
        await socket.send_str(call(1))
        async with asyncio.timeout(SLOW_S):
            while not socket.closed:
                await socket.receive()
        await _ended(node)
        assert "a bug" in caplog.text
