"""Seeded chance: one generator for each concern, so that a change of one leaves the draws of others alone."""

import random
from collections.abc import Sequence
from typing import TypeVar

from cherrydag import crypto

T = TypeVar("T")


class Chance(random.Random):
    """A generator that follows from a seed and the name of its concern. Make it with Chance.of."""

    @classmethod
    def of(cls, seed: int, concern: str) -> "Chance":
        """The generator of this concern in the world of this seed."""
        return cls(int.from_bytes(crypto.hash_bytes(f"{seed}/{concern}".encode())[:8], "little"))

    def below(self, end: int) -> int:
        """An integer in 0..end-1. A third of the time of randrange; end is far below 2^53."""
        return int(self.random() * end)

    def between(self, low: int, high: int) -> int:
        """An integer in low..high, both included."""
        return low + int(self.random() * (high - low + 1))

    def is_hit(self, permille: int) -> bool:
        """True in `permille` of 1000 cases."""
        return self.random() * 1000 < permille

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[int(self.random() * len(items))]
