"""Checkpoints of the books on disk, made beside the work: what a restart begins with.

    consider → seal the indexes, begin a snapshot of the state → chunks to a file, one at a time
             → the outcomes up to there durable → the manifest names state and index files → old files go

A generation holds for exactly one commit. Until its manifest is published, the one before holds.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cherrydag.errors import NoRoom
from cherrydag.execution.checkpoint import Chunk, StateSnapshot, encode_head
from cherrydag.execution.executor import Executor
from cherrydag.params import RECORD_BYTES
from cherrydag.runtime.background import Background
from cherrydag.runtime.index_keeper import IndexKeeper
from cherrydag.storage.chunk_file import ChunkWriter
from cherrydag.storage.generation import Generation, IndexRuns, publish_manifest
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.schema import Identity

STATE_PREFIX: Final = "state-"
"""What the names of state files begin with; the commit's index follows."""

TRANSACTIONS: Final = 500_000
"""Transactions between two checkpoints, at least: a restart replays them, and those that came while the last
one was written, at 300,000 a second or so."""

STATE_SHARE: Final = 2
"""And the log must have grown by so many times what the state took: checkpoints stay the smaller part of what
is written."""


@dataclass(slots=True)
class _Run:
    """A checkpoint that is being made. outcome_batch: the store's batch that its last outcome is in."""

    name: str
    snapshot: StateSnapshot
    chunks: Iterator[Chunk]
    writer: ChunkWriter
    outcome_batch: int
    state_bytes: int = 0
    runs: Mapping[str, tuple[str, ...]] | None = None
    is_written: bool = False
    is_publishing: bool = False


class Checkpointing:
    """Makes the checkpoints of one ledger. Its methods run on the owner's thread, files on the background's.

    transactions: executed between two checkpoints, at least. kept: the generations on disk, oldest first.
    No commit waits for a checkpoint.
    """

    def __init__(
        self,
        folder: Path,
        identity: Identity,
        executor: Executor,
        indexes: IndexKeeper,
        store: LmdbStore,
        background: Background,
        transactions: int = TRANSACTIONS,
        kept: Sequence[Generation] = (),
    ) -> None:
        self.outcome_batch = 0
        self.commit_index = executor.commit_index
        self._folder = folder
        self._identity = identity
        self._executor = executor
        self._indexes = indexes
        self._store = store
        self._background = background
        self._transactions = transactions
        self._kept = list(kept)
        self._since = 0
        self._state_bytes = 0
        self._run: _Run | None = None

    @property
    def is_running(self) -> bool:
        """Whether a checkpoint is being made."""
        return self._run is not None

    def count(self, transactions: int) -> None:
        """So many more have been executed."""
        self._since += transactions

    def consider(self) -> None:
        """The root of the state is up to date: begin a checkpoint if it is time."""
        enough = max(self._transactions, STATE_SHARE * self._state_bytes // RECORD_BYTES)
        if self._since >= enough:
            self.begin()

    def begin(self) -> bool:
        """Begin a checkpoint of the books as they are, with their root up to date; whether it has begun.

        It does not where the disk is full: the log has all that a checkpoint would.
        """
        if self._run is not None or not self._indexes.can_seal:
            return False
        snapshot = self._executor.begin_snapshot()
        name = f"{STATE_PREFIX}{snapshot.commit_index:020}"
        try:
            writer = ChunkWriter(self._folder, name, encode_head(snapshot.head))
        except NoRoom:
            snapshot.close()
            return False
        self._since = 0
        self._run = _Run(name, snapshot, snapshot.chunks(), writer, self.outcome_batch)
        self._indexes.seal(self._on_sealed)
        self._next_chunk()
        return True

    def on_store_progress(self) -> None:
        """Something more is durable."""
        self._publish()

    def abandon(self) -> None:
        """Leave the checkpoint that is being made: the next start has the one before."""
        run, self._run = self._run, None
        if run is not None:
            run.snapshot.close()
            run.writer.abandon()

    # Steps

    def _on_sealed(self, runs: Mapping[str, tuple[str, ...]]) -> None:
        if self._run is not None:
            self._run.runs = runs
            self._publish()

    def _next_chunk(self, _: object = None) -> None:
        run = self._run
        if run is None:
            return
        found = next(run.chunks, None)
        if found is None:
            self._background.submit(run.writer.finish, self._on_written)
            return
        kind, data = found
        run.state_bytes += len(data)
        self._background.submit(lambda: run.writer.write(kind, data), self._next_chunk)

    def _on_written(self, _: object) -> None:
        if self._run is not None:
            self._run.is_written = True
            self._publish()

    def _publish(self) -> None:
        run = self._run
        if run is None or run.runs is None or not run.is_written or run.is_publishing:
            return
        if self._store.durable_batch < run.outcome_batch:
            return
        run.is_publishing = True
        runs = tuple(IndexRuns(name, names) for name, names in sorted(run.runs.items()))
        generation = Generation(self._identity, run.snapshot.commit_index, run.name, runs)
        self._kept.append(generation)
        self._background.submit(lambda: publish_manifest(self._folder, generation), self._on_published)

    def _on_published(self, _: object) -> None:
        run, self._run = self._run, None
        if run is not None:
            self.commit_index = run.snapshot.commit_index
            self._state_bytes = run.state_bytes
            self._discard()

    def _discard(self) -> None:
        """Let go of the files that neither manifest names."""
        kept = self._kept[-2:]
        runs: dict[str, list[str]] = {}
        for generation in kept:
            for index in generation.indexes:
                runs.setdefault(index.name, []).extend(index.runs)
        self._indexes.discard(runs)
        states = [generation.state for generation in kept]
        self._background.submit(lambda: _unlink_others(self._folder, states), _ignore)


def _unlink_others(folder: Path, states: Collection[str]) -> None:
    """Those above the newest are left: the next checkpoint may have begun its file. Names sort by commit."""
    for path in folder.glob(f"{STATE_PREFIX}*"):
        if path.name not in states and path.name < max(states):
            path.unlink()


def _ignore(_: object) -> None:
    """A task whose result says nothing."""
