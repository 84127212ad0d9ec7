"""Bonds and evidence through the command line: an operator's node beside its chain's two validators."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from node_processes import NodeProcess
from vertices import operator_vertex, refs, sign, validator_vertex
from waiting import wait_until

from cherrydag.address import address_of, encode_address
from cherrydag.bench.ports import free_ports
from cherrydag.cli.exits import Exit
from cherrydag.cli.program import cli
from cherrydag.consensus.effects import Report
from cherrydag.execution.bonds import BOND_MIN, COIN
from cherrydag.genesis import LedgerParams
from cherrydag.primitives import TimestampMs
from cherrydag.runtime.evidence import write_equivocation
from cherrydag.runtime.home import TREASURY, VALIDATOR, Home, create_network
from cherrydag.signing import KeyPair, generate_keypair
from cherrydag.storage import opening


def cherrydag(*words: object, code: int = 0) -> str:
    """A command, in this process: its stdout, or its stderr if it is to fail."""
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.stderr


class Pair:
    """The first validator's node and the operator's, which run."""

    def __init__(self, shop: NodeProcess, operator: NodeProcess) -> None:
        self.shop = shop
        self.operator = operator
        home = Home.load(shop.folder)
        self.chain = home.genesis
        self.treasury = encode_address(address_of(home.key(TREASURY).public_key), home.genesis.network)
        self.key = Home.load(operator.folder).key(VALIDATOR)
        self.signing = ("--keystore", shop.folder / "keys", "--from", TREASURY)

    def handed_in(self, verb: str, *words: object, code: int = 0) -> dict:
        """Through the validator's node, for the operator's folder."""
        asked = (verb, self.operator.folder, "--url", self.shop.api, *self.signing, *words)
        if code == Exit.OK:
            return json.loads(cherrydag(*asked, "--json"))
        return {"said": cherrydag(*asked, code=code)}

    def state(self, node: NodeProcess | None = None) -> dict:
        """The operator's bond, as this node has it, the validator's unless told."""
        key, folder = self.key.public_key.hex(), (node or self.shop).folder
        return json.loads(cherrydag("bonds", folder, "--operator", key, "--json"))

    def send(self, code: int = 0) -> str:
        """A payment that only the operator's node could issue."""
        return cherrydag(
            *("send", self.operator.folder, *self.signing, "--to", self.treasury, "--amount", 1, "--json"),
            code=code,
        )


def evidence(home: Home, key: KeyPair) -> Path:
    """Two vertices of a key under one seq, as a node would write them down."""
    first = operator_vertex(issuer=key.public_key, signed=False)
    signed = [sign(one, key, home.genesis.chain()) for one in (first, replace(first, timestamp_ms=1))]
    genesis = home.genesis
    path = write_equivocation(home.folder, genesis.digest, genesis.committee(), Report(*signed))
    assert path is not None
    return path


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    ports = free_ports(2)
    homes = create_network(
        tmp_path / "net",
        [f"127.0.0.1:{port}" for port in ports],
        created_ms=TimestampMs(1_700_000_000_000),
        modules=["bonds"],
        ledger_params=LedgerParams(tree_depth=10),
    )
    operator = tmp_path / "operator"
    cherrydag("init", operator, "--genesis", homes[0].folder / "genesis.toml")
    with ExitStack() as stack:
        first, _, third = (
            stack.enter_context(NodeProcess(folder, *words))
            for folder, words in (
                (homes[0].folder, ()),
                (homes[1].folder, ()),
                (operator, ("--set", "node.role=operator")),
            )
        )
        yield Pair(first, third)


def test_a_node_issues_from_its_bond_on_until_it_is_unbonded(pair: Pair) -> None:
    assert "--url names another node" in cherrydag(
        *("bond", pair.operator.folder, *pair.signing, "--amount", "100coin"), code=Exit.REJECTED
    )
    assert "[bond_too_small]" in pair.handed_in("bond", "--amount", "99coin", code=Exit.REJECTED)["said"]
    assert "[operator_unbonded]" in pair.send(code=Exit.REJECTED)
    placed = pair.handed_in("bond", "--amount", "200coin")
    assert placed["status"] == "applied" and placed["bond"] == pair.state()
    assert pair.state() | {"operator": ""} == {
        "operator": "",
        "owner": pair.treasury,
        "active": str(200 * COIN),
        "quota": 16,
        "leaving": "0",
        "ready_s": None,
        "slashed": False,
    }
    wait_until(lambda: pair.state(pair.operator) == placed["bond"])
    assert json.loads(pair.send())["status"] == "applied"
    (item,) = [
        one
        for one in json.loads(cherrydag("history", pair.shop.api, pair.treasury, "--json"))["items"]
        if one["id"] == placed["id"]
    ]
    assert (item["kind"], item["kind_number"], item["recipient"]) == ("bonds.bond", 32, None)
    asked = ("watch", pair.shop.api, "--after", item["commit"] - 1, "--count", 1, "--transactions")
    (row,) = json.loads(cherrydag(*asked, "--json"))["rows"]
    assert row == {name: item[name] for name in row}
    assert f"{row['id']}  bonds.bond  {pair.treasury}  200 coin  applied" in cherrydag(*asked)
    assert "[bond_too_small]" in pair.handed_in("unbond", "--amount", "150coin", code=Exit.REJECTED)["said"]
    leaving = pair.handed_in("unbond", "--amount", "200coin")["bond"]
    assert (leaving["active"], leaving["quota"], leaving["leaving"]) == ("0", 0, str(200 * COIN))
    assert leaving["ready_s"] > pair.chain.created_ms // 1000
    wait_until(lambda: pair.state(pair.operator) == leaving)
    assert "[operator_unbonded]" in pair.send(code=Exit.REJECTED)
    assert "[bond_early]" in pair.handed_in("withdraw", code=Exit.REJECTED)["said"]
    listed = cherrydag("bonds", pair.operator.folder)
    assert "1 bond; burned so far: 0 coin" in listed and "has a bond" in listed


def test_evidence_takes_the_bond_once(pair: Pair) -> None:
    folder = pair.shop.folder
    assert "no evidence against anybody" in cherrydag("slash", folder, *pair.signing)
    path = evidence(Home.load(folder), pair.key)
    assert "[bond_unknown]" not in cherrydag("slash", folder, *pair.signing)  # nothing to take: not handed in
    signed = json.loads(
        cherrydag("possession", pair.operator.folder, pair.treasury, "--json")
    )  # the owner's keys are elsewhere
    placed = cherrydag(
        *("bond", pair.shop.api, *pair.signing, "--amount", BOND_MIN, "--operator", signed["operator"]),
        *("--possession", signed["possession"], "--json"),
    )
    assert json.loads(placed)["status"] == "applied"
    (taken,) = json.loads(cherrydag("slash", folder, *pair.signing, "--json"))
    assert taken["status"] == "applied" and taken["file"] == str(path)
    assert taken["events"][0]["reward"] == 10 * COIN and taken["events"][0]["burned"] == 90 * COIN
    assert pair.state()["slashed"] and pair.state()["owner"] is None
    assert "no evidence against anybody" in cherrydag("slash", folder, *pair.signing)
    assert "not all of the evidence" in cherrydag("slash", folder, path, *pair.signing, code=Exit.REJECTED)
    assert "[bond_slashed]" in pair.handed_in("bond", "--amount", "100coin", code=Exit.REJECTED)["said"]
    assert "[operator_unbonded]" in pair.send(code=Exit.REJECTED)
    assert json.loads(cherrydag("bonds", folder, "--json"))["burned"] == str(90 * COIN)


def test_evidence_that_would_be_refused_costs_no_fee(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "run_preflight", lambda folder: None)
    shop, file = tmp_path / "shop", tmp_path / "evidence.json"
    cherrydag("init", shop, "--modules", "bonds")
    document = json.loads(evidence(Home.load(shop), generate_keypair(b"o" * 32)).read_text())
    first, second = document["headers"]
    forged = second[:-1] + (
        "1" if second[-1] != "1" else "2"
    )  # ends in the signature, one in 16 of them in 00
    for changed, code, words in (
        ({"genesis_digest": "00" * 32}, Exit.CONFIG, "another chain"),
        ({"headers": [first, forged]}, Exit.REJECTED, "[evidence_signature]"),
        ({"headers": [first, first]}, Exit.CONFIG, "they say the same"),
        ({"headers": [first]}, Exit.CONFIG, "no evidence"),
    ):
        file.write_text(json.dumps(document | changed))
        assert words in cherrydag("slash", shop, file, "--from", TREASURY, code=code)
    assert json.loads(cherrydag("status", shop, "--json"))["fees"] == "0"


def test_evidence_against_a_validator_is_shown_and_never_handed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "run_preflight", lambda folder: None)
    shop = tmp_path / "shop"
    cherrydag("init", shop, "--modules", "bonds")
    assert "no evidence" in cherrydag("evidence", shop)
    home, operator = Home.load(shop), generate_keypair(b"o" * 32)
    genesis, key = home.genesis, home.key(VALIDATOR)
    first = validator_vertex(epoch=genesis.committee().epoch, ancestors=refs(4, "0"), signed=False)
    signed = [sign(one, key, genesis.chain()) for one in (first, replace(first, timestamp_ms=1))]
    path = write_equivocation(shop, genesis.digest, genesis.committee(), Report(*signed))
    evidence(home, operator)
    against, other = json.loads(cherrydag("evidence", shop, "--json"))
    name = genesis.validators[0].name
    assert against == {
        "file": str(path),
        "is_proof": True,
        "role": "validator",
        "name": name,
        "key": key.public_key.hex(),
        "round": 5,
    }
    assert (other["role"], other["key"], other["is_proof"]) == ("operator", operator.public_key.hex(), True)
    listed = cherrydag("evidence", shop)
    assert f"validator {name}" in listed and "round 5" in listed and f"seq {other['seq']}" in listed
    assert "no evidence against anybody who has a bond" in cherrydag("slash", shop, "--from", TREASURY)
    refused = cherrydag("slash", shop, path, "--from", TREASURY, code=Exit.CONFIG)
    assert "a validator, who has no bond" in refused
    assert json.loads(cherrydag("status", shop, "--json"))["fees"] == "0"
    path.write_text(path.read_text().replace(genesis.digest.hex(), "00" * 32))
    assert "no: of another chain" in CliRunner().invoke(cli, ["evidence", str(shop)]).stdout
    assert not json.loads(CliRunner().invoke(cli, ["evidence", str(shop), str(path), "--json"]).stdout)[0][
        "is_proof"
    ]
    assert CliRunner().invoke(cli, ["evidence", str(shop)]).exit_code == Exit.REJECTED


def test_a_chain_without_the_module_has_no_operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "run_preflight", lambda folder: None)
    cherrydag("init", tmp_path / "shop")
    for words in (["bonds"], ["bond", "--from", TREASURY, "--amount", 1], ["slash", "--from", TREASURY]):
        verb, *rest = words
        assert "no module 'bonds'" in cherrydag(verb, tmp_path / "shop", *rest, code=Exit.CONFIG)


def test_what_a_url_does_not_say_must_be_given(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    cherrydag("init", shop, "--modules", "bonds")
    signing = ("--from", TREASURY, "--keystore", shop / "keys")
    with NodeProcess(shop) as node:
        for said, verb, *words in (
            ("--operator: needed with a URL", "bond", "--amount", 1, *signing),
            ("--possession: needed", "bond", "--amount", 1, "--operator", "0" * 64, *signing),
            ("FILE: needed with a URL", "slash", *signing),
            ("--keystore: needed with a URL", "unbond", "--amount", 1, "--from", TREASURY),
            (
                "--operator: expected 64 hex digits or a node's folder, got 'abc'",
                "bonds",
                "--operator",
                "abc",
            ),
        ):
            assert said in cherrydag(verb, node.api, *words, code=Exit.USAGE)
        assert "no address; a URL has no keys" in cherrydag("balance", node.api, TREASURY, code=Exit.REJECTED)
        elsewhere = ("--from", TREASURY, "--keystore", tmp_path / "keyz", "--amount", 1)
        assert "no such folder of keys" in cherrydag("unbond", node.api, *elsewhere, code=Exit.CONFIG)
