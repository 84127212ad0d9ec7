#!/usr/bin/env python3
"""Write what follows from the code in docs/: `python3 tools/docs.py [--check] [--drawings] [--plots]`.

Makes the parts between <!-- made: NAME --> and <!-- /made --> anew, and names the pages that have changed.
--check only names them, and exits 1 if there are any. --drawings draws the DAGs of docs/images from runs of
the simulator, --plots the measurements of docs/results.
"""

import argparse
import sys

import _setup

_setup.bootstrap()

from manual import drawings, pages, results


def main() -> int:
    """Write, or check; 1 if a page is not current."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing")
    parser.add_argument("--drawings", action="store_true", help="draw the DAGs anew")
    parser.add_argument("--plots", action="store_true", help="plot the measurements anew")
    options = parser.parse_args()
    if options.drawings:
        drawings.draw_all()
    if options.plots:
        results.plot_all()
    changed = pages.stale() if options.check else pages.write()
    for page in changed:
        print(f"{page.relative_to(_setup.ROOT)}: {'not current' if options.check else 'made anew'}")
    return int(options.check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
