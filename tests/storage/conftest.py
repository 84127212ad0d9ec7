"""Every kind of store, for the suites that run for all of them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from storage.stores import MakeStore, Reopen, WritableStore
from vertices import CHAIN, EPOCH

from cherrydag.consensus.effects import Ticket
from cherrydag.storage.lmdb import LmdbStore, StoreOptions
from cherrydag.storage.memory import MemoryStore
from cherrydag.storage.schema import Identity


class SyncedCopy(LmdbStore):
    """Keeps a copy of the database as it was at the last sync, for `reopen`: the writer may be further."""

    def __init__(self, folder: Path) -> None:
        options = StoreOptions(map_bytes=1 << 24, preflight=False)
        super().__init__(folder, Identity(CHAIN.genesis_digest, EPOCH), options)
        self.sync()

    def sync(self) -> Ticket:
        ticket = super().sync()
        copy = self.folder.with_suffix(".copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.folder, copy)
        return ticket


@pytest.fixture(params=["memory", "lmdb"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def make_store(kind: str, tmp_path: Path) -> Iterator[MakeStore]:
    """An empty store."""
    opened: list[LmdbStore] = []

    def make() -> WritableStore:
        if kind == "memory":
            return MemoryStore()
        opened.append(SyncedCopy(tmp_path / str(len(opened))))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def reopen() -> Iterator[Reopen]:
    """The store as a restart finds it that kept nothing but what was synced."""
    opened: list[LmdbStore] = []

    def crash(store: WritableStore) -> WritableStore:
        if isinstance(store, MemoryStore):
            return store.crash(keep=0)
        assert isinstance(store, SyncedCopy)
        store.close()
        copy = store.folder.with_suffix(".copy")
        opened.append(SyncedCopy(copy.rename(copy.parent / f"reopened {len(opened)}")))
        return opened[-1]

    yield crash
    for store in opened:
        store.close()
