"""A measurement of a network that is made for it: its folders, its processes, its transfers, and the checks
afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cherrydag import workload
from cherrydag.bench import measurement
from cherrydag.bench.agreement import disagreements
from cherrydag.bench.audit import audit
from cherrydag.bench.load import Load, LoadSettings, Second
from cherrydag.bench.local_network import LocalNetwork, NetworkSpec, NodeFailed, make_homes
from cherrydag.bench.measurement import Measured, Result, Watch
from cherrydag.bench.ports import HOST, free_ports
from cherrydag.bench.tabs import Tabs
from cherrydag.errors import ConfigError
from cherrydag.workload import WorkloadError, WorkloadSpec

if TYPE_CHECKING:
    from pathlib import Path

    from cherrydag.genesis import Genesis
    from cherrydag.signing import Progress

NODES_MAX: Final = 100

PORTS_FROM: Final = 27_000
"""Ports are looked for from here on, where no devnet and no system looks."""

Bar = Callable[[str], AbstractContextManager["Progress"]]
"""Makes a progress bar with a title; what it gives is called with (done, total)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """One measurement. transfers: that are signed beforehand. kills: (number of a node, seconds after the
    start). prefixes, programs: as of LocalNetwork. clients: processes that send. tabs: of the explorer that
    are open at node 0. Others: as of LoadSettings.
    """

    spec: NetworkSpec
    folder: Path
    workloads: Path
    transfers: int
    seconds: float
    rate: float | None
    warm_up_s: float = 3.0
    batch_ms: int = 20
    connections: int = 64
    clients: int = 1
    drain_s: float = 30.0
    retries: bool = True
    kills: tuple[tuple[int, float], ...] = ()
    is_audited: bool = True
    tabs: int = 0
    prefixes: Sequence[Sequence[str]] = ()
    programs: dict[int, Sequence[str]] = field(default_factory=dict)


def loopback(
    validators: int, accounts: int, seed: int = 1, observers: int = 0, first_port: int | None = PORTS_FROM
) -> NetworkSpec:
    """A network on 127.0.0.1, at the lowest ports from the first on that are free: the same ones as long as
    nobody takes them, so that signed transfers can be kept. None: as of free_ports. ConfigError if there are
    not so many, or for a number of nodes that cannot be."""
    nodes = validators + observers
    if not 1 <= validators <= nodes <= NODES_MAX:
        raise ConfigError(f"validators: expected 1 to {NODES_MAX}, observers included, got {nodes}")
    places = [f"{HOST}:{port}" for port in free_ports(2 * nodes, first_port)]
    return NetworkSpec(tuple(places[:nodes]), tuple(places[nodes:]), accounts, seed, observers=observers)


def run_local(settings: LocalSettings, bar: Bar, tell: Callable[[float, Sequence[Second]], None]) -> Result:
    """Sign, start, load, compare, stop, audit. tell: is given the rate of the last second and what the
    sending processes have told. NodeFailed if the network does not start; ConfigError for settings that
    cannot be; whatever goes wrong afterwards is among the result's failures."""
    homes = make_homes(settings.spec, settings.folder)
    path = signed_workload(settings.spec, settings.transfers, settings.workloads, homes[0].genesis, bar)
    with LocalNetwork(
        settings.spec, homes, prefixes=settings.prefixes, programs=settings.programs
    ) as network:
        network.start()
        measured = _load(settings, network, path, tell)
        measured.failures += _compare(settings, network)
        try:
            network.stop()
        except NodeFailed as failed:
            measured.failures.append(str(failed))
    if settings.is_audited:
        measured.failures += _audit(network, measured)
    return measurement.result(measured)


def signed_workload(network: NetworkSpec, transfers: int, folder: Path, genesis: Genesis, bar: Bar) -> Path:
    """The file of the signed transfers: the one that is kept in the folder, or made now on all cores."""
    spec = WorkloadSpec(
        seed=network.seed,
        accounts=network.accounts,
        transfers=transfers,
        genesis_digest=genesis.digest,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{genesis.digest.hex()[:16]}-{transfers}.workload"
    try:
        if path.exists() and workload.read(path).spec == spec:
            return path
    except WorkloadError:
        path.unlink()
    with bar("sign") as progress:
        made = workload.generate(spec, progress=progress, processes=os.cpu_count() or 1)
    workload.write(made, path)
    return path


def _load(
    settings: LocalSettings,
    network: LocalNetwork,
    path: Path,
    tell: Callable[[float, Sequence[Second]], None],
) -> Measured:
    wanted = LoadSettings(
        urls=network.urls,
        workload=path,
        count=settings.transfers,
        seconds=settings.seconds,
        rate=settings.rate,
        batch_ms=settings.batch_ms,
        connections=settings.connections,
        processes=settings.clients,
        drain_s=settings.drain_s,
        retries=settings.retries,
    )
    names = [f"v{number}" for number in range(len(network.homes))]
    follower = Follower(tell)
    with Load(wanted) as load, ExitStack() as stack:
        load.prepare()
        pids = dict(zip(names, network.pids, strict=True)) | {
            f"client{number}": pid for number, pid in enumerate(load.pids)
        }
        tabs = stack.enter_context(Tabs(network.urls[0], settings.tabs)) if settings.tabs else None
        if tabs is not None:
            pids["tabs"] = tabs.pid
        watch = Watch(pids, dict(zip(names, network.apis, strict=True)))
        events = [(at_s, _killer(network, number)) for number, at_s in settings.kills]
        measured = measurement.run(load, watch, settings.warm_up_s, follower.tell, events)
        if tabs is not None:
            measured.failures += tabs.failures()
        return measured


class Follower:
    """Makes rates of totals."""

    def __init__(self, tell: Callable[[float, Sequence[Second]], None]) -> None:
        self._tell = tell
        self._final = 0

    def tell(self, told: Sequence[Second]) -> None:
        """What the processes have told, the newest of each."""
        final = sum(second.final for second in told)
        self._tell(final - self._final, told)
        self._final = final


def _killer(network: LocalNetwork, number: int) -> Callable[[], None]:
    return lambda: network.kill(number)


def _compare(settings: LocalSettings, network: LocalNetwork) -> list[str]:
    """What is wrong with the network after the load, while it runs."""
    accounts, _ = settings.spec.keys()
    try:
        network.check()
        return disagreements({f"v{number}": network.apis[number] for number in network.living}, accounts)
    except (NodeFailed, ConnectionError) as error:
        return [str(error)]


def _audit(network: LocalNetwork, measured: Measured) -> list[str]:
    """What is wrong with the logs of those that were stopped, as executed anew."""
    numbers = network.living
    found = audit([network.homes[number].folder for number in numbers], os.cpu_count() or 1)
    if not found:
        return ["audit: there is a log without a commit"]
    wrong = [
        f"audit: v{number} has {one}, v{numbers[0]} has {found[0]}"
        for number, one in zip(numbers, found, strict=True)
        if one != found[0]
    ]
    final = measured.outcome.final - measured.outcome.counters.statuses.total()
    if found[0].applied < final:
        wrong.append(f"audit: {final} transfers were told to be final, the logs have {found[0].applied}")
    return wrong
