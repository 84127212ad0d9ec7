"""Commands that make a solo ledger, pay with it and look into it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cherrydag.cli.exits import Exit
from cherrydag.cli.options import (
    AMOUNT,
    DIGEST,
    U32,
    U64,
    folder_argument,
    json_option,
    modules_of_text,
    password_option,
)
from cherrydag.cli.output import (
    amount_text,
    bytes_text,
    note,
    print_fields,
    print_json,
    print_table,
    time_text,
)
from cherrydag.cli.passwords import with_password

if TYPE_CHECKING:
    from cherrydag.ledger import Ledger
    from cherrydag.runtime.home import Home
    from cherrydag.runtime.lookups import HistoryItem, HistoryPage
    from cherrydag.runtime.submissions import Submission
    from cherrydag.signing import KeyPair

_PAGE: Final = 20
_PAGE_MAX: Final = 1000

_owner_argument = click.argument("owner")
_asset_option = click.option("--asset", type=U32, default=0, help="Number of an asset; 0 is the native coin.")


@click.command()
@folder_argument
@click.option("--supply", type=AMOUNT, help="What the treasury begins with.  [default: 1_000_000_000coin]")
@click.option(
    "--modules", default="anchor,assets,multisig", show_default=True, help="Between commas; may be ''."
)
@click.option("--name", default="solo", show_default=True, help="Of the chain.")
@json_option
def init(folder: Path, supply: int | None, modules: str, name: str, as_json: bool) -> None:
    """Make a new solo ledger in DIR.

    It gets a genesis, its keys and an empty database. The whole supply goes to a new key, "treasury".
    The keys are not encrypted: keep DIR to yourself.
    """
    from cherrydag.address import encode_address
    from cherrydag.cli.checking import identity_of
    from cherrydag.primitives import Amount, TimestampMs
    from cherrydag.runtime.home import SOLO_SUPPLY, create_solo
    from cherrydag.storage.lmdb import LmdbStore

    home = create_solo(
        folder,
        created_ms=TimestampMs(time.time_ns() // 1_000_000),
        supply=SOLO_SUPPLY if supply is None else Amount(supply),
        modules=modules_of_text(modules),
        name=name,
    )
    LmdbStore(home.data, identity_of(home)).close()
    genesis = home.genesis
    treasury = encode_address(genesis.allocations[0].address, genesis.network)
    if as_json:
        print_json(
            {
                "folder": str(folder),
                "genesis_digest": genesis.digest.hex(),
                "treasury": treasury,
                "supply": str(genesis.supply),
                "modules": list(genesis.modules),
            }
        )
        return
    print_fields(
        {
            "ledger": folder,
            "genesis": genesis.digest.hex(),
            "treasury": treasury,
            "supply": amount_text(genesis.supply),
            "modules": ", ".join(genesis.modules) or "none",
        }
    )


@click.command()
@folder_argument
@_owner_argument
@_asset_option
@json_option
def balance(folder: Path, owner: str, asset: int, as_json: bool) -> None:
    """Print the balance of an account.

    OWNER: an address, or a key in DIR by its name. 0 if there is no such account.
    """
    from cherrydag.cli.solo import opened, owner_text

    with opened(folder, quiet=as_json) as (home, ledger):
        address = owner_text(home, owner)
        found = ledger.balance(address, asset)
    if as_json:
        print_json({"address": address, "asset": asset, "balance": str(found)})
    else:
        click.echo(amount_text(found, asset))


@click.command()
@folder_argument
@_owner_argument
@json_option
def account(folder: Path, owner: str, as_json: bool) -> None:
    """Print balance, next nonce and flags of an account.

    OWNER: an address, or a key in DIR by its name.
    """
    from cherrydag.cli.solo import opened, owner_text

    with opened(folder, quiet=as_json) as (home, ledger):
        address = owner_text(home, owner)
        found = ledger.account(address)
    if as_json:
        print_json(
            {
                "address": address,
                "balance": str(found.balance),
                "next_nonce": found.next_nonce,
                "flags": found.flags,
                "commit": found.commit_index,
            }
        )
        return
    print_fields(
        {
            "address": address,
            "balance": amount_text(found.balance),
            "next nonce": found.next_nonce,
            "flags": found.flags,
            "as of commit": found.commit_index,
        }
    )


@click.command()
@folder_argument
@_owner_argument
@click.option(
    "--limit", type=click.IntRange(1, _PAGE_MAX), default=_PAGE, show_default=True, help="Most items."
)
@click.option("--cursor", type=U64, help="Where the page before has ended.")
@json_option
def history(folder: Path, owner: str, limit: int, cursor: int | None, as_json: bool) -> None:
    """Print the transactions of an account, newest first.

    OWNER: an address, or a key in DIR by its name.
    """
    from cherrydag.cli.solo import opened, owner_text

    with opened(folder, quiet=as_json) as (home, ledger):
        address = owner_text(home, owner)
        page = ledger.history(address, limit, cursor)
    items = [_item(home, item) for item in page.items]
    if as_json:
        print_json({"address": address, "items": items, "cursor": page.cursor})
        return
    _print_history(address, items, page)


def _item(home: "Home", item: "HistoryItem") -> dict[str, Any]:
    """A transaction as JSON has it."""
    from cherrydag.address import address_of
    from cherrydag.cli.names import kind_name, status_name
    from cherrydag.cli.solo import address_text
    from cherrydag.primitives import Address, PublicKey
    from cherrydag.transaction import amounts, as_records

    records = as_records(item.record)
    (record,) = records
    return {
        "id": item.transaction_id.hex(),
        "commit": item.place.commit_index,
        "position": item.place.position,
        "time_s": item.time_s,
        "status": status_name(item.status),
        "kind": kind_name(int(record["kind"])),
        "sender": address_text(home, address_of(PublicKey(record["sender"].tobytes()))),
        "recipient": address_text(home, Address(record["recipient"].tobytes()))
        if record["recipient"].any()
        else None,
        "asset": int(record["asset"]),
        "amount": str(amounts(records)[0]),
        "fee": str(record["fee"]),
        "nonce": int(record["nonce"]),
    }


def _print_history(address: str, items: list[dict[str, Any]], page: "HistoryPage") -> None:
    if not items:
        click.echo("no transactions")
        return
    rows = []
    for item in items:
        is_sender = item["sender"] == address
        way = "self" if item["recipient"] == address and is_sender else "out" if is_sender else "in"
        rows.append(
            (
                time_text(item["time_s"]),
                f"{item['commit']}/{item['position']}",
                way,
                amount_text(int(item["amount"]), item["asset"]),
                item["recipient"] if is_sender else item["sender"],
                item["kind"] if item["status"] == "applied" else f"{item['kind']}, {item['status']}",
                item["id"],
            )
        )
    names = ("time", "place", "way", "amount", "other party", "what", "id")
    print_table(names, [tuple(cell or "-" for cell in row) for row in rows], right=("amount",))
    if page.cursor is not None:
        click.echo(f"older ones: --cursor {page.cursor}")


@click.command()
@folder_argument
@click.argument("transaction_id", metavar="ID", type=DIGEST)
@json_option
def receipt(folder: Path, transaction_id: bytes, as_json: bool) -> None:
    """Print what became of a transaction."""
    from cherrydag.cli.names import status_name
    from cherrydag.cli.solo import opened
    from cherrydag.errors import Rejected

    with opened(folder, quiet=as_json) as (_, ledger):
        item, found = ledger.transaction(transaction_id), ledger.receipt(transaction_id)
    if (
        item is None or found is None or item.transaction_id != transaction_id
    ):  # it is found by half of its id
        raise Rejected("transaction_unknown", f"{transaction_id.hex()}: no final transaction has this id")
    fields: dict[str, object] = {
        "id": transaction_id.hex(),
        "status": status_name(found.status),
        "commit": found.place.commit_index,
        "position": found.place.position,
        "time_s": found.time_s,
        "vertex": found.vertex.digest.hex(),
        "row": found.row,
    }
    if found.operation is not None:
        fields["refusal"] = found.operation.refusal or None
        fields["events"] = [
            {"name": event.name, **{name: _plain(value) for name, value in event.fields.items()}}
            for event in found.operation.events
        ]
    if as_json:
        print_json(fields)
    else:
        del fields["time_s"]
        print_fields(fields | {"time": time_text(found.time_s)})


def _plain(value: Any) -> Any:
    """A field of an event for JSON, which has no bytes, and whose readers may not hold 128 bits."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, int) and abs(value) >= 2**53 else value


@click.command()
@folder_argument
@click.option("--from", "sender", required=True, metavar="NAME", help="A key in DIR.")
@click.option(
    "--to", "recipient", required=True, metavar="ADDRESS", help="An address, or a key in DIR by its name."
)
@click.option(
    "--amount", type=AMOUNT, required=True, help="Smallest units, or coins with their unit: 2.5coin."
)
@_asset_option
@click.option("--fee", type=U64, default=1, show_default=True, help="In smallest units.")
@click.option("--nonce", type=U64, help="Instead of the lowest that is free.")
@password_option
@json_option
def send(
    folder: Path,
    sender: str,
    recipient: str,
    amount: int,
    asset: int,
    fee: int,
    nonce: int | None,
    password_file: Path | None,
    as_json: bool,
) -> int:
    """Pay, and wait until it is final.

    Exit code 5 if the payment is refused, or final without effect: its status says why.
    """
    from cherrydag.cli.solo import opened, owner_text

    with opened(folder, quiet=as_json) as (home, ledger):
        key = with_password(password_file, lambda password: home.key(sender, password))
        to = owner_text(home, recipient)
        submission = ledger.transfer(key, to, amount, asset=asset, fee=fee, nonce=nonce)
        return _finish(ledger, submission, key, folder, as_json, f"{amount_text(amount, asset)} to {to}")


def _finish(
    ledger: "Ledger", submission: "Submission", key: "KeyPair", folder: Path, as_json: bool, words: str
) -> int:
    """Wait, and tell what became of it."""
    from cherrydag.cli.names import status_name
    from cherrydag.runtime.index_keeper import Place
    from cherrydag.runtime.submissions import Phase

    transaction_id = submission.id().hex()
    try:
        submission.wait()
    except KeyboardInterrupt:
        note(f"it may become final all the same: cherrydag receipt {folder} {transaction_id}")
        raise
    phase = Phase(int(submission.phases[0]))
    place = Place.of(int(submission.places[0]))
    status = status_name(int(submission.statuses[0])) if phase == Phase.FINAL else phase.name.lower()
    if as_json:
        print_json(
            {
                "id": transaction_id,
                "status": status,
                "commit": place.commit_index,
                "position": place.position,
            }
        )
    else:
        shown = {"payment": words, "id": transaction_id, "place": f"{place.commit_index}/{place.position}"}
        print_fields(shown | {"status": status, "left": amount_text(ledger.balance(key))})
    if status == "applied":
        return Exit.OK
    note(f"error: the payment had no effect: {status}")
    return Exit.REJECTED


@click.command()
@folder_argument
@json_option
def status(folder: Path, as_json: bool) -> None:
    """Print where the ledger stands."""
    from cherrydag.cli.solo import opened

    with opened(folder, quiet=as_json) as (home, ledger):
        found, supply = ledger.status(), ledger.supply()
    if as_json:
        print_json(
            {
                "chain": home.genesis.name,
                "network": str(home.genesis.network),
                "genesis_digest": found.genesis_digest.hex(),
                "commit": found.commit_index,
                "time_s": found.time_s,
                "checkpoint": found.checkpoint_index,
                "supply": str(supply.total),
                "fees": str(supply.fees),
                "stored_bytes": found.stored_bytes,
            }
        )
        return
    print_fields(
        {
            "chain": f"{home.genesis.name}, network {home.genesis.network}",
            "genesis": found.genesis_digest.hex(),
            "last commit": f"{found.commit_index}, {time_text(found.time_s)}"
            if found.commit_index
            else "none yet",
            "checkpoint": f"of commit {found.checkpoint_index}" if found.checkpoint_index else "none yet",
            "supply": f"{amount_text(supply.total)}, of which fees {amount_text(supply.fees)}",
            "database": bytes_text(found.stored_bytes),
        }
    )


COMMANDS: Final = (init, balance, account, history, receipt, send, status)
