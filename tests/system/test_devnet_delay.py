"""`cherrydag devnet --delay-ms` as users meet it. Where there is no root, only that this is said."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from devnet_processes import Devnet, is_alive, until_gone

from cherrydag.bench import netlab
from cherrydag.bench.netbridge import sweep
from cherrydag.bench.netlab import NetLab, Unsupported, check_supported
from cherrydag.cli.exits import Exit
from cherrydag.cli.program import cli

DELAY_MS = 100


def is_supported() -> bool:
    try:
        check_supported()
    except Unsupported:
        return False
    return True


needs_root = pytest.mark.skipif(
    not is_supported(), reason="needs root, its capabilities, /dev/net/tun and ip"
)


def bridge_of(devnet: Devnet) -> int:
    """The process that carries the packets, a child of the devnet's."""
    pid = devnet.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    (found,) = [pid for pid in children if b"netbridge" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return int(found)


def namespaces(bridge: int) -> list[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    names = [line.split()[0] for line in listed.stdout.splitlines() if line]
    return [name for name in names if name.startswith(f"{netlab.NAMESPACE}-{bridge}-")]


def devices(bridge: int) -> list[str]:
    listed = subprocess.run(["ip", "-o", "link", "show"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if f"v{bridge}@" in line or f"v{bridge}:" in line]


@needs_root
def test_finality_takes_its_delays_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with Devnet(tmp_path / "t", "--delay-ms", DELAY_MS, "--observers", 1) as devnet:
        bridge = bridge_of(devnet)
        assert len(namespaces(bridge)) == 5 and len(devices(bridge)) == 5
        assert devnet.ready["delay_ms"] == DELAY_MS
        assert [node["peers"].split(":")[0] for node in devnet.ready["nodes"]] == [
            f"10.77.0.{number}" for number in range(1, 6)
        ]
        figures = devnet.next("figures", lambda told: told["probes"] and told["probes"]["measured"] >= 5)
        # A vertex, its support, and what supports that: three delays at least until anybody can commit it.
        assert figures["probes"]["p50_ms"] >= 3 * DELAY_MS
        assert all(node["is_ready"] for node in figures["nodes"])
        assert devnet.stop(signal.SIGTERM) == 0
        assert not any(map(is_alive, [*devnet.pids, bridge]))
        assert namespaces(bridge) == [] and devices(bridge) == []
        assert list(devnet.temporary.iterdir()) == []


@needs_root
def test_a_kept_devnet_goes_on_with_and_without_delay_after_everything_was_killed(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    options = ("--dir", folder, "--validators", 2)
    with Devnet(tmp_path / "t", *options, "--delay-ms", 20) as devnet:
        digest, bridge = devnet.ready["genesis_digest"], bridge_of(devnet)
        os.kill(devnet.pids[1], signal.SIGKILL)
        restart = devnet.next("ended")["restart"]
        assert restart.startswith(
            f"ip netns exec {netlab.NAMESPACE}-{bridge}-1 cherrydag run {folder}/v1 --peers"
        )
        os.kill(bridge, signal.SIGKILL)
        devnet.stop(signal.SIGKILL)
        until_gone([*devnet.pids, bridge])
        assert len(namespaces(bridge)) == 2
    with Devnet(tmp_path / "t", *options, "--delay-ms", 20) as devnet:
        assert namespaces(bridge) == [] and devices(bridge) == []
        assert devnet.ready["genesis_digest"] == digest
        bridge = bridge_of(devnet)
        devnet.stop(signal.SIGKILL)
        until_gone([*devnet.pids, bridge])
        assert namespaces(bridge) == [] and devices(bridge) == []
    with Devnet(tmp_path / "t", *options) as devnet:
        assert devnet.ready["genesis_digest"] == digest and devnet.ready["delay_ms"] == 0
        assert devnet.stop(signal.SIGINT) == 0


@needs_root
def test_what_carries_the_number_of_another_process_by_now_is_swept(tmp_path: Path) -> None:
    name = f"{netlab.NAMESPACE}-{os.getpid()}-0"  # ours is no bridge's
    subprocess.run(["ip", "netns", "add", name], check=True)
    with NetLab(1) as lab:
        assert namespaces(os.getpid()) == []
        sweep()
        assert len(namespaces(lab._bridge.pid)) == 1


@pytest.mark.parametrize(
    ("user", "rights", "words"), [(1000, 1 << 41, "root"), (0, 1 << 12, "CAP_SYS_ADMIN")]
)
def test_without_the_rights_what_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, rights: int, words: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(netlab, "_capabilities", lambda: rights)
    done = CliRunner().invoke(cli, ["devnet", "--delay-ms", "5", "--validators", "1"])
    assert done.exit_code == Exit.CONFIG
    assert "network namespaces need" in done.output and words in done.output
    assert list(tmp_path.iterdir()) == []
