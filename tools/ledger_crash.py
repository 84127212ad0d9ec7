#!/usr/bin/env python3
"""Kill a whole ledger under load, again and again: `python3 tools/ledger_crash.py [--cycles N] [--seed S]`.

A process opens a ledger with frequent checkpoints and submits from several threads: single transfers,
batches, operations of assets. It tells each transaction that is final and each commit with its state root,
and is killed (-9) under load, at any moment of a start, or while it makes a new ledger. The next one must
find every acknowledged transaction with its place and status, the chain and roots that were told, a state
that adds up; what is final and handed in again gets the same result. At the end all of it is looked at,
histories too.

Exit status 1 if anything was found, or if fewer than 99 % of the cycles under load made progress.
"""

import argparse
import json
import sys
import time

import _setup

_setup.bootstrap()
sys.path[1:1] = [str(_setup.ROOT / "tests")]

from system.ledger_rig import Crashes, crash

PROGRESS_MIN = 0.99


def main() -> int:
    """Run the cycles and say what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cycles", type=int, default=1000, help="processes that are ended (default 1000)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments; what the kernel does is its own")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    options = parser.parse_args()
    started = time.monotonic()
    crashes = crash(options.cycles, options.seed)
    seconds = time.monotonic() - started
    if options.json:
        print(json.dumps(record(crashes, seconds, options.seed)))
    else:
        for finding in crashes.findings:
            print(f"FOUND {finding}")
        print("\n".join(lines(crashes, seconds, options.seed)))
    return int(bool(crashes.findings) or crashes.progress < PROGRESS_MIN * crashes.loaded)


def lines(crashes: Crashes, seconds: float, seed: int) -> list[str]:
    """For people."""
    moments = ", ".join(f"{count} at {moment}" for moment, count in sorted(crashes.moments.items()))
    ready = sorted(crashes.ready_ms) or [0]
    p50, p99 = ready[len(ready) // 2], ready[len(ready) * 99 // 100]
    replayed = max(crashes.replayed, default=0)
    return [
        f"{crashes.cycles} cycles in {seconds:.0f} s: {moments}; seed={seed}",
        f"{crashes.progress} of {crashes.loaded} under load made progress",
        f"{crashes.acknowledged} transactions acknowledged, {crashes.commits} commits told",
        f"{len(crashes.ready_ms)} starts were ready, {crashes.restored} of them from a checkpoint",
        f"ready after p50 {p50} ms, p99 {p99} ms, max {ready[-1]} ms; at most {replayed} commits replayed",
        f"{len(crashes.findings)} findings; {crashes.unfinished} unfinished folders left behind",
    ]


def record(crashes: Crashes, seconds: float, seed: int) -> dict[str, object]:
    """For programs."""
    ready = sorted(crashes.ready_ms) or [0]
    return {
        "name": "ledger.crash",
        "cycles": crashes.cycles,
        "moments": dict(sorted(crashes.moments.items())),
        "loaded": crashes.loaded,
        "progress": crashes.progress,
        "acknowledged": crashes.acknowledged,
        "commits": crashes.commits,
        "starts": len(crashes.ready_ms),
        "restored": crashes.restored,
        "replayed_max": max(crashes.replayed, default=0),
        "ready_ms": {"p50": ready[len(ready) // 2], "p99": ready[len(ready) * 99 // 100], "max": ready[-1]},
        "unfinished": crashes.unfinished,
        "findings": crashes.findings,
        "seconds": round(seconds, 1),
        "seed": seed,
    }


if __name__ == "__main__":
    sys.exit(main())
