"""The command line as a whole: help, usage, exit codes, and values as people write and read them."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cherrydag import __version__
from cherrydag.cli import output
from cherrydag.cli.exits import MEANINGS, Exit, exit_of, words_of
from cherrydag.cli.options import AMOUNT, DIGEST
from cherrydag.cli.output import amount_text, bytes_text, time_text
from cherrydag.cli.program import Program, cli
from cherrydag.errors import (
    CherrydagError,
    Closed,
    ConfigError,
    InUse,
    InvariantViolation,
    Overloaded,
    PeerFault,
    Rejected,
    ShapeError,
    StorageError,
)
from cherrydag.params import AMOUNT_MAX

COIN = 10**18


def run(*words: str):
    return CliRunner().invoke(cli, list(words))


def commands(group: click.Group = cli, *path: str) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, *path, name)
    return found


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...]):
    done = run(*path, "--help")
    assert done.exit_code == 0
    assert "Usage: cherrydag " + " ".join(path) in done.output


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_command_that_tells_something_speaks_json(path: tuple[str, ...]):
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    if not isinstance(command, click.Group) and path != ("completion",):
        assert "--json" in {text for param in command.params for text in param.opts}


def test_the_help_documents_every_exit_code():
    shown = run("--help").output
    assert set(MEANINGS) == set(Exit)
    for code, words in MEANINGS.items():
        assert f"{code:<4d}{words}" in shown


def test_help_and_usage_need_none_of_the_engine():
    code = (
        "import sys; from cherrydag.cli.program import cli; cli.commands\n"
        "print([name for name in ('numpy', 'rich', 'pyarrow', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_version_is_the_packages():
    done = run("--version")
    assert (done.exit_code, done.output) == (0, f"cherrydag, version {__version__}\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_the_shell(shell: str):
    done = run("completion", shell)
    assert done.exit_code == 0
    assert f"_CHERRYDAG_COMPLETE={shell}_complete" in done.stdout


def test_completion_completes_commands():
    done = CliRunner().invoke(
        cli,
        [],
        env={"_CHERRYDAG_COMPLETE": "bash_complete", "COMP_WORDS": "cherrydag db ", "COMP_CWORD": "2"},
    )
    assert done.stdout.split() == ["plain,check", "plain,export", "plain,repair", "plain,stats"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["init"], "Missing argument 'DIR'"),
        (["init", "x", "--supply", "1.5"], "coins with at most 18 decimals"),
        (["receipt", "x", "ab"], "expected 64 hex digits, got 2 characters"),
        (["history", "x", "y", "--limit", "0"], "1<=x<=1000"),
        (["history", "x", "y", "--limit", "1001"], "1<=x<=1000"),
    ],
)
def test_a_wrong_command_line_is_told_on_stderr(words: list[str], told: str):
    done = run(*words)
    assert done.exit_code == Exit.USAGE
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert "try: cherrydag" in done.stderr


@pytest.mark.parametrize("words", [[], ["db"], ["keys"], ["genesis"]])
def test_no_command_is_answered_with_help(words: list[str]):
    done = run(*words)
    assert done.exit_code == Exit.USAGE
    assert "Commands:" in done.stderr
    assert "error" not in done.stderr


# How errors end a command


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ConfigError("chain.gc_depth: expected 8"), Exit.CONFIG, "error: chain.gc_depth: expected 8\n"),
        (StorageError("vertex 3 is damaged"), Exit.STORAGE, "error: vertex 3 is damaged\n"),
        (InUse("/x is in use by process 3"), Exit.IN_USE, "error: /x is in use by process 3\n"),
        (
            Rejected("key_name", "name: expected a name"),
            Exit.REJECTED,
            "error: name: expected a name [key_name]\n",
        ),
        (Overloaded("submissions: 65536 are open"), Exit.OVERLOADED, "error: submissions: 65536 are open\n"),
        (PermissionError(13, "Permission denied", "/x"), Exit.STORAGE, "error: /x: Permission denied\n"),
        (OSError("no space"), Exit.STORAGE, "error: no space\n"),
        (OSError(98, "Address already in use"), Exit.LISTEN, "error: [Errno 98] Address already in use\n"),
        (ConnectionError("http://x: away"), Exit.UNREACHABLE, "error: http://x: away\n"),
        (PeerFault("answer", "genesis: false"), Exit.UNREACHABLE, "error: genesis: false\n"),
        (KeyboardInterrupt(), Exit.INTERRUPTED, "error: interrupted, or not confirmed\n"),
        (ShapeError("key: expected 32 bytes"), Exit.INTERNAL, "error: key: expected 32 bytes\n"),
        (InvariantViolation("I4"), Exit.INTERNAL, "error: I4\n"),
        (Closed("the ledger is closed"), Exit.INTERNAL, "error: the ledger is closed\n"),
        (RuntimeError("oh"), Exit.INTERNAL, "error: a bug of cherrydag: RuntimeError: oh\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_has_its_exit_code_and_its_words(error: BaseException, code: Exit, told: str):
    def fail() -> None:
        raise error

    program = Program("cherrydag", commands={"fail": click.Command("fail", callback=fail)})
    done = CliRunner().invoke(program, ["fail"])
    assert done.exit_code == code
    assert done.stdout == ""
    assert done.stderr.endswith(told)
    assert ("Traceback" in done.stderr) == (code == Exit.INTERNAL)


def test_a_command_ends_with_the_code_that_it_returns():
    program = Program("cherrydag", commands={"four": click.Command("four", callback=lambda: Exit.STORAGE)})
    assert CliRunner().invoke(program, ["four"]).exit_code == 4


def test_an_error_of_no_kind_is_internal():
    assert exit_of(CherrydagError("?")) == Exit.INTERNAL
    assert words_of(CherrydagError()) == "CherrydagError"


# Values


@given(st.integers(0, AMOUNT_MAX))
def test_what_is_printed_as_coins_is_read_as_the_same_amount(amount: int):
    assert AMOUNT.convert(amount_text(amount), None, None) == amount
    assert AMOUNT.convert(f"{amount:_}", None, None) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", 0),
        ("1_000", 1000),
        ("1coin", COIN),
        ("2.5coin", 5 * COIN // 2),
        ("2.50 coins", 5 * COIN // 2),
        ("0.000000000000000001coin", 1),
        (str(AMOUNT_MAX), AMOUNT_MAX),
        ("340_282_366_920_938_463_463.374607431768211455 coin", AMOUNT_MAX),
    ],
)
def test_amounts_are_units_or_coins(text: str, amount: int):
    assert AMOUNT.convert(text, None, None) == amount


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "1.5",
        "1e3",
        "1__0",
        "_1",
        "1_",
        ".5coin",
        "1.coin",
        "0.0000000000000000001coin",
        "1 euro",
        "٣",
        "9" * 81,
        str(AMOUNT_MAX + 1),
        "340282366920938463463.374607431768211456coin",
    ],
)
def test_what_is_no_amount_is_refused(text: str):
    with pytest.raises(click.BadParameter):
        AMOUNT.convert(text, None, None)


@pytest.mark.parametrize("text", ["", "ab" * 31, "ab" * 33, "ab" * 31 + "ag"])
def test_what_is_no_digest_is_refused(text: str):
    with pytest.raises(click.BadParameter):
        DIGEST.convert(text, None, None)


def test_a_digest_is_read_in_either_case():
    assert DIGEST.convert("aB" * 32, None, None) == b"\xab" * 32


def test_amounts_are_printed_exactly():
    assert amount_text(0) == "0 coin"
    assert amount_text(1) == "0.000000000000000001 coin"
    assert amount_text(1234 * COIN + COIN // 2) == "1_234.5 coin"
    assert amount_text(1_000_000, asset=7) == "1_000_000 of asset 7"


def test_sizes_and_times_are_printed_for_people():
    assert [bytes_text(size) for size in (0, 1023, 1024, 1 << 20, 3 << 29, 1 << 41)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.0 MiB",
        "1.5 GiB",
        "2.0 TiB",
    ]
    assert time_text(1_790_000_000) == "2026-09-21 14:13:20Z"


def test_a_table_is_aligned_and_cuts_nothing(capsys: pytest.CaptureFixture[str]):
    output.print_table(("name", "count"), [("a" * 90, 5), ("b", 1000)], right=("count",))
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["name" + " " * 88 + "count", "a" * 90 + "      5", "b" + " " * 91 + " 1000"]


def test_progress_is_not_shown_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]):
    with output.progress_bar("working") as progress:
        progress(1, 2)
    assert capsys.readouterr() == ("", "")


def test_progress_is_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with output.progress_bar("working") as progress:
        progress(1, 2)
        progress(2, 2)
    told = capsys.readouterr()
    assert told.out == ""
    assert "working" in told.err
    with output.progress_bar("working", hidden=True) as progress:
        progress(1, 2)
    assert capsys.readouterr().err == ""
