"""Checks a whole database, says what is wrong and what of it can be made good, and makes that good.

Every entry of every table is read against its seal and its meaning: vertices are hashed again, their
indexes are complete and hold nothing else, commits link to each other and name vertices that are there,
outcomes fit their commits.
LMDB trusts its pages: a damaged one may kill the process, which is why a check belongs into one of its own.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeAlias

from cherrydag.chain import Chain
from cherrydag.commit import Commit
from cherrydag.errors import StorageError
from cherrydag.payload import payload_ids, payload_root
from cherrydag.refs import AnyRef, VertexRef
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.outcome import records_at
from cherrydag.storage.reader import Reader
from cherrydag.storage.schema import DamagedOutcomeError, DamagedVertexError, Table
from cherrydag.storage.vertex_reader import words_of
from cherrydag.vertex import Vertex

Progress: TypeAlias = Callable[[int, int], None]
"""Called now and then with (entries done, entries in all)."""

FINDINGS_MAX: Final = 1000
"""Findings that a report names; more are counted."""

_VERTICES_PER_STEP: Final = 256
_UNKNOWN: Final = 2**32 - 1
_LOG: Final = (Table.VERTICES, Table.COMMITS, Table.SWAPS, Table.RESULTS)


class Finding(NamedTuple):
    """What is wrong, in which table. ref: of the vertex, if `repair` can make it good; commit_index: of the
    commit, if executing it again can."""

    table: str
    words: str
    ref: AnyRef | None = None
    commit_index: int | None = None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was read, and what was found. omitted: findings beyond FINDINGS_MAX."""

    vertices: int
    commits: int
    swaps: int
    outcomes: int
    findings: tuple[Finding, ...]
    omitted: int

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def damaged_vertices(self) -> tuple[AnyRef, ...]:
        """What `repair` can make good."""
        return tuple(dict.fromkeys(finding.ref for finding in self.findings if finding.ref is not None))

    @property
    def damaged_outcomes(self) -> tuple[int, ...]:
        """The commits whose outcomes `write_outcome` can make good."""
        found = (finding.commit_index for finding in self.findings)
        return tuple(dict.fromkeys(index for index in found if index is not None))


class Repairs(NamedTuple):
    """Vertices that were written anew, and those that the other store could not give."""

    repaired: tuple[AnyRef, ...]
    missing: tuple[AnyRef, ...]


def check(store: LmdbStore, progress: Progress | None = None) -> CheckReport:
    """Read all that is durable. Takes 9 bytes of memory for each vertex; writes nothing."""
    if store.failure is None:
        store.sync()
    return _Check(store, progress or _ignore).run()


class VertexSource(Protocol):
    """Whoever has vertices: another store, or a node."""

    def vertices(self, refs: Sequence[AnyRef]) -> Sequence[Vertex | None]:
        """The vertices of these references, None for what it has not."""


def repair_from(store: LmdbStore, other: VertexSource, damaged: Sequence[AnyRef] | None = None) -> Repairs:
    """Replace damaged vertices, those that a check has found or finds now, by those of another copy.

    What it gives is proved by digest and payload root; what does not fit counts as missing.
    """
    repaired: list[AnyRef] = []
    missing: list[AnyRef] = []
    chain = Chain.of(store.identity.genesis_digest)
    for ref in check(store).damaged_vertices if damaged is None else damaged:
        try:
            (vertex,) = other.vertices([ref])
        except StorageError:
            vertex = None
        if vertex is None or vertex.ref != ref or not _has_payload(vertex, chain):
            missing.append(ref)
        elif store.repair(vertex):
            repaired.append(ref)
    return Repairs(tuple(repaired), tuple(missing))


def _ignore(done: int, total: int) -> None:
    """Nobody wants to know."""


def _has_payload(vertex: Vertex, chain: Chain) -> bool:
    """Whether the payload is the one whose root the header names."""
    return payload_root(vertex.payload, payload_ids(vertex.payload, chain)) == vertex.payload.root


class _Check:
    """One check: what it remembers from table to table."""

    def __init__(self, store: LmdbStore, progress: Progress) -> None:
        self._reader: Reader = store.reader
        self._identity = store.identity
        self._chain = Chain.of(store.identity.genesis_digest)
        self._progress = progress
        self._findings: list[Finding] = []
        self._omitted = 0
        self._done = 0
        self._total = sum(self._reader.count(table) for table in _LOG)
        count = self._reader.vertices.next_seq()
        self._transactions = array("I", [_UNKNOWN]) * count
        self._records_at = array("I", [_UNKNOWN]) * count
        self._committed = bytearray(count)
        self._validators = 0

    def run(self) -> CheckReport:
        """All tables, one after another."""
        for table, step in (
            (Table.META, self._check_meta),
            (Table.VERTICES, self._check_vertices),
            (Table.VERTEX_AUTHOR, self._check_author_count),
            (Table.COMMITS, self._check_commits),
            (Table.SWAPS, self._check_swaps),
        ):
            with self._finding(table):
                step()
        self._progress(self._done, self._total)
        vertices, commits, swaps, outcomes = (self._reader.count(table) for table in _LOG)
        return CheckReport(vertices, commits, swaps, outcomes, tuple(self._findings), self._omitted)

    # What is found

    def _add(self, finding: Finding) -> None:
        if len(self._findings) < FINDINGS_MAX:
            self._findings.append(finding)
        else:
            self._omitted += 1

    @contextmanager
    def _finding(self, table: Table) -> Iterator[None]:
        """What is raised in here is a finding."""
        try:
            yield
        except StorageError as error:
            self._add(_finding_of(table, error))

    def _step(self, entries: int = 1) -> None:
        self._done += entries
        self._progress(self._done, self._total)

    # Tables

    def _check_meta(self) -> None:
        if self._reader.identity() != self._identity:
            raise StorageError(f"the database is of {self._reader.identity()}, opened as {self._identity}")
        self._reader.check_counts()

    def _check_vertices(self) -> None:
        for first in range(0, len(self._committed), _VERTICES_PER_STEP):
            seqs = range(first, min(first + _VERTICES_PER_STEP, len(self._committed)))
            sound: dict[int, AnyRef] = {}
            for seq, vertex in self._reader.vertices.examine(seqs):
                if isinstance(vertex, StorageError):
                    self._add(_finding_of(Table.VERTICES, vertex))
                else:
                    self._take(seq, vertex)
                    sound[seq] = vertex.ref
            for table, words in self._reader.vertices.index_faults(sound):
                self._add(Finding(table.name.lower(), words))
            self._validators += sum(isinstance(ref, VertexRef) for ref in sound.values())
            self._step(len(seqs))

    def _take(self, seq: int, vertex: Vertex) -> None:
        self._transactions[seq] = len(vertex.payload)
        self._records_at[seq] = records_at(vertex)
        if not _has_payload(vertex, self._chain):
            words = f"vertex {seq} has another payload than its root says: {words_of(vertex.ref)}"
            self._add(Finding(Table.VERTICES.name.lower(), words))

    def _check_author_count(self) -> None:
        """The other indexes have as many entries as there are vertices; this one cannot be counted if one of
        them is damaged, since it may be anybody's."""
        found = self._reader.count(Table.VERTEX_AUTHOR)
        if _UNKNOWN not in self._transactions and found != self._validators:
            raise StorageError(f"{found} entries, but {self._validators} vertices of validators")

    def _check_commits(self) -> None:
        reader, previous = self._reader.commits, None
        first, last = reader.bounds() or (0, -1)
        executed = range(*_half_open(reader.outcome_bounds()))
        for index in range(first, last + 1):
            commit, seqs = None, None
            with self._finding(Table.COMMITS):
                (commit,) = reader.commits(index, index)
                seqs = self._check_vertices_of(commit)
                self._check_link(commit, previous)
            previous = commit
            self._step()
            if index in executed:
                with self._finding(Table.RESULTS):
                    self._check_outcome(index, seqs)
                self._step()

    def _check_vertices_of(self, commit: Commit) -> list[int | None]:
        """Their sequence numbers, None for those that are damaged or missing."""
        seqs: list[int | None] = []
        for ref, seq in zip(commit.vertices, self._reader.vertices.locate(commit.vertices), strict=True):
            seqs.append(seq if isinstance(seq, int) else None)
            if isinstance(seq, DamagedVertexError):
                if all(finding.ref != ref for finding in self._findings):
                    self._add(_finding_of(Table.VERTICES, seq))
            elif isinstance(seq, StorageError):
                self._add(_finding_of(Table.COMMITS, seq))
            elif seq is None:
                words = f"commit {commit.index} names a vertex that is missing: {words_of(ref)}"
                self._add(Finding(Table.COMMITS.name.lower(), words))
            elif self._committed[seq]:
                words = f"commit {commit.index} names a vertex of an earlier commit: {words_of(ref)}"
                self._add(Finding(Table.COMMITS.name.lower(), words))
            else:
                self._committed[seq] = 1
        return seqs

    def _check_link(self, commit: Commit, previous: Commit | None) -> None:
        if commit.epoch != self._identity.epoch:
            raise StorageError(f"commit {commit.index} is of epoch {commit.epoch}")
        if previous is None:
            return
        if commit.prev_digest != previous.digest:
            raise StorageError(f"commit {commit.index} does not link to commit {previous.index}")
        if commit.timestamp_ms < previous.timestamp_ms:
            raise StorageError(f"commit {commit.index} is of an earlier time than commit {previous.index}")

    def _check_outcome(self, index: int, seqs: list[int | None] | None) -> None:
        self._reader.commits.outcomes(index, index)
        (places,) = self._reader.commits.places([index])
        rows = places.rows.tolist()
        if seqs is None:
            return
        if len(rows) != len(seqs):
            raise StorageError(f"the outcome of commit {index} is of {len(rows)} vertices, not {len(seqs)}")
        for (stored, transactions, at), seq in zip(rows, seqs, strict=True):
            if seq is None or self._transactions[seq] == _UNKNOWN:
                continue
            if (stored, transactions, at) != (seq, self._transactions[seq], self._records_at[seq]):
                raise StorageError(f"the outcome of commit {index} does not fit vertex {seq}")

    def _check_swaps(self) -> None:
        bounds = range(*_half_open(self._reader.commits.bounds()))
        for record in self._reader.commits.all_swaps():
            self._step()
            if record.commit_index not in bounds:
                raise StorageError(f"a swap table of commit {record.commit_index}, which is missing")


def _half_open(bounds: tuple[int, int] | None) -> tuple[int, int]:
    return (bounds[0], bounds[1] + 1) if bounds else (0, 0)


def _finding_of(table: Table, error: StorageError) -> Finding:
    ref = error.ref if isinstance(error, DamagedVertexError) else None
    index = error.commit_index if isinstance(error, DamagedOutcomeError) else None
    return Finding(table.name.lower(), str(error), ref, index)
