"""The short way of a call: a request whose head has been taken before is answered where its bytes come in.

The HTTP library parses the first request of a connection, and the guard looks at it. The next one, in all
likelihood, has the very same head: byte for byte the same head is taken again without looking. Whatever else
comes goes to the library, in order: another head, a part of a request, a call that has to wait. No HTTP is
parsed here but for where a head ends; where a request ends the library says.
"""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from functools import lru_cache
from time import time
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import web

from cherrydag.rpc.batches import JSON

if TYPE_CHECKING:
    from cherrydag.rpc.calls import Calls
    from cherrydag.rpc.jsonrpc import Request
    from cherrydag.rpc.turnstile import Turnstile

HEAD_BYTES_MAX: Final = 2048
"""Of a head that is remembered."""

HEADS_MAX: Final = 16
"""Heads that are remembered of one connection: its requests differ in their lengths."""

LIBRARY_SHARE: Final = 16
"""The library closes a connection on which it has seen no request for `idle_ms`; it gets one to see as soon
as one part in so many of that time is over."""

_START: Final = b"POST / HTTP/1.1\r\n"
_END: Final = b"\r\n\r\n"
_UNUSUAL: Final = ("Origin", "Expect", "Upgrade", "Transfer-Encoding", "Content-Encoding")


class FastPath(asyncio.Protocol):
    """The protocol of one socket, in front of the library's.

    It is clear when the library has answered all that it got, and got whole requests. Only then a request
    may go the short way, so that answers keep their order. A connection that is used for anything but calls,
    on which a head comes in parts, or requests before the answers to others, is the library's for good.
    """

    def __init__(self, library: web.RequestHandler, calls: Calls, reads: Turnstile, idle_s: float) -> None:
        self._library = library
        self._calls = calls
        self._reads = reads
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._lengths: dict[bytes, int] = {}
        self._head = b""
        self._size = 0
        self._is_clear = True
        self._is_paused = False
        self._held = b""
        self._turn: asyncio.Future[None] | None = None
        self._library_every_s = idle_s / LIBRARY_SHARE
        self._library_at_s = 0.0

    @staticmethod
    def answered(request: web.BaseRequest) -> None:
        """The library has written the answer to a call, and the guard found nothing wrong with its head."""
        transport = request.transport
        path = None if transport is None else transport.get_protocol()
        if isinstance(path, FastPath) and not path._is_clear:
            path._learn(request)

    def _learn(self, request: web.BaseRequest) -> None:
        length = request.content_length
        if length is None or self._size != len(self._head) + length:
            self._hand_over()
            return
        self._is_clear = True
        self._library_at_s = self._loop.time() + self._library_every_s
        if request.keep_alive and not any(name in request.headers for name in _UNUSUAL):
            if len(self._lengths) >= HEADS_MAX:
                self._lengths.clear()
            self._lengths[self._head] = length

    # Of the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is of no class of asyncio's
        self._library.connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """It has gone."""
        self._release()
        self._library.connection_lost(exc)

    def eof_received(self) -> None:
        """It sends no more."""
        self._library.eof_received()

    def pause_writing(self) -> None:
        """It does not read."""
        self._is_paused = True
        self._library.pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        self._is_paused = False
        self._library.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Answer a call, or leave it to the library."""
        if self._turn is not None:
            data = self._release() + data
        if not self._is_clear:
            self._size += len(data)
            self._library.data_received(data)
            return
        end = data.find(_END) + len(_END)
        head = data[:end]
        if self._lengths.get(head) == len(data) - end and self._may_answer():
            call = self._calls.simple(data[end:])
            if call is not None:
                self._take(call, data)
                return
        self._pass(data, head)

    def _may_answer(self) -> bool:
        return not self._is_paused and self._loop.time() < self._library_at_s

    def _pass(self, data: bytes, head: bytes) -> None:
        """To the library; of a call it will tell when it is answered."""
        if not head.startswith(_START) or len(head) > HEAD_BYTES_MAX:
            self._hand_over()
        self._is_clear = False
        self._head, self._size = head, len(data)
        self._library.data_received(data)

    def _hand_over(self) -> None:
        """The rest of the connection is the library's."""
        self._is_clear = False
        self._transport.set_protocol(self._library)

    # Of a call

    def _take(self, call: Request, data: bytes) -> None:
        """Answer now, or when there is room for a read; data: the request, should more come meanwhile."""
        turn = self._reads.take() if self._calls.is_read(call) else None
        if turn is None:
            self._answer(call)
            return
        self._turn, self._held = turn, data
        self._calls.open += 1
        turn.add_done_callback(lambda turn: None if turn.cancelled() else self._go_on(call))

    def _go_on(self, call: Request) -> None:
        if self._turn is not None:
            self._release()
            self._answer(call)

    def _release(self) -> bytes:
        """The request that waits for room, which it does no longer."""
        turn, self._turn = self._turn, None
        held, self._held = self._held, b""
        if turn is not None:
            self._calls.open -= 1
            turn.cancel()
        return held

    def _answer(self, call: Request) -> None:
        try:
            body = self._calls.answer_now(call)
        except BaseException:
            self._transport.abort()  # nobody may wait for the answer
            raise
        self._transport.write(b"%b%d%b%b" % (_status_line(int(time())), len(body), _END, body))


@lru_cache(maxsize=1)
def _status_line(second: int) -> bytes:
    """And the headers, as far as the length."""
    date = formatdate(second, usegmt=True)
    return f"HTTP/1.1 200 OK\r\nContent-Type: {JSON}\r\nDate: {date}\r\nContent-Length: ".encode()


class Answer(web.Response):
    """The library's answer to a call; the connection learns from it."""

    def __init__(self, request: web.BaseRequest, body: bytes) -> None:
        super().__init__(body=body, content_type=JSON)
        self._request = request

    async def write_eof(self, data: Any = b"") -> None:
        """The end of the answer."""
        await super().write_eof(data)
        FastPath.answered(self._request)
