"""Operations on bonds, as several commands hand them in."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from cherrydag.cli.options import PATH, U64, Where, password_option, url_option
from cherrydag.cli.passwords import with_password
from cherrydag.cli.settling import final_of

if TYPE_CHECKING:
    from cherrydag.cli.reaching import Reached
    from cherrydag.primitives import Address, PublicKey
    from cherrydag.runtime.home import Home
    from cherrydag.signing import KeyPair

_Command = TypeVar("_Command", bound=Callable[..., Any])

_KEY_DIGITS: Final = 64

_ISSUES_NOTHING: Final = ("operator_unbonded", "node_issues_nothing")
"""Codes of a node that runs and cannot hand in anything itself."""


def signing_options(command: _Command) -> _Command:
    """Who signs and pays the fee."""
    for option in (
        url_option,
        click.option("--keystore", type=PATH, help="A folder of keys, instead of DIR's."),
        password_option,
        click.option("--fee", type=U64, default=1, show_default=True, help="In smallest units."),
        click.option("--from", "sender", required=True, metavar="NAME", help="A key in DIR, or --keystore."),
    ):
        command = option(command)
    return command


def check_has_bonds(found: "Reached") -> None:
    """ConfigError unless the chain has operators."""
    from cherrydag.errors import ConfigError

    if "bonds" not in found.genesis.modules:
        raise ConfigError(f"{found.genesis.name}: this chain has no module 'bonds', so no operators")


def key_of(found: "Reached", name: str, keystore: Path | None, password_file: Path | None) -> "KeyPair":
    """Who signs and pays."""
    check_has_bonds(found)
    keys = found.keystore(keystore)
    return with_password(password_file, lambda password: keys.load(name, password))


def home_of(where: Where, operator: str | None) -> "Home":
    """The node's folder. UsageError if none is named."""
    from cherrydag.runtime.home import Home

    if operator is not None and not _is_key(operator):
        return Home.load(Path(operator))
    if operator is None and isinstance(where, Path):
        return Home.load(where)
    raise click.UsageError("--possession: needed where --operator is no node's folder, whose key could sign")


def operator_of(where: Where, operator: str | None) -> "PublicKey":
    """Whose bond is meant."""
    from cherrydag.cli.solo import find_key
    from cherrydag.primitives import PublicKey
    from cherrydag.runtime.home import VALIDATOR, Home

    if operator is not None and _is_key(operator):
        return PublicKey(bytes.fromhex(operator))
    if operator is None and isinstance(where, str):
        raise click.UsageError("--operator: needed with a URL")
    folder = Path(operator) if operator is not None else Path(where)
    return find_key(Home.load(folder).keystore, VALIDATOR).public_key


def _is_key(text: str) -> bool:
    return len(text) == _KEY_DIGITS and all(char in "0123456789abcdefABCDEF" for char in text)


def possession_of(home: "Home", owner: "Address", password_file: Path | None) -> bytes:
    """A node's key says that this owner may bond it."""
    from cherrydag.execution.bonds import possession_digest
    from cherrydag.runtime.home import VALIDATOR
    from cherrydag.signing import sign_digest

    key = with_password(password_file, lambda password: home.key(VALIDATOR, password))
    return sign_digest(possession_digest(key.public_key, owner), key)


def operated(
    found: "Reached", where: Where, key: "KeyPair", kind: int, body: bytes, *, fee: int, amount: int = 0
) -> dict[str, Any]:
    """Hand in an operation; what became of it, and why it was refused, if it was."""
    from cherrydag.errors import Rejected

    try:
        submission = found.ledger.operate(key, kind, body, amount=amount, fee=fee)
    except Rejected as refusal:
        if refusal.code not in _ISSUES_NOTHING:
            raise
        raise Rejected(refusal.code, f"{refusal}; --url names another node that takes it") from refusal
    final = final_of(submission, where)
    receipt = found.ledger.receipt(submission.id())
    operation = None if receipt is None else receipt.operation
    final["refusal"] = (operation.refusal or None) if operation is not None else None
    events = () if operation is None else operation.events
    final["events"] = [
        {name: value for name, value in event.fields.items() if isinstance(value, int)} for event in events
    ]
    return final
