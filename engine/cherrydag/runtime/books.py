"""The books: all that follows from the main chain. State, outcomes, indexes, and their checkpoints on disk.

    commit → executor → outcome (store) → indexes → root, if a checkpoint is due
                 └→ now and then the state, slice by slice, to a file: what a restart begins with

One thread owns the books. What they hold is derived: whatever of it is lost or damaged is made again from
the log.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from cherrydag.chain import Chain
from cherrydag.consensus.effects import SubDag
from cherrydag.crypto import DIGEST_BYTES
from cherrydag.errors import NoRoom, Overloaded, StorageError, invariant
from cherrydag.execution.accounts import Status
from cherrydag.execution.bonds import Bonds
from cherrydag.execution.executor import CommitResult, Executor
from cherrydag.execution.receipts import encode_receipts
from cherrydag.payload import payload_ids
from cherrydag.primitives import Digest, PublicKey
from cherrydag.runtime.checkpointing import Checkpointing
from cherrydag.runtime.index_keeper import IndexKeeper
from cherrydag.runtime.slices import Mask
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.transaction import Octets, Words
from cherrydag.vertex import Vertex

REPLAY_COMMITS: Final = 16
"""Commits that a replay reads from the log at a time."""


_MAY_PASS: Final = np.isin(np.arange(256), [status for status in Status if status.may_pass])


class Executed(NamedTuple):
    """A commit that has been executed. ids: of each vertex's transactions. receipts: as encode_receipts has
    them. state_root: if a checkpoint follows."""

    sub_dag: SubDag
    result: CommitResult
    ids: tuple[bytes, ...]
    receipts: bytes
    state_root: Digest | None

    @property
    def all_ids(self) -> bytes:
        """Of all transactions, in the commit's order."""
        return b"".join(self.ids)

    @property
    def all_statuses(self) -> Octets:
        """Of all transactions, in the commit's order."""
        return np.concatenate([*self.result.statuses, np.zeros(0, np.uint8)])

    @property
    def passing_ids(self) -> bytes:
        """Of transactions that had no effect, but may have one if they are committed again."""
        vertices = zip(self.ids, self.result.statuses, strict=True)
        passing = ((ids, _MAY_PASS[statuses]) for ids, statuses in vertices)
        return b"".join(_rows(ids, mask) for ids, mask in passing if mask.any())

    @property
    def places(self) -> Words:
        """Of all transactions, in the commit's order."""
        return places_of(self.result.index, sum(map(len, self.result.statuses)))


def _rows(ids: bytes, mask: Mask) -> bytes:
    return np.frombuffer(ids, np.uint8).reshape(-1, DIGEST_BYTES)[mask].tobytes()


class _Unwritten(NamedTuple):
    """An outcome that the store had no room for yet."""

    commit_index: int
    statuses: tuple[Octets, ...]
    vertices: tuple[Vertex, ...]
    receipts: bytes


class Books:
    """Executes commits in order and keeps what they lead to."""

    def __init__(
        self,
        chain: Chain,
        executor: Executor,
        store: LmdbStore,
        indexes: IndexKeeper,
        checkpointing: Checkpointing,
        checkpoint_commits: int,
    ) -> None:
        self.executor = executor
        self.indexes = indexes
        self.checkpointing = checkpointing
        self._chain = chain
        self._store = store
        self._checkpoint_commits = checkpoint_commits
        self._unwritten: deque[_Unwritten] = deque()
        self.root_index = executor.commit_index

    @property
    def commit_index(self) -> int:
        """Of the last commit in the books."""
        return self.executor.commit_index

    def apply(self, sub_dag: SubDag, ids: Sequence[bytes | None], *, needs_root: bool = True) -> Executed:
        """Execute the next commit. ids: of each vertex's transactions, None where nobody has them.
        needs_root: if a checkpoint follows it."""
        commit, vertices = sub_dag.commit, sub_dag.vertices
        result = self.executor.execute(sub_dag)
        known = tuple(
            payload_ids(vertex.payload, self._chain) if found is None else found
            for vertex, found in zip(vertices, ids, strict=True)
        )
        receipts = encode_receipts(result.receipts)
        self._unwritten.append(_Unwritten(commit.index, result.statuses, vertices, receipts))
        self._write_outcomes()
        self.indexes.add(commit.index, vertices, known, result.statuses)
        self.checkpointing.count(sum(map(len, result.statuses)))
        root = None
        if commit.index % self._checkpoint_commits == 0:
            root = self.root_now() if needs_root else None
            self.checkpointing.consider()
        return Executed(sub_dag, result, known, receipts, root)

    def root_now(self) -> Digest:
        """The root of the state as it is; costs what changed since the last one."""
        self.root_index = self.commit_index
        return self.executor.state_root()

    def bonds(self) -> Iterator[tuple[PublicKey, int]]:
        """Each operator and its active bond, as of the last commit. O(bonds)."""
        found = self.executor.find(Bonds)
        return iter(()) if found is None else found[0].active(found[1])

    def bond_of(self, operator: PublicKey) -> int:
        """An operator's active bond; 0 for none."""
        found = self.executor.find(Bonds)
        bond = None if found is None else found[0].get(found[1], operator)
        return 0 if bond is None else bond.active

    def replay(self, until: int | None = None) -> Iterator[int]:
        """Execute the durable commits that the books do not have; yields the index of each. until: no later
        one. Of the roots that were due only the last is made."""
        last = self._store.last_commit()
        end = 0 if last is None else last.index if until is None else min(until, last.index)
        last_root = end - end % self._checkpoint_commits
        while self.commit_index < end:
            first = self.commit_index + 1
            for commit in self._store.commits(first, min(end, first + REPLAY_COMMITS - 1)):
                vertices = [vertex for vertex in self._store.vertices(commit.vertices) if vertex is not None]
                invariant(len(vertices) == len(commit.vertices), "a stored commit has its vertices")
                sub_dag = SubDag(commit, tuple(vertices))
                self.apply(sub_dag, [None] * len(vertices), needs_root=commit.index >= last_root)
                yield commit.index
            if self.commit_index < first:
                raise StorageError(f"the log has no commit {first}, but its last is {end} or later")

    def on_store_progress(self) -> None:
        """The store has room again, or something is durable."""
        self._write_outcomes()
        self.checkpointing.on_store_progress()

    def _write_outcomes(self) -> None:
        while self._unwritten:
            try:
                batch = self._store.write_outcome(*self._unwritten[0])
            except (Overloaded, NoRoom):  # its next news is on_store_progress
                return
            self.checkpointing.outcome_batch = batch
            self._unwritten.popleft()


def places_of(commit_index: int, count: int) -> Words:
    """Numbers of the places of a commit's transactions."""
    return np.arange(count, dtype=np.uint64) + np.uint64(commit_index << 32)
