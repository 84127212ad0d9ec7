"""What a stopped network has on its disks: the chains compared, and executed again from genesis."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from cherrydag.execution.accounts import Status
from cherrydag.execution.catalogue import modules_of
from cherrydag.primitives import Digest
from cherrydag.runtime.home import Home
from cherrydag.runtime.restoring import state_at_genesis
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.schema import Identity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_SEED_BYTES: Final = 16


class Audit(NamedTuple):
    """One node's chain up to a commit, as executed from its log. applied: transactions that took effect."""

    commit_index: int
    commit_digest: Digest
    state_root: Digest
    applied: int


def last_commit_index(folder: Path) -> int:
    """Of the chain in a node's folder."""
    with open_store(Home.load(folder)) as store:
        last = store.last_commit()
    return last.index if last else 0


def audit(folders: Sequence[Path], processes: int) -> list[Audit]:
    """Execute the chains of stopped nodes, from genesis to the last commit that all of them have.

    Several processes share the work, one node each at a time. StorageError if a log cannot be read.
    """
    last = min(map(last_commit_index, folders))
    if not last:
        return []
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return list(pool.map(execute_log, folders, [last] * len(folders)))


def execute_log(folder: Path, last: int) -> Audit:
    """Execute one node's chain up to its commit `last`, from 1."""
    home = Home.load(folder)
    genesis = home.genesis
    executor, _ = state_at_genesis(genesis, modules_of(genesis.modules), os.urandom(_SEED_BYTES))
    applied, digest = 0, Digest(b"")
    with open_store(home) as store:
        for index in range(1, last + 1):
            sub_dag = store.sub_dag(index)
            if sub_dag is None:
                raise LookupError(f"{folder}: the log has no commit {index}")
            result = executor.execute(sub_dag)
            digest = sub_dag.commit.digest
            applied += sum(int(np.count_nonzero(codes == Status.APPLIED)) for codes in result.statuses)
    return Audit(last, digest, executor.state_root(), applied)


def open_store(home: Home) -> LmdbStore:
    """The store of a stopped node."""
    genesis = home.genesis
    return LmdbStore(home.data, Identity(genesis.digest, genesis.committee().epoch))
