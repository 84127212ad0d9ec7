"""Pages whose parts follow from the code.

A part stands between a line `<!-- made: NAME -->` and a line `<!-- /made -->`; all else is written by hand.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from manual import api, layouts, results, tables

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"

_PART: Final = re.compile(r"(<!-- made: ([a-z-]+) -->\n).*?(<!-- /made -->)", re.DOTALL)

PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "settings": tables.settings,
    "exit-codes": tables.exit_codes,
    "readiness": tables.readiness,
    "limits-chain": tables.chain_limits,
    "limits-node": tables.node_limits,
    "record": layouts.record,
    "vertex": layouts.vertex_part,
    "commit": layouts.commit_part,
    "checkpoint": layouts.checkpoint_part,
    "messages": layouts.messages,
    "log": layouts.log,
    "files": layouts.files,
    "keys": layouts.keys,
    "methods": api.methods,
    "results": api.results,
    "errors": api.errors,
    "paths": api.paths,
    "codes": api.codes,
    "runs": results.runs,
}
"""What makes each part."""


def filled(text: str) -> str:
    """A page with its parts made anew. KeyError for a part that there is none of."""
    return _PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]().strip()}\n\n{found[3]}", text)


def pages() -> list[Path]:
    """All pages, by name."""
    return sorted(DOCS.glob("*.md"))


def stale() -> list[Path]:
    """Pages that are not what the code would make of them."""
    return [page for page in pages() if filled(text := page.read_text()) != text]


def write() -> list[Path]:
    """Make all pages current; those that were not."""
    changed = stale()
    for page in changed:
        page.write_text(filled(page.read_text()))
    return changed
