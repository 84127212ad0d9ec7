"""`cherrydag genesis`: written whole, shown, and verified against its pin."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cherrydag import genesis_file
from cherrydag.address import Network, address_of, encode_address
from cherrydag.cli.exits import Exit
from cherrydag.cli.program import cli
from cherrydag.genesis import Validator
from cherrydag.params import AMOUNT_MAX
from cherrydag.signing import generate_keypair

KEYS = [generate_keypair(bytes([i]) * 32) for i in (1, 2, 3)]
ADDRESSES = [encode_address(address_of(key.public_key), Network.TEST) for key in KEYS]
VALIDATORS = [f"v{i}:{key.public_key.hex()}:{10 + i}" for i, key in enumerate(KEYS)]


def genesis(*words: str | Path, code: int = 0) -> Result:
    done = CliRunner().invoke(cli, ["genesis", *map(str, words)])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "genesis.toml"


def made(path: Path, *words: str, code: int = 0) -> Result:
    return genesis(
        *("new", path, "--name", "a chain", "--network", "testcherry", "--created-ms", "1790000000000"),
        *(word for validator in VALIDATORS for word in ("--validator", validator)),
        *("--host", "v1=node.example:4100", "--host", "v1=[2001:db8::1]:4100"),
        *("--allocate", f"{ADDRESSES[0]}=1_000coin", "--allocate", f"{ADDRESSES[1]}=7"),
        *words,
        code=code,
    )


def test_a_new_genesis_has_what_was_asked_for(path: Path):
    told = json.loads(made(path, "--json").stdout)
    found = genesis_file.load(path)
    assert told == {"file": str(path), "digest": found.digest.hex(), "supply": str(1000 * 10**18 + 7)}
    hosts: tuple[tuple[str, ...], ...] = ((), ("node.example:4100", "[2001:db8::1]:4100"), ())
    assert found.validators == tuple(
        Validator(f"v{i}", key.public_key, 10 + i, hosts[i]) for i, key in enumerate(KEYS)
    )
    assert dict(found.allocations) == {
        address_of(KEYS[0].public_key): 1000 * 10**18,
        address_of(KEYS[1].public_key): 7,
    }
    assert (found.name, found.network, found.created_ms) == ("a chain", Network.TEST, 1_790_000_000_000)
    assert found.modules == ("anchor", "assets", "multisig")
    assert "genesis.toml" in [item.name for item in path.parent.iterdir()]
    assert len(list(path.parent.iterdir())) == 1


def test_modules_are_chosen_between_commas(path: Path):
    made(path, "--modules", " assets , anchor")
    assert genesis_file.load(path).modules == ("anchor", "assets")
    done = made(path.with_name("other"), "--modules", "asset", code=Exit.CONFIG)
    assert "known are anchor, assets, bonds, multisig" in done.stderr


def test_a_genesis_never_replaces_one(path: Path):
    made(path)
    before = path.read_bytes()
    assert "there already" in made(path, code=Exit.CONFIG).stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--validator", "x:12"], Exit.USAGE, "NAME:KEYHEX:STAKE"),
        (["--validator", f"x:{'ab' * 31}:1"], Exit.USAGE, "64 hex digits"),
        (["--validator", f"x:{'ab' * 32}:-1"], Exit.USAGE, "NAME:KEYHEX:STAKE"),
        (["--validator", VALIDATORS[0]], Exit.CONFIG, "given twice"),
        (["--host", "v9=node:1"], Exit.USAGE, "no validator 'v9'"),
        (["--host", "v0"], Exit.USAGE, "NAME=HOST:PORT"),
        (["--host", "v0=NODE:1"], Exit.CONFIG, "lower case"),
        (["--allocate", ADDRESSES[2]], Exit.USAGE, "ADDRESS=AMOUNT"),
        (["--allocate", f"{ADDRESSES[2]}=0"], Exit.CONFIG, "expected 1 to"),
        (["--allocate", f"{ADDRESSES[2]}={AMOUNT_MAX}"], Exit.CONFIG, "supply"),
        (["--allocate", f"{ADDRESSES[2][:-1]}=1"], Exit.REJECTED, "characters"),
        (["--allocate", f"dev{ADDRESSES[2][4:]}=1"], Exit.REJECTED, "[address_network]"),
        (["--network", "bitcoin"], Exit.USAGE, "testcherry"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    path: Path, words: list[str], code: Exit, told: str
):
    assert told in made(path, *words, code=code).stderr
    assert not path.exists()


def test_show_tells_people_and_programs_the_same(path: Path):
    made(path)
    document = json.loads(genesis("show", path, "--json").stdout)
    shown = genesis("show", path).stdout
    assert document["supply"] == str(1000 * 10**18 + 7)
    assert document["allocations"] == {ADDRESSES[0]: str(1000 * 10**18), ADDRESSES[1]: "7"}
    assert document["chain"]["gc_depth"] == 60
    for text in [
        document["digest"],
        *(validator["public_key"] for validator in document["validators"]),
        *document["allocations"],
    ]:
        assert text in shown
    assert "and " not in shown


def test_show_cuts_a_long_list_and_says_so(path: Path):
    words = []
    for i in range(4, 25):
        key = generate_keypair(bytes([i]) * 32)
        words += ["--allocate", f"{encode_address(address_of(key.public_key), Network.TEST)}=1"]
    made(path, *words)
    assert "and 3 more" in genesis("show", path).stdout


def test_verify_prints_the_digest_that_holds(path: Path):
    made(path)
    digest = genesis_file.load(path).digest.hex()
    assert genesis("verify", path).stdout == digest + "\n"
    assert genesis("verify", path, "--digest", digest).stdout == digest + "\n"
    assert json.loads(genesis("verify", path, "--json").stdout) == {"digest": digest, "verified": True}


def test_a_genesis_with_another_content_than_its_pin_is_refused(path: Path):
    made(path)
    path.write_text(path.read_text().replace("stake = 10", "stake = 20"))
    assert "pinned" in genesis("verify", path, code=Exit.CONFIG).stderr
    assert "pinned" in genesis("show", path, code=Exit.CONFIG).stderr


def test_without_a_pin_there_is_nothing_to_verify_but_a_given_digest(path: Path):
    made(path)
    digest = genesis_file.load(path).digest.hex()
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "digest" not in line))
    done = genesis("verify", path, code=Exit.CONFIG)
    assert digest in done.stderr
    assert done.stdout == ""
    assert genesis("verify", path, "--digest", digest).stdout == digest + "\n"
    assert digest in genesis("verify", path, "--digest", "00" * 32, code=Exit.CONFIG).stderr


def test_modules_that_nobody_has_are_refused_by_verify(path: Path):
    made(path)
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("digest"))
    path.write_text(text.replace('"multisig"', '"oracle"'))
    assert "'oracle'" in genesis("verify", path, "--digest", "00" * 32, code=Exit.CONFIG).stderr


def test_a_missing_file_is_named(path: Path):
    assert str(path) in genesis("show", path, code=Exit.CONFIG).stderr
