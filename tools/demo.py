#!/usr/bin/env python3
"""A network at work, start to end: validators in processes of their own, and signed transfers for all.

`python3 tools/demo.py [--validators N] [--rate TPS] [--seconds S]`
Ends with the rate of transfers that were final, how long that took each, and whether all nodes have one chain
and one state. What the machine's cores can verify and hash beside other libraries: `tools/bench.py`.
"""

import argparse
import sys
from typing import TYPE_CHECKING

import _setup

_setup.bootstrap()

from cherrydag.address import address_of
from cherrydag.cli.devnet_commands import run_node
from cherrydag.cli.exits import words_of
from cherrydag.devnet.agreement import Agreement, find_agreement
from cherrydag.devnet.folder import USER, Devnet, DevnetSpec
from cherrydag.devnet.running import DevnetOptions, Outcome, run_devnet
from cherrydag.devnet.view import LineView, TerminalView, latency_text
from cherrydag.errors import CherrydagError

if TYPE_CHECKING:
    from cherrydag.devnet.figures import LoadFigures


def main() -> int:
    """Run it; 0 if every transfer was final and all nodes agree."""
    options = arguments()
    agreed: list[Agreement] = []

    async def check(devnet: Devnet) -> None:
        owner = address_of(devnet.key(USER).public_key)
        urls = [node.url for node in devnet.nodes]
        agreed.append(await find_agreement(urls, devnet.home.genesis.digest, owner))

    wanted = DevnetOptions(DevnetSpec(options.validators), load=options.rate, load_s=options.seconds)
    view = TerminalView() if sys.stdout.isatty() else LineView()
    try:
        outcome = run_devnet(wanted, run_node, view, check)
    except (CherrydagError, OSError) as error:
        print(f"FAILED: {words_of(error)}", file=sys.stderr)
        return 1
    if outcome.was_told:
        raise KeyboardInterrupt
    return summary(options, outcome, agreed)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--validators", type=positive, default=4, metavar="N")
    parser.add_argument("--rate", type=positive, default=1000, metavar="TPS", help="transfers a second")
    parser.add_argument("--seconds", type=positive, default=20, metavar="S")
    return parser.parse_args()


def positive(text: str) -> int:
    """A whole number above 0."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def summary(options: argparse.Namespace, outcome: Outcome, agreed: list[Agreement]) -> int:
    """Tell how it went, and the exit code."""
    load = outcome.figures.load if outcome.figures is not None else None
    wanted = options.rate * options.seconds
    faults = [f"{name} ended" for name in outcome.ended]
    if load is None or load.final != wanted:
        faults.append(f"{0 if load is None else load.final:,} of {wanted:,} transfers were final")
    if not agreed:
        faults.append("it was not found out whether the nodes agree")
    print()
    if load is not None:
        print(load_words(load))
    for one in agreed:
        nodes = f"all {options.validators} nodes"
        print(f"chain:     {one.commit_digest.hex()}, commit {one.commit_index} on {nodes}")
        print(f"state:     {one.state_root.hex()}, of commit {one.state_index}, proven by {nodes}")
    for fault in faults:
        print(f"FAILED: {fault}")
    return 1 if faults else 0


def load_words(load: "LoadFigures") -> str:
    """The load in a line."""
    rate = load.final / load.seconds if load.seconds else 0.0
    waited = latency_text(load.latency)
    return (
        f"load:      {load.final:,} transfers final in {load.seconds:.1f} s, {rate:,.0f}/s; finality {waited}"
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
