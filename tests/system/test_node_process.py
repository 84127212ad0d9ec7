"""A solo chain's node as a process: how it begins, is told to stop, fails, and what it does after crashes."""

import json
import signal
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from node_processes import NodeProcess, cherrydag
from waiting import wait_until

from cherrydag.cli.exits import Exit
from cherrydag.client import Client
from cherrydag.errors import Rejected
from cherrydag.keystore import Keystore, ScryptCost
from cherrydag.primitives import TimestampMs
from cherrydag.runtime.home import TREASURY, Home, create_solo
from cherrydag.runtime.marks import CRASHES_MAX, is_safe_mode, pid_namespace, running_node
from cherrydag.signing import generate_keypair

BOB = generate_keypair(b"\x02" * 32)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return create_solo(tmp_path / "shop", created_ms=TimestampMs(1_700_000_000_000)).folder


def test_a_node_from_its_start_to_its_stop(shop: Path, tmp_path: Path):
    notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notified.bind(str(tmp_path / "notify"))
    notified.settimeout(20)
    with notified, NodeProcess(shop, environment={"NOTIFY_SOCKET": str(tmp_path / "notify")}) as node:
        assert notified.recv(100) == b"READY=1"
        assert node.get("/readyz") == (200, {"is_ready": True, "reasons": []})
        info = running_node(shop)
        assert info == (node.process.pid, node.api, node.where["peers"], pid_namespace())
        with Client(node.api) as client:
            client.transfer(Home.load(shop).key(TREASURY), BOB, 5).wait()
            assert client.balance(BOB) == 5
        refused = cherrydag("run", shop, code=Exit.IN_USE)
        assert f"is in use: process {node.process.pid} runs its node" in refused
        assert running_node(shop) == info
        for level in ("warning", "error", "debug"):
            node.send(signal.SIGUSR1)
            wait_until(lambda: node.events("log_level") and node.events("log_level")[-1]["now"] == level)  # noqa: B023
        assert node.stop() == Exit.OK
        assert notified.recv(100).startswith(b"STOPPING=1")
        assert [event["event"] for event in node.log if event["level"] == "info"] == [
            *("start", "listening", "ready"),
            *["log_level"] * 3,
            *("drain", "stop"),
        ]
        assert all(line.startswith("{") for line in node.log_text.splitlines())
    assert running_node(shop) is None
    assert not (shop / "run.json").exists() and (shop / "running").read_bytes() == b""
    assert cherrydag("balance", shop, "treasury").startswith("999_999_999.99")


def test_the_level_of_the_log_is_read_anew_and_stays_where_that_is_wrong(shop: Path):
    with NodeProcess(shop) as node:
        (shop / "config.toml").write_text("[log]\nlevel = 'debug'\n")
        node.send(signal.SIGUSR2)
        wait_until(lambda: [event["now"] for event in node.events("log_level")] == ["debug"])
        (shop / "config.toml").write_text("[log]\nlevel = 'loud'\n")
        node.send(signal.SIGUSR2)
        wait_until(lambda: node.events("config_warning"))
        assert "got 'loud'" in node.events("config_warning")[0]["words"]
        node.send(signal.SIGUSR1)  # from debug on: it has stayed
        wait_until(lambda: [event["now"] for event in node.events("log_level")] == ["debug", "info"])
        assert node.stop() == Exit.OK


def test_what_an_operator_can_mend_has_its_code_and_is_no_crash(shop: Path):
    (shop / "config.toml").write_text("[peers]\nlistne = ''\n")
    assert "did you mean peers.listen?" in cherrydag("run", shop, code=Exit.CONFIG)
    (shop / "config.toml").write_text("[node]\nrole = 'observer'\n[api]\nlisten = ''\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        told = cherrydag("run", shop, "--peers", place, "--set", "store.preflight=false", code=Exit.LISTEN)
    assert '"event":"failed"' in told and "in use" in told
    assert (shop / "running").read_bytes() == b""


def test_a_node_that_fails_says_why_and_ends_with_the_code_of_its_cause(shop: Path):
    with NodeProcess(shop) as node, Client(node.api, timeout_s=5) as client:
        (shop / "sign-state").rename(shop / "taken")
        with suppress(ConnectionError, Rejected):
            client.transfer(Home.load(shop).key(TREASURY), BOB, 5).wait(5)
        assert node.wait() == Exit.STORAGE
        (failed,) = node.events("failed")
        assert failed["error"] == "StorageError" and "sign-state" in failed["words"]
        assert not (shop / "run.json").exists()


def test_a_key_with_a_password_needs_it(shop: Path, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("correct horse\n")
    Keystore(shop / "keys", ScryptCost(1 << 14)).change_password("validator", None, "correct horse")
    assert "no terminal to ask for the password" in cherrydag("run", shop, code=Exit.USAGE)
    with NodeProcess(shop, environment={"CHERRYDAG_PASSWORD_FILE": str(secret)}) as node:
        assert node.get("/readyz")[0] == 200
        assert node.stop(signal.SIGINT) == Exit.OK


def test_after_crashes_in_a_row_it_is_only_to_be_read_until_somebody_says_otherwise(shop: Path):
    treasury = Home.load(shop).key(TREASURY)
    for number in range(CRASHES_MAX):
        with NodeProcess(shop) as node:
            assert node.where is not None and node.where["freeze"] == ""
            if number == 0:
                with Client(node.api) as client:
                    client.transfer(treasury, BOB, 5).wait()
            node.kill()
            assert running_node(shop) is None
    with NodeProcess(shop) as node:
        assert node.where is not None and node.where["freeze"] == "safe_mode"
        status, told = node.get("/readyz")
        assert (status, [reason["code"] for reason in told["reasons"]]) == (503, ["safe_mode"])
        assert "--leave-safe-mode" in told["reasons"][0]["text"]
        with Client(node.api) as client:
            assert client.balance(BOB) == 5
            with pytest.raises(ConnectionError, match="safe_mode: this node takes no transactions"):
                client.transfer(treasury, BOB, 5)
        assert node.events("safe_mode")[-1]["leave_with"].endswith("--leave-safe-mode")
        assert node.stop() == Exit.OK
    assert is_safe_mode(shop)
    with NodeProcess(shop, "--leave-safe-mode") as node:
        assert node.get("/readyz")[0] == 200
        with Client(node.api) as client:
            client.transfer(treasury, BOB, 5).wait()
            assert client.balance(BOB) == 10
        assert node.stop() == Exit.OK


def test_killed_as_often_as_one_likes_it_begins_as_ever_if_it_got_further_each_time(shop: Path):
    treasury = Home.load(shop).key(TREASURY)
    for number in range(CRASHES_MAX + 1):
        with NodeProcess(shop) as node:
            assert node.where is not None and node.where["freeze"] == ""
            with Client(node.api) as client:
                client.transfer(treasury, BOB, 5).wait()
                assert client.balance(BOB) == 5 * (number + 1)
            wait_until(lambda node=node, number=number: len(node.events("got_further")) == number)
            node.kill()


def test_a_divergence_that_is_not_cleared_lets_it_tell_the_state_that_a_quorum_has_signed(shop: Path):
    treasury = Home.load(shop).key(TREASURY)
    with NodeProcess(shop) as node, Client(node.api) as client:
        places = [int(client.transfer(treasury, BOB, 5).wait().places[0]) >> 32 for _ in range(2)]
        assert node.stop() == Exit.OK
    bundle = shop / f"divergence-{places[1]}.json"
    bundle.write_text(json.dumps({"served_index": places[0]}))
    bundle.chmod(0o600)
    with NodeProcess(shop) as node, Client(node.api) as client:
        status, told = node.get("/readyz")
        assert (status, [reason["code"] for reason in told["reasons"]]) == (503, ["diverged"])
        assert bundle.name in told["reasons"][0]["text"]
        assert client.balance(BOB) == 5
        assert client.status().commit_index == places[0]
        assert node.stop() == Exit.OK
    with NodeProcess(shop, "--clear-divergence") as node, Client(node.api) as client:
        assert client.balance(BOB) == 10
        assert node.get("/readyz")[0] == 200
        assert node.events("divergence_cleared")[0]["evidence"] == f"divergence-{places[1]}.cleared"
        assert node.stop() == Exit.OK
    assert not bundle.exists() and bundle.with_suffix(".cleared").exists()


def test_a_bundle_that_cannot_be_read_is_no_licence_to_sign(shop: Path):
    (shop / "divergence-7.json").write_text("{")
    (shop / "divergence-7.json").chmod(0o600)
    told = cherrydag("run", shop, "--api", "127.0.0.1:0", code=Exit.STORAGE)
    assert "divergence-7.json: cannot be read" in told
