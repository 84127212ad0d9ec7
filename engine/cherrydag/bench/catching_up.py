"""How fast a node that has nothing catches up with a network that has a history.

A network takes a load without the node and is stopped: its folders can be kept, for other measurements. From
a copy of them it is started again, then the node, whose commit index is read from its API until it has what
the others have. Which transfers that were is read from its log once it has stopped.
"""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np

from cherrydag.bench.agreement import digest_differences
from cherrydag.bench.audit import audit, open_store
from cherrydag.bench.load import Load, LoadSettings, Second
from cherrydag.bench.local_network import LocalNetwork, NetworkSpec, NodeFailed, make_homes
from cherrydag.bench.local_run import Bar, signed_workload
from cherrydag.bench.process_figures import ProcessFigures, machine_time, process_figures
from cherrydag.errors import ConfigError
from cherrydag.runtime.home import Home

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cherrydag.bench.node_api import NodeApi

POLL_S: Final = 0.2
NEAR_COMMITS: Final = 10
"""Who is no further behind has caught up: others decide a few while an answer is on its way."""

_SETTLE_S: Final = 3.0
_MARK: Final = "history"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUpSettings:
    """spec: whose last node is the late one. folder: where the nodes run. history: where a history of this
    spec, rate and seconds is kept; it is made if it is not there. rate, seconds: of the load that makes it.
    meanwhile: transfers a second that go on while the node catches up, as long as there are some that are
    signed, half as many as the history's. patience_s: how long it may take.
    programs: as of LocalNetwork."""

    spec: NetworkSpec
    folder: Path
    history: Path
    workloads: Path
    rate: float
    seconds: float
    meanwhile: float = 0.0
    patience_s: float = 60.0
    is_audited: bool = True
    programs: dict[int, Sequence[str]] = field(default_factory=dict)

    @property
    def transfers(self) -> int:
        """Of the history."""
        return round(self.rate * self.seconds)

    @property
    def signed(self) -> int:
        """Transfers that are signed for it and what goes on: which those are depends on how many."""
        return self.transfers + self.transfers // 2


class Moment(NamedTuple):
    """What the late node and the one that is furthest have executed. at_s: since the node was started."""

    at_s: float
    own: int
    others: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUp:
    """What came of it; its fields are the keys of the JSON.

    transfers: that the node executed until it had caught up, which took `seconds` since its first commit;
    start_s: from its start until then. rate: transfers a second. load_rate: of the load beside it, what
    became final a second until then; less than was asked for if it had nothing left to send. cpu_us: of each
    process from the node's start on, for a transfer that it executed; the late one's start-up is in it.
    threads_us: of the late node's threads, running and ready without a core. rss_mib: at most. timeline:
    [second, commit index, that of the others, transfers executed].
    """

    transfers: int
    seconds: float
    start_s: float
    rate: float
    commits: int
    cpu_us: dict[str, float]
    threads_us: dict[str, tuple[float, float]]
    load_rate: float
    busy_cores: float
    others_cores: float
    rss_mib: dict[str, int]
    timeline: list[tuple[float, int, int, int]]
    failures: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def run_catch_up(settings: CatchUpSettings, bar: Bar, tell: Callable[[str], None]) -> CatchUp:
    """Make the network and its history, start the late node, watch it, compare, stop, audit.

    tell: is given what is going on. NodeFailed if the network does not start or a node ends by itself.
    """
    late = len(settings.spec.peers) - 1
    path = _history(settings, bar, tell)
    shutil.copytree(settings.history, settings.folder)
    homes = [Home.load(settings.folder / f"v{number}") for number in range(late + 1)]
    failures: list[str] = []
    with LocalNetwork(settings.spec, homes, programs=settings.programs) as network:
        network.start(without=1)
        with ExitStack() as stack:
            beside = None
            if settings.meanwhile:
                beside = stack.enter_context(Beside(Load(_load_beside(settings, network, path))))
            tell(f"node {late} starts")
            watched = Watched(network, late, settings.patience_s)
            watched.follow(tell)
            load_rate = beside.rate() if beside else 0.0
        failures += [*watched.failures, *(beside.failures if beside else [])]
        time.sleep(_SETTLE_S)
        try:
            failures += digest_differences({f"v{n}": network.apis[n] for n in network.living})
            network.stop()
        except (NodeFailed, ConnectionError) as failed:
            failures.append(str(failed))
    if settings.is_audited:
        found = audit([homes[number].folder for number in (0, late)], 2)
        if len(set(found)) != 1:
            failures.append(f"audit: v0 and v{late} have {found}")
    with open_store(homes[late]) as store:
        last = watched.moments[-1].own
        places = store.reader.commits.places(range(1, last + 1))
    transfers = np.array([0, *[int(one.rows["transactions"].sum()) for one in places]]).cumsum()
    return watched.result(transfers.tolist(), failures, load_rate)


def _load_settings(network: LocalNetwork, path: Path, **others: Any) -> LoadSettings:
    urls = network.urls[:-1]
    return LoadSettings(urls=urls, workload=path, **others)


def _history(settings: CatchUpSettings, bar: Bar, tell: Callable[[str], None]) -> Path:
    """Make the history unless it is kept; the file of its transfers, and of those that go on."""
    kept = settings.history
    spec, count = settings.spec, settings.transfers
    words = f"{spec} {settings.rate} {settings.seconds}"
    mark = kept / _MARK
    if mark.is_file():
        if mark.read_text() != words:
            raise ConfigError(f"{kept}: this is the history of {mark.read_text()}")
        genesis = Home.load(kept / "v0").genesis
    elif kept.exists():
        raise ConfigError(f"{kept}: a history that was not completed; remove it")
    else:
        genesis = make_homes(spec, kept)[0].genesis
    path = signed_workload(spec, settings.signed, settings.workloads, genesis, bar)
    if mark.is_file():
        return path
    homes = [Home.load(kept / f"v{number}") for number in range(len(spec.peers))]
    with LocalNetwork(spec, homes) as network:
        network.start(without=1)
        tell(f"{count:,} transfers at {settings.rate:,.0f}/s")
        wanted = _load_settings(network, path, count=count, seconds=settings.seconds, rate=settings.rate)
        with Load(wanted) as load:
            load.prepare()
            load.begin()
            outcome = load.follow(lambda _: None)
        network.stop()
    if outcome.final < count:
        raise NodeFailed(f"history: {count - outcome.final} transfers are not final")
    mark.write_text(words)
    return path


def _load_beside(settings: CatchUpSettings, network: LocalNetwork, path: Path) -> LoadSettings:
    """What goes on as long as there is patience, or something left to send."""
    left = settings.signed - settings.transfers
    return _load_settings(
        network,
        path,
        count=left,
        first=settings.transfers,
        seconds=min(settings.patience_s, left / settings.meanwhile),
        rate=settings.meanwhile,
    )


class Beside:
    """A load that begins with the block and ends with it. final: of its transfers, as it told last, once a
    second. A thread listens to it: what it tells must be taken, or it waits and sends nothing meanwhile."""

    def __init__(self, load: Load) -> None:
        self.final = 0
        self.failures: list[str] = []
        self._load = load
        self._is_left = False
        self._start_s = self._told_s = 0.0
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        try:
            self._load.prepare()
            self._start_s = self._load.begin() / 1e9
        except BaseException:
            self._load.__exit__()
            raise
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_left = True
        self._load.__exit__()
        self._listener.join()

    def rate(self) -> float:
        """Transfers a second that became final so far."""
        until_s = self._told_s if self._listener.is_alive() else time.monotonic()
        return round(self.final / max(1.0, until_s - self._start_s), 1)

    def _listen(self) -> None:
        try:
            outcome = self._load.follow(self._tell)
        except ConnectionError as error:
            if not self._is_left:
                self.failures.append(f"load: {error}")
            return
        self.final = outcome.final
        if lost := outcome.counters.failed.total():
            self.failures.append(f"load: {lost} transfers were refused for good")

    def _tell(self, told: Sequence[Second]) -> None:
        self.final, self._told_s = sum(second.final for second in told), time.monotonic()


class Watched:
    """The late node from its start until it has caught up."""

    def __init__(self, network: LocalNetwork, late: int, patience_s: float) -> None:
        self._network = network
        self._apis = network.apis[: late + 1]
        self._patience_s = patience_s
        self.moments = [Moment(0.0, 0, 0)]
        self.failures: list[str] = []
        self._machine_s = machine_time().busy_s
        self._before = [process_figures(pid) for pid in network.pids] + [None]
        self._start_s = time.monotonic()
        network.start_next()

    def follow(self, tell: Callable[[str], None]) -> None:
        """Note where it is until it is there."""
        while not self._is_done():
            if self.moments[-1].at_s > self._patience_s:
                self.failures.append(f"it has not caught up within {self._patience_s:.0f} s")
                break
            time.sleep(POLL_S)
            self._network.check()
            before = self.moments[-1]  # who does not answer now has what it had
            others = max(before.others, *(_index(api) for api in self._apis[:-1]))
            own = max(before.own, _index(self._apis[-1]))
            self.moments.append(Moment(time.monotonic() - self._start_s, own, others))
            tell(f"commit {own:,} of {others:,}")
        self._machine_s = machine_time().busy_s - self._machine_s
        self._after = [process_figures(pid) for pid in self._network.pids]

    def _is_done(self) -> bool:
        _, own, others = self.moments[-1]
        return own > 0 and others > 0 and own >= others - NEAR_COMMITS

    def result(self, transfers: Sequence[int], failures: list[str], load_rate: float) -> CatchUp:
        """transfers: executed up to each commit."""
        first = next(moment for moment in reversed(self.moments) if not moment.own)
        last = self.moments[-1]
        seconds = last.at_s - first.at_s
        done = transfers[last.own]
        names = [f"v{number}" for number in range(len(self._after))]
        cpu_s = {
            name: after.cpu_s - (before.cpu_s if before else 0)
            for name, before, after in zip(names, self._before, self._after, strict=True)
            if after is not None
        }
        per = 1e6 / max(1, done)
        late = self._after[-1]
        threads = {} if late is None else late.threads
        machine_s = self._machine_s / last.at_s
        busy = sum(cpu_s.values()) / last.at_s
        return CatchUp(
            transfers=done,
            seconds=round(seconds, 2),
            start_s=round(first.at_s, 2),
            rate=round(done / max(seconds, POLL_S), 1),
            commits=last.own,
            cpu_us={name: round(used * per, 2) for name, used in cpu_s.items()},
            threads_us={
                name: (round(used.run_s * per, 2), round(used.queued_s * per, 2))
                for name, used in threads.items()
            },
            load_rate=load_rate,
            busy_cores=round(busy, 2),
            others_cores=round(max(0.0, machine_s - busy), 2),
            rss_mib=_rss(names, self._after),
            timeline=[(round(one.at_s, 2), one.own, one.others, transfers[one.own]) for one in self.moments],
            failures=failures,
        )


def _rss(names: Sequence[str], figures: Sequence[ProcessFigures | None]) -> dict[str, int]:
    return {
        name: round(one.rss_max_bytes / 2**20)
        for name, one in zip(names, figures, strict=True)
        if one is not None
    }


def _index(api: NodeApi) -> int:
    """Of the last commit that a node has executed; 0 while it does not answer."""
    try:
        return api.figures().commit_index
    except ConnectionError:
        return 0
