"""Open tabs of the explorer, as a node meets them: what the page subscribes to and asks, read and dropped."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from multiprocessing import get_context
from typing import TYPE_CHECKING, Final, Self

import aiohttp
import uvloop

from cherrydag.errors import ConfigError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

TABS_MAX: Final = 64

_POLL_S: Final = 2.0
_OPEN_TIMEOUT_S: Final = 30.0


class Tabs:
    """So many tabs at the explorer of the node at "http://host:port", in a process of their own; `with`
    closes them. ConfigError for more than TABS_MAX. ConnectionError if one does not open."""

    def __init__(self, url: str, tabs: int) -> None:
        if not 1 <= tabs <= TABS_MAX:
            raise ConfigError(f"tabs: expected 1 to {TABS_MAX}, got {tabs}")
        context = get_context("spawn")
        self._link, theirs = context.Pipe()
        self._process = context.Process(target=_main, args=(theirs, url, tabs), daemon=True)
        self._process.start()
        theirs.close()
        try:
            told = self._link.recv() if self._link.poll(_OPEN_TIMEOUT_S) else "no answer"
        except EOFError:
            told = "their process has ended"
        if told is not None:
            self._end()
            raise ConnectionError(f"{url}: {tabs} tabs do not open: {told}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """Of their process."""
        return self._process.pid or 0

    def failures(self) -> list[str]:
        """What went wrong with them so far, one line for each tab that was closed by the node."""
        try:
            self._link.send("tell")
            told: list[str] = self._link.recv() if self._link.poll(_OPEN_TIMEOUT_S) else ["no answer"]
        except (EOFError, OSError):
            told = ["their process has ended"]
        return [f"tabs: {one}" for one in told]

    def _end(self) -> None:
        self._process.terminate()
        self._process.join()
        self._link.close()


def _main(link: Connection, url: str, tabs: int) -> None:
    uvloop.run(_follow(link, url, tabs))


async def _follow(link: Connection, url: str, tabs: int) -> None:
    loop = asyncio.get_running_loop()
    lost: list[str] = []
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        try:
            opened = [await http.ws_connect(f"{url}/ws", max_msg_size=0) for _ in range(tabs)]
        except (aiohttp.ClientError, OSError) as error:
            link.send(str(error))
            return
        for number, socket in enumerate(opened):
            group.create_task(_tab(number, socket, lost))
        link.send(None)
        while True:
            await loop.run_in_executor(None, link.recv)
            link.send(lost)


async def _tab(number: int, socket: aiohttp.ClientWebSocketResponse, lost: list[str]) -> None:
    """What explorer/src/session.ts does; answers are not looked at."""
    ids = count(1)

    async def call(method: str, **params: object) -> None:
        request = {"jsonrpc": "2.0", "id": next(ids), "method": method, "params": params}
        await socket.send_str(json.dumps(request))

    async def ask() -> None:
        while True:
            await call("status")
            await asyncio.sleep(_POLL_S)

    await call("ledger_info")
    await call("subscribe_dag")
    asking = asyncio.create_task(ask())
    async for _ in socket:
        pass
    asking.cancel()
    lost.append(f"tab {number} was closed by the node: code {socket.close_code}")
