"""How much room a database takes, and how much of that holds nothing."""

from typing import NamedTuple

from cherrydag.storage.directory import DATA, LEDGER
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.schema import Table


class TableStats(NamedTuple):
    """A table by its name; bytes: of its pages."""

    name: str
    entries: int
    bytes: int


class StoreStats(NamedTuple):
    """file_bytes: size of the file. pages: of page_bytes each, in use or free; free_pages: those of them that
    later writes take. fragmentation_permille: their share."""

    tables: tuple[TableStats, ...]
    file_bytes: int
    page_bytes: int
    pages: int
    free_pages: int
    fragmentation_permille: int


def stats(store: LmdbStore) -> StoreStats:
    """The sizes of what is durable. Reads the list of free pages, and no values."""
    reader = store.reader
    page_bytes, free_pages = reader.free_pages()
    pages = store.info().used_bytes // page_bytes
    tables = tuple(
        TableStats(table.name.lower(), reader.count(table), reader.pages(table) * page_bytes)
        for table in Table
    )
    file_bytes = (store.folder / LEDGER / DATA).stat().st_size
    return StoreStats(tables, file_bytes, page_bytes, pages, free_pages, 1000 * free_pages // pages)
