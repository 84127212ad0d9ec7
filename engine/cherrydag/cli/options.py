"""Arguments and options that several commands share."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import click

from cherrydag.cli.output import COIN, COIN_DECIMALS
from cherrydag.params import AMOUNT_MAX

Where: TypeAlias = Path | str
"""A ledger's folder, or the URL of a node's API."""

_Command = TypeVar("_Command", bound=Callable[..., Any])

_DIGITS: Final = "[0-9]+(?:_[0-9]+)*"
_UNITS: Final = re.compile(_DIGITS)
_COINS: Final = re.compile(rf"({_DIGITS})(?:\.([0-9]{{1,{COIN_DECIMALS}}}))?\s*{COIN}s?")
_AMOUNT_CHARS_MAX: Final = 80
_HEX: Final = re.compile("[0-9a-fA-F]*")


class AmountType(click.ParamType[int]):
    """An integer of smallest units, or coins: `1_000` or `2.5coin`."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Smallest units."""
        if isinstance(value, int):
            return value
        coins = _COINS.fullmatch(value) if len(value) <= _AMOUNT_CHARS_MAX else None
        if coins:
            amount = int(coins[1] + (coins[2] or "").ljust(COIN_DECIMALS, "0"))
        elif len(value) <= _AMOUNT_CHARS_MAX and _UNITS.fullmatch(value):
            amount = int(value)
        else:
            wanted = (
                f"an integer of smallest units, or coins with at most {COIN_DECIMALS} decimals: 2.5{COIN}"
            )
            self.fail(f"expected {wanted}, got {value[:_AMOUNT_CHARS_MAX]!r}", param, ctx)
        if amount > AMOUNT_MAX:
            self.fail(f"expected at most {AMOUNT_MAX} smallest units, got {amount}", param, ctx)
        return amount


class HexType(click.ParamType[bytes]):
    """So many bytes as hex digits."""

    name = "hex"

    def __init__(self, size: int) -> None:
        self._size = size

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """The bytes."""
        if isinstance(value, bytes):
            return value
        if len(value) != 2 * self._size or not _HEX.fullmatch(value):
            self.fail(f"expected {2 * self._size} hex digits, got {len(value)} characters", param, ctx)
        return bytes.fromhex(value)


def _where(text: str) -> Where:
    return text if text.startswith(("http://", "https://")) else Path(text)


AMOUNT: Final = AmountType()
DIGEST: Final = HexType(32)
PATH: Final = click.Path(path_type=Path)
U32: Final = click.IntRange(0, 2**32 - 1)
U64: Final = click.IntRange(0, 2**64 - 1)

where_argument = click.argument("where", metavar="DIR|URL", type=_where)

url_option = click.option("--url", help="Ask the node whose API is there.  [default: DIR's, if it runs]")

folder_argument = click.argument("folder", metavar="DIR", type=PATH)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")

password_option = click.option(
    "--password-file",
    type=PATH,
    help="Read the password from the first line of this file, instead of asking for it.",
)


def new_password_options(command: _Command) -> _Command:
    """How a key is to be encrypted."""
    command = click.option(
        "--no-password", is_flag=True, help="Do not encrypt the key: whoever reads its file has it."
    )(command)
    return password_option(command)


def modules_of_text(text: str) -> tuple[str, ...]:
    """Names of modules between commas. ConfigError if one is not known."""
    from cherrydag.execution.catalogue import modules_of

    names = tuple(name.strip() for name in text.split(",") if name.strip())
    modules_of(names)
    return names
