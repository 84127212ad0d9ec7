"""What happens to a node, for its log: events with a name and facts. Whoever keeps the log knows the rest."""

from typing import Protocol


class Tell(Protocol):
    """Takes an event. Facts are numbers, texts or bytes; texts may be a peer's: nothing in them is safe."""

    def __call__(self, event: str, **facts: object) -> None:
        """Something has happened."""


def tell_nobody(event: str, **facts: object) -> None:
    """There is no log."""
