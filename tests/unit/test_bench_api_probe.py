"""The probe of an API under load: latencies from when a call was due, and calls without a result."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cherrydag.bench.api_probe import Answered, ApiProbe, _connect, _is_result, _request
from cherrydag.bench.node_api import NodeApi


@contextmanager
def server(answers: list[bytes]) -> Iterator[str]:
    """Gives these answers, part by part, to one connection, and closes it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            for answer in answers:
                connection.recv(65_536)
                connection.sendall(answer[:40])
                connection.sendall(answer[40:])

    thread = threading.Thread(target=serve)
    thread.start()
    with listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def answer(body: str, status: int = 200) -> bytes:
    return f"HTTP/1.1 {status} X\r\ncontent-LENGTH: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("told", "is_good"),
    [
        (answer('{"jsonrpc":"2.0","id":1,"result":{}}'), True),
        (answer('{"jsonrpc":"2.0","id":1,"error":{}}'), False),
        (answer('{"jsonrpc":"2.0","id":1,"result":{}}', 503), False),
        (b"", False),
        (answer('{"result":')[:-3], False),
    ],
)
def test_only_a_result_is_an_answer(told: bytes, is_good: bool) -> None:
    with server([told]) as url:
        connection = _connect(url)
        assert _is_result(connection, _request(url, "status", {})) == is_good
        connection.close()


def test_a_request_is_whole() -> None:
    head, _, body = _request("http://h:1", "balance", {"address": "a"}).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head and b"Host: h:1" in head
    assert json.loads(body)["params"] == {"address": "a"}


def test_latencies_are_of_the_window_and_failures_are_counted_apart() -> None:
    probe = ApiProbe([NodeApi("http://127.0.0.1:1")] * 2)
    probe._answered[0] += [Answered(0.99, 9.0), Answered(1.0, 0.001), Answered(1.5, None)]
    probe._answered[1] += [Answered(1.99, 0.003), Answered(2.0, 9.0)]
    found, failed = probe.latencies(1.0, 2.0)
    assert (found.count, found.most, failed) == (2, 3000, 1)


def test_a_node_that_does_not_answer_is_not_asked_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with ApiProbe([NodeApi(url)]) as probe:
        probe.start()
    assert probe.latencies(0, 1e18)[0].count == 0
