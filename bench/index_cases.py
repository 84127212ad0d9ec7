"""The benches of the sorted-run index, in the same registry as those of cases.py."""

import random
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cases import SEED, Prepared, case
from cherrydag.storage.run_index import KEY_BYTES, RunIndex

SQLITE = "SQLite, (key, place) without rowid, no sync"
HOT = b"hot account 0001"
BATCH = 4096
HOT_IN_BATCH = 512
FEW = 20_000
QUERIES = 1000

Batch = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]


def batches(entries: int) -> Iterator[Batch]:
    """Random keys; every eighth entry is the hot account's."""
    rng = np.random.default_rng(SEED)
    for start in range(0, entries, BATCH):
        keys = rng.integers(0, 256, (BATCH, KEY_BYTES), dtype=np.uint8)
        keys[:HOT_IN_BATCH] = np.frombuffer(HOT, np.uint8)
        yield keys, np.arange(start, start + BATCH, dtype=np.uint64)


def work(index: RunIndex) -> None:
    """Do what work there is."""
    while (job := index.job()) is not None:
        job.run()
        index.adopt(job)


class Table:
    """The same in SQLite, as its tree wants it: no table beside the index."""

    def __init__(self) -> None:
        self.database = sqlite3.connect(":memory:")
        self.database.execute("create table entry (key, place, primary key (key, place)) without rowid")
        self.rows: list[tuple[bytes, int]] = []

    def add(self, entries: int) -> None:
        """Fill it, beginning empty."""
        if not self.rows:
            for keys, places in batches(entries):
                named = (keys[i].tobytes() for i in range(BATCH))
                self.rows += zip(named, places.tolist(), strict=True)
        with self.database:
            self.database.execute("delete from entry")
            self.database.executemany("insert into entry values (?, ?)", self.rows[:entries])

    def page(self, key: bytes, before: int, limit: int) -> list[int]:
        """The newest places of a key below one."""
        words = "select place from entry where key = ? and place < ? order by place desc limit ?"
        return [place for (place,) in self.database.execute(words, (key, before, limit))]


@case("index.add/batch=4096", "ns/entry", SQLITE, entries=1 << 19)
def add(entries: int) -> Prepared:
    """Add half a million entries to an empty index: what the owner's thread does."""
    ready, folder, table = list(batches(entries)), tempfile.TemporaryDirectory(), Table()
    index = RunIndex(Path(folder.name), "bench")

    def reset() -> None:
        nonlocal index
        index.close()
        index = RunIndex(Path(folder.name), "bench")

    def run() -> None:
        for keys, places in ready:
            index.add(keys, places)

    return Prepared(run, entries, lambda: table.add(FEW), FEW, reset)


@case("index.grow/entries=4194304", "ns/entry", SQLITE, entries=1 << 22)
def grow(entries: int) -> Prepared:
    """Add entries to an empty index with all the work on files that follows, fsync and merges included."""
    ready, folder, table = list(batches(1 << 20)), tempfile.TemporaryDirectory(), Table()
    index = RunIndex(Path(folder.name), "bench")

    def reset() -> None:
        nonlocal index
        index.close()
        index = RunIndex(Path(folder.name), "bench")
        index.discard()

    def run() -> None:
        for start in range(0, entries, 1 << 20):
            for keys, places in ready:
                index.add(keys, places + np.uint64(start))
                work(index)

    return Prepared(run, entries, lambda: table.add(FEW), FEW, reset)


def filled(entries: int) -> tuple[RunIndex, Table, list[bytes]]:
    """An index with all of its entries on disk, the table with few of them, and keys that are in both."""
    table = Table()
    with tempfile.TemporaryDirectory() as folder:  # the runs stay readable when their names are gone
        index = filled_index(Path(folder), entries)
    table.add(FEW)
    known = [key for key, _ in table.rows[:FEW] if key != HOT]
    return index, table, random.Random(SEED).sample(known, QUERIES)


def filled_index(folder: Path, entries: int) -> RunIndex:
    """An index with all of its entries on disk."""
    index = RunIndex(folder, "bench")
    for keys, places in batches(entries):
        index.add(keys, places)
        work(index)
    last = index.seal()
    if last is not None:
        last.run()
        index.adopt(last)
    return index


@case("index.find/entries=10000000", "us/lookup", SQLITE, entries=10_000_000)
def find(entries: int) -> Prepared:
    """Find keys that occur once, with the files in the page cache; the baseline holds 20,000 entries."""
    index, table, keys = filled(entries)
    if any(index.find(key) != table.page(key, 1 << 62, 16) for key in keys):
        raise AssertionError("the index and the table disagree")

    def run() -> None:
        for key in keys:
            index.find(key)

    return Prepared(run, QUERIES, lambda: [table.page(key, 1 << 62, 16) for key in keys], QUERIES)


@case("index.page/limit=50", "us/page", SQLITE, entries=10_000_000, limit=50)
def page(entries: int, limit: int) -> Prepared:
    """Pages of a key with 1.25 million entries, from anywhere in its history."""
    index, table, _ = filled(entries)
    rng = random.Random(SEED)
    places = [rng.randrange(entries) for _ in range(QUERIES)]
    few = [rng.randrange(FEW) for _ in range(QUERIES)]
    if index.page(HOT, before=FEW, limit=limit) != table.page(HOT, FEW, limit):
        raise AssertionError("the index and the table disagree")

    def run() -> None:
        for before in places:
            index.page(HOT, before=before, limit=limit)

    return Prepared(run, QUERIES, lambda: [table.page(HOT, before, limit) for before in few], QUERIES)
