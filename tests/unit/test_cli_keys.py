"""`cherrydag keys`: secrets go in by stdin or file, and come out by export alone."""

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cherrydag import keystore as module
from cherrydag.address import Network, address_of, encode_address
from cherrydag.cli.exits import Exit
from cherrydag.cli.program import cli
from cherrydag.keystore import Keystore, ScryptCost, words_of
from cherrydag.runtime.home import create_solo
from cherrydag.signing import generate_keypair

SEED = bytes(range(1, 33))
PAIR = generate_keypair(SEED)
WORDS = words_of(SEED)


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that cost a test nothing."""
    monkeypatch.setattr(module.ScryptCost.__init__, "__defaults__", (1 << 14, 1, 1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("correct horse\nand a second line\n")
    return path


def keys(*words: str | Path, stdin: str = "", code: int = 0) -> Result:
    done = CliRunner().invoke(cli, ["keys", *map(str, words)], input=stdin)
    assert done.exit_code == code, done.output
    return done


def test_a_new_key_is_listed_with_its_address_and_public_key(folder: Path):
    made = json.loads(keys("new", "alice", "--keystore", folder, "--no-password", "--json").stdout)
    (stored,) = Keystore(folder).list_keys()
    assert made == {
        "name": "alice",
        "address": encode_address(stored.address, Network.DEV),
        "public_key": stored.public_key.hex(),
        "encrypted": False,
    }
    assert json.loads(keys("list", "--keystore", folder, "--json").stdout) == [made]
    head, line = keys("list", "--keystore", folder).stdout.splitlines()
    assert head.split() == ["name", "encrypted", "address", "public", "key"]
    assert line.split() == ["alice", "no", made["address"], made["public_key"]]


def test_an_empty_keystore_is_said_to_be(folder: Path):
    assert keys("list", "--keystore", folder).stdout == "no keys\n"
    assert json.loads(keys("list", "--keystore", folder, "--json").stdout) == []


def test_a_password_is_asked_for_twice_and_never_printed(folder: Path):
    done = keys("new", "alice", "--keystore", folder, stdin="hunter2\nhunter2\n")
    assert "hunter2" not in done.output
    assert "encrypted   yes" in done.stdout
    assert Keystore(folder).load("alice", "hunter2")
    keys("new", "bob", "--keystore", folder, stdin="one\ntwo\n", code=Exit.INTERRUPTED)
    assert [key.name for key in Keystore(folder).list_keys()] == ["alice"]


def test_a_password_comes_from_the_first_line_of_a_file(folder: Path, password_file: Path):
    keys("new", "alice", "--keystore", folder, "--password-file", password_file)
    assert Keystore(folder).load("alice", "correct horse")
    assert stat.S_IMODE((folder / "alice.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("content", "ok"), [("", False), ("x" * 1024, True), ("x" * 1025, False), ("\nx", False)]
)
def test_a_password_file_is_bounded(folder: Path, password_file: Path, content: str, ok: bool):
    password_file.write_text(content)
    code = 0 if ok else Exit.CONFIG
    keys("new", "alice", "--keystore", folder, "--password-file", password_file, code=code)


def test_a_password_file_must_be_there_and_be_text(folder: Path, password_file: Path):
    password_file.write_bytes(b"\xff\xfe")
    keys("new", "alice", "--keystore", folder, "--password-file", password_file, code=Exit.CONFIG)
    done = keys("new", "a", "--keystore", folder, "--password-file", folder / "none", code=Exit.STORAGE)
    assert "No such file" in done.stderr


@pytest.mark.parametrize("text", [WORDS, WORDS.upper() + "\n", SEED.hex(), f"  {SEED.hex()}\n"])
def test_words_and_hex_are_imported_from_stdin(folder: Path, text: str):
    done = keys("import", "alice", "--keystore", folder, "--no-password", stdin=text)
    assert Keystore(folder).load("alice", None).public_key == PAIR.public_key
    assert PAIR.public_key.hex() in done.stdout
    assert WORDS.split()[0] not in done.output
    assert SEED.hex() not in done.output


@pytest.mark.parametrize("text", ["", "one two", " ".join(["zoo"] * 24), "ab" * 31])
def test_what_is_no_secret_is_refused_without_repeating_it(folder: Path, text: str):
    done = keys("import", "alice", "--keystore", folder, "--no-password", stdin=text, code=Exit.REJECTED)
    assert "[key_seed]" in done.stderr
    assert not text or text not in done.output
    assert Keystore(folder).list_keys() == []


def test_an_import_cannot_ask_for_a_password_on_the_same_stdin(folder: Path):
    done = keys("import", "alice", "--keystore", folder, stdin=WORDS, code=Exit.USAGE)
    assert "--password-file" in done.stderr


def test_export_asks_and_prints_what_import_takes(folder: Path, password_file: Path):
    keys("import", "alice", "--keystore", folder, "--password-file", password_file, stdin=WORDS)
    assert keys("export", "alice", "--keystore", folder, stdin="y\ncorrect horse\n").stdout == WORDS + "\n"
    options = ("--keystore", folder, "--yes", "--password-file", password_file)
    assert keys("export", "alice", *options).stdout == WORDS + "\n"
    assert keys("export", "alice", *options, "--hex").stdout == SEED.hex() + "\n"
    assert json.loads(keys("export", "alice", *options, "--json").stdout) == {"name": "alice", "words": WORDS}
    assert json.loads(keys("export", "alice", *options, "--json", "--hex").stdout)["hex"] == SEED.hex()


def test_export_prints_nothing_unless_it_is_confirmed(folder: Path):
    keys("import", "alice", "--keystore", folder, "--no-password", stdin=WORDS)
    for answer in ("n\n", "\n", ""):
        done = keys("export", "alice", "--keystore", folder, stdin=answer, code=Exit.INTERRUPTED)
        assert done.stdout == ""


def test_a_wrong_password_is_refused(folder: Path, password_file: Path):
    keys("import", "alice", "--keystore", folder, "--password-file", password_file, stdin=WORDS)
    done = keys("export", "alice", "--keystore", folder, "--yes", stdin="wrong\n", code=Exit.REJECTED)
    assert "[key_password]" in done.stderr
    assert done.stdout == ""


def test_a_deleted_key_is_gone_once_it_is_confirmed(folder: Path):
    keys("new", "alice", "--keystore", folder, "--no-password")
    keys("delete", "alice", "--keystore", folder, stdin="n\n", code=Exit.INTERRUPTED)
    assert (folder / "alice.json").exists()
    keys("delete", "alice", "--keystore", folder, stdin="y\n")
    assert not (folder / "alice.json").exists()
    done = keys("delete", "alice", "--keystore", folder, "--yes", code=Exit.REJECTED)
    assert "[key_unknown]" in done.stderr
    keys("new", "bob", "--keystore", folder, "--no-password")
    assert json.loads(keys("delete", "bob", "--keystore", folder, "--yes", "--json").stdout)["deleted"]


def test_a_password_is_set_changed_and_taken_away(folder: Path, password_file: Path, tmp_path: Path):
    store = Keystore(folder)
    keys("import", "alice", "--keystore", folder, "--no-password", stdin=WORDS)
    keys("passwd", "alice", "--keystore", folder, stdin="first\nfirst\n")
    assert store.export("alice", "first") == SEED
    keys("passwd", "alice", "--keystore", folder, "--new-password-file", password_file, stdin="first\n")
    assert store.export("alice", "correct horse") == SEED
    done = keys("passwd", "alice", "--keystore", folder, stdin="wrong\nnew\nnew\n", code=Exit.REJECTED)
    assert "New password" not in done.stderr
    told = keys(
        "passwd", "alice", "--keystore", folder, "--password-file", password_file, "--no-password", "--json"
    )
    assert json.loads(told.stdout) == {"name": "alice", "encrypted": False}
    assert store.export("alice", None) == SEED


def test_names_are_refused_as_the_keystore_refuses_them(folder: Path):
    done = keys("new", "Alice", "--keystore", folder, "--no-password", code=Exit.REJECTED)
    assert "[key_name]" in done.stderr
    keys("new", "alice", "--keystore", folder, "--no-password")
    done = keys("new", "alice", "--keystore", folder, "--no-password", code=Exit.REJECTED)
    assert "[key_name_taken]" in done.stderr


def test_the_keys_of_a_ledger_are_shown_on_its_network(tmp_path: Path):
    home = create_solo(tmp_path / "shop", created_ms=0, network=Network.TEST)
    shown = json.loads(keys("list", "--home", tmp_path / "shop", "--json").stdout)
    assert [key["name"] for key in shown] == ["treasury", "validator"]
    treasury = address_of(home.key("treasury").public_key)
    assert shown[0]["address"] == encode_address(treasury, Network.TEST)


def test_the_network_of_a_keystore_can_be_chosen(folder: Path):
    done = keys("new", "a", "--keystore", folder, "--no-password", "--network", "cherry", "--json")
    assert json.loads(done.stdout)["address"].startswith("cherry1")


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["list", "--home", "x", "--keystore", "y"],
        ["list", "--keystore", "x", "--network", "bitcoin"],
        ["list", "--home", "x", "--network", "cherry"],
        ["new", "a", "--keystore", "x", "--no-password", "--password-file", "y"],
    ],
)
def test_contradicting_options_are_a_usage_error(words: list[str]):
    assert keys(*words, code=Exit.USAGE).stderr.startswith("error: ")


def test_a_folder_that_others_may_use_is_a_matter_of_configuration(folder: Path):
    keys("new", "alice", "--keystore", folder, "--no-password")
    folder.chmod(0o755)
    done = keys("list", "--keystore", folder, code=Exit.CONFIG)
    assert "chmod 700" in done.stderr


def test_the_default_cost_was_cheapened_for_these_tests_alone():
    assert ScryptCost() == ScryptCost(1 << 14, 1, 1)
