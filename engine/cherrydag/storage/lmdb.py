"""The durable store: ports.Store over LMDB, written by a native thread that groups what waits.

A write is queued at once and read back at once; that it is durable is told later, through a descriptor that
an event loop watches. What is not durable yet is kept in memory, and so is bounded by the writer's queue.
"""

from collections.abc import Sequence
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Self

from cherrydag.consensus.effects import Persist, Ticket
from cherrydag.errors import ShapeError, StorageError
from cherrydag.refs import AnyRef
from cherrydag.storage.backup import back_up
from cherrydag.storage.directory import FolderLock
from cherrydag.storage.generation import Generation
from cherrydag.storage.log_view import LogView
from cherrydag.storage.opening import open_ledger
from cherrydag.storage.outcome import Places, diverged, is_next, outcome_put
from cherrydag.storage.reader import Reader
from cherrydag.storage.schema import (
    DamagedOutcomeError,
    DamagedVertexError,
    Identity,
    Put,
    commit_put,
    swaps_put,
    vertex_put,
    vertices_batch,
)
from cherrydag.storage.scrub import scrub
from cherrydag.storage.values import (
    CommitOutcome,
    StoreInfo,
    StoreOptions,
    WriteFailure,
)
from cherrydag.storage.write_queue import Batch, PlacedOutcome, WriteQueue
from cherrydag.transaction import Octets
from cherrydag.vertex import Vertex


class LmdbStore(LogView):
    """A ports.Store in a folder. One process and one thread use it; no fork after it is open.

    Raises StorageError if what is there cannot be trusted, DamagedVertexError if it is a vertex, which
    `repair` replaces, and DamagedOutcomeError if it is an outcome, which `write_outcome` replaces. A failed
    write makes the store read-only until `resume`. Closed after close() and in a forked child.
    """

    def __init__(
        self, folder: str | PathLike[str], identity: Identity, options: StoreOptions | None = None
    ) -> None:
        """Open the database of this chain and epoch, or make it. StorageError if it is another's, damaged,
        of another schema, or in use."""
        self.folder = Path(folder).absolute()
        self.identity = identity
        self.options = options or StoreOptions()
        try:
            self._lock = FolderLock(self.folder)
            self._native = open_ledger(self.folder, identity, self.options)
        except OSError as error:
            raise StorageError(f"{self.folder} cannot be opened: {error}") from error
        reader = Reader(self._native)
        try:
            reader.check_counts()
            self._native.check_readers()
            queue = WriteQueue(self._native, self.folder, reader.vertices.next_seq())
            super().__init__(self._native, queue, reader)
        except BaseException:
            self.close()
            raise

    # Writing

    def write(self, persist: Persist) -> None:
        """Queue what a ticket holds. A vertex that is here already stays as it is.

        Raises ShapeError if a ticket after the first does not rise by one, or a commit does not follow on the
        last one; Overloaded if the queue is full, StorageError if the store is read-only: nothing was queued.
        """
        self._check_writable()
        ticket, bounds = self._queue.ticket, self.commits_bounds()
        if ticket and persist.ticket != ticket + 1:
            raise ShapeError(f"ticket: expected {ticket + 1}, got {persist.ticket}")
        indices = [*(bounds[1:] if bounds else ()), *[commit.index for commit in persist.commits]]
        for previous, index in pairwise(indices):
            if index != previous + 1:
                raise ShapeError(f"commits: expected index {previous + 1}, got {index}")
        added = self._missing(persist.vertices)
        puts = vertices_batch(self._queue.next_seq, added)
        puts += map(commit_put, persist.commits)
        puts += map(swaps_put, persist.swaps)
        words = f"ticket {persist.ticket}"
        self._put(Batch(words, persist.ticket, added, persist.commits, persist.swaps), puts)

    def write_outcome(
        self,
        commit_index: int,
        statuses: Sequence[Octets],
        vertices: Sequence[Vertex],
        receipts: bytes = b"",
    ) -> int:
        """Queue what executing a commit gave; the number of its batch, which `durable_batch` reaches.

        vertices: the commit's, in its order, written before; statuses: for each of them a status for each of
        its transactions. Outcomes follow on each other; one that is there already changes nothing.
        Raises ShapeError if it does not follow, the commit or a vertex was not written, or the statuses do
        not fit; StorageError if another outcome is there (the derived state has diverged), or the store is
        read-only; Overloaded as in `write`.
        """
        self._check_writable()
        outcome = CommitOutcome.of(commit_index, statuses, vertices, receipts)
        appends = is_next(commit_index, self.outcomes_bounds(), self.commits_bounds())
        if not appends and self._is_there(outcome):
            return self._queue.batch_of_outcome(commit_index)
        places = Places.of(self._seqs(vertices), vertices)
        batch = Batch(
            f"the outcome of commit {commit_index}",
            self._queue.ticket,
            outcome=PlacedOutcome(outcome, places),
        )
        number = self._put(batch, [outcome_put(outcome, places, append=appends)])
        if not appends:
            self.sync()  # until it is durable, what is read is the damaged one
        return number

    def sync(self) -> Ticket:
        """Block until all that was written is durable; the last ticket of it, 0 if there was none.

        StorageError if a write has failed.
        """
        self._queue.wait()
        self.collect()
        return self._queue.ticket

    def fileno(self) -> int:
        """A descriptor that polls readable when `collect` has news; only collect reads it."""
        return self._native.eventfd

    def collect(self) -> Ticket:
        """The highest ticket that is durable. StorageError if a write has failed; `durable` and
        `durable_batch` then say how far writing came, and `failure` what happened."""
        for batch in self._queue.take_durable():
            self._settle(batch)
        self._queue.check_writable()
        return self._queue.durable_ticket

    @property
    def durable(self) -> Ticket:
        """The highest ticket that was durable when `collect` or `sync` last looked."""
        return self._queue.durable_ticket

    @property
    def durable_batch(self) -> int:
        """The highest batch that was durable then. Batches count what was written since the store was opened:
        tickets, outcomes and repairs; 0 stands for what was durable before."""
        return self._queue.durable_batch

    @property
    def failure(self) -> WriteFailure | None:
        """Why the store is read-only; None if it is not."""
        return self._queue.failure

    def resume(self, map_bytes_max: int = 0) -> None:
        """Write on, beginning with the batch that failed. map_bytes_max: how far the map may grow now."""
        self._queue.resume(map_bytes_max)

    def repair(self, vertex: Vertex) -> bool:
        """Write the record of a damaged vertex anew; durable on return. Whether it was damaged.

        vertex: as a peer gave it, and verified. StorageError if it was never stored, or not written.
        """
        self._check_writable()
        (candidates,) = self._reader.vertices.candidates([vertex.ref])
        if not candidates:
            raise StorageError(f"repair: no vertex with digest {vertex.digest.hex()} is stored")
        damaged = [seq for seq in candidates if self._is_damaged(seq, vertex.ref)]
        for seq in damaged:
            batch = Batch(f"the repair of vertex {seq}", self._queue.ticket)
            self._put(batch, [vertex_put(seq, vertex, append=False)])
        self.sync()
        return bool(damaged)

    def close(self) -> None:
        """Write what waits, unless a write has failed, and let the folder go. Idempotent."""
        self._native.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_writable(self) -> None:
        self._queue.check_writable()
        self._check_open()

    def _put(self, batch: Batch, puts: list[Put]) -> int:
        try:
            return self._queue.put(batch, puts)
        except StorageError:
            self.collect()  # raises the cause of a failure that nobody has seen yet
            raise

    def _missing(self, vertices: tuple[Vertex, ...]) -> tuple[Vertex, ...]:
        """Those that are not here, each once."""
        new = {vertex.ref: vertex for vertex in vertices if self._queue.seq(vertex.ref) is None}
        stored = self._reader.vertices.vertices(list(new))
        return tuple(vertex for vertex, there in zip(new.values(), stored, strict=True) if there is None)

    def _seqs(self, vertices: Sequence[Vertex]) -> list[int]:
        """Their sequence numbers. ShapeError if one was not written."""
        seqs = {vertex.ref: self._queue.seq(vertex.ref) for vertex in vertices}
        wanted = [ref for ref, seq in seqs.items() if seq is None]
        seqs |= zip(wanted, self._reader.vertices.seqs(wanted), strict=True)
        found = [seq for seq in map(seqs.__getitem__, seqs) if seq is not None]
        if len(found) != len(vertices):
            raise ShapeError("outcome: one of its vertices was not written, or is listed twice")
        return found

    def _is_there(self, outcome: CommitOutcome) -> bool:
        """Whether it is what is stored; False if that is damaged, StorageError if it is another."""
        try:
            stored = self.outcome(outcome.commit_index)
        except DamagedOutcomeError:
            return False
        if stored != outcome:
            raise diverged(outcome.commit_index)
        return True

    def _is_damaged(self, seq: int, ref: AnyRef) -> bool:
        try:
            self._reader.vertices.check_record(seq, ref)
        except DamagedVertexError as error:
            return error.ref == ref
        return False

    # Care

    def maintain(self) -> int:
        """Free the slots of readers that died, as should be done every minute; how many there were."""
        return self._native.check_readers()

    def scrub(self, first_seq: int, count: int, bytes_max: int = 64 << 20) -> list[AnyRef]:
        """Read this stretch of the log, up to bytes_max of it, for damage; the damaged vertices.

        StorageError for damage that peers cannot make good.
        """
        seqs = range(first_seq, min(first_seq + count, self._durable_seq))
        return scrub(self._reader.vertices, seqs, bytes_max)

    def backup(self, folder: str | PathLike[str]) -> Generation | None:
        """Copy what is durable to a new folder, from which it can be opened, while the store is in use.

        With it goes the newest generation of derived state whose manifest can be used: it is returned, None
        if there is none, and then the copy has to replay its log.
        """
        return back_up(self._native, self.folder, Path(folder).absolute(), self.identity)

    def info(self) -> StoreInfo:
        """Sizes and counters, for the metrics."""
        return StoreInfo(**self._native.info())
