"""`python -m cherrydag` as a user has it: real processes, one after another, and what stops them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from pyarrow import parquet

from cherrydag.cli.exits import Exit

KEPT = {name: value for name, value in os.environ.items() if not name.startswith("_CHERRYDAG")}


def run(*words: object, code: int = 0, stdin: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cherrydag", *map(str, words)],
        input=stdin,
        capture_output=True,
        text=True,
        env=KEPT,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    assert (done.stderr == "") == (code == 0)
    return done.stdout if code == 0 else done.stderr


def test_a_ledger_from_its_making_to_its_copy(tmp_path: Path):
    shop, copy, out = tmp_path / "shop", tmp_path / "copy", tmp_path / "out"
    treasury = json.loads(run("init", shop, "--json"))["treasury"]
    run("keys", "import", "alice", "--home", shop, "--no-password", stdin="07" * 32)
    sent = json.loads(
        run("send", shop, "--from", "treasury", "--to", "alice", "--amount", "1coin", "--json")
    )["id"]
    (item,) = json.loads(run("history", shop, "alice", "--json"))["items"]
    assert (item["id"], item["sender"], item["amount"]) == (sent, treasury, str(10**18))
    assert run("db", "check", shop).endswith("all of it is sound\n")
    run("db", "export", shop, out)
    (row,) = parquet.read_table(out / "transactions.parquet").to_pylist()
    assert (row["id"].hex(), row["sender"], row["amount"]) == (sent, treasury, str(10**18))
    run("backup", shop, copy)
    assert run("balance", copy, "alice") == "1 coin\n"
    assert "no final transaction" in run("receipt", copy, "00" * 32, code=Exit.REJECTED)


def test_an_interrupt_ends_a_check_without_a_traceback(tmp_path: Path):
    """The interrupt comes while the child is at work, of which nothing is left either."""
    run("init", tmp_path / "shop")
    code = (
        "from cherrydag.cli import checking, main; import sys\n"
        "checking._CHILD = 'import time; print([1, 2], flush=True); time.sleep(600)'\n"
        "def tell(*_):\n"
        "    print('working', flush=True)\n"
        "sys.argv = ['cherrydag', 'db', 'check', sys.argv[1]]\n"
        "import cherrydag.cli.database_commands as commands, contextlib\n"
        "commands.progress_bar = lambda *_, **__: contextlib.nullcontext(tell)\n"
        "main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "shop")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to all of the group
        _, told = process.communicate(timeout=60)
    assert process.returncode == Exit.INTERRUPTED
    assert told.strip() == "error: interrupted, or not confirmed"


def test_a_reader_that_has_gone_is_no_bug(tmp_path: Path):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "cherrydag", "--help"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert done.returncode == Exit.CLOSED
    assert done.stderr == ""
