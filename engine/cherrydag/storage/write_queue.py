"""What is on its way to the disk: batches in their order, and what they hold until it is durable.

A batch is what one call wrote. Batches are numbered from 1 since the store was opened; that one is durable
says so of all before it.
"""

import errno
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from cherrydag._native import store as native
from cherrydag.commit import Commit
from cherrydag.consensus.effects import SwapRecord, Ticket
from cherrydag.errors import write_error
from cherrydag.refs import AnyRef
from cherrydag.storage.outcome import Places
from cherrydag.storage.schema import Put, pack_batch
from cherrydag.storage.values import CommitOutcome, WriteFailure
from cherrydag.vertex import Vertex

_ADVICE: Final = {
    native.MAP_FULL: "raise map_bytes_max",
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "raise the quota",
    errno.EFBIG: "raise the limit on the size of a file",
}


class PlacedOutcome(NamedTuple):
    """An outcome, and where the transactions of its commit are."""

    outcome: CommitOutcome
    places: Places


class Batch(NamedTuple):
    """What one call wrote. words: what it is, for messages. vertices: under the next sequence numbers."""

    words: str
    ticket: Ticket
    vertices: tuple[Vertex, ...] = ()
    commits: tuple[Commit, ...] = ()
    swaps: tuple[SwapRecord, ...] = ()
    outcome: PlacedOutcome | None = None


class WriteQueue:
    """The batches that are not durable yet, and how far writing has come.

    ticket: the last one that was queued. batch: number of the last batch. durable_ticket, durable_batch: as
    far as `take_durable` has seen. failure: why nothing is written any more, None if all is well. next_seq:
    sequence number of the next vertex.
    """

    __slots__ = (
        "_batches",
        "_by_seq",
        "_folder",
        "_native",
        "_outcomes",
        "_seqs",
        "batch",
        "durable_batch",
        "durable_ticket",
        "failure",
        "next_seq",
        "ticket",
    )

    def __init__(self, store: native.Store, folder: Path, next_seq: int) -> None:
        self._native = store
        self._folder = folder
        self._batches: deque[Batch] = deque()
        self._seqs: dict[AnyRef, int] = {}
        self._by_seq: dict[int, Vertex] = {}
        self._outcomes: dict[int, tuple[int, PlacedOutcome]] = {}
        self.next_seq = next_seq
        self.ticket = Ticket(0)
        self.batch = 0
        self.durable_ticket = Ticket(0)
        self.durable_batch = 0
        self.failure: WriteFailure | None = None

    # Writing

    def put(self, batch: Batch, puts: Iterable[Put]) -> int:
        """Queue a batch, and `puts`, which are its bytes; its number.

        Overloaded if the queue is full; StorageError if a write has failed, which may be news to the caller.
        """
        self._native.submit(batch.ticket, pack_batch(puts))
        self._batches.append(batch)
        self.batch += 1
        self.ticket = batch.ticket
        for vertex in batch.vertices:
            self._seqs[vertex.ref] = self.next_seq
            self._by_seq[self.next_seq] = vertex
            self.next_seq += 1
        if batch.outcome is not None:
            self._outcomes[batch.outcome.outcome.commit_index] = self.batch, batch.outcome
        return self.batch

    def take_durable(self) -> list[Batch]:
        """The batches that have become durable: from now on the database has them, and the queue does not.

        Sets `failure` if a write has failed.
        """
        durable, done, code, _ = self._native.collect()
        self.durable_ticket = Ticket(durable)
        taken = [self._batches.popleft() for _ in range(done - self.durable_batch)]
        self.durable_batch = done
        for batch in taken:
            self._drop(batch)
        if code:
            lost = self._batches[0]
            self.failure = WriteFailure(done + 1, lost.ticket, lost.words, code, native.message(code))
        return taken

    def wait(self) -> None:
        """Block until all is durable or a write has failed."""
        self._native.wait()

    def resume(self, map_bytes_max: int) -> None:
        """Write on, beginning with what failed."""
        self.failure = None
        self._native.resume(map_bytes_max)

    def check_writable(self) -> None:
        """NoRoom or another StorageError, with the cause, if a write has failed."""
        failure = self.failure
        if failure is not None:
            advice = _ADVICE.get(failure.code, "check the disk, then open the store anew")
            raise write_error(
                failure.code,
                f"{self._folder} is read-only: {failure.what} could not be written: {failure.words} "
                f"({failure.code}); {advice}",
            )

    def _drop(self, batch: Batch) -> None:
        for vertex in batch.vertices:
            del self._by_seq[self._seqs.pop(vertex.ref)]
        if batch.outcome is not None:
            del self._outcomes[batch.outcome.outcome.commit_index]

    # What is not durable

    def seq(self, ref: AnyRef) -> int | None:
        """Sequence number of a vertex that is queued."""
        return self._seqs.get(ref)

    def vertex(self, ref: AnyRef) -> Vertex | None:
        """A vertex that is queued."""
        seq = self._seqs.get(ref)
        return None if seq is None else self._by_seq[seq]

    def vertex_at(self, seq: int) -> Vertex | None:
        """A queued vertex by its sequence number."""
        return self._by_seq.get(seq)

    def vertices(self) -> Iterable[Vertex]:
        """All that are queued, by sequence number."""
        return self._by_seq.values()

    def commits(self) -> Iterator[Commit]:
        """All that are queued, by index."""
        return (commit for batch in self._batches for commit in batch.commits)

    def last_commit(self) -> Commit | None:
        """The last one that is queued."""
        return next((batch.commits[-1] for batch in reversed(self._batches) if batch.commits), None)

    def swaps(self) -> Iterator[SwapRecord]:
        """All that are queued, in the order written."""
        return (record for batch in self._batches for record in batch.swaps)

    def outcome(self, commit_index: int) -> PlacedOutcome | None:
        """The queued outcome of this commit."""
        found = self._outcomes.get(commit_index)
        return found[1] if found else None

    def outcome_bounds(self) -> tuple[int, int] | None:
        """Commits of the first and the last outcome that are queued."""
        return (next(iter(self._outcomes)), next(reversed(self._outcomes))) if self._outcomes else None

    def outcomes(self) -> list[CommitOutcome]:
        """All that are queued, in the order written."""
        return [placed.outcome for _, placed in self._outcomes.values()]

    def batch_of_outcome(self, commit_index: int) -> int:
        """Number of the batch that holds it, 0 if none does."""
        return self._outcomes[commit_index][0] if commit_index in self._outcomes else 0
