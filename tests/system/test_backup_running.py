"""`cherrydag backup` of a node that runs: it makes the copy itself and goes on."""

import json
import os
import signal
from pathlib import Path

import pytest
from node_processes import NodeProcess, cherrydag
from waiting import wait_until

from cherrydag.cli.exits import Exit
from cherrydag.client import Client
from cherrydag.errors import ConfigError, StorageError
from cherrydag.ledger import Ledger
from cherrydag.logs import request_level
from cherrydag.primitives import TimestampMs
from cherrydag.runtime import backup_request
from cherrydag.runtime.backup_request import ANSWER, REQUEST, BackupDesk, ask, read_answer
from cherrydag.runtime.home import TREASURY, create_solo
from cherrydag.signing import generate_keypair

BOB = generate_keypair(b"\x05" * 32)


def test_a_node_copies_itself_and_goes_on(tmp_path: Path) -> None:
    home = create_solo(tmp_path / "shop", created_ms=TimestampMs(1_700_000_000_000))
    treasury, copy = home.key(TREASURY), tmp_path / "copy"
    with NodeProcess(home.folder, "--peers", "") as node, Client(node.api) as client:
        client.transfer(treasury, BOB, 5).wait()
        told = json.loads(cherrydag("backup", home.folder, copy, "--json"))
        assert told["commit"] >= 1 and told["folder"] == str(copy)
        assert "there already" in cherrydag("backup", home.folder, copy, code=Exit.CONFIG)
        (tmp_path / "file").touch()
        cherrydag("backup", home.folder, tmp_path / "file" / "copy", code=Exit.STORAGE)
        client.transfer(treasury, BOB, 2).wait()
        assert client.balance(BOB) == 7
        assert not [path for path in home.folder.iterdir() if path.name.startswith("backup-")]
        assert len(node.events("backup")) == 3
        assert node.stop() == 0
    with Ledger.open(copy) as ledger:
        assert ledger.balance(BOB) == 5


def test_one_signal_may_stand_for_two_requests(tmp_path: Path) -> None:
    home = create_solo(tmp_path / "shop", created_ms=TimestampMs(1_700_000_000_000))
    with NodeProcess(home.folder, "--peers", "") as node:
        request_level(home.folder, "debug")
        request = ask(home.folder, tmp_path / "copy")
        os.kill(node.process.pid, signal.SIGUSR2)
        wait_until(lambda: read_answer(home.folder, request) is not None)
        wait_until(lambda: [event["now"] for event in node.events("log_level")] == ["debug"])
        json.loads(cherrydag("backup", home.folder, tmp_path / "second", "--json"))
        assert [event["now"] for event in node.events("log_level")] == ["debug"]  # a backup leaves it


def test_a_node_that_ends_first_is_told(tmp_path: Path) -> None:
    home = create_solo(tmp_path / "shop", created_ms=TimestampMs(1_700_000_000_000))
    with NodeProcess(home.folder, "--peers", "") as node:
        os.kill(node.process.pid, signal.SIGSTOP)
        request = ask(home.folder, tmp_path / "copy")
        with pytest.raises(ConfigError, match="another request waits"):
            ask(home.folder, tmp_path / "second")
        node.kill()
    assert read_answer(home.folder, request) is None
    with NodeProcess(home.folder, "--peers", ""):
        assert not (home.folder / REQUEST).exists()
        assert not (tmp_path / "copy").exists()


async def test_a_desk_serves_what_waits_when_it_opens_and_answers_before_it_closes(tmp_path: Path) -> None:
    async def copy(target: Path) -> int:
        if target.name == "bad":
            raise StorageError("no space")
        return 7

    desk = BackupDesk(tmp_path)
    good = ask(tmp_path, tmp_path / "good")
    assert desk.take() is None  # nobody is there yet
    desk.open(copy)
    bad = ask(tmp_path, tmp_path / "bad")
    assert desk.take() == tmp_path / "bad"
    assert desk.take() is None
    await desk.close()
    assert read_answer(tmp_path, good) == 7
    with pytest.raises(StorageError, match="no space"):
        read_answer(tmp_path, bad)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ('{"number": "0011223344556677", "target": "/t"}', 0o644),
        ('{"number": "../../../../etc/x", "target": "/t"}', 0o600),
        ('{"number": "0011223344556677", "target": "t"}', 0o600),
        ('{"number": 1, "target": "/t"}', 0o600),
        ("[]", 0o600),
        ("{", 0o600),
        ("x" * (backup_request._BYTES_MAX + 1), 0o600),
    ],
    ids=["others", "number", "relative", "kind", "list", "cut", "large"],
)
async def test_what_ask_has_not_written_is_no_request(tmp_path: Path, text: str, mode: int) -> None:
    async def copy(_: Path) -> int:
        raise AssertionError

    (tmp_path / REQUEST).write_text(text)
    (tmp_path / REQUEST).chmod(mode)
    desk = BackupDesk(tmp_path)
    desk.open(copy)
    assert desk.take() is None
    assert list(tmp_path.iterdir()) == []


def test_old_answers_are_forgotten(tmp_path: Path) -> None:
    (tmp_path / f"{ANSWER}.0011223344556677").write_text("{}")
    ask(tmp_path, tmp_path / "copy")
    BackupDesk(tmp_path).forget()
    assert list(tmp_path.iterdir()) == []
