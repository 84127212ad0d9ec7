"""The commands of a solo ledger, each of which opens the folder, does its work and closes it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cherrydag import genesis_file
from cherrydag.address import Network, address_of, encode_address
from cherrydag.cli import ledger_commands
from cherrydag.cli.exits import Exit
from cherrydag.cli.program import cli
from cherrydag.errors import Overloaded
from cherrydag.genesis import LedgerParams, Validator
from cherrydag.ledger import Ledger
from cherrydag.params import AMOUNT_MAX
from cherrydag.primitives import TimestampMs
from cherrydag.runtime.home import Home, create_network
from cherrydag.runtime.submissions import Submission
from cherrydag.signing import generate_keypair
from cherrydag.storage import opening

COIN = 10**18
BOB = generate_keypair(b"b" * 32)
TO_BOB = encode_address(address_of(BOB.public_key), Network.DEV)


@pytest.fixture(autouse=True)
def no_preflight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process costs more than a command; the tests with real processes have it."""
    monkeypatch.setattr(opening, "run_preflight", lambda folder: None)


def run(*words: object, code: int = 0, stdin: str = "") -> Result:
    done = CliRunner().invoke(cli, [str(word) for word in words], input=stdin)
    assert done.exit_code == code, done.output
    return done


def told(*words: object, code: int = 0):
    return json.loads(run(*words, "--json", code=code).stdout)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    run("init", tmp_path / "shop")
    return tmp_path / "shop"


def test_init_prints_the_chains_identity_and_its_treasury(tmp_path: Path):
    made = told(
        "init", tmp_path / "shop", "--supply", "5coin", "--modules", "assets", "--name", "corner shop"
    )
    home = Home.load(tmp_path / "shop")
    treasury = encode_address(address_of(home.key("treasury").public_key), Network.DEV)
    assert made == {
        "folder": str(tmp_path / "shop"),
        "genesis_digest": home.genesis.digest.hex(),
        "treasury": treasury,
        "supply": str(5 * COIN),
        "modules": ["assets"],
    }
    assert home.genesis.name == "corner shop"
    assert run("balance", tmp_path / "shop", "treasury").stdout == "5 coin\n"


def test_init_takes_the_whole_range_of_amounts_and_no_modules(tmp_path: Path):
    assert told("init", tmp_path / "shop", "--supply", AMOUNT_MAX, "--modules", "")["supply"] == str(
        AMOUNT_MAX
    )
    assert "modules   none" in run("init", tmp_path / "other", "--modules", "").stdout
    assert told("balance", tmp_path / "shop", "treasury")["balance"] == str(AMOUNT_MAX)
    run("init", tmp_path / "third", "--supply", "0", code=Exit.CONFIG)
    assert not (tmp_path / "third").exists()


def test_init_leaves_alone_what_is_there(tmp_path: Path, shop: Path):
    before = sorted(path.name for path in shop.rglob("*"))
    assert "there already" in run("init", shop, code=Exit.CONFIG).stderr
    assert sorted(path.name for path in shop.rglob("*")) == before
    assert "'gold'" in run("init", tmp_path / "new", "--modules", "gold", code=Exit.CONFIG).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


def test_a_payment_is_final_when_send_returns(shop: Path):
    sent = told("send", shop, "--from", "treasury", "--to", TO_BOB, "--amount", "2.5coin", "--fee", 7)
    assert (sent["status"], sent["commit"], sent["position"]) == ("applied", 1, 0)
    assert told("balance", shop, TO_BOB) == {"address": TO_BOB, "asset": 0, "balance": str(5 * COIN // 2)}
    assert run("balance", shop, TO_BOB).stdout == "2.5 coin\n"
    receipt = told("receipt", shop, sent["id"])
    assert (receipt["id"], receipt["status"], receipt["commit"]) == (sent["id"], "applied", 1)
    account = told("account", shop, "treasury")
    assert account["next_nonce"] == 1
    assert int(account["balance"]) == 10**9 * COIN - 5 * COIN // 2 - 7
    status = told("status", shop)
    assert (status["commit"] >= 1, status["fees"], status["supply"]) == (True, "7", str(10**9 * COIN))


def test_what_people_read_has_the_same_facts(shop: Path):
    done = run("send", shop, "--from", "treasury", "--to", TO_BOB, "--amount", "3").stdout
    fields = dict(line.split(maxsplit=1) for line in done.splitlines())
    assert fields["payment"] == f"0.000000000000000003 coin to {TO_BOB}"
    assert (fields["place"], fields["status"]) == ("1/0", "applied")
    assert fields["left"] == "999_999_999.999999999999999996 coin"
    assert f"id        {fields['id']}" in run("receipt", shop, fields["id"]).stdout
    assert "next nonce    1" in run("account", shop, "treasury").stdout
    assert "last commit  1" in run("status", shop).stdout
    line = run("history", shop, "treasury").stdout.splitlines()[1].split()
    assert line[2:7] == ["out", "0.000000000000000003", "coin", TO_BOB, "transfer"]
    assert line[7] == fields["id"]


def test_history_pages_newest_first_and_knows_both_sides(shop: Path):
    for amount in (1, 2, 3):
        run("send", shop, "--from", "treasury", "--to", TO_BOB, "--amount", amount)
    first = told("history", shop, TO_BOB, "--limit", 2)
    assert [item["amount"] for item in first["items"]] == ["3", "2"]
    assert {item["recipient"] for item in first["items"]} == {TO_BOB}
    second = told("history", shop, TO_BOB, "--limit", 2, "--cursor", first["cursor"])
    assert [item["amount"] for item in second["items"]] == ["1"]
    assert second["cursor"] is None
    shown = run("history", shop, TO_BOB, "--limit", 2).stdout.splitlines()
    assert [line.split()[3] for line in shown[1:3]] == ["in", "in"]
    assert shown[3] == f"older ones: --cursor {first['cursor']}"
    run("send", shop, "--from", "treasury", "--to", "treasury", "--amount", 4)
    assert " self " in run("history", shop, "treasury", "--limit", 1).stdout
    stranger = encode_address(bytes(20), Network.DEV)
    assert run("history", shop, stranger).stdout == "no transactions\n"


def test_a_payment_without_effect_says_so_and_fails(shop: Path):
    run("keys", "new", "carol", "--home", shop, "--no-password")
    run("send", shop, "--from", "treasury", "--to", "carol", "--amount", 10)
    done = run("send", shop, "--from", "carol", "--to", "treasury", "--amount", 100, code=Exit.REJECTED)
    assert "status   insufficient" in done.stdout
    assert done.stderr == "error: the payment had no effect: insufficient\n"
    sent = told("send", shop, "--from", "carol", "--to", "treasury", "--amount", 100, code=Exit.REJECTED)
    assert sent["status"] == "insufficient"
    assert "transfer, insufficient" in run("history", shop, "carol").stdout


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (["--from", "nobody", "--to", TO_BOB, "--amount", "1"], Exit.REJECTED, "[key_unknown]"),
        (["--from", "treasury", "--to", "nobody", "--amount", "1"], Exit.REJECTED, "[key_unknown]"),
        (
            ["--from", "treasury", "--to", TO_BOB[:-1] + "q", "--amount", "1"],
            Exit.REJECTED,
            "[address_checksum]",
        ),
        (["--from", "treasury", "--to", TO_BOB[3:], "--amount", "1"], Exit.REJECTED, "[address_network]"),
        (["--from", "treasury", "--to", TO_BOB, "--amount", "0"], Exit.REJECTED, "[transaction_amount_zero]"),
        (["--from", "treasury", "--to", TO_BOB, "--amount", "1", "--fee", "0"], Exit.REJECTED, "fee"),
        (
            ["--from", "treasury", "--to", TO_BOB, "--amount", "1", "--nonce", 2**64 - 1],
            Exit.REJECTED,
            "nonce",
        ),
        (["--from", "treasury", "--to", TO_BOB, "--amount", "1", "--fee", 2**64], Exit.USAGE, "--fee"),
        (["--from", "treasury", "--to", TO_BOB, "--amount", "1", "--asset", 2**32], Exit.USAGE, "--asset"),
        (["--from", "treasury", "--to", TO_BOB], Exit.USAGE, "--amount"),
    ],
)
def test_a_payment_that_cannot_be_is_refused(shop: Path, words: list[object], code: Exit, what: str):
    done = run("send", shop, *words, code=code)
    assert what in done.stderr
    assert done.stdout == ""
    assert told("account", shop, "treasury")["next_nonce"] == 0


def test_an_encrypted_key_pays_with_its_password(shop: Path, tmp_path: Path):
    (tmp_path / "password").write_text("secret\n")
    run("keys", "passwd", "treasury", "--home", shop, stdin="secret\nsecret\n")
    words = ("send", shop, "--from", "treasury", "--to", TO_BOB, "--amount", 1)
    assert "[key_password]" in run(*words, stdin="wrong\n", code=Exit.REJECTED).stderr
    run(*words, stdin="secret\n")
    run(*words, "--password-file", tmp_path / "password")
    assert told("balance", shop, TO_BOB)["balance"] == "2"


def test_an_unknown_id_has_no_receipt_even_if_it_begins_like_another(shop: Path):
    sent = told("send", shop, "--from", "treasury", "--to", TO_BOB, "--amount", 1)["id"]
    other = sent[:-1] + ("0" if sent[-1] != "0" else "1")
    for wrong in (other, "ab" * 32):
        done = run("receipt", shop, wrong, code=Exit.REJECTED)
        assert "[transaction_unknown]" in done.stderr


def test_the_receipt_of_an_operation_has_its_refusal(shop: Path):
    with Ledger.open(shop) as ledger:
        sent = ledger.operate(ledger.treasury, 16, b"nonsense").wait(30).id().hex()
    receipt = told("receipt", shop, sent)
    assert receipt["status"] == "refused"
    assert receipt["refusal"]
    assert receipt["events"] == []
    (item,) = told("history", shop, "treasury")["items"]
    assert (item["kind"], item["kind_number"], item["recipient"], item["amount"]) == (
        *("assets.create", 16, None),
        "0",
    )
    assert "assets.create, refused" in run("history", shop, "treasury").stdout


def test_the_first_commit_whose_parents_are_the_genesis_has_no_time(shop: Path):
    sent = told("send", shop, "--from", "treasury", "--to", TO_BOB, "--amount", 1)
    assert (sent["commit"], told("receipt", shop, sent["id"])["time_s"]) == (1, 0)
    run("send", shop, "--from", "treasury", "--to", TO_BOB, "--amount", 1)
    last, first = run("history", shop, TO_BOB).stdout.splitlines()[1:]
    assert first.startswith("-  ") and last.startswith("20")
    assert "1970" not in run("receipt", shop, sent["id"]).stdout


def test_big_integers_and_bytes_of_events_are_texts_in_json():
    assert ledger_commands._plain([2**53 - 1, 2**53, b"\1", "x", [2**100]]) == [
        2**53 - 1,
        str(2**53),
        "01",
        "x",
        [str(2**100)],
    ]


@pytest.mark.parametrize(
    "words", [["status"], ["balance", TO_BOB], ["history", TO_BOB], ["receipt", "ab" * 32]]
)
def test_a_folder_without_a_ledger_stays_as_it_was(tmp_path: Path, words: list[str]):
    done = run(words[0], tmp_path / "none", *words[1:], code=Exit.CONFIG)
    assert "there is no such folder; the URL of a node begins with http://" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert "there is no genesis.toml" in run(words[0], tmp_path, *words[1:], code=Exit.CONFIG).stderr
    (tmp_path / "devnet.json").write_text("{}")
    assert f"nodes are {tmp_path}/v0" in run(words[0], tmp_path, *words[1:], code=Exit.CONFIG).stderr


def test_the_least_fee_of_the_chain_is_paid_where_none_is_named(tmp_path: Path):
    dear = LedgerParams(fee_min=7, tree_depth=10)
    (home,) = create_network(tmp_path / "net", ["127.0.0.1:1"], created_ms=TimestampMs(0), ledger_params=dear)
    paying = ("send", home.folder, "--from", "treasury", "--to", TO_BOB, "--amount", 1)
    assert "[transaction_fee_too_low]" in run(*paying, "--fee", 6, code=Exit.REJECTED).stderr
    run(*paying)
    assert [item["fee"] for item in told("history", home.folder, TO_BOB)["items"]] == ["7"]


def test_a_chain_of_several_validators_is_not_run_by_a_command(shop: Path):
    home = Home.load(shop)
    other = Validator("other", BOB.public_key, 1)
    genesis = type(home.genesis)(
        "pair", Network.DEV, 0, (*home.genesis.validators, other), home.genesis.allocations
    )
    (shop / "genesis.toml").write_text(genesis_file.dumps(genesis))
    sending = ("send", shop, "--from", "treasury", "--to", "treasury", "--amount", 1)
    assert "2 validators" in run(*sending, code=Exit.CONFIG).stderr


def test_a_full_ledger_is_overloaded(shop: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise Overloaded("submissions: 65536 are open; try again later")

    monkeypatch.setattr(Ledger, "transfer", full)
    done = run("send", shop, "--from", "treasury", "--to", TO_BOB, "--amount", 1, code=Exit.OVERLOADED)
    assert done.stderr == "error: submissions: 65536 are open; try again later\n"


def test_an_interrupted_wait_says_how_to_ask_later(shop: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(submission: Submission, timeout_s: float | None = None) -> Submission:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Submission, "wait", interrupted)
        done = run("send", shop, "--from", "treasury", "--to", TO_BOB, "--amount", 1, code=Exit.INTERRUPTED)
    assert f"cherrydag receipt {shop} " in done.stderr
