"""Makes good what a check has found: vertices from another copy, outcomes by executing the chain again."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cherrydag.cli.checking import open_store
from cherrydag.cli.output import Progress
from cherrydag.errors import StorageError
from cherrydag.execution.catalogue import modules_of
from cherrydag.execution.receipts import encode_receipts
from cherrydag.runtime.home import Home
from cherrydag.runtime.restoring import state_at_genesis
from cherrydag.storage.check import VertexSource
from cherrydag.storage.lmdb import LmdbStore

_SEED_BYTES: Final = 16


@contextmanager
def other_copy(home: Home, text: str) -> Iterator[VertexSource]:
    """What stands for another copy of a home's chain: a ledger's folder, or where a node listens for peers.

    ConfigError if it is neither; ConnectionError if the node cannot be asked.
    """
    folder, (host, colon, port) = Path(text), text.rpartition(":")
    if not folder.exists() and colon and port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16:
        from cherrydag.net.visitor import Visitor

        genesis = home.genesis
        with Visitor((host.strip("[]"), int(port)), genesis.digest, genesis.committee().epoch) as visitor:
            yield visitor
    else:
        with open_store(Home.load(folder)) as store:
            yield store


def execute_again(home: Home, store: LmdbStore, commits: Sequence[int], progress: Progress) -> None:
    """Write the outcomes of these commits anew, which are damaged. Executes all up to the last of them.

    StorageError if the log does not begin with the chain, or lacks something.
    """
    bounds = store.commits_bounds()
    if bounds is None or bounds[0] != 1:
        raise StorageError(f"{store.folder}: the log does not begin with commit 1, so it cannot be executed")
    genesis = home.genesis
    executor, _ = state_at_genesis(
        genesis, modules_of(genesis.modules, genesis.chain()), os.urandom(_SEED_BYTES)
    )
    wanted, last = frozenset(commits), max(commits)
    for index in range(1, last + 1):
        sub_dag = store.sub_dag(index)
        if sub_dag is None:
            raise StorageError(f"{store.folder}: the log has no commit {index}")
        result = executor.execute(sub_dag)
        if index in wanted:
            store.write_outcome(index, result.statuses, sub_dag.vertices, encode_receipts(result.receipts))
        progress(index, last)
    store.sync()
