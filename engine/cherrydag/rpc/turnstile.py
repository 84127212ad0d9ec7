"""How much of one turn of the loop goes to reads: consensus waits for the end of it."""

import asyncio
from collections import deque


class Turnstile:
    """Lets `count` pass in a turn of the running loop, the others in later ones, in their order.

    In a turn in which those run that have waited, as many newcomers may pass.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._passed = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_armed = False

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

    def _turn(self) -> None:
        self._is_armed = False
        self._passed = 0
        while self._waiting and self._passed < self._count:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._passed += 1
        if self._passed:
            self._arm()
