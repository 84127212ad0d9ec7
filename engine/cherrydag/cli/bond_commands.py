"""Commands for operators of nodes: what a vertex key has at stake."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cherrydag.cli.exits import Exit
from cherrydag.cli.operating import (
    Signing,
    check_has_bonds,
    home_of,
    operated,
    operator_of,
    possession_of,
    signing_options,
)
from cherrydag.cli.options import (
    AMOUNT,
    PATH,
    HexType,
    Where,
    folder_argument,
    json_option,
    url_option,
    where_argument,
)
from cherrydag.cli.output import amount_text, note, print_fields, print_json, print_table, time_text

if TYPE_CHECKING:
    from cherrydag.cli.reaching import Reached
    from cherrydag.primitives import PublicKey
    from cherrydag.runtime.lookups import BondState

_amount_option = click.option(
    "--amount", type=AMOUNT, required=True, help="Smallest units, or coins with their unit: 100coin."
)
_operator_option = click.option(
    "--operator", metavar="KEY|DIR", help="The node's public key, or its folder.  [default: DIR]"
)


# Placing and taking back


@click.command()
@where_argument
@_amount_option
@_operator_option
@click.option(
    "--possession", type=HexType(64), help="What `possession` has printed, where the node's folder is not."
)
@click.option("--operator-password-file", type=PATH, help="As --password-file, of the node's key.")
@signing_options
@json_option
def bond(
    where: Where,
    amount: int,
    operator: str | None,
    possession: bytes | None,
    operator_password_file: Path | None,
    signing: Signing,
    as_json: bool,
) -> int:
    """Lock coins for a node's key, so that it may issue vertices; more is added to what is there.

    The node begins once this is final. It must run with node.role = "operator"; without a bond it issues
    nothing, so that --url names another one for the first. The owner takes the coins back with `unbond` and
    `withdraw`; if the node's key signs two vertices under one number, they are lost.
    """
    from cherrydag.address import address_of
    from cherrydag.cli.reaching import reached
    from cherrydag.execution.bonds import BondKind, encode_bond

    with reached(where, signing.url, quiet=as_json, hands_in=True) as found:
        check_has_bonds(found)
        key = signing.key(found)
        public_key = operator_of(where, operator)
        if possession is None:
            home = home_of(where, operator)
            possession = possession_of(home, address_of(key.public_key), operator_password_file)
        body = encode_bond(public_key, possession)
        done = operated(found, where, key, BondKind.BOND, body, amount=amount, fee=signing.fee)
        return _tell(found, public_key, done, as_json)


@click.command()
@folder_argument
@click.argument("owner", metavar="ADDRESS")
@click.option("--password-file", type=PATH, help="Read the password of the node's key from this file.")
@json_option
def possession(folder: Path, owner: str, password_file: Path | None, as_json: bool) -> None:
    """Sign with the key of the node in DIR that the owner of ADDRESS may bond it, wherever his keys are."""
    from cherrydag.address import decode_address
    from cherrydag.runtime.home import Home

    home = Home.load(folder)
    signature = possession_of(home, decode_address(owner, home.genesis.network), password_file)
    operator = operator_of(folder, None).hex()
    if as_json:
        print_json({"operator": operator, "possession": signature.hex()})
        return
    print_fields({"operator": operator, "possession": signature.hex()})


@click.command()
@where_argument
@_amount_option
@_operator_option
@signing_options
@json_option
def unbond(
    where: Where,
    amount: int,
    operator: str | None,
    signing: Signing,
    as_json: bool,
) -> int:
    """Have coins of a bond count no more; they may be withdrawn, and still be lost, a week later.

    Once this is final the node issues as much less, or nothing.
    """
    from cherrydag.cli.reaching import reached
    from cherrydag.execution.bonds import BondKind

    with reached(where, signing.url, quiet=as_json, hands_in=True) as found:
        check_has_bonds(found)
        key = signing.key(found)
        public_key = operator_of(where, operator)
        done = operated(found, where, key, BondKind.UNBOND, public_key, amount=amount, fee=signing.fee)
        return _tell(found, public_key, done, as_json)


@click.command()
@where_argument
@_operator_option
@signing_options
@json_option
def withdraw(
    where: Where,
    operator: str | None,
    signing: Signing,
    as_json: bool,
) -> int:
    """Take back what leaves a bond, once its time is over."""
    from cherrydag.cli.reaching import reached
    from cherrydag.execution.bonds import BondKind

    with reached(where, signing.url, quiet=as_json, hands_in=True) as found:
        check_has_bonds(found)
        key = signing.key(found)
        public_key = operator_of(where, operator)
        done = operated(found, where, key, BondKind.WITHDRAW, public_key, fee=signing.fee)
        return _tell(found, public_key, done, as_json)


# Looking


@click.command()
@where_argument
@_operator_option
@url_option
@json_option
def bonds(where: Where, operator: str | None, url: str | None, as_json: bool) -> None:
    """Print what operators have at stake, and of a node's folder what its own key has.

    With --operator of one alone. Quota: uncommitted vertices that it may have at a time.
    """
    from cherrydag.cli.reaching import reached

    with reached(where, url, quiet=as_json) as found:
        check_has_bonds(found)
        if operator is not None:
            state = found.ledger.bond(operator_of(where, operator))
            document = _document(found, state)
            if as_json:
                print_json(document)
            else:
                print_fields(_fields(document))
            return
        page = found.ledger.bonds()
        listed = list(page.bonds)
        while page.cursor is not None:
            page = found.ledger.bonds(page.cursor)
            listed += page.bonds
        documents = [_document(found, state) for state in listed]
        own = _document(found, found.ledger.bond(operator_of(where, None))) if found.home else None
    if as_json:
        print_json({"bonds": documents, "own": own, "burned": str(page.totals.burned)})
        return
    if documents:
        rows = [tuple(_fields(one).values()) for one in documents]
        print_table(tuple(_fields(documents[0])), rows, right=("active", "quota", "leaving"))
    count = f"{len(documents)} {'bond' if len(documents) == 1 else 'bonds'}"
    click.echo(f"{count}; burned so far: {amount_text(page.totals.burned)}")
    if own is not None:
        told = "was slashed" if own["slashed"] else "has a bond" if own["owner"] else "has no bond"
        click.echo(f"the key of this node, {own['operator']}, {told}")


def _document(found: "Reached", state: "BondState") -> dict[str, Any]:
    """What a key has at stake, as JSON has it."""
    from cherrydag.address import encode_address
    from cherrydag.execution.bonds import quota_of

    held = state.bond
    return {
        "operator": state.operator.hex(),
        "owner": None if held is None else encode_address(held.owner, found.genesis.network),
        "active": str(0 if held is None else held.active),
        "quota": 0 if held is None else quota_of(held.active),
        "leaving": str(0 if held is None else held.leaving),
        "ready_s": None if held is None or not held.leaving else held.ready_s,
        "slashed": state.is_slashed,
    }


def _fields(document: dict[str, Any]) -> dict[str, object]:
    """The same for people."""
    ready_s = document["ready_s"]
    return {
        "operator": document["operator"],
        "owner": document["owner"] or ("none: slashed" if document["slashed"] else "none"),
        "active": amount_text(int(document["active"])),
        "quota": document["quota"],
        "leaving": amount_text(int(document["leaving"])),
        "withdrawn from": "-" if ready_s is None else time_text(ready_s),
    }


# Shared


def _tell(found: "Reached", operator: "PublicKey", done: dict[str, Any], as_json: bool) -> int:
    """What became of an operation, and how the bond stands now."""
    document = _document(found, found.ledger.bond(operator))
    del done["events"]
    if as_json:
        print_json(done | {"bond": document})
    else:
        shown = {name: done[name] for name in ("id", "status", "refusal") if done[name]}
        print_fields(shown | _fields(document))
    if done["status"] == "applied":
        return Exit.OK
    note(f"error: it had no effect [{done['refusal'] or done['status']}]")
    return Exit.REJECTED


COMMANDS: Final = (bond, unbond, withdraw, bonds, possession)
