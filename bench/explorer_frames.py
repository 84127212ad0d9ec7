"""How smoothly the explorer draws: frame times in headless Chromium under a made-up feed.

    .venv/bin/python bench/explorer_frames.py --vertices-per-s 500

One JSON line: frames a second, frame times p50, p95 and p99 in milliseconds, the first paint, the page's
weight, and what the page says that it leaves out. The feed is as the API tells it, an event every 100 ms.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import deque
from hashlib import blake2b
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from chromium import CHROMIUM, FLAGS

STATIC = Path(__file__).parents[1] / "engine" / "cherrydag" / "explorer" / "static"
EVENT_S = 0.1
COMMIT_ROUNDS = 3  # a leader is committed so many rounds behind the head
OPERATOR_PARENTS = 4
FRAMES = """ms => new Promise(resolve => {
  const times = []; let last = performance.now(); const end = last + ms;
  const tick = now => {
    times.push(now - last);
    last = now;
    now < end ? requestAnimationFrame(tick) : resolve(times);
  };
  requestAnimationFrame(tick);
})"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"


class MadeUpDag:
    """Rounds of validators, each with all of the round before as parents, and operators between them."""

    def __init__(self, validators: int, operators: int, vertices_per_s: int) -> None:
        self.validators = validators
        self.operators = operators
        self.rounds_per_event = vertices_per_s * EVENT_S / (validators + operators)
        self.round = 0
        self._due = 0.0
        self._before: list[str] = []
        self._last = [""] * operators
        self._open: deque[list[str]] = deque()
        self._commits = 0

    def event(self, now_ms: int) -> dict[str, Any]:
        """What the next 100 ms bring."""
        self._due += self.rounds_per_event
        vertices: list[dict[str, Any]] = []
        commits: list[dict[str, Any]] = []
        while self._due >= 1:
            self._due -= 1
            self._grow(now_ms, vertices, commits)
        return {"is_gap": False, "round": self.round, "gc_round": 0, "vertices": vertices, "commits": commits}

    def _grow(self, now_ms: int, vertices: list[dict[str, Any]], commits: list[dict[str, Any]]) -> None:
        self.round += 1
        made = [_name(self.round, author) for author in range(self.validators)]
        tips = [tip for tip in self._last if tip]
        for author, name in enumerate(made):
            own_tips = tips[author :: self.validators]
            vertices.append(self._vertex(name, author, None, [*self._before, *own_tips], now_ms))
        operators = [_name(self.round, 1000 + number) for number in range(self.operators)]
        for number, name in enumerate(operators):
            parents = [tip for tip in [self._last[number]] if tip] + made[:OPERATOR_PARENTS]
            vertices.append(self._vertex(name, None, number, parents, now_ms))
        self._last, self._before = operators, made
        self._open.append([*operators, *made])
        if len(self._open) > COMMIT_ROUNDS:
            ordered = self._open.popleft()
            self._commits += 1
            leader = ordered[self.operators + self._commits * 7 % self.validators]
            commits.append(
                {
                    "commit_index": self._commits,
                    "time_ms": now_ms,
                    "leader": leader,
                    "vertices": ordered,
                    "transactions": len(ordered) * 10,
                }
            )

    def _vertex(
        self, name: str, author: int | None, number: int | None, parents: list[str], now_ms: int
    ) -> dict[str, Any]:
        issuer = blake2b(f"{author} {number}".encode(), digest_size=32).hexdigest()
        kind = "validator" if number is None else "operator"
        return {
            "name": name,
            "kind": kind,
            "author": author,
            "issuer": issuer,
            "round": self.round,
            "time_ms": now_ms,
            "transactions": 10,
            "bytes": 2000,
            "parents": parents,
        }


def _name(round_: int, lane: int) -> str:
    return blake2b(f"{round_} {lane}".encode(), digest_size=8).hexdigest()


def _answer(method: str, dag: MadeUpDag) -> Any:
    validators = [
        {"name": f"v{index}", "public_key": "00" * 32, "stake": "1"} for index in range(dag.validators)
    ]
    answers: dict[str, Any] = {
        "ledger_info": {
            "name": "made up",
            "genesis_digest": "00" * 32,
            "supply": "0",
            "validators": validators,
            "version": "0",
        },
        "status": {
            "commit_index": 0,
            "round": dag.round,
            "checkpoint_index": 0,
            "validator": 0,
            "is_ready": True,
            "reasons": [],
            "version": "0",
        },
        "subscribe_dag": {"subscription": 1, "cursor": 0},
    }
    return answers.get(method, {"subscription": 2, "commit_index": 0})


async def _socket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    dag: MadeUpDag = request.app["dag"]()
    feeds: list[asyncio.Task[None]] = []
    try:
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            call = json.loads(message.data)
            answer = {"jsonrpc": "2.0", "id": call["id"], "result": _answer(call["method"], dag)}
            await socket.send_json(answer)
            if call["method"] == "subscribe_dag":
                feeds.append(asyncio.create_task(_feed(socket, dag)))
    finally:
        for feed in feeds:
            feed.cancel()
    return socket


async def _feed(socket: web.WebSocketResponse, dag: MadeUpDag) -> None:
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    cursor = 0
    while True:
        cursor += 1
        now_ms = int(time.time() * 1000)
        params = {"subscription": 1, "cursor": cursor, "result": dag.event(now_ms)}
        await socket.send_json({"jsonrpc": "2.0", "method": "subscription", "params": params})
        await asyncio.sleep(max(0.0, started_s + cursor * EVENT_S - loop.time()))


async def _index(_: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "index.html")


async def _serve(options: argparse.Namespace) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app["dag"] = lambda: MadeUpDag(options.validators, options.operators, options.vertices_per_s)
    app.add_routes([web.get("/", _index), web.get("/ws", _socket), web.static("/explorer", STATIC)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    return runner, f"http://{host}:{port}/"


async def _measure(options: argparse.Namespace) -> dict[str, Any]:
    from playwright.async_api import async_playwright

    runner, url = await _serve(options)
    try:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=options.browser, args=FLAGS)
            page = await browser.new_page(viewport={"width": 1360, "height": 900})
            await page.goto(url)
            await page.wait_for_timeout(options.warm_s * 1000)
            times = sorted(await page.evaluate(FRAMES, options.seconds * 1000))
            words = await page.inner_text(".thinned")
            paint = await page.evaluate(PAINT)
            if options.screenshot:
                await page.screenshot(path=options.screenshot)
            await browser.close()
    finally:
        await runner.cleanup()
    return {
        "name": f"explorer.frames/vertices={options.vertices_per_s}",
        "value": round(len(times) / options.seconds, 1),
        "unit": "frames/s",
        **{f"p{part}": round(times[len(times) * part // 100], 1) for part in (50, 95, 99)},
        "n": len(times),
        "first_paint_ms": None if paint is None else round(paint),
        "page_bytes": sum(file.stat().st_size for file in STATIC.rglob("*") if file.is_file()),
        "says": words,
    }


def main() -> int:
    """Measure, and print the line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vertices-per-s", type=int, default=500)
    parser.add_argument("--validators", type=int, default=16)
    parser.add_argument("--operators", type=int, default=9)
    parser.add_argument("--warm-s", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--screenshot", default="")
    parser.add_argument("--browser", default=CHROMIUM)
    print(json.dumps(asyncio.run(_measure(parser.parse_args()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
