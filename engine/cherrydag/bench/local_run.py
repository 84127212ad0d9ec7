"""A measurement of a network that is made for it: its folders, its processes, its transfers, and the checks
afterwards."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cherrydag import workload
from cherrydag.bench import measurement
from cherrydag.bench.agreement import disagreements
from cherrydag.bench.audit import audit
from cherrydag.bench.load import Load, LoadSettings, Second
from cherrydag.bench.local_network import LocalNetwork, NetworkSpec, NodeFailed, make_homes
from cherrydag.bench.measurement import Measured, Result, Watch
from cherrydag.errors import ConfigError
from cherrydag.workload import WorkloadError, WorkloadSpec

if TYPE_CHECKING:
    from pathlib import Path

    from cherrydag.genesis import Genesis
    from cherrydag.signing import Progress

API_PORTS_AFTER: Final = 100
"""Ports for clients are so far above those for peers."""

Bar = Callable[[str], AbstractContextManager["Progress"]]
"""Makes a progress bar with a title; what it gives is called with (done, total)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """One measurement. transfers: that are signed beforehand. kills: (number of a node, seconds after the
    start). prefixes, programs: as of LocalNetwork. clients: processes that send. Others: as of LoadSettings.
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
    prefixes: Sequence[Sequence[str]] = ()
    programs: dict[int, Sequence[str]] = field(default_factory=dict)


def loopback(validators: int, accounts: int, port: int, seed: int = 1, observers: int = 0) -> NetworkSpec:
    """A network on 127.0.0.1: ports from `port` on for peers, and 100 higher for clients. ConfigError if one
    is taken."""
    nodes = validators + observers
    if not 1 <= validators <= nodes <= API_PORTS_AFTER:
        raise ConfigError(f"validators: expected 1 to {API_PORTS_AFTER}, observers included, got {nodes}")
    peers = range(port, port + nodes)
    apis = range(port + API_PORTS_AFTER, port + API_PORTS_AFTER + nodes)
    for number in (*peers, *apis):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", number))
            except OSError as error:
                raise ConfigError(f"port {number}: {error.strerror}; choose others") from error
    return NetworkSpec(
        tuple(f"127.0.0.1:{number}" for number in peers),
        tuple(f"127.0.0.1:{number}" for number in apis),
        accounts,
        seed,
        observers=observers,
    )


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
    with Load(wanted) as load:
        load.prepare()
        pids = dict(zip(names, network.pids, strict=True)) | {
            f"client{number}": pid for number, pid in enumerate(load.pids)
        }
        watch = Watch(pids, dict(zip(names, network.apis, strict=True)))
        events = [(at_s, _killer(network, number)) for number, at_s in settings.kills]
        return measurement.run(load, watch, settings.warm_up_s, follower.tell, events)


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
