"""From the bytes of a body to the bytes of its answer: finds the method, binds, calls, bounds the result."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from inspect import isawaitable
from typing import Final

from cherrydag.errors import CherrydagError, InvariantViolation, StorageError
from cherrydag.rpc.backend import Backend, error_of
from cherrydag.rpc.jsonrpc import (
    RETRY_AFTER_MS,
    BadRequest,
    Call,
    ErrorCode,
    Request,
    RpcError,
    encode_batch,
    encode_error,
    encode_result,
    over_limit,
    parse,
    shown,
)
from cherrydag.rpc.methods import Method
from cherrydag.rpc.params import bind

_OTHER: Final = "other"
"""What calls of methods that do not exist are counted as."""

_ANSWER_BYTES: Final = 48
"""Fewer no answer has."""


class Calls:
    """Answers calls of the methods in a table. counts: of calls by (method, code), "ok" for results."""

    def __init__(self, backend: Backend, methods: Mapping[str, Method]) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.open = 0
        self._backend = backend
        self._methods = methods

    async def answer(self, body: bytes, session: object = None) -> bytes | None:
        """The answer to a body; None if nobody wants one. session: of a WebSocket, for its methods."""
        limits = self._backend.limits
        try:
            calls = parse(body, limits)
        except RpcError as error:
            self.counts[_OTHER, error.code] += 1
            return encode_error(None, error)
        if not isinstance(calls, list):
            return await self._answer(calls, session, limits.response_bytes)
        answers: list[bytes] = []
        room = limits.response_bytes - 2
        loop, read_s = asyncio.get_running_loop(), 0.0
        for call in calls:
            started_s = loop.time()
            answer = await self._answer(call, session, room, is_late=1000 * read_s >= limits.read_ms)
            if self._is_read(call):
                read_s += loop.time() - started_s
            if answer is not None:
                answers.append(answer)
                room -= len(answer) + 1
            await asyncio.sleep(0)
        return encode_batch(answers) if answers else None

    async def _answer(self, call: Call, session: object, room: int, *, is_late: bool = False) -> bytes | None:
        """One answer of at most so many bytes, or else an error. is_late: the reads of its batch have had
        their time."""
        if isinstance(call, BadRequest):
            self.counts[_OTHER, call.error.code] += 1
            return encode_error(call.id, call.error)
        name = call.method if call.method in self._methods else _OTHER
        try:
            if is_late and self._is_read(call):
                limit = self._backend.limits.read_ms
                message = f"reads of a batch: at most {limit} ms in all; ask again for the rest"
                raise RpcError(
                    ErrorCode.OVERLOADED, "batch_read_ms", message, limit=limit, retry_after_ms=RETRY_AFTER_MS
                )
            if room < _ANSWER_BYTES:  # what would be found could not be told
                limit = self._backend.limits.response_bytes
                raise over_limit("response_bytes", "bytes of an answer", limit)
            result = await self._result(call, session)
            self.counts[name, "ok"] += 1
            answer = b"" if call.is_notification else encode_result(call.id, result)
            if len(answer) > room:
                limit = self._backend.limits.response_bytes
                raise over_limit("response_bytes", "bytes of an answer", limit)
        except CherrydagError as error:
            told = self._error(error)
            self.counts[name, told.code] += 1
            answer = encode_error(call.id, told)
        return None if call.is_notification else answer

    def _is_read(self, call: Call) -> bool:
        method = None if isinstance(call, BadRequest) else self._methods.get(call.method)
        return method is not None and method.is_read

    async def _result(self, call: Request, session: object) -> object:
        method = self._methods.get(call.method)
        if method is None:
            message = f"there is no method {shown(call.method)}"
            raise RpcError(ErrorCode.METHOD_NOT_FOUND, "method", message)
        if method.needs_socket and session is None:
            message = f"{method.name}: only over a WebSocket, at /ws"
            raise RpcError(ErrorCode.METHOD_NOT_FOUND, "method_needs_websocket", message)
        backend = self._backend
        self._shed(method)
        arguments = bind(method.params, call.params, backend.network)
        backend.check_running()
        self.open += 1
        try:
            if method.is_read:
                await backend.reads.enter()
            made = method.handler(session if method.needs_socket else backend, **arguments)
            return await made if isawaitable(made) else made
        except TimeoutError as error:
            raise error_of(error) or error from None
        finally:
            self.open -= 1

    def _shed(self, method: Method) -> None:
        """Refuse a call where there are too many, and a read where the loop is late: consensus goes first."""
        limits = self._backend.limits
        if self.open >= limits.calls_open:
            message = f"calls: {limits.calls_open} are in work; try again later"
            raise RpcError(
                ErrorCode.OVERLOADED,
                "calls_open",
                message,
                limit=limits.calls_open,
                retry_after_ms=RETRY_AFTER_MS,
            )
        if method.is_read and self._backend.lag.lag_ms > limits.lag_ms:
            message = f"the node is more than {limits.lag_ms} ms behind its work; try again later"
            raise RpcError(ErrorCode.OVERLOADED, "lag", message, limit=limits.lag_ms, retry_after_ms=1000)

    def _error(self, error: CherrydagError) -> RpcError:
        """What a client is told. A broken invariant stops the node, and a bug is nobody's answer."""
        told = error_of(error)
        if told is not None:
            return told
        if isinstance(error, StorageError):
            return RpcError(ErrorCode.INTERNAL, "storage", str(error))
        if isinstance(error, InvariantViolation) and self._backend.running.host is not None:
            self._backend.running.host.fail(error)
        raise error
