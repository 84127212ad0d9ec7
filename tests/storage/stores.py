"""What the tests of every store share: a chain of 20 commits, and how to write and read all of it."""

from collections.abc import Callable
from typing import Protocol

from sync_chain import main_chain

from cherrydag.commit import Commit
from cherrydag.consensus.effects import Persist, SwapRecord, Ticket
from cherrydag.consensus.ports import Store
from cherrydag.primitives import Round
from cherrydag.vertex import ValidatorVertex


class WritableStore(Store, Protocol):
    def write(self, persist: Persist) -> None: ...

    def sync(self) -> Ticket: ...

    def newest(self, author: int) -> list[ValidatorVertex]: ...


MakeStore = Callable[[], WritableStore]
Reopen = Callable[[WritableStore], WritableStore]

CHAIN_OF_20 = main_chain(20)


def persist(ticket: int, commit: Commit, *swaps: SwapRecord) -> Persist:
    return Persist(Ticket(ticket), CHAIN_OF_20.of(commit), (commit,), swaps)


def fill(store: WritableStore, first: int = 1, last: int = 20) -> None:
    for ticket, commit in enumerate(CHAIN_OF_20.commits[first - 1 : last], first):
        store.write(persist(ticket, commit))


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
    )
