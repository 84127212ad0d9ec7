"""How long a node's API takes to answer while it is under load: calls and scrapes at fixed moments."""

from __future__ import annotations

import json
import socket
import threading
import time
from itertools import cycle
from typing import TYPE_CHECKING, Final, NamedTuple, Self
from urllib.parse import urlsplit

import numpy as np

from cherrydag.address import Network, encode_address
from cherrydag.bench.histogram import Histogram
from cherrydag.params import ADDRESS_BYTES
from cherrydag.primitives import Address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cherrydag.bench.node_api import NodeApi

EVERY_S: Final = 0.02
SCRAPE_S: Final = 1.0
"""Between two scrapes of a node's figures: fifteen times as often as Prometheus does."""

_TIMEOUT_S: Final = 5.0
_LENGTH: Final = b"content-length:"
_RESULT: Final = b'"result":'
_FIGURE: Final = b"\ncherrydag_commit_index "


class Answered(NamedTuple):
    """One call. due_s: its moment on the monotonic clock; took_s: from then until its answer was there, None
    if none came or it was no result."""

    due_s: float
    took_s: float | None


class ApiProbe:
    """Calls each API, `status` and `balance` in turn, every EVERY_S, and scrapes it every SCRAPE_S, each on a
    connection of its own, from start() on. A call that is late because the one before took long counts from
    when it was due. `with` ends it."""

    def __init__(self, apis: Sequence[NodeApi]) -> None:
        self._apis = apis
        self._answered: list[list[Answered]] = [[] for _ in apis]
        self._scraped: list[list[Answered]] = [[] for _ in apis]
        self._is_over = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def start(self) -> None:
        """Begin; nodes that do not answer now are not asked again."""
        for api, answered, scraped in zip(self._apis, self._answered, self._scraped, strict=True):
            try:
                network = Network(api.call("ledger_info")["network"])
            except ConnectionError:
                continue
            address = encode_address(Address(bytes(ADDRESS_BYTES)), network)
            calls = [_request(api.url, "status", {}), _request(api.url, "balance", {"address": address})]
            for series in (
                _Series(api.url, calls, _RESULT, EVERY_S, answered),
                _Series(api.url, [_scrape(api.url)], _FIGURE, SCRAPE_S, scraped),
            ):
                thread = threading.Thread(target=series.ask, args=(self._is_over,), daemon=True)
                thread.start()
                self._threads.append(thread)

    def latencies(self, begin_s: float, end_s: float) -> tuple[Histogram, int]:
        """Of the calls that were due within these moments, and how many had no result."""
        return _within(self._answered, begin_s, end_s)

    def scrapes(self, begin_s: float, end_s: float) -> tuple[Histogram, int]:
        """The same of the scrapes."""
        return _within(self._scraped, begin_s, end_s)


def _within(series: Sequence[Sequence[Answered]], begin_s: float, end_s: float) -> tuple[Histogram, int]:
    due = [one for each in series for one in each if begin_s <= one.due_s < end_s]
    took_us = np.array([one.took_s * 1e6 for one in due if one.took_s is not None], np.int64)
    found = Histogram()
    found.record(took_us, np.ones(len(took_us), np.int64))
    return found, len(due) - len(took_us)


class _Series(NamedTuple):
    """Requests in turn, every every_s. mark: what a good answer has in it."""

    url: str
    requests: Sequence[bytes]
    mark: bytes
    every_s: float
    answered: list[Answered]

    def ask(self, is_over: threading.Event) -> None:
        """Until it is over."""
        connection: socket.socket | None = None
        due_s = time.monotonic()
        for request in cycle(self.requests):
            due_s += self.every_s
            if is_over.wait(max(0.0, due_s - time.monotonic())):
                break
            try:
                connection = connection or _connect(self.url)
                is_good = _is_good(connection, request, self.mark)
            except OSError:  # the node is gone; perhaps it comes back
                is_good = False
            if not is_good and connection is not None:
                connection.close()
                connection = None
            self.answered.append(Answered(due_s, time.monotonic() - due_s if is_good else None))
        while due_s <= time.monotonic():  # these were due while the last one was under way
            self.answered.append(Answered(due_s, None))
            due_s += self.every_s
        if connection is not None:
            connection.close()


def _request(url: str, method: str, params: dict[str, str]) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    host = urlsplit(url).netloc
    return (
        f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def _scrape(url: str) -> bytes:
    return f"GET /metrics HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n\r\n".encode()


def _connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), _TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _is_good(connection: socket.socket, request: bytes, mark: bytes) -> bool:
    """Ask, and whether the answer is as it should be."""
    connection.sendall(request)
    got = b""
    while True:
        part = connection.recv(65_536)
        if not part:
            return False
        got += part
        head, end, body = got.partition(b"\r\n\r\n")
        at = head.lower().find(_LENGTH)
        if end and (at < 0 or len(body) >= int(head[at + len(_LENGTH) :].split(b"\r")[0])):
            return head.startswith(b"HTTP/1.1 200 ") and mark in body
