"""The short way of a call: the same answers as by the long one, in order, and the same refusals."""

import asyncio
import json
from dataclasses import replace
from random import Random

import pytest
import uvloop
from rpc_rig import BOB, api

from cherrydag.address import Network, address_of, encode_address
from cherrydag.rpc.fast_path import HEAD_BYTES_MAX, HEADS_MAX, LIBRARY_SHARE, FastPath
from cherrydag.rpc.limits import RpcLimits

ADDRESS = encode_address(address_of(BOB.public_key), Network.DEV)
BALANCE = {"method": "balance", "params": {"address": ADDRESS}}


def call(number, method="status", params=None, **more):
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}, **more})


def request(body, **headers):
    """A request of HTTP."""
    given = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": len(body)}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}\r\n" for name, value in given.items()]
    return f"POST / HTTP/1.1\r\n{''.join(lines)}\r\n{body}".encode()


class Line:
    """One connection to a server's API."""

    def __init__(self, node, reader, writer):
        self.node, self.reader, self.writer = node, reader, writer

    @classmethod
    async def open(cls, node):
        return cls(node, *await asyncio.open_connection("127.0.0.1", node.server.port))

    async def answer(self):
        """Status and parsed body of the next answer."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        status = int(head.split(maxsplit=2)[1])
        if status == 204:
            return status, None
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r")[0])
        return status, json.loads(await self.reader.readexactly(size))

    async def ask(self, sent):
        self.writer.write(sent)
        return await self.answer()

    @property
    def by_library(self):
        """Requests that the HTTP library has seen."""
        return self.node.server._runner.server.requests_count


@pytest.fixture
async def line(tmp_path):
    async with api(tmp_path / "l") as node:
        opened = await Line.open(node)
        yield opened
        opened.writer.close()


@pytest.mark.parametrize(
    ("body", "is_short"),
    [
        (call(1, "limits"), True),
        (call("x" * 128, "limits"), True),
        (call(1, **BALANCE), True),
        (call(1, "balance", [ADDRESS, 0]), True),
        (call(1, "balance", {"address": "x"}), True),
        (call(1, "balance"), True),
        (call(1, "nothing"), False),
        (call(1, "subscribe_commits"), False),
        (call(1, "history", {"address": ADDRESS}), False),
        ('{"jsonrpc": "2.0", "method": "limits"}', False),
        (f"[{call(1, 'limits')}, {call(2, 'limits')}]", False),
        ("{", False),
        ("[]", False),
        ("", False),
    ],
)
async def test_both_ways_give_the_same_answer(line, body, is_short):
    by_library = await line.ask(request(body))
    seen = line.by_library
    for _ in range(3):
        assert await line.ask(request(body)) == by_library
    assert line.by_library == seen + (0 if is_short else 3)


async def test_what_nobody_wants_to_know_is_not_told_behind_a_head_that_is_known(line):
    notification = '{"jsonrpc": "2.0", "method": "limits"}'
    ask = call(1, "limits")
    assert (await line.ask(request(ask)))[0] == 200
    assert await line.ask(request(notification.ljust(len(ask)))) == (204, None)


async def test_short_answers_are_counted_and_count_as_http(line):
    for number in range(3):
        line.writer.write(request(call(number, "limits")))
        head = await line.reader.readuntil(b"\r\n\r\n")
        names = {one.split(b":")[0].lower() for one in head.split(b"\r\n")[1:-2]}
        assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"\r\nContent-Type: application/json\r\n" in head
        assert names >= {b"date", b"content-type", b"content-length"}
        await line.reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r")[0]))
    assert line.node.server.calls.counts["limits", "ok"] == 3 and line.by_library == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 400),
        ({"Origin": "https://evil.example"}, 400),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Encoding": "gzip"}, 415),
    ],
)
async def test_a_head_that_the_guard_refuses_is_refused_behind_good_ones_and_again(line, headers, status):
    body = call(1, "limits")
    for _ in range(3):
        assert (await line.ask(request(body)))[0] == 200
        assert (await line.ask(request(body, **headers)))[0] == status


async def test_what_is_allowed_to_a_page_says_so_each_time(tmp_path):
    async with api(tmp_path / "l", origins=("https://wallet.example",)) as node:
        line = await Line.open(node)
        for _ in range(3):
            line.writer.write(request(call(1, "limits"), Origin="https://wallet.example"))
            head = await line.reader.readuntil(b"\r\n\r\n")
            assert b"Access-Control-Allow-Origin: https://wallet.example\r\n" in head
            await line.reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r")[0]))
        line.writer.close()


@pytest.mark.parametrize("seed", range(6))
async def test_requests_cut_and_joined_anywhere_are_answered_in_order(line, seed):
    rng = Random(seed)
    bodies = []
    for number in range(60):
        kind = rng.choice(["limits", "status", "balance", "history"])
        params = {"address": ADDRESS} if kind in ("balance", "history") else {}
        bodies.append(call(number, kind, params))
    for first in range(0, 60, 10):
        sent = b"".join(map(request, bodies[first : first + 10]))
        while sent:
            size = rng.choice([1, 30, 150, 151, 200, 500, len(sent)])
            line.writer.write(sent[:size])
            sent = sent[size:]
            if rng.random() < 0.5:
                await asyncio.sleep(0)
        for number in range(first, first + 10):
            status, answer = await line.answer()
            assert status == 200 and answer["id"] == number and "result" in answer


async def test_a_body_behind_its_head_keeps_the_short_way_for_others(line):
    sent = request(call(1, "limits"))
    cuts = range(sent.index(b"{"), len(sent), 7)
    for cut in cuts:
        line.writer.write(sent[:cut])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        line.writer.write(sent[cut:])
        assert (await line.answer())[0] == 200
        assert (await line.ask(sent))[0] == 200
    assert line.by_library <= len(cuts)


async def test_a_connection_that_is_to_be_closed_is_closed(line):
    sent = request(call(1, "limits"), Connection="close")
    assert (await line.ask(sent))[0] == 200
    assert await line.reader.read() == b""


async def test_other_paths_and_web_sockets_share_the_port(line):
    for _ in range(2):
        assert (await line.ask(request(call(1, "limits"))))[0] == 200
    status, told = await line.ask(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert status == 200 and told["is_alive"]
    for _ in range(2):
        assert (await line.ask(request(call(1, "limits"))))[0] == 200
    hello = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    line.writer.write(hello + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + b"A" * 22 + b"==\r\n\r\n")
    assert (await line.reader.readuntil(b"\r\n\r\n")).split()[1] == b"101"


@pytest.mark.parametrize(("size", "is_short"), [(-1, True), (0, True), (1, False)])
async def test_a_long_head_is_the_library_s(line, size, is_short):
    body = call(1, "limits")
    bare = len(request(body, X=""))
    sent = request(body, X="x" * (HEAD_BYTES_MAX + size + len(body) - bare))
    for _ in range(3):
        assert (await line.ask(sent))[0] == 200
    assert line.by_library == (1 if is_short else 3)


async def test_so_many_heads_are_remembered_and_more_are_answered_too(line):
    bodies = [call("x" * size, "limits") for size in range(HEADS_MAX + 1)]
    for count, by_library in ((HEADS_MAX, HEADS_MAX), (HEADS_MAX, 0), (HEADS_MAX + 1, 1)):
        before = line.by_library
        for body in bodies[:count]:
            assert (await line.ask(request(body)))[1]["id"] == json.loads(body)["id"]
        assert line.by_library == before + by_library
        (library,) = line.node.server._gate._server.connections
        assert 1 <= len(library.transport.get_protocol()._lengths) <= HEADS_MAX


async def test_a_node_that_has_stopped_says_so_by_both_ways(line, monkeypatch):
    ask = request(call(1, **BALANCE))
    assert "result" in (await line.ask(ask))[1]
    host = type(line.node.server.backend.running.host)
    with monkeypatch.context() as patched:
        patched.setattr(host, "failure", ValueError("x"))
        assert (await line.ask(ask))[1]["error"]["data"]["code"] == "stopped"
        assert line.by_library == 1


@pytest.mark.parametrize("room", [0, 1])
async def test_calls_in_work_are_bounded_on_the_short_way_too(tmp_path, room):
    async with api(tmp_path / "l", replace(RpcLimits(), calls_open=3)) as node:
        line = await Line.open(node)
        assert "result" in (await line.ask(request(call(1, "limits"))))[1]
        node.server.calls.open = 3 - room
        assert (node.server.calls.simple(call(1, "limits").encode()) is not None) == bool(room)
        answer = (await line.ask(request(call(1, "limits"))))[1]
        assert ("result" in answer) == bool(room)
        node.server.calls.open = 0
        line.writer.close()


async def test_a_late_loop_turns_reads_away_on_the_short_way_too(line, monkeypatch):
    asks = [request(call(1, **BALANCE)), request(call(1, "limits"))]
    for _ in range(2):
        assert all(["result" in (await line.ask(ask))[1] for ask in asks])
    monkeypatch.setattr(type(line.node.server.backend.lag), "lag_ms", 1001)
    answers = [(await line.ask(ask))[1] for ask in asks]
    assert answers[0]["error"]["data"]["code"] == "lag" and "result" in answers[1]


async def test_a_bug_on_the_short_way_closes_the_connection(line, monkeypatch):
    ask = request(call(1, "limits"))
    await line.ask(ask)
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    monkeypatch.setattr(line.node.server.calls, "answer_now", lambda _: 1 // 0)
    line.writer.write(ask)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await line.answer()
    assert [type(one) for one in told] == [ZeroDivisionError]


def test_all_of_it_holds_on_the_loop_of_a_node(tmp_path):
    """uvloop's sockets are of classes of their own."""

    async def use() -> None:
        async with api(tmp_path / "l", replace(RpcLimits(), connections=1)) as node:
            line = await Line.open(node)
            for number in range(5):
                assert (await line.ask(request(call(number, **BALANCE))))[1]["id"] == number
            assert line.by_library == 1
            refused = await Line.open(node)
            assert (await refused.reader.readline()).split()[1] == b"503"
            refused.writer.close()
            line.writer.write(request(call(5, **BALANCE)) + request(call(6, **BALANCE)))
            assert [(await line.answer())[1]["id"] for _ in range(2)] == [5, 6]
            for number in range(7, 10):
                assert (await line.ask(request(call(number, **BALANCE))))[1]["id"] == number
            assert (await line.ask(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"))[0] == 200
            line.writer.close()

    uvloop.run(use())


# Between the socket and the library


class Library:
    """Notes what it is given, in place of the library's protocol."""

    def __init__(self):
        self.got = []

    def __getattr__(self, name):
        return lambda *words: self.got.append((name, *words))


class Stub:
    """A socket, a table of one read, and a request as the library tells of it."""

    def __init__(self, reads, ask):
        self.written, self.now_s, self.open = [], 0.0, 0
        self.library, self.ask = Library(), ask
        self.protocol = self.path = FastPath(self.library, self, reads, idle_s=LIBRARY_SHARE)
        self.path._loop = self
        self.headers, self.keep_alive = {}, True
        self.content_length = len(ask) - ask.find(b"\r\n\r\n") - 4
        self.transport = self
        self.write = self.written.append
        self.path.connection_made(self)
        self.path.data_received(ask)
        FastPath.answered(self)
        self.library.got.clear()

    def time(self):
        return self.now_s

    def get_protocol(self):
        return self.protocol

    def set_protocol(self, protocol):
        self.protocol = protocol

    def simple(self, body):
        return body

    def is_read(self, _):
        return True

    def answer_now(self, body):
        return body


class Reads:
    """Gives the places that a test put here."""

    def __init__(self, *places):
        self.places = list(places)

    def take(self):
        return self.places.pop(0) if self.places else None


ASK = request(call(1))


async def test_a_read_without_room_is_answered_when_there_is() -> None:
    place = asyncio.get_running_loop().create_future()
    stub = Stub(Reads(place), ASK)
    stub.path.data_received(ASK)
    assert not stub.written and not stub.library.got and stub.open == 1
    place.set_result(None)
    await asyncio.sleep(0)
    assert len(stub.written) == 1 and not stub.library.got and stub.open == 0


async def test_what_comes_while_a_read_waits_goes_behind_it_to_the_library() -> None:
    place = asyncio.get_running_loop().create_future()
    stub = Stub(Reads(place), ASK)
    stub.path.data_received(ASK)
    stub.path.data_received(ASK[:10])
    assert stub.library.got == [("data_received", ASK + ASK[:10])] and place.cancelled() and stub.open == 0
    await asyncio.sleep(0)
    stub.path.data_received(ASK[10:])
    assert stub.library.got[1:] == [("data_received", ASK[10:])] and not stub.written


async def test_a_client_that_goes_gives_its_place_back() -> None:
    place = asyncio.get_running_loop().create_future()
    stub = Stub(Reads(place), ASK)
    stub.path.data_received(ASK)
    stub.path.connection_lost(None)
    await asyncio.sleep(0)
    assert place.cancelled() and stub.open == 0 and not stub.written


async def test_a_bug_in_a_read_that_waited_closes_the_connection_too() -> None:
    place = asyncio.get_running_loop().create_future()
    stub = Stub(Reads(place), ASK)
    stub.path.data_received(ASK)
    aborted, told = [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    stub.abort, stub.answer_now = (lambda: aborted.append(1)), (lambda _: 1 // 0)
    place.set_result(None)
    await asyncio.sleep(0)
    assert aborted and [type(one) for one in told] == [ZeroDivisionError]


@pytest.mark.parametrize("start", [b"GET /livez", b"POST /submit", b"POST /?x=1", b"post /"])
async def test_what_is_no_call_is_the_library_s_for_good(start) -> None:
    stub = Stub(Reads(), ASK)
    other = ASK.replace(b"POST /", start)
    stub.path.data_received(other)
    assert stub.protocol is stub.library and stub.library.got == [("data_received", other)]


async def test_nothing_overtakes_what_the_library_has_not_answered() -> None:
    stub = Stub(Reads(), ASK)
    other = ASK.replace(b"localhost", b"127.0.0.1")
    stub.path.data_received(other)
    stub.path.data_received(ASK)
    assert [got[1] for got in stub.library.got] == [other, ASK] and not stub.written


async def test_who_sends_ahead_is_the_library_s_for_good() -> None:
    stub = Stub(Reads(), ASK)
    other = ASK.replace(b"localhost", b"127.0.0.1")
    stub.path.data_received(other)
    stub.path.data_received(ASK)
    FastPath.answered(stub)
    assert stub.protocol is stub.library


@pytest.mark.parametrize(("now_s", "is_short"), [(0.99, True), (1.0, False), (1.01, False)])
async def test_the_library_gets_one_to_see_before_it_thinks_that_nobody_is_there(now_s, is_short) -> None:
    stub = Stub(Reads(), ASK)
    stub.now_s = now_s
    stub.path.data_received(ASK)
    assert bool(stub.written) == is_short
    if not is_short:
        FastPath.answered(stub)
        stub.path.data_received(ASK)
        assert len(stub.written) == 1


async def test_a_client_that_does_not_read_waits_in_the_library() -> None:
    stub = Stub(Reads(), ASK)
    stub.path.pause_writing()
    stub.path.data_received(ASK)
    assert not stub.written and stub.library.got[-1] == ("data_received", ASK)
    FastPath.answered(stub)
    stub.path.resume_writing()
    stub.path.data_received(ASK)
    assert len(stub.written) == 1


@pytest.mark.parametrize(
    "header", ["Origin", "Expect", "Upgrade", "Transfer-Encoding", "Content-Encoding", None]
)
async def test_an_unusual_head_is_not_remembered(header) -> None:
    stub = Stub(Reads(), ASK)
    other = ASK.replace(b"localhost", b"127.0.0.1")
    if header is None:
        stub.keep_alive = False
    else:
        stub.headers[header] = "x"
    for _ in range(2):
        stub.path.data_received(other)
        FastPath.answered(stub)
    assert not stub.written and stub.path._is_clear
