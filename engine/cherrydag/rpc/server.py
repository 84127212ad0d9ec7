"""The API on a socket: one port for JSON-RPC, binary batches, WebSocket, health, metrics and descriptions.

Every request passes the guard: its Host is one of ours, and a browser's page of another origin is refused, so
that a name which resolves to us later opens nothing. JSON must say that it is JSON.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from cherrydag.errors import CherrydagError, ConfigError
from cherrydag.rpc import description, exposition, metrics
from cherrydag.rpc.backend import Backend, Faucet, error_of
from cherrydag.rpc.batches import JSON, OCTETS, encode_rows, encode_submission, split_batch
from cherrydag.rpc.calls import Calls
from cherrydag.rpc.explorer import PREFIX, Explorer
from cherrydag.rpc.fast_path import Answer, FastPath
from cherrydag.rpc.guard import Gate, Guard, connections_that_fit
from cherrydag.rpc.health import readiness
from cherrydag.rpc.jsonrpc import over_limit, shown
from cherrydag.rpc.limits import RpcLimits
from cherrydag.rpc.methods import COMMIT_MAX, ROW_MAX, Method, table
from cherrydag.rpc.replies import bad_query, error_response, media_type, refusal_response
from cherrydag.rpc.socket_methods import socket_table
from cherrydag.rpc.sockets import Sockets
from cherrydag.rpc.stages import Stages
from cherrydag.rpc.subscriptions import Hub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from cherrydag.runtime.node_runner import RunningNode
    from cherrydag.runtime.opening import Running
    from cherrydag.runtime.submissions import Submission

_BACKLOG: Final = 128
_LINGER_S: Final = 2.0
_CLOSE_S: Final = 1.0  # for requests in work, when it listens no more


@dataclass(frozen=True, slots=True)
class RpcOptions:
    """listen: (IP address, port), port 0 for any. hosts: names under which clients reach it, besides those of
    this machine. origins: of web pages that may use it, as "https://name:port"; there is no wildcard.
    faucet: only for chains whose coins are worth nothing. explorer: whether its pages are served."""

    listen: tuple[str, int] = ("127.0.0.1", 0)
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    faucet: Faucet | None = None
    limits: RpcLimits = field(default_factory=RpcLimits)
    explorer: bool = True


class RpcServer:
    """The API of one open ledger, on the running event loop, from start() to close()."""

    def __init__(
        self, running: Running, node: RunningNode | None = None, options: RpcOptions | None = None
    ) -> None:
        self.options = options or RpcOptions()
        limits = self.options.limits
        self.backend = Backend(running, node, limits, self.options.faucet)
        self.hub = Hub(self.backend)
        self.methods = table(limits) | socket_table(limits)
        documents = description.documents(self.methods, limits)
        self.methods["rpc.discover"] = Method(
            "rpc.discover",
            "This API described in OpenRPC.",
            (),
            "Document",
            lambda _: documents.openrpc,
            is_read=False,
        )
        self.methods["rpc_discover"] = self.methods["rpc.discover"]
        self.calls = Calls(self.backend, self.methods)
        self.explorer = Explorer()
        self.stages = None if running.host is None else Stages(running.host)
        self._documents = documents
        self._sockets = Sockets(self.hub, self.calls)
        self._guard = Guard(self.options.listen[0], self.options.hosts, self.options.origins)
        self._gate: Gate | None = None
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None

    # Life

    async def start(self) -> None:
        """Listen. OSError if the address is taken or not ours."""
        limits = self.options.limits
        runner = self._runner = web.AppRunner(
            self._application(),
            handle_signals=False,
            shutdown_timeout=_CLOSE_S,
            access_log=None,
            keepalive_timeout=limits.idle_ms / 1000,
            lingering_time=_LINGER_S,
            auto_decompress=False,
        )
        await runner.setup()
        if runner.server is None:
            raise ConfigError("rpc: the application has no server")
        self._gate = Gate(
            runner.server, connections_that_fit(limits.connections), limits.head_ms / 1000, self._fast_path
        )
        host, port = self.options.listen
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError:
            await runner.cleanup()
            raise
        self._server = await asyncio.get_running_loop().create_server(self._gate, sock=listener)
        self.backend.lag.start()
        if self.stages is not None:
            self.stages.start()
        self.hub.start()

    @property
    def port(self) -> int:
        """Where it listens. ConfigError if it does not."""
        if self._server is None or not self._server.sockets:
            raise ConfigError("rpc: it does not listen")
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        """Open ones."""
        return 0 if self._gate is None else self._gate.count

    @property
    def refused_connections(self) -> int:
        """Turned away so far, for want of room."""
        return 0 if self._gate is None else self._gate.refused

    async def close(self) -> None:
        """Say goodbye to the sockets and listen no more. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await self.hub.stop()
        self.backend.lag.stop()
        if self.stages is not None:
            self.stages.stop()
        await self._sockets.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _fast_path(self, library: web.RequestHandler) -> FastPath:
        return FastPath(library, self.calls, self.backend.reads, self.options.limits.idle_ms / 1000)

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._checked], client_max_size=self.options.limits.body_bytes + 1)
        app.router.add_post("/", self._rpc)
        app.router.add_post("/submit", self._submit)
        app.router.add_get("/submissions/{token:[0-9a-f]{32}}", self._submission)
        app.router.add_get("/ws", self._sockets.serve)
        app.router.add_get("/commits/{index}/rows", self._rows)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/openrpc.json", self._document("openrpc"))
        app.router.add_get("/openapi.json", self._document("openapi"))
        if self.options.explorer:
            app.router.add_get("/", self.explorer.index)
            app.router.add_get(PREFIX + "{path:(?s:.*)}", self.explorer.asset)
        return app

    # Handlers

    @web.middleware
    async def _checked(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """The guard, and an answer for every error that is somebody's."""
        if self._gate is not None:
            self._gate.seen(request.protocol)
        origin = ""
        response: web.StreamResponse
        try:
            origin = self._guard.check(request)
            if request.method == "OPTIONS" and origin:
                response = self._guard.preflight()
            else:
                response = await handler(request)
        except (CherrydagError, TimeoutError) as error:
            told = error_of(error)
            if told is None:
                raise
            response = error_response(told)
        except web.HTTPException as refused:
            response = refusal_response(refused)
        if origin and not response.prepared:
            self._guard.allow(response, origin)
        return response

    async def _rpc(self, request: web.Request) -> web.Response:
        if request.content_type != JSON:
            return error_response(media_type(f"content type: expected {JSON}"), 415)
        body = await read_body(request, "body_bytes", self.options.limits.body_bytes, self.options.limits)
        answer = await self.calls.answer(body)
        if answer is None:
            return web.Response(status=204)
        return Answer(request, answer)

    async def _submit(self, request: web.Request) -> web.Response:
        limits = self.options.limits
        if request.content_type != OCTETS:
            return error_response(media_type(f"content type: expected {OCTETS}"), 415)
        query = _query(request, "wait", "wait_ms", "room")
        wait, room = query.get("wait", "accepted"), query.get("room", "refuse")
        if wait not in ("accepted", "final") or room not in ("refuse", "wait"):
            raise bad_query("wait is accepted or final, room is refuse or wait")
        wait_ms = _number(query, "wait_ms", 10_000, 0, limits.wait_ms)
        count = _number(request.headers, "X-Records", -1, 0, limits.submit_bytes)
        body = await read_body(request, "submit_bytes", limits.submit_bytes, limits)
        self.backend.check_running()
        batch = split_batch(body, None if count < 0 else count)
        submission = await self.backend.submit(batch.records, batch.bodies, wait_for_room=room == "wait")
        is_settled = await self.backend.settle(submission, wait_ms if wait == "final" else 0)
        token = "" if is_settled else self.backend.hold(submission)
        return _submission(request, submission, token, 202 if token and wait == "final" else 200)

    async def _submission(self, request: web.Request) -> web.Response:
        wait_ms = _number(_query(request, "wait_ms"), "wait_ms", 0, 0, self.options.limits.wait_ms)
        self.backend.check_running()
        token = request.match_info["token"]
        submission = self.backend.held(token)
        if await self.backend.settle(submission, wait_ms):
            self.backend.release(token)
            token = ""
        return _submission(request, submission, token, 202 if token else 200)

    async def _rows(self, request: web.Request) -> web.Response:
        limits = self.options.limits
        index = _number(request.match_info, "index", 0, 1, COMMIT_MAX)
        query = _query(request, "first", "count")
        first = _number(query, "first", 0, 0, ROW_MAX)
        count = _number(query, "count", limits.rows_count, 1, limits.rows_count)
        self.backend.check_running()
        event = self.backend.event(index)
        made, n = encode_rows(event, first, count)
        headers = {"X-Records": str(n), "X-Total": str(len(event.records)), "X-Time": str(event.time_s)}
        return web.Response(body=made, content_type=OCTETS, headers=headers)

    async def _livez(self, _: web.Request) -> web.Response:
        lag_ms, host = self.backend.lag.lag_ms, self.backend.running.host
        is_alive = lag_ms <= self.options.limits.lag_ms and host is not None and host.failure is None
        return _json({"is_alive": is_alive, "loop_lag_ms": lag_ms}, 200 if is_alive else 503)

    async def _readyz(self, _: web.Request) -> web.Response:
        reasons = [reason._asdict() for reason in readiness(self.backend.running, self.backend.node)]
        return _json({"is_ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=metrics.scrape(self), headers={"Content-Type": exposition.CONTENT_TYPE})

    def _document(self, name: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        encoded = orjson.dumps(getattr(self._documents, name), option=orjson.OPT_INDENT_2)

        async def serve(_: web.Request) -> web.Response:
            return web.Response(body=encoded, content_type=JSON)

        return serve


def _submission(request: web.Request, submission: Submission, token: str, status: int) -> web.Response:
    """A submission as it stands. token: to ask again with; none if no row can change any more."""
    made, kind = encode_submission(submission, not token, request.headers.get("Accept", ""))
    headers = {"X-Records": str(len(submission))}
    if token:
        headers["X-Submission"] = token
    return web.Response(status=status, body=made, content_type=kind, headers=headers)


async def read_body(request: web.Request, name: str, limit: int, limits: RpcLimits) -> bytes:
    """A request's body of at most so many bytes. RpcError if it has more, comes encoded or too slowly."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise media_type("content encoding: a body comes as it is")
    if request.content_length is not None and request.content_length > limit:
        raise over_limit(name, "bytes of a body", limit, request.content_length)
    if request.content.is_eof():  # it came with its head, as small ones do: no timer, no wait
        body = request.content.read_nowait()
        if len(body) > limit:
            raise over_limit(name, "bytes of a body", limit, len(body))
        return body
    parts: list[bytes] = []
    size = 0
    async with asyncio.timeout(limits.body_ms / 1000):
        async for part in request.content.iter_any():
            size += len(part)
            if size > limit:
                raise over_limit(name, "bytes of a body", limit)
            parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _json(value: dict[str, Any], status: int) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type=JSON)


def _query(request: web.Request, *names: str) -> Mapping[str, str]:
    for name in request.query:
        if name not in names or len(request.query.getall(name)) > 1:
            raise bad_query(f"query: {shown(name)} is unknown, or occurs twice")
    return request.query


def _number(given: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    with suppress(ValueError):
        if len(text) <= 20 and text.isascii() and text.isdigit() and least <= (value := int(text)) <= most:
            return value
    raise bad_query(f"{name}: expected an integer from {least} to {most}, got {shown(text)}")
