"""`cherrydag devnet` and `cherrydag faucet` as users meet them: processes, signals, what is left behind."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from devnet_processes import DEVNET, Devnet, until_gone
from waiting import PATIENCE_S, wait_until

from cherrydag.client import Client
from cherrydag.execution.accounts import Status
from cherrydag.keystore import Keystore
from cherrydag.signing import generate_keypair

IDLE_BYTES_MAX = 300_000_000
"""Four validators and one more, idle, and what watches them."""


def faucet(url: str, address: str) -> subprocess.CompletedProcess[str]:
    command = [*DEVNET[:-1], "faucet", url, address, "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_devnet_gives_pays_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with Devnet(tmp_path / "t", "--operators", "1", "--observers", "1") as devnet:
        assert len(devnet.pids) == 6
        assert len(list(devnet.temporary.iterdir())) == 1
        key_file = Path(devnet.ready["user_key_file"])
        user = Keystore(key_file.parent).load(key_file.stem, None)
        operator, observer = (Client(node["url"]) for node in devnet.ready["nodes"][4:])
        with operator, observer, Client(devnet.url) as client:
            bob = generate_keypair()
            sent = client.transfer(user, bob, 4).wait()
            # What one node knows to be final, others learn a little later, and they tell a key's next nonce.
            wait_until(lambda: operator.balance(bob) == 4)
            issued = operator.transfer(user, bob, 3).wait(PATIENCE_S)
            assert [*sent.statuses, *issued.statuses] == [Status.APPLIED, Status.APPLIED]
            for node in (client, observer):
                wait_until(lambda node=node: node.balance(bob) == 7)
                assert node.transaction(issued.id()) is not None
                assert node.receipt(sent.id()) is not None
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
    with Devnet(tmp_path / "t", "--load", "50") as devnet:
        os.kill(devnet.pids[2], signal.SIGKILL)
        ended = devnet.next("ended")
        assert (ended["name"], ended["code"]) == ("v2", -9)
        assert ended["lines"]
        assert ended["restart"].startswith("cherrydag run ")
        before = devnet.next("figures", lambda figures: figures["load"])["load"]["final"]
        figures = devnet.next("figures", lambda figures: figures["load"]["final"] > before + 50)
        assert [node["is_running"] for node in figures["nodes"]] == [True, True, False, True]
        assert devnet.stop(signal.SIGINT) == 9
        until_gone(devnet.pids)
        assert list(devnet.temporary.iterdir()) == []


def test_nodes_die_with_a_killed_devnet_and_a_kept_one_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    bob = generate_keypair()
    with Devnet(tmp_path / "t", "--dir", str(folder), "--validators", "2") as devnet:
        user = Keystore(folder / "keys").load("user", None)
        with Client(devnet.url) as client:
            client.transfer(user, bob, 7).wait()
        digest = devnet.ready["genesis_digest"]
        devnet.stop(signal.SIGKILL)
        until_gone(devnet.pids)
    with Devnet(tmp_path / "t", "--dir", str(folder)) as devnet:
        assert devnet.ready["genesis_digest"] == digest
        assert len(devnet.pids) == 2
        with Client(devnet.url) as client:
            assert client.balance(bob) == 7
            client.transfer(user, bob, 1).wait()
            assert client.balance(bob) == 8
        taken = subprocess.run(
            [*DEVNET, "--dir", str(folder)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert taken.returncode == 3
        assert "is this devnet running already?" in taken.stderr
        assert devnet.stop() == 0
    assert (folder / "v0" / "genesis.toml").is_file()


def test_node_that_cannot_start_is_named_with_what_it_said(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with Devnet(tmp_path / "t", "--dir", str(folder), "--validators", "1") as devnet:
        assert devnet.stop() == 0
    (folder / "v0" / "config.toml").write_text("[nonsense]\n")
    done = subprocess.run(
        [*DEVNET, "--dir", str(folder)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 9
    assert "v0 ended with 3 before it was ready" in done.stderr
    assert "nonsense" in done.stderr


@pytest.mark.parametrize("options", [["--validators", "0"], ["--load", "-1"], ["--api-port", "80"]])
def test_options_out_of_range_are_refused(options: list[str]) -> None:
    done = subprocess.run(
        [*DEVNET, *options], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 2
    assert options[0] in done.stderr
