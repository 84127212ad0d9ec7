"""A store in memory that loses what it has not synced, as a disk would: for the simulator and for tests."""

from collections.abc import Sequence
from itertools import chain, pairwise
from operator import itemgetter
from typing import NamedTuple

from cherrydag.commit import Commit
from cherrydag.consensus.effects import Persist, SubDag, SwapRecord, Ticket
from cherrydag.errors import Closed, ShapeError, StorageError
from cherrydag.primitives import Digest, Round, ValidatorIndex
from cherrydag.refs import AnyRef, round_of
from cherrydag.storage.outcome import diverged, is_next
from cherrydag.storage.values import CommitOutcome, RecordPlace, StoredRecord
from cherrydag.transaction import Octets
from cherrydag.vertex import ValidatorVertex, Vertex


class _Write(NamedTuple):
    """What one call added: a ticket, or one outcome."""

    refs: tuple[AnyRef, ...] = ()
    commits: int = 0
    swaps: int = 0
    outcomes: int = 0


class MemoryStore:
    """A ports.Store that can be written. Reads see every write; a crash loses those that were not synced.

    Not for threads. Raises Closed once it has crashed.
    """

    __slots__ = (
        "_batch",
        "_by_round",
        "_closed",
        "_commits",
        "_count",
        "_outcomes",
        "_swaps",
        "_ticket",
        "_unsynced",
        "_vertices",
    )

    def __init__(self) -> None:
        self._vertices: dict[AnyRef, Vertex] = {}
        self._by_round: dict[Round, dict[AnyRef, tuple[int, Vertex]]] = {}
        self._commits: list[Commit] = []
        self._swaps: list[SwapRecord] = []
        self._outcomes: list[CommitOutcome] = []
        self._unsynced: list[_Write] = []
        self._ticket = Ticket(0)
        self._batch = 0
        self._count = 0
        self._closed = False

    # Writing

    def write(self, persist: Persist) -> None:
        """Write what a ticket holds. A vertex that is here already stays as it is.

        Raises ShapeError if a ticket after the first does not rise by one, or a commit does not follow on the
        last one.
        """
        self._check_open()
        if self._ticket and persist.ticket != self._ticket + 1:
            raise ShapeError(f"ticket: expected {self._ticket + 1}, got {persist.ticket}")
        commits = self._commits[-1:] + list(persist.commits)
        for previous, commit in pairwise(commits):
            if commit.index != previous.index + 1:
                raise ShapeError(f"commits: expected index {previous.index + 1}, got {commit.index}")
        added = tuple(vertex.ref for vertex in persist.vertices if self._insert(vertex))
        self._commits += persist.commits
        self._swaps += persist.swaps
        self._ticket = persist.ticket
        self._add(_Write(added, len(persist.commits), len(persist.swaps)))

    def write_outcome(
        self,
        commit_index: int,
        statuses: Sequence[Octets],
        vertices: Sequence[Vertex],
        receipts: bytes = b"",
    ) -> int:
        """Write what executing a commit gave; the number of its batch, which `durable_batch` reaches.

        As in LmdbStore: outcomes follow on each other, and one that is there already changes nothing. Raises
        ShapeError if it does not follow or fit, StorageError if another one is there.
        """
        self._check_open()
        outcome = CommitOutcome.of(commit_index, statuses, vertices, receipts)
        if not is_next(commit_index, self.outcomes_bounds(), self.commits_bounds()):
            if self.outcome(commit_index) != outcome:
                raise diverged(commit_index)
            return self._batch
        refs = {vertex.ref for vertex in vertices}
        if len(refs) != len(vertices) or None in self.vertices(list(refs)):
            raise ShapeError("outcome: one of its vertices was not written, or is listed twice")
        self._outcomes.append(outcome)
        return self._add(_Write(outcomes=1))

    def sync(self) -> Ticket:
        """Make all that was written durable; the last ticket of it, 0 if there was none."""
        self._check_open()
        self._unsynced.clear()
        return self._ticket

    def crash(self, keep: int = 0) -> "MemoryStore":
        """What a restart finds: all that was synced, and of the rest the first `keep` writes, each of them a
        ticket or an outcome as a whole.

        Takes everything from this store, which is closed. A restart counts tickets anew.
        """
        self._check_open()
        for lost in reversed(self._unsynced[keep:]):
            self._undo(lost)
        found = MemoryStore()
        found._vertices, found._by_round, found._count = self._vertices, self._by_round, self._count
        found._commits, found._swaps, found._outcomes = self._commits, self._swaps, self._outcomes
        self._closed = True
        return found

    @property
    def durable_batch(self) -> int:
        """The highest batch that is durable."""
        return self._batch - len(self._unsynced)

    def _add(self, write: _Write) -> int:
        self._unsynced.append(write)
        self._batch += 1
        return self._batch

    def _insert(self, vertex: Vertex) -> bool:
        ref = vertex.ref
        if ref in self._vertices:
            return False
        self._vertices[ref] = vertex
        self._by_round.setdefault(round_of(ref), {})[ref] = (self._count, vertex)
        self._count += 1
        return True

    def _undo(self, write: _Write) -> None:
        for ref in write.refs:
            del self._vertices[ref]
            round_ = self._by_round[round_of(ref)]
            del round_[ref]
            if not round_:
                del self._by_round[round_of(ref)]
        del self._commits[len(self._commits) - write.commits :]
        del self._swaps[len(self._swaps) - write.swaps :]
        del self._outcomes[len(self._outcomes) - write.outcomes :]

    # Reading

    def last_commit(self) -> Commit | None:
        """The commit of the highest index."""
        self._check_open()
        return self._commits[-1] if self._commits else None

    def commits(self, first: int, last: int) -> Sequence[Commit]:
        """Commits of the indices first..last that are there, ascending."""
        self._check_open()
        if not self._commits:
            return []
        lowest = self._commits[0].index
        return self._commits[max(0, first - lowest) : max(0, last - lowest + 1)]

    def commits_bounds(self) -> tuple[int, int] | None:
        """The lowest and the highest index of a commit; None without commits."""
        self._check_open()
        return (self._commits[0].index, self._commits[-1].index) if self._commits else None

    def sub_dag(self, commit_index: int) -> SubDag | None:
        """A commit with its vertices and the swap table that it brought; None if it is not there."""
        found = self.commits(commit_index, commit_index)
        if not found:
            return None
        vertices = tuple(vertex for vertex in self.vertices(found[0].vertices) if vertex is not None)
        if len(vertices) != len(found[0].vertices):
            raise StorageError(f"a vertex of commit {commit_index} is missing")
        swaps = next((record for record in self._swaps if record.commit_index == commit_index), None)
        return SubDag(found[0], vertices, swaps)

    def vertices(self, refs: Sequence[AnyRef]) -> list[Vertex | None]:
        """The vertices of these references, None where one is not there."""
        self._check_open()
        get = self._vertices.get
        return [get(ref) for ref in refs]

    def vertices_above(self, round_: Round) -> Sequence[Vertex]:
        """Vertices with a higher round (or anchor round) in the order they were written: parents first."""
        self._check_open()
        above = [entries.values() for number, entries in self._by_round.items() if number > round_]
        return [vertex for _, vertex in sorted(chain.from_iterable(above), key=itemgetter(0))]

    def newest(self, author: ValidatorIndex) -> list[ValidatorVertex]:
        """A validator's vertices of the highest round in which there is one, by digest."""
        self._check_open()
        for round_ in sorted(self._by_round, reverse=True):
            vertices = [vertex for _, vertex in self._by_round[round_].values()]
            own = [v for v in vertices if isinstance(v, ValidatorVertex) and v.author == author]
            if own:
                return sorted(own, key=_digest)
        return []

    def swaps(self) -> SwapRecord | None:
        """The swap table of the highest index."""
        self._check_open()
        return self._swaps[-1] if self._swaps else None

    # Outcomes and records

    def outcomes_bounds(self) -> tuple[int, int] | None:
        """The lowest and the highest index of a commit whose outcome was written; None without any."""
        self._check_open()
        return (self._outcomes[0].commit_index, self._outcomes[-1].commit_index) if self._outcomes else None

    def outcome(self, commit_index: int) -> CommitOutcome | None:
        """What executing this commit gave; None if it was not written."""
        return next(iter(self.outcomes(commit_index, commit_index)), None)

    def outcomes(self, first: int, last: int) -> Sequence[CommitOutcome]:
        """Outcomes of the commits first..last that are there, ascending."""
        self._check_open()
        return [each for each in self._outcomes if first <= each.commit_index <= last]

    def record(self, commit_index: int, position: int) -> StoredRecord | None:
        """One transaction: `records` for one place."""
        return self.records([RecordPlace(commit_index, position)])[0]

    def records(self, places: Sequence[RecordPlace]) -> list[StoredRecord | None]:
        """Transactions by their place in the main chain; None where the commit has no outcome yet, or not so
        many transactions."""
        return [self._record(place) for place in places]

    def _record(self, place: RecordPlace) -> StoredRecord | None:
        sub_dag = self.sub_dag(place.commit_index) if self.outcome(place.commit_index) else None
        row = place.position
        for payload in [vertex.payload for vertex in sub_dag.vertices] if sub_dag and row >= 0 else ():
            if row < len(payload):
                return StoredRecord(payload.records[row].tobytes(), bytes(payload.body(row)))
            row -= len(payload)
        return None

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("store: it has crashed")


def _digest(vertex: Vertex) -> Digest:
    return vertex.digest
