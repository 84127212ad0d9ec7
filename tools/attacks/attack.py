"""What an attack is: who runs it, what bound it is held to, and how the outcome is judged."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from attacks.site import VICTIM, WITNESS, Network, Site
from attacks.watch import Span

Facts: TypeAlias = dict[str, Any]
"""What an attack found out by itself, as JSON."""

NOISE_MS = 150.0
"""Differences of latencies below this say nothing: nodes, attacker and whatever else runs share the cores."""


class Verdict(NamedTuple):
    """What was measured against the bound, in words, and whether it holds."""

    measured: str
    is_good: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything about one run. The chain and the links are looked at when it is over."""

    before: Span
    during: Span
    after: Span
    facts: Mapping[str, Any]
    faults: tuple[str, ...] = field(default=())

    @property
    def rss_mib(self) -> float:
        """What the victim's memory has grown by at most."""
        return max(self.during.rss_mib, default=0.0) - max(self.before.rss_mib, default=0.0)

    def finality(self, factor: float = 2.0) -> Verdict:
        """p99 within so many times what it was."""
        before, during = (span.figures()["finality_ms_p99"] for span in (self.before, self.during))
        ratio = during / before if before else 0.0
        good = bool(self.during.finality_ms) and during <= max(factor * before, before + NOISE_MS)
        return Verdict(f"finality p99 {before:.0f} -> {during:.0f} ms ({ratio:.1f}x)", good)

    def stall(self, bound_ms: float = 50.0) -> Verdict:
        """The victim's loop is late by no more than that, beside what it is without the attack."""
        before, during = (span.figures() for span in (self.before, self.during))
        good = during["lag_ms_p99"] <= before["lag_ms_p99"] + bound_ms
        lags = f"p99 {before['lag_ms_p99']:.0f} -> {during['lag_ms_p99']:.0f}, max {before['lag_ms_max']:.0f}"
        return Verdict(f"loop lag {lags} -> {during['lag_ms_max']:.0f} ms", good)

    def memory(self, bound_mib: float = 64.0) -> Verdict:
        """The victim's memory has grown by no more than that."""
        return Verdict(f"RSS +{self.rss_mib:.0f} MiB", self.rss_mib <= bound_mib)


def both(*verdicts: Verdict) -> Verdict:
    """All of them."""
    return Verdict("; ".join(one.measured for one in verdicts), all(one.is_good for one in verdicts))


@dataclass(frozen=True, slots=True)
class Attack:
    """One row. bound: in words, of the table of attacks. run: the attack itself, in a process of its own, for
    so many seconds; stage: what needs the network itself, run in ours instead. judge: the outcome's verdict.
    entry: the node that the honest load goes to."""

    name: str
    bound: str
    judge: Callable[[Outcome], Verdict]
    run: Callable[[Site, float], Coroutine[Any, Any, Facts]] | None = None
    stage: Callable[[Network, float], Coroutine[Any, Any, Facts]] | None = None
    entry: int = WITNESS


AT_VICTIM = VICTIM
