"""What the folder of a node that does not run tells: of a network's node too, and without its password."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from waiting import PATIENCE_S

from cherrydag.address import Network, address_of, encode_address
from cherrydag.async_ledger import AsyncLedger
from cherrydag.cli.exits import Exit
from cherrydag.cli.program import cli
from cherrydag.errors import Rejected
from cherrydag.genesis import LedgerParams
from cherrydag.keystore import Keystore, ScryptCost
from cherrydag.ledger import Ledger
from cherrydag.primitives import TimestampMs
from cherrydag.runtime.home import TREASURY, VALIDATOR, create_network
from cherrydag.runtime.marks import enter_safe_mode
from cherrydag.runtime.node_runner import NetworkOptions, start_node
from cherrydag.runtime.opening import ONLY_READS, LedgerOptions
from cherrydag.signing import generate_keypair
from cherrydag.storage import opening
from cherrydag.storage.values import StoreOptions

BOB = generate_keypair(b"\x02" * 32)
OPTIONS = LedgerOptions(store=StoreOptions(map_bytes=1 << 30, preflight=False), verify_threads=1)


@pytest.fixture(autouse=True)
def no_preflight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "run_preflight", lambda folder: None)


def run(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.stderr


@pytest.fixture
async def node(tmp_path: Path) -> Path:
    """The folder of the first of two validators, who have made a payment of 5 final, and stopped."""
    homes = create_network(
        tmp_path / "net",
        [""] * 2,
        created_ms=TimestampMs(1_700_000_000_000),
        ledger_params=LedgerParams(tree_depth=10),
    )
    first = await start_node(homes[0], NetworkOptions(), OPTIONS)
    known = {homes[0].key(VALIDATOR).public_key: ("127.0.0.1", first.peers.transport.port)}
    second = await start_node(homes[1], NetworkOptions(known=known), OPTIONS)
    async with asyncio.timeout(PATIENCE_S):
        await (await AsyncLedger(first.ledger).transfer(homes[0].key(TREASURY), BOB, 5))
    for running in (second, first):
        await running.close()
    return homes[0].folder


def test_a_stopped_node_of_a_network_is_read_and_hands_nothing_in(node: Path) -> None:
    bob = encode_address(address_of(BOB.public_key), Network.DEV)
    before = (node / "sign-state").read_bytes()
    assert json.loads(run("balance", node, bob, "--json"))["balance"] == "5"
    assert json.loads(run("account", node, TREASURY, "--json"))["next_nonce"] == 1
    (item,) = json.loads(run("history", node, bob, "--json"))["items"]
    assert item["amount"] == "5" and item["status"] == "applied"
    assert json.loads(run("receipt", node, item["id"], "--json"))["status"] == "applied"
    status = json.loads(run("status", node, "--json"))
    assert status["commit"] >= item["commit"] and status["node"] is None
    assert "its node must run" in run(
        "send", node, "--from", TREASURY, "--to", bob, "--amount", 1, code=Exit.CONFIG
    )
    assert "its node does not run" in run("peers", node, code=Exit.CONFIG)
    assert "all of it is sound" in run("db", "check", node)
    assert (node / "sign-state").read_bytes() == before


def test_reading_needs_no_password_and_no_sign_state(node: Path) -> None:
    Keystore(node / "keys", ScryptCost(1 << 14)).change_password(VALIDATOR, None, "correct horse")
    (node / "sign-state").unlink()
    assert run("balance", node, TREASURY).startswith("999_999_999.99")


def test_one_that_is_open_to_be_read_refuses_what_is_handed_in(node: Path) -> None:
    with Ledger.open(node, options=LedgerOptions(only_reads=True)) as ledger:
        assert ledger.balance(BOB) == 5
        with pytest.raises(Rejected, match="takes no transactions") as refused:
            ledger.transfer(BOB, BOB, 1)
        assert refused.value.code == ONLY_READS


def test_what_is_durable_and_was_not_executed_is_told_but_for_a_node_in_safe_mode(
    node: Path, tmp_path: Path
) -> None:
    bob = encode_address(address_of(BOB.public_key), Network.DEV)
    shutil.rmtree(node / "data" / "derived")
    with Ledger.open(node, options=LedgerOptions(only_reads=True)) as ledger:
        store = ledger._ledger._running.store
        last = store.last_commit()
        assert last is not None and ledger.status().commit_index == last.index
    enter_safe_mode(node, 3)
    assert json.loads(run("balance", node, bob, "--json"))["balance"] == "5"  # its outcome is stored
