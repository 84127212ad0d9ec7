"""The WebSockets of the API: frames in and out of sessions."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from aiohttp import WSCloseCode, WSMsgType, web

from cherrydag.errors import Overloaded
from cherrydag.rpc.inbox import Inbox
from cherrydag.rpc.subscriptions import STOPPED_CLOSE, Hub, Session
from cherrydag.rpc.turnstile import Turnstile

if TYPE_CHECKING:
    from cherrydag.rpc.calls import Calls

SENDS_AT_ONCE: Final = 64
"""Messages handed to sockets in a turn of the loop, 20 us each: there may be thousands a commit."""

_CLOSE_S: Final = 2.0
"""How long the goodbye to a client that does not read may take."""


class Sockets:
    """Serves WebSocket connections: calls as over HTTP, one after another, and subscriptions."""

    def __init__(self, hub: Hub, calls: Calls) -> None:
        self._hub = hub
        self._calls = calls
        self._limits = hub.backend.limits
        self._sends = Turnstile(SENDS_AT_ONCE)
        self._open: dict[web.WebSocketResponse, web.Request] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One connection, to its end."""
        if len(self._open) >= self._limits.websockets:
            raise Overloaded(f"websockets: {self._limits.websockets} are open; try again later")
        socket = web.WebSocketResponse(
            heartbeat=self._limits.ping_ms / 1000,
            compress=False,
            max_msg_size=self._limits.body_bytes + 1,
            decode_text=False,
        )
        self._open[socket] = request
        writer: asyncio.Task[None] | None = None
        session: Session | None = None
        try:
            await socket.prepare(request)
            session = Session(self._hub, lambda code, reason: self._end(socket, code, reason, writer))
            self._hub.sessions[session] = None
            writer = asyncio.create_task(write_all(socket, session, self._sends))
            await self._converse(socket, session)
        finally:
            self._open.pop(socket, None)
            if writer is not None:
                writer.cancel()
            if session is not None:
                session.close()
        return socket

    async def close(self) -> None:
        """Say goodbye to all."""
        for socket in list(self._open):
            self._close_soon(socket, STOPPED_CLOSE, "the node is closing")
        while self._closing:
            await asyncio.wait(self._closing)

    async def _converse(self, socket: web.WebSocketResponse, session: Session) -> None:
        """Receives beside the call in work, since receiving answers pings. Who leaves gives up that call, and
        those behind it."""
        inbox = Inbox(self._limits.calls_waiting, self._limits.calls_waiting_bytes)
        tasks = [
            asyncio.create_task(_receive(socket, inbox)),
            asyncio.create_task(self._answer(socket, session, inbox)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in done:
            task.result()

    async def _answer(self, socket: web.WebSocketResponse, session: Session, inbox: Inbox) -> None:
        """One call after another; the end of a socket that is not received from shows here."""
        while not socket.closed:
            message = await inbox.take()
            session.answer(await self._calls.answer(message, session))
            await session.room()

    def _end(
        self, socket: web.WebSocketResponse, code: int, reason: str, writer: asyncio.Task[None] | None
    ) -> None:
        if writer is not None:
            writer.cancel()
        self._close_soon(socket, code, reason)

    def _close_soon(self, socket: web.WebSocketResponse, code: int, reason: str) -> None:
        task = asyncio.create_task(self._close(socket, code, reason))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, socket: web.WebSocketResponse, code: int, reason: str) -> None:
        """A goodbye, and the end even of a connection that takes none."""
        request = self._open.get(socket)
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(_CLOSE_S):
                await socket.close(code=code, message=reason.encode())
        transport = None if request is None else request.transport
        if transport is not None and not transport.is_closing():
            transport.abort()


async def _receive(socket: web.WebSocketResponse, inbox: Inbox) -> None:
    """To the end of the connection, or a frame of bytes."""
    async for message in socket:
        if message.type is not WSMsgType.TEXT:
            await socket.close(code=WSCloseCode.UNSUPPORTED_DATA, message=b"text alone is understood")
            return
        inbox.put(message.data)
        await inbox.room()


async def write_all(socket: web.WebSocketResponse, session: Session, sends: Turnstile) -> None:
    """What a session is to be told, to the end of its connection."""
    with suppress(ConnectionError):
        while True:
            data = await session.next()
            await sends.enter()
            await socket.send_frame(data, WSMsgType.TEXT)
            session.sent()
