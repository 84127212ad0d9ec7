"""From the bytes of a body to the bytes of its answer: finds the method, binds, calls, bounds the result."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from inspect import iscoroutinefunction
from typing import Any, Final

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

_LARGE_BYTES: Final = 32 << 10
"""A body of more takes a turn of the loop of its own: a megabyte is parsed for up to 7 ms."""

_ANSWER_BYTES: Final = 48
"""Fewer no answer has."""


class Calls:
    """Answers calls of the methods in a table. counts: of calls by (method, code), "ok" for results."""

    def __init__(self, backend: Backend, methods: Mapping[str, Method]) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.open = 0
        self._backend = backend
        self._methods = methods
        self._waiting = frozenset(name for name, one in methods.items() if iscoroutinefunction(one.handler))
        self._immediate = {
            name: one for name, one in methods.items() if name not in self._waiting and not one.needs_socket
        }

    async def answer(self, body: bytes, session: object = None) -> bytes | None:
        """The answer to a body; None if nobody wants one. session: of a WebSocket, for its methods."""
        limits = self._backend.limits
        if len(body) > _LARGE_BYTES:
            await self._backend.large_bodies.enter()
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
            if self.is_read(call):
                read_s += loop.time() - started_s
            if answer is not None:
                answers.append(answer)
                room -= len(answer) + 1
            await asyncio.sleep(0)
        return encode_batch(answers) if answers else None

    # One call that waits for nothing

    def simple(self, body: bytes) -> Request | None:
        """The call in a body, if it is a single one that waits for nothing but its turn among the reads;
        None for all else, and where too many are in work."""
        if self.open >= self._backend.limits.calls_open:
            return None
        try:
            call = parse(body, self._backend.limits)
        except RpcError:
            return None
        if not isinstance(call, Request) or call.is_notification or call.method not in self._immediate:
            return None
        return call

    def is_read(self, call: Call) -> bool:
        """Whether it takes its turn with other reads."""
        method = None if isinstance(call, BadRequest) else self._methods.get(call.method)
        return method is not None and method.is_read

    def answer_now(self, call: Request) -> bytes:
        """The answer to a simple call; a read has had its turn."""
        method = self._immediate[call.method]
        try:
            made = method.handler(self._backend, **self._admit(method, call))
            return self._encode(call, made, self._backend.limits.response_bytes)
        except CherrydagError as error:
            return self._refuse(call, call.method, error)

    # Any call

    async def _answer(self, call: Call, session: object, room: int, *, is_late: bool = False) -> bytes | None:
        """One answer of at most so many bytes, or else an error. is_late: the reads of its batch have had
        their time."""
        if isinstance(call, BadRequest):
            self.counts[_OTHER, call.error.code] += 1
            return encode_error(call.id, call.error)
        try:
            if is_late and self.is_read(call):
                raise self._too_late()
            if room < _ANSWER_BYTES:  # what would be found could not be told
                raise self._too_large()
            answer = self._encode(call, await self._result(call, session), room)
        except CherrydagError as error:
            answer = self._refuse(call, call.method if call.method in self._methods else _OTHER, error)
        return None if call.is_notification else answer

    async def _result(self, call: Request, session: object) -> object:
        method = self._methods.get(call.method)
        if method is None:
            message = f"there is no method {shown(call.method)}"
            raise RpcError(ErrorCode.METHOD_NOT_FOUND, "method", message)
        if method.needs_socket and session is None:
            message = f"{method.name}: only over a WebSocket, at /ws"
            raise RpcError(ErrorCode.METHOD_NOT_FOUND, "method_needs_websocket", message)
        arguments = self._admit(method, call)
        self.open += 1
        try:
            if method.is_read:
                await self._backend.reads.enter()
            made = method.handler(session if method.needs_socket else self._backend, **arguments)
            return await made if call.method in self._waiting else made
        except TimeoutError as error:
            raise error_of(error) or error from None
        finally:
            self.open -= 1

    def _admit(self, method: Method, call: Request) -> dict[str, Any]:
        """Its arguments. RpcError if they are wrong, or the node cannot take the call."""
        self._shed(method)
        arguments = bind(method.params, call.params, self._backend.network)
        self._backend.check_running()
        return arguments

    def _encode(self, call: Request, result: object, room: int) -> bytes:
        answer = b"" if call.is_notification else encode_result(call.id, result)
        if len(answer) > room:
            raise self._too_large()
        self.counts[call.method, "ok"] += 1
        return answer

    def _refuse(self, call: Request, name: str, error: CherrydagError) -> bytes:
        told = self._error(error)
        self.counts[name, told.code] += 1
        return encode_error(call.id, told)

    def _too_large(self) -> RpcError:
        return over_limit("response_bytes", "bytes of an answer", self._backend.limits.response_bytes)

    def _too_late(self) -> RpcError:
        limit = self._backend.limits.read_ms
        message = f"reads of a batch: at most {limit} ms in all; ask again for the rest"
        return RpcError(
            ErrorCode.OVERLOADED, "batch_read_ms", message, limit=limit, retry_after_ms=RETRY_AFTER_MS
        )

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
