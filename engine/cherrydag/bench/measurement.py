"""One measurement: a load on a network, what its submitters saw, and what it cost."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cherrydag.bench.api_probe import ApiProbe
from cherrydag.bench.histogram import Histogram
from cherrydag.bench.node_api import NodeFigures
from cherrydag.bench.process_figures import (
    MAIN,
    MachineTime,
    ProcessFigures,
    ThreadTime,
    machine_time,
    process_figures,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cherrydag.bench.load import Load, LoadOutcome, Second
    from cherrydag.bench.node_api import NodeApi

MIB: Final = 1 << 20

LATE_MS: Final = 100
"""A load that sends this much too late, in its 99th percentile, is said to have been late."""

_COUNTERS: Final = tuple(name for name in NodeFigures._fields if name != "diverged")


class Snapshot(NamedTuple):
    """All counters at a moment of the monotonic clock. None: the process has ended, or does not answer."""

    at_s: float
    processes: dict[str, ProcessFigures | None]
    nodes: dict[str, NodeFigures | None]
    machine: MachineTime


class Watch:
    """Takes snapshots of processes and nodes, each by a name."""

    def __init__(self, pids: Mapping[str, int], apis: Mapping[str, NodeApi]) -> None:
        self._pids = dict(pids)
        self._apis = dict(apis)

    def probe(self) -> ApiProbe:
        """What asks each node's API for its answers' latencies."""
        return ApiProbe(list(self._apis.values()))

    def look(self) -> Snapshot:
        """All of them, now; a busy node may take a while to answer, so that comes last."""
        at_s, machine = time.monotonic(), machine_time()
        processes = {name: process_figures(pid) for name, pid in self._pids.items()}
        return Snapshot(at_s, processes, {name: _figures(api) for name, api in self._apis.items()}, machine)


def _figures(api: NodeApi) -> NodeFigures | None:
    try:
        return api.figures()
    except ConnectionError:
        return None


@dataclass(slots=True)
class Measured:
    """A load that has run. window: the seconds since its start that count, warm-up and drain excluded."""

    outcome: LoadOutcome
    window: tuple[float, float]
    before: Snapshot
    after: Snapshot
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    api: Histogram = field(default_factory=Histogram)
    api_failed: int = 0
    scrapes: Histogram = field(default_factory=Histogram)
    scrapes_failed: int = 0


def run(
    load: Load,
    watch: Watch,
    warm_up_s: float,
    tell: Callable[[Sequence[Second]], None],
    events: Sequence[tuple[float, Callable[[], None]]] = (),
) -> Measured:
    """Run a prepared load. events: what is to be done so many seconds after its start."""
    start_ns = load.begin()
    end_s = load.settings.seconds
    window = (min(warm_up_s, end_s / 2), end_s)
    snapshots: list[Snapshot] = []

    def look() -> None:
        snapshots.append(watch.look())

    planned = sorted([(window[0], look), *events, (window[1], look)], key=lambda event: event[0])
    is_over = threading.Event()
    with ThreadPoolExecutor(1) as executor, watch.probe() as probe:
        plan = executor.submit(_follow_plan, start_ns / 1e9, planned, is_over)
        try:
            probe.start()
            outcome = load.follow(tell)
        except BaseException:
            is_over.set()  # else leaving the block would wait for what is planned
            raise
        plan.result()
    measured = Measured(outcome, window, snapshots[0], snapshots[1])
    moments_s = start_ns / 1e9 + window[0], start_ns / 1e9 + window[1]
    measured.api, measured.api_failed = probe.latencies(*moments_s)
    measured.scrapes, measured.scrapes_failed = probe.scrapes(*moments_s)
    if load.settings.rate is None and outcome.offered == load.settings.count:
        measured.notes.append("there were too few transfers for all of the time: the rates are too low")
    return measured


def _follow_plan(
    start_s: float, planned: Sequence[tuple[float, Callable[[], None]]], is_over: threading.Event
) -> None:
    for at_s, do in planned:
        if is_over.wait(max(0.0, start_s + at_s - time.monotonic())):
            return
        do()


# What came out


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Figures of one measurement, about its window. Its fields are the keys of the JSON.

    offered_rate, final_rate: transfers a second that were due, and of which submitters were told that they
    are final. latency_ms: of those that were due in the window and became final, from the moment at which
    they were due; in a closed loop that is when they were sent.
    transfers, answers, failures: of the whole load. cpu_us: of each process, a final transfer, and of all.
    threads_us: of each node's threads, [running, ready without a core]. wire_bytes: between nodes, before
    TLS, all links, a transfer. others_cores: what else kept the machine busy. stolen_cores: what other guests
    of its host took from it. timeline: [second, due, final, p50_ms, p99_ms], latencies of those that were
    due in that second and became final. api_p50_ms and so on: of the calls of an ApiProbe, one to each node
    every 20 ms; api_failed: those that had no result.
    scrape_p50_ms and so on: of the scrapes of each node's figures, one a second.
    """

    offered_rate: float
    final_rate: float
    latency_ms: dict[str, float]
    window_s: tuple[float, float]
    transfers: dict[str, int]
    answers: dict[str, Any]
    late_p99_ms: float
    cpu_us: dict[str, float]
    threads_us: dict[str, dict[str, tuple[float, float]]]
    busy_cores: float
    others_cores: float
    stolen_cores: float = 0.0
    rss_mib: dict[str, int]
    wire_bytes: float
    disk_bytes: float
    syncs_per_s: dict[str, float]
    commits_per_s: float
    rounds_per_s: float
    timeline: list[tuple[int, int, int, float, float]]
    histogram: dict[str, Any]
    failures: list[str]
    notes: list[str]
    api_p50_ms: float
    api_p99_ms: float
    api_max_ms: float
    api_calls: int
    api_failed: int
    scrape_p50_ms: float
    scrape_p90_ms: float
    scrape_max_ms: float
    scrapes: int
    scrapes_failed: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def result(measured: Measured) -> Result:
    """What a measurement says."""
    outcome, (begin_s, end_s) = measured.outcome, measured.window
    seconds = end_s - begin_s
    due = _between(outcome.due_us, begin_s, end_s)
    done = _between(outcome.done_us, begin_s, end_s)
    final = int(outcome.counts[done].sum())
    offered = int(outcome.dues[_between(outcome.dues[:, 0], begin_s, end_s), 1].sum())
    latencies = Histogram()
    latencies.record(outcome.done_us[due] - outcome.due_us[due], outcome.counts[due])
    late = Histogram()
    late.record(outcome.sent_us[due] - outcome.due_us[due], outcome.counts[due])
    cpu = {name: used.cpu_s for name, used in _used(measured).items()}
    nodes = _node_differences(measured)
    per = 1e6 / max(1, final)
    machine = measured.after.machine - measured.before.machine
    others = machine.busy_s - sum(cpu.values())
    watched_s = measured.after.at_s - measured.before.at_s
    return Result(
        offered_rate=round(offered / seconds, 1),
        final_rate=round(final / seconds, 1),
        latency_ms=quantiles_ms(latencies),
        window_s=(begin_s, end_s),
        transfers={
            "offered": outcome.offered,
            "final": outcome.final,
            "not_applied": outcome.counters.statuses.total(),
            "failed": outcome.counters.failed.total(),
            "given_up": outcome.counters.given_up,
            "unfinished": outcome.unfinished,
        },
        answers=outcome.counters.as_dict(),
        late_p99_ms=late.quantile(0.99) / 1e3,
        cpu_us={name: round(s * per, 2) for name, s in cpu.items()}
        | {"all": round(sum(cpu.values()) * per, 2)},
        threads_us={
            name: {
                thread: (round(t.run_s * per, 2), round(t.queued_s * per, 2))
                for thread, t in used.threads.items()
            }
            for name, used in _used(measured).items()
        },
        busy_cores=round(sum(cpu.values()) / watched_s, 2),
        others_cores=round(max(0.0, others) / watched_s, 2),
        stolen_cores=round(machine.stolen_s / watched_s, 2),
        rss_mib={
            name: round(figures.rss_max_bytes / MIB)
            for name, figures in measured.after.processes.items()
            if figures is not None
        },
        wire_bytes=round(sum(node.bytes_out for node in nodes.values()) / max(1, final), 1),
        disk_bytes=round(sum(node.written_bytes for node in nodes.values()) / max(1, final), 1),
        syncs_per_s={name: round(node.transactions / watched_s, 1) for name, node in nodes.items()},
        commits_per_s=_most(nodes, "commit_index", watched_s),
        rounds_per_s=_most(nodes, "round", watched_s),
        timeline=_timeline(outcome),
        histogram=latencies.as_dict(),
        failures=[*measured.failures, *_failures(outcome)],
        notes=[*measured.notes, *_notes(late, others / watched_s, machine.stolen_s / watched_s)],
        api_p50_ms=measured.api.quantile(0.5) / 1e3,
        api_p99_ms=measured.api.quantile(0.99) / 1e3,
        api_max_ms=measured.api.most / 1e3,
        api_calls=measured.api.count,
        api_failed=measured.api_failed,
        scrape_p50_ms=measured.scrapes.quantile(0.5) / 1e3,
        scrape_p90_ms=measured.scrapes.quantile(0.9) / 1e3,
        scrape_max_ms=measured.scrapes.most / 1e3,
        scrapes=measured.scrapes.count,
        scrapes_failed=measured.scrapes_failed,
    )


def quantiles_ms(latencies: Histogram) -> dict[str, float]:
    """What is said of latencies."""
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999}
    told = {name: latencies.quantile(share) / 1e3 for name, share in shares.items()}
    return told | {"max": latencies.most / 1e3, "mean": round(latencies.mean / 1e3, 3)}


def _between(moments_us: Any, begin_s: float, end_s: float) -> Any:
    return (moments_us >= begin_s * 1e6) & (moments_us < end_s * 1e6)


def _used(measured: Measured) -> dict[str, ProcessFigures]:
    """What each process has used in the window; of one that was killed nothing is known."""
    used = {}
    for name, after in measured.after.processes.items():
        before = measured.before.processes[name]
        if before is None or after is None:
            continue
        nothing = ThreadTime(0, 0)
        used[name] = after._replace(
            cpu_s=after.cpu_s - before.cpu_s,
            threads={
                thread: time_ - before.threads.get(thread, nothing)
                for thread, time_ in sorted(after.threads.items(), key=lambda item: item[0] != MAIN)
            },
        )
    return used


def _node_differences(measured: Measured) -> dict[str, NodeFigures]:
    differences: dict[str, NodeFigures] = {}
    for name, after in measured.after.nodes.items():
        before = measured.before.nodes[name]
        if before is not None and after is not None:
            counted = {field: getattr(after, field) - getattr(before, field) for field in _COUNTERS}
            differences[name] = after._replace(**counted)
    return differences


def _most(nodes: Mapping[str, NodeFigures], name: str, seconds: float) -> float:
    return round(max((getattr(node, name) for node in nodes.values()), default=0) / seconds, 2)


def _timeline(outcome: LoadOutcome) -> list[tuple[int, int, int, float, float]]:
    rows = []
    offered_seconds = outcome.dues[:, 0] // 10**6
    due_seconds, done_seconds = outcome.due_us // 10**6, outcome.done_us // 10**6
    for second in range(int(max(offered_seconds.max(initial=-1), done_seconds.max(initial=-1))) + 1):
        due = due_seconds == second
        latencies = Histogram()
        latencies.record(outcome.done_us[due] - outcome.due_us[due], outcome.counts[due])
        offered = int(outcome.dues[offered_seconds == second, 1].sum())
        final = int(outcome.counts[done_seconds == second].sum())
        p50_ms, p99_ms = latencies.quantile(0.5) / 1e3, latencies.quantile(0.99) / 1e3
        rows.append((second, offered, final, p50_ms, p99_ms))
    return rows


def _failures(outcome: LoadOutcome) -> list[str]:
    told = []
    if outcome.unfinished:
        told.append(f"{outcome.unfinished} transfers were not final when the drain ended")
    for cause, count in sorted(outcome.counters.failed.items()):
        told.append(f"{count} transfers were refused for good: {cause}")
    for status, count in sorted(outcome.counters.statuses.items()):
        told.append(f"{count} transfers are final and were not applied: {status}")
    return told


def _notes(late: Histogram, others_cores: float, stolen_cores: float) -> list[str]:
    told = []
    if late.quantile(0.99) > LATE_MS * 1000:
        words = "waited for a connection, or the load's process had no core; this counts as latency"
        told.append(f"transfers were sent late (p99 {late.quantile(0.99) / 1e3:.0f} ms): they {words}")
    if others_cores > 0.1:
        told.append(f"other processes used {others_cores:.1f} cores of this machine meanwhile")
    if stolen_cores > 0.1:
        told.append(f"other guests of its host took {stolen_cores:.1f} cores from this machine meanwhile")
    return told
