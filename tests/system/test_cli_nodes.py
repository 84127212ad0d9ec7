"""Commands about a node that need none to run: its settings, its folder, and where a command looks."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cherrydag import keystore as keystores
from cherrydag.cli.exits import Exit
from cherrydag.cli.output import plain
from cherrydag.cli.program import cli
from cherrydag.config import Config
from cherrydag.config_sources import Sources, known_keys, load
from cherrydag.primitives import TimestampMs
from cherrydag.runtime.home import VALIDATOR, Home, create_network, create_solo
from cherrydag.runtime.marks import RunInfo, RunMark, write_run_info

ADDRESS = "devcherry1qdnm77ntcfzaylhdvv9xzfdjsq3w5302u2f0jrw"


def run(*words: object, code: int = 0) -> Result:
    done = CliRunner().invoke(cli, [str(word) for word in words], env={"CHERRYDAG_LOG_RATE": "7"})
    assert done.exit_code == code, done.output
    return done


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return create_solo(tmp_path / "shop", created_ms=TimestampMs(1_700_000_000_000)).folder


# Settings


def test_settings_are_shown_with_where_they_come_from(shop: Path):
    (shop / "config.toml").write_text("[log]\nrate = 3\nlevel = 'debug'\n")
    told = json.loads(run("config", "check", shop, "--set", "api.listen=127.0.0.1:0", "--json").stdout)
    settings = {name: one for name, one in told["settings"].items() if one["origin"] != "default"}
    assert settings == {
        "api.listen": {"value": "127.0.0.1:0", "origin": "flag"},
        "log.level": {"value": "debug", "origin": str(shop / "config.toml")},
        "log.rate": {"value": 7, "origin": "CHERRYDAG_LOG_RATE"},
    }
    assert list(told["settings"]) == [key.name for key in known_keys()]
    lines = [line.split() for line in run("config", "check", shop).stdout.splitlines()]
    assert ["log.rate", "7", "CHERRYDAG_LOG_RATE"] in lines


def test_settings_that_contradict_each_other_or_are_none_are_refused(shop: Path):
    both = ("--set", "peers.listen=127.0.0.1:7", "--set", "api.listen=127.0.0.1:7")
    assert "api.listen: 127.0.0.1:7 is where" in run("config", "check", shop, *both, code=Exit.CONFIG).stderr
    assert "expected KEY=VALUE" in run("config", "check", shop, "--set", "x", code=Exit.USAGE).stderr
    missing = run("config", "check", shop, "--config", shop / "none", code=Exit.CONFIG)
    assert "No such file" in missing.stderr
    operator = run("run", shop, "--set", "node.role=operator", code=Exit.CONFIG)
    assert "node.role: 'operator'" in operator.stderr


def test_a_file_is_begun_once_and_changes_nothing(shop: Path):
    assert json.loads(run("config", "init", shop, "--json").stdout) == {"file": str(shop / "config.toml")}
    assert load(Sources(shop / "config.toml")).config == Config()
    assert "there already" in run("config", "init", shop, code=Exit.CONFIG).stderr
    shown = shop / "shown.toml"
    shown.write_text(run("config", "show", shop, "--set", "node.name=a").stdout)
    found = load(Sources(shown)).config
    assert (found.node.name, found.log.rate) == ("a", 7)


# Folders


def test_a_node_of_a_chain_gets_a_key_of_its_own_or_the_one_that_is_there(tmp_path: Path):
    (home, *_) = create_network(tmp_path / "net", ["", ""], created_ms=TimestampMs(1))
    genesis = home.folder / "genesis.toml"
    made = json.loads(run("init", tmp_path / "a", "--genesis", genesis, "--json").stdout)
    assert (made["validator"], made["hosts"]) == (None, [])
    keys = ("--keystore", home.folder / "keys", "--key", "validator")
    made = json.loads(run("init", tmp_path / "b", "--genesis", genesis, *keys, "--json").stdout)
    assert made["validator"] == "v0"
    assert Home.load(tmp_path / "b").key(VALIDATOR) == home.key(VALIDATOR)
    assert (tmp_path / "b" / "sign-state").exists()


def test_a_new_key_of_a_node_can_have_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(keystores.Keystore.__init__, "__defaults__", (keystores.ScryptCost(1 << 14),))
    (home, *_) = create_network(tmp_path / "net", [""], created_ms=TimestampMs(1))
    (tmp_path / "secret").write_text("correct horse\n")
    genesis = ("--genesis", home.folder / "genesis.toml")
    run("init", tmp_path / "a", *genesis, "--password-file", tmp_path / "secret")
    (key,) = Home.load(tmp_path / "a").keystore.list_keys()
    assert key.is_encrypted
    copied = ("--keystore", tmp_path / "a" / "keys")
    run("init", tmp_path / "b", *genesis, *copied)
    (again,) = Home.load(tmp_path / "b").keystore.list_keys()
    assert again == key
    assert Home.load(tmp_path / "b").key(VALIDATOR, "correct horse").public_key == key.public_key


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--digest", "00" * 32), "--digest: only with --genesis"),
        (("--keystore", "x"), "--keystore: only with --genesis"),
        (("--genesis", "x", "--supply", "1"), "--supply: the genesis says it"),
        (("--genesis", "x", "--name", "a"), "--name: the genesis says it"),
        (("--genesis", "x", "--key", "a"), "--key: only with --keystore"),
        (("--genesis", "x", "--keystore", "x", "--password-file", "x"), "keeps the password"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, words: tuple[str, ...], told: str):
    assert told in run("init", tmp_path / "new", *words, code=Exit.USAGE).stderr
    assert not (tmp_path / "new").exists()


# Where a command looks


def test_a_folder_whose_node_runs_is_asked_through_its_api(shop: Path):
    mark = RunMark(shop, 1)
    assert "has no API, or is not up yet" in run("balance", shop, ADDRESS, code=Exit.IN_USE).stderr
    write_run_info(shop, RunInfo(7, "http://127.0.0.1:9", "", 0))
    assert "http://127.0.0.1:9" in run("balance", shop, ADDRESS, code=Exit.UNREACHABLE).stderr
    assert "http://127.0.0.1:9" in run("watch", shop, code=Exit.UNREACHABLE).stderr
    for words in (("backup", shop, shop.parent / "copy"), ("log-level", shop, "debug")):
        assert "its node runs in another container" in run(*words, code=Exit.CONFIG).stderr
    assert {path.name for path in shop.iterdir() if "request" in path.name} == set()
    mark.release()
    assert run("balance", shop, ADDRESS).stdout == "0 coin\n"
    for command in ("watch", "peers"):
        assert "its node does not run" in run(command, shop, code=Exit.CONFIG).stderr
        assert "there is no such folder" in run(command, shop / "none", code=Exit.CONFIG).stderr
        assert "no ledger's folder" in run(command, shop.parent, code=Exit.CONFIG).stderr
    other = run("balance", shop, ADDRESS, "--url", "http://127.0.0.1:9", code=Exit.UNREACHABLE)
    assert "127.0.0.1:9" in other.stderr
    twice = run("status", "http://127.0.0.1:9", "--url", "http://127.0.0.1:9", code=Exit.USAGE)
    assert "is a URL already" in twice.stderr


def test_what_a_node_says_steers_no_terminal():
    assert plain("a\x1b[31m\r\n\u202eé") == "a\\x1b[31m\\r\\n\\u202eé"
    assert plain(7) == "7"
