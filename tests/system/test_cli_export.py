"""`cherrydag db export`: every transaction in Parquet, exact, in bounded groups, whole or not at all."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import compute, parquet

from cherrydag.address import Network, address_of, encode_address
from cherrydag.chain import Chain
from cherrydag.cli.checking import open_store
from cherrydag.cli.exits import Exit
from cherrydag.cli.names import STATUS_NAMES
from cherrydag.cli.program import cli
from cherrydag.commit import Commit
from cherrydag.errors import StorageError
from cherrydag.ledger import Ledger
from cherrydag.params import AMOUNT_MAX
from cherrydag.payload import build_payload
from cherrydag.refs import AnyRef
from cherrydag.runtime.home import Home
from cherrydag.signing import generate_keypair
from cherrydag.storage import export as module
from cherrydag.storage import opening
from cherrydag.storage.export import AddressTexts
from cherrydag.storage.values import CommitOutcome
from cherrydag.transaction import Octets, amounts, as_records, build_transfers
from cherrydag.vertex import ValidatorVertex

BOB = generate_keypair(b"b" * 32)
SUPPLY = AMOUNT_MAX
BIG = 10**38 + 1  # more than 38 digits hold
AMOUNTS = (1, 2**64 - 1, 2**64, BIG, 2**127)


@pytest.fixture(autouse=True)
def no_preflight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "run_preflight", lambda folder: None)


def run(*words: object, code: int = 0) -> Result:
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with transfers of any size, one without effect, and operations with a body."""
    folder = tmp_path_factory.mktemp("filled") / "shop"
    with Ledger.open(folder, supply=SUPPLY) as ledger:
        for amount in AMOUNTS:
            ledger.transfer(ledger.treasury, BOB, amount, fee=3).wait(30)
        ledger.transfer(BOB, ledger.treasury, AMOUNT_MAX - 1).wait(30)
        ledger.operate(ledger.treasury, 16, b"nonsense").wait(30)
    return folder


@pytest.fixture
def shop(filled: Path, tmp_path: Path) -> Path:
    shutil.copytree(filled, tmp_path / "shop")
    return tmp_path / "shop"


@pytest.fixture
def out(shop: Path) -> Path:
    run("db", "export", shop, shop.parent / "out")
    return shop.parent / "out"


def rows(out: Path) -> list[dict]:
    return parquet.read_table(out / "transactions.parquet").to_pylist()


def test_every_row_says_what_the_ledger_says(shop: Path, out: Path):
    found = {row["id"]: row for row in rows(out)}
    with Ledger.open(shop) as ledger:
        home = Home.load(shop)
        treasury = encode_address(address_of(ledger.treasury.public_key), Network.DEV)
        items = ledger.history(treasury, 100).items
        assert {item.transaction_id for item in items} == set(found)
        for item in items:
            row, records = found[item.transaction_id], as_records(item.record)
            (record,) = records
            receipt = ledger.receipt(item.transaction_id)
            assert receipt is not None
            has_recipient = bool(record["recipient"].any())
            assert row == {
                "commit": item.place.commit_index,
                "position": item.place.position,
                "time": row["time"],
                "id": item.transaction_id,
                "kind": int(record["kind"]),
                "scheme": 1,
                "sender": encode_address(address_of(record["sender"].tobytes()), home.genesis.network),
                "recipient": encode_address(record["recipient"].tobytes(), home.genesis.network)
                if has_recipient
                else None,
                "asset": 0,
                "amount": str(amounts(records)[0]),
                "fee": int(record["fee"]),
                "nonce": int(record["nonce"]),
                "valid_until": 2**32 - 1,
                "status": STATUS_NAMES[item.status],
                "status_code": item.status,
                "vertex": receipt.vertex.digest,
                "body": item.body or None,
            }
            assert int(row["time"].timestamp()) == item.time_s
    assert {row["status"] for row in found.values()} == {"applied", "insufficient", "refused"}


def test_sums_over_the_export_are_exact_to_128_bits(shop: Path, out: Path):
    table = parquet.read_table(out / "transactions.parquet")
    is_applied = compute.and_(compute.equal(table["status"], "applied"), compute.equal(table["kind"], 1))
    digits = table.filter(is_applied)["amount"]
    assert compute.sum(compute.cast(digits, pa.decimal256(39))).as_py() == sum(AMOUNTS)
    charged = compute.is_in(table["status"], pa.array(["applied", "insufficient", "refused"]))
    fees = compute.sum(table.filter(charged)["fee"]).as_py()
    with Ledger.open(shop) as ledger:
        assert ledger.supply().fees == fees
        assert ledger.balance(ledger.treasury) == SUPPLY - sum(AMOUNTS) - 3 * len(AMOUNTS) - 1


def test_commits_link_to_each_other_and_count_their_rows(shop: Path, out: Path):
    commits = parquet.read_table(out / "commits.parquet").to_pylist()
    assert [commit["commit"] for commit in commits] == list(range(1, len(commits) + 1))
    for before, after in pairwise(commits):
        assert after["prev_digest"] == before["digest"]
        assert after["time"] >= before["time"]
    per_commit = {commit["commit"]: commit["transactions"] for commit in commits}
    counted = dict.fromkeys(per_commit, 0)
    for row in rows(out):
        assert row["position"] == counted[row["commit"]]
        counted[row["commit"]] += 1
    assert counted == per_commit
    with open_store(Home.load(shop)) as store:
        stored = store.commits(1, len(commits))
    assert [commit.digest for commit in stored] == [commit["digest"] for commit in commits]
    assert [len(commit.vertices) for commit in stored] == [commit["vertices"] for commit in commits]
    assert [commit.leader.round for commit in stored] == [commit["leader_round"] for commit in commits]


def test_a_range_has_its_commits_and_no_others(shop: Path, out: Path):
    last = max(row["commit"] for row in rows(out))
    done = run(
        "db", "export", shop, shop.parent / "part", "--from-commit", 2, "--to-commit", last - 1, "--json"
    )
    told = json.loads(done.stdout)
    wanted = [row for row in rows(out) if 2 <= row["commit"] < last]
    assert rows(shop.parent / "part") == wanted
    assert (told["first_commit"], told["last_commit"], told["transactions"]) == (2, last - 1, len(wanted))
    size = sum(path.stat().st_size for path in (shop.parent / "part").iterdir())
    assert told["bytes"] == size


@pytest.mark.parametrize(("first", "last"), [(0, 1), (1, 10**6), (3, 2), (10**6, 10**6)])
def test_a_range_beyond_the_chain_is_refused(shop: Path, first: int, last: int):
    done = CliRunner().invoke(
        cli,
        ["db", "export", str(shop), str(shop / "x"), "--from-commit", str(first), "--to-commit", str(last)],
    )
    assert done.exit_code == (Exit.USAGE if first == 0 else Exit.REJECTED)
    assert not (shop / "x").exists()


def test_an_empty_chain_is_exported_as_empty_tables(tmp_path: Path):
    run("init", tmp_path / "new")
    assert "none yet" in run("db", "export", tmp_path / "new", tmp_path / "out").stdout
    for name in ("transactions", "commits"):
        assert parquet.read_table(tmp_path / "out" / f"{name}.parquet").num_rows == 0
    run("db", "export", tmp_path / "new", tmp_path / "x", "--from-commit", 1, code=Exit.REJECTED)


@pytest.mark.parametrize("limit", ["GROUP_ROWS", "GROUP_BODY_BYTES"])
def test_rows_are_written_in_groups_and_are_the_same(
    shop: Path, out: Path, monkeypatch: pytest.MonkeyPatch, limit: str
):
    monkeypatch.setattr(module, limit, 1)
    run("db", "export", shop, shop.parent / "small")
    assert rows(shop.parent / "small") == rows(out)
    groups = parquet.ParquetFile(shop.parent / "small" / "transactions.parquet").num_row_groups
    assert groups == (len(rows(out)) if limit == "GROUP_ROWS" else 1)
    assert parquet.ParquetFile(out / "transactions.parquet").num_row_groups == 1


def test_commits_that_are_not_executed_yet_have_no_status(shop: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cherrydag.storage.log_view.LogView.outcome", lambda store, index: None)
    run("db", "export", shop, shop.parent / "bare")
    found = rows(shop.parent / "bare")
    assert len(found) == len(AMOUNTS) + 2
    assert {(row["status"], row["status_code"]) for row in found} == {(None, None)}


def test_a_damaged_vertex_ends_the_export_and_nothing_is_left(shop: Path):
    from storage.lmdb_tools import data_file, flip_all

    with open_store(Home.load(shop)) as store:
        (vertex,) = store.vertices([store.commits(1, 1)[0].vertices[-1]])
    assert vertex is not None
    flip_all(data_file(shop / "data"), bytes(vertex.payload.octets), 100)
    assert "is damaged" in run("db", "export", shop, shop.parent / "out", code=Exit.STORAGE).stderr
    assert [path.name for path in shop.parent.iterdir()] == ["shop"]


def test_an_interrupted_export_leaves_nothing(shop: Path, monkeypatch: pytest.MonkeyPatch):
    original, calls = module._export_commit, []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            assert [path.name.startswith(".out.") for path in shop.parent.iterdir()].count(True) == 1
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(module, "_export_commit", stop)
    run("db", "export", shop, shop.parent / "out", code=Exit.INTERRUPTED)
    assert [path.name for path in shop.parent.iterdir()] == ["shop"]


def test_an_export_replaces_nothing_but_an_empty_folder(shop: Path, out: Path):
    before = (out / "commits.parquet").read_bytes()
    assert "there already" in run("db", "export", shop, out, code=Exit.CONFIG).stderr
    assert (out / "commits.parquet").read_bytes() == before
    (shop.parent / "empty").mkdir()
    run("db", "export", shop, shop.parent / "empty")
    assert (shop.parent / "empty" / "commits.parquet").exists()


def test_progress_counts_commits_to_the_end(shop: Path, tmp_path: Path):
    seen: list[tuple[int, int]] = []
    with open_store(Home.load(shop)) as store:
        module.export(
            store,
            tmp_path / "out",
            network=Network.DEV,
            status_names={},
            first_commit=2,
            progress=lambda done, total: seen.append((done, total)),
        )
    assert seen == [(done, len(seen)) for done in range(1, len(seen) + 1)]
    assert {row["status"] for row in rows(tmp_path / "out")} <= {"status_1", "status_2", "status_16"}


def test_without_pyarrow_the_line_that_installs_it_is_told(shop: Path):
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        f"sys.argv = ['cherrydag', 'db', 'export', {str(shop)!r}, {str(shop / 'out')!r}]\n"
        "from cherrydag.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == Exit.CONFIG
    assert done.stderr == "error: export: pyarrow is not installed: pip install 'cherrydag[export]'\n"


# Positions


class _Stored:
    """A store of one commit of many vertices; `read` is how many it was asked for at a time."""

    def __init__(self, vertices: list[ValidatorVertex]) -> None:
        self._vertices = {vertex.ref: vertex for vertex in vertices}
        self.read: list[int] = []
        statuses = [np.full(len(vertex.payload), number, np.uint8) for number, vertex in enumerate(vertices)]
        self._outcome = CommitOutcome(1, tuple(statuses), b"")

    def outcome(self, index: int) -> CommitOutcome:
        return self._outcome

    def vertices(self, refs: Sequence[AnyRef]) -> list[ValidatorVertex | None]:
        self.read.append(len(refs))
        return [self._vertices.get(ref) for ref in refs]


class _Taken:
    """A group that keeps what it is given."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, int, list[int]]] = []

    def add(self, commit: Commit, position: int, vertex: ValidatorVertex, statuses: Octets) -> None:
        self.parts.append((vertex.round, position, statuses.tolist()))


def test_positions_run_through_all_vertices_of_a_commit_in_bounded_reads():
    vertices = []
    for round_ in range(1, 41):
        records = build_transfers(
            senders=bytes(32), recipients=bytes(20), amounts=[1] * (round_ % 4), nonces=0
        )
        payload = build_payload(records, Chain.of(bytes(32)))
        vertices.append(ValidatorVertex(0, round_, 0, 0, (), payload=payload))
    store, group = _Stored(vertices), _Taken()
    commit = Commit(0, 1, bytes(32), 0, tuple(vertex.ref for vertex in vertices))
    sizes = [round_ % 4 for round_ in range(1, 41)]
    assert module._export_commit(store, commit, group) == sum(sizes)
    assert group.parts == [
        (round_, sum(sizes[: round_ - 1]), [round_ - 1] * size)
        for round_, size in enumerate(sizes, 1)
        if size
    ]
    assert max(store.read) == module._VERTICES_PER_READ


def test_a_commit_whose_vertex_is_missing_or_does_not_fit_is_damage():
    records = build_transfers(senders=bytes(32), recipients=bytes(20), amounts=[1, 2], nonces=0)
    vertex = ValidatorVertex(0, 1, 0, 0, (), payload=build_payload(records, Chain.of(bytes(32))))
    commit = Commit(0, 1, bytes(32), 0, (vertex.ref,))
    with pytest.raises(StorageError, match="is missing"):
        module._export_commit(_Stored([]), commit, _Taken())
    store = _Stored([vertex])
    store._outcome = CommitOutcome(1, (np.zeros(3, np.uint8),), b"")
    with pytest.raises(StorageError, match="does not fit"):
        module._export_commit(store, commit, _Taken())


# Columns


@pytest.mark.parametrize("network", list(Network))
@settings(max_examples=30)
@given(addresses=st.lists(st.binary(min_size=20, max_size=20), min_size=1, max_size=8))
def test_columns_of_addresses_are_what_encode_address_says(network: Network, addresses: list[bytes]):
    texts = AddressTexts(network).encode(np.frombuffer(b"".join(addresses), np.uint8).reshape(-1, 20))
    assert [bytes(text).decode() for text in texts] == [encode_address(one, network) for one in addresses]


@given(st.lists(st.integers(0, AMOUNT_MAX), min_size=1, max_size=20))
def test_columns_of_amounts_are_their_digits(values: list[int]):
    records = build_transfers(senders=bytes(32), recipients=bytes(20), amounts=values, nonces=0)
    assert module._amounts(records).to_pylist() == [str(value) for value in values]


def test_a_transfer_to_the_zero_address_keeps_its_recipient():
    records = build_transfers(senders=bytes(32), recipients=bytes(20), amounts=[1, 1], nonces=0)
    records["kind"][1] = 16
    assert module._has_recipient(records).tolist() == [True, False]
