"""`cherrydag devnet` and `cherrydag faucet` as users meet them: processes, signals, what is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cherrydag.client import Client
from cherrydag.keystore import Keystore
from cherrydag.signing import generate_keypair

COMMAND = [sys.executable, "-m", "cherrydag"]
TIMEOUT_S = 60
IDLE_BYTES_MAX = 300_000_000
"""Four validators and one more, idle, and what watches them."""


class Devnet:
    """A `cherrydag devnet --json` whose folder for temporary files is ours."""

    def __init__(self, temporary: Path, *options: str) -> None:
        self.temporary = temporary
        temporary.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [*COMMAND, "devnet", "--json", "--api-port", "24100", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
        self.ready = self.next("ready")
        self.pids = [node["pid"] for node in self.next("figures")["nodes"]]

    def next(self, event: str) -> Any:
        """The next document of this kind."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            document = json.loads(line)
            if document["event"] == event:
                return document
        raise AssertionError(f"no {event}: {self.process.stderr.read() if self.process.stderr else ''}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        self.process.send_signal(number)
        self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode

    @property
    def url(self) -> str:
        return str(self.ready["nodes"][0]["url"])


@contextmanager
def running(temporary: Path, *options: str) -> Iterator[Devnet]:
    devnet = Devnet(temporary, *options)
    try:
        yield devnet
    finally:
        if devnet.process.poll() is None:
            devnet.stop(signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """A zombie, which nobody has waited for, is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until_gone(pids: list[int]) -> None:
    until_s = time.monotonic() + TIMEOUT_S
    while any(map(is_alive, pids)):
        assert time.monotonic() < until_s
        time.sleep(0.01)


def faucet(url: str, address: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "faucet", url, address, "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def test_devnet_gives_pays_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with running(tmp_path / "t", "--operators", "1", "--observers", "1") as devnet:
        assert len(devnet.pids) == 6
        assert len(list(devnet.temporary.iterdir())) == 1
        key_file = Path(devnet.ready["user_key_file"])
        user = Keystore(key_file.parent).load(key_file.stem, None)
        operator, observer = (Client(node["url"]) for node in devnet.ready["nodes"][4:])
        with operator, observer, Client(devnet.url) as client:
            bob = generate_keypair()
            sent = client.transfer(user, bob, 4).wait()
            issued = operator.transfer(user, bob, 3).wait(TIMEOUT_S)
            assert client.transaction(issued.id()) is not None
            assert observer.receipt(sent.id()) is not None or client.receipt(sent.id()) is not None
            assert client.balance(bob) == 7
        given = faucet(devnet.url, devnet.ready["user_address"])
        assert given.returncode == 0, given.stderr
        assert json.loads(given.stdout)["amount"] == str(10**18)
        again = faucet(devnet.url, devnet.ready["user_address"])
        assert again.returncode == 6
        assert "one gift in 60 s" in again.stderr
        other = faucet(devnet.ready["nodes"][1]["url"], devnet.ready["user_address"])
        assert other.returncode != 0
        assert "this node has no faucet" in other.stderr
        figures = devnet.next("figures")
        assert all(node["is_ready"] for node in figures["nodes"])
        own = figures["own_pss_bytes"]
        assert own + sum(node["pss_bytes"] for node in figures["nodes"]) <= IDLE_BYTES_MAX
        assert devnet.stop() == 0
        until_gone(devnet.pids)
        assert list(devnet.temporary.iterdir()) == []


def test_killed_node_is_told_at_once_and_the_others_go_on(tmp_path: Path) -> None:
    with running(tmp_path / "t", "--load", "50") as devnet:
        os.kill(devnet.pids[2], signal.SIGKILL)
        ended = devnet.next("ended")
        assert (ended["name"], ended["code"]) == ("v2", -9)
        assert ended["lines"]
        assert ended["restart"].startswith("cherrydag run ")
        before = devnet.next("figures")["load"]
        while True:
            figures = devnet.next("figures")
            if before and figures["load"]["final"] > before["final"] + 50:
                break
            before = before or figures["load"]
        assert [node["is_running"] for node in figures["nodes"]] == [True, True, False, True]
        assert devnet.stop(signal.SIGINT) == 9
        until_gone(devnet.pids)
        assert list(devnet.temporary.iterdir()) == []


def test_nodes_die_with_a_killed_devnet_and_a_kept_one_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    bob = generate_keypair()
    with running(tmp_path / "t", "--dir", str(folder), "--validators", "2") as devnet:
        user = Keystore(folder / "keys").load("user", None)
        with Client(devnet.url) as client:
            client.transfer(user, bob, 7).wait()
        digest = devnet.ready["genesis_digest"]
        devnet.stop(signal.SIGKILL)
        until_gone(devnet.pids)
    with running(tmp_path / "t", "--dir", str(folder)) as devnet:
        assert devnet.ready["genesis_digest"] == digest
        assert len(devnet.pids) == 2
        with Client(devnet.url) as client:
            assert client.balance(bob) == 7
            client.transfer(user, bob, 1).wait()
            assert client.balance(bob) == 8
        taken = subprocess.run(
            [*COMMAND, "devnet", "--dir", str(folder)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert taken.returncode == 3
        assert "is this devnet running already?" in taken.stderr
        assert devnet.stop() == 0
    assert (folder / "v0" / "genesis.toml").is_file()


def test_node_that_cannot_start_is_named_with_what_it_said(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with running(tmp_path / "t", "--dir", str(folder), "--validators", "1") as devnet:
        assert devnet.stop() == 0
    (folder / "v0" / "config.toml").write_text("[nonsense]\n")
    done = subprocess.run(
        [*COMMAND, "devnet", "--dir", str(folder)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 9
    assert "v0 ended with 3 before it was ready" in done.stderr
    assert "nonsense" in done.stderr


@pytest.mark.parametrize("options", [["--validators", "0"], ["--load", "-1"], ["--api-port", "80"]])
def test_options_out_of_range_are_refused(options: list[str]) -> None:
    done = subprocess.run(
        [*COMMAND, "devnet", *options], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 2
    assert options[0] in done.stderr
