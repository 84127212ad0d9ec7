"""Certified commits that are on the main chain and wait for their execution: how many there may be."""

from collections import deque
from collections.abc import Iterable
from typing import Final

from cherrydag.codec import vertex_parts
from cherrydag.params import COMMIT_SYNC_BATCH
from cherrydag.vertex import Vertex

UNEXECUTED_MAX: Final = 5 * COMMIT_SYNC_BATCH
"""Commits that may wait for their execution before commit sync pauses."""

UNEXECUTED_BYTES_MAX: Final = 32 * 1024 * 1024
"""Frames of their vertices that may: they are in memory, and those to be written once more in the store's
queue. The last commit may go beyond."""


class Backlog:
    """What waits between the main chain and the executor. executed_index: of the last commit executed."""

    __slots__ = ("_bytes", "_sizes", "executed_index")

    def __init__(self, executed_index: int = 0) -> None:
        self.executed_index = executed_index
        self._sizes: deque[tuple[int, int]] = deque()
        self._bytes = 0

    def certified(self, index: int, vertices: Iterable[Vertex]) -> None:
        """The next certified commit is on the main chain."""
        size = sum(len(part) for vertex in vertices for part in vertex_parts(vertex))
        self._sizes.append((index, size))
        self._bytes += size

    def executed(self, index: int) -> None:
        """All commits up to this one are executed."""
        self.executed_index = max(self.executed_index, index)
        while self._sizes and self._sizes[0][0] <= self.executed_index:
            self._bytes -= self._sizes.popleft()[1]

    def is_full(self, chain_index: int) -> bool:
        """Whether no more should come, the main chain having come to this index."""
        return chain_index - self.executed_index > UNEXECUTED_MAX or self._bytes >= UNEXECUTED_BYTES_MAX
