"""The programs of examples/ do what they say, in processes of their own or in ours."""

import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer
from devnet_processes import Devnet
from places import ROOT
from waiting import wait_until

from cherrydag.address import Network, encode_address
from cherrydag.client import AsyncClient, Client
from cherrydag.errors import ShapeError
from cherrydag.keystore import Keystore
from cherrydag.ledger import Ledger
from cherrydag.runtime.home import COIN

EXAMPLES = ROOT / "examples"
FEE = 1


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a network of one validator, whose user's key is in `KEYS` of its folder."""
    folder = tmp_path_factory.mktemp("examples")
    with Devnet(folder / "tmp", "--validators", 1, "--dir", folder / "net") as devnet:
        yield devnet.url
        devnet.stop()


@pytest.fixture
def keys(url: str, tmp_path: Path) -> Keystore:
    """Keys with 100 coins each: ann, bob and bot."""
    made = Keystore(tmp_path / "keys")
    with Client(url) as client:
        for name in ("ann", "bob", "bot"):
            account = made.create(name, None).address
            client.call("faucet", address=encode_address(account, Network.DEV))
            wait_until(lambda account=account: client.balance(account))
    return made


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_says_what_it_is_and_stays_small(path: Path):
    module = example(path.stem)
    assert module.__doc__ and f"python3 examples/{path.name}" in module.__doc__
    assert len(path.read_text().splitlines()) < 120


async def test_a_service_pays_and_tells(tmp_path: Path):
    shop = example("shop_service")
    async with TestClient(TestServer(await shop.make_app(tmp_path))) as client:
        for name in ("ann", "bob"):
            assert (await client.post("/customers", json={"name": name})).status == 201
        paid = await client.post("/payments", json={"from": "ann", "to": "bob", "amount": 30})
        told = await paid.json()
        assert (paid.status, told["status"]) == (200, "applied")
        found = await (await client.get(f"/payments/{told['id']}")).json()
        assert found["status"] == "applied" and found["commit"] > 0
        bob = await (await client.get("/customers/bob")).json()
        assert bob["coins"] == 130 and bob["payments"][0]["id"] == told["id"]
        poor = await client.post("/payments", json={"from": "ann", "to": "bob", "amount": 500})
        assert (poor.status, (await poor.json())["status"]) == (409, "insufficient")
        unknown = await client.post("/payments", json={"from": "eve", "to": "bob", "amount": 1})
        assert (unknown.status, (await unknown.json())["code"]) == (422, "key_unknown")
        twice = await client.post("/customers", json={"name": "ann"})
        assert (twice.status, (await twice.json())["code"]) == (422, "key_name_taken")
        assert (await client.post("/payments", json={"from": "ann"})).status == 400
        assert (await client.get(f"/payments/{'00' * 32}")).status == 404
    async with TestClient(TestServer(await shop.make_app(tmp_path))) as client:
        assert (await (await client.get("/customers/bob")).json())["coins"] == 130


class BotProcess:
    def __init__(self, url: str, keys: Path, state: Path) -> None:
        words = (url, "--keystore", keys, "--key", "bot", "--state", state)
        self.process = subprocess.Popen([sys.executable, EXAMPLES / "payment_bot.py", *map(str, words)])

    def __enter__(self) -> "BotProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def test_a_bot_answers_each_payment_once_over_its_deaths(url: str, keys: Keystore, tmp_path: Path):
    ann, bob, bot = (keys.load(name, None) for name in ("ann", "bob", "bot"))
    state = tmp_path / "state.json"
    with Client(url) as client:
        before = {key: client.balance(key) for key in (ann, bob, bot)}
        with BotProcess(url, tmp_path / "keys", state):
            client.transfer(ann, bot, 1000).wait()
            wait_until(lambda: client.balance(ann) == before[ann] - 1000 - FEE + 500)
        client.transfer(bob, bot, 600).wait()  # while it is away
        with BotProcess(url, tmp_path / "keys", state):
            wait_until(lambda: client.balance(bob) == before[bob] - 600 - FEE + 300)
            last = client.status().commit_index
            wait_until(lambda: json.loads(state.read_text())["cursor"] >= last)
        with BotProcess(url, tmp_path / "keys", state):
            client.transfer(ann, bot, 10).wait()
            wait_until(lambda: client.balance(ann) == before[ann] - 1010 - 2 * FEE + 505)
        gift = before[bot]  # a payment too, and answered first of all
        assert client.balance(bot) == gift - gift // 2 + 1000 + 600 + 10 - (500 + 300 + 5) - 4 * FEE


async def test_what_a_bot_has_written_down_is_paid_once_however_often(
    url: str, keys: Keystore, tmp_path: Path
):
    bots = example("payment_bot")
    async with AsyncClient(url) as client:
        ann, bot_key = keys.load("ann", None), keys.load("bot", None)
        await (await client.transfer(ann, bot_key, 1000)).final()
        before = await client.balance(ann)
        state = bots.State(tmp_path / "state.json")
        bot = bots.Bot(client, bot_key, state)
        async for commit in client.subscribe(after=0):
            owed = await bot._owed(commit)
            if ann.public_key in [sender.tobytes() for sender in commit.records["sender"]] and len(owed):
                break
        state.write(commit.index, owed)
        for _ in range(3):  # each time from what is on the disk
            await bots.Bot(client, bot_key, bots.State(tmp_path / "state.json"))._pay()
        assert await client.balance(ann) == before + 500


def test_a_notary_signs_a_file_and_knows_it_again(url: str, keys: Keystore, tmp_path: Path, capsys):
    notary = example("notary")
    contract = tmp_path / "contract.txt"
    contract.write_text("ten sacks of rice")
    sign = (
        "sign",
        str(contract),
        "--url",
        url,
        "--keystore",
        str(tmp_path / "keys"),
        "--key",
        "ann",
        "--key",
        "bob",
    )
    check = ("check", str(contract), "--url", url)
    assert notary.main(sign) == 0
    assert notary.main(check) == 0
    assert "contract.txt: signed by all 2 as of commit" in capsys.readouterr().out
    assert notary.main(sign) == 1
    assert "anchor_exists" in capsys.readouterr().err
    contract.write_text("nine sacks of rice")
    assert notary.main(check) == 1
    assert "not the one that was signed" in capsys.readouterr().err


def test_a_loader_pays_every_row_of_a_table(tmp_path: Path):
    loader = example("bulk_load")
    payments = np.zeros(1000, loader.PAYMENT)
    payments["recipient"][:, 0] = np.arange(1000) % 3
    payments["amount"] = np.arange(1, 1001)
    np.save(tmp_path / "payments.npy", payments)
    words = (EXAMPLES / "bulk_load.py", tmp_path / "ledger", tmp_path / "payments.npy", "--senders", "70")
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("1000 payments, 0 refused, ")
    with Ledger.open(tmp_path / "ledger") as ledger:
        for number in range(3):
            wanted = int(payments["amount"][payments["recipient"][:, 0] == number].sum())
            assert ledger.balance(bytes([number]) + bytes(19)) == wanted
        with pytest.raises(ShapeError, match="payments"):
            loader.load(ledger, np.zeros(3), 1)
        again = loader.load(ledger, payments[:5], 2)
        assert (again.payments, again.refused) == (5, 0)
        assert ledger.balance(ledger.treasury) < 10**9 * COIN
