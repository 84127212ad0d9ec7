"""Commands about the genesis of a chain: `cherrydag genesis`."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from cherrydag.cli.options import AMOUNT, DIGEST, PATH, U64, json_option, modules_of_text
from cherrydag.cli.output import amount_text, print_fields, print_json, print_table, time_text

if TYPE_CHECKING:
    from cherrydag.address import Network
    from cherrydag.genesis import Allocation, Genesis, Validator

_SHOWN_MAX: Final = 20
"""Allocations that are shown to people; programs get them all."""

_file_argument = click.argument("file", type=PATH)


@click.group()
def genesis() -> None:
    """Write, show and verify a chain's genesis.

    It says who validates, who owns what, and which rules all nodes share. Its digest is the chain's identity.
    """


@genesis.command()
@_file_argument
@click.option("--name", required=True, help="Of the chain.")
@click.option("--network", default="devcherry", show_default=True, help="Prefix of its addresses.")
@click.option(
    "--validator",
    "validators",
    multiple=True,
    required=True,
    metavar="NAME:KEYHEX:STAKE",
    help="May be repeated.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME=HOST:PORT",
    help="Where a validator is reached; may be repeated.",
)
@click.option(
    "--allocate",
    "allocations",
    multiple=True,
    required=True,
    metavar="ADDRESS=AMOUNT",
    help="Who begins with what; may be repeated.",
)
@click.option(
    "--modules", default="anchor,assets,multisig", show_default=True, help="Between commas; may be ''."
)
@click.option("--created-ms", type=U64, help="Unix time in milliseconds.  [default: now]")
@json_option
def new(
    file: Path,
    name: str,
    network: str,
    validators: tuple[str, ...],
    hosts: tuple[str, ...],
    allocations: tuple[str, ...],
    modules: str,
    created_ms: int | None,
    as_json: bool,
) -> None:
    """Write a new genesis to FILE, pinned to its digest.

    For other rules than the usual ones, delete its digest, edit [chain] and [ledger], and ask `verify` for
    the digest that it has then.
    """
    from cherrydag import genesis_file
    from cherrydag.address import Network
    from cherrydag.errors import ConfigError
    from cherrydag.genesis import Genesis
    from cherrydag.primitives import TimestampMs

    if network not in list(Network):
        raise click.UsageError(f"--network: expected one of {', '.join(Network)}, got {network!r}")
    made = Genesis(
        name,
        Network(network),
        TimestampMs(time.time_ns() // 1_000_000 if created_ms is None else created_ms),
        _validators(validators, hosts),
        _allocations(allocations, Network(network)),
        modules_of_text(modules),
    )
    if file.exists():
        raise ConfigError(f"{file}: it is there already")
    _write(file, genesis_file.dumps(made))
    if as_json:
        print_json({"file": str(file), "digest": made.digest.hex(), "supply": str(made.supply)})
    else:
        print_fields({"file": file, "digest": made.digest.hex(), "supply": amount_text(made.supply)})


def _validators(texts: Sequence[str], hosts: Sequence[str]) -> tuple["Validator", ...]:
    from cherrydag.genesis import Validator
    from cherrydag.primitives import PublicKey, Stake

    places: dict[str, list[str]] = {}
    for text in hosts:
        name, equals, host = text.rpartition("=")
        if not equals:
            raise click.UsageError(f"--host: expected NAME=HOST:PORT, got {text!r}")
        places.setdefault(name, []).append(host)
    found = []
    for text in texts:
        parts = text.rsplit(":", 2)
        if len(parts) != 3 or not parts[2].isdecimal():
            raise click.UsageError(f"--validator: expected NAME:KEYHEX:STAKE, got {text!r}")
        key = DIGEST.convert(parts[1], None, None)
        stake = Stake(AMOUNT.convert(parts[2], None, None))
        found.append(Validator(parts[0], PublicKey(key), stake, tuple(places.pop(parts[0], ()))))
    for name in places:
        raise click.UsageError(f"--host: there is no validator {name!r}")
    return tuple(found)


def _allocations(texts: Sequence[str], network: "Network") -> tuple["Allocation", ...]:
    from cherrydag.address import decode_address
    from cherrydag.genesis import Allocation
    from cherrydag.primitives import Amount

    found = []
    for text in texts:
        address, equals, amount = text.partition("=")
        if not equals:
            raise click.UsageError(f"--allocate: expected ADDRESS=AMOUNT, got {text!r}")
        units = Amount(AMOUNT.convert(amount, None, None))
        found.append(Allocation(decode_address(address, network), units))
    return tuple(found)


def _write(file: Path, text: str) -> None:
    """Whole or not at all."""
    unfinished = file.with_name(f".{file.name}.new")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.rename(file)
    finally:
        unfinished.unlink(missing_ok=True)


@genesis.command()
@_file_argument
@json_option
def show(file: Path, as_json: bool) -> None:
    """Show what is in a genesis."""
    from cherrydag import genesis_file

    found = genesis_file.load(file)
    if as_json:
        print_json(_document(found))
    else:
        _print_genesis(found)


def _document(found: "Genesis") -> dict[str, object]:
    from dataclasses import asdict

    from cherrydag.address import encode_address

    return {
        "name": found.name,
        "network": str(found.network),
        "digest": found.digest.hex(),
        "created_ms": found.created_ms,
        "supply": str(found.supply),
        "modules": list(found.modules),
        "validators": [
            {
                "name": validator.name,
                "public_key": validator.public_key.hex(),
                "stake": str(validator.stake),
                "hosts": list(validator.hosts),
            }
            for validator in found.validators
        ],
        "allocations": {
            encode_address(address, found.network): str(amount) for address, amount in found.allocations
        },
        "chain": asdict(found.chain_params),
        "ledger": asdict(found.ledger_params),
    }


def _print_genesis(found: "Genesis") -> None:
    from dataclasses import asdict

    from cherrydag.address import encode_address

    rules = asdict(found.chain_params) | asdict(found.ledger_params)
    print_fields(
        {
            "name": found.name,
            "network": found.network,
            "digest": found.digest.hex(),
            "created": time_text(found.created_ms // 1000),
            "supply": amount_text(found.supply),
            "modules": ", ".join(found.modules) or "none",
            "rules": ", ".join(f"{name} {value:_}" for name, value in rules.items()),
        }
    )
    click.echo()
    rows = [
        (
            validator.name,
            f"{validator.stake:_}",
            validator.public_key.hex(),
            ", ".join(validator.hosts) or "-",
        )
        for validator in found.validators
    ]
    print_table(("validator", "stake", "public key", "hosts"), rows, right=("stake",))
    click.echo()
    held = [
        (encode_address(address, found.network), amount_text(amount))
        for address, amount in found.allocations[:_SHOWN_MAX]
    ]
    print_table(("allocation", "amount"), held, right=("amount",))
    if len(found.allocations) > _SHOWN_MAX:
        click.echo(f"and {len(found.allocations) - _SHOWN_MAX} more: --json has them all")


@genesis.command()
@_file_argument
@click.option("--digest", type=DIGEST, help="What the digest must be.  [default: the one in the file]")
@json_option
def verify(file: Path, digest: bytes | None, as_json: bool) -> None:
    """Check a genesis: its rules hold, its modules are known, its digest is the one that is pinned.

    Prints the digest, which is the chain's identity. A file without a digest fails unless one is given.
    """
    from cherrydag import genesis_file
    from cherrydag.errors import ConfigError
    from cherrydag.execution.catalogue import modules_of

    found = genesis_file.load(file)
    modules_of(found.modules)
    if digest is None and not _is_pinned(file):
        raise ConfigError(
            f"{file}: is not pinned, there is nothing to verify: its digest is {found.digest.hex()}"
        )
    if digest is not None and digest != found.digest:
        raise ConfigError(f"{file}: expected digest {digest.hex()}, its content has {found.digest.hex()}")
    if as_json:
        print_json({"digest": found.digest.hex(), "verified": True})
    else:
        click.echo(found.digest.hex())


def _is_pinned(file: Path) -> bool:
    """Whether a file that loads states its digest."""
    import tomllib

    return "digest" in tomllib.loads(file.read_text(encoding="utf-8"))
