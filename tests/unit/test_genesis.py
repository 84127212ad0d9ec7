"""Genesis as a value and as bytes: one encoding, every rule and its limit."""

import json
import random
from dataclasses import fields, replace
from typing import Any

import blake3
import pytest
from geneses import GENESIS, KEYS, VECTORS, geneses, golden
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_core_ed25519_is_valid_point
from reference import ed25519_reference as reference

from cherrydag import genesis as module
from cherrydag.address import Network, encode_address
from cherrydag.errors import ConfigError
from cherrydag.execution.entries import TABLE_BYTES_MAX
from cherrydag.genesis import (
    ALLOCATIONS_MAX,
    CREATED_MS_MAX,
    FIRST_EPOCH,
    GENESIS_BYTES_MAX,
    HOSTS_MAX,
    MODULES_MAX,
    Allocation,
    Genesis,
    LedgerParams,
    Validator,
    decode_genesis,
)
from cherrydag.params import AMOUNT_MAX, COMMITTEE_MAX, STAKE_TOTAL_MAX
from cherrydag.primitives import Address, Amount, PublicKey, Stake
from cherrydag.signing import generate_keypair


def reference_encoding(genesis: Genesis) -> bytes:
    """The layout once more, field by field."""

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, "little")

    def text(value: str) -> bytes:
        return number(len(value), 1) + value.encode()

    chain, ledger = genesis.chain_params, genesis.ledger_params
    out = b"\x01" + text(genesis.name) + text(str(genesis.network)) + number(genesis.created_ms, 8)
    out += number(chain.gc_depth, 4) + number(chain.scoring_commits, 4)
    out += number(chain.swap_share_permille, 4) + number(chain.checkpoint_commits, 4)
    out += number(ledger.tree_depth, 4) + number(ledger.entry_bytes_max, 8) + number(ledger.fee_min, 8)
    out += number(len(genesis.modules), 2)
    for name in sorted(genesis.modules):
        out += text(name)
    out += number(len(genesis.validators), 2)
    for validator in genesis.validators:
        out += text(validator.name) + validator.public_key + number(validator.stake, 8)
        out += number(len(validator.hosts), 1)
        for host in validator.hosts:
            out += text(host)
    out += number(len(genesis.allocations), 4)
    for address, amount in sorted(genesis.allocations):
        out += address + number(amount, 16)
    return out


def refused(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        replace(GENESIS, **changes)
    return str(caught.value)


def validator(index: int = 0, **changes: Any) -> Validator:
    return GENESIS.validators[index]._replace(**changes)


def with_first(**changes: Any) -> Genesis:
    return replace(GENESIS, validators=(validator(**changes), *GENESIS.validators[1:]))


def first_refused(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        with_first(**changes)
    return str(caught.value)


def test_golden_vector() -> None:
    assert golden() == json.loads(VECTORS.read_text())


def test_digest_is_keyed_blake3_of_the_reference_encoding() -> None:
    assert reference_encoding(GENESIS) == GENESIS.encoding
    key = blake3.blake3(b"", derive_key_context="cherrydag 2026-11-22 genesis v1").digest()
    assert GENESIS.digest == blake3.blake3(GENESIS.encoding, key=key).digest()


@settings(max_examples=60)
@given(geneses)
def test_any_genesis_has_the_reference_encoding_and_comes_back(genesis: Genesis) -> None:
    assert genesis.encoding == reference_encoding(genesis)
    again = decode_genesis(genesis.encoding)
    assert again == genesis
    assert (again.encoding, again.digest, again.supply) == (genesis.encoding, genesis.digest, genesis.supply)


def test_committee_chain_and_supply_follow() -> None:
    committee = GENESIS.committee()
    assert committee.epoch == FIRST_EPOCH
    assert [member.public_key for member in committee.members] == KEYS[:3]
    assert [member.stake for member in committee.members] == [70, 2**40, 1]
    assert GENESIS.chain().genesis_digest == GENESIS.digest
    assert GENESIS.supply == 10**27 + 1


def test_order_of_allocations_and_modules_does_not_matter_and_that_of_validators_does() -> None:
    turned = replace(GENESIS, allocations=GENESIS.allocations[::-1], modules=GENESIS.modules[::-1])
    assert turned == GENESIS
    assert turned.digest == GENESIS.digest
    assert replace(GENESIS, validators=GENESIS.validators[::-1]).digest != GENESIS.digest


def test_every_field_changes_the_digest() -> None:
    changes: dict[str, Any] = {
        "name": "another chain",
        "network": Network.TEST,
        "created_ms": 0,
        "validators": GENESIS.validators[:2],
        "allocations": GENESIS.allocations[:1],
        "modules": (),
        "chain_params": replace(GENESIS.chain_params, gc_depth=51),
        "ledger_params": replace(GENESIS.ledger_params, fee_min=6),
    }
    assert set(changes) == {item.name for item in fields(Genesis) if item.init}
    variants = [GENESIS, *(replace(GENESIS, **{name: value}) for name, value in changes.items())]
    for params in ("chain_params", "ledger_params"):
        value = getattr(GENESIS, params)
        for item in fields(value):
            changed = replace(value, **{item.name: getattr(value, item.name) + 1})
            variants.append(replace(GENESIS, **{params: changed}))
    of_validator = {"name": "x", "public_key": KEYS[3], "stake": 71, "hosts": ()}
    variants += [with_first(**{name: value}) for name, value in of_validator.items()]
    distinct = {variant.digest for variant in variants}
    assert len(distinct) == len(variants) - 2  # gc_depth and fee_min are changed twice alike


def test_defaults_are_those_of_the_parts_they_are_for() -> None:
    assert LedgerParams().entry_bytes_max == TABLE_BYTES_MAX


# Bytes


def test_every_truncation_and_every_addition_is_refused() -> None:
    for size in range(len(GENESIS.encoding)):
        with pytest.raises(ConfigError):
            decode_genesis(GENESIS.encoding[:size])
    with pytest.raises(ConfigError, match="not canonical"):
        decode_genesis(GENESIS.encoding + b"\0")


@settings(max_examples=400)
@given(st.data())
def test_changed_bytes_are_refused_or_are_another_genesis(data: st.DataObject) -> None:
    octets = bytearray(GENESIS.encoding)
    for _ in range(data.draw(st.integers(1, 3))):
        octets[data.draw(st.integers(0, len(octets) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        genesis = decode_genesis(bytes(octets))
    except ConfigError:
        return
    assert genesis.encoding == octets
    assert (genesis.digest == GENESIS.digest) == (octets == GENESIS.encoding)


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(data: bytes) -> None:
    for octets in (data, b"\x01" + data, GENESIS.encoding[:60] + data):
        try:
            assert decode_genesis(octets).encoding == octets
        except ConfigError as error:
            assert str(error)


def test_bytes_out_of_order_are_refused() -> None:
    entries = [address + amount.to_bytes(16, "little") for address, amount in GENESIS.allocations]
    assert GENESIS.encoding.endswith(entries[0] + entries[1])
    body = GENESIS.encoding[: -2 * len(entries[0])]
    with pytest.raises(ConfigError, match="not canonical"):
        decode_genesis(body + entries[1] + entries[0])
    with pytest.raises(ConfigError, match="given twice"):
        decode_genesis(body + entries[0] + entries[0])
    turned = GENESIS.encoding.replace(b"\x06anchor\x06assets", b"\x06assets\x06anchor")
    with pytest.raises(ConfigError, match="not canonical"):
        decode_genesis(turned)


def test_counts_are_checked_before_they_are_looped_over() -> None:
    allocations = GENESIS.encoding.index((2).to_bytes(4, "little") + bytes(range(20)))
    with pytest.raises(ConfigError, match="allocations: expected at most 65536, got 65537"):
        decode_genesis(GENESIS.encoding[:allocations] + (ALLOCATIONS_MAX + 1).to_bytes(4, "little"))
    modules = GENESIS.encoding.index(b"\x02\x00\x06anchor")
    with pytest.raises(ConfigError, match="modules: expected at most 64, got 65535"):
        decode_genesis(GENESIS.encoding[:modules] + b"\xff\xff")
    with pytest.raises(ConfigError, match="validators: expected at most 200, got 201"):
        decode_genesis(GENESIS.encoding[:modules] + b"\0\0" + (201).to_bytes(2, "little"))
    with pytest.raises(ConfigError, match=f"{GENESIS_BYTES_MAX + 1} bytes, at most"):
        decode_genesis(bytes(GENESIS_BYTES_MAX + 1))


def test_other_versions_and_networks_are_named() -> None:
    with pytest.raises(ConfigError, match="expected version 1, got 2"):
        decode_genesis(b"\x02" + GENESIS.encoding[1:])
    with pytest.raises(ConfigError, match=r"network: expected one of cherry, .* got 'xevcherry'"):
        decode_genesis(GENESIS.encoding.replace(b"\x09devcherry", b"\x09xevcherry"))


def test_largest_genesis_fits_its_bound() -> None:
    host = 1 + module.HOST_CHARS_MAX
    of_validator = 1 + module.NAME_CHARS_MAX + 32 + 8 + 1 + HOSTS_MAX * host
    worst = 200 + MODULES_MAX * 33 + COMMITTEE_MAX * of_validator + ALLOCATIONS_MAX * 36
    assert worst < GENESIS_BYTES_MAX


# Rules


@pytest.mark.parametrize("name", ["", " a", "a ", "a\n", "é", "a\x7f", "a" * 65, "\x1b[0m"])
def test_names_are_printable_ascii(name: str) -> None:
    assert refused(name=name).startswith("name: expected 1 to 64 printable")
    assert first_refused(name=name).startswith("validators[0].name: expected 1 to 64 printable")


def test_longest_names_are_taken() -> None:
    assert replace(GENESIS, name="a" * 64).name == "a" * 64
    assert with_first(name="x").validators[0].name == "x"


def test_time_is_bounded() -> None:
    assert CREATED_MS_MAX == (2**32 - 1) * 1000
    for created_ms in (0, CREATED_MS_MAX):
        assert replace(GENESIS, created_ms=created_ms).created_ms == created_ms
    for created_ms in (-1, CREATED_MS_MAX + 1):
        assert refused(created_ms=created_ms).startswith("created_ms: expected 0 to")


def test_modules_are_bounded_and_distinct() -> None:
    many = tuple(f"m{index}" for index in range(MODULES_MAX))
    assert len(replace(GENESIS, modules=many).modules) == MODULES_MAX
    assert refused(modules=(*many, "n")) == "modules: expected 0 to 64, got 65"
    assert refused(modules=("a", "b", "a")) == "modules: 'a' is given twice"
    assert replace(GENESIS, modules=("m" * 32,)).modules == ("m" * 32,)
    for name in ("", "A", "1a", "a-b", "m" * 33, "a\n"):
        assert refused(modules=(name,)).startswith("modules: expected names like")


def test_number_of_validators_is_bounded() -> None:
    keys = [generate_keypair(index.to_bytes(32, "little")).public_key for index in range(COMMITTEE_MAX + 1)]
    everyone = tuple(Validator(f"v{index}", key, Stake(1)) for index, key in enumerate(keys))
    assert len(replace(GENESIS, validators=everyone[:-1]).committee()) == COMMITTEE_MAX
    assert refused(validators=everyone) == "validators: expected 1 to 200, got 201"
    assert refused(validators=()) == "validators: expected 1 to 200, got 0"


def test_names_keys_and_hosts_of_validators_are_distinct() -> None:
    assert first_refused(name="second") == "validators: name: 'second' is given twice"
    assert first_refused(public_key=KEYS[1]) == f"validators: public_key: {KEYS[1].hex()!r} is given twice"
    assert first_refused(hosts=("192.0.2.1:65535",)) == "validators: host: '192.0.2.1:65535' is given twice"


def test_stake_is_bounded_alone_and_in_total() -> None:
    rest = sum(member.stake for member in GENESIS.validators[1:])
    assert with_first(stake=STAKE_TOTAL_MAX - rest).committee().total == STAKE_TOTAL_MAX
    over = first_refused(stake=STAKE_TOTAL_MAX - rest + 1)
    assert over == f"validators: expected a total stake of at most {STAKE_TOTAL_MAX}, got {2**63}"
    for stake in (0, -1, STAKE_TOTAL_MAX + 1):
        said = first_refused(stake=stake)
        assert said == f"validators[0].stake: expected 1 to {STAKE_TOTAL_MAX}, got {stake}"


def test_supply_is_bounded() -> None:
    one = Allocation(Address(bytes(20)), Amount(AMOUNT_MAX))
    assert replace(GENESIS, allocations=(one,)).supply == AMOUNT_MAX
    other = Allocation(Address(b"a" * 20), Amount(1))
    assert f"a supply of at most {AMOUNT_MAX}, got {2**128}" in refused(allocations=(one, other))
    shown = encode_address(one.address, Network.DEV)
    for amount in (0, -1, AMOUNT_MAX + 1):
        said = refused(allocations=(one._replace(amount=amount),))
        assert said == f"allocations.{shown}: expected 1 to {AMOUNT_MAX}, got {amount}"
    twice = refused(allocations=(one._replace(amount=1), other, one._replace(amount=2)))
    assert twice == f"allocations.{shown}: the address is given twice"
    assert refused(allocations=()) == "allocations: expected 1 to 65536, got 0"
    assert "addresses of 20 bytes, got 19" in refused(
        allocations=(Allocation(Address(bytes(19)), Amount(1)),)
    )


def test_number_of_allocations_is_bounded() -> None:
    many = tuple(
        Allocation(Address(index.to_bytes(20, "big")), Amount(1)) for index in range(ALLOCATIONS_MAX + 1)
    )
    genesis = replace(GENESIS, allocations=many[:-1])
    assert decode_genesis(genesis.encoding) == genesis
    assert refused(allocations=many) == "allocations: expected 1 to 65536, got 65537"


HOSTS = [
    ("a:1", True),
    ("a.example:65535", True),
    ("xn--a-b.c-d.example:4100", True),
    ("10.0.0.255:80", True),
    ("[::1]:80", True),
    ("[2001:db8::a]:80", True),
    (f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 60}:65", True),
    (f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 60}:655", False),
    (f"{'a' * 64}:1", False),
    ("a:0", False),
    ("a:65536", False),
    ("a:01", False),
    ("a:+1", False),
    ("a:1\n", False),
    ("a", False),
    (":1", False),
    ("A:1", False),
    ("a_b:1", False),
    ("-a:1", False),
    ("a-:1", False),
    ("a..b:1", False),
    ("a b:1", False),
    ("1.2.3:80", False),
    ("256.1.1.1:80", False),
    ("01.1.1.1:80", False),
    ("::1:80", False),
    ("[::0001]:80", False),
    ("[2001:DB8::a]:80", False),
    ("[fe80::1%eth0]:80", False),
    ("[fe80::1%é]:80", False),
    ("[::ffff:102:304]:80", False),
    ("[::ffff:1.2.3.4]:80", False),
    ("[127.0.0.1]:80", False),
    ("é.example:80", False),
]


@pytest.mark.parametrize(("host", "is_one"), HOSTS)
def test_hosts_have_one_text_each(host: str, is_one: bool) -> None:
    if is_one:
        assert decode_genesis(with_first(hosts=(host,)).encoding).validators[0].hosts == (host,)
    else:
        assert first_refused(hosts=(host,)).startswith("validators[0].hosts: expected host:port")


def test_number_of_hosts_is_bounded() -> None:
    hosts = tuple(f"a:{port}" for port in range(1, HOSTS_MAX + 2))
    assert with_first(hosts=hosts[:-1]).validators[0].hosts == hosts[:-1]
    assert first_refused(hosts=hosts) == "validators[0].hosts: expected 0 to 8, got 9"


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("tree_depth", 1, 24), ("entry_bytes_max", 1, 2**48), ("fee_min", 1, 2**64 - 1)],
)
def test_ledger_parameters_are_bounded(name: str, low: int, high: int) -> None:
    for value in (low, high):
        params = LedgerParams(**{name: value})
        assert decode_genesis(replace(GENESIS, ledger_params=params).encoding).ledger_params == params
    for value in (low - 1, high + 1):
        with pytest.raises(ConfigError, match=f"ledger.{name}: expected {low} to {high}, got {value}"):
            LedgerParams(**{name: value})


# Keys


def is_admissible_by_group_law(key: bytes) -> bool:
    """The key is the encoding of its point, and eight times that is not the identity."""
    point = reference.decode(key)
    if point is None or reference.encode(point) != key:
        return False
    return not reference.is_identity(reference.multiply(8, point))


def special_keys() -> list[bytes]:
    """All points of small order, everything that is not reduced, and the edges of y."""
    ys = {*range(40), *(2**255 - edge for edge in range(1, 60)), (2**255 - 19) // 2}
    rng = random.Random(5)
    while len(ys) < 150:  # [l]P has an order that divides 8
        point = reference.decode(rng.randbytes(32))
        if point:
            ys.add(int.from_bytes(reference.encode(reference.multiply(reference.ORDER, point)), "little"))
            ys.add(rng.getrandbits(255))
    return [(y & (2**255 - 1) | sign << 255).to_bytes(32, "little") for y in sorted(ys) for sign in (0, 1)]


def test_keys_are_admitted_as_the_group_law_says() -> None:
    verdicts = []
    for key in special_keys():
        try:
            with_first(public_key=PublicKey(key))
            verdicts.append(True)
        except ConfigError as error:
            assert str(error) == f"validators[0].public_key: {key.hex()} is no key that can be held safely"
            verdicts.append(False)
        assert verdicts[-1] == is_admissible_by_group_law(key), key.hex()
        if crypto_core_ed25519_is_valid_point(key):  # libsodium asks for the prime subgroup on top
            assert verdicts[-1]
    assert 40 < sum(verdicts) < len(verdicts) - 40


def test_honest_keys_are_admitted_and_other_lengths_are_not() -> None:
    for seed in range(50):
        with_first(public_key=generate_keypair(bytes([seed, 9]) * 16).public_key)
    for size in (0, 31, 33):
        assert first_refused(public_key=bytes(size)).endswith(f"expected 32 bytes, got {size}")
