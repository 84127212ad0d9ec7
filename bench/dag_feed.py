"""`bench.py dag_feed`: what telling of the DAG costs a node, by how many follow it.

A solo ledger serves its API in this process, and its feed is handed vertices of a made-up committee at a
steady rate, with a commit over them ten times a second. Followers over WebSockets are in another process.
The share of a core that this process takes, less what it takes while the feed is told of nothing, is the
feed's. us: of handing the feed one vertex while nobody follows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import uvloop

from cherrydag.commit import Commit
from cherrydag.ledger import AsyncLedger
from cherrydag.primitives import Digest, Epoch, Round, TimestampMs, ValidatorIndex
from cherrydag.refs import VertexRef
from cherrydag.rpc.limits import RpcLimits
from cherrydag.rpc.server import RpcOptions, RpcServer
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.storage.values import StoreOptions
from cherrydag.vertex import ValidatorVertex

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

    from cherrydag.rpc.dag_feed import DagFeed

FOLLOWERS: Final = (0, 1, 10)
_STEP_S: Final = 0.02
_COMMIT_STEPS: Final = 5
_SETTLE_S: Final = 2.0
_MADE: Final = 4096
_TIMED: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A line of --json. value: percent of a core, or us; mib_s: what each follower got."""

    name: str
    value: float
    unit: str
    mib_s: float
    vertices_s: int
    parents: int
    n: int


def main(arguments: Sequence[str]) -> int:
    """Measure."""
    parser = argparse.ArgumentParser(
        prog="bench.py dag_feed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vertices", type=int, default=500, help="a second")
    parser.add_argument("--parents", type=int, default=10, help="of each")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        figures = uvloop.run(_measure(Path(folder) / "ledger", options))
    for one in figures:
        if options.json:
            print(json.dumps({name: getattr(one, name) for name in Figure.__slots__}))
        else:
            print(f"{one.name:28} {one.value:8.2f} {one.unit:12} {one.mib_s:6.2f} MiB/s each  n={one.n}")
    return 0


async def _measure(folder: Path, options: argparse.Namespace) -> list[Figure]:
    store = StoreOptions(map_bytes=1 << 30, preflight=False)
    async with await AsyncLedger.open(folder, options=LedgerOptions(store=store, verify_threads=1)) as ledger:
        limits = RpcLimits(queue_bytes=64 << 20)
        server = RpcServer(ledger._running, options=RpcOptions(limits=limits))
        await server.start()
        feed = server.hub.dag.feed
        # Authors of the made-up committee.
        feed._members = feed._members * options.parents
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        reader = multiprocessing.get_context("spawn").Process(
            target=_follow_all, args=(theirs, f"http://127.0.0.1:{server.port}"), daemon=True
        )
        reader.start()
        try:
            figures = [_of_one(feed, options)]
            return figures + await _of_followers(feed, ours, options)
        finally:
            ours.send(None)
            reader.join()
            await server.close()


def _of_one(feed: DagFeed, options: argparse.Namespace) -> Figure:
    vertices = _vertices(_MADE, options.parents)
    turns = []
    for _ in range(_TIMED):
        began_s = time.process_time()
        for vertex in vertices:
            feed.on_accepted((vertex,))
        turns.append(1e6 * (time.process_time() - began_s) / len(vertices))
    return Figure(
        name="rpc.dag_feed/accepted",
        value=round(statistics.median(turns), 3),
        unit="us/vertex",
        mib_s=0.0,
        vertices_s=options.vertices,
        parents=options.parents,
        n=_TIMED * len(vertices),
    )


async def _of_followers(feed: DagFeed, link: Connection, options: argparse.Namespace) -> list[Figure]:
    """In turns, so that what else the machine does falls on all alike."""
    shares: dict[int, list[float]] = {count: [] for count in FOLLOWERS}
    bytes_s: dict[int, list[float]] = {count: [] for count in FOLLOWERS}
    for _ in range(options.turns):
        idle, _ = await _turn(None, link, 0, options)
        for count in FOLLOWERS:
            share, got = await _turn(feed, link, count, options)
            shares[count].append(share - idle)
            bytes_s[count].append(got / max(1, count))
    return [
        Figure(
            name=f"rpc.dag_feed/followers={count}",
            value=round(100 * statistics.median(shares[count]), 3),
            unit="% of a core",
            mib_s=round(statistics.median(bytes_s[count]) / (1 << 20), 3),
            vertices_s=options.vertices,
            parents=options.parents,
            n=options.turns,
        )
        for count in FOLLOWERS
    ]


async def _turn(
    feed: DagFeed | None, link: Connection, followers: int, options: argparse.Namespace
) -> tuple[float, float]:
    """The share of a core of this process, and the bytes a second that all followers got together."""
    link.send(followers)
    while not link.poll():
        await asyncio.sleep(_STEP_S)
    link.recv()
    vertices = _vertices(_MADE, options.parents)
    await _drive(feed, vertices, options.vertices, _SETTLE_S)
    link.send("count")
    began_s, cpu_s = time.perf_counter(), time.process_time()
    await _drive(feed, vertices, options.vertices, options.seconds)
    share = (time.process_time() - cpu_s) / (time.perf_counter() - began_s)
    link.send("counted")
    while not link.poll():
        await asyncio.sleep(_STEP_S)
    return share, link.recv() / options.seconds


async def _drive(feed: DagFeed | None, vertices: list[ValidatorVertex], rate: int, seconds: float) -> None:
    """Tell the feed of this many vertices a second, of none if it is None."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    told = fresh = step = 0
    while (passed_s := loop.time() - began_s) < seconds:
        due = int(passed_s * rate)
        new = [vertices[number % len(vertices)] for number in range(told, due)]
        told, fresh, step = due, fresh + len(new), step + 1
        if feed is not None:
            for vertex in new:
                feed.on_accepted((vertex,))
            if step % _COMMIT_STEPS == 0 and fresh:
                feed.on_final(_executed(step, vertices[told - fresh : told] or vertices[:1]))
                fresh = 0
        await asyncio.sleep(_STEP_S)


def _executed(index: int, vertices: list[ValidatorVertex]) -> Any:
    refs = tuple(vertex.ref for vertex in vertices)
    commit = Commit(Epoch(0), index, Digest(bytes(32)), TimestampMs(1_800_000_000_000), refs)
    statuses = [b"\1" * 10] * len(refs)
    return SimpleNamespace(sub_dag=SimpleNamespace(commit=commit), result=SimpleNamespace(statuses=statuses))


def _vertices(count: int, parents: int) -> list[ValidatorVertex]:
    made: list[ValidatorVertex] = []
    below = [VertexRef(Round(0), ValidatorIndex(author), Digest(bytes(32))) for author in range(parents)]
    for number in range(1, -(-count // parents) + 1):
        level = [
            ValidatorVertex(
                Epoch(0),
                Round(number),
                ValidatorIndex(author),
                TimestampMs(1_800_000_000_000 + number),
                tuple(below),
            )
            for author in range(parents)
        ]
        made += level
        below = [vertex.ref for vertex in level]
    return made[:count]


# The other process


def _follow_all(link: Connection, url: str) -> None:
    uvloop.run(_followers(link, url))


async def _followers(link: Connection, url: str) -> None:
    """As many as the other side says; how many bytes they got between "count" and "counted"."""
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as http:
        tasks: list[asyncio.Task[None]] = []
        got = [0]
        while (told := await loop.run_in_executor(None, link.recv)) is not None:
            if told == "count":
                got[0] = 0
            elif told == "counted":
                link.send(got[0])
            else:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                begun = [loop.create_future() for _ in range(told)]
                tasks = [loop.create_task(_one(http, url, one, got)) for one in begun]
                await asyncio.gather(*begun)
                link.send("ready")
        for task in tasks:
            task.cancel()


async def _one(http: aiohttp.ClientSession, url: str, begun: asyncio.Future[None], got: list[int]) -> None:
    async with http.ws_connect(f"{url}/ws", max_msg_size=0) as socket:
        await socket.send_str('{"jsonrpc":"2.0","id":1,"method":"subscribe_dag","params":{"after":0}}')
        async for message in socket:
            if not begun.done():
                begun.set_result(None)
            got[0] += len(message.data)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
