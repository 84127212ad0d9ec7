"""Commands about keys: `cherrydag keys`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from cherrydag.cli.options import PATH, json_option, new_password_options, password_option
from cherrydag.cli.output import note, print_fields, print_json, print_table
from cherrydag.cli.passwords import new_password, with_password

if TYPE_CHECKING:
    from cherrydag.address import Network
    from cherrydag.keystore import Keystore, StoredKey

_Command = TypeVar("_Command", bound=Callable[..., Any])

_SECRET_CHARS_MAX: Final = 4096
_SEED_DIGITS: Final = 64

_name_argument = click.argument("name")
_yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


class _Keys(NamedTuple):
    """A keystore, and the network whose addresses its keys are shown with."""

    store: "Keystore"
    network: "Network"

    def fields(self, key: "StoredKey") -> dict[str, Any]:
        """A key as JSON has it."""
        from cherrydag.address import encode_address

        return {
            "name": key.name,
            "address": encode_address(key.address, self.network),
            "public_key": key.public_key.hex(),
            "encrypted": key.is_encrypted,
        }


def _keystore_options(command: _Command) -> _Command:
    for option in (
        click.option("--network", help="Whose addresses to show, with --keystore.  [default: devcherry]"),
        click.option("--keystore", type=PATH, help="A folder of keys."),
        click.option("--home", type=PATH, help="A ledger's folder, whose keys are meant."),
    ):
        command = option(command)
    return command


def _opened(home: Path | None, keystore: Path | None, network: str | None) -> _Keys:
    from cherrydag.address import Network
    from cherrydag.keystore import Keystore
    from cherrydag.runtime.home import Home

    if (home is None) == (keystore is None):
        raise click.UsageError("give one of --home and --keystore")
    if network is not None and network not in list(Network):
        raise click.UsageError(f"--network: expected one of {', '.join(Network)}, got {network!r}")
    if keystore is not None:
        return _Keys(Keystore(keystore), Network(network or Network.DEV))
    if network is not None:
        raise click.UsageError("--network: the genesis of --home says it")
    found = Home.load(home or Path())
    return _Keys(found.keystore, found.genesis.network)


def _print_key(fields: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(fields)
        return
    shown = {"encrypted": "yes" if fields["encrypted"] else "no"}
    print_fields({name.replace("_", " "): value for name, value in (fields | shown).items()})


@click.group()
def keys() -> None:
    """Make, list, import, export and delete keys.

    They are files of a folder, one each, encrypted with a password or not.
    """


@keys.command("new")
@_name_argument
@_keystore_options
@new_password_options
@json_option
def new(
    name: str,
    home: Path | None,
    keystore: Path | None,
    network: str | None,
    password_file: Path | None,
    no_password: bool,
    as_json: bool,
) -> None:
    """Make a new key. NAME: lower case letters, digits, - and _."""
    found = _opened(home, keystore, network)
    key = found.store.create(name, new_password(password_file, no_password))
    _print_key(found.fields(key), as_json)


@keys.command("list")
@_keystore_options
@json_option
def list_(home: Path | None, keystore: Path | None, network: str | None, as_json: bool) -> None:
    """List the keys. No password is needed."""
    found = _opened(home, keystore, network)
    listed = [found.fields(key) for key in found.store.list_keys()]
    if as_json:
        print_json(listed)
    elif not listed:
        click.echo("no keys")
    else:
        rows = [
            (key["name"], "yes" if key["encrypted"] else "no", key["address"], key["public_key"])
            for key in listed
        ]
        print_table(("name", "encrypted", "address", "public key"), rows)


@keys.command("import")
@_name_argument
@_keystore_options
@new_password_options
@json_option
def import_(
    name: str,
    home: Path | None,
    keystore: Path | None,
    network: str | None,
    password_file: Path | None,
    no_password: bool,
    as_json: bool,
) -> None:
    """Keep a key that is known by its 24 words, or 64 hex digits, which are read from stdin."""
    from cherrydag.keystore import seed_of_hex, seed_of_words

    found = _opened(home, keystore, network)
    if sys.stdin.isatty():
        text = click.prompt("24 words, or 64 hex digits", hide_input=True, err=True)
    else:
        if password_file is None and not no_password:
            raise click.UsageError("stdin has the words: give --password-file or --no-password")
        text = sys.stdin.read(_SECRET_CHARS_MAX)
    is_hex = len(text.split()) == 1 and len(text.strip()) == _SEED_DIGITS
    seed = seed_of_hex(text) if is_hex else seed_of_words(text)
    key = found.store.add(name, seed, new_password(password_file, no_password))
    _print_key(found.fields(key), as_json)


@keys.command("export")
@_name_argument
@_keystore_options
@password_option
@click.option("--hex", "as_hex", is_flag=True, help="Print 64 hex digits instead of 24 words.")
@_yes_option
@json_option
def export(
    name: str,
    home: Path | None,
    keystore: Path | None,
    network: str | None,
    password_file: Path | None,
    as_hex: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Print the secret of a key, to write it down: who has it, has the key."""
    from cherrydag.keystore import words_of

    found = _opened(home, keystore, network)
    if not yes:
        question = f"Print the secret of {name}? Whoever sees it can spend what the key owns."
        click.confirm(question, abort=True, err=True)
    seed = with_password(password_file, lambda password: found.store.export(name, password))
    secret = seed.hex() if as_hex else words_of(seed)
    if as_json:
        print_json({"name": name, "hex" if as_hex else "words": secret})
    else:
        click.echo(secret)


@keys.command("delete")
@_name_argument
@_keystore_options
@_yes_option
@json_option
def delete(
    name: str, home: Path | None, keystore: Path | None, network: str | None, yes: bool, as_json: bool
) -> None:
    """Delete a key. Without its words elsewhere, what it owns is lost."""
    found = _opened(home, keystore, network)
    if not yes:
        question = f"Delete {name}? What it owns is lost, unless its words are kept elsewhere."
        click.confirm(question, abort=True, err=True)
    found.store.delete(name)
    if as_json:
        print_json({"name": name, "deleted": True})
    else:
        note(f"{name} is deleted")


@keys.command("passwd")
@_name_argument
@_keystore_options
@password_option
@click.option(
    "--new-password-file", type=PATH, help="Read the new password from the first line of this file."
)
@click.option("--no-password", is_flag=True, help="Encrypt the key no more.")
@json_option
def passwd(
    name: str,
    home: Path | None,
    keystore: Path | None,
    network: str | None,
    password_file: Path | None,
    new_password_file: Path | None,
    no_password: bool,
    as_json: bool,
) -> None:
    """Change the password of a key, or take it away."""
    found = _opened(home, keystore, network)

    def change(password: str | None) -> str | None:
        found.store.export(name, password)  # a wrong password is told before a new one is asked for
        new = new_password(new_password_file, no_password)
        found.store.change_password(name, password, new)
        return new

    new_one = with_password(password_file, change)
    if as_json:
        print_json({"name": name, "encrypted": new_one is not None})
    else:
        note(f"{name} {'has a new password' if new_one is not None else 'is not encrypted any more'}")
