"""A network of four machines' nodes and one that follows, made and used with the command line alone."""

import json
import signal
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from node_processes import NodeProcess
from waiting import wait_until

from cherrydag.bench.ports import free_ports
from cherrydag.cli.exits import Exit
from cherrydag.cli.program import cli
from cherrydag.client import Client
from cherrydag.config import DRAIN_MS_MAX
from cherrydag.keystore import Keystore, ScryptCost
from cherrydag.runtime.marks import running_node

COIN = 10**18
NAMES = ("ann", "ben", "cleo", "dan")
PATIENT_MS = DRAIN_MS_MAX
PATIENCE = [
    ("--set", "timing.idle_round_delay_ms=200", "--set", f"node.drain_ms={drain_ms}")
    for drain_ms in (300, PATIENT_MS)
]


def run(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.stderr


def told(*words: object):
    return json.loads(run(*words, "--json"))


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """Folders of the nodes by name, and keys/NAME of each operator; ben's key has a password."""
    ports, members = free_ports(len(NAMES)), []
    secret = tmp_path / "secret"
    secret.write_text("correct horse\n")
    for name, port in zip(NAMES, ports, strict=True):
        keys = tmp_path / "keys" / name
        made = told("keys", "new", "validator", "--keystore", keys, "--no-password")
        members += ["--validator", f"{name}:{made['public_key']}:1", "--host", f"{name}=127.0.0.1:{port}"]
    # As `keys passwd` does, at the least cost.
    Keystore(tmp_path / "keys" / "ben", ScryptCost(1 << 14)).change_password(
        "validator", None, "correct horse"
    )
    treasury = told("keys", "new", "treasury", "--keystore", tmp_path / "keys" / "ann", "--no-password")
    genesis = tmp_path / "genesis.toml"
    allocation = ("--allocate", f"{treasury['address']}=1000coin")
    digest = told("genesis", "new", genesis, "--name", "four", *members, *allocation)["digest"]
    for name in NAMES:
        folder = tmp_path / name
        joins = ("--genesis", genesis, "--keystore", tmp_path / "keys" / name)
        refused = run("init", folder, *joins, "--digest", "00" * 32, code=Exit.CONFIG)
        assert f"its content has {digest}" in refused and not folder.exists()
        made = told("init", folder, *joins, "--digest", digest)
        assert (made["validator"], made["genesis_digest"]) == (name, digest)
        assert run("config", "check", folder).startswith("key ")
    follows = told("init", tmp_path / "follower", "--genesis", genesis)
    assert follows["validator"] is None
    assert "no validator with the key" in run(
        "config", "check", tmp_path / "follower", "--set", "node.role=validator", code=Exit.CONFIG
    )
    return tmp_path


def test_four_operators_and_a_follower(net: Path):
    password = {"CHERRYDAG_PASSWORD_FILE": str(net / "secret")}
    with ExitStack() as stack:
        nodes = {
            name: NodeProcess(
                net / name, *PATIENCE[name == "ann"], environment=password if name == "ben" else {}
            )
            for name in (*NAMES, "follower")
        }
        for node in nodes.values():
            stack.callback(node.kill)
        for node in nodes.values():
            node.await_ready()
        wait_until(lambda: all(node.get("/readyz")[0] == 200 for node in nodes.values()))

        bob = told("keys", "new", "bob", "--keystore", net / "keys" / "cleo", "--no-password")["address"]
        pays = ("--keystore", net / "keys" / "ann", "--from", "treasury", "--to", bob, "--amount", "5coin")
        sent = told("send", net / "ann", *pays)
        assert sent["status"] == "applied"
        follower = nodes["follower"].api
        wait_until(lambda: told("balance", follower, bob)["balance"] == str(5 * COIN))
        assert told("balance", net / "ann", bob, "--url", nodes["dan"].api)["balance"] == str(5 * COIN)
        assert told("history", net / "dan", bob)["items"][0]["id"] == sent["id"]
        assert told("receipt", follower, sent["id"])["commit"] == sent["commit"]
        again = told("send", nodes["ben"].api, *pays)
        assert again["status"] == "applied"

        status = told("status", net / "ben")
        assert (status["chain"], status["node"]["validator"], status["node"]["is_ready"]) == ("four", 1, True)
        assert "number 2" in run("status", nodes["cleo"].api)
        assert told("status", follower)["node"]["validator"] is None
        links = told("peers", net / "cleo")["links"]
        assert [link["validator"] for link in links if link["validator"] is not None] == [0, 1, 3]
        table = run("peers", net / "cleo").splitlines()
        assert [line.split()[0] for line in table[1:4]] == ["ann", "ben", "dan"]

        last = again["commit"]
        lines = run("watch", net / "dan", "--after", 0, "--count", last, "--transactions", "--json")
        commits = [json.loads(line) for line in lines.splitlines()]
        assert [commit["commit"] for commit in commits] == list(range(1, last + 1))
        rows = [row for commit in commits for row in commit["rows"]]
        assert [row["id"] for row in rows] == [sent["id"], again["id"]]
        assert {row["recipient"] for row in rows} == {bob}
        resumed = run("watch", net / "dan", "--after", last, "--count", 1)
        assert f"go on with --after {last + 1}" not in resumed and f"  {last + 1}  " in resumed

        # One stops well, and the rest go on; with two away nothing is final, and a stop waits no longer.
        assert nodes["dan"].stop() == Exit.OK
        assert "its node does not run" in run("peers", net / "dan", code=Exit.CONFIG)
        assert told("send", net / "ann", *pays)["status"] == "applied"
        assert nodes["cleo"].stop(signal.SIGINT) == Exit.OK
        wait_until(lambda: nodes["ann"].get("/readyz")[0] == 503)
        with Client(nodes["ann"].api) as client:
            key = Keystore(net / "keys" / "ann").load("treasury", None)
            client.transfer(key, bob, 1)
            nodes["ann"].send(signal.SIGTERM)
            wait_until(lambda: nodes["ann"].events("drain"))
            codes = [reason["code"] for reason in nodes["ann"].get("/readyz")[1]["reasons"]]
            assert codes[0] == "draining" and "no_quorum" in codes
            with pytest.raises(ConnectionError, match="draining: this node takes no transactions: it stops"):
                client.transfer(key, bob, 1)
        nodes["ann"].send(signal.SIGTERM)
        assert nodes["ann"].wait() == Exit.OK
        first, second = [datetime.fromisoformat(event["time"]) for event in nodes["ann"].events("drain")]
        assert (second - first).total_seconds() < PATIENT_MS / 1000
        assert [event.get("unsettled") for event in nodes["ann"].events("drain")] == [None, 1]
        assert nodes["ben"].events("peer_closed")[-1]["code"] == "end_shutdown"
        for name in ("ben", "follower"):
            assert nodes[name].stop() == Exit.OK
        assert all(running_node(net / name) is None for name in nodes)
