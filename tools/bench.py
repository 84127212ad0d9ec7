#!/usr/bin/env python3
"""Time ours beside a baseline: `python3 tools/bench.py [NAME ...] [--json] [--quick] [--backend NAME|all]`.

NAME selects the benches whose names begin with it. The two sides take turns in one process, and the ratio
(baseline / ours, larger is better) is the median of the rounds' ratios: on a machine that others use,
ratios can be trusted and seconds cannot. --json prints one object a line: name, value (median time per
item), unit, baseline, baseline_value, ratio, backend, n (items in a call of ours), then p50, p99, min,
rounds and seed; the machine is described on stderr.

`python3 tools/bench.py tps --help`: a network of real processes under load. `catchup --help`: a node that
joins one late. `rpc --help`: calls of one node's API. `dag_feed --help`: what followers of its DAG cost it.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import _setup

_setup.bootstrap()
if __name__ == "__main__" and sys.argv[1:2] in (["tps"], ["catchup"], ["rpc"], ["dag_feed"]):
    script = _setup.ROOT / "bench" / f"{sys.argv[1]}.py"
    os.execv(sys.executable, [sys.executable, str(script), *sys.argv[2:]])
sys.path[1:1] = [str(_setup.ROOT / "bench"), str(_setup.ROOT / "tests")]

from all_cases import CASES, SEED, Case, Prepared, nothing
from cherrydag import crypto

TURN_SECONDS = 0.01
"""How long one side runs before the other has its turn, at least one call."""


@dataclass(frozen=True, slots=True)
class Result:
    """One bench on one backend: times per item in `unit`. The fields are the keys of --json."""

    name: str
    value: float
    unit: str
    baseline: str
    baseline_value: float
    ratio: float
    backend: str
    n: int
    p50: float
    p99: float
    min: float
    rounds: int
    seed: int


def main() -> int:
    """Run the benches that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help="beginnings of names; all benches if none")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--quick", action="store_true", help="5 rounds instead of 40")
    parser.add_argument("--backend", choices=[*crypto.backends(), "all"], default=crypto.backend())
    options = parser.parse_args()
    cases = select(options.names)
    backends = crypto.backends() if options.backend == "all" else [options.backend]
    print("\n".join(machine()), file=sys.stderr if options.json else sys.stdout, flush=True)
    if not options.json:
        print(f"\n{'bench':34} {'backend':12} {'median':>9} {'min':>9} {'baseline':>9}  {'unit':14}  ratio")
    for case in cases:
        prepared = case.prepare()
        for backend in backends:
            crypto.use_backend(backend)
            result = measure(case, prepared, rounds=5 if options.quick else 40)
            print(json.dumps(asdict(result)) if options.json else row(result), flush=True)
    return 0


def select(prefixes: list[str]) -> list[Case]:
    """The cases that match any prefix, in the order of the registry."""
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in CASES):
            listed = "\n  ".join(CASES)
            sys.exit(f"bench: no name begins with {prefix!r}; there are:\n  {listed}")
    return [case for name, case in CASES.items() if not prefixes or name.startswith(tuple(prefixes))]


def measure(case: Case, prepared: Prepared, rounds: int) -> Result:
    """Let ours and the baseline take turns; a first round warms up and does not count."""
    ours, baseline = [], []
    for _ in range(rounds + 1):
        ours.append(turn(prepared.run, prepared.reset) / prepared.items * case.scale)
        baseline.append(turn(prepared.baseline_run, nothing) / prepared.baseline_items * case.scale)
    del ours[0], baseline[0]
    ratios = [theirs / mine for mine, theirs in zip(ours, baseline, strict=True)]
    return Result(
        name=case.name,
        value=rounded(statistics.median(ours)),
        unit=case.unit,
        baseline=case.baseline,
        baseline_value=rounded(statistics.median(baseline)),
        ratio=rounded(statistics.median(ratios)),
        backend=crypto.backend(),
        n=prepared.items,
        p50=rounded(statistics.median(ours)),
        p99=rounded(sorted(ours)[(99 * len(ours) - 1) // 100]),
        min=rounded(min(ours)),
        rounds=rounds,
        seed=SEED,
    )


def turn(run: Callable[[], object], reset: Callable[[], None]) -> float:
    """Mean seconds of a call, over as many as fit the turn; the resets are not counted."""
    spent, calls = 0.0, 0
    while spent < TURN_SECONDS:
        reset()
        started = time.perf_counter()
        run()
        spent += time.perf_counter() - started
        calls += 1
    return spent / calls


def rounded(value: float) -> float:
    """Four significant digits: more would only be noise."""
    return float(f"{value:.4g}")


def row(result: Result) -> str:
    """One line of the table."""
    return (
        f"{result.name:34} {result.backend:12} {result.value:9.4g} {result.min:9.4g} "
        f"{result.baseline_value:9.4g}  {result.unit:14} {result.ratio:5.1f}x  {result.baseline}"
    )


def machine() -> Iterator[str]:
    """What the figures were taken on."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else []:
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    load = os.getloadavg()[0]
    yield f"machine: {model}, {os.cpu_count()} cores, load {load:.1f}, {platform.platform()}"
    packages = ("cherrydag", "pynacl", "blake3", "numpy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    yield f"interpreter: {platform.python_implementation()} {platform.python_version()}; {versions}"
    yield f"backends: {', '.join(crypto.backends())}; in force: {crypto.backend()}"


if __name__ == "__main__":
    sys.exit(main())
