"""A client's side of a node's API: calls, batches, and a chain that is followed across disconnections."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import orjson

from cherrydag.crypto import DIGEST_BYTES
from cherrydag.errors import Closed, ConfigError, Overloaded, PeerFault, Rejected
from cherrydag.params import RECORD_BYTES
from cherrydag.primitives import Digest
from cherrydag.rpc.batches import JSON, OCTETS, ROW_BYTES
from cherrydag.rpc.dag_readings import update_of
from cherrydag.rpc.jsonrpc import VERSION, ErrorCode
from cherrydag.transaction import RECORD

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from cherrydag.rpc.dag_readings import DagUpdate
    from cherrydag.transaction import Octets, Records

_Read = TypeVar("_Read")

_ANSWER_BYTES_MAX: Final = 32 << 20
_WAIT_MS_MAX: Final = 20_000
"""How long one question for results lets the node wait."""

_PAUSES_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Between attempts to connect again; the last one goes on."""

_REFUSED: Final = (
    ErrorCode.REJECTED,
    ErrorCode.INVALID_PARAMS,
    ErrorCode.INVALID_REQUEST,
    ErrorCode.METHOD_NOT_FOUND,
    ErrorCode.LIMIT,
    ErrorCode.PARSE,
)


class RemoteOverloaded(Overloaded):
    """A node asks to come back later. code: the node's; limit and retry_after_ms: if it says them."""

    def __init__(self, message: str, code: str, limit: int | None, retry_after_ms: int | None) -> None:
        super().__init__(message, limit=limit, retry_after_ms=retry_after_ms)
        self.code = code


@dataclass(frozen=True, slots=True, eq=False)
class RemoteCommit:
    """One commit of the main chain, final. index: also the cursor to go on behind it. ids: n x 32 bytes;
    statuses: n, in the order of records."""

    index: int
    time_ms: int
    digest: Digest
    records: Records
    ids: bytes
    statuses: Octets


class Link:
    """One node's API. url: "http://host:port" or https. Raises ConfigError for another one."""

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
            raise ConfigError(f"url: expected http://host:port, got {url!r}")
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._numbers = count(1)
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def close(self) -> None:
        """Let it go. Idempotent."""
        self._is_closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._is_closed:
            raise Closed("the client is closed")
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, connect=self._timeout_s)
            self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
        return self._session

    async def call(self, method: str, **params: object) -> Any:
        """The result of a method. Rejected, RemoteOverloaded or ConnectionError."""
        number = next(self._numbers)
        body = orjson.dumps({"jsonrpc": VERSION, "id": number, "method": method, "params": params})
        _, answer = await self._request("POST", "/", data=body, headers={"Content-Type": JSON})
        return _result(answer, number)

    async def post_batch(self, body: bytes, count: int, room: str) -> tuple[bytes, str]:
        """Hand in so many records, with their bodies behind them; rows of forms.ANSWER, and a token to ask
        for their results with, or nothing if none can change any more."""
        headers = {"Content-Type": OCTETS, "Accept": OCTETS, "X-Records": str(count)}
        told, rows = await self._request("POST", "/submit", data=body, headers=headers, params={"room": room})
        return rows, str(told.get("X-Submission", ""))

    async def post_final(self, body: bytes, count: int) -> tuple[bytes, str]:
        """As post_batch, but the answer waits until no row can change any more, or for some seconds."""
        headers = {"Content-Type": OCTETS, "Accept": OCTETS, "X-Records": str(count)}
        query = {"wait": "final", "wait_ms": self._wait_ms()}
        told, rows = await self._request("POST", "/submit", data=body, headers=headers, params=query)
        return rows, str(told.get("X-Submission", ""))

    async def results(self, token: str) -> tuple[bytes, str]:
        """As post_batch, of what was handed in before. Rejected "submission_unknown" if it is forgotten."""
        query, headers = {"wait_ms": self._wait_ms()}, {"Accept": OCTETS}
        told, rows = await self._request("GET", f"/submissions/{token}", headers=headers, params=query)
        return rows, str(told.get("X-Submission", ""))

    def _wait_ms(self) -> str:
        return str(min(max(1, int(500 * self._timeout_s)), _WAIT_MS_MAX))

    async def _request(self, verb: str, path: str, **options: Any) -> tuple[Any, bytes]:
        """Headers and body of a good answer."""
        session = self._open()
        try:
            async with asyncio.timeout(self._timeout_s):
                async with session.request(verb, self._url + path, **options) as response:
                    parts, size = [], 0
                    async for part in response.content.iter_any():
                        parts.append(part)
                        size += len(part)
                        if size > _ANSWER_BYTES_MAX:
                            raise PeerFault("answer", f"{path}: more than {_ANSWER_BYTES_MAX} bytes")
                    body = b"".join(parts)
                    if response.status not in (200, 202):
                        _result(body, None)
                        raise ConnectionError(f"{self._url}{path}: HTTP {response.status}")
                    return response.headers, body
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(error, ConnectionError) and not isinstance(error, aiohttp.ClientError):
                raise
            raise ConnectionError(f"{self._url}{path}: {_words_of(error)}") from error

    # Following

    async def follow(self, after: int | None) -> AsyncGenerator[RemoteCommit, None]:
        """Every commit behind `after`, or behind the first answer, across disconnections."""
        index = after

        async def read(told: Any) -> RemoteCommit | None:
            nonlocal index
            if "result" not in told:
                index = _index_of(told) if index is None else index
                return None
            found = _index_of(told["result"])
            if index is not None and found != index + 1:
                raise PeerFault("answer", f"commit {found} after {index}")
            commit = await self._commit(told["result"])
            index = found
            return commit

        async for commit in self._follow("subscribe_commits", lambda: index, read):
            yield commit

    async def follow_dag(self, after: int | None) -> AsyncGenerator[DagUpdate, None]:
        """How the DAG grows behind `after`, across disconnections."""
        cursor = after

        async def read(told: Any) -> DagUpdate | None:
            nonlocal cursor
            if "result" not in told:
                return None
            update = update_of(told)
            cursor = update.cursor
            return update

        async for update in self._follow("subscribe_dag", lambda: cursor, read):
            yield update

    async def _follow(
        self,
        method: str,
        after: Callable[[], int | None],
        read: Callable[[Any], Awaitable[_Read | None]],
    ) -> AsyncGenerator[_Read, None]:
        """What `read` makes of the answers and the events of a subscription. after: where to go on."""
        lost_at_s: float | None = None
        attempt = 0
        loop = asyncio.get_running_loop()
        while True:
            try:
                async for told in self._events(method, after()):
                    made = await read(told)
                    lost_at_s, attempt = None, 0
                    if made is not None:
                        yield made
            except (ConnectionError, Overloaded) as error:
                lost_at_s = loop.time() if lost_at_s is None else lost_at_s
                if loop.time() - lost_at_s > self._timeout_s:
                    raise ConnectionError(f"{self._url}: away for {self._timeout_s} s") from error
            await asyncio.sleep(_PAUSES_S[min(attempt, len(_PAUSES_S) - 1)])
            attempt += 1

    async def _events(self, method: str, after: int | None) -> AsyncGenerator[Any, None]:
        """The answer to a subscription, then what it is told, to the end of the connection."""
        session = self._open()
        number = next(self._numbers)
        call = {
            "jsonrpc": VERSION,
            "id": number,
            "method": method,
            "params": {} if after is None else {"after": after},
        }
        try:
            async with session.ws_connect(self._url + "/ws", heartbeat=self._timeout_s) as socket:
                await socket.send_str(orjson.dumps(call).decode())
                is_told = False
                async for message in socket:
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        raise PeerFault("answer", "events: a frame that is no text")
                    if not is_told:
                        is_told = True
                        yield _result(message.data, number)
                        continue
                    told = orjson.loads(message.data)["params"]
                    if "error" in told:
                        raise Rejected(str(told["error"]["code"]), str(told["error"]["message"]))
                    if not isinstance(told["result"], dict):
                        raise PeerFault("answer", "events: one that is no object")
                    yield told
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ConnectionError(f"{self._url}/ws: {_words_of(error)}") from error
        except (LookupError, TypeError, ValueError) as error:
            raise PeerFault("answer", f"events: {error}") from error

    async def _commit(self, event: Any) -> RemoteCommit:
        """An event with its rows."""
        try:
            index, total, time_ms = (int(event[name]) for name in ("commit_index", "transactions", "time_ms"))
            digest = Digest(bytes.fromhex(event["digest"]))
        except (LookupError, TypeError, ValueError) as error:
            raise PeerFault("answer", f"event: {error}") from error
        columns: tuple[list[bytes], list[bytes], list[bytes]] = ([], [], [])
        first = 0
        while first < total:
            headers, body = await self._request("GET", f"/commits/{index}/rows", params={"first": str(first)})
            n = len(body) // ROW_BYTES
            if n == 0 or n * ROW_BYTES != len(body) or headers.get("X-Records") != str(n):
                raise PeerFault("answer", f"rows of commit {index}: {len(body)} bytes")
            ids_at, statuses_at = n * RECORD_BYTES, n * (RECORD_BYTES + DIGEST_BYTES)
            columns[0].append(body[:ids_at])
            columns[1].append(body[ids_at:statuses_at])
            columns[2].append(body[statuses_at:])
            first += n
        records, ids, statuses = (b"".join(parts) for parts in columns)
        return RemoteCommit(
            index,
            time_ms,
            digest,
            np.frombuffer(records, RECORD),
            ids,
            np.frombuffer(statuses, np.uint8),
        )


def _index_of(event: Any) -> int:
    try:
        return int(event["commit_index"])
    except (LookupError, TypeError, ValueError) as error:
        raise PeerFault("answer", f"event: {error}") from error


def _words_of(error: Exception) -> str:
    """What went wrong with a connection, without the library's own words where the system has some."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
        return os.strerror(cause.errno)
    return str(cause) or type(cause).__name__


def _result(answer: bytes | str, number: int | None) -> Any:
    """The result in an answer. number: of the call; None if only an error may be there."""
    try:
        form = orjson.loads(answer)
        error = form.get("error")
        if error is None:
            if number is None or form["id"] != number:
                raise PeerFault("answer", "an answer to another call")
            return form["result"]
        code, message = ErrorCode(error["code"]), str(error["message"])
        data = error["data"]
        name, limit, retry_after_ms = str(data["code"]), data.get("limit"), data.get("retry_after_ms")
    except (LookupError, TypeError, ValueError, AttributeError) as wrong:
        raise ConnectionError(f"the node gave no answer of JSON-RPC: {wrong}") from wrong
    if code in _REFUSED:
        raise Rejected(name, message)
    if code is ErrorCode.OVERLOADED:
        raise RemoteOverloaded(message, name, limit, retry_after_ms)
    raise ConnectionError(f"{name}: {message}")
