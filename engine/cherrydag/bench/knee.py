"""Where a network's knee is: the highest rate that it takes within a bound of latency."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Step(NamedTuple):
    """What one rate led to. rate: offered."""

    rate: float
    final_rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    is_good: bool


@dataclass(slots=True)
class KneeSearch:
    """Which rate to try next: twice the last one while they are good, then halfway between the highest good
    and the lowest bad one, so often. steps: in the order in which they were tried."""

    first: float
    most: float
    halvings: int = 3
    steps: list[Step] = field(default_factory=list)

    @property
    def best(self) -> Step | None:
        """The highest rate that was good, below which none was bad."""
        bad = min((step.rate for step in self.steps if not step.is_good), default=float("inf"))
        good = [step for step in self.steps if step.is_good and step.rate < bad]
        return max(good, key=lambda step: step.rate, default=None)

    @property
    def next_rate(self) -> float | None:
        """What to try; None if the search has ended."""
        if not self.steps:
            return min(self.first, self.most)
        bad = min((step.rate for step in self.steps if not step.is_good), default=None)
        good = 0.0 if self.best is None else self.best.rate
        if bad is None:
            return None if good >= self.most else min(self.most, 2 * good)
        if self._halved() >= self.halvings:
            return None
        return round((good + bad) / 2)

    def _halved(self) -> int:
        """How many rates came after the first bad one."""
        first_bad = next(at for at, step in enumerate(self.steps) if not step.is_good)
        return len(self.steps) - 1 - first_bad


def is_good(offered_rate: float, final_rate: float, p99_ms: float, bound_ms: float, failures: int) -> bool:
    """Whether a rate was taken: all went well, as many became final as were due, and in time."""
    return not failures and final_rate >= 0.97 * offered_rate and p99_ms <= bound_ms
