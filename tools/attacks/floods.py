"""Attacks on sockets, handshakes and frames."""

import asyncio
import random
import socket
import ssl
import struct
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from attacks.attack import Attack, Facts, Outcome, Verdict, both
from attacks.peer import GONE, Peer, frame, stranger_key
from attacks.site import (
    Network,
    Site,
    command,
    fetch,
    stop,
    stranger_address,
    wait_until_answered,
)
from cherrydag.bench.ports import free_ports
from cherrydag.config import FILES_OWN
from cherrydag.errors import PeerFault
from cherrydag.gossip.message_codec import FRAME_HEAD, MessageKind, body_bytes_max
from cherrydag.net.certificates import tls_context
from cherrydag.net.control import BYTES_MAX
from cherrydag.primitives import TimestampMs
from cherrydag.runtime.home import create_solo

DROP_S = 20.0
"""How long a node may take to drop what is too large; most take a millisecond."""

_RATE = 2000
_OPEN_MAX = 4000
_FILES = FILES_OWN + 2
"""What a node of one validator asks for at least before it starts."""

_RESET = struct.pack("ii", 1, 0)


async def handshake_flood(site: Site, seconds: float) -> Facts:
    """2,000 connections a second from 40,000 networks: a third says nothing, a third says nonsense, a third
    begins TLS and leaves the costly part to the node."""
    first_words = client_hello()
    chance = random.Random(1)
    open_ones: list[tuple[float, socket.socket]] = []
    tried = failed = 0
    started_s = time.monotonic()
    while (now_s := time.monotonic()) < started_s + seconds:
        while open_ones and (open_ones[0][0] < now_s - 1 or len(open_ones) > _OPEN_MAX):
            _cut(open_ones.pop(0)[1])
        for _ in range(min(200, int((now_s - started_s) * _RATE) - tried)):
            tried += 1
            made = socket.socket()
            made.setblocking(False)
            try:
                made.bind((stranger_address(chance.randrange(40_000)), 0))
                made.connect_ex(("127.0.0.1", site.peer_ports[0]))
                open_ones.append((now_s, made))
            except OSError:
                failed += 1
                made.close()
        for _, made in open_ones[-200:]:
            kind = made.fileno() % 3
            if kind:
                with suppress(OSError):
                    made.send(first_words if kind == 1 else b"GET / HTTP/1.1\r\n\r\n")
        await asyncio.sleep(0.005)
    spent_s = time.monotonic() - started_s
    for _, made in open_ones:
        _cut(made)
    return {"tried": tried, "failed": failed, "rate": round(tried / spent_s)}


def client_hello() -> bytes:
    """What a TLS client says first."""
    context = tls_context(stranger_key(1), server=False)
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


def _cut(made: socket.socket) -> None:
    with suppress(OSError):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    made.close()


async def slow_peers(site: Site, seconds: float) -> Facts:
    """500 peers that send the largest frame a byte at a time, and 500 that ask for much and read nothing."""
    met: dict[str, int] = {"senders": 0, "readers": 0, "refused": 0}
    until_s = time.monotonic() + seconds

    async def one(number: int) -> None:
        is_sender = number % 2 == 0
        try:
            peer = await Peer.greet(site, stranger_key(number), number)
        except GONE:
            met["refused"] += 1
            return
        met["senders" if is_sender else "readers"] += 1
        try:
            if is_sender:
                await peer.send(frame(MessageKind.PUSH, b"\x01", body_bytes_max(MessageKind.PUSH)))
                while time.monotonic() < until_s and not peer.is_closing:
                    await peer.send(b"\x00")
                    await asyncio.sleep(0.5)
            else:
                peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
                ask = frame(MessageKind.GET_COMMITS, struct.pack("<QQQ", 1, 1, 100))
                while time.monotonic() < until_s and not peer.is_closing:
                    await peer.send(ask * 20)
                    await asyncio.sleep(0.2)
        except GONE:
            pass
        finally:
            peer.abort()

    pending: set[asyncio.Task[None]] = set()
    number = 0
    while time.monotonic() < until_s:
        if len(pending) < 1000:
            number += 1
            pending.add(asyncio.create_task(one(number)))
        pending = {task for task in pending if not task.done()}
        await asyncio.sleep(0.01)
    await asyncio.gather(*pending)
    return met | {"tried": number}


async def oversize(site: Site, seconds: float) -> Facts:
    """Heads of every kind that announce lengths over 0 .. 2^32 - 1, some bytes of the body behind them."""
    chance = random.Random(2)
    facts = {"cases": 0, "too_large": 0, "dropped": 0, "kept": 0, "unmet": 0}
    kinds = [*map(int, MessageKind), *map(int, BYTES_MAX), 0, 5, 15, 23, 255]
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        facts["cases"] += 1
        try:
            peer = await Peer.greet(site, stranger_key(5000 + facts["cases"]), 5000 + facts["cases"])
        except GONE:
            facts["unmet"] += 1
            continue
        kind = chance.choice(kinds)
        size = min(2**32 - 1, int(2 ** chance.uniform(0, 32.01)))
        is_large = size > _limit(kind)
        facts["too_large"] += is_large
        with suppress(*GONE):
            await peer.send(FRAME_HEAD.pack(size, kind) + bytes(min(size, 4096)))
        dropped = False
        with suppress(*GONE, TimeoutError):
            async with asyncio.timeout(DROP_S if is_large else 0.02):
                while True:
                    await peer.frame()
        dropped = peer.is_closing or peer.goodbye is not None
        facts["dropped"] += is_large and dropped
        facts["kept"] += is_large and not dropped
        peer.abort()
    return facts


def _limit(kind: int) -> int:
    if kind in BYTES_MAX:
        return int(BYTES_MAX[kind])  # type: ignore[index]
    try:
        return body_bytes_max(kind)
    except PeerFault:
        return -1


async def few_files(network: Network, seconds: float) -> Facts:
    """A node with no more descriptors than it asks for, 300 connections to its API and 300 as of peers: then
    it must serve."""
    return await asyncio.to_thread(_few_files, network.folder / "few-files", seconds)


def _few_files(folder: Path, seconds: float) -> Facts:
    if not folder.exists():
        create_solo(folder, created_ms=TimestampMs(int(time.time() * 1000)))
    peers, api = free_ports(2)
    with folder.with_suffix(".log").open("ab") as log:
        limited = ["bash", "-c", f'ulimit -n {_FILES}; exec "$@"', "-", *command(folder, peers, api)]
        process = subprocess.Popen(limited, stdout=log, stderr=log)
    held: list[socket.socket] = []
    url = f"http://127.0.0.1:{api}/livez"
    facts: Facts = {"started": 0, "alive": 0, "served_after": 0, "failed": 0}
    try:
        try:
            wait_until_answered(url, process)
        except RuntimeError as error:
            return facts | {"failed": str(error)}
        facts["started"] = 1
        for number in range(600):
            made = socket.socket()
            made.settimeout(0.5)
            with suppress(OSError):
                made.bind((stranger_address(number), 0))
                made.connect(("127.0.0.1", api if number % 2 else peers))
                made.send(b"GET /livez HTTP/1.1\r\nHost: x")
            held.append(made)
        time.sleep(min(seconds, 5.0))
        facts["alive"] = int(process.poll() is None)
        for made in held:
            _cut(made)
        with suppress(RuntimeError):
            wait_until_answered(url, process, 20.0)
            facts["served_after"] = int(fetch(url)[0] == 200)
    finally:
        for made in held:
            made.close()
        stop([process])
    return facts | {"exit": process.returncode}


def _judge_oversize(outcome: Outcome) -> Verdict:
    facts = outcome.facts
    words = f"{facts['dropped']} of {facts['too_large']} too large ones dropped, {facts['unmet']} not met"
    return both(Verdict(words, facts["kept"] == 0 < facts["dropped"]), outcome.memory())


def _judge_slow(outcome: Outcome) -> Verdict:
    facts = outcome.facts
    words = f"{facts['senders']} + {facts['readers']} let in, {facts['refused']} refused"
    return both(Verdict(words, facts["senders"] > 0), outcome.memory(), outcome.finality())


def _judge_files(outcome: Outcome) -> Verdict:
    facts = outcome.facts
    good = facts["alive"] == facts["served_after"] == 1 and facts["exit"] == 0
    return Verdict(", ".join(f"{name} {value}" for name, value in facts.items()), good)


ATTACKS = (
    Attack(
        "handshake-flood",
        "2,000 conn/s: commit p99 <= 2x",
        lambda o: both(Verdict(f"{o.facts['rate']} conn/s", True), o.finality(), o.stall()),
        handshake_flood,
    ),
    Attack("slow-peers", "500 + 500: RSS + <= 64 MiB", _judge_slow, slow_peers),
    Attack("oversize", "length first; RSS + <= 64 MiB", _judge_oversize, oversize),
    Attack(
        "fd-exhaustion",
        f"ulimit -n {_FILES}, 600 connections: it serves afterwards",
        _judge_files,
        stage=few_files,
    ),
)
