"""The load: processes of their own that send a workload by its schedule, and tell what became of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import uvloop

from cherrydag import workload
from cherrydag.bench.histogram import Histogram
from cherrydag.bench.lane import CONNECTIONS_MAX, Counters, Lane, Rows, Sample
from cherrydag.bench.schedule import lanes_of, parts, schedule
from cherrydag.errors import CherrydagError, ConfigError
from cherrydag.params import RECORD_BYTES
from cherrydag.rpc.link import Link

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.context import SpawnProcess
    from pathlib import Path

_TIMEOUT_S: Final = 60.0
_START_TIMEOUT_S: Final = 120.0
_START_PAUSE_NS: Final = 300_000_000


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """urls: of the nodes, each of which gets an equal share, by sender. workload: file of signed transfers,
    of which `count` may be sent, from number `first` on. rate: transfers a second, for so many seconds; None:
    as many as the nodes take, part_rows on each connection. batch_ms: those that are due within it are sent
    together. connections: requests of one node at a time. processes: that send. drain_s: how long to wait for
    what is not final at the end. retries: as of Lane."""

    urls: tuple[str, ...]
    workload: Path
    count: int
    seconds: float
    rate: float | None
    batch_ms: int = 20
    connections: int = 64
    part_rows: int = 1024
    processes: int = 1
    drain_s: float = 30.0
    first: int = 0
    retries: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.connections <= CONNECTIONS_MAX:
            raise ConfigError(f"connections: expected 1 to {CONNECTIONS_MAX}, got {self.connections}")
        if not 1 <= self.processes <= len(self.urls):
            raise ConfigError(f"processes: expected 1 to {len(self.urls)}, got {self.processes}")
        if self.seconds <= 0:
            raise ConfigError(f"seconds: expected above 0, got {self.seconds}")
        if not 1 <= self.wanted <= self.count:
            raise ConfigError(f"transfers: {self.wanted} are due, and there are {self.count}")

    @property
    def wanted(self) -> int:
        """Transfers that are due in all; at a rate of None, all that there are."""
        return self.count if self.rate is None else round(self.rate * self.seconds)


class Second(NamedTuple):
    """What one process has done within a second. offered, final: transfers since its start. latencies: of
    those that became final within it."""

    offered: int
    final: int
    queued: int
    counters: Counters
    latencies: Histogram


@dataclass(slots=True)
class LoadOutcome:
    """What became of a load. samples: a row for each Sample, in its columns. dues: when how many were due, in
    two columns, whatever became of them. unfinished: transfers of which nothing was heard."""

    samples: Rows = field(default_factory=lambda: _table([], len(Sample._fields)))
    dues: Rows = field(default_factory=lambda: _table([], 2))
    counters: Counters = field(default_factory=Counters)
    unfinished: int = 0

    @property
    def offered(self) -> int:
        """Transfers that were due."""
        return int(self.dues[:, 1].sum())

    @property
    def due_us(self) -> Rows:
        """When those were due that are final."""
        return self.samples[:, 0]

    @property
    def sent_us(self) -> Rows:
        """When they were sent."""
        return self.samples[:, 1]

    @property
    def done_us(self) -> Rows:
        """When their submitter knew."""
        return self.samples[:, 2]

    @property
    def counts(self) -> Rows:
        """How many transfers each sample is about."""
        return self.samples[:, 3]

    @property
    def final(self) -> int:
        """Transfers of which the submitter was told that they are final."""
        return int(self.counts.sum())

    def add(self, other: LoadOutcome) -> None:
        """Put those of several processes together."""
        self.samples = np.concatenate([self.samples, other.samples])
        self.dues = np.concatenate([self.dues, other.dues])
        self.counters.add(other.counters)
        self.unfinished += other.unfinished


def _table(rows: Sequence[Sequence[int]], columns: int) -> Rows:
    return np.array(rows, np.int64).reshape(-1, columns)


class Load:
    """The processes that send. `with` ends them."""

    def __init__(self, settings: LoadSettings) -> None:
        self.settings = settings
        self._processes: list[SpawnProcess] = []
        self._pipes: list[Connection] = []

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.join()

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        return [process.pid or 0 for process in self._processes]

    def prepare(self) -> None:
        """Let them read the workload, until they are ready to send."""
        context = get_context("spawn")
        for number in range(self.settings.processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=_run, args=(self.settings, number, theirs), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)
        for pipe in self._pipes:
            if not pipe.poll(_START_TIMEOUT_S):
                raise ConnectionError("the load's process does not begin")
            _received(pipe)

    def begin(self) -> int:
        """Start the clock; the moment on the monotonic clock, in nanoseconds."""
        start_ns = time.monotonic_ns() + _START_PAUSE_NS
        for pipe in self._pipes:
            pipe.send(start_ns)
        return start_ns

    def follow(self, tell: Callable[[Sequence[Second]], None]) -> LoadOutcome:
        """Wait for the end. tell: is given what each process has done so far, whenever one has told."""
        outcome = LoadOutcome()
        latest: dict[Connection, Second] = {}
        open_pipes = list(self._pipes)
        while open_pipes:
            told = wait(open_pipes)
            for pipe in [pipe for pipe in open_pipes if pipe in told]:
                message = _received(pipe)
                if isinstance(message, LoadOutcome):
                    outcome.add(message)
                    open_pipes.remove(pipe)
                elif isinstance(message, Second):
                    latest[pipe] = message
                    tell(list(latest.values()))
        return outcome


def _received(pipe: Connection) -> object:
    try:
        message = pipe.recv()
    except EOFError:
        raise ConnectionError("a process of the load has ended before its end") from None
    if isinstance(message, BaseException):
        raise message
    return message


# In the process


def _run(settings: LoadSettings, number: int, pipe: Connection) -> None:
    """Body of one process: the lanes whose number leaves this remainder."""
    try:
        uvloop.run(_Sender(settings, number, pipe).run())
    except (CherrydagError, OSError) as error:
        pipe.send(ConnectionError(f"{type(error).__name__}: {error}"))


class _Sender:
    def __init__(self, settings: LoadSettings, number: int, pipe: Connection) -> None:
        self._settings = settings
        self._number = number
        self._pipe = pipe
        self._told: list[int] = []

    async def run(self) -> None:
        """Read, say so, wait for the start, send, tell."""
        settings = self._settings
        lane_numbers = range(self._number, len(settings.urls), settings.processes)
        links = [Link(url, _TIMEOUT_S) for url in settings.urls]
        lanes = self._lanes(lane_numbers, links)
        self._pipe.send("ready")
        start_ns = await asyncio.get_running_loop().run_in_executor(None, self._pipe.recv)
        reporter = asyncio.create_task(self._report(lanes))
        try:
            async with asyncio.TaskGroup() as group:
                for lane in lanes:
                    group.create_task(self._run(lane, start_ns))
        finally:
            reporter.cancel()
            for link in links:
                await link.close()
        self._pipe.send(_outcome(lanes))

    async def _run(self, lane: Lane, start_ns: int) -> None:
        drain_s = self._settings.drain_s
        if self._settings.rate is None:
            await lane.run_closed(start_ns, int(self._settings.seconds * 1e6), drain_s)
        else:
            await lane.run(start_ns, drain_s)

    def _lanes(self, numbers: Sequence[int], links: list[Link]) -> list[Lane]:
        settings = self._settings
        records = workload.read(settings.workload).records[settings.first :][: settings.wanted]
        if len(records) < settings.wanted:
            raise ConfigError(f"{settings.workload}: {len(records)} transfers, {settings.wanted} are wanted")
        lane_of = lanes_of(records, len(links))
        if settings.rate is None:
            plans = parts(lane_of, len(links), settings.part_rows)
        else:
            plans = schedule(lane_of, len(links), settings.rate, settings.batch_ms)
        octets = records.view(np.uint8).reshape(-1, RECORD_BYTES)
        return [
            Lane(
                [*links[number:], *links[:number]],
                octets[lane_of == number],
                plans[number],
                settings.connections,
                retries=settings.retries,
            )
            for number in numbers
        ]

    async def _report(self, lanes: list[Lane]) -> None:
        self._told = [0] * len(lanes)
        while True:
            await asyncio.sleep(1)
            counters, latencies = Counters(), Histogram()
            for at, lane in enumerate(lanes):
                counters.add(lane.counters)
                fresh = lane.samples[self._told[at] :]
                self._told[at] += len(fresh)
                latencies.record(*_latencies(fresh))
            self._pipe.send(
                Second(
                    sum(lane.offered for lane in lanes),
                    sum(lane.final for lane in lanes),
                    sum(lane.queued for lane in lanes),
                    counters,
                    latencies,
                )
            )


def _latencies(samples: list[Sample]) -> tuple[Rows, Rows]:
    table = _table(samples, len(Sample._fields))
    return table[:, 2] - table[:, 0], table[:, 3]


def _outcome(lanes: list[Lane]) -> LoadOutcome:
    outcome = LoadOutcome(
        _table([sample for lane in lanes for sample in lane.samples], len(Sample._fields)),
        _table([due for lane in lanes for due in lane.dues], 2),
    )
    for lane in lanes:
        outcome.counters.add(lane.counters)
    lost = outcome.counters.failed.total() + outcome.counters.given_up
    outcome.unfinished = outcome.offered - outcome.final - lost
    return outcome
