#!/usr/bin/env python3
"""How large the pool of tips grows under load, beside the published formula L0 = k * rate * delay / (k - 1).

    python3 tools/tips.py [--rates 1,10,100,1000] [--delays 50,200] [--parents 2,3,8] [--seconds 60]
                          [--seed 1] [--committed [N]] [--chained] [--issuers 100] [--flood PERMILLE]
                          [--bonds 1,2,4] [--json] [--plot FILE.svg]

Operators issue at `rate` vertices a second, all in virtual time; each selects k tips of the production graph
with the production selector, as they were `delay` ms ago. Tips more than 30 rounds behind are lazy and out.

- pool, p99, max: tips of operators, as each arrival finds them. x L0: the mean over the formula's.
- x L0+V: over the formula for a pool in which V tips of validators are chosen too, L0 + V / (k - 1). Both are
  for pools far larger than k.
- drift: by how many tips the pool grew after the warm-up, by a fitted line. Far below the pool: stable.
- unapproved, lazy: vertices without a child after 30 rounds; excluded for their age. lag: rounds between a
  new vertex's anchor and the validators.

--committed: validators list tips by the fair rule, N selections of 8 a round (8 if N is left out), and
commits carry them off; all validators list the same ones, the worst case. A line for each bond then compares
shares of bond, of vertices and of places in the lists. --chained: parents[0] is the issuer's own last vertex,
one choice less; few issuers then hold the pool below their number. --flood: so many of 1000 vertices come
from issuer 0. --bonds: the issuers', in turn.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import _setup

_setup.bootstrap()

from cherrydag.errors import ConfigError
from cherrydag.params import TIPS_MAX
from cherrydag.sim.tip_pool import PoolReport, Setting, TipPool

COLOURS = ("#0b6fa4", "#c2185b", "#5d7a00", "#7b3fa0", "#b35c00")
SIZE, MARGIN = (720, 480), 60

HEAD = " rate/s  delay  k       L0     pool    p99    max   x L0 x L0+V   drift unapproved    lazy   lag"

Run = tuple[Setting, PoolReport]


def main() -> int:
    """Run every setting; 2 for a wrong argument."""
    parser = arguments()
    options = parser.parse_args()
    try:
        settings = list(settings_of(options))
    except ConfigError as error:
        parser.error(str(error))
    if not options.json:
        print(HEAD)
    runs = []
    for setting in settings:
        report = TipPool(setting).run()
        runs.append((setting, report))
        print(json.dumps(record(setting, report)) if options.json else row(setting, report), flush=True)
        if setting.listings and not options.json:
            print(*fair_lines(setting, report), sep="\n", flush=True)
    if options.plot:
        options.plot.write_text("\n".join(drawing(runs)) + "\n")
    return 0


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", type=numbers, default=(1, 10, 100, 1000), help="vertices a second")
    parser.add_argument("--delays", type=numbers, default=(50, 200), help="ms until others see a vertex")
    parser.add_argument("--parents", type=numbers, default=(2, 3, 8))
    parser.add_argument("--seconds", type=int, default=60, help="virtual time; a quarter of it warms up")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--committed", type=int, nargs="?", const=TIPS_MAX // 8, default=0, metavar="N")
    parser.add_argument("--chained", action="store_true")
    parser.add_argument("--issuers", type=int, default=100)
    parser.add_argument("--flood", type=int, default=0, metavar="PERMILLE")
    parser.add_argument("--bonds", type=numbers, default=(1,))
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of the table")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the pools beside the formula")
    return parser


def numbers(text: str) -> tuple[int, ...]:
    """Integers with commas between."""
    return tuple(int(part) for part in text.split(","))


def settings_of(options: argparse.Namespace) -> Iterator[Setting]:
    """Every combination of rates, delays and parents."""
    for parents in options.parents:
        for delay_ms in options.delays:
            for rate in options.rates:
                yield Setting(
                    rate=rate,
                    delay_ms=delay_ms,
                    parents=parents,
                    seconds=options.seconds,
                    seed=options.seed,
                    chained=options.chained,
                    issuers=options.issuers,
                    flood=options.flood,
                    bonds=options.bonds,
                    listings=options.committed,
                )


def drift_of(setting: Setting, report: PoolReport) -> float:
    """Growth over the measured three quarters, in tips."""
    return report.slope * setting.seconds * 0.75


def row(setting: Setting, report: PoolReport) -> str:
    """One line of the table."""
    expected = setting.expected()
    return (
        f"{setting.rate:7} {setting.delay_ms:6} {setting.parents:2} {expected:8.1f} {report.mean:8.1f} "
        f"{report.p99:6.0f} {report.largest:6} {report.mean / expected:6.2f} "
        f"{report.mean / setting.expected(report.validators_tips):6.2f} {drift_of(setting, report):+7.1f} "
        f"{report.unapproved:10.2%} {report.lazy:7.2%} {report.lag_rounds:5.1f}"
    )


def record(setting: Setting, report: PoolReport) -> dict[str, object]:
    """The line of --json."""
    return {
        "name": f"tips.pool/rate={setting.rate},delay={setting.delay_ms},k={setting.parents}",
        "expected": round(setting.expected(), 3),
        "expected_with_validators": round(setting.expected(report.validators_tips), 3),
        "mean": round(report.mean, 3),
        "p99": round(report.p99, 1),
        "max": report.largest,
        "slope_per_s": round(report.slope, 5),
        "drift": round(drift_of(setting, report), 3),
        "validators_tips": round(report.validators_tips, 2),
        "unapproved": round(report.unapproved, 5),
        "lazy": round(report.lazy, 5),
        "committed": round(report.committed, 5),
        "lag_rounds": round(report.lag_rounds, 2),
        "n": report.vertices,
        "seed": setting.seed,
        "seconds": setting.seconds,
        "chained": setting.chained,
        "shares": [share._asdict() for share in report.shares(setting)] if setting.listings else [],
    }


def fair_lines(setting: Setting, report: PoolReport) -> Iterator[str]:
    """Who got the places in the validators' lists."""
    yield f"{'':8}committed {report.committed:.2%}, {report.listed.sum()} places"
    for share in report.shares(setting):
        who = "the flooder" if share.is_flooder else f"{share.issuers} issuers"
        yield (
            f"{who:>19} of bond {share.bond}: bond {share.of_bond:6.1%}, vertices {share.of_issued:6.1%}, "
            f"places {share.of_listed:6.1%}"
        )


@dataclass(frozen=True, slots=True)
class Plane:
    """Two logarithmic axes from 10^low to 10^high."""

    low: int
    high: int

    def at(self, load: float, pool: float) -> tuple[float, float]:
        """Where in the drawing."""
        across = (math.log10(load) - self.low) / (self.high - self.low)
        up = (math.log10(max(pool, 10.0**self.low)) - self.low) / (self.high - self.low)
        width, height = SIZE
        return MARGIN + across * (width - 2 * MARGIN), height - MARGIN - up * (height - 2 * MARGIN)


def drawing(runs: Sequence[Run]) -> Iterator[str]:
    """An SVG: the mean pool and its 99th percentile over rate * delay, and L0 as a line for each k."""
    width, height = SIZE
    values = [setting.rate * setting.delay_ms / 1000 for setting, _ in runs]
    values += [max(report.p99, setting.expected()) for setting, report in runs]
    low = math.floor(math.log10(min(values)))
    plane = Plane(low, max(low + 1, math.ceil(math.log10(max(values)))))
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">'
    )
    yield f'<rect width="{width}" height="{height}" fill="white"/>'
    yield from axes(plane)
    for number, parents in enumerate(dict.fromkeys(setting.parents for setting, _ in runs)):
        colour = COLOURS[number % len(COLOURS)]
        yield text((width - MARGIN - 40, MARGIN - 8 + 16 * number), f"k = {parents}", "start", colour)
        yield from series(plane, [run for run in runs if run[0].parents == parents], colour)
    yield "</svg>"


def axes(plane: Plane) -> Iterator[str]:
    """The grid, a line for each power of ten, and what is drawn."""
    width, height = SIZE
    least, most = 10.0**plane.low, 10.0**plane.high
    for power in range(plane.low, plane.high + 1):
        value = 10.0**power
        yield line(plane.at(value, least), plane.at(value, most), "#dddddd")
        yield line(plane.at(least, value), plane.at(most, value), "#dddddd")
        x, y = plane.at(value, value)
        yield text((x, height - MARGIN + 18), f"{value:g}", "middle")
        yield text((MARGIN - 8, y + 4), f"{value:g}", "end")
    yield text((width / 2, height - 15), "vertices issued within one delay (rate * delay)", "middle")
    yield text((MARGIN, 30), "tips in the pool: mean (dot), 99th percentile (bar), L0 (line)", "start")


def series(plane: Plane, runs: Sequence[Run], colour: str) -> Iterator[str]:
    """The runs of one k."""
    loads = [setting.rate * setting.delay_ms / 1000 for setting, _ in runs]
    formula = sorted((load, setting.expected()) for load, (setting, _) in zip(loads, runs, strict=True))
    yield line(plane.at(*formula[0]), plane.at(*formula[-1]), colour)
    for load, (_, report) in zip(loads, runs, strict=True):
        x, y = plane.at(load, report.mean)
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
        yield line((x, y), plane.at(load, report.p99), colour)


def line(start: tuple[float, float], end: tuple[float, float], colour: str) -> str:
    """A line of the drawing."""
    (x1, y1), (x2, y2) = start, end
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def text(place: tuple[float, float], words: str, anchor: str, colour: str = "black") -> str:
    """A word of the drawing."""
    return (
        f'<text x="{place[0]:.1f}" y="{place[1]:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'
    )


if __name__ == "__main__":
    sys.exit(main())
