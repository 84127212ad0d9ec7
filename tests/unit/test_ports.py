"""Ports for networks that are made for a while."""

import socket

import pytest

from cherrydag.bench.ports import HOST, free_ports, is_free
from cherrydag.errors import ConfigError


def test_ports_that_somebody_listens_at_are_passed_over() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        assert not is_free(port)
        assert port not in free_ports(3, port)


def test_ports_differ_from_those_that_are_given_out() -> None:
    first = free_ports(3, 21_000)
    assert len(set(first + free_ports(3, 21_000, first))) == 6


def test_ports_end_with_the_last_one() -> None:
    with pytest.raises(ConfigError, match="none is free"):
        free_ports(2, 65_535)


def test_without_a_first_one_they_lie_below_those_that_the_system_gives_out() -> None:
    assert all(20_000 <= port < 32_768 for port in free_ports(16))
