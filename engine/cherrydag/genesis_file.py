"""A genesis as people write and read it: TOML, with addresses as text and keys in hex.

    digest = "..."                 # optional: refuse the file if its content has another digest
    name = "a chain"
    network = "devcherry"
    created_ms = 1_790_000_000_000
    modules = ["assets"]           # optional, as are [chain], [ledger] and their keys

    [[validators]]
    name = "first"
    public_key = "..."
    stake = 100
    hosts = ["node.example:4100"]  # optional

    [allocations]                  # smallest units: an integer, or its digits in quotes
    devcherry1... = "1_000_000_000_000_000_000"

An unknown key is an error, so that a misspelt rule is not taken for its default.
"""

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from cherrydag.address import Network, decode_address, encode_address
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.errors import ConfigError, Rejected
from cherrydag.genesis import ALLOCATIONS_MAX, Allocation, Genesis, LedgerParams, Validator
from cherrydag.primitives import Amount, PublicKey, Stake, TimestampMs

TEXT_BYTES_MAX: Final = 16 * 1024 * 1024
"""Largest file; checked before it is parsed."""

_AMOUNT = re.compile("[0-9]+(?:_[0-9]+)*")
_AMOUNT_CHARS_MAX = 80  # 2^128 has 39 digits, with as many separators
_HEX = re.compile("(?:[0-9a-f]{2})*")
_INTEGER_BITS_MAX = 256  # larger ones fit nowhere, and Python would not print them
_SHOWN_CHARS = 80

_Fields: TypeAlias = dict[str, object]
_Params = TypeVar("_Params", ChainParams, LedgerParams)
_Value = TypeVar("_Value")


def load(path: Path) -> Genesis:
    """The genesis in a file. ConfigError if it cannot be read, or as for `loads`."""
    try:
        with path.open("rb") as file:
            data = file.read(TEXT_BYTES_MAX + 1)
        return loads(data.decode())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def loads(text: str) -> Genesis:
    """The genesis that `text` spells. ConfigError naming the key, its value and what is allowed."""
    if len(text) > TEXT_BYTES_MAX:
        raise ConfigError(f"genesis: more than {TEXT_BYTES_MAX} bytes")
    try:
        parsed = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of too many digits is a plain ValueError
        raise ConfigError(f"genesis: no TOML: {error}") from error
    top = _Table("", parsed)
    pin = top.find("digest", str)
    network = _network(top.take("network", str))
    genesis = Genesis(
        name=top.take("name", str),
        network=network,
        created_ms=TimestampMs(top.take("created_ms", int)),
        validators=_validators(top.take("validators", list, [])),
        allocations=_allocations(top.take("allocations", dict, {}), network),
        modules=_texts("modules", top.take("modules", list, [])),
        chain_params=_params(ChainParams, "chain", top.take("chain", dict, {})),
        ledger_params=_params(LedgerParams, "ledger", top.take("ledger", dict, {})),
    )
    top.end()
    if pin is not None and _bytes("digest", pin) != genesis.digest:
        raise ConfigError(f"digest: the file is pinned to {pin}, its content has {genesis.digest.hex()}")
    return genesis


def dumps(genesis: Genesis) -> str:
    """A text that loads as this genesis, pinned to its digest."""
    top: _Fields = {
        "digest": genesis.digest.hex(),
        "name": genesis.name,
        "network": str(genesis.network),
        "created_ms": genesis.created_ms,
        "modules": genesis.modules,
    }
    tables = [_lines(top)]
    tables += ["[chain]", _lines(_params_of(genesis.chain_params))]
    tables += ["[ledger]", _lines(_params_of(genesis.ledger_params))]
    for name, public_key, stake, hosts in genesis.validators:
        shown: _Fields = {"name": name, "public_key": public_key.hex(), "stake": stake}
        tables += ["[[validators]]", _lines(shown | ({"hosts": hosts} if hosts else {}))]
    amounts: _Fields = {
        encode_address(address, genesis.network): f"{amount:_}" for address, amount in genesis.allocations
    }
    return "\n".join([*tables, "[allocations]", _lines(amounts)])


# Reading


class _Table:
    """A table of the file. What was not taken when it ends is unknown."""

    __slots__ = ("_known", "_left", "_name")

    def __init__(self, name: str, values: _Fields) -> None:
        self._name = name
        self._left = values
        self._known: list[str] = []

    def find(self, key: str, kind: type[_Value]) -> _Value | None:
        self._known.append(key)
        value = self._left.pop(key, None)
        return None if value is None else _typed(f"{self._name}{key}", value, kind)

    def take(self, key: str, kind: type[_Value], default: _Value | None = None) -> _Value:
        value = self.find(key, kind)
        found = default if value is None else value
        if found is None:
            raise ConfigError(f"{self._name}{key}: is missing")
        return found

    def take_amount(self, key: str) -> int:
        self._known.append(key)
        return _amount(f"{self._name}{key}", self._left.pop(key, None))

    def end(self) -> None:
        for key in self._left:
            known = ", ".join(self._known)
            raise ConfigError(f"{self._name or 'genesis.'}{_shown(key)}: unknown key; known are {known}")


_KINDS: Final = {str: "a text", int: "an integer", list: "an array", dict: "a table"}


def _typed(name: str, value: object, kind: type[_Value]) -> _Value:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(f"{name}: expected {_KINDS[kind]}, got {_shown(value)}")
    if isinstance(value, int) and value.bit_length() > _INTEGER_BITS_MAX:
        raise ConfigError(f"{name}: expected at most {_INTEGER_BITS_MAX} bits, got {_shown(value)}")
    return value


def _network(text: str) -> Network:
    if text not in list(Network):
        raise ConfigError(f"network: expected one of {', '.join(Network)}, got {_shown(text)}")
    return Network(text)


def _validators(items: list[object]) -> tuple[Validator, ...]:
    validators = []
    for index, item in enumerate(items):
        name = f"validators[{index}]"
        table = _Table(f"{name}.", _typed(name, item, dict))
        validators.append(
            Validator(
                table.take("name", str),
                PublicKey(_bytes(f"{name}.public_key", table.take("public_key", str))),
                Stake(table.take_amount("stake")),
                _texts(f"{name}.hosts", table.take("hosts", list, [])),
            )
        )
        table.end()
    return tuple(validators)


def _allocations(table: _Fields, network: Network) -> tuple[Allocation, ...]:
    if len(table) > ALLOCATIONS_MAX:
        raise ConfigError(f"allocations: expected at most {ALLOCATIONS_MAX}, got {len(table)}")
    allocations = []
    for text, value in table.items():
        try:
            address = decode_address(text, network)
        except Rejected as error:
            raise ConfigError(f"allocations.{_shown(text)}: {error}") from error
        allocations.append(Allocation(address, Amount(_amount(f"allocations.{text}", value))))
    return tuple(allocations)


def _params(kind: type[_Params], name: str, values: _Fields) -> _Params:
    table = _Table(f"{name}.", values)
    taken = {item.name: table.take(item.name, int, item.default) for item in fields(kind)}
    table.end()
    return kind(**taken)


def _texts(name: str, items: list[object]) -> tuple[str, ...]:
    return tuple(_typed(f"{name}[{index}]", item, str) for index, item in enumerate(items))


def _amount(name: str, value: object) -> int:
    if value is None:
        raise ConfigError(f"{name}: is missing")
    if isinstance(value, str) and len(value) <= _AMOUNT_CHARS_MAX and _AMOUNT.fullmatch(value):
        return int(value)
    if isinstance(value, str):
        raise ConfigError(f"{name}: expected the digits of an integer, got {_shown(value)}")
    return _typed(name, value, int)


def _bytes(name: str, text: str) -> bytes:
    if not _HEX.fullmatch(text):
        raise ConfigError(f"{name}: expected pairs of hex digits in lower case, got {_shown(text)}")
    return bytes.fromhex(text)


def _shown(value: object) -> str:
    if isinstance(value, list | dict):
        return _KINDS[type(value)]
    if isinstance(value, int) and value.bit_length() > _INTEGER_BITS_MAX:
        return f"{value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


# Writing


def _lines(table: _Fields) -> str:
    return "".join(f"{key} = {_toml(value)}\n" for key, value in table.items())


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, int):
        return f"{value:_}"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _params_of(params: ChainParams | LedgerParams) -> _Fields:
    return {item.name: getattr(params, item.name) for item in fields(params)}
