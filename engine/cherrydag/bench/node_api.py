"""A node's API as a measurement reads it: figures, digests and balances, one plain request at a time."""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from cherrydag.errors import PeerFault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TIMEOUT_S: Final = 20.0
_BATCH: Final = 100
"""Calls of one batch, as many as a node takes."""


class NodeFigures(NamedTuple):
    """A node's counters since its start. transactions: of the store, each made durable by a sync. bytes_out,
    bytes_in: on the links with peers, before TLS."""

    commit_index: int
    round: int
    transactions: int
    bytes_in: int
    bytes_out: int
    written_bytes: int
    penalties: int
    lost: int
    diverged: bool


class NodeApi:
    """The API at "http://host:port". All of it raises ConnectionError if there is no answer."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._address = urlsplit(url).netloc

    def is_ready(self) -> bool:
        """Whether it says that it is of use."""
        try:
            return self._request("GET", "/readyz")[0] == 200
        except ConnectionError:
            return False

    def figures(self) -> NodeFigures:
        """Its counters, now."""
        status, body = self._request("GET", "/metrics")
        if status != 200:
            raise ConnectionError(f"{self.url}/metrics: HTTP {status}")
        values = {}
        for line in body.decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name and not name.startswith("#"):
                values[name.removeprefix("cherrydag_")] = float(value)
        try:
            return NodeFigures(
                int(values["commit_index"]),
                int(values["round"]),
                int(values["store_transactions_total"]),
                int(values.get('peer_bytes_total{direction="in"}', 0)),  # a solo chain has no peers
                int(values.get('peer_bytes_total{direction="out"}', 0)),
                int(values["store_written_bytes_total"]),
                int(values["penalties_total"]),
                int(values['vertices_total{verdict="lost"}']),
                bool(values["diverged"]),
            )
        except KeyError as missing:
            raise PeerFault("answer", f"{self.url}/metrics: there is no {missing}") from missing

    def call(self, method: str, **params: object) -> Any:
        """The result of one method."""
        return self.calls(method, [params])[0]

    def calls(self, method: str, many: Sequence[Mapping[str, object]]) -> list[Any]:
        """The results of a method for many parameters."""
        results: list[Any] = []
        for start in range(0, len(many), _BATCH):
            part = [
                {"jsonrpc": "2.0", "id": at, "method": method, "params": params}
                for at, params in enumerate(many[start : start + _BATCH])
            ]
            _, body = self._request("POST", "/", json.dumps(part).encode())
            answers = json.loads(body)
            if not isinstance(answers, list):
                raise ConnectionError(f"{self.url}: {method}: {answers.get('error')}")
            for answer in sorted(answers, key=lambda one: int(one["id"])):
                if "error" in answer:
                    raise ConnectionError(f"{self.url}: {method}: {answer['error']['message']}")
                results.append(answer["result"])
        return results

    def _request(self, verb: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = HTTPConnection(self._address, timeout=_TIMEOUT_S)
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.request(verb, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, HTTPException) as error:
            raise ConnectionError(f"{self.url}{path}: {error or type(error).__name__}") from error
        finally:
            connection.close()
