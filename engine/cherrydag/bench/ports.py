"""Ports of 127.0.0.1 for the nodes of networks that are made for a while."""

import os
import socket
from collections.abc import Collection
from itertools import count, islice
from typing import Final

from cherrydag.errors import ConfigError

HOST: Final = "127.0.0.1"

_FIRST: Final = 20_000
_SPAN: Final = 11_000
"""Below those that the system gives to clients."""

_PER_PROCESS: Final = 16


def free_ports(wanted: int, first: int | None = None, besides: Collection[int] = ()) -> list[int]:
    """The lowest ports from `first` on that nobody listens at, and that are not among `besides`.

    first: None for a number that this process hardly shares with others, which may look at the same time.
    ConfigError if there are not so many.
    """
    start = _FIRST + os.getpid() * _PER_PROCESS % _SPAN if first is None else first
    found = islice((port for port in count(start) if port not in besides and is_free(port)), wanted)
    return list(found)


def is_free(port: int) -> bool:
    """Whether nobody listens there. ConfigError if there is no such port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OverflowError:
            raise ConfigError(f"ports: none is free below {port}") from None
        except OSError:
            return False
    return True
