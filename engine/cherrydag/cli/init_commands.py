"""The command that makes a ledger's folder: a chain of its own, or a node of a chain that others share."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cherrydag.cli.options import (
    AMOUNT,
    DIGEST,
    PATH,
    folder_argument,
    json_option,
    modules_of_text,
    password_option,
)
from cherrydag.cli.output import amount_text, print_fields, print_json
from cherrydag.cli.passwords import read_password

if TYPE_CHECKING:
    from cherrydag.runtime.home import Home

_MODULES = "anchor,assets,multisig"


@click.command()
@folder_argument
@click.option("--supply", type=AMOUNT, help="What the treasury begins with.  [default: 1_000_000_000coin]")
@click.option("--modules", help=f"Between commas; may be ''.  [default: {_MODULES}]")
@click.option("--name", help="Of the chain.  [default: solo]")
@click.option("--genesis", "genesis_file", type=PATH, help="Of the chain to be a node of.")
@click.option("--digest", type=DIGEST, help="What the digest of that genesis must be.")
@click.option("--keystore", type=PATH, help="Where the node's key is; it is copied as it is.")
@click.option("--key", "key_name", metavar="NAME", help="Its name there.  [default: validator]")
@password_option
@json_option
def init(
    folder: Path,
    supply: int | None,
    modules: str | None,
    name: str | None,
    genesis_file: Path | None,
    digest: bytes | None,
    keystore: Path | None,
    key_name: str | None,
    password_file: Path | None,
    as_json: bool,
) -> None:
    """Make a new solo ledger in DIR, or with --genesis a node of a chain that several run.

    \b
    A solo ledger gets a genesis, its keys and an empty database. The whole supply goes to a
    new key, "treasury". The keys are not encrypted: keep DIR to yourself.

    \b
    A network, from nothing:
      cherrydag keys new validator --keystore KEYS     each, who then tells the public key
      cherrydag genesis new FILE --name ... --validator ... --host ... --allocate ...   one
      cherrydag init DIR --genesis FILE --digest HEX --keystore KEYS                    each
      cherrydag run DIR                                                                 each

    Without --keystore the node gets a new key, encrypted if --password-file is given: it follows the chain
    and validates nothing. A validator's key must never have signed: not in another folder, nor a lost one.
    """
    if genesis_file is None:
        given = {
            "--digest": digest,
            "--keystore": keystore,
            "--key": key_name,
            "--password-file": password_file,
        }
        _refuse(given, "only with --genesis")
        _print_solo(_solo(folder, supply, modules, name), as_json)
        return
    _refuse({"--supply": supply, "--modules": modules, "--name": name}, "the genesis says it")
    if key_name is not None and keystore is None:
        raise click.UsageError("--key: only with --keystore")
    if keystore is not None and password_file is not None:
        raise click.UsageError("--password-file: a key of --keystore keeps the password that it has")
    password = None if password_file is None else read_password(password_file)
    home = _node(folder, genesis_file, digest, keystore, key_name or "validator", password)
    _print_node(home, as_json)


def _refuse(given: Mapping[str, object], why: str) -> None:
    for option, value in given.items():
        if value is not None:
            raise click.UsageError(f"{option}: {why}")


def _solo(folder: Path, supply: int | None, modules: str | None, name: str | None) -> "Home":
    from cherrydag.cli.checking import identity_of
    from cherrydag.primitives import Amount, TimestampMs
    from cherrydag.runtime.home import SOLO_SUPPLY, create_solo
    from cherrydag.storage.lmdb import LmdbStore

    home = create_solo(
        folder,
        created_ms=TimestampMs(time.time_ns() // 1_000_000),
        supply=SOLO_SUPPLY if supply is None else Amount(supply),
        modules=modules_of_text(_MODULES if modules is None else modules),
        name="solo" if name is None else name,
    )
    LmdbStore(home.data, identity_of(home)).close()
    return home


def _node(
    folder: Path,
    genesis_file: Path,
    digest: bytes | None,
    keystore: Path | None,
    key_name: str,
    password: str | None,
) -> "Home":
    from cherrydag import genesis_file as genesis_files
    from cherrydag.cli.checking import identity_of
    from cherrydag.errors import ConfigError
    from cherrydag.execution.catalogue import modules_of
    from cherrydag.keystore import Keystore
    from cherrydag.runtime.home import create_node
    from cherrydag.storage.lmdb import LmdbStore

    genesis = genesis_files.load(genesis_file)
    modules_of(genesis.modules)
    if digest is not None and digest != genesis.digest:
        raise ConfigError(
            f"{genesis_file}: expected digest {digest.hex()}, its content has {genesis.digest.hex()}"
        )
    source = None if keystore is None else (Keystore(keystore), key_name)
    home = create_node(folder, genesis, source, password)
    LmdbStore(home.data, identity_of(home)).close()
    return home


def _print_solo(home: "Home", as_json: bool) -> None:
    from cherrydag.address import encode_address

    genesis = home.genesis
    treasury = encode_address(genesis.allocations[0].address, genesis.network)
    if as_json:
        print_json(
            {
                "folder": str(home.folder),
                "genesis_digest": genesis.digest.hex(),
                "treasury": treasury,
                "supply": str(genesis.supply),
                "modules": list(genesis.modules),
            }
        )
        return
    print_fields(
        {
            "ledger": home.folder,
            "genesis": genesis.digest.hex(),
            "treasury": treasury,
            "supply": amount_text(genesis.supply),
            "modules": ", ".join(genesis.modules) or "none",
        }
    )


def _print_node(home: "Home", as_json: bool) -> None:
    from cherrydag.cli.solo import find_key
    from cherrydag.config import own_validator
    from cherrydag.runtime.home import VALIDATOR

    key = find_key(home.keystore, VALIDATOR)
    own = own_validator(home.genesis, key.public_key)
    if as_json:
        print_json(
            {
                "folder": str(home.folder),
                "genesis_digest": home.genesis.digest.hex(),
                "public_key": key.public_key.hex(),
                "validator": None if own is None else own.name,
                "hosts": [] if own is None else list(own.hosts),
            }
        )
        return
    print_fields(
        {
            "ledger": home.folder,
            "genesis": home.genesis.digest.hex(),
            "public key": key.public_key.hex(),
            "validator": "none: it follows" if own is None else own.name,
            "run it": f"cherrydag run {home.folder}",
        }
    )
