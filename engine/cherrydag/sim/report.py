"""What many worlds have shown, in figures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cherrydag import crypto
from cherrydag.sim.outcome import Outcome


@dataclass(slots=True)
class Summary:
    """Sums over worlds. latencies_us, gaps_us: of all of them, unsorted. event_hash: chains the worlds' own,
    in the order in which they were added."""

    seeds: int = 0
    rounds: int = 0
    commits: int = 0
    deliveries: int = 0
    events: int = 0
    virtual_us: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    violations: list[Outcome] = field(default_factory=list)
    latencies_us: list[int] = field(default_factory=list)
    gaps_us: list[int] = field(default_factory=list)
    event_hash: bytes = b""

    def add(self, outcome: Outcome) -> None:
        """One world more."""
        self.seeds += 1
        self.rounds += outcome.rounds
        self.commits += outcome.commits
        self.deliveries += outcome.deliveries
        self.events += outcome.events
        self.virtual_us += outcome.virtual_us
        for name, count in outcome.faults.items():
            self.faults[name] = self.faults.get(name, 0) + count
        if outcome.violation is not None:
            self.violations.append(outcome)
        self.latencies_us += outcome.latencies_us
        self.gaps_us += outcome.gaps_us
        self.event_hash = crypto.hash_bytes(self.event_hash + bytes.fromhex(outcome.event_hash))

    def as_json(self, cpu_s: float) -> dict[str, object]:
        """The figures by name. cpu_s: processor time of all worlds together."""
        latencies, gaps = sorted(self.latencies_us), sorted(self.gaps_us)
        return {
            "seeds": self.seeds,
            "rounds": self.rounds,
            "commits": self.commits,
            "faults": sum(self.faults.values()),
            "violations": len(self.violations),
            "latency_p50_ms": _ms(percentile(latencies, 500)),
            "latency_p99_ms": _ms(percentile(latencies, 990)),
            "stall_p99_ms": _ms(percentile(gaps, 990)),
            "stall_max_ms": _ms(gaps[-1] if gaps else 0),
            "latencies": len(latencies),
            "faults_by_name": dict(sorted(self.faults.items())),
            "deliveries": self.deliveries,
            "events": self.events,
            "virtual_s": self.virtual_us // 1_000_000,
            "cpu_s": round(cpu_s, 3),
            "cpu_s_per_seed": round(cpu_s / max(1, self.seeds), 3),
            "deliveries_per_cpu_s": round(self.deliveries / max(cpu_s, 1e-9)),
            "event_hash": self.event_hash.hex(),
            "violation_list": [describe(outcome) for outcome in self.violations],
        }


def describe(outcome: Outcome) -> dict[str, object]:
    """One violation: what broke and how to see it again."""
    violation = outcome.violation
    return {
        "seed": outcome.scenario.seed,
        "invariant": violation.invariant if violation else "",
        "statement": str(violation) if violation else "",
        "virtual_ms": outcome.virtual_us // 1000,
        "command": outcome.scenario.command,
    }


def summarize(outcomes: Iterable[Outcome]) -> Summary:
    """The sums over these worlds."""
    summary = Summary()
    for outcome in outcomes:
        summary.add(outcome)
    return summary


def percentile(rising: Sequence[int], permille: int) -> int:
    """The value below which this share of the sorted values lies; 0 if there are none."""
    return rising[min(len(rising) - 1, len(rising) * permille // 1000)] if rising else 0


def _ms(us: int) -> float:
    return round(us / 1000, 1)
