"""How much of one turn of the loop goes to reads: consensus waits for the end of it."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

REST_FROM_US: Final = 2000
"""Processor time in one turn after which a crowd waits as long again."""


def _spent_us() -> int:
    return time.thread_time_ns() // 1000


class Turnstile:
    """Lets `count` pass in a turn of the running loop, the others in later ones, in their order.

    In a turn in which those run that have waited, as many newcomers may pass. has_rests: while more wait than
    may pass at once, and those that do take long, half of the time is left to others. spent_us: processor
    time of the loop's thread.
    """

    def __init__(
        self, count: int, *, has_rests: bool = False, spent_us: Callable[[], int] = _spent_us
    ) -> None:
        self._count = count
        self._has_rests = has_rests
        self._spent_us = spent_us
        self._passed = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_armed = False
        self._began_us: int | None = None

    def __len__(self) -> int:
        """How many wait."""
        return sum(not one.done() for one in self._waiting)

    async def enter(self) -> None:
        """Wait for a turn with room."""
        turn = self.take()
        if turn is not None:
            await turn

    def take(self) -> asyncio.Future[None] | None:
        """Pass, if there is room; else what is done when there is. Cancelled, it gives its place back."""
        self._arm()
        if self._passed < self._count and not self._waiting:
            self._passed += 1
            return None
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        return turn

    def _arm(self) -> None:
        if not self._is_armed:
            self._is_armed = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _begin(self) -> None:
        self._began_us = self._spent_us()

    def _turn(self) -> None:
        """Behind those that have passed."""
        cost_us = 0 if self._began_us is None else self._spent_us() - self._began_us
        self._began_us = None
        if cost_us >= REST_FROM_US and len(self) > self._count:
            self._passed = self._count  # newcomers wait too
            asyncio.get_running_loop().call_later(cost_us / 1e6, self._admit)
        else:
            self._admit()

    def _admit(self) -> None:
        self._is_armed = False
        self._passed = 0
        if self._has_rests and self._waiting:
            asyncio.get_running_loop().call_soon(self._begin)  # right before those that pass
        while self._waiting and self._passed < self._count:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._passed += 1
        if self._passed:
            self._arm()
