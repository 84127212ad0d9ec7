"""The assets beside the native coin: an issuer creates one, mints and burns it; all else is transfers.

Kinds (record fields that are not named are zero, and there is no body unless one is given):
    16 create   body: u8 decimals, u8 size, symbol    the next free number becomes the asset's
    17 mint     asset, amount, recipient              by the issuer
    18 burn     asset, amount                         by the issuer, of its own holding
Entries:
    1                          u32, the last asset's number
    2 | asset u32 big-endian   issuer 20, supply u128, u8 decimals, symbol
    3 | issuer 20 | symbol     u32, the asset's number: an issuer uses a symbol once

The supply of an asset is the sum of its holdings, at most 2^128 - 1.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from struct import Struct
from typing import ClassVar, Final, NamedTuple

from cherrydag.errors import Rejected, invariant
from cherrydag.execution.accounts import NATIVE
from cherrydag.execution.body import BodyReader
from cherrydag.execution.module import Context, Event, Module, Operation
from cherrydag.execution.overlay import Powers, Scope, View
from cherrydag.params import AMOUNT_MAX
from cherrydag.primitives import Address

DECIMALS_MAX: Final = 18
"""Most decimals of an asset."""

SYMBOL_CHARS_MAX: Final = 12
"""Longest symbol, of A-Z and 0-9, a letter first."""

ASSET_MAX: Final = 2**32 - 1

_SYMBOL: Final = re.compile(rb"[A-Z][A-Z0-9]{0,11}")
_NUMBER: Final = Struct("<I")
_ASSET: Final = Struct("<20s16sB")


class AssetKind(IntEnum):
    """Kinds of operations."""

    CREATE = 16
    MINT = 17
    BURN = 18


class AssetRefusal(StrEnum):
    """Why an operation is refused; stable codes."""

    SYMBOL = "asset_symbol"
    """The symbol is not 1 to 12 of A-Z and 0-9, a letter first."""
    SYMBOL_TAKEN = "asset_symbol_taken"
    """The issuer has an asset of that symbol."""
    DECIMALS = "asset_decimals"
    """There are more decimals than an asset may have."""
    NUMBERS_SPENT = "asset_numbers_spent"
    """All numbers of assets are taken."""
    UNKNOWN = "asset_unknown"
    """There is no such asset."""
    NOT_ISSUER = "asset_not_issuer"
    """Only the issuer mints and burns."""
    AMOUNT_ZERO = "asset_amount_zero"
    """The amount is zero."""
    SUPPLY = "asset_supply"
    """The supply would pass 2^128 - 1."""


class Asset(NamedTuple):
    """An asset as it is registered. supply: the sum of all holdings."""

    issuer: Address
    symbol: str
    decimals: int
    supply: int


@dataclass(frozen=True, slots=True)
class AssetCreated(Event):
    """An asset has come to be, with no supply."""

    name: ClassVar[str] = "asset.created"
    asset: int
    issuer: Address
    symbol: str
    decimals: int


@dataclass(frozen=True, slots=True)
class AssetMinted(Event):
    """The supply grew by the amount, which the recipient got."""

    name: ClassVar[str] = "asset.minted"
    asset: int
    recipient: Address
    amount: int


@dataclass(frozen=True, slots=True)
class AssetBurned(Event):
    """The supply shrank by the amount, which the issuer had."""

    name: ClassVar[str] = "asset.burned"
    asset: int
    amount: int


class _Table(IntEnum):
    LAST = 1
    ASSET = 2
    SYMBOL = 3


def encode_create(symbol: str, decimals: int) -> bytes:
    """The body of a create."""
    return bytes([decimals, len(symbol)]) + symbol.encode("ascii")


def decode_create(body: bytes) -> tuple[str, int]:
    """Symbol and decimals. Total: raises Rejected for anything that is not a create's body."""
    reader = BodyReader(body)
    decimals = reader.integer(1)
    symbol = reader.take(reader.integer(1))
    reader.end()
    if decimals > DECIMALS_MAX:
        raise Rejected(AssetRefusal.DECIMALS, f"decimals: at most {DECIMALS_MAX}, got {decimals}")
    if not _SYMBOL.fullmatch(symbol):
        wanted = f"1 to {SYMBOL_CHARS_MAX} of A-Z and 0-9, a letter first"
        raise Rejected(AssetRefusal.SYMBOL, f"symbol: expected {wanted}")
    return symbol.decode("ascii"), decimals


class Assets(Module):
    """The registry of assets. The only module that issues and retires."""

    name = "assets"
    kinds = tuple(AssetKind)
    powers = Powers(prefix=1, issues=True)

    def execute(self, operation: Operation, scope: Scope, context: Context) -> tuple[Event, ...]:
        """Create, mint or burn."""
        if operation.kind == AssetKind.CREATE:
            return (self._create(operation, scope, context),)
        if operation.kind == AssetKind.MINT:
            return (self._mint(operation, scope, context),)
        return (self._burn(operation, scope, context),)

    def get(self, view: View, number: int) -> Asset | None:
        """An asset, or None."""
        value = view.get(self.key(_Table.ASSET, number.to_bytes(4, "big")))
        return None if value is None else _decode(value)

    def scan(self, view: View) -> Iterator[tuple[int, Asset]]:
        """All assets, ascending by number."""
        for key, value in view.scan(bytes([_Table.ASSET])):
            yield int.from_bytes(key[1:], "big"), _decode(value)

    def audit(self, view: View) -> None:
        """Every asset's supply is the sum of its holdings, and nobody holds what is not registered."""
        numbers = {NATIVE}
        for number, asset in self.scan(view):
            held = view.total(number)
            invariant(
                held == asset.supply,
                "supply is the sum of holdings",
                asset=number,
                held=held,
                of=asset.supply,
            )
            numbers.add(number)
        unknown = [number for number in view.assets() if number not in numbers]
        invariant(not unknown, "every asset that is held is registered", unknown=unknown[:8])

    def _create(self, operation: Operation, scope: Scope, context: Context) -> AssetCreated:
        operation.require_unused("asset", "amount", "recipient")
        symbol, decimals = decode_create(operation.body)
        taken = self.key(_Table.SYMBOL, context.sender + symbol.encode("ascii"))
        if scope.get(taken) is not None:
            raise Rejected(AssetRefusal.SYMBOL_TAKEN, f"symbol: the issuer has {symbol}")
        last = scope.get(self.key(_Table.LAST))
        number = 1 if last is None else _NUMBER.unpack(last)[0] + 1
        if number > ASSET_MAX:
            raise Rejected(AssetRefusal.NUMBERS_SPENT, "assets: all numbers are taken")
        scope.put(self.key(_Table.LAST), _NUMBER.pack(number))
        scope.put(taken, _NUMBER.pack(number))
        self._put(scope, number, Asset(context.sender, symbol, decimals, 0))
        return AssetCreated(number, context.sender, symbol, decimals)

    def _mint(self, operation: Operation, scope: Scope, context: Context) -> AssetMinted:
        operation.require_unused("body")
        asset = self._issued_by(operation, scope, context)
        if asset.supply + operation.amount > AMOUNT_MAX:
            raise Rejected(AssetRefusal.SUPPLY, "supply: it would pass 2^128 - 1")
        scope.issue(operation.recipient, operation.asset, operation.amount)
        self._put(scope, operation.asset, asset._replace(supply=asset.supply + operation.amount))
        return AssetMinted(operation.asset, operation.recipient, operation.amount)

    def _burn(self, operation: Operation, scope: Scope, context: Context) -> AssetBurned:
        operation.require_unused("recipient", "body")
        asset = self._issued_by(operation, scope, context)
        scope.retire(operation.asset, operation.amount)
        self._put(scope, operation.asset, asset._replace(supply=asset.supply - operation.amount))
        return AssetBurned(operation.asset, operation.amount)

    def _issued_by(self, operation: Operation, scope: Scope, context: Context) -> Asset:
        asset = self.get(scope, operation.asset)
        if asset is None:
            raise Rejected(AssetRefusal.UNKNOWN, f"asset: there is no {operation.asset}")
        if asset.issuer != context.sender:
            raise Rejected(AssetRefusal.NOT_ISSUER, f"asset {operation.asset}: another account issues it")
        if operation.amount == 0:
            raise Rejected(AssetRefusal.AMOUNT_ZERO, "amount: it is zero")
        return asset

    def _put(self, scope: Scope, number: int, asset: Asset) -> None:
        head = _ASSET.pack(asset.issuer, asset.supply.to_bytes(16, "little"), asset.decimals)
        key = self.key(_Table.ASSET, number.to_bytes(4, "big"))
        scope.put(key, head + asset.symbol.encode("ascii"))


def _decode(value: bytes) -> Asset:
    issuer, supply, decimals = _ASSET.unpack_from(value)
    symbol = value[_ASSET.size :].decode("ascii")
    return Asset(Address(issuer), symbol, decimals, int.from_bytes(supply, "little"))
