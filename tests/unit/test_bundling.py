"""The support bundle: what it holds, and that no secret of the node is in it, in whatever form it stood."""

import base64
import gzip
import json
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from cherrydag.cli.bundling import REMOVED, SECRET_CHARS_MIN, clean, patterns, write_bundle
from cherrydag.cli.exits import Exit
from cherrydag.cli.program import cli
from cherrydag.keystore import Keystore, ScryptCost, words_of
from cherrydag.logs import RECENT, RECENT_OLD
from cherrydag.primitives import TimestampMs
from cherrydag.runtime.home import KEYS, SIGN_STATE, TREASURY, VALIDATOR, Home, create_solo

PASSWORD = "correct horse battery"
NOW_MS = TimestampMs(1_700_000_000_000)


@pytest.fixture
def home(tmp_path) -> Home:
    """With a key that has a password beside two that have none."""
    made = create_solo(tmp_path / "l", created_ms=NOW_MS)
    Keystore(made.folder / KEYS, ScryptCost(n=1 << 14)).create("sealed", PASSWORD)
    return made


def seeds(home: Home) -> list[bytes]:
    return [home.keystore.export(VALIDATOR, None), home.keystore.export(TREASURY, None)]


def forms(seed: bytes) -> list[bytes]:
    words = words_of(seed)
    return [
        *(seed, seed.hex().encode(), seed.hex().upper().encode()),
        *(base64.b64encode(seed), base64.urlsafe_b64encode(seed).rstrip(b"=")),
        *(words.encode(), words.upper().encode(), words.replace(" ", "\n  ").encode()),
        *(json.dumps(words.split()).encode(), b"tail: " + " ".join(words.split()[-5:]).encode()),
    ]


def unpacked(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        found = {
            one.name.removeprefix("cherrydag-support/"): tar.extractfile(one) for one in tar.getmembers()
        }
        return {name: part.read() for name, part in found.items() if part is not None}


def test_no_secret_is_in_it_in_whatever_form_it_got_into_the_log(home, tmp_path, monkeypatch):
    password = tmp_path / "password"
    password.write_text(f"{PASSWORD}\nsecond line\n")
    monkeypatch.setenv("CHERRYDAG_PASSWORD_FILE", str(password))
    sealed = json.loads((home.folder / KEYS / "sealed.json").read_text())
    lines = [form for seed in seeds(home) for form in forms(seed)]
    lines += [PASSWORD.encode(), sealed["box"].encode(), sealed["scrypt"]["salt"].encode()]
    (home.folder / RECENT).write_bytes(b"\n".join([b"begin", *lines, b"end"]))
    (home.folder / RECENT_OLD).write_bytes(b"".join(lines))
    (home.folder / "config.toml").write_text(f'# {PASSWORD}\n[log]\nlevel = "debug"\n')
    write_bundle(home.folder, tmp_path / "b.tar.gz")
    whole = gzip.decompress((tmp_path / "b.tar.gz").read_bytes())
    members = unpacked(tmp_path / "b.tar.gz")
    for secret in (*lines[:-3], *(one for seed in seeds(home) for one in forms(seed)), *lines[-3:]):
        assert secret.removeprefix(b"tail: ") not in whole
    for seed in seeds(home):
        for at in range(24 - 3):
            assert " ".join(words_of(seed).split()[at : at + 4]).encode() not in whole
    assert (home.folder / SIGN_STATE).read_bytes()[:64] not in whole
    log = members[f"folder/{RECENT}"]
    assert log.startswith(b"begin") and log.endswith(b"end") and REMOVED in log
    assert b'level = "debug"' in members["settings.toml"]


def test_no_file_that_is_there_to_hold_a_secret_is_read_into_it(home, tmp_path):
    names = write_bundle(home.folder, tmp_path / "b.tar.gz")
    assert not any(KEYS in name or SIGN_STATE in name or name.endswith("config.toml") for name in names)
    listed = unpacked(tmp_path / "b.tar.gz")["files.txt"].decode()
    assert f"{KEYS}/{VALIDATOR}.json" in listed and SIGN_STATE in listed


def test_what_helps_is_in_it(home, tmp_path):
    names = write_bundle(home.folder, tmp_path / "b.tar.gz")
    members = unpacked(tmp_path / "b.tar.gz")
    assert set(names) == set(members)
    assert {"about.json", "doctor.json", "settings.toml", "system.json", "files.txt"} <= set(names)
    assert json.loads(members["about.json"])["genesis_digest"] == home.genesis.digest.hex()
    assert {one["topic"] for one in json.loads(members["doctor.json"])["findings"]} >= {"clock", "keys"}
    assert (tmp_path / "b.tar.gz").stat().st_mode & 0o777 == 0o600


def test_a_bundle_is_made_of_what_is_broken_too(home, tmp_path):
    (home.folder / "config.toml").write_text("[nonsense")
    (home.folder / KEYS / f"{VALIDATOR}.json").write_text("{")
    write_bundle(home.folder, tmp_path / "b.tar.gz")
    members = unpacked(tmp_path / "b.tar.gz")
    assert members["settings.toml"].startswith(b"cannot be had: ConfigError")
    assert json.loads(members["doctor.json"])["level"] == "fail"


def test_nothing_is_overwritten(home, tmp_path):
    (tmp_path / "b").write_text("mine")
    done = CliRunner().invoke(cli, ["support-bundle", str(home.folder), "-o", str(tmp_path / "b")])
    assert done.exit_code == Exit.STORAGE and (tmp_path / "b").read_text() == "mine"
    done = CliRunner().invoke(cli, ["support-bundle", str(tmp_path), "-o", str(tmp_path / "c")])
    assert done.exit_code == Exit.CONFIG and not (tmp_path / "c").exists()


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_password_is_looked_for_from_so_many_characters_on(home, tmp_path, more: int):
    file = tmp_path / "password"
    file.write_text("p" * (SECRET_CHARS_MIN + more))
    found = clean({"x": b"ppppppppppp"}, patterns(home, {"CHERRYDAG_PASSWORD_FILE": str(file)}))
    assert (REMOVED in found["x"]) == (more >= 0)


def test_words_that_happen_to_be_a_seeds_stay(home):
    words = words_of(seeds(home)[0]).split()
    text = " ".join(words[:3]).encode()
    assert clean({"x": text}, patterns(home, {})) == {"x": text}
