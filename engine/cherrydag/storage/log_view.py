"""What was written, for reading: from the queue what is not durable yet, the rest from the database."""

from collections.abc import Iterable, Sequence

from cherrydag._native import store as native
from cherrydag.commit import Commit
from cherrydag.consensus.effects import SubDag, SwapRecord
from cherrydag.errors import StorageError
from cherrydag.primitives import Digest, Round, ValidatorIndex
from cherrydag.refs import AnyRef, round_of
from cherrydag.storage.outcome import Place, Places
from cherrydag.storage.reader import Reader
from cherrydag.storage.values import CommitOutcome, RecordPlace, StoredRecord
from cherrydag.storage.vertex_reader import words_of
from cherrydag.storage.write_queue import Batch, WriteQueue
from cherrydag.vertex import ValidatorVertex, Vertex


class LogView:
    """The log and its outcomes: the reading half of a store.

    Raises StorageError for what is damaged, DamagedVertexError and DamagedOutcomeError where it can be had
    again, Closed once the native store is.
    """

    def __init__(self, store: native.Store, queue: WriteQueue, reader: Reader) -> None:
        self._native = store
        self._queue = queue
        self._reader = reader
        self._durable_seq = queue.next_seq
        self._commits = reader.commits.bounds()
        self._outcomes = reader.commits.outcome_bounds()

    @property
    def reader(self) -> Reader:
        """Reads what is durable alone."""
        return self._reader

    @property
    def next_seq(self) -> int:
        """How many vertices have been written: the sequence number of the next."""
        return self._queue.next_seq

    # Commits

    def last_commit(self) -> Commit | None:
        """The commit of the highest index."""
        self._check_open()
        bounds = self.commits_bounds()
        return self.commits(bounds[1], bounds[1])[0] if bounds else None

    def commits(self, first: int, last: int) -> Sequence[Commit]:
        """Commits of the indices first..last that are there, ascending."""
        self._check_open()
        found: list[Commit] = []
        if self._commits is not None:
            found = self._reader.commits.commits(max(first, self._commits[0]), min(last, self._commits[1]))
        return found + [commit for commit in self._queue.commits() if first <= commit.index <= last]

    def commits_bounds(self) -> tuple[int, int] | None:
        """The lowest and the highest index of a commit; None without commits."""
        first, last = next(self._queue.commits(), None), self._queue.last_commit()
        if first is None or last is None:
            return self._commits
        return (self._commits or (first.index, 0))[0], last.index

    def swaps(self) -> SwapRecord | None:
        """The swap table of the highest index."""
        stored = self._reader.commits.swaps()
        return max([*([stored] if stored else []), *self._queue.swaps()], key=_commit_index, default=None)

    def sub_dag(self, commit_index: int) -> SubDag | None:
        """A commit with its vertices and the swap table that it brought; None if it is not there."""
        found = self.commits(commit_index, commit_index)
        if not found:
            return None
        vertices: list[Vertex] = []
        for ref, vertex in zip(found[0].vertices, self.vertices(found[0].vertices), strict=True):
            if vertex is None:
                raise StorageError(f"a vertex of commit {commit_index} is missing: {words_of(ref)}")
            vertices.append(vertex)
        fresh = (record for record in self._queue.swaps() if record.commit_index == commit_index)
        swaps = next(fresh, None) or self._reader.commits.swaps_of(commit_index)
        return SubDag(found[0], tuple(vertices), swaps)

    # Vertices

    def vertices(self, refs: Sequence[AnyRef]) -> list[Vertex | None]:
        """The vertices of these references, None where one is not there."""
        queued = self._queue.vertex
        wanted = [ref for ref in dict.fromkeys(refs) if queued(ref) is None]
        stored = dict(zip(wanted, self._reader.vertices.vertices(wanted), strict=True))
        return [stored[ref] if ref in stored else queued(ref) for ref in refs]

    def named(self, prefix: bytes) -> list[Vertex]:
        """The vertices whose digests begin with these PREFIX_BYTES, in the order in which they were written;
        more than one is a forgery."""
        found = {vertex.ref: vertex for vertex in self._reader.vertices.named(prefix)}
        found |= {
            v.ref: v for v in self._queue.vertices() if v.digest.startswith(prefix) and v.ref not in found
        }
        return list(found.values())

    def vertices_above(self, round_: Round) -> Sequence[Vertex]:
        """Vertices with a higher round (or anchor round) in the order they were written: parents first."""
        seqs = [seq for seq in self._reader.vertices.seqs_above(round_) if seq < self._durable_seq]
        found: list[Vertex] = []
        for seq, vertex in self._reader.vertices.read(seqs):
            if round_of(vertex.ref) <= round_:
                raise StorageError(f"an index has vertex {seq} above round {round_}: {vertex.ref}")
            found.append(vertex)
        return found + [vertex for vertex in self._queue.vertices() if round_of(vertex.ref) > round_]

    def newest(self, author: ValidatorIndex) -> Sequence[ValidatorVertex]:
        """A validator's vertices of the highest round in which there is one, by digest."""
        own = {vertex.ref: vertex for vertex in self._reader.vertices.newest(author)}
        for vertex in self._queue.vertices():
            if isinstance(vertex, ValidatorVertex) and vertex.author == author:
                own[vertex.ref] = vertex
        highest = max((vertex.round for vertex in own.values()), default=0)
        return sorted((vertex for vertex in own.values() if vertex.round == highest), key=_digest)

    # Outcomes and records

    def outcomes_bounds(self) -> tuple[int, int] | None:
        """The lowest and the highest index of a commit whose outcome was written; None without any."""
        self._check_open()
        queued = self._queue.outcome_bounds()
        return extended(extended(self._outcomes, queued[0]), queued[1]) if queued else self._outcomes

    def outcome(self, commit_index: int) -> CommitOutcome | None:
        """What executing this commit gave; None if it was not written."""
        found = self.outcomes(commit_index, commit_index)
        return found[0] if found else None

    def outcomes(self, first: int, last: int) -> Sequence[CommitOutcome]:
        """Outcomes of the commits first..last that are there, ascending. Each holds its commit's statuses, so
        ask for few at a time."""
        self._check_open()
        found: list[CommitOutcome] = []
        if self._outcomes is not None:
            bounds = max(first, self._outcomes[0]), min(last, self._outcomes[1])
            found = self._reader.commits.outcomes(*bounds)
        return found + [each for each in self._queue.outcomes() if first <= each.commit_index <= last]

    def record(self, commit_index: int, position: int) -> StoredRecord | None:
        """One transaction: `records` for one place."""
        return self.records([RecordPlace(commit_index, position)])[0]

    def records(self, places: Sequence[RecordPlace]) -> list[StoredRecord | None]:
        """Transactions by their place in the main chain; None where the commit has no outcome yet, or not so
        many transactions.

        Only the record and its body are read, and no seal covers them alone: the caller compares the id.
        If it is not the one that is wanted, `vertices` of the commit's references says what is damaged.
        """
        known = self._places(places)
        found: list[StoredRecord | None] = [None] * len(places)
        durable: list[tuple[int, Place]] = []
        for row, (commit_index, position) in enumerate(places):
            place = known[commit_index].find(position) if commit_index in known else None
            queued = self._queue.vertex_at(place.seq) if place else None
            if place is not None and queued is not None:
                payload = queued.payload
                found[row] = StoredRecord(
                    payload.records[place.row].tobytes(), bytes(payload.body(place.row))
                )
            elif place is not None:
                durable.append((row, place))
        stored = self._reader.commits.records([place for _, place in durable])
        for (row, place), record in zip(durable, stored, strict=True):
            if record is None:
                self._refuse(place)
            found[row] = record
        return found

    def _places(self, places: Iterable[RecordPlace]) -> dict[int, Places]:
        """The places of the commits among these whose outcomes are there."""
        self._check_open()
        known: dict[int, Places] = {}
        wanted: list[int] = []
        first, last = self._outcomes or (0, -1)
        for index in dict.fromkeys(place.commit_index for place in places):
            queued = self._queue.outcome(index)
            if queued is not None:
                known[index] = queued.places
            elif first <= index <= last:
                wanted.append(index)
        return known | dict(zip(wanted, self._reader.commits.places(wanted), strict=True))

    def _refuse(self, place: Place) -> None:
        """Say why a stored vertex does not have the record that the outcome says."""
        for _ in self._reader.vertices.read([place.seq]):
            raise StorageError(f"vertex {place.seq} does not have what an outcome says: {place}")

    # What changes

    def _check_open(self) -> None:
        self._native.eventfd  # noqa: B018 - raises Closed

    def _settle(self, batch: Batch) -> None:
        """What is durable is read from the database from now on."""
        self._durable_seq += len(batch.vertices)
        for commit in batch.commits:
            self._commits = extended(self._commits, commit.index)
        if batch.outcome is not None:
            self._outcomes = extended(self._outcomes, batch.outcome.outcome.commit_index)


def extended(bounds: tuple[int, int] | None, index: int) -> tuple[int, int]:
    """Bounds that take in the index too."""
    return (min(bounds[0], index), max(bounds[1], index)) if bounds else (index, index)


def _digest(vertex: Vertex) -> Digest:
    return vertex.digest


def _commit_index(record: SwapRecord) -> int:
    return record.commit_index
