"""Commands for trying things: a network on this machine, and coins that are worth nothing."""

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from cherrydag.cli.exits import Exit
from cherrydag.cli.options import PATH, json_option
from cherrydag.cli.output import amount_text, print_fields, print_json

if TYPE_CHECKING:
    from cherrydag.devnet.folder import DevnetNode


@click.command()
@click.option("--validators", type=click.IntRange(1, 64), default=4, show_default=True)
@click.option("--operators", type=click.IntRange(0, 64), default=0, show_default=True)
@click.option("--observers", type=click.IntRange(0, 64), default=0, show_default=True)
@click.option(
    "--load", type=click.IntRange(0, 100_000), default=0, metavar="TPS", help="Transfers a second to send."
)
@click.option("--dir", "folder", type=PATH, help="Keep it here, and continue what is here.  [default: none]")
@click.option("--api-port", type=click.IntRange(1024, 65_000), default=8645, show_default=True)
@click.option("--duration", "duration_s", type=click.FloatRange(0), default=0.0, metavar="SECONDS")
@click.option(
    "--delay-ms",
    type=click.FloatRange(0, 60_000),
    default=0.0,
    metavar="MS",
    help="Of each packet between two nodes, one way; needs root, since each node gets a network namespace.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line, and a line a second.")
def devnet(
    validators: int,
    operators: int,
    observers: int,
    load: int,
    folder: Path | None,
    api_port: int,
    duration_s: float,
    delay_ms: float,
    as_json: bool,
) -> int:
    """Run a network on this machine, until Ctrl-C.

    Each node is a process. Shown are addresses, a key with coins, and every second how the network does.
    Nothing is left behind unless --dir is given. The exit code is 9 if a node ended by itself.
    """
    import sys

    from cherrydag.devnet.folder import DevnetSpec
    from cherrydag.devnet.running import DevnetOptions, run_devnet
    from cherrydag.devnet.view import JsonView, LineView, TerminalView

    options = DevnetOptions(
        DevnetSpec(validators, observers, api_port, operators),
        None if folder is None else folder.resolve(),
        load,
        duration_s=duration_s,
        delay_ms=delay_ms,
    )
    view = JsonView() if as_json else TerminalView() if sys.stdout.isatty() else LineView()
    outcome = run_devnet(options, run_node, view)
    return Exit.UNREACHABLE if outcome.ended else Exit.OK


def run_node(node: "DevnetNode") -> NoReturn:
    """`cherrydag run`, in this process; where it listens stands in the node's config.toml, or its flags."""
    from cherrydag.cli.program import cli

    cli.main(["run", str(node.folder), *node.flags])


@click.command()
@click.argument("url")
@click.argument("address")
@json_option
def faucet(url: str, address: str, as_json: bool) -> None:
    """Ask the node at URL to give ADDRESS some coins, and wait until they are there.

    Only nodes of networks for trying things have a faucet.
    """
    import asyncio

    from cherrydag.devnet.gift import ask_faucet

    gift = asyncio.run(ask_faucet(url, address))
    if as_json:
        print_json({"id": gift.id.hex(), "amount": str(gift.amount), "balance": str(gift.balance)})
    else:
        print_fields(
            {
                "transaction": gift.id.hex(),
                "amount": amount_text(gift.amount),
                "balance": amount_text(gift.balance),
            }
        )
