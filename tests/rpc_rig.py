"""A solo ledger with its API on a free port, and raw requests to it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from cherrydag.client import Client
from cherrydag.ledger import AsyncLedger, Ledger
from cherrydag.mempool import MempoolLimits
from cherrydag.rpc.limits import RpcLimits
from cherrydag.rpc.server import RpcOptions, RpcServer
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.signing import KeyPair, generate_keypair, sign_records
from cherrydag.storage.values import StoreOptions
from cherrydag.transaction import Records, build_transfers

OPTIONS = LedgerOptions(
    store=StoreOptions(map_bytes=1 << 30, preflight=False),
    mempool=MempoolLimits(transactions_max=1 << 13, body_bytes_max=1 << 20, recent_max=1 << 13),
    verify_threads=1,
)
ALICE, BOB, CAROL = (generate_keypair(bytes([i]) * 32) for i in (1, 2, 3))


class Api:
    """An open ledger, its server, and a session of HTTP to it."""

    def __init__(self, ledger: AsyncLedger, server: RpcServer, http: aiohttp.ClientSession) -> None:
        self.ledger = ledger
        self.server = server
        self.http = http

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    async def post(self, body: bytes | str, path: str = "/", **headers: str) -> tuple[int, Any]:
        """A raw POST of JSON; status and parsed answer, None if it is empty."""
        sent = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        async with self.http.post(self.url + path, data=body, headers=sent) as response:
            text = await response.read()
            return response.status, json.loads(text) if text else None

    async def get(self, path: str, **headers: str) -> tuple[int, Any]:
        async with self.http.get(self.url + path, headers=headers) as response:
            return response.status, json.loads(await response.read())

    async def call(self, method: str, *positional: Any, **named: Any) -> Any:
        """The result of a method; its error object raises. On a busy machine the node says to come again."""
        answer = await self.answer(method, *positional, **named)
        while answer.get("error", {}).get("data", {}).get("code") == "lag":
            await asyncio.sleep(answer["error"]["data"]["retry_after_ms"] / 1000)
            answer = await self.answer(method, *positional, **named)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    async def error(self, method: str, *positional: Any, **named: Any) -> tuple[int, str]:
        """Number and stable code of the error that a method gives."""
        error = (await self.answer(method, *positional, **named))["error"]
        return error["code"], error["data"]["code"]

    async def answer(self, method: str, *positional: Any, **named: Any) -> Any:
        params = list(positional) or named
        status, answer = await self.post(
            json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
        )
        assert status == 200 and answer["id"] == 7
        return answer

    def transfers(self, key: KeyPair, to: bytes, count: int, first: int = 0, **fields: Any) -> Records:
        records = build_transfers(
            senders=key.public_key,
            recipients=to,
            amounts=1,
            nonces=np.arange(first, first + count).astype(np.uint64),
            **fields,
        )
        sign_records(records, self.ledger.transaction_key, [key], np.zeros(count, int))
        return records


@contextmanager
def served(ledger: Ledger) -> Iterator[Client]:
    """A blocking ledger's API, and a blocking client of it."""

    async def serve() -> RpcServer:
        server = RpcServer(ledger._ledger._running, options=RpcOptions())
        await server.start()
        return server

    server = ledger._thread.run(serve())
    try:
        with Client(f"http://127.0.0.1:{server.port}") as client:
            yield client
    finally:
        ledger._thread.run(server.close())


@asynccontextmanager
async def api(folder: Path, limits: RpcLimits | None = None, **options: Any) -> AsyncIterator[Api]:
    """Everything, opened and closed again."""
    async with await AsyncLedger.open(folder, options=OPTIONS) as ledger:
        server = RpcServer(ledger._running, options=RpcOptions(limits=limits or RpcLimits(), **options))
        await server.start()
        try:
            async with aiohttp.ClientSession() as http:
                yield Api(ledger, server, http)
        finally:
            await server.close()
