"""Who signs what a command hands in, and operations on bonds, as several commands do them."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from cherrydag.cli.options import PATH, U64, Where, password_option, url_option
from cherrydag.cli.passwords import with_password
from cherrydag.cli.settling import final_of

if TYPE_CHECKING:
    from cherrydag.cli.reaching import Reached
    from cherrydag.primitives import Address, PublicKey
    from cherrydag.runtime.home import Home
    from cherrydag.signing import KeyPair

_KEY_DIGITS: Final = 64

_ISSUES_NOTHING: Final = ("operator_unbonded", "node_issues_nothing")
"""Codes of a node that runs and cannot hand in anything itself."""


class Signing(NamedTuple):
    """Who signs, and what is paid. sender: the name of a key. fee: None for the chain's least. url: of the
    node that takes it, if that is not the folder's own."""

    sender: str
    fee: int | None
    password_file: Path | None
    keystore: Path | None
    url: str | None

    def key(self, found: "Reached") -> "KeyPair":
        """Who signs and pays."""
        keys = found.keystore(self.keystore)
        return with_password(self.password_file, lambda password: keys.load(self.sender, password))


def signing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that the command gets as `signing`."""

    @wraps(command)
    def signed(
        *words: Any,
        sender: str,
        fee: int | None,
        password_file: Path | None,
        keystore: Path | None,
        url: str | None,
        **rest: Any,
    ) -> Any:
        return command(*words, signing=Signing(sender, fee, password_file, keystore, url), **rest)

    for option in (
        url_option,
        click.option("--keystore", type=PATH, help="A folder of keys, instead of DIR's."),
        password_option,
        click.option("--fee", type=U64, help="In smallest units.  [default: the chain's least]"),
        click.option(
            "--from", "sender", required=True, metavar="NAME", help="A key in DIR, or in --keystore."
        ),
    ):
        signed = option(signed)
    return signed


def check_has_bonds(found: "Reached") -> None:
    """ConfigError unless the chain has operators."""
    from cherrydag.errors import ConfigError

    if "bonds" not in found.genesis.modules:
        raise ConfigError(f"{found.genesis.name}: this chain has no module 'bonds', so no operators")


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
    if operator is not None and not folder.is_dir():
        raise click.UsageError(
            f"--operator: expected {_KEY_DIGITS} hex digits or a node's folder, got {operator!r}"
        )
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
    found: "Reached",
    where: Where,
    key: "KeyPair",
    kind: int,
    body: bytes,
    *,
    fee: int | None,
    amount: int = 0,
) -> dict[str, Any]:
    """Hand in an operation; what became of it, and why it was refused, if it was."""
    from cherrydag.errors import Rejected

    try:
        submission = found.ledger.operate(key, kind, body, amount=amount, fee=found.fee(fee))
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
