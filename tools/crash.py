#!/usr/bin/env python3
"""Kill a process that writes to a store, again and again: `python3 tools/crash.py [--cycles N] [--seed S]`.

After each kill -9 the store is opened: all that was acknowledged must be there, whole tickets only, in order.
Exit status 1 if it was not, or if fewer than 99 % of the cycles acknowledged anything new.
"""

import argparse
import sys
import time

import _setup

_setup.bootstrap()
sys.path[1:1] = [str(_setup.ROOT / "tests")]

from storage.crash_rig import crash

PROGRESS_MIN = 0.99


def main() -> int:
    """Run the cycles and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cycles", type=int, default=1000, help="kills (default 1000)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started = time.monotonic()
    crashes = crash(options.cycles, options.seed)
    for finding in crashes.findings:
        print(f"FOUND {finding}")
    print(
        f"{crashes.cycles} kills in {time.monotonic() - started:.0f} s, {crashes.progress} with progress, "
        f"{crashes.last} tickets and outcomes in the end, {len(crashes.findings)} findings, "
        f"seed={options.seed}"
    )
    return int(bool(crashes.findings) or crashes.progress < PROGRESS_MIN * options.cycles)


if __name__ == "__main__":
    sys.exit(main())
