"""A program that asks a node for vertices, and hosts that are no such node."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Thread

import pytest
from vertices import KEYS

from cherrydag.net.certificates import tls_context
from cherrydag.net.visitor import Visitor
from cherrydag.primitives import Digest, Epoch

Behaviour = Callable[[socket.socket], None]


@pytest.fixture
def host() -> Iterator[Callable[[Behaviour], tuple[str, int]]]:
    """Makes a server that does this with its one connection; its place."""
    threads: list[Thread] = []

    def make(behaviour: Behaviour) -> tuple[str, int]:
        server = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            with server, suppress(OSError):
                accepted, _ = server.accept()
                with accepted:
                    behaviour(accepted)

        threads.append(Thread(target=serve))
        threads[-1].start()
        return server.getsockname()[:2]

    yield make
    for thread in threads:
        thread.join()


def visit(place: tuple[str, int]) -> None:
    Visitor(place, Digest(bytes(32)), Epoch(0), answer_s=0.3).close()


def silent(accepted: socket.socket) -> None:
    while accepted.recv(4096):
        pass


def garbage(accepted: socket.socket) -> None:
    accepted.sendall(b"\xff" * 64)
    silent(accepted)


def in_tls(behaviour: Behaviour) -> Behaviour:
    def behave(accepted: socket.socket) -> None:
        with tls_context(KEYS[0], server=True).wrap_socket(accepted, server_side=True) as wrapped:
            behaviour(wrapped)

    return behave


def test_a_host_that_speaks_no_tls_is_named(host):
    place = host(lambda accepted: accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    with pytest.raises(ConnectionError, match=f"127.0.0.1:{place[1]}: it speaks no TLS of ours"):
        visit(place)


def test_a_host_that_says_nothing_is_left(host):
    with pytest.raises(ConnectionError, match="timed out"):
        visit(host(silent))


def test_a_node_that_says_no_hello_is_left(host):
    with pytest.raises(TimeoutError, match="no answer within"):
        visit(host(in_tls(silent)))


def test_bytes_that_are_no_frames_end_the_visit(host):
    with pytest.raises(ConnectionError, match="kind"):
        visit(host(in_tls(garbage)))


def test_a_node_that_leaves_is_told(host):
    def leave(wrapped: ssl.SSLSocket) -> None:
        wrapped.recv(1)

    with pytest.raises(ConnectionError, match=r"without a goodbye|reset|EOF"):
        visit(host(in_tls(leave)))
