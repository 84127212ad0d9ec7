#!/usr/bin/env python3
"""Run whole networks of production nodes in virtual time, spoil them, and check every invariant.

`python3 tools/simulate.py --validators N --seeds A:B [options]` runs a world for each seed A, A + 1 .. B - 1
(B itself is not run). A violation is printed with its seed, its facts and one command that shows it again;
the exit code is 1 then. --faults and --adversaries take `all`, `none` or names with commas between.
"""

import argparse
import cProfile
import gc
import json
import os
import pstats
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import _setup

_setup.bootstrap()

if "--compiled" in sys.argv:
    import _compiled

    sys.path.insert(0, str(_compiled.core()))

from cherrydag.errors import ConfigError
from cherrydag.sim.drawing import Drawing, draw
from cherrydag.sim.outcome import Outcome
from cherrydag.sim.report import Summary, describe
from cherrydag.sim.scenario import ADVERSARIES, FAULTS, Scenario
from cherrydag.sim.shrink import shrink
from cherrydag.sim.world import World

PROFILE_LINES = 40
CHUNK_MAX = 16


def main() -> int:
    """Run the seeds; 1 if an invariant broke, 2 for a wrong argument."""
    parser = arguments()
    options = parser.parse_args()
    try:
        scenarios = scenarios_of(options)
    except (ConfigError, ValueError) as error:
        parser.error(str(error))
    if options.compiled and not is_same(scenarios[0]):
        parser.error("compiled: the first world differs from the interpreted one")
    profile = cProfile.Profile() if options.profile else None
    if profile is not None:
        profile.enable()
    summary, cpu_s = campaign(scenarios, options.jobs, quiet=options.quiet)
    if profile is not None:
        profile.disable()
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(PROFILE_LINES)
    if options.svg:
        draw_first(scenarios[0], options)
    print_summary(summary, cpu_s, as_json=options.json)
    for outcome in summary.violations:
        print_violation(outcome)
    if summary.violations and options.shrink:
        print_shrunk(summary.violations[0])
    return 1 if summary.violations else 0


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--validators", type=int, default=4, metavar="N")
    parser.add_argument("--seeds", default="0:1", metavar="A:B", help="seeds A to B - 1")
    parser.add_argument("--byzantine", type=int, default=0, metavar="K", help="validators with an adversary")
    parser.add_argument("--crashed", type=int, default=0, metavar="K", help="validators that never start")
    parser.add_argument("--operators", type=int, default=0, metavar="K", help="nodes that issue")
    parser.add_argument("--faults", default="all", help=f"all, none, or of {', '.join(FAULTS)}")
    parser.add_argument("--adversaries", default="all", help=f"all, none, or of {', '.join(ADVERSARIES)}")
    parser.add_argument("--rounds", type=int, default=200, metavar="R")
    parser.add_argument("--loss", type=int, default=0, metavar="PERMILLE", help="messages lost, to the end")
    parser.add_argument("--wan", action="store_true", help="ten regions instead of a lan")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="processes; 0: one for each core")
    parser.add_argument("--compiled", action="store_true", help="with a compiled core; minutes to make it")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("--shrink", action="store_true", help="look for a smaller world that violates")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the DAG of the first seed")
    parser.add_argument("--svg-rounds", default="1:30", metavar="A:B", help="rounds A to B of the drawing")
    parser.add_argument("--profile", action="store_true", help="where the time goes; one process")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser


def scenarios_of(options: argparse.Namespace) -> list[Scenario]:
    """One for each seed. ConfigError or ValueError if an argument makes no sense."""
    first, last = span(options.seeds)
    if last <= first:
        raise ConfigError(f"seeds: expected A:B with A < B, got {options.seeds}")
    scenario = Scenario(
        seed=first,
        validators=options.validators,
        byzantine=options.byzantine,
        crashed=options.crashed,
        faults=names(options.faults, FAULTS),
        adversaries=names(options.adversaries, ADVERSARIES),
        operators=options.operators,
        rounds=options.rounds,
        wan=options.wan,
        loss=options.loss,
    )
    return [replace(scenario, seed=seed) for seed in range(first, last)]


def span(text: str) -> tuple[int, int]:
    """The two numbers of A:B."""
    first, separator, last = text.partition(":")
    if not separator:
        raise ConfigError(f"expected A:B, got {text}")
    return int(first), int(last)


def names(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """The names that all, none or a list stands for."""
    if text == "all":
        return tuple(known)
    return () if text in ("none", "") else tuple(text.split(","))


def is_same(scenario: Scenario) -> bool:
    """Whether the compiled core makes of this world what the interpreted one does."""
    words = [sys.executable, *shlex.split(scenario.command), "--json", "--quiet"]
    # Status 1 says that the world breaks an invariant: that is yet to be told.
    done = subprocess.run(words, cwd=_setup.ROOT, stdout=subprocess.PIPE, text=True, check=False)
    summary, _ = campaign([scenario], 1, quiet=True)
    return bool(json.loads(done.stdout)["event_hash"] == summary.event_hash.hex())


def run_world(scenario: Scenario) -> tuple[Outcome, float]:
    """One world, and the processor time that it took.

    A world makes next to no garbage in cycles; looking for it took a fifth of the time and waits for the end.
    """
    gc.disable()
    started = time.process_time()
    try:
        outcome = World(scenario).run()
    finally:
        gc.enable()
    gc.collect()
    return outcome, time.process_time() - started


def campaign(scenarios: Sequence[Scenario], jobs: int, *, quiet: bool) -> tuple[Summary, float]:
    """Run all of them, in this process or in `jobs` of them; the sums do not depend on it."""
    summary, cpu_s = Summary(), 0.0
    started = time.monotonic()
    for number, (outcome, spent_s) in enumerate(run_all(scenarios, jobs), 1):
        summary.add(outcome)
        cpu_s += spent_s
        if not quiet and (number % max(1, len(scenarios) // 100) == 0 or number == len(scenarios)):
            elapsed_s = time.monotonic() - started
            shown = (
                f"{number}/{len(scenarios)} seeds, {len(summary.violations)} violations, {elapsed_s:.0f} s"
            )
            print(f"\r{shown}", end="", file=sys.stderr, flush=True)
    if not quiet:
        print(file=sys.stderr)
    return summary, cpu_s


def run_all(scenarios: Sequence[Scenario], jobs: int) -> Iterator[tuple[Outcome, float]]:
    """Outcomes in the order of the scenarios."""
    workers = min(jobs or os.cpu_count() or 1, len(scenarios))
    if workers == 1:
        yield from map(run_world, scenarios)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        chunk = max(1, min(CHUNK_MAX, len(scenarios) // (4 * workers)))
        yield from pool.map(run_world, scenarios, chunksize=chunk)


def print_summary(summary: Summary, cpu_s: float, *, as_json: bool) -> None:
    """The figures, as one line of JSON or a line each."""
    figures = summary.as_json(cpu_s)
    if as_json:
        print(json.dumps(figures), flush=True)
        return
    for name, value in figures.items():
        if name != "violation_list":
            print(f"{name:22} {value}")


def print_violation(outcome: Outcome) -> None:
    """What broke, and how to see it again."""
    facts = describe(outcome)
    print(f"VIOLATION seed={facts['seed']} {facts['statement']}", file=sys.stderr)
    print(f"  replay: python3 {facts['command']}", file=sys.stderr)


def print_shrunk(outcome: Outcome) -> None:
    """The smallest world that still violates."""
    found = shrink(outcome, lambda scenario: run_world(scenario)[0])
    print(f"SHRUNK {describe(found)['statement']}", file=sys.stderr)
    print(f"  replay: python3 {found.scenario.command}", file=sys.stderr)


def draw_first(scenario: Scenario, options: argparse.Namespace) -> None:
    """The DAG of the first seed as SVG."""
    world = World(scenario)
    world.run()
    first, last = span(options.svg_rounds)
    options.svg.write_text(draw(Drawing.of(world, first, last)))


if __name__ == "__main__":
    sys.exit(main())
