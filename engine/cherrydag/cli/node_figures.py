"""Figures of a node from what its `/metrics` tells: samples, what has changed between two, and quantiles."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from cherrydag.cli.output import plain
from cherrydag.errors import PeerFault

PREFIX: Final = "cherrydag_"
WINDOW: Final = 10
"""Samples that quantiles look back: in one second there may be few transactions."""

HISTORY: Final = 60


class Sample:
    """All figures at a moment. at_s: of a clock that never steps. PeerFault if the text is not of a node."""

    def __init__(self, text: str, at_s: float) -> None:
        self.at_s = at_s
        self._values: dict[str, dict[tuple[str, ...], float]] = {}
        try:
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    labels = tuple(plain(value) for value in sample.labels.values())
                    self._values.setdefault(sample.name, {})[labels] = sample.value
        except (ValueError, KeyError, IndexError) as error:
            raise PeerFault("answer", f"metrics: {error}") from error
        if f"{PREFIX}commit_index" not in self._values:
            raise PeerFault("answer", "metrics: these are no figures of a node")

    def value(self, name: str, *labels: str) -> float:
        """A figure; 0 if it is not there, as of parts that this node does not have."""
        return self._values.get(_full(name), {}).get(labels, 0.0)

    def sum(self, name: str) -> float:
        """Of all its labels."""
        return sum(self._values.get(_full(name), {}).values())

    def by_label(self, name: str) -> dict[str, float]:
        """By the first of its labels."""
        return {labels[0]: value for labels, value in self._values.get(_full(name), {}).items() if labels}

    def buckets(self, name: str) -> list[tuple[float, float]]:
        """(bound, count at or below it) of a histogram, ascending."""
        found = self._values.get(f"{_full(name)}_bucket", {})
        return sorted((float(labels[-1]), value) for labels, value in found.items())


def _full(name: str) -> str:
    return name if name.startswith("process_") and not name.startswith("process_threads") else PREFIX + name


def quantile(before: Sequence[tuple[float, float]], now: Sequence[tuple[float, float]], part: float) -> float:
    """Of what was counted between two looks at a histogram, as Prometheus computes it; NaN if nothing was."""
    earlier = dict(before)
    counts = [(bound, count - earlier.get(bound, 0.0)) for bound, count in now]
    if not counts or counts[-1][1] <= 0:
        return math.nan
    wanted, low, below = part * counts[-1][1], 0.0, 0.0
    for bound, count in counts:
        if count >= wanted and count > below:
            if math.isinf(bound):
                return low
            return low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return low


class Rates(NamedTuple):
    """A second, between the last two samples."""

    rounds: float = 0.0
    commits: float = 0.0
    transactions: float = 0.0
    failed: float = 0.0
    offered: float = 0.0
    refused: float = 0.0
    written_bytes: float = 0.0
    in_bytes: float = 0.0
    out_bytes: float = 0.0
    calls: float = 0.0
    cpu: float = 0.0
    workers_busy: float = 0.0


class Series:
    """The last samples."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=WINDOW + 1)
        self.history: deque[float] = deque(maxlen=HISTORY)
        """Transactions a second."""

    def add(self, sample: Sample) -> None:
        """The next one. One of a process that has begun anew makes those before worthless."""
        name = "process_start_time_seconds"
        if self._samples and self._samples[-1].value(name) != sample.value(name):
            self._samples.clear()
        self._samples.append(sample)
        if len(self._samples) > 1:
            self.history.append(self.rates().transactions)

    @property
    def now(self) -> Sample:
        """The last one."""
        return self._samples[-1]

    def rates(self) -> Rates:
        """Zeros before the second sample."""
        if len(self._samples) < 2:
            return Rates()
        old, new = self._samples[-2], self._samples[-1]
        span_s = max(new.at_s - old.at_s, 1e-3)

        def rate(name: str, *labels: str) -> float:
            there = (one.value(name, *labels) if labels else one.sum(name) for one in (old, new))
            first, last = there
            return max(0.0, last - first) / span_s

        return Rates(
            rounds=rate("round"),
            commits=rate("commits_total"),
            transactions=rate("transactions_final_total"),
            failed=rate("transactions_final_total", "failed"),
            offered=rate("mempool_offered_total"),
            refused=rate("admission_refused_total"),
            written_bytes=rate("store_written_bytes_total"),
            in_bytes=rate("peer_bytes_total", "in"),
            out_bytes=rate("peer_bytes_total", "out"),
            calls=rate("rpc_calls_total"),
            cpu=rate("process_cpu_seconds_total"),
            workers_busy=rate("worker_busy_seconds_total"),
        )

    def quantile(self, name: str, part: float) -> float:
        """Of a histogram over the last samples; NaN if nothing was counted."""
        if len(self._samples) < 2:
            return math.nan
        return quantile(self._samples[0].buckets(name), self._samples[-1].buckets(name), part)


def as_document(series: Series) -> dict[str, Any]:
    """The figures as JSON has them; null for what is not known."""
    now, finality = series.now, "transaction_finality_seconds"
    told = {
        "version": next(iter(now.by_label("build_info")), ""),
        "is_ready": now.value("ready") == 1,
        "reasons": [name for name, is_so in now.by_label("not_ready").items() if is_so],
        "round": int(now.value("round")),
        "commit": int(now.value("commit_index")),
        "certified": int(now.value("certified_index")),
        "behind": int(now.value("commit_lag")),
        "since_commit_s": now.value("since_commit_seconds"),
        "rates": series.rates()._asdict(),
        "finality_s": {"p50": series.quantile(finality, 0.5), "p99": series.quantile(finality, 0.99)},
        "vertex_finality_s": {
            "p50": series.quantile("vertex_finality_seconds", 0.5),
            "p99": series.quantile("vertex_finality_seconds", 0.99),
        },
        "mempool": {"waiting": int(now.value("mempool_waiting")), "taken": int(now.value("mempool_taken"))},
        "is_overloaded": now.value("admission_overloaded") == 1,
        "queues": {
            "parked": int(now.value("pending_vertices")),
            "wanted": int(now.value("wanted_vertices")),
            "to_execute": int(now.value("execution_waiting")),
            "store": int(now.value("store_queued")),
            "workers": int(now.value("worker_jobs_queued")),
            "peer_bytes": int(now.sum("peer_queue_bytes")),
        },
        "peers": int(now.value("peers")),
        "linked_stake": int(now.value("linked_stake")),
        "quorum_stake": int(now.value("quorum_stake")),
        "validators": {name: up == 1 for name, up in now.by_label("peer_linked").items()},
        "clock_offset_s": now.value("clock_offset_seconds"),
        "memory_bytes": int(now.value("process_resident_memory_bytes")),
        "open_files": int(now.value("process_open_fds")),
        "threads": int(now.value("process_threads")),
        "disk_free_bytes": int(now.value("disk_free_bytes")),
        "store_bytes": int(now.value("store_used_bytes")),
    }
    return {name: _known(value) for name, value in told.items()}


def _known(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _known(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
