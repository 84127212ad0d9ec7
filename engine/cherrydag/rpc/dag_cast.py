"""Tells all who follow the DAG what is new: each event is made and encoded once, ten times a second at most.

Whoever is still reading what is older joins when it stands where the others do.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from cherrydag.rpc.dag_feed import DagFeed

if TYPE_CHECKING:
    from cherrydag.rpc.dag_feed import DagEvent
    from cherrydag.rpc.limits import RpcLimits
    from cherrydag.runtime.opening import Running

PAUSE_S: Final = 0.1
"""Between two events."""


class Follower(Protocol):
    """Who is told."""

    def tell(self, event: DagEvent) -> None:
        """What is new."""


class DagCast:
    """A ledger's feed and its followers."""

    def __init__(self, running: Running, limits: RpcLimits) -> None:
        self.feed = DagFeed(running, limits)
        self._told = 0
        self._followers: dict[Follower, None] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def cursor(self) -> int:
        """Where who joins has to stand: where the followers do, or at the end if there are none."""
        return self._told if self._followers else self.feed.last

    def join(self, follower: Follower) -> None:
        """Tell it what comes behind the cursor."""
        self._told = self.cursor
        self._followers[follower] = None
        if self._timer is None:
            self._wait()

    def leave(self, follower: Follower) -> None:
        """Tell it nothing more. Idempotent."""
        self._followers.pop(follower, None)
        if not self._followers and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self._timer = self._loop.call_later(PAUSE_S, self._beat)

    def _beat(self) -> None:
        self._wait()
        feed = self.feed
        if feed.last == self._told:
            return
        # Who reads all that is kept while it grows faster than it may be told would never be through.
        event = feed.event(self._told, feed.last) if self._told >= feed.first - 1 else feed.newest()
        self._told = event.cursor
        for follower in list(self._followers):
            follower.tell(event)
