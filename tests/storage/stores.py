"""What the tests of every store share: a chain of 20 commits, and how to write and read all of it."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from sync_chain import main_chain

from cherrydag.commit import Commit
from cherrydag.consensus.effects import Persist, SubDag, SwapRecord, Ticket
from cherrydag.consensus.ports import Store
from cherrydag.primitives import Round
from cherrydag.storage.values import CommitOutcome, RecordPlace, StoredRecord
from cherrydag.transaction import Octets
from cherrydag.vertex import ValidatorVertex, Vertex


class WritableStore(Store, Protocol):
    def write(self, persist: Persist) -> None: ...

    def sync(self) -> Ticket: ...

    def newest(self, author: int) -> Sequence[ValidatorVertex]: ...

    def write_outcome(
        self, commit_index: int, statuses: Sequence[Octets], vertices: Sequence[Vertex], receipts: bytes = b""
    ) -> int: ...

    @property
    def durable_batch(self) -> int: ...

    def outcomes_bounds(self) -> tuple[int, int] | None: ...

    def outcome(self, commit_index: int) -> CommitOutcome | None: ...

    def outcomes(self, first: int, last: int) -> Sequence[CommitOutcome]: ...

    def sub_dag(self, commit_index: int) -> SubDag | None: ...

    def record(self, commit_index: int, position: int) -> StoredRecord | None: ...

    def records(self, places: Sequence[RecordPlace]) -> list[StoredRecord | None]: ...


MakeStore = Callable[[], WritableStore]
Reopen = Callable[[WritableStore], WritableStore]

CHAIN_OF_20 = main_chain(20)


def persist(ticket: int, commit: Commit, *swaps: SwapRecord) -> Persist:
    return Persist(Ticket(ticket), CHAIN_OF_20.of(commit), (commit,), swaps)


def fill(store: WritableStore, first: int = 1, last: int = 20) -> None:
    for ticket, commit in enumerate(CHAIN_OF_20.commits[first - 1 : last], first):
        store.write(persist(ticket, commit))


def statuses_of(commit: Commit) -> tuple[Octets, ...]:
    """What became of the transactions of a commit."""
    return tuple(
        np.full(len(vertex.payload), commit.index + row, np.uint8)
        for row, vertex in enumerate(CHAIN_OF_20.of(commit))
    )


def outcome_of(commit: Commit) -> CommitOutcome:
    return CommitOutcome(commit.index, statuses_of(commit), b"receipts" * (commit.index % 3))


def execute(store: WritableStore, commit: Commit) -> int:
    """Write the outcome of a commit; its batch."""
    outcome = outcome_of(commit)
    return store.write_outcome(commit.index, outcome.statuses, CHAIN_OF_20.of(commit), outcome.receipts)


def dump(store: WritableStore) -> tuple[object, ...]:
    """All that can be read."""
    refs = list(CHAIN_OF_20.vertices)
    return (
        store.last_commit(),
        list(store.commits(1, 99)),
        store.vertices(refs),
        list(store.vertices_above(Round(0))),
        store.swaps(),
        [store.newest(author) for author in range(4)],
        [store.sub_dag(index) for index in range(22)],
        list(store.outcomes(1, 99)),
        [store.record(index, position) for index in range(22) for position in range(3)],
    )
