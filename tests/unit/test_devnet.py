"""Parts of a devnet that need no process: folder, figures and how they are shown, the load's transfers."""

import asyncio
import io
import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cherrydag.address import Network, address_of
from cherrydag.bench.ports import HOST
from cherrydag.chain import Chain
from cherrydag.config_sources import Sources, file_in, load
from cherrydag.crypto import verify_signatures
from cherrydag.devnet import folder as folders
from cherrydag.devnet import temporary, watch
from cherrydag.devnet.figures import (
    WINDOW_S,
    Figures,
    Latencies,
    Latency,
    LoadFigures,
    NodeFigures,
    latency_of,
)
from cherrydag.devnet.folder import PROBE, USER, DevnetSpec, create_devnet, is_devnet, load_devnet
from cherrydag.devnet.load import Batches, decode_figures, encode_figures
from cherrydag.devnet.view import Ended, JsonView, LineView, Started, TerminalView
from cherrydag.devnet.watch import Prober
from cherrydag.errors import ConfigError
from cherrydag.primitives import TimestampMs
from cherrydag.runtime.home import Home
from cherrydag.signing import generate_keypair
from cherrydag.transaction import check_records, transaction_ids

NOW_MS = TimestampMs(1_800_000_000_000)


@pytest.fixture(autouse=True)
def _few_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "LOAD_ACCOUNTS", 8)


# Folder


def test_new_devnet_has_homes_of_one_chain_and_keys_with_coins(tmp_path: Path) -> None:
    made = create_devnet(tmp_path / "net", DevnetSpec(3, 1), NOW_MS)
    assert [node.name for node in made.nodes] == ["v0", "v1", "v2", "ob0"]
    homes = [Home.load(node.folder) for node in made.nodes]
    genesis = homes[0].genesis
    assert {home.genesis.digest for home in homes} == {genesis.digest}
    assert genesis.network is Network.DEV
    members = {one.public_key for one in genesis.validators}
    assert [home.key("validator").public_key in members for home in homes] == [True, True, True, False]
    funds = dict(genesis.allocations)
    accounts = [made.key(USER), made.key(PROBE), *made.load_spec().key_pairs()]
    assert all(funds[address_of(key.public_key)] == folders.FUNDS for key in accounts)
    assert made.key_file(USER).is_file()
    assert is_devnet(made.folder)
    assert not is_devnet(tmp_path)


def test_devnet_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    made = create_devnet(tmp_path / "net", DevnetSpec(2), NOW_MS)
    found = load_devnet(tmp_path / "net")
    assert found == made
    assert found.address(USER).startswith("devcherry1")


def test_nodes_configurations_are_sound_and_only_the_first_has_a_faucet(tmp_path: Path) -> None:
    made = create_devnet(tmp_path / "net", DevnetSpec(2), NOW_MS)
    configs = [load(Sources(file_in(node.folder))).config for node in made.nodes]
    for config, node in zip(configs, made.nodes, strict=True):
        assert config.peers.listen == node.peers
        assert config.api.listen == node.api
        assert config.node.name == node.name
    assert [config.faucet.key for config in configs] == ["treasury", ""]


def test_folder_that_is_in_use_otherwise_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(ConfigError, match="neither a ledger's folder nor empty"):
        create_devnet(tmp_path, DevnetSpec(1), NOW_MS)
    with pytest.raises(ConfigError, match="it is no devnet's"):
        load_devnet(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("text", "words"), [("{", "no devnet's"), ("{}", "no devnet's"), ('{"version": 2}', "version 2")]
)
def test_facts_that_cannot_be_read_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / folders.FACTS).write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_devnet(tmp_path)


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        made = create_devnet(tmp_path / "net", DevnetSpec(1), NOW_MS)
        facts = made.folder / folders.FACTS
        form = json.loads(facts.read_text())
        form["nodes"][0]["api_port"] = port
        facts.write_text(json.dumps(form))
        with pytest.raises(ConfigError, match=f"v0: port {port} is taken"):
            load_devnet(made.folder)


@pytest.mark.parametrize(("validators", "observers"), [(0, 1), (65, 0), (1, 64), (4, -1)])
def test_number_of_nodes_is_bounded(validators: int, observers: int) -> None:
    with pytest.raises(ConfigError, match="expected 1 to 64 nodes"):
        DevnetSpec(validators, observers)
    assert DevnetSpec(1, 63).observers == 63


# Temporary folder


def test_temporary_folder_of_a_killed_process_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, foreign = tmp_path / f"{temporary.PREFIX}left", tmp_path / f"{temporary.PREFIX}without"
    left.mkdir()
    foreign.mkdir()
    (left / "lock").touch()
    (left / "data").touch()
    with temporary.temporary_folder() as held:
        assert sorted(tmp_path.iterdir()) == sorted([held, foreign])
        with temporary.temporary_folder() as other:
            assert held.is_dir()
        assert not other.exists()
    assert list(tmp_path.iterdir()) == [foreign]


# Figures


@pytest.mark.parametrize(
    ("values", "p50", "p99"),
    [([7], 7, 7), ([2, 1], 1, 2), (range(1, 101), 50, 99), (range(1, 202), 101, 199)],
)
def test_percentiles_are_of_the_nearest_rank(values: list[int], p50: int, p99: int) -> None:
    found = latency_of(values)
    assert found == Latency(len(values), p50, p99, max(values))


def test_latencies_are_forgotten_after_the_window() -> None:
    latencies = Latencies()
    assert latencies.summary(0.0) is None
    latencies.add(1.0, 500.0)
    latencies.add(2.0, 100.0)
    assert latencies.summary(1.0 + WINDOW_S) == Latency(2, 100.0, 500.0, 500.0)
    assert latencies.summary(1.1 + WINDOW_S) == Latency(1, 100.0, 100.0, 100.0)
    assert latencies.summary(2.1 + WINDOW_S) is None


# Load


def test_batches_are_signed_transfers_whose_nonces_count_up(tmp_path: Path) -> None:
    spec = create_devnet(tmp_path / "net", DevnetSpec(1), NOW_MS).load_spec()
    keys = spec.key_pairs()
    begin = np.arange(len(keys), dtype=np.uint64)
    batches = Batches(spec, keys, begin.copy())
    genesis = Home.load(tmp_path / "net" / "v0").genesis
    seen: dict[bytes, list[int]] = {}
    for count in (3, 20, 1, 8):
        records = batches.take(count)
        assert len(records) == count
        assert not check_records(records, now_s=0).any()
        ids = transaction_ids(records, genesis.chain().transaction_key)
        senders = np.ascontiguousarray(records["sender"])
        signatures = np.ascontiguousarray(records["signature"])
        assert all(verify_signatures(senders, np.frombuffer(ids, np.uint8).reshape(-1, 32), signatures))
        for record in records:
            seen.setdefault(record["sender"].tobytes(), []).append(int(record["nonce"]))
    for at, key in enumerate(keys):
        assert seen[key.public_key] == [at + i for i in range(len(seen[key.public_key]))]
        assert len(seen[key.public_key]) == 4


@pytest.mark.parametrize("latency", [None, Latency(3, 1.5, 2.5, 3.5)])
def test_figures_of_the_load_survive_the_pipe(latency: Latency | None) -> None:
    figures = LoadFigures(10, 7, 1, 2.5, latency)
    assert decode_figures(encode_figures(figures)) == figures


# Views


def node(name: str, **fields: object) -> NodeFigures:
    usual = NodeFigures(name, "http://h:1", 7, True, True, 12, 10, 3, 3, 60_000_000, 20_000_000)
    return usual._replace(**fields)  # type: ignore[arg-type]


def figures(**fields: object) -> Figures:
    nodes = (node("v0"), node("v1", is_running=False, is_ready=False, commit_index=-1, round=-1, others=-1))
    load = LoadFigures(2000, 1900, 3, 2.0, Latency(9, 80.0, 90.0, 95.5))
    usual = Figures(
        3.25, 1234.5, 8.0, 4000, Latency(4, 200.0, 300.0, 310.0), 1, load, nodes, 70_000_000, 9_000_000
    )
    return usual._replace(**fields)  # type: ignore[arg-type]


STARTED = Started(
    1.25, "/d", False, [("v0", "http://h:1", "h:2")], "dev1x", "/d/k.json", "ab", [("send", "cherrydag send")]
)
ENDED = Ended("v1", -9, "/d/v1.log", ["last words"], "cherrydag run /d/v1")


def test_line_tells_all_that_matters() -> None:
    out = io.StringIO()
    view = LineView(out)
    view.started(STARTED)
    view.figures(figures())
    view.ended(ENDED)
    view.close()
    told = out.getvalue()
    for words in (
        "ready in 1.2 s", "http://h:1", "dev1x", "/d/k.json", "removed at the end", "cherrydag send",
        "1,234 tx/s final", "p50 200 p99 300 ms", "round 12", "ready 1/2", "memory 49 MB",
        "1,900 of 2,000 final, 3 failed, p50 80 p99 90 ms",
        "v1 has ended: signal 9", "| last words", "cherrydag run /d/v1",
    ):  # fmt: skip
        assert words in told


def test_line_does_without_what_is_not_known_yet() -> None:
    out = io.StringIO()
    LineView(out).figures(figures(probes=None, load=None))
    assert "finality -" in out.getvalue()
    assert "load" not in out.getvalue()


def test_json_is_a_document_a_line() -> None:
    out = io.StringIO()
    view = JsonView(out)
    view.started(STARTED)
    view.figures(figures())
    view.ended(ENDED)
    ready, told, ended = map(json.loads, out.getvalue().splitlines())
    assert ready["event"] == "ready"
    assert ready["nodes"] == [{"name": "v0", "url": "http://h:1", "peers": "h:2"}]
    assert told["event"] == "figures"
    assert told["probes"]["p99_ms"] == 300.0
    assert told["load"]["latency"]["measured"] == 9
    assert [one["is_ready"] for one in told["nodes"]] == [True, False]
    assert (ended["event"], ended["code"], ended["lines"]) == ("ended", -9, ["last words"])


def test_table_has_a_row_for_each_node_and_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    view = TerminalView(console)
    view.started(STARTED)
    view.figures(figures(time_s=2.0))
    view.ended(ENDED)
    view.close()
    told = console.file.getvalue()  # type: ignore[attr-defined]
    rows = [line.split() for line in told.splitlines() if line[:2] in ("v0", "v1", "de", "al")]
    assert ["v0", "ready", "12", "10", "3", "of", "3", "60", "20", "7"] in rows
    assert ["v1", "ended", "-", "-", "-", "60", "20", "7"] in rows
    assert ["all", "190", "49"] in rows


async def test_a_probe_that_its_node_takes_and_never_issues_has_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Stuck:
        async def submit(self, _: object) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(watch, "_FINAL_S", 0.0)
    key = generate_keypair(bytes(32))
    prober = Prober([], Chain.of(bytes(32)), key, address_of(key.public_key))
    stuck: Any = Stuck()
    await prober._probe(stuck, prober._record(0))
    assert prober.failed == 1 and prober.latencies.summary(0) is None
