"""A store that has met a full disk: tried again until there is room, and what waits for it is bounded."""

import asyncio
from collections.abc import Callable, Collection
from typing import Final

from cherrydag.consensus.effects import Persist
from cherrydag.errors import NoRoom
from cherrydag.params import RECORD_BYTES

UNWRITTEN_BYTES_MAX: Final = 256 << 20
"""Bytes of vertices that may wait for room, VERTEX_BYTES for each included; beyond it the host stops."""

VERTEX_BYTES: Final = 4096
"""About what a vertex takes in memory beside its payload."""

RETRY_S: Final = 1.0
"""How often the disk is tried again."""


class Room:
    """unwritten: what waits for the store. resume: has it try again. fail: called once too much waits."""

    def __init__(
        self, unwritten: Collection[Persist], resume: Callable[[], None], fail: Callable[[NoRoom], None]
    ) -> None:
        self._unwritten = unwritten
        self._resume = resume
        self._fail = fail
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._error: NoRoom | None = None

    @property
    def error(self) -> NoRoom | None:
        """Why nothing is written; None if all is well."""
        return self._error

    def wait(self, error: NoRoom) -> None:
        """The store has refused."""
        self._error = error
        if self._timer is None:
            self._timer = self._loop.call_later(RETRY_S, self._try_again, error)

    def found(self) -> None:
        """The store has written something."""
        self._error = None

    def close(self) -> None:
        """Try no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _try_again(self, error: NoRoom) -> None:
        self._timer = None
        if sum(map(bytes_of, self._unwritten)) > UNWRITTEN_BYTES_MAX:
            self._fail(error)
        else:
            self._resume()


def bytes_of(write: Persist) -> int:
    """About what one write takes while it waits."""
    payloads = [vertex.payload for vertex in write.vertices]
    return sum(VERTEX_BYTES + len(payload) * RECORD_BYTES + len(payload.bodies) for payload in payloads)
