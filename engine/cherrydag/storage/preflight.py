"""Reads a store's meta pages and newest entries: `python -m cherrydag.storage.preflight FOLDER`.

Exit status 0 if they can be read and are sound. What can be had again is no reason to refuse: vertices, which
a peer has, and outcomes, which execution gives.
LMDB trusts its pages, so a damaged one may well kill the process: that is what this process is for.
"""

import sys
from contextlib import suppress
from pathlib import Path

from cherrydag.errors import CherrydagError
from cherrydag.storage.directory import LEDGER, check_size
from cherrydag.storage.opening import check_schema, open_read_only
from cherrydag.storage.reader import Reader
from cherrydag.storage.schema import DamagedOutcomeError
from cherrydag.storage.scrub import scrub

VERTICES = 1024
"""Newest vertices that are read, as far as BYTES go."""

COMMITS = 64
"""Newest commits, and outcomes, that are read."""

BYTES = 64 << 20


def preflight(folder: Path) -> None:
    """Read what a start reads first. StorageError if it is damaged."""
    ledger = folder / LEDGER
    check_size(ledger)
    check_schema(ledger)
    native = open_read_only(ledger)
    try:
        reader = Reader(native)
        reader.identity()
        reader.check_counts()
        commits = reader.commits
        commits.all_swaps()
        if bounds := commits.bounds():
            commits.commits(max(bounds[0], bounds[1] - COMMITS + 1), bounds[1])
        if bounds := commits.outcome_bounds():
            with suppress(DamagedOutcomeError):
                commits.outcomes(max(bounds[0], bounds[1] - COMMITS + 1), bounds[1])
        newest = reader.vertices.next_seq() - 1
        scrub(reader.vertices, range(newest, max(-1, newest - VERTICES), -1), BYTES)
    finally:
        native.close()


def main() -> int:
    """1 if the store must not be opened; the last line on stderr says why."""
    try:
        preflight(Path(sys.argv[1]))
    except CherrydagError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's words
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
