"""Commands that look at a ledger as a node: where it stands, who its peers are, what becomes final now."""

from typing import TYPE_CHECKING, Any, Final

import click

from cherrydag.cli.options import U32, Where, json_option, url_option, where_argument
from cherrydag.cli.output import (
    amount_text,
    bytes_text,
    note,
    print_fields,
    print_json,
    print_table,
    time_text,
)

if TYPE_CHECKING:
    from cherrydag.cli.reaching import Reached
    from cherrydag.genesis import Genesis
    from cherrydag.rpc.link import RemoteCommit


@click.command()
@where_argument
@url_option
@json_option
def status(where: Where, url: str | None, as_json: bool) -> None:
    """Print where the ledger stands, and of a node that runs whether it is of use."""
    from cherrydag.cli.reaching import reached

    with reached(where, url, quiet=as_json) as found:
        told, supply = found.ledger.status(), found.ledger.supply()
        node = None if found.client is None else found.client.call("status")
    genesis = found.genesis
    if as_json:
        print_json(
            {
                "chain": genesis.name,
                "network": str(genesis.network),
                "genesis_digest": told.genesis_digest.hex(),
                "commit": told.commit_index,
                "time_s": told.time_s,
                "checkpoint": told.checkpoint_index,
                "supply": str(supply.total),
                "fees": str(supply.fees),
                "stored_bytes": told.stored_bytes,
                "node": None if node is None else _node_document(node),
            }
        )
        return
    fields: dict[str, object] = {
        "chain": f"{genesis.name}, network {genesis.network}",
        "genesis": told.genesis_digest.hex(),
        "last commit": _last_commit(told.commit_index, told.time_s),
        "checkpoint": f"of commit {told.checkpoint_index}" if told.checkpoint_index else "none yet",
        "supply": f"{amount_text(supply.total)}, of which fees {amount_text(supply.fees)}",
        "database": bytes_text(told.stored_bytes),
    }
    if node is not None:
        fields |= _node_fields(node, found)
    print_fields(fields)


def _last_commit(index: int, time_s: int) -> str:
    if not index:
        return "none yet"
    return f"{index}, {time_text(time_s)}" if time_s else f"{index}"


def _node_document(node: dict[str, Any]) -> dict[str, Any]:
    return {name: node[name] for name in ("round", "validator", "is_ready", "reasons", "version")} | {
        "waiting": node["mempool"]["waiting"] + node["mempool"]["taken"]
    }


def _node_fields(node: dict[str, Any], found: "Reached") -> dict[str, object]:
    """What a node that runs says of itself."""
    index = node["validator"]
    validators = found.genesis.validators
    role = "none: it does not vote" if index is None else f"{validators[index].name}, number {index}"
    reasons = "; ".join(f"{reason['text']} [{reason['code']}]" for reason in node["reasons"])
    return {
        "validator": role,
        "round": node["round"],
        "waiting": f"{node['mempool']['waiting'] + node['mempool']['taken']} transactions",
        "ready": "yes" if node["is_ready"] else f"no: {reasons}",
        "version": node["version"],
    }


@click.command()
@where_argument
@url_option
@json_option
def peers(where: Where, url: str | None, as_json: bool) -> None:
    """Print the links of a node that runs, and the validators that it has none with."""
    from cherrydag.cli.reaching import node

    with node(where, url) as client:
        told = client.call("peers")
    if as_json:
        print_json(told)
        return
    names = {one["index"]: one["name"] for one in told["validators"]}
    rows = [
        (
            "-" if link["validator"] is None else names[link["validator"]],
            link["public_key"][:16],
            link["address"],
            "out" if link["is_ours"] else "in",
            _age_text(link["age_ms"]),
            "-" if link["rtt_ms"] is None else f"{link['rtt_ms']} ms",
            bytes_text(link["bytes_in"]),
            bytes_text(link["bytes_out"]),
            link["faults"],
        )
        for link in told["links"]
    ]
    columns = ("validator", "key", "address", "way", "linked for", "rtt", "in", "out", "faults")
    if not rows:
        click.echo("no links")
    else:
        print_table(columns, rows, right=("linked for", "rtt", "in", "out", "faults"))
    away = [one["name"] for one in told["validators"] if not one["is_linked"] and not one["is_self"]]
    if away:
        click.echo(f"not linked: {', '.join(away)}")
    click.echo(f"stake: linked with {told['linked_stake']}, a quorum is {told['quorum_stake']}")
    for ban in told["bans"]:
        click.echo(f"banned: {ban['public_key']}, {_age_text(ban['left_ms'])} more: {ban['text']}")


def _age_text(ms: int) -> str:
    seconds = ms // 1000
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds} s"


# Watching


@click.command()
@where_argument
@click.option("--after", type=U32, help="Begin behind this commit; 0 for all.  [default: those to come]")
@click.option("--count", type=click.IntRange(1), help="End after so many commits.")
@click.option("--transactions", is_flag=True, help="Print each transaction, too.")
@url_option
@json_option
def watch(
    where: Where, after: int | None, count: int | None, transactions: bool, url: str | None, as_json: bool
) -> None:
    """Print each commit of a node that runs as it becomes final, until Ctrl-C, across its restarts.

    With --json one document a line. Go on later with --after and the last index: nothing is left out.
    """
    from cherrydag.cli.reaching import node

    index = after
    try:
        with node(where, url) as client:
            genesis = client.genesis()
            for number, commit in enumerate(client.subscribe(after), 1):
                _print_commit(commit, genesis, transactions=transactions, as_json=as_json)
                index = commit.index
                if number == count:
                    return
    finally:
        if index is not None and not as_json:
            note(f"go on with --after {index}")


def _print_commit(commit: "RemoteCommit", genesis: "Genesis", *, transactions: bool, as_json: bool) -> None:
    import json

    from cherrydag.execution.accounts import Status

    applied = int((commit.statuses == Status.APPLIED).sum())
    rows = _rows(commit, genesis) if transactions else []
    if as_json:
        document: dict[str, Any] = {
            "commit": commit.index,
            "time_ms": commit.time_ms,
            "digest": commit.digest.hex(),
            "transactions": len(commit.records),
            "applied": applied,
        }
        click.echo(json.dumps(document | {"rows": rows} if transactions else document))
        return
    failed = len(commit.records) - applied
    words = f"{len(commit.records)} transactions" + (f", {failed} without effect" if failed else "")
    click.echo(f"{time_text(commit.time_ms // 1000)}  {commit.index}  {commit.digest.hex()[:16]}  {words}")
    for row in rows:
        amount = amount_text(int(row["amount"]), row["asset"])
        way = row["sender"] + (f" -> {row['recipient']}" if row["recipient"] else "")
        click.echo(f"    {row['id']}  {row['kind']}  {way}  {amount}  {row['status']}")


def _rows(commit: "RemoteCommit", genesis: "Genesis") -> list[dict[str, Any]]:
    """Its transactions as JSON has them."""
    from cherrydag.cli.names import status_name
    from cherrydag.cli.records import record_documents

    return [
        {
            "id": commit.ids[32 * at : 32 * at + 32].hex(),
            "status": status_name(int(commit.statuses[at])),
            **record,
        }
        for at, record in enumerate(record_documents(commit.records, genesis))
    ]


COMMANDS: Final = (status, peers, watch)
