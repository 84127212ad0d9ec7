"""Reads a store's meta pages and newest entries: `python -m cherrydag.storage.preflight FOLDER`.

Exit status 0 if they can be read and are sound; vertices that a peer could replace are no reason to refuse.
LMDB trusts its pages, so a damaged one may well kill the process: that is what this process is for.
"""

import sys
from pathlib import Path

from cherrydag._native.store import Store
from cherrydag.errors import CherrydagError
from cherrydag.storage.directory import DATA, LEDGER, check_size
from cherrydag.storage.reader import Reader
from cherrydag.storage.schema import SEAL_KEY, TABLES
from cherrydag.storage.scrub import scrub

VERTICES = 1024
"""Newest vertices that are read, as far as BYTES go."""

COMMITS = 64
"""Newest commits that are read."""

BYTES = 64 << 20


def preflight(folder: Path) -> None:
    """Read what a start reads first. StorageError if it is damaged."""
    ledger = folder / LEDGER
    check_size(ledger)
    size = (ledger / DATA).stat().st_size
    native = Store(ledger, TABLES, SEAL_KEY, map_bytes=size, map_bytes_max=size, read_only=True)
    try:
        reader = Reader(native)
        reader.identity()
        reader.check_counts()
        reader.check_swaps()
        if bounds := reader.commit_bounds():
            reader.commits(max(bounds[0], bounds[1] - COMMITS + 1), bounds[1])
        newest = reader.next_seq() - 1
        scrub(reader, range(newest, max(-1, newest - VERTICES), -1), BYTES)
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
