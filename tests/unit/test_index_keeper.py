"""Both indexes of a ledger: found at every moment, and no seal or flush waits for a merge."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from later import Later
from vertices import digest, transfers

from cherrydag.address import addresses_of
from cherrydag.errors import InvariantViolation, Overloaded
from cherrydag.execution.accounts import Status
from cherrydag.payload import Payload
from cherrydag.primitives import Address, Digest
from cherrydag.runtime.index_keeper import ACCOUNTS, TRANSACTIONS, IndexKeeper, Place
from cherrydag.storage.run_index import RunIndex, RunOptions

SIZE = 8
"""Transactions of a commit: each is one entry of one index and two of the other, and fills both."""

SMALL = RunOptions(flush_entries=SIZE, memory_entries_max=10 * SIZE, merge_ratio=2, runs_max=4)

RECORDS = transfers(SIZE)
SENDER = Address(addresses_of(RECORDS["sender"])[0].tobytes())


def transaction(commit: int, row: int) -> Digest:
    return Digest(digest("transaction", commit, row))


class _Thread(Later):
    """drained: tasks that somebody waited for."""

    drained = 0

    @property
    def outstanding(self) -> int:
        return len(self.tasks)

    def drain(self) -> None:
        while self.tasks:
            self.run()
            self.drained += 1


class Books:
    """A keeper whose work waits until it is told to run."""

    def __init__(self, folder: Path, options: RunOptions = SMALL) -> None:
        self.folder, self.options = folder, options
        self.writer, self.merger = _Thread(), _Thread()
        self.sealed: list[Any] = []
        self.commits = 0
        threads: Any = (self.writer, self.merger)
        self.keeper = IndexKeeper(folder, {}, *threads, options)

    def add(self, commits: int = 1) -> None:
        for _ in range(commits):
            self.commits += 1
            vertex: Any = SimpleNamespace(payload=Payload(RECORDS, b"", None, Digest(bytes(32))))
            ids = b"".join(transaction(self.commits, row) for row in range(SIZE))
            self.keeper.add(self.commits, [vertex], [ids], [np.full(SIZE, Status.APPLIED, np.uint8)])

    def seal(self) -> None:
        self.keeper.seal(self.sealed.append)

    def check(self) -> None:
        """Every transaction is found, once, where it stands."""
        for commit in range(1, self.commits + 1):
            for row in range(SIZE):
                assert list(self.keeper.find(transaction(commit, row))) == [Place(commit, row)]

    def last_sealed(self) -> dict[str, int]:
        """The newest commit in each index's sealed files."""
        return {
            name: RunIndex(self.folder, name, runs, self.options).last_place >> 32
            for name, runs in self.sealed[-1].items()
        }


def until_merge(books: Books) -> None:
    """Runs pile up until both indexes wait for a merge."""
    while len(books.merger.tasks) < 2:
        books.add()
        books.writer.drain()


def test_seal_waits_for_no_merge(tmp_path: Path) -> None:
    books = Books(tmp_path)
    until_merge(books)
    books.add()
    books.seal()
    books.writer.drain()
    assert len(books.merger.tasks) == 2
    assert books.last_sealed() == {TRANSACTIONS: books.commits, ACCOUNTS: books.commits}
    books.check()


def test_seal_waits_for_what_is_being_written_and_holds_nothing_newer(tmp_path: Path) -> None:
    books = Books(tmp_path)
    books.add()
    assert len(books.writer.tasks) == 2  # both indexes are being written
    books.add()
    books.seal()
    books.add(2)
    assert not books.keeper.can_seal
    while not books.sealed:
        books.writer.run()
    assert books.last_sealed() == {TRANSACTIONS: 2, ACCOUNTS: 2}
    assert books.writer.tasks  # what came meanwhile is being written by now
    books.check()


def test_an_empty_index_is_sealed_at_once(tmp_path: Path) -> None:
    books = Books(tmp_path)
    books.seal()
    assert books.sealed == [{TRANSACTIONS: (), ACCOUNTS: ()}]
    assert books.keeper.can_seal


def test_one_seal_at_a_time(tmp_path: Path) -> None:
    books = Books(tmp_path)
    books.add()
    books.seal()
    with pytest.raises(InvariantViolation, match="one seal at a time"):
        books.seal()


def test_a_merge_that_ends_after_the_seal_keeps_the_sealed_files(tmp_path: Path) -> None:
    books = Books(tmp_path)
    until_merge(books)
    books.seal()
    books.writer.drain()
    books.merger.drain()
    books.keeper.discard(books.sealed[-1])
    assert books.last_sealed() == {TRANSACTIONS: books.commits, ACCOUNTS: books.commits}
    books.check()


def test_memory_that_is_full_waits_for_the_writer(tmp_path: Path) -> None:
    books = Books(tmp_path)
    books.add(2)
    assert len(books.writer.tasks) == 2
    books.add(10)  # twice what may be in memory
    books.check()
    assert len(books.keeper.history(SENDER, None, 1)) == 1


def test_memory_that_is_full_behind_a_crowd_of_files_waits_for_their_merge(tmp_path: Path) -> None:
    books = Books(tmp_path)
    for _ in range(SMALL.runs_max + 1):
        books.add()
        books.writer.drain()
    assert not books.merger.drained
    books.add(20)  # nothing more is written, until memory is full
    books.check()
    assert books.merger.drained > 0


def test_more_runs_than_can_be_merged_hold_up_a_seal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cherrydag.storage.run_index.UNMERGED_MAX", 4)
    books = Books(tmp_path)
    while books.keeper.can_seal:
        books.add()
        books.seal()
        books.writer.drain()
    with pytest.raises(Overloaded, match="4 runs wait"):
        books.keeper._indexes[ACCOUNTS].seal()
    books.merger.drain()
    assert books.keeper.can_seal
    books.check()
