"""The messages of a WebSocket that wait for the call in work."""

import asyncio
from collections import deque


class Inbox:
    """A few messages, in order. There is room until count_max wait, or bytes_max: what is received then may
    go beyond, by one message."""

    def __init__(self, count_max: int, bytes_max: int) -> None:
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._waiting: deque[bytes] = deque()
        self._filled = asyncio.Event()
        self._moved = asyncio.Event()

    def put(self, message: bytes) -> None:
        """One more."""
        self._waiting.append(message)
        self._bytes += len(message)
        self._filled.set()

    async def take(self) -> bytes:
        """The first, when there is one."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        message = self._waiting.popleft()
        self._bytes -= len(message)
        self._moved.set()
        return message

    async def room(self) -> None:
        """Wait until there is room for one more."""
        while len(self._waiting) >= self._count_max or self._bytes >= self._bytes_max:
            self._moved.clear()
            await self._moved.wait()
