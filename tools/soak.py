#!/usr/bin/env python3
"""Hours of load in little: `python3 tools/soak.py [--minutes M] [--rate TPS] [--validators N]`.

Real validators in processes of their own take signed transfers at a fixed rate; every ten seconds each one's
memory, open files and disk are looked at. Once it has warmed up (the first third) nothing but the disk may
grow, and the disk by what is final. Slopes are those of straight lines through all the samples. The sorted
files of the indexes are counted apart: there are more of them with the logarithm of what they hold. Ctrl-C
ends it early, and what was seen is told.

Exit status 1 if memory or open files grow, the disk grows by more than the data, a transfer is lost, the load
is not held, a process ends, or one was not looked at often enough to tell.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import _setup

_setup.bootstrap()

from cherrydag.cli.devnet_commands import run_node
from cherrydag.cli.exits import words_of
from cherrydag.devnet.figures import Figures
from cherrydag.devnet.folder import DevnetSpec
from cherrydag.devnet.running import DevnetOptions, run_devnet
from cherrydag.devnet.view import Ended, Started, ended_lines
from cherrydag.errors import CherrydagError

SAMPLE_S = 10.0
TOLD_S = 60.0
WARM_PARTS = 3
WARM_SAMPLES_MIN = 6
"""Through fewer there is a line that means nothing."""
FILES_SLOPE_MAX = 6
"""An hour: a link more or less is no leak."""
RUNS_MAX = 40
"""Sorted files of both indexes that may be open; a thousand flushes leave 14 each, and merges have theirs."""
RATE_MIN = 0.98
"""Of the rate that was asked for."""


class Sample(NamedTuple):
    """One node at a time. anonymous_mib: without pages of files, which the kernel takes back as it likes.
    files: descriptors, but for those of the indexes' sorted files, which are runs."""

    at_s: float
    anonymous_mib: float
    file_mib: float
    files: int
    runs: int


@dataclass
class Soak:
    """All samples of a run; the view of its devnet."""

    folder: Path = Path()
    nodes: dict[str, list[Sample]] = field(default_factory=dict)
    disk: list[tuple[float, int, int]] = field(default_factory=list)
    """When, bytes on disk of all nodes, transfers final."""
    last: Figures | None = None
    ended_names: list[str] = field(default_factory=list)
    _told_s: float = 0.0

    def started(self, started: Started) -> None:
        """Where it lies."""
        self.folder = Path(started.folder)

    def figures(self, figures: Figures) -> None:
        """Once a second; most are let go."""
        self.last = figures
        if self.disk and figures.time_s - self.disk[-1][0] < SAMPLE_S:
            return
        for node in figures.nodes:
            if node.is_running:
                self.nodes.setdefault(node.name, []).append(sample(figures.time_s, node.pid))
        final = figures.load.final if figures.load else 0
        self.disk.append((figures.time_s, disk_bytes(self.folder), final))
        if figures.time_s - self._told_s >= TOLD_S:
            self._told_s = figures.time_s
            memory = ", ".join(
                f"{name} {samples[-1].anonymous_mib:.0f}" for name, samples in self.nodes.items()
            )
            told = f"{figures.time_s / 60:.0f} min: {final:,} final, memory {memory} MiB"
            print(told, file=sys.stderr, flush=True)

    def ended(self, ended: Ended) -> None:
        """None should."""
        self.ended_names.append(ended.name)
        print("\n".join(ended_lines(ended)), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Result:
    """What is told at the end. disk_bytes: of one node for each transfer."""

    validators: int
    rate: int
    seconds: int
    offered: int
    final: int
    latency_ms: dict[str, float]
    disk_bytes: float
    nodes: dict[str, dict[str, float]]
    faults: list[str]


def main() -> int:
    """Run it; 1 if something grew that must not."""
    options = arguments()
    soak, seconds = Soak(), options.minutes * 60.0
    wanted = DevnetOptions(DevnetSpec(options.validators), load=options.rate, load_s=seconds)
    started = time.time()
    try:
        run_devnet(wanted, run_node, soak)
    except (CherrydagError, OSError) as error:
        print(f"soak: {words_of(error)}", file=sys.stderr)
        return 1
    result = summary(soak, options, round(time.time() - started))
    print(json.dumps({"name": "soak", **asdict(result)}) if options.json else "\n".join(lines(result)))
    return int(bool(result.faults))


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0, metavar="M", help="default 60; at least 2")
    parser.add_argument("--rate", type=int, default=30_000, metavar="TPS", help="default 30,000")
    parser.add_argument("--validators", type=int, default=4, metavar="N")
    parser.add_argument("--slope-max", type=float, default=64.0, metavar="MIB", help="an hour; default 64")
    parser.add_argument(
        "--disk-max", type=float, default=400.0, metavar="B", help="bytes a transfer and node; default 400"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    options = parser.parse_args()
    if options.minutes < 2:
        parser.error(f"minutes: expected at least 2, got {options.minutes}")
    return options


def sample(at_s: float, pid: int) -> Sample:
    """A node now."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    anonymous, of_files = (int(status[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))
    links = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed since
            links.append(descriptor.readlink())
    runs = sum(".run" in link.suffixes for link in links)
    return Sample(at_s, anonymous, of_files, len(links) - runs, runs)


def disk_bytes(folder: Path) -> int:
    """What its files take, while others come and go."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total


def summary(soak: Soak, options: argparse.Namespace, seconds: int) -> Result:
    """The figures, and what should not be."""
    nodes = {name: node_figures(samples) for name, samples in soak.nodes.items()}
    faults = [f"{name} ended" for name in soak.ended_names]
    if len(nodes) < options.validators:
        faults.append(f"only {len(nodes)} nodes were looked at")
    for name, found in nodes.items():
        if found["samples"] < WARM_SAMPLES_MIN:
            faults.append(f"{name}: {found['samples']} samples are too few to tell")
        if found["memory_slope_mib_h"] > options.slope_max:
            faults.append(f"{name}: memory grows by {found['memory_slope_mib_h']} MiB an hour")
        if found["files_slope_h"] > FILES_SLOPE_MAX:
            faults.append(f"{name}: open files grow by {found['files_slope_h']} an hour")
        if found["runs"] > RUNS_MAX:
            faults.append(f"{name}: {found['runs']} sorted files of indexes, expected at most {RUNS_MAX}")
    load = soak.last.load if soak.last else None
    if load is None or load.failed or load.final < load.offered:
        faults.append(f"not all was final: {load}")
    elif load.offered < RATE_MIN * options.rate * load.seconds:
        held = load.offered / load.seconds
        faults.append(f"the load was {held:,.0f}/s instead of {options.rate:,}/s: who makes it had no core")
    warm = soak.disk[len(soak.disk) // WARM_PARTS :]
    grown, final = (warm[-1][1] - warm[0][1], warm[-1][2] - warm[0][2]) if len(warm) > 1 else (0, 0)
    each = round(grown / final / options.validators, 1) if final else 0.0
    if each > options.disk_max:
        faults.append(f"{each} bytes on disk a transfer and node, expected at most {options.disk_max:g}")
    return Result(
        validators=options.validators,
        rate=options.rate,
        seconds=seconds,
        offered=load.offered if load else 0,
        final=load.final if load else 0,
        latency_ms=load.latency._asdict() if load and load.latency else {},
        disk_bytes=each,
        nodes=nodes,
        faults=faults,
    )


def node_figures(samples: Sequence[Sample]) -> dict[str, float]:
    """Of one node, once it is warm."""
    warm = samples[len(samples) // WARM_PARTS :]
    return {
        "samples": len(warm),
        "memory_mib": round(warm[-1].anonymous_mib, 1),
        "memory_slope_mib_h": slope_h([(one.at_s, one.anonymous_mib) for one in warm]),
        "mapped_mib": round(warm[-1].file_mib, 1),
        "files": warm[-1].files,
        "files_slope_h": slope_h([(one.at_s, one.files) for one in warm]),
        "runs": max(one.runs for one in warm),
    }


def slope_h(points: Sequence[tuple[float, float]]) -> float:
    """Least squares, an hour; 0 for fewer than two points."""
    n = len(points)
    if n < 2:
        return 0.0
    mean_s, mean = sum(at for at, _ in points) / n, sum(value for _, value in points) / n
    spread = sum((at - mean_s) ** 2 for at, _ in points)
    return round(3600 * sum((at - mean_s) * (value - mean) for at, value in points) / spread, 1)


def lines(result: Result) -> list[str]:
    """For people."""
    return [
        f"{result.seconds} s at {result.rate:,}/s: {result.final:,} of {result.offered:,} transfers final",
        f"latency of the last minute {result.latency_ms}",
        f"on disk {result.disk_bytes} bytes a transfer and node",
        *(f"{name}: {found}" for name, found in result.nodes.items()),
        *(f"FOUND {fault}" for fault in result.faults),
    ]


if __name__ == "__main__":
    sys.exit(main())
