"""Commands that pay with a ledger and look into it, wherever it is."""

from typing import TYPE_CHECKING, Any, Final

import click

from cherrydag.cli.exits import Exit
from cherrydag.cli.operating import Signing, signing_options
from cherrydag.cli.options import (
    AMOUNT,
    DIGEST,
    U32,
    U64,
    Where,
    json_option,
    url_option,
    where_argument,
)
from cherrydag.cli.output import amount_text, note, print_fields, print_json, print_table, time_text
from cherrydag.cli.settling import final_of

if TYPE_CHECKING:
    from cherrydag.genesis import Genesis
    from cherrydag.runtime.lookups import HistoryItem, HistoryPage

_PAGE: Final = 20
_PAGE_MAX: Final = 1000

_owner_argument = click.argument("owner")
_asset_option = click.option("--asset", type=U32, default=0, help="Number of an asset; 0 is the native coin.")


@click.command()
@where_argument
@_owner_argument
@_asset_option
@url_option
@json_option
def balance(where: Where, owner: str, asset: int, url: str | None, as_json: bool) -> None:
    """Print the balance of an account.

    OWNER: an address, or a key in DIR by its name. 0 if there is no such account.
    """
    from cherrydag.cli.reaching import reached

    with reached(where, url, quiet=as_json) as found:
        address = found.owner(owner)
        amount = found.ledger.balance(address, asset)
    if as_json:
        print_json({"address": address, "asset": asset, "balance": str(amount)})
    else:
        click.echo(amount_text(amount, asset))


@click.command()
@where_argument
@_owner_argument
@url_option
@json_option
def account(where: Where, owner: str, url: str | None, as_json: bool) -> None:
    """Print balance, next nonce and flags of an account.

    OWNER: an address, or a key in DIR by its name.
    """
    from cherrydag.cli.reaching import reached

    with reached(where, url, quiet=as_json) as found:
        address = found.owner(owner)
        view = found.ledger.account(address)
    if as_json:
        print_json(
            {
                "address": address,
                "balance": str(view.balance),
                "next_nonce": view.next_nonce,
                "flags": view.flags,
                "commit": view.commit_index,
            }
        )
        return
    print_fields(
        {
            "address": address,
            "balance": amount_text(view.balance),
            "next nonce": view.next_nonce,
            "flags": view.flags,
            "as of commit": view.commit_index,
        }
    )


@click.command()
@where_argument
@_owner_argument
@click.option(
    "--limit", type=click.IntRange(1, _PAGE_MAX), default=_PAGE, show_default=True, help="Most items."
)
@click.option("--cursor", type=U64, help="Where the page before has ended.")
@url_option
@json_option
def history(where: Where, owner: str, limit: int, cursor: int | None, url: str | None, as_json: bool) -> None:
    """Print the transactions of an account, newest first.

    OWNER: an address, or a key in DIR by its name.
    """
    from cherrydag.cli.reaching import reached

    with reached(where, url, quiet=as_json) as found:
        address = found.owner(owner)
        page = found.ledger.history(address, limit, cursor)
    items = [_item(found.genesis, item) for item in page.items]
    if as_json:
        print_json({"address": address, "items": items, "cursor": page.cursor})
        return
    _print_history(address, items, page)


def _item(genesis: "Genesis", item: "HistoryItem") -> dict[str, Any]:
    """A transaction as JSON has it."""
    from cherrydag.cli.names import status_name
    from cherrydag.cli.records import record_documents
    from cherrydag.transaction import as_records

    (record,) = record_documents(as_records(item.record), genesis)
    return {
        "id": item.transaction_id.hex(),
        "commit": item.place.commit_index,
        "position": item.place.position,
        "time_s": item.time_s,
        "status": status_name(item.status),
        **record,
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
@where_argument
@click.argument("transaction_id", metavar="ID", type=DIGEST)
@url_option
@json_option
def receipt(where: Where, transaction_id: bytes, url: str | None, as_json: bool) -> None:
    """Print what became of a transaction."""
    from cherrydag.cli.names import status_name
    from cherrydag.cli.reaching import reached
    from cherrydag.errors import Rejected

    with reached(where, url, quiet=as_json) as found:
        item, told = found.ledger.transaction(transaction_id), found.ledger.receipt(transaction_id)
    if item is None or told is None or item.transaction_id != transaction_id:  # it is found by half of its id
        raise Rejected("transaction_unknown", f"{transaction_id.hex()}: no final transaction has this id")
    fields: dict[str, object] = {
        "id": transaction_id.hex(),
        "status": status_name(told.status),
        "commit": told.place.commit_index,
        "position": told.place.position,
        "time_s": told.time_s,
        "vertex": told.vertex.digest.hex(),
        "row": told.row,
    }
    if told.operation is not None:
        fields["refusal"] = told.operation.refusal or None
        fields["events"] = [
            {"name": event.name, **{name: _plain(value) for name, value in event.fields.items()}}
            for event in told.operation.events
        ]
    if as_json:
        print_json(fields)
    else:
        del fields["time_s"]
        print_fields(fields | {"time": time_text(told.time_s)})


def _plain(value: Any) -> Any:
    """A field of an event for JSON, which has no bytes, and whose readers may not hold 128 bits."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, int) and abs(value) >= 2**53 else value


@click.command()
@where_argument
@click.option(
    "--to", "recipient", required=True, metavar="ADDRESS", help="An address, or a key in DIR by its name."
)
@click.option(
    "--amount", type=AMOUNT, required=True, help="Smallest units, or coins with their unit: 2.5coin."
)
@_asset_option
@click.option("--nonce", type=U64, help="Instead of the lowest that is free.")
@signing_options
@json_option
def send(
    where: Where,
    recipient: str,
    amount: int,
    asset: int,
    nonce: int | None,
    signing: Signing,
    as_json: bool,
) -> int:
    """Pay, and wait until it is final.

    Exit code 5 if the payment is refused, or final without effect: its status says why.
    """
    from cherrydag.cli.reaching import reached

    with reached(where, signing.url, quiet=as_json, hands_in=True) as found:
        key, to = signing.key(found), found.owner(recipient)
        fee = found.fee(signing.fee)
        submission = found.ledger.transfer(key, to, amount, asset=asset, fee=fee, nonce=nonce)
        final = final_of(submission, where)
        left = found.ledger.balance(key)
    if as_json:
        print_json(final)
    else:
        shown = {"payment": f"{amount_text(amount, asset)} to {to}", "id": final["id"]}
        place = f"{final['commit']}/{final['position']}"
        print_fields(shown | {"place": place, "status": final["status"], "left": amount_text(left)})
    if final["status"] == "applied":
        return Exit.OK
    note(f"error: the payment had no effect: {final['status']}")
    return Exit.REJECTED


COMMANDS: Final = (balance, account, history, receipt, send)
