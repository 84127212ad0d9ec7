"""Work on files that is done when a test says so."""

from collections.abc import Callable
from typing import Any


class Later:
    """runtime.background.Background, of which each task waits for `run`."""

    def __init__(self) -> None:
        self.tasks: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []

    def submit(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        self.tasks.append((work, done))

    def run(self) -> None:
        """The next one. One that raises is still there, as a full disk has it."""
        work, done = self.tasks[0]
        result = work()
        del self.tasks[0]
        done(result)
