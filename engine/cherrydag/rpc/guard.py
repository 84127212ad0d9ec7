"""Who may connect at all: names of this host, origins of web pages, a number of sockets."""

from __future__ import annotations

import asyncio
import resource
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

from aiohttp import web

from cherrydag.errors import ConfigError, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LOCAL: Final = ("localhost", "127.0.0.1", "[::1]")

RESERVED_FILES: Final = 128
"""Descriptors that are not for clients: the store, the peers, what a moment needs."""

_NEW_SHARE: Final = 4
"""Sockets that came and went without a request are remembered until their time is up: so many for each that
may be open."""

_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 21\r\n\r\ntoo many connections\n"
)

_EXPOSED: Final = "X-Records, X-Submission, X-Total, X-Time, Retry-After"
"""Headers that a page may read, beside those that any may."""

_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Content-Type, Accept, X-Records",
    "Access-Control-Max-Age": "600",
}


def connections_that_fit(wanted: int) -> int:
    """How many of the wanted connections the process's limit of descriptors allows; at least one."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, soft - RESERVED_FILES))


class Guard:
    """Checks Host and Origin. listen: the IP address; hosts: further names; origins: of web pages.

    Raises ConfigError for an origin that is none, or a wildcard.
    """

    def __init__(self, listen: str, hosts: Iterable[str], origins: Iterable[str]) -> None:
        address = ip_address(listen)
        own = f"[{address}]" if address.version == 6 else str(address)
        self._hosts = {*_LOCAL, own, *(host.lower() for host in hosts)}
        self._origins = set()
        for origin in origins:
            parts = urlsplit(origin)
            whole = f"{parts.scheme}://{parts.netloc}"
            if parts.scheme not in ("http", "https") or not parts.netloc or whole != origin:
                raise ConfigError(f"rpc.origins: expected 'https://name' or with a port, got {origin!r}")
            self._origins.add(origin.lower())

    def check(self, request: web.Request) -> str:
        """The allowed foreign origin of a request, or nothing. Rejected for a Host or Origin that is not."""
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or name_of(hosts[0]) not in self._hosts:
            raise Rejected("host", "host: this is no name of this node")
        origins = request.headers.getall("Origin", [])
        if not origins:
            return ""
        origin = origins[0].lower()
        if len(origins) == 1 and origin in self._origins:
            return origins[0]
        if len(origins) == 1 and origin == f"{request.scheme}://{hosts[0].lower()}":
            return ""
        raise Rejected("origin", "origin: pages of this origin may not use this node")

    @staticmethod
    def allow(response: web.StreamResponse, origin: str) -> None:
        """Tell a browser that this origin may read the response."""
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED
        varies = response.headers.get("Vary", "")
        if "origin" not in [name.strip().lower() for name in varies.split(",")]:
            response.headers["Vary"] = f"{varies}, Origin" if varies else "Origin"

    @staticmethod
    def preflight() -> web.Response:
        """The answer to a browser that asks before it asks, but for the origin."""
        return web.Response(status=204, headers=_PREFLIGHT)


def name_of(host: str) -> str:
    """The name in a Host header, without its port, in lower case; nothing if it is malformed."""
    text = host.lower()
    if text.startswith("["):
        name, bracket, port = text.partition("]")
        name += bracket
    else:
        name, colon, port = text.partition(":")
        port = colon + port
    if port and not (port.startswith(":") and port[1:].isascii() and port[1:].isdigit()):
        return ""
    return name


class Gate:
    """Makes the protocol of each new socket: the server's, or one that says that there is no room.

    head_s: by when the first request of a connection must be there. front: what stands before the server's
    protocol of a socket.
    """

    def __init__(
        self,
        server: web.Server,
        count_max: int,
        head_s: float,
        front: Callable[[web.RequestHandler], asyncio.BaseProtocol],
    ) -> None:
        self.refused = 0
        self.count_max = count_max
        self._server = server
        self._head_s = head_s
        self._front = front
        self._loop = asyncio.get_running_loop()
        self._new: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}

    @property
    def count(self) -> int:
        """Open connections."""
        return len(self._server.connections)

    def __call__(self) -> asyncio.BaseProtocol:
        """The protocol of a socket that has just come."""
        if self.count >= self.count_max or len(self._new) >= _NEW_SHARE * self.count_max:
            self.refused += 1
            return _Refusal()
        protocol = self._server()
        self._new[protocol] = self._loop.call_later(self._head_s, self._expire, protocol)
        return self._front(protocol)

    def seen(self, protocol: asyncio.BaseProtocol) -> None:
        """A request has come over this connection."""
        timer = self._new.pop(protocol, None)
        if timer is not None:
            timer.cancel()

    def _expire(self, protocol: web.RequestHandler) -> None:
        del self._new[protocol]
        protocol.force_close()


class _Refusal(asyncio.Protocol):
    """Says that there is no room, and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A socket that there is no room for."""
        cast("asyncio.Transport", transport).write(_FULL)  # uvloop's is of no class of asyncio's
        transport.close()
