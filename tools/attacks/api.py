"""Attacks on the API: what a client, or a web page in somebody's browser, may send."""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import aiohttp

from attacks.attack import Attack, Facts, Outcome, Verdict, both
from attacks.metrics import read_metrics
from attacks.site import HONEST, Network, Site

JSON: Final = {"Content-Type": "application/json"}
_MIB: Final = 1 << 20
_CLIENTS: Final = 64
_GONE: Final = (aiohttp.ClientError, TimeoutError, OSError)
_QUICK: Final = aiohttp.ClientTimeout(30)


def call(method: str, params: Any = None, number: object = 1) -> dict[str, Any]:
    """A request."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}


def bombs() -> dict[str, bytes]:
    """Bodies that are as dear to read as their size allows."""
    deep = b'{"jsonrpc":"2.0","id":1,"method":"status","params":%s}'
    return {
        "brackets": b"[" * (_MIB - 1),
        "braces": b'{"a":' * (_MIB // 5 - 1),
        "deep": deep % (b"[" * 31 + b"]" * 31),
        "too deep": deep % (b"[" * 100 + b"]" * 100),
        "brackets in strings": deep % (b'["' + b"[" * 500_000 + b'"]'),
        "quotes": b'"' * (_MIB - 1),
        "escapes": b'"' + b"\\" * (_MIB - 10) + b'"',
        "half escapes": deep % (b'["' + b"\\u00" * 250_000 + b'"]'),
        "commas": deep % (b"[" + b"1," * 32_000 + b"1]"),
        "keys": deep % json.dumps({str(i): 0 for i in range(16_000)}).encode(),
        "same keys": deep % (b"{" + b'"a":1,' * 10_000 + b'"a":1}'),
        "digits": deep % (b"[" + b"9" * (_MIB - 100) + b"]"),
        "exponent": deep % b"[1e99999999999]",
        "nan": deep % b"[NaN,Infinity,-Infinity]",
        "spaces": b" " * (_MIB - 2) + b"[]",
        "batch of nothing": b"[" + b"1," * 99 + b"1]",
        "batch": json.dumps([call("status")] * 100).encode(),
        "surrogates": deep % (b'["' + b"\\ud800" * 170_000 + b'"]'),
        "not utf-8": deep % (b'["' + b"\xff" * 500_000 + b'"]'),
        "long method": json.dumps(call("x" * 1_000_000)).encode(),
        "long id": json.dumps(call("status", number="x" * 1_000_000)).encode(),
    }


async def json_bombs(site: Site, seconds: float) -> Facts:
    """Each bomb over HTTP in turn, four clients at once, after each has been sent once over a WebSocket."""
    made, sent = bombs(), 0
    statuses: dict[str, int] = {}
    until_s = time.monotonic() + seconds
    async with aiohttp.ClientSession(timeout=_QUICK) as http:
        for body in made.values():
            if time.monotonic() > until_s - seconds / 2:
                break
            with suppress(*_GONE):
                async with http.ws_connect(site.api() + "/ws", max_msg_size=0) as socket:
                    await socket.send_bytes(body)
                    await socket.receive(timeout=5)
                async with http.ws_connect(site.api() + "/ws", max_msg_size=0) as socket:
                    await socket.send_str(body.decode("latin-1"))
                    await socket.receive(timeout=5)

        async def throw(turn: int) -> None:
            nonlocal sent
            for name in itertools.islice(itertools.cycle(made), turn, None):
                if time.monotonic() >= until_s and len(statuses) == len(made):
                    return
                with suppress(*_GONE):
                    async with http.post(site.api(), data=made[name], headers=JSON) as answer:
                        statuses[name] = answer.status
                        await answer.read()
                sent += 1

        await asyncio.gather(*[throw(5 * turn) for turn in range(4)])
    return {"sent": sent, "statuses": statuses, "unanswered": [name for name in made if name not in statuses]}


async def scans(site: Site, seconds: float) -> Facts:
    """The dearest reads that are allowed, by 64 clients at once."""
    counts: dict[str, int] = {"answers": 0, "refused": 0, "gone": 0, "bytes": 0}
    until_s = time.monotonic() + seconds
    dear = [
        call("commits", {"first": 1, "count": 1000}),
        call("commit", {"commit_index": 2, "count": 1000}),
        call("supply", {"asset": 1}),
        [call("commits", {"first": 1 + n, "count": 1000}) for n in range(100)],
        [call("genesis")] * 100,
        call("submission_status", {"ids": [f"{n:064x}" for n in range(1000)]}),
        call("submit", {"records": "00" * 176 * 1000}),
        call("rpc.discover"),
    ]

    async def ask(number: int) -> None:
        chance = random.Random(number)
        async with aiohttp.ClientSession(timeout=_QUICK) as http:
            while time.monotonic() < until_s:
                try:
                    body = json.dumps(chance.choice(dear))
                    async with http.post(site.api(), data=body, headers=JSON) as answer:
                        text = await answer.read()
                    counts["bytes"] += len(text)
                    counts["refused" if answer.status != 200 or b'"error"' in text[:200] else "answers"] += 1
                except _GONE:
                    counts["gone"] += 1

    await asyncio.gather(*[ask(number) for number in range(_CLIENTS)])
    return counts | {"mib_s": round(counts["bytes"] / _MIB / seconds, 1)}


def requests_of_pages() -> Iterator[tuple[bool, str, str, dict[str, str]]]:
    """(may pass, method, path, headers) of what a browser can be made to send."""
    own = ("127.0.0.1", "localhost", "127.0.0.1:{port}", "localhost:{port}")
    strange = (
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.",
        "",
        "127.0.0.1:{port}@evil.example",
        "[::",
    )
    origins = (
        "http://evil.example",
        "null",
        "http://127.0.0.1:1",
        "https://127.0.0.1:{port}",
        "*",
        "file://",
    )
    for host in (*own, *strange):
        for origin in (None, *origins):
            for method, path in (("POST", "/"), ("GET", "/livez"), ("POST", "/submit"), ("OPTIONS", "/")):
                headers = {"Host": host} | ({} if origin is None else {"Origin": origin})
                headers |= JSON if path == "/" else {"Content-Type": "application/octet-stream"}
                yield host in own and origin is None, method, path, headers
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json", ""):
        yield False, "POST", "/", {"Host": "127.0.0.1", "Content-Type": kind}


async def pages(site: Site, seconds: float) -> Facts:
    """Every Host with every Origin, and the content types that need no question first; WebSockets too."""
    port, wrong, tried = site.api_ports[0], [], 0
    body = json.dumps(call("status")).encode()
    for may_pass, method, path, headers in requests_of_pages():
        tried += 1
        told = {name: value.format(port=port) for name, value in headers.items()}
        status, shown = await _raw(
            port, method, path, told, body if method == "POST" and path == "/" else b""
        )
        passed = status in (200, 204) or (method == "OPTIONS" and status == 405)
        if passed != may_pass or "access-control-allow-origin" in shown:
            wrong.append([method, path, told, status])
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    for host, origin in (("127.0.0.1", "http://evil.example"), ("evil.example", None)):
        tried += 1
        headers = {"Host": host, "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="} | upgrade
        status, _ = await _raw(port, "GET", "/ws", headers | ({"Origin": origin} if origin else {}), b"")
        if status == 101:
            wrong.append(["GET", "/ws", host, origin])
    await asyncio.sleep(max(0.0, seconds - 5))
    return {"tried": tried, "wrong": wrong}


async def _raw(port: int, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
    """Status and head of one request, written by hand; 0 if it was cut."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    text = f"{method} {path} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    if "Connection" in headers:
        text = text.replace("Connection: close\r\n", "")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(text.encode() + body)
        async with asyncio.timeout(5):
            shown = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        return int(shown.split()[1]), shown.lower()
    except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError):
        return 0, ""
    finally:
        writer.transport.abort()


async def sockets(site: Site, seconds: float) -> Facts:
    """1,000 WebSockets with 16 subscriptions to all commits each, of which nobody reads a word."""
    facts = {"open": 0, "refused": 0, "held": 0}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=_QUICK) as http:
        held: list[aiohttp.ClientWebSocketResponse] = []

        async def one() -> None:
            try:
                async with asyncio.timeout(5):
                    socket = await http.ws_connect(site.api() + "/ws")
                for number in range(17):
                    await socket.send_str(json.dumps(call("subscribe_commits", {"after": 0}, number)))
            except _GONE:
                facts["refused"] += 1
                return
            facts["open"] += 1
            transport = socket._writer.transport
            if transport is not None:
                transport.pause_reading()
            held.append(socket)

        until_s = time.monotonic() + seconds
        for _ in range(40):
            if time.monotonic() < until_s:
                await asyncio.gather(*[one() for _ in range(25)])
        while time.monotonic() < until_s:
            await asyncio.sleep(0.2)
        facts["held"] = len(held)
        figures = read_metrics(site, "rpc_websockets", "rpc_subscriptions", "rpc_lagged", "rpc_connections")
        for socket in held:
            transport = socket._writer.transport
            if transport is not None:
                transport.abort()
    return facts | figures


FORGERY: Final = 'x\r\n2026-01-01 [error] forged\x1b[31m\u202e\u2028 {"level":"error","event":"forged"}\n'
"""What would be a line of the log, or colour it, or turn it round."""


async def log_injection(network: Network, seconds: float) -> Facts:
    """Line ends, escapes of terminals and bidirectional text wherever a client may write."""
    from attacks.peer import GONE, Peer, frame, stranger_key
    from cherrydag.net.control import ControlKind

    site, sent = network.site, 0
    until_s = time.monotonic() + seconds
    async with aiohttp.ClientSession(timeout=_QUICK) as http:
        while time.monotonic() < until_s:
            for made in (call(FORGERY), call("balance", {"address": FORGERY}), call("status", {FORGERY: 1})):
                with suppress(*_GONE):
                    async with http.post(site.api(), data=json.dumps(made), headers=JSON) as answer:
                        await answer.read()
            head = {"X-Records": "\x1b[31m", "User-Agent": "\x1b[31mforged"}
            with suppress(*_GONE, ValueError):
                async with http.get(f"{site.api()}/submissions/forged%0d%0a%1b[31m", headers=head) as answer:
                    await answer.read()
            await _raw(site.api_ports[0], "GET", "/\x1b[31mforged", {"Host": "\x1b[31mforged"}, b"")
            with suppress(*GONE):
                peer = await Peer.greet(site, stranger_key(40_000 + sent), 40_000 + sent)
                text = FORGERY.encode()[:180]
                await peer.send(frame(ControlKind.GOODBYE, b"\x08forged\r\n" + text))
                peer.abort()
            sent += 1
            await asyncio.sleep(0.05)
    raw = b"".join(network.log(node).read_bytes() for node in range(HONEST))
    found = [mark for mark in (b"\x1b", "\u202e".encode(), "\u2028".encode()) if mark in raw]
    forged = sum(
        line.lstrip().startswith((b"2026-01-01", b'{"level":"error","event":"forged'))
        for line in raw.splitlines()
    )
    return {"rounds": sent, "raw_escapes": len(found), "forged_lines": forged, "log_kib": len(raw) // 1024}


def _judge_sockets(outcome: Outcome) -> Verdict:
    facts = outcome.facts
    words = f"{facts['open']} opened, {facts['refused']} refused"
    return both(Verdict(words, is_good=True), outcome.memory(), outcome.stall(), outcome.finality())


def _judge_bombs(outcome: Outcome) -> Verdict:
    facts = outcome.facts
    words = f"{facts['sent']} sent, unanswered: {', '.join(facts['unanswered']) or 'none'}"
    return both(Verdict(words, not facts["unanswered"]), outcome.stall(), outcome.memory())


def _judge_scans(outcome: Outcome) -> Verdict:
    facts = outcome.facts
    words = f"{facts['answers']} answers, {facts['refused']} refused, {facts['gone']} gone"
    return both(Verdict(words, facts["gone"] == 0), outcome.finality(), outcome.memory())


ATTACKS = (
    Attack("json-bombs", "stall <= 50 ms", _judge_bombs, json_bombs),
    Attack("scans", "worst queries x 64 clients: consensus goes on", _judge_scans, scans),
    Attack(
        "pages",
        "Host/Origin matrix: nothing passes",
        lambda o: Verdict(f"{o.facts['tried']} tried, wrong: {o.facts['wrong']}", not o.facts["wrong"]),
        pages,
    ),
    Attack("websockets", "1,000 stalled: RSS + <= 64 MiB", _judge_sockets, sockets),
    Attack(
        "log-injection",
        "CR/LF/ANSI/bidi: no raw byte in the log",
        lambda o: Verdict(
            f"{o.facts['raw_escapes']} raw escapes, {o.facts['forged_lines']} forged lines",
            not o.facts["raw_escapes"] and not o.facts["forged_lines"],
        ),
        stage=log_injection,
    ),
)
