"""The genesis of a chain: who validates, who owns what, and every rule that its nodes must share.

Its digest is the chain's identity: nodes with another genesis have other ids and signatures. One value has
one encoding, whatever order its allocations and modules were given in.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from struct import Struct
from typing import Final, NamedTuple

from cherrydag import crypto
from cherrydag.address import Network, encode_address
from cherrydag.chain import Chain
from cherrydag.committee import Committee, Member
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.errors import ConfigError
from cherrydag.params import (
    ADDRESS_BYTES,
    AMOUNT_MAX,
    COMMITTEE_MAX,
    FEE_MIN,
    PUBLIC_KEY_BYTES,
    STAKE_TOTAL_MAX,
    VALID_FOREVER,
)
from cherrydag.primitives import Address, Amount, Digest, Epoch, PublicKey, Stake, TimestampMs
from cherrydag.state_proof import DEPTH_DEFAULT, DEPTH_MAX, DEPTH_MIN

GENESIS_KEY: Final = crypto.derive_key("cherrydag 2026-11-22 genesis v1", b"")
"""Hashing key of genesis digests."""

VERSION: Final = 1
"""First byte of the encoding; another one is another format."""

FIRST_EPOCH: Final = Epoch(0)
"""The term of the committee that genesis names."""

NAME_CHARS_MAX: Final = 64
"""Longest name of a chain or validator."""

HOSTS_MAX: Final = 8
"""Most addresses of one validator in the network."""

HOST_CHARS_MAX: Final = 255
"""Longest of them, with its port."""

MODULES_MAX: Final = 64
"""Most modules of a chain."""

ALLOCATIONS_MAX: Final = 65_536
"""Most accounts that begin with coins."""

CREATED_MS_MAX: Final = VALID_FOREVER * 1000
"""Latest creation: as far as the main chain's time goes."""

GENESIS_BYTES_MAX: Final = 4 * 1024 * 1024
"""Largest encoding; checked before a byte is read."""

_NAME = re.compile(f"[!-~](?:[ -~]{{0,{NAME_CHARS_MAX - 2}}}[!-~])?")
_MODULE = re.compile("[a-z][a-z0-9_]{0,31}")
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
_NUMERIC = re.compile(r"[0-9.]+")
_PORT = re.compile("[1-9][0-9]{0,4}")
_PORT_MAX = 65_535

_CHAIN = Struct("<IIII")  # the fields of ChainParams in their order
_LEDGER = Struct("<IQQ")  # the fields of LedgerParams in their order
_CREATED = Struct("<Q")
_STAKE = Struct("<Q")
_SHORT_COUNT = Struct("<H")
_LONG_COUNT = Struct("<I")
_ALLOCATION = Struct(f"<{ADDRESS_BYTES}s16s")

_LEDGER_RANGES: Final = {
    "tree_depth": (DEPTH_MIN, DEPTH_MAX),
    "entry_bytes_max": (1, 2**48),
    "fee_min": (FEE_MIN, 2**64 - 1),
}


@dataclass(frozen=True, slots=True)
class LedgerParams:
    """Rules of one chain's ledger, the same on every node.

    tree_depth: of each of the state's trees, which have 2^tree_depth buckets. entry_bytes_max: what the
    entries of all modules may count together. fee_min: least fee of a transaction, in smallest units.
    Raises ConfigError for a value out of its range.
    """

    tree_depth: int = DEPTH_DEFAULT
    entry_bytes_max: int = 16 * 1024**3
    fee_min: int = FEE_MIN

    def __post_init__(self) -> None:
        for name, (low, high) in _LEDGER_RANGES.items():
            _check_range(f"ledger.{name}", getattr(self, name), low, high)


class Validator(NamedTuple):
    """A member of the first committee, and where it may be reached: "host:port", an IPv6 host in brackets."""

    name: str
    public_key: PublicKey
    stake: Stake
    hosts: tuple[str, ...] = ()


class Allocation(NamedTuple):
    """What an account begins with, in smallest units of the native coin."""

    address: Address
    amount: Amount


@dataclass(frozen=True, slots=True)
class Genesis:
    """The start of a chain; all of it goes into its digest.

    name: 1 to NAME_CHARS_MAX printable ASCII characters, no space at either end. network: prefix of its
    addresses. validators: a validator's index in the committee is its place here. allocations, modules: in
    any order, kept by address and by name; that a module of that name exists is not checked here.
    supply: the sum of all allocations. encoding: the canonical bytes; digest: their keyed BLAKE3.
    Raises ConfigError naming the field, its value and what is allowed.
    """

    name: str
    network: Network
    created_ms: TimestampMs
    validators: tuple[Validator, ...]
    allocations: tuple[Allocation, ...]
    modules: tuple[str, ...] = ()
    chain_params: ChainParams = field(default_factory=ChainParams)
    ledger_params: LedgerParams = field(default_factory=LedgerParams)
    supply: Amount = field(init=False, repr=False, compare=False)
    encoding: bytes = field(init=False, repr=False, compare=False)
    digest: Digest = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "allocations", tuple(sorted(self.allocations)))
        object.__setattr__(self, "modules", tuple(sorted(self.modules)))
        _check_name("name", self.name)
        _check_range("created_ms", self.created_ms, 0, CREATED_MS_MAX)
        _check_modules(self.modules)
        _check_validators(self.validators)
        _check_allocations(self.allocations, self.network)
        encoding = _encode(self)
        object.__setattr__(self, "supply", sum(amount for _, amount in self.allocations))
        object.__setattr__(self, "encoding", encoding)
        object.__setattr__(self, "digest", crypto.hash_bytes(encoding, GENESIS_KEY))

    def committee(self) -> Committee:
        """The committee of FIRST_EPOCH."""
        return Committee(
            FIRST_EPOCH, tuple(Member(validator.public_key, validator.stake) for validator in self.validators)
        )

    def chain(self) -> Chain:
        """The chain that starts here."""
        return Chain.of(self.digest)


# Bytes


def decode_genesis(data: bytes) -> Genesis:
    """The genesis of these bytes. ConfigError unless they are the canonical encoding of one.

    Total: any bytes are answered. Every count is checked against its limit before it is looped over.
    """
    if len(data) > GENESIS_BYTES_MAX:
        raise ConfigError(f"genesis: {len(data)} bytes, at most {GENESIS_BYTES_MAX}")
    reader = _Reader(data)
    version = reader.take(1)[0]
    if version != VERSION:
        raise ConfigError(f"genesis: expected version {VERSION}, got {version}")
    name, network = reader.text(), reader.text()
    if network not in list(Network):
        raise ConfigError(f"network: expected one of {', '.join(Network)}, got {network!r}")
    (created_ms,) = reader.unpack(_CREATED)
    chain_params, ledger_params = ChainParams(*reader.unpack(_CHAIN)), LedgerParams(*reader.unpack(_LEDGER))
    modules = [reader.text() for _ in range(reader.count("modules", _SHORT_COUNT, MODULES_MAX))]
    validators = [reader.validator() for _ in range(reader.count("validators", _SHORT_COUNT, COMMITTEE_MAX))]
    allocations = [
        reader.allocation() for _ in range(reader.count("allocations", _LONG_COUNT, ALLOCATIONS_MAX))
    ]
    genesis = Genesis(
        name,
        Network(network),
        TimestampMs(created_ms),
        tuple(validators),
        tuple(allocations),
        tuple(modules),
        chain_params,
        ledger_params,
    )
    if genesis.encoding != data:
        raise ConfigError("genesis: the bytes are not canonical: something follows, or is out of order")
    return genesis


class _Reader:
    """Takes fields off the front. ConfigError where the bytes end too early."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise ConfigError(f"genesis: {len(self._data)} bytes, {size} more are needed at {self._at}")
        self._at += size
        return taken

    def unpack(self, layout: Struct) -> tuple[int, ...]:
        return layout.unpack(self.take(layout.size))

    def count(self, name: str, layout: Struct, most: int) -> int:
        (count,) = self.unpack(layout)
        if count > most:
            raise ConfigError(f"{name}: expected at most {most}, got {count}")
        return count

    def text(self) -> str:
        return self.take(self.take(1)[0]).decode("latin-1")  # what is not ASCII is refused as a name

    def validator(self) -> Validator:
        name, public_key = self.text(), PublicKey(self.take(PUBLIC_KEY_BYTES))
        (stake,) = self.unpack(_STAKE)
        hosts = tuple(self.text() for _ in range(self.take(1)[0]))
        return Validator(name, public_key, Stake(stake), hosts)

    def allocation(self) -> Allocation:
        address, amount = _ALLOCATION.unpack(self.take(_ALLOCATION.size))
        return Allocation(Address(address), Amount(int.from_bytes(amount, "little")))


def _encode(genesis: Genesis) -> bytes:
    """version u8, name, network, created_ms u64, chain parameters, ledger parameters; counted: modules u16,
    validators u16 (name, key, stake u64, hosts u8), allocations u32 (address, amount u128). A text is its
    length u8 and its ASCII. Little-endian."""
    parts = [bytes([VERSION]), _text(genesis.name), _text(genesis.network), _CREATED.pack(genesis.created_ms)]
    parts += [_CHAIN.pack(*_values(genesis.chain_params)), _LEDGER.pack(*_values(genesis.ledger_params))]
    parts += [_SHORT_COUNT.pack(len(genesis.modules)), *map(_text, genesis.modules)]
    parts.append(_SHORT_COUNT.pack(len(genesis.validators)))
    for name, public_key, stake, hosts in genesis.validators:
        parts += [_text(name), public_key, _STAKE.pack(stake), bytes([len(hosts)]), *map(_text, hosts)]
    parts.append(_LONG_COUNT.pack(len(genesis.allocations)))
    parts += [
        _ALLOCATION.pack(address, amount.to_bytes(16, "little")) for address, amount in genesis.allocations
    ]
    return b"".join(parts)


def _text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode("ascii")


def _values(params: ChainParams | LedgerParams) -> list[int]:
    return [getattr(params, item.name) for item in fields(params)]


# Rules


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name}: expected {low} to {high}, got {value}")


def _check_name(field_name: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        wanted = f"1 to {NAME_CHARS_MAX} printable ASCII characters, no space at an end"
        raise ConfigError(f"{field_name}: expected {wanted}, got {_shown(name)}")


def _check_modules(modules: tuple[str, ...]) -> None:
    _check_range("modules", len(modules), 0, MODULES_MAX)
    for name in modules:
        if not _MODULE.fullmatch(name):
            raise ConfigError(f"modules: expected names like {_MODULE.pattern}, got {_shown(name)}")
    _check_distinct("modules", modules)


def _check_validators(validators: tuple[Validator, ...]) -> None:
    _check_range("validators", len(validators), 1, COMMITTEE_MAX)
    for index, (name, public_key, stake, hosts) in enumerate(validators):
        where = f"validators[{index}]"
        _check_name(f"{where}.name", name)
        if len(public_key) != PUBLIC_KEY_BYTES:
            got = len(public_key)
            raise ConfigError(f"{where}.public_key: expected {PUBLIC_KEY_BYTES} bytes, got {got}")
        if not _is_admissible(public_key):
            raise ConfigError(f"{where}.public_key: {public_key.hex()} is no key that can be held safely")
        _check_range(f"{where}.stake", stake, 1, STAKE_TOTAL_MAX)
        _check_range(f"{where}.hosts", len(hosts), 0, HOSTS_MAX)
        for host in hosts:
            _check_host(f"{where}.hosts", host)
    _check_distinct("validators: name", [validator.name for validator in validators])
    _check_distinct("validators: public_key", [validator.public_key.hex() for validator in validators])
    _check_distinct("validators: host", [host for validator in validators for host in validator.hosts])
    total = sum(validator.stake for validator in validators)
    if total > STAKE_TOTAL_MAX:
        raise ConfigError(f"validators: expected a total stake of at most {STAKE_TOTAL_MAX}, got {total}")


def _check_allocations(allocations: tuple[Allocation, ...], network: Network) -> None:
    _check_range("allocations", len(allocations), 1, ALLOCATIONS_MAX)
    before = None
    for address, amount in allocations:
        if len(address) != ADDRESS_BYTES:
            raise ConfigError(f"allocations: expected addresses of {ADDRESS_BYTES} bytes, got {len(address)}")
        if not 1 <= amount <= AMOUNT_MAX or address == before:
            where = f"allocations.{encode_address(address, network)}"
            _check_range(where, amount, 1, AMOUNT_MAX)
            raise ConfigError(f"{where}: the address is given twice")
        before = address
    supply = sum(amount for _, amount in allocations)
    if supply > AMOUNT_MAX:
        raise ConfigError(f"allocations: expected a supply of at most {AMOUNT_MAX}, got {supply}")


def _check_distinct(name: str, values: Iterable[str]) -> None:
    seen: dict[str, None] = {}
    for value in values:
        if value in seen:
            raise ConfigError(f"{name}: {value!r} is given twice")
        seen[value] = None


def _check_host(field_name: str, text: str) -> None:
    """One text for one address: lower case, numbers without leading zeros, IPv6 in its shortest form.

    An IPv4 address in IPv6's clothes is refused, since Python's versions differ in its text.
    """
    host, _, port = text.rpartition(":")
    fits = len(text) <= HOST_CHARS_MAX and _is_host(host)
    if not fits or not _PORT.fullmatch(port) or int(port) > _PORT_MAX:
        wanted = f"host:port in lower case, at most {HOST_CHARS_MAX} characters, port 1 to {_PORT_MAX}"
        raise ConfigError(f"{field_name}: expected {wanted}, got {_shown(text)}")


def _is_host(host: str) -> bool:
    try:
        if host.startswith("[") and host.endswith("]"):
            address = IPv6Address(host[1:-1])
            is_plain = address.scope_id is None and address.ipv4_mapped is None
            return is_plain and str(address) == host[1:-1]
        if _NUMERIC.fullmatch(host):
            return str(IPv4Address(host)) == host
    except AddressValueError:
        return False
    return _DOMAIN.fullmatch(host) is not None


def _shown(text: str) -> str:
    return repr(text if len(text) <= HOST_CHARS_MAX else text[:HOST_CHARS_MAX] + "...")


_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P


def _is_admissible(public_key: bytes) -> bool:
    """Whether these are the canonical bytes of a point whose order does not divide 8 (crypto.md, 2, rule 7).

    For a key of such an order anyone can make signatures. On -x^2 + y^2 = 1 + d x^2 y^2 those points are
    x = 0, y = 0, and x^2 = -y^2, which doubles to y = 0.
    """
    y = int.from_bytes(public_key, "little") & (1 << 255) - 1
    y2 = y * y % _P
    x2 = (y2 - 1) * pow(_D * y2 + 1, -1, _P) % _P  # -1/d is no square, so the divisor is never 0
    on_curve = pow(x2, (_P - 1) // 2, _P) == 1  # 0 gives 0: x = 0 is refused here
    return y < _P and on_curve and y != 0 and (x2 + y2) % _P != 0
