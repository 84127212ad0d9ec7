"""A pace with room for bursts, in integers: so many a second, and after a silence so many at once."""

from typing import NamedTuple

_ONE = 1000


class Credit(NamedTuple):
    """What somebody had left at a time. thousandths: of one of whatever it is that costs."""

    thousandths: int
    at_ms: int

    @classmethod
    def full(cls, burst: int, now_ms: int) -> "Credit":
        """As after a long silence: for so many at once."""
        return cls(burst * _ONE, now_ms)

    def take(self, rate: int, burst: int, now_ms: int, count: int = 1) -> tuple[bool, "Credit"]:
        """Whether there is enough for so many, and what is left. What is refused costs nothing.

        rate: that come back each second, up to `burst`. now_ms never sinks.
        """
        left = min(burst * _ONE, self.thousandths + (now_ms - self.at_ms) * rate)
        is_enough = left >= _ONE * count
        return is_enough, Credit(left - _ONE * count * is_enough, now_ms)
