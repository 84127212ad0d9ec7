"""How long a node's API takes to answer while it is under load: a call to each node at fixed moments."""

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
_TIMEOUT_S: Final = 5.0
_LENGTH: Final = b"content-length:"


class Answered(NamedTuple):
    """One call. due_s: its moment on the monotonic clock; took_s: from then until its answer was there, None
    if none came or it was no result."""

    due_s: float
    took_s: float | None


class ApiProbe:
    """Calls each API, `status` and `balance` in turn, every EVERY_S on a connection of its own, from start()
    on. A call that is late because the one before took long counts from when it was due. `with` ends it."""

    def __init__(self, apis: Sequence[NodeApi]) -> None:
        self._apis = apis
        self._answered: list[list[Answered]] = [[] for _ in apis]
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
        for api, answered in zip(self._apis, self._answered, strict=True):
            try:
                network = Network(api.call("ledger_info")["network"])
            except ConnectionError:
                continue
            address = encode_address(Address(bytes(ADDRESS_BYTES)), network)
            calls = [_request(api.url, "status", {}), _request(api.url, "balance", {"address": address})]
            thread = threading.Thread(target=self._call, args=(api.url, calls, answered), daemon=True)
            thread.start()
            self._threads.append(thread)

    def latencies(self, begin_s: float, end_s: float) -> tuple[Histogram, int]:
        """Of the calls that were due within these moments, and how many had no result."""
        due = [one for each in self._answered for one in each if begin_s <= one.due_s < end_s]
        took_us = np.array([one.took_s * 1e6 for one in due if one.took_s is not None], np.int64)
        found = Histogram()
        found.record(took_us, np.ones(len(took_us), np.int64))
        return found, len(due) - len(took_us)

    def _call(self, url: str, calls: Sequence[bytes], answered: list[Answered]) -> None:
        connection: socket.socket | None = None
        due_s = time.monotonic()
        for call in cycle(calls):
            due_s += EVERY_S
            if self._is_over.wait(max(0.0, due_s - time.monotonic())):
                break
            try:
                connection = connection or _connect(url)
                is_good = _is_result(connection, call)
            except OSError:  # the node is gone; perhaps it comes back
                is_good = False
            if not is_good and connection is not None:
                connection.close()
                connection = None
            answered.append(Answered(due_s, time.monotonic() - due_s if is_good else None))
        if connection is not None:
            connection.close()


def _request(url: str, method: str, params: dict[str, str]) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    host = urlsplit(url).netloc
    return (
        f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def _connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), _TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _is_result(connection: socket.socket, call: bytes) -> bool:
    """Call, and whether the answer is a result."""
    connection.sendall(call)
    got = b""
    while True:
        part = connection.recv(65_536)
        if not part:
            return False
        got += part
        head, end, body = got.partition(b"\r\n\r\n")
        at = head.lower().find(_LENGTH)
        if end and (at < 0 or len(body) >= int(head[at + len(_LENGTH) :].split(b"\r")[0])):
            return head.startswith(b"HTTP/1.1 200 ") and b'"result":' in body
