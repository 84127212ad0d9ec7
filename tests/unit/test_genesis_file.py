"""Genesis as TOML: what people write, and each mistake by the name of its key."""

from dataclasses import replace
from pathlib import Path

import pytest
from geneses import GENESIS, KEYS, geneses
from hypothesis import given, settings

from cherrydag.address import Network, encode_address
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.errors import ConfigError
from cherrydag.genesis import Genesis, LedgerParams
from cherrydag.genesis_file import TEXT_BYTES_MAX, dumps, load, loads
from cherrydag.params import AMOUNT_MAX
from cherrydag.primitives import Address

ALICE = encode_address(Address(b"a" * 20), Network.DEV)
SMALL = f"""
name = "a chain"
network = "devcherry"
created_ms = 1_790_000_000_000

[[validators]]
name = "first"
public_key = "{KEYS[0].hex()}"
stake = 100

[allocations]
{ALICE} = 5
"""


def refused(*changes: tuple[str, str], text: str = SMALL) -> str:
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    with pytest.raises(ConfigError) as caught:
        loads(text)
    return str(caught.value)


def test_small_file_has_the_defaults() -> None:
    genesis = loads(SMALL)
    assert (genesis.name, genesis.network, genesis.supply, genesis.modules) == ("a chain", "devcherry", 5, ())
    assert (genesis.chain_params, genesis.ledger_params) == (ChainParams(), LedgerParams())
    assert genesis.validators[0].hosts == ()


@settings(max_examples=60)
@given(geneses)
def test_what_is_written_is_read(genesis: Genesis) -> None:
    assert loads(dumps(genesis)) == genesis


def test_text_of_the_golden_chain() -> None:
    text = dumps(replace(GENESIS, name='quoted " and \\', allocations=GENESIS.allocations[:1]))
    assert text.splitlines()[1:] == [
        'name = "quoted \\" and \\\\"',
        'network = "devcherry"',
        "created_ms = 1_790_000_000_123",
        'modules = ["anchor", "assets"]',
        "",
        "[chain]",
        "gc_depth = 50",
        "scoring_commits = 301",
        "swap_share_permille = 199",
        "checkpoint_commits = 77",
        "",
        "[ledger]",
        "tree_depth = 12",
        "entry_bytes_max = 8_589_934_592",
        "fee_min = 5",
        "",
        "[[validators]]",
        'name = "first"',
        f'public_key = "{KEYS[0].hex()}"',
        "stake = 70",
        'hosts = ["a.example:4100", "[2001:db8::1]:1"]',
        "",
        "[[validators]]",
        'name = "second"',
        f'public_key = "{KEYS[1].hex()}"',
        "stake = 1_099_511_627_776",
        'hosts = ["192.0.2.1:65535"]',
        "",
        "[[validators]]",
        'name = "third"',
        f'public_key = "{KEYS[2].hex()}"',
        "stake = 1",
        "",
        "[allocations]",
        f'{encode_address(GENESIS.allocations[0].address, Network.DEV)} = "{10**27:_}"',
    ]


def test_digest_pin_is_checked() -> None:
    text = dumps(GENESIS)
    assert text.startswith(f'digest = "{GENESIS.digest.hex()}"\n')
    assert loads(text.partition("\n")[2]) == GENESIS
    said = refused(("fee_min = 5", "fee_min = 6"), text=text)
    assert said.startswith(f"digest: the file is pinned to {GENESIS.digest.hex()}, its content has ")
    assert refused(('name = "a', 'digest = ""\nname = "a')).startswith("digest: the file is pinned to ,")
    assert refused(('name = "a', 'digest = "XY"\nname = "a')).startswith("digest: expected pairs of hex")


@pytest.mark.parametrize(
    ("amount", "value"),
    [
        ("7", 7),
        ('"7"', 7),
        ('"1_000"', 1000),
        (f'"{AMOUNT_MAX:_}"', AMOUNT_MAX),
        (str(AMOUNT_MAX), AMOUNT_MAX),
        ("0x10", 16),
    ],
)
def test_amounts_are_integers_or_their_digits(amount: str, value: int) -> None:
    assert loads(SMALL.replace("= 5", f"= {amount}")).supply == value


@pytest.mark.parametrize(
    "amount",
    [
        *('""', '"1.5"', '"-1"', '"+1"', '"1__0"', '"_1"', '"1_"', '" 1"', '"1e3"', '"٣"'),
        *("1.5", "true", "[1]", "1979-05-27", f'"{"1" * 81}"'),
    ],
)
def test_other_amounts_are_refused(amount: str) -> None:
    said = refused(("= 5", f"= {amount}"))
    assert said.startswith(f"allocations.{ALICE}: expected")
    assert len(said) < 300


@pytest.mark.parametrize("amount", ["0", "-1", f'"{AMOUNT_MAX + 1}"', str(AMOUNT_MAX + 1)])
def test_amounts_out_of_range_are_refused(amount: str) -> None:
    number = int(amount.strip('"'))
    assert refused(("= 5", f"= {amount}")) == f"allocations.{ALICE}: expected 1 to {AMOUNT_MAX}, got {number}"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("created_ms", "created", "created_ms: is missing"),
        ("network =", "hrp =", "network: is missing"),
        ('name = "a chain"', "", "name: is missing"),
        ("[allocations]", "[alocations]", "allocations: expected 1 to 65536, got 0"),
        ("stake = 100", "", "validators[0].stake: is missing"),
        ("public_key", "key", "validators[0].public_key: is missing"),
    ],
)
def test_missing_keys_are_named(old: str, new: str, said: str) -> None:
    assert refused((old, new)) == said


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ('name = "a chain"', "genesis.'naem': unknown key; known are digest, network, name, created_ms,"),
        ("stake = 100", "validators[0].'naem': unknown key; known are name, public_key, stake, hosts"),
        ("[chain]", "chain.'naem': unknown key; known are gc_depth, scoring_commits,"),
        ("[ledger]", "ledger.'naem': unknown key; known are tree_depth, entry_bytes_max, fee_min"),
    ],
)
def test_unknown_keys_are_named(where: str, said: str) -> None:
    text = SMALL + "\n[chain]\n\n[ledger]\n"
    found = refused((where, f"{where}\nnaem = 1"), text=text)
    assert found.startswith(said)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"a chain"', "5", "name: expected a text, got 5"),
        ('"devcherry"', '"cherri"', "network: expected one of cherry, testcherry, devcherry, got 'cherri'"),
        ("1_790_000_000_000", '"1"', "created_ms: expected an integer, got '1'"),
        ("1_790_000_000_000", "true", "created_ms: expected an integer, got True"),
        ("1_790_000_000_000", f"0x{'f' * 5000}", "created_ms: expected at most 256 bits, got 20000 bits"),
        ('"a chain"', f"0x{'f' * 5000}", "name: expected a text, got 20000 bits"),
        ("1_790_000_000_000", "9" * 5000, "genesis: no TOML: "),
        ("[[validators]]", "[validators]", "validators: expected an array, got a table"),
        ("stake = 100", "stake = 1.5", "validators[0].stake: expected an integer, got 1.5"),
        ("stake = 100", 'hosts = "a:1"', "validators[0].stake: is missing"),
        ("stake = 100", 'stake = 1\nhosts = "a:1"', "validators[0].hosts: expected an array, got 'a:1'"),
        ("stake = 100", "stake = 1\nhosts = [1]", "validators[0].hosts[0]: expected a text, got 1"),
        ('"a chain"', '"a"\nmodules = [[]]', "modules[0]: expected a text, got an array"),
        ('"a chain"', f'"{"b" * 500}"', "name: expected 1 to 64 printable"),
        (ALICE, ALICE[:-1] + "x", f"allocations.{ALICE[:-1] + 'x'!r}: the checksum does not match"),
        (ALICE, '"\\u001b"', "allocations.'\\x1b': character 1"),
        (ALICE, "cherry1x", "allocations.'cherry1x': "),
        (ALICE, f"{ALICE} = 5\n{ALICE.upper()}", f"allocations.{ALICE}: the address is given twice"),
        (ALICE, f"{ALICE} = 5\n{ALICE}", "genesis: no TOML: Cannot overwrite a value"),
        ("[allocations]", "[chain]\ngc_depth = 2\n[allocations]", "chain.gc_depth: expected 3 to 512, got 2"),
        ("[allocations]", "[ledger]\nfee_min = 0\n[allocations]", "ledger.fee_min: expected 1 to"),
        ("stake = 100", "stake = 100\nx = " + "[" * 5000, "genesis: no TOML: "),
        ("stake = 100", "stake = ", "genesis: no TOML: "),
    ],
)
def test_mistakes_are_named_by_key_value_and_limit(old: str, new: str, said: str) -> None:
    found = refused((old, new))
    assert found.startswith(said), found
    assert len(found) < 600


@pytest.mark.parametrize("key", [KEYS[0].hex().upper(), KEYS[0].hex()[:-1], "0x" + KEYS[0].hex(), " "])
def test_keys_are_lower_case_hex(key: str) -> None:
    assert refused((KEYS[0].hex(), key)).startswith("validators[0].public_key: expected pairs of hex digits")


def test_keys_of_another_length_are_refused() -> None:
    assert refused((KEYS[0].hex(), "00" * 31)) == "validators[0].public_key: expected 32 bytes, got 31"


def test_errors_of_a_file_begin_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "genesis.toml"
    with pytest.raises(ConfigError, match=f"{path}: No such file"):
        load(path)
    path.write_text(SMALL)
    assert load(path) == loads(SMALL)
    path.write_text(SMALL.replace("stake = 100", "stake = 0"))
    with pytest.raises(ConfigError, match=rf"{path}: validators\[0\].stake: expected 1 to"):
        load(path)
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(ConfigError, match=f"{path}: not UTF-8 at byte 8"):
        load(path)


def test_size_is_checked_before_parsing(tmp_path: Path) -> None:
    padding = "#" * (TEXT_BYTES_MAX - len(SMALL))
    assert loads(SMALL + padding) == loads(SMALL)
    path = tmp_path / "genesis.toml"
    path.write_text(SMALL + padding + "#")
    with pytest.raises(ConfigError, match=f"{path}: genesis: more than {TEXT_BYTES_MAX} bytes"):
        load(path)
