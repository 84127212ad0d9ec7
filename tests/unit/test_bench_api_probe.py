"""The probe of an API under load: latencies from when a call was due, and calls without a result."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cherrydag.bench.api_probe import (
    _FIGURE,
    _RESULT,
    EVERY_S,
    Answered,
    ApiProbe,
    _connect,
    _is_good,
    _request,
    _scrape,
    _Series,
)
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
        assert _is_good(connection, _request(url, "status", {}), _RESULT) == is_good
        connection.close()


@pytest.mark.parametrize(
    ("text", "is_good"), [("# TYPE a gauge\ncherrydag_commit_index 5.0\n", True), ("a 1.0\n", False)]
)
def test_only_figures_of_a_node_are_a_scrape(text: str, is_good: bool) -> None:
    with server([answer(text)]) as url:
        connection = _connect(url)
        assert _is_good(connection, _scrape(url), _FIGURE) == is_good
        connection.close()


def test_a_request_is_whole() -> None:
    head, _, body = _request("http://h:1", "balance", {"address": "a"}).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head and b"Host: h:1" in head
    assert json.loads(body)["params"] == {"address": "a"}


def test_latencies_are_of_the_window_and_failures_are_counted_apart() -> None:
    probe = ApiProbe([NodeApi("http://127.0.0.1:1")] * 2)
    probe._answered[0] += [Answered(0.99, 9.0), Answered(1.0, 0.001), Answered(1.5, None)]
    probe._answered[1] += [Answered(1.99, 0.003), Answered(2.0, 9.0)]
    probe._scraped[1] += [Answered(1.2, 0.02), Answered(1.3, None), Answered(2.2, 9.0)]
    found, failed = probe.latencies(1.0, 2.0)
    assert (found.count, found.most, failed) == (2, 3000, 1)
    found, failed = probe.scrapes(1.0, 2.0)
    assert (found.count, found.most, failed) == (1, 20_000, 1)


def test_calls_that_were_due_while_the_last_one_hung_have_no_result() -> None:
    answered: list[Answered] = []
    is_over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    calls = [_request(url, "status", {})]
    series = _Series(url, calls, _RESULT, EVERY_S, answered)
    caller = threading.Thread(target=series.ask, args=(is_over,))
    with listener:
        begin_s = time.monotonic()
        caller.start()
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            time.sleep(5 * EVERY_S)  # what hangs: nothing waits for it
            is_over.set()
        caller.join()
    assert len(answered) >= 5 and all(one.took_s is None for one in answered)
    steps = [(one.due_s - begin_s) / EVERY_S for one in answered]
    assert steps == pytest.approx([steps[0] + number for number in range(len(steps))], abs=0.01)


def test_a_node_that_does_not_answer_is_not_asked_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with ApiProbe([NodeApi(url)]) as probe:
        probe.start()
    assert probe.latencies(0, 1e18)[0].count == probe.scrapes(0, 1e18)[0].count == 0
