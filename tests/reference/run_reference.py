"""The sorted-run index in plain Python: what it answers, and what its files hold, byte for byte."""

from bisect import insort
from collections.abc import Iterable
from struct import Struct

from blake3 import blake3

CONTEXT = "cherrydag 2026-11-22 run page v1"
PAGE_BYTES = 4096
PAGE_ENTRIES = 170
HEAD = Struct("<IHH")
ENTRY = Struct("<16sQ")
FOOTER = Struct("<8sIIQQQ")
DATA, FENCE, LAST = 1, 2, 3

Entry = tuple[bytes, int]


class ReferenceIndex:
    """A dict of sorted lists."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.places: dict[bytes, list[int]] = {}
        self.add(entries)

    def add(self, entries: Iterable[Entry]) -> None:
        """Add entries in any order."""
        for key, place in entries:
            insort(self.places.setdefault(key, []), place)

    def find(self, key: bytes, limit: int) -> list[int]:
        """The newest places, ascending."""
        return self.places.get(key, [])[-limit:]

    def page(self, key: bytes, before: int | None, after: int | None, limit: int) -> list[int]:
        """The oldest above `after`, ascending; else the newest below `before`, descending."""
        places = self.places.get(key, [])
        if after is not None:
            return [place for place in places if place > after][:limit]
        return [place for place in reversed(places) if before is None or place < before][:limit]

    def entries(self) -> list[Entry]:
        """All of them, sorted."""
        return sorted((key, place) for key, places in self.places.items() for place in places)


def run_file(index: str, name: str, entries: Iterable[Entry]) -> bytes:
    """The bytes of the run `name` of an index, with these entries."""
    ordered = sorted(entries)
    data = [ordered[at : at + PAGE_ENTRIES] for at in range(0, len(ordered), PAGE_ENTRIES)]
    firsts = [page[0] for page in data]
    fences = [firsts[at : at + PAGE_ENTRIES] for at in range(0, len(firsts), PAGE_ENTRIES)]
    bodies = [(DATA, page) for page in data] + [(FENCE, page) for page in fences]
    pages = [
        HEAD.pack(number, kind, len(page)) + b"".join(ENTRY.pack(*entry) for entry in page)
        for number, (kind, page) in enumerate(bodies)
    ]
    places = [place for _, place in ordered]
    footer = FOOTER.pack(b"cherryrn", 1, len(data), len(ordered), min(places), max(places))
    pages.append(HEAD.pack(len(pages), LAST, 0) + footer)
    return b"".join(seal(index, name, page) for page in pages)


def seal(index: str, name: str, page: bytes) -> bytes:
    """A whole page out of the content of one, with the seal that belongs to it."""
    key = blake3(f"{index}/{name}".encode(), derive_key_context=CONTEXT).digest()
    content = page.ljust(PAGE_BYTES - 8, b"\0")
    return content + blake3(content, key=key).digest()[:8]
