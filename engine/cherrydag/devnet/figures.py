"""What is told of a running devnet, once a second."""

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

WINDOW_S: Final = 60.0
"""Latencies are told of so long."""

_WINDOW_MAX: Final = 100_000


class Latency(NamedTuple):
    """From handing in to knowing that it is final, in milliseconds. measured: how often."""

    measured: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class NodeFigures(NamedTuple):
    """One node. is_running: the process that was started here. is_ready: it answers, and is of use. linked:
    with so many validators, of `others`; both -1, as round and commit_index, where it does not answer."""

    name: str
    url: str
    pid: int
    is_running: bool
    is_ready: bool
    round: int
    commit_index: int
    linked: int
    others: int
    rss_bytes: int
    pss_bytes: int


class LoadFigures(NamedTuple):
    """Of the load. offered, final, failed: transfers so far; failed ones were refused or not applied.
    seconds: since the first was due."""

    offered: int
    final: int
    failed: int
    seconds: float
    latency: Latency | None


class Figures(NamedTuple):
    """All of it. time_s: since the network was ready. final_per_s, commits_per_s: of the last second.
    transactions: final since then. probes: None before the first is final. own_rss_bytes, own_pss_bytes: of
    the process that watches."""

    time_s: float
    final_per_s: float
    commits_per_s: float
    transactions: int
    probes: Latency | None
    probes_failed: int
    load: LoadFigures | None
    nodes: tuple[NodeFigures, ...]
    own_rss_bytes: int
    own_pss_bytes: int

    @property
    def pss_bytes(self) -> int:
        """Of the nodes and the watching process: what the machine has less."""
        return self.own_pss_bytes + sum(node.pss_bytes for node in self.nodes)

    @property
    def rss_bytes(self) -> int:
        """As pss_bytes, but with shared pages as often as they are shared."""
        return self.own_rss_bytes + sum(node.rss_bytes for node in self.nodes)


class Latencies:
    """Those of the last WINDOW_S."""

    def __init__(self) -> None:
        self._found: deque[tuple[float, float]] = deque(maxlen=_WINDOW_MAX)

    def add(self, now_s: float, latency_ms: float) -> None:
        """One more."""
        self._found.append((now_s, latency_ms))

    def summary(self, now_s: float) -> Latency | None:
        """Of those that are not too old; None if there is none."""
        while self._found and self._found[0][0] < now_s - WINDOW_S:
            self._found.popleft()
        return latency_of(latency for _, latency in self._found)


def latency_of(values_ms: Iterable[float]) -> Latency | None:
    """Nearest-rank percentiles; None of nothing."""
    ordered = sorted(values_ms)
    if not ordered:
        return None
    return Latency(len(ordered), _ranked(ordered, 50), _ranked(ordered, 99), ordered[-1])


def _ranked(ordered: list[float], percent: int) -> float:
    return ordered[-(-percent * len(ordered) // 100) - 1]
