#!/usr/bin/env python3
"""Cut the power of a simulated disk under a store: `python3 tools/powercut.py [--images N] [--seed S]`.

One run is recorded, from the making of the store on, with every write and sync; then disks are made that lost
and reordered what was not synced, and each is opened: what was acknowledged of log, outcomes and generations
must be there, whole, and the store must go on from it. Exit status 1 if one broke a promise.
"""

import argparse
import sys
import time

import _setup

_setup.bootstrap()
sys.path[1:1] = [str(_setup.ROOT / "tests")]

from storage.powercut_rig import cut, record

ROUND = 500
"""Images between two lines of progress."""


def main() -> int:
    """Record, cut, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=10_000, help="disks to open (default 10,000)")
    parser.add_argument("--numbers", type=int, default=100, help="commits of the recorded run (default 100)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started, found = time.monotonic(), 0
    for done in range(0, options.images, ROUND):
        seed = options.seed + done // ROUND
        images = min(ROUND, options.images - done)
        for finding in cut(record(options.numbers, seed), images, seed):
            found += 1
            print(f"FOUND image {finding.image} of {images}, act {finding.act}, {finding.words}, seed={seed}")
        spent = time.monotonic() - started
        print(f"{done + images} images in {spent:.0f} s, {found} findings", flush=True)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
