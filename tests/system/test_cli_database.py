"""`cherrydag db` and `backup`: what is damaged is named, what can be made good is."""

import asyncio
import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from threading import Thread

import pytest
from click.testing import CliRunner, Result
from storage.lmdb_tools import data_file, flip_all

from cherrydag.cli import checking
from cherrydag.cli.checking import open_store
from cherrydag.cli.exits import Exit
from cherrydag.cli.program import cli
from cherrydag.ledger import Ledger
from cherrydag.runtime import home as home_module
from cherrydag.runtime.home import Home
from cherrydag.runtime.node_runner import start_node
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.signing import generate_keypair
from cherrydag.storage import opening
from cherrydag.storage.opening import open_read_only
from cherrydag.storage.schema import Table

BOB = generate_keypair(b"b" * 32)


@pytest.fixture(autouse=True)
def no_preflight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "run_preflight", lambda folder: None)


def run(*words: object, code: int = 0) -> Result:
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done


def told(*words: object, code: int = 0):
    return json.loads(run(*words, "--json", code=code).stdout)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with a few commits and a checkpoint, closed."""
    folder = tmp_path_factory.mktemp("filled") / "shop"
    with Ledger.open(folder, options=LedgerOptions(checkpoint_transactions=2)) as ledger:
        for amount in range(1, 7):
            ledger.transfer(ledger.treasury, BOB, amount).wait(30)
        ledger.operate(ledger.treasury, 16, b"nonsense").wait(30)
        for _ in range(500):  # a checkpoint is made beside the work
            if ledger.status().checkpoint_index:
                break
            ledger.transfer(ledger.treasury, BOB, 1).wait(30)
        assert ledger.status().checkpoint_index
    return folder


@pytest.fixture
def shop(filled: Path, tmp_path: Path) -> Path:
    shutil.copytree(filled, tmp_path / "shop")
    return tmp_path / "shop"


def damage_vertex(shop: Path) -> str:
    """Flip a bit of a committed vertex's payload; the digest of the vertex."""
    with open_store(Home.load(shop)) as store:
        (commit,) = store.commits(1, 1)
        (vertex,) = store.vertices([commit.vertices[-1]])
    assert vertex is not None
    flip_all(data_file(shop / "data"), bytes(vertex.payload.octets), 100)
    return vertex.digest.hex()


def damage_outcome(shop: Path, index: int) -> None:
    native = open_read_only(shop / "data" / "ledger")
    value = native.keys(Table.RESULTS, index.to_bytes(8, "big"), 8, 1 << 20)[0][0][2]
    native.close()
    flip_all(data_file(shop / "data"), value, 12)


# Check


def test_a_sound_ledger_is_said_to_be(shop: Path):
    report = told("db", "check", shop)
    assert report["sound"]
    assert report["findings"] == []
    assert report["commits"] == report["outcomes"] > 0
    assert run("db", "check", shop).stdout.endswith("all of it is sound\n")


def test_a_new_ledger_is_sound(tmp_path: Path):
    run("init", tmp_path / "new")
    assert told("db", "check", tmp_path / "new")["commits"] == 0


def test_damage_is_named_with_its_remedy_and_fails(shop: Path):
    digest = damage_vertex(shop)
    damage_outcome(shop, 2)
    report = told("db", "check", shop, code=Exit.STORAGE)
    by_remedy = {finding["repair"]: finding for finding in report["findings"]}
    assert by_remedy["copy"]["vertex"]["digest"] == digest
    assert by_remedy["execute"]["commit"] == 2
    shown = run("db", "check", shop, code=Exit.STORAGE).stdout
    assert digest in shown
    assert "repair: `db repair --from`" in shown
    assert "repair: `db repair`, which executes" in shown


def test_damaged_derived_state_and_sign_state_are_named(shop: Path):
    (state,) = sorted((shop / "data" / "derived").glob("state-*"))[-1:]
    state.write_bytes(state.read_bytes()[:-1])
    (shop / "sign-state").write_bytes(bytes(8192))
    report = told("db", "check", shop, code=Exit.STORAGE)
    assert {(item["table"], item["repair"]) for item in report["findings"]} == {
        ("derived", "start"),
        ("sign-state", "sign"),
    }
    assert state.name in report["findings"][0]["words"]


def test_one_damaged_slot_of_the_sign_state_is_named(shop: Path):
    content = bytearray((shop / "sign-state").read_bytes())
    content[20] ^= 1
    (shop / "sign-state").write_bytes(content)
    (finding,) = told("db", "check", shop, code=Exit.STORAGE)["findings"]
    assert "one of its two slots" in finding["words"]


def test_a_database_that_is_cut_off_is_refused(shop: Path):
    path = data_file(shop / "data")
    os.truncate(path, path.stat().st_size // 2)
    assert "cut off" in run("db", "check", shop, code=Exit.STORAGE).stderr


def test_a_check_that_dies_of_a_damaged_page_is_told(shop: Path, monkeypatch: pytest.MonkeyPatch):
    lines = "print('[3, 9]', flush=True); import os, signal; os.kill(os.getpid(), signal.SIGBUS)"
    monkeypatch.setattr(checking, "_CHILD", lines)
    done = run("db", "check", shop, code=Exit.STORAGE)
    assert f"died of {signal.SIGBUS.name} at entry 3 of 9" in done.stderr


def test_a_check_that_ends_without_a_report_is_no_success(shop: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checking, "_CHILD", "pass")
    assert "before the first entry" in run("db", "check", shop, code=Exit.STORAGE).stderr


def test_progress_of_the_check_reaches_the_end(shop: Path):
    seen: list[tuple[int, int]] = []
    checking.check_folder(shop, lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] > 0


@pytest.mark.parametrize("command", [["check"], ["stats"], ["repair"], ["export", "out"]])
def test_nothing_is_made_where_there_is_no_database(shop: Path, command: list[str]):
    shutil.rmtree(shop / "data")
    done = run("db", command[0], shop, *command[1:], code=Exit.STORAGE)
    assert "there is no database" in done.stderr
    assert not (shop / "data").exists()


def test_a_database_of_another_chain_is_refused(shop: Path, tmp_path: Path):
    run("init", tmp_path / "other")
    shutil.copyfile(tmp_path / "other" / "genesis.toml", shop / "genesis.toml")
    assert "not " in run("db", "stats", shop, code=Exit.STORAGE).stderr


# Repair


def test_repair_takes_vertices_from_another_copy_and_executes_the_rest(
    shop: Path, filled: Path, tmp_path: Path
):
    shutil.copytree(filled, tmp_path / "other")
    digest = damage_vertex(shop)
    for index in (1, 3):
        damage_outcome(shop, index)
    done = told("db", "repair", shop, "--from", tmp_path / "other")
    assert done["vertices_repaired"] == [digest]
    assert done["vertices_missing"] == []
    assert done["outcomes_repaired"] == [1, 3]
    assert done["after"]["sound"]
    same = [open_store(Home.load(folder)) for folder in (shop, tmp_path / "other")]
    last = same[0].commits_bounds()[1]
    assert list(same[0].outcomes(1, last)) == list(same[1].outcomes(1, last))
    for store in same:
        store.close()
    assert told("balance", shop, "treasury") == told("balance", filled, "treasury")


def test_repair_without_another_copy_leaves_vertices_and_says_so(shop: Path):
    damage_vertex(shop)
    done = run("db", "repair", shop, code=Exit.STORAGE)
    assert "give --from" in done.stderr
    assert "repaired: 0 vertices, 0 outcomes" in done.stdout


def test_what_the_other_copy_cannot_give_is_missing(shop: Path, filled: Path, tmp_path: Path):
    shutil.copytree(filled, tmp_path / "other")
    digest = damage_vertex(shop)
    damage_vertex(tmp_path / "other")
    done = told("db", "repair", shop, "--from", tmp_path / "other", code=Exit.STORAGE)
    assert (done["vertices_repaired"], done["vertices_missing"]) == ([], [digest])
    assert "could not give 1 vertex" in run("db", "repair", shop, "--from", tmp_path / "other", code=4).stdout


@pytest.fixture
def node(filled: Path, tmp_path: Path) -> Iterator[str]:
    """Where a node with the other copy listens for peers."""
    shutil.copytree(filled, tmp_path / "other")
    ready: Queue[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Queue()

    async def serve() -> None:
        running = await start_node(Home.load(tmp_path / "other"))
        stop = asyncio.Event()
        ready.put((asyncio.get_running_loop(), stop, running.peers.transport.port))
        await stop.wait()
        await running.close()

    thread = Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    loop, stop, port = ready.get(timeout=30)
    yield f"127.0.0.1:{port}"
    loop.call_soon_threadsafe(stop.set)
    thread.join()


def test_repair_takes_vertices_from_a_running_node(shop: Path, node: str):
    digest = damage_vertex(shop)
    done = told("db", "repair", shop, "--from", node)
    assert (done["vertices_repaired"], done["vertices_missing"]) == ([digest], [])
    assert done["after"]["sound"]
    assert told("balance", shop, "treasury")["balance"]


def test_a_node_of_another_chain_or_none_is_no_source(node: str, tmp_path: Path):
    run("init", tmp_path / "alien")
    with Ledger.open(tmp_path / "alien") as ledger:
        ledger.transfer(ledger.treasury, BOB, 1).wait(30)
    damage_vertex(tmp_path / "alien")
    assert "chain" in run("db", "repair", tmp_path / "alien", "--from", node, code=Exit.UNREACHABLE).stderr
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        place = f"127.0.0.1:{nobody.getsockname()[1]}"
    assert place in run("db", "repair", tmp_path / "alien", "--from", place, code=Exit.UNREACHABLE).stderr


def test_repair_of_a_sound_ledger_changes_nothing(shop: Path):
    before = data_file(shop / "data").read_bytes()
    assert run("db", "repair", shop).stdout.endswith("all of it is sound\n")
    assert data_file(shop / "data").read_bytes() == before


# Stats, backup


def test_stats_count_what_the_check_counts(shop: Path):
    report, stats = told("db", "check", shop), told("db", "stats", shop)
    tables = {table["name"]: table for table in stats["tables"]}
    assert tables["vertices"]["entries"] == report["vertices"]
    assert tables["commits"]["entries"] == report["commits"]
    assert stats["file_bytes"] >= stats["pages"] * stats["page_bytes"]
    shown = run("db", "stats", shop).stdout
    assert [line.split()[0] for line in shown.splitlines()[1:9]] == list(tables)


def test_a_backup_can_be_opened_and_goes_on(shop: Path, tmp_path: Path):
    done = told("backup", shop, tmp_path / "copy")
    assert done == {"folder": str(tmp_path / "copy"), "commit": told("status", shop)["commit"]}
    assert told("db", "check", tmp_path / "copy")["sound"]
    assert told("status", tmp_path / "copy")["genesis_digest"] == told("status", shop)["genesis_digest"]
    run("send", tmp_path / "copy", "--from", "treasury", "--to", "treasury", "--amount", 1)
    assert "last commit" in run("backup", shop, tmp_path / "second").stdout


def test_a_backup_never_replaces_anything(shop: Path, tmp_path: Path):
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "letter").write_text("dear")
    assert "there already" in run("backup", shop, tmp_path / "copy", code=Exit.CONFIG).stderr
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["letter"]


def interrupted(monkeypatch: pytest.MonkeyPatch, target: object, name: str) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(target, name, stop)


@pytest.mark.parametrize(
    ("target", "name", "words"),
    [
        (home_module.shutil, "copytree", ["backup", "{shop}", "{out}"]),
        (home_module, "complete", ["init", "{out}"]),
    ],
    ids=["backup", "init"],
)
def test_an_interrupted_command_leaves_nothing_half_made(
    shop: Path, monkeypatch: pytest.MonkeyPatch, target: object, name: str, words: list[str]
):
    before = sorted(path.name for path in shop.parent.iterdir())
    interrupted(monkeypatch, target, name)
    run(*(word.format(shop=shop, out=shop.parent / "out") for word in words), code=Exit.INTERRUPTED)
    assert sorted(path.name for path in shop.parent.iterdir()) == before


@pytest.mark.parametrize(
    "words",
    [["status"], ["db", "check"], ["db", "stats"], ["db", "repair"], ["db", "export"], ["backup"]],
    ids=" ".join,
)
def test_a_ledger_in_use_is_left_alone(shop: Path, tmp_path: Path, words: list[str]):
    more = [tmp_path / "out"] if words[-1] in ("export", "backup") else []
    with Ledger.open(shop):
        done = run(*words, shop, *more, code=Exit.IN_USE)
    assert " is in use" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_repair_source_in_use_is_told(shop: Path, filled: Path, tmp_path: Path):
    shutil.copytree(filled, tmp_path / "other")
    digest = damage_vertex(shop)
    with Ledger.open(tmp_path / "other"):
        done = run("db", "repair", shop, "--from", tmp_path / "other", code=Exit.IN_USE)
    assert f"{tmp_path / 'other'}" in done.stderr and " is in use" in done.stderr
    assert digest in run("db", "check", shop, code=Exit.STORAGE).stdout
