#!/usr/bin/env python3
"""Run a network of real processes under faults: `python3 tools/chaos.py [--steps N] [--seed S] [--net]`.

Validators are killed (-9), frozen and continued, stopped and started, alone and all at once, while clients
pay through the API; with --net they live in network namespaces that are cut off, slowed and made to lose
packets. After each step every node that answers is compared with what was told before: commits, certified
roots, receipts of what is final. Every so often all is healed, and must go on and agree.

Exit status 1 if a promise was broken.
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import _setup

_setup.bootstrap()
sys.path[1:1] = [str(_setup.ROOT / "tests")]

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from system.chaos_nodes import NetPlace, Place
from system.chaos_rig import Outcome, chaos

from cherrydag.bench.netlab import NetLab, Unsupported

TOLD_STEPS = 50
"""How often a run without a terminal says where it is."""


def main() -> int:
    """Run the steps and say what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1000, help="faults and repairs (default 1000)")
    parser.add_argument("--validators", type=int, default=4, help="processes (default 4)")
    parser.add_argument("--seed", type=int, default=1, help="of the steps; when what happens is its own")
    parser.add_argument(
        "--net",
        action="store_true",
        help="in namespaces whose links get worse; needs root",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no process of ours is left behind
    started = time.monotonic()
    console = Console(stderr=True)
    columns = (
        TextColumn("chaos"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[paid]} paid"),
    )
    with (
        ExitStack() as stack,
        tempfile.TemporaryDirectory() as scratch,
        Progress(*columns, console=console, disable=options.json or not console.is_terminal) as bar,
    ):
        place = Place()
        if options.net:
            try:
                place = NetPlace(stack.enter_context(NetLab(options.validators)))
            except Unsupported as error:
                print(f"chaos: {error}", file=sys.stderr)
                return 2
        task = bar.add_task("steps", total=options.steps, paid=0)

        def progress(number: int, so_far: Outcome) -> None:
            bar.update(task, completed=number, paid=so_far.paid)
            if not console.is_terminal and number % TOLD_STEPS == 0:
                told = f"{so_far.paid} paid, {len(so_far.findings)} findings"
                print(f"chaos: {number}/{options.steps} steps, {told}", file=sys.stderr, flush=True)

        outcome = asyncio.run(
            chaos(
                Path(scratch) / "net",
                options.steps,
                options.seed,
                validators=options.validators,
                place=place,
                progress=progress,
            )
        )
    seconds = time.monotonic() - started
    if options.json:
        print(json.dumps(record(outcome, seconds, options.seed)))
    else:
        for finding in outcome.findings:
            print(f"FOUND {finding}")
        print("\n".join(lines(outcome, seconds, options.seed)))
    return int(bool(outcome.findings))


def lines(outcome: Outcome, seconds: float, seed: int) -> list[str]:
    """For people."""
    steps = ", ".join(f"{count} {name}" for name, count in sorted(outcome.steps.items()))
    return [
        f"{outcome.steps.total()} steps in {seconds:.0f} s: {steps}; seed={seed}",
        f"{outcome.paid} transfers final, {outcome.retries} handed in again",
        f"{outcome.commits} commits and {outcome.roots} certified roots compared {outcome.comparisons} times",
        f"next transfer final after a heal: {spread(outcome.recoveries_ms)} ms",
        f"answers after a start: {spread(outcome.restarts_ms)} ms",
        f"{len(outcome.findings)} findings",
    ]


def record(outcome: Outcome, seconds: float, seed: int) -> dict[str, object]:
    """For programs."""
    return {
        "name": "chaos",
        "steps": dict(sorted(outcome.steps.items())),
        "paid": outcome.paid,
        "retries": outcome.retries,
        "comparisons": outcome.comparisons,
        "commits": outcome.commits,
        "roots": outcome.roots,
        "recovery_ms": quantiles(outcome.recoveries_ms),
        "restart_ms": quantiles(outcome.restarts_ms),
        "findings": outcome.findings,
        "seconds": round(seconds, 1),
        "seed": seed,
    }


def quantiles(values: list[int]) -> dict[str, int]:
    """p50, p99 and the largest; 0 without any."""
    ascending = sorted(values) or [0]
    last = len(ascending) - 1
    return {"p50": ascending[last // 2], "p99": ascending[last * 99 // 100], "max": ascending[last]}


def spread(values: list[int]) -> str:
    """quantiles for people."""
    return ", ".join(f"{name} {value}" for name, value in quantiles(values).items())


if __name__ == "__main__":
    sys.exit(main())
