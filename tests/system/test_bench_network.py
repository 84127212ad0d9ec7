"""The measurement of networks: one that it makes itself, and one that is there."""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rpc_rig import api

from cherrydag.bench.load import Second
from cherrydag.bench.local_network import LocalNetwork, NodeFailed, make_homes
from cherrydag.bench.local_run import LocalSettings, loopback, run_local
from cherrydag.bench.measurement import Result
from cherrydag.bench.remote_run import RemoteSettings, run_remote
from cherrydag.bench.tabs import Tabs
from cherrydag.errors import ConfigError
from cherrydag.primitives import TimestampMs
from cherrydag.runtime.home import TREASURY, create_solo
from cherrydag.signing import Progress

ACCOUNTS = 400


@contextmanager
def no_bar(_: str) -> Iterator[Progress]:
    yield lambda done, total: None


def measure(folder: Path, **options: object) -> tuple[Result, list[int]]:
    finals: list[int] = []

    def tell(_: float, told: Sequence[Second]) -> None:
        finals.append(sum(second.final for second in told))

    settings = LocalSettings(
        spec=loopback(4, ACCOUNTS, first_port=None),
        folder=folder / "run",
        workloads=folder / "workloads",
        **options,  # type: ignore[arg-type]
    )
    return run_local(settings, no_bar, tell), finals


def test_a_network_of_processes_takes_a_load_and_agrees(tmp_path: Path) -> None:
    told, finals = measure(tmp_path, transfers=4000, seconds=2.0, rate=2000.0, warm_up_s=0.5)
    assert told.failures == []
    assert told.transfers["offered"] == told.transfers["final"] == 4000
    assert finals == sorted(finals)
    assert set(told.cpu_us) == {"v0", "v1", "v2", "v3", "client0", "all"}
    assert told.latency_ms["p50"] > 0 and told.commits_per_s > 0 and told.wire_bytes > 176


def test_tabs_of_the_explorer_are_open_meanwhile(tmp_path: Path) -> None:
    told, _ = measure(tmp_path, transfers=2000, seconds=2.0, rate=1000.0, warm_up_s=0.5, tabs=3)
    assert told.failures == []
    assert told.cpu_us["tabs"] > 0


def test_tabs_that_the_node_closes_are_told() -> None:
    async def closing(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close(code=4000)
        return socket

    async def follow() -> list[str]:
        app = web.Application()
        app.router.add_get("/ws", closing)
        async with TestServer(app) as server:
            tabs = await asyncio.to_thread(Tabs, str(server.make_url("")).rstrip("/"), 2)
            with tabs:
                while len(failures := await asyncio.to_thread(tabs.failures)) < 2:
                    await asyncio.sleep(0.05)
        return failures

    assert sorted(asyncio.run(follow())) == [
        f"tabs: tab {number} was closed by the node: code 4000" for number in (0, 1)
    ]


def test_tabs_that_do_not_open_are_told() -> None:
    with pytest.raises(ConnectionError, match="2 tabs do not open"):
        Tabs("http://127.0.0.1:1", 2)
    for tabs in (0, 65):
        with pytest.raises(ConfigError, match=f"expected 1 to 64, got {tabs}"):
            Tabs("http://127.0.0.1:1", tabs)


def test_another_network_at_the_same_ports_is_not_measured(tmp_path: Path) -> None:
    spec = loopback(1, ACCOUNTS, first_port=None)
    with LocalNetwork(spec, make_homes(spec, tmp_path / "one")) as first:
        first.start()
        with (
            LocalNetwork(spec, make_homes(spec, tmp_path / "other")) as second,
            pytest.raises(NodeFailed, match="v0 has ended"),
        ):
            second.start()


@pytest.mark.slow
def test_a_killed_validator_takes_no_transfer_with_it(tmp_path: Path) -> None:
    told, _ = measure(tmp_path, transfers=1500, seconds=3.0, rate=500.0, warm_up_s=0.5, kills=((3, 1.5),))
    assert told.failures == []
    assert told.transfers["final"] == 1500
    assert told.answers["disconnected"] > 0
    assert "v3" not in told.cpu_us


async def test_a_foreign_network_is_measured_with_one_key_of_it(tmp_path: Path) -> None:
    home = create_solo(tmp_path / "solo", created_ms=TimestampMs(1_700_000_000_000))
    async with api(home.folder) as node:
        settings = RemoteSettings(
            urls=(node.url,), payer=home.key(TREASURY), rate=500.0, seconds=1.0, accounts=150, warm_up_s=0.1
        )
        told = await asyncio.to_thread(run_remote, settings, no_bar, lambda _rate, _told: None)
    assert told.failures == []
    assert told.transfers["final"] == 500


async def test_a_payer_without_coins_is_told_what_it_takes(tmp_path: Path) -> None:
    home = create_solo(tmp_path / "solo", created_ms=TimestampMs(1_700_000_000_000))
    async with api(home.folder) as node:
        settings = RemoteSettings(
            urls=(node.url,), payer=home.key("validator"), rate=100.0, seconds=1.0, accounts=10
        )
        with pytest.raises(ConfigError, match="the payer has 0"):
            await asyncio.to_thread(run_remote, settings, no_bar, lambda _rate, _told: None)


def test_a_network_is_at_free_ports_the_same_ones_again() -> None:
    spec = loopback(2, 2, first_port=None)
    assert len({*spec.peers, *spec.apis}) == 4
    assert loopback(2, 2, first_port=None) == spec
    port = int(spec.peers[0].partition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        other = loopback(2, 2, first_port=port)
    assert spec.peers[0] not in {*other.peers, *other.apis}


@pytest.mark.parametrize(("validators", "observers"), [(0, 0), (101, 0), (100, 1), (0, 1)])
def test_a_network_has_a_bounded_number_of_nodes(validators: int, observers: int) -> None:
    with pytest.raises(ConfigError, match="validators"):
        loopback(validators, 2, observers=observers)
