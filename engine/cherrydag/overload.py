"""How much a vertex carries and how much may wait, so that an overloaded node keeps its rate.

Transactions of ours become final at some rate, the drain. Nobody tells it, and it changes: other load, other
validators, other machines. It is measured, and two bounds follow from it:

    a vertex carries at most what is drained in vertex_ms
    what waits may be what is drained in wait_ms; what comes beyond that is refused

Why this settles. Let vertices carry S each, so that a round takes about a + c S: a for itself, c for each
transaction. The drain is then S / (a + c S), and the next bound T S / (a + c S), with T = vertex_ms. As a
function of S that rises, and where it meets S its slope is a / T. For T > a it goes to S = (T - a) / c from
either side without passing it, and there a round takes T. For T < a it would go to 0, hence a floor: a
network whose rounds are slower than the target keeps that. What is admitted waits for its vertex for wait_ms
at most, and then as long as the rounds take, which has no influence on the rate.

A burst on a node that keeps up is not refused, however little was drained before: only what has been above
its bound for patience_ms is an overload, and until it has been below half of the bound for as long.
"""

from collections import deque
from dataclasses import dataclass, fields
from typing import Final

from cherrydag.errors import ConfigError, Overloaded
from cherrydag.params import VERTEX_TRANSACTIONS_MAX
from cherrydag.primitives import TimestampMs

WINDOW_MS: Final = 2000
"""The drain is measured over the last so much: many rounds, since a commit drains all that it holds at once,
and one that is late brings along what others were to drain before."""

SAMPLES: Final = 4
"""Parts of the window; one is forgotten at a time."""

ROUND_MIN: Final = 24_576
"""Transactions that the vertices of one round may carry together however slow the drain is: a tenth of a
second or so to check, beside which what a round costs by itself is little."""

RETRY_MS_MAX: Final = 5000
"""Latest moment to come back that is told."""


@dataclass(frozen=True, slots=True)
class OverloadLimits:
    """Targets of one node; no consensus rule. ConfigError for a value below 1.

    vertex_ms: how much of the drain a vertex may carry, so how long rounds may take because of it; above what
    a round takes on the idle network. wait_ms: how long what is admitted may wait for its vertex; at least
    vertex_ms. patience_ms: how long more than that may wait before it counts as an overload.
    """

    vertex_ms: int = 350
    wait_ms: int = 500
    patience_ms: int = 1000

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value < 1:
                raise ConfigError(f"overload.{item.name}: expected at least 1, got {value}")
        if self.wait_ms < self.vertex_ms:
            raise ConfigError(
                f"overload.wait_ms: expected at least vertex_ms = {self.vertex_ms}, got {self.wait_ms}"
            )


class OverloadControl:
    """The bounds of one node. validators: of the committee. now_ms of all calls never sinks.

    waiting: transactions that clients have handed in and no vertex of ours carries yet. What one costs need
    not be known: those that cost more are drained more slowly.
    """

    __slots__ = ("_is_refusing", "_limits", "_samples", "_since_ms", "rate", "vertex_min")

    def __init__(self, limits: OverloadLimits, validators: int) -> None:
        self._limits = limits
        self.vertex_min = min(VERTEX_TRANSACTIONS_MAX, -(-ROUND_MIN // validators))
        """What a vertex may carry, and what may wait, in any case: so nothing ever stalls."""
        self.rate = 0
        """The drain when there is enough to drain: transactions a second."""
        self._samples: deque[tuple[TimestampMs, int]] = deque(maxlen=SAMPLES)  # when, drained by then
        self._is_refusing = False
        self._since_ms: TimestampMs | None = None  # since when what waits speaks against _is_refusing

    @property
    def vertex_max(self) -> int:
        """Transactions that our next vertex may carry."""
        wanted = self.rate * self._limits.vertex_ms // 1000
        return min(VERTEX_TRANSACTIONS_MAX, max(self.vertex_min, wanted))

    @property
    def waiting_max(self) -> int:
        """Transactions that may wait, but for a burst."""
        return max(self.vertex_min, self.rate * self._limits.wait_ms // 1000)

    @property
    def is_refusing(self) -> bool:
        """Whether there is an overload, so that waiting_max holds at once."""
        return self._is_refusing

    def observe(self, now_ms: TimestampMs, drained: int, waiting: int) -> None:
        """Look at how much has been drained, ever, and what waits now. Call it with every commit, and now and
        then without one.

        A faster drain is believed at once. A slower one only while enough waits to fill half a vertex: where
        there is nothing to drain, nothing is drained.
        """
        self._look(now_ms, waiting)
        samples = self._samples
        if samples and now_ms - samples[-1][0] < WINDOW_MS // SAMPLES:
            return
        if samples:
            since_ms, before = samples[0]
            rate = (drained - before) * 1000 // (now_ms - since_ms)
            if rate > self.rate or 2 * waiting >= self.vertex_max:
                self.rate = rate
        samples.append((now_ms, drained))

    def wait_ms(self, waiting: int) -> int | None:
        """How long it takes to drain what waits now; None where nothing is known of the drain."""
        return waiting * 1000 // self.rate if self.rate else None if waiting else 0

    def retry_after_ms(self, now_ms: TimestampMs, waiting: int) -> int:
        """When to come back, if nothing may join what waits now; 0: it may.

        At the earliest when half of the bound is drained: to be asked more often costs what it is to spare.
        """
        self._look(now_ms, waiting)
        if not self._is_refusing or waiting < self.waiting_max:
            return 0
        excess_ms = (waiting - self.waiting_max) * 1000 // max(1, self.rate)
        return min(RETRY_MS_MAX, -(-self._limits.wait_ms // 2) + excess_ms)

    def check(self, now_ms: TimestampMs, waiting: int) -> None:
        """Overloaded, with the limit and when to come back, if nothing may join what waits now."""
        retry_after_ms = self.retry_after_ms(now_ms, waiting)
        if retry_after_ms:
            raise Overloaded(
                f"overload.wait_ms: {waiting} transactions wait, {self._limits.wait_ms} ms allow "
                f"{self.waiting_max}; try again in {retry_after_ms} ms",
                limit=self.waiting_max,
                retry_after_ms=retry_after_ms,
            )

    def _look(self, now_ms: TimestampMs, waiting: int) -> None:
        """Whether an overload has begun or ended."""
        bound = self.waiting_max
        is_contrary = 2 * waiting <= bound if self._is_refusing else waiting > bound
        if not is_contrary:
            self._since_ms = None
        elif self._since_ms is None:
            self._since_ms = now_ms
        elif now_ms - self._since_ms >= self._limits.patience_ms:
            self._is_refusing, self._since_ms = not self._is_refusing, None
