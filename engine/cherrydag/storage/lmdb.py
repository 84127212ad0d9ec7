"""The durable store: ports.Store over LMDB, written by a native thread that groups what waits.

A write is queued at once and read back at once; that it is durable is told later, through a descriptor that
an event loop watches. What is not durable yet is kept in memory, and so is bounded by the writer's queue.
"""

import errno
from collections import deque
from collections.abc import Sequence
from itertools import chain, pairwise
from os import PathLike
from pathlib import Path
from typing import Final, NamedTuple, Self

from cherrydag._native import store as native
from cherrydag.commit import Commit
from cherrydag.consensus.effects import Persist, SwapRecord, Ticket
from cherrydag.errors import ShapeError, StorageError
from cherrydag.primitives import Digest, Round, ValidatorIndex
from cherrydag.refs import AnyRef, round_of
from cherrydag.storage.directory import (
    LEDGER,
    FolderLock,
    check_size,
    make_folder,
    make_ledger,
    run_preflight,
)
from cherrydag.storage.reader import Reader
from cherrydag.storage.schema import (
    IDENTITY_KEY,
    SEAL_KEY,
    TABLES,
    DamagedVertexError,
    Identity,
    Put,
    Table,
    commit_put,
    encode_identity,
    pack_batch,
    swaps_put,
    vertex_put,
    vertices_batch,
)
from cherrydag.storage.scrub import scrub
from cherrydag.storage.values import StoreInfo, StoreOptions, WriteFailure
from cherrydag.vertex import ValidatorVertex, Vertex

_CREATION_BYTES: Final = 1 << 20
_ADVICE: Final = {
    native.MAP_FULL: "raise map_bytes_max",
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "raise the quota",
    errno.EFBIG: "raise the limit on the size of a file",
}


class _Queued(NamedTuple):
    """What one ticket has added that is not durable yet."""

    ticket: Ticket
    vertices: tuple[Vertex, ...]
    commits: tuple[Commit, ...]
    swaps: tuple[SwapRecord, ...]


class LmdbStore:
    """A ports.Store in a folder. One process and one thread use it; no fork after it is open.

    Raises StorageError if what is there cannot be trusted, DamagedVertexError if it is a vertex, which
    `repair` replaces. A failed write makes the store read-only until `resume`. Closed after close() and in a
    forked child.
    """

    def __init__(
        self, folder: str | PathLike[str], identity: Identity, options: StoreOptions | None = None
    ) -> None:
        """Open the database of this chain and epoch, or make it. StorageError if it is another's, damaged,
        of another schema, or in use."""
        self.folder = Path(folder).absolute()
        self.options = options or StoreOptions()
        try:
            self._lock = FolderLock(self.folder)
            self._native = self._open(identity)
        except OSError as error:
            raise StorageError(f"{self.folder} cannot be opened: {error}") from error
        self._reader = Reader(self._native)
        try:
            self._check(identity)
            self._native.check_readers()
            self._next_seq = self._reader.next_seq()
            self._bounds = self._reader.commit_bounds()
        except BaseException:
            self.close()
            raise
        self._durable_seq = self._next_seq
        self._queued: deque[_Queued] = deque()
        self._fresh: dict[AnyRef, Vertex] = {}
        self._ticket = Ticket(0)
        self._durable = Ticket(0)
        self._failure: WriteFailure | None = None

    # Opening

    def _open(self, identity: Identity) -> native.Store:
        ledger, options = self.folder / LEDGER, self.options
        if not ledger.is_dir():
            make_ledger(self.folder, lambda unfinished: _create(unfinished, identity))
        check_size(ledger)
        if options.preflight:
            run_preflight(self.folder)
        return native.Store(
            ledger,
            TABLES,
            SEAL_KEY,
            map_bytes=options.map_bytes,
            map_bytes_max=options.map_bytes_max,
            queue_batches=options.queue_batches,
            queue_bytes=options.queue_bytes,
            group_bytes=options.group_bytes,
        )

    def _check(self, identity: Identity) -> None:
        found = self._reader.identity()
        if found.genesis_digest != identity.genesis_digest:
            theirs, ours = found.genesis_digest.hex(), identity.genesis_digest.hex()
            raise StorageError(f"{self.folder} is of the chain with genesis {theirs}, not {ours}")
        if found.epoch != identity.epoch:
            raise StorageError(f"{self.folder} is of epoch {found.epoch}, not {identity.epoch}")
        self._reader.check_counts()

    # Writing

    def write(self, persist: Persist) -> None:
        """Queue what a ticket holds. A vertex that is here already stays as it is.

        Raises ShapeError if a ticket after the first does not rise by one, or a commit does not follow on the
        last one; Overloaded if the queue is full, StorageError if the store is read-only: nothing was queued.
        """
        self._check_writable()
        if self._ticket and persist.ticket != self._ticket + 1:
            raise ShapeError(f"ticket: expected {self._ticket + 1}, got {persist.ticket}")
        last = self._last_index()
        indices = [*([last] if last else []), *[commit.index for commit in persist.commits]]
        for previous, index in pairwise(indices):
            if index != previous + 1:
                raise ShapeError(f"commits: expected index {previous + 1}, got {index}")
        added = self._missing(persist.vertices)
        puts = vertices_batch(self._next_seq, added)
        puts += map(commit_put, persist.commits)
        puts += map(swaps_put, persist.swaps)
        self._submit(persist.ticket, puts)
        self._ticket = persist.ticket
        self._queued.append(_Queued(persist.ticket, added, persist.commits, persist.swaps))
        self._next_seq += len(added)
        self._fresh |= {vertex.ref: vertex for vertex in added}

    def sync(self) -> Ticket:
        """Block until all that was written is durable; the last ticket of it, 0 if there was none.

        StorageError if a write has failed.
        """
        self._native.wait()
        self.collect()
        return self._ticket

    def fileno(self) -> int:
        """A descriptor that polls readable when `collect` has news; only collect reads it."""
        return self._native.eventfd

    def collect(self) -> Ticket:
        """The highest ticket that is durable. StorageError if a write has failed; `durable` then says how far
        writing came, and `failure` what happened."""
        durable, code, failed = self._native.collect()
        self._durable = Ticket(durable)
        while self._queued and self._queued[0].ticket <= durable:
            self._settle(self._queued.popleft())
        if code:
            self._failure = WriteFailure(Ticket(failed), code, native.message(code))
            raise self._read_only()
        return self._durable

    @property
    def durable(self) -> Ticket:
        """The highest ticket that was durable when `collect` or `sync` last looked."""
        return self._durable

    @property
    def next_seq(self) -> int:
        """How many vertices have been written: the sequence number of the next."""
        return self._next_seq

    @property
    def failure(self) -> WriteFailure | None:
        """Why the store is read-only; None if it is not."""
        return self._failure

    def resume(self, map_bytes_max: int = 0) -> None:
        """Write on, beginning with the ticket that failed. map_bytes_max: how far the map may grow now."""
        self._failure = None
        self._native.resume(map_bytes_max)

    def repair(self, vertex: Vertex) -> bool:
        """Write the record of a damaged vertex anew; durable on return. Whether it was damaged.

        vertex: as a peer gave it; its digest proves it. StorageError if it was never stored, or not written.
        """
        self._check_writable()
        (candidates,) = self._reader.candidates([vertex.ref])
        if not candidates:
            raise StorageError(f"repair: no vertex with digest {vertex.digest.hex()} is stored")
        damaged = [seq for seq in candidates if self._is_damaged(seq, vertex.ref)]
        for seq in damaged:
            self._submit(self._ticket, [vertex_put(seq, vertex, append=False)])
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

    def _check_open(self) -> None:
        self.fileno()  # raises Closed

    def _check_writable(self) -> None:
        if self._failure is not None:
            raise self._read_only()
        self._check_open()

    def _submit(self, ticket: Ticket, puts: list[Put]) -> None:
        try:
            self._native.submit(ticket, pack_batch(puts))
        except StorageError:
            self.collect()  # raises the cause of a failure that nobody has seen yet
            raise

    def _read_only(self) -> StorageError:
        failure = self._failure
        if failure is None:
            return StorageError(f"{self.folder} is read-only")
        advice = _ADVICE.get(failure.code, "check the disk, then open the store anew")
        return StorageError(
            f"{self.folder} is read-only: ticket {failure.ticket} could not be written: {failure.words} "
            f"({failure.code}); {advice}"
        )

    def _last_index(self) -> int:
        """Index of the last commit, 0 if there is none."""
        for queued in reversed(self._queued):
            if queued.commits:
                return queued.commits[-1].index
        return self._bounds[1] if self._bounds else 0

    def _is_damaged(self, seq: int, ref: AnyRef) -> bool:
        try:
            self._reader.check_record(seq, ref)
        except DamagedVertexError as error:
            return error.ref == ref
        return False

    def _missing(self, vertices: tuple[Vertex, ...]) -> tuple[Vertex, ...]:
        """Those that are not here, each once."""
        new = {vertex.ref: vertex for vertex in vertices if vertex.ref not in self._fresh}
        stored = self._reader.vertices(list(new))
        return tuple(vertex for vertex, there in zip(new.values(), stored, strict=True) if there is None)

    def _settle(self, queued: _Queued) -> None:
        """What is durable is read from the database from now on."""
        for vertex in queued.vertices:
            del self._fresh[vertex.ref]
        self._durable_seq += len(queued.vertices)
        if queued.commits:
            first = self._bounds[0] if self._bounds else queued.commits[0].index
            self._bounds = first, queued.commits[-1].index

    # Reading

    def last_commit(self) -> Commit | None:
        """The commit of the highest index."""
        last = self._last_index()
        found = self.commits(last, last)
        return found[0] if found else None

    def commits(self, first: int, last: int) -> Sequence[Commit]:
        """Commits of the indices first..last that are there, ascending."""
        self._check_open()
        found: list[Commit] = []
        if self._bounds is not None:
            found = self._reader.commits(max(first, self._bounds[0]), min(last, self._bounds[1]))
        fresh = chain.from_iterable(queued.commits for queued in self._queued)
        return found + [commit for commit in fresh if first <= commit.index <= last]

    def vertices(self, refs: Sequence[AnyRef]) -> list[Vertex | None]:
        """The vertices of these references, None where one is not there."""
        fresh = self._fresh
        wanted = [ref for ref in dict.fromkeys(refs) if ref not in fresh]
        stored = dict(zip(wanted, self._reader.vertices(wanted), strict=True))
        return [fresh[ref] if ref in fresh else stored[ref] for ref in refs]

    def vertices_above(self, round_: Round) -> Sequence[Vertex]:
        """Vertices with a higher round (or anchor round) in the order they were written: parents first."""
        seqs = [seq for seq in self._reader.seqs_above(round_) if seq < self._durable_seq]
        found: list[Vertex] = []
        for seq, vertex in self._reader.read(seqs):
            if round_of(vertex.ref) <= round_:
                raise StorageError(f"an index has vertex {seq} above round {round_}: {vertex.ref}")
            found.append(vertex)
        return found + [vertex for vertex in self._fresh.values() if round_of(vertex.ref) > round_]

    def newest(self, author: ValidatorIndex) -> Sequence[ValidatorVertex]:
        """A validator's vertices of the highest round in which there is one, by digest."""
        own = {vertex.ref: vertex for vertex in self._reader.newest(author)}
        for vertex in self._fresh.values():
            if isinstance(vertex, ValidatorVertex) and vertex.author == author:
                own[vertex.ref] = vertex
        highest = max((vertex.round for vertex in own.values()), default=0)
        return sorted((vertex for vertex in own.values() if vertex.round == highest), key=_digest)

    def swaps(self) -> SwapRecord | None:
        """The swap table of the highest index."""
        stored = self._reader.swaps()
        fresh = [record for queued in self._queued for record in queued.swaps]
        return max([*([stored] if stored else []), *fresh], key=_commit_index, default=None)

    # Care

    def maintain(self) -> int:
        """Free the slots of readers that died, as should be done every minute; how many there were."""
        return self._native.check_readers()

    def scrub(self, first_seq: int, count: int, bytes_max: int = 64 << 20) -> list[AnyRef]:
        """Read this stretch of the log, up to bytes_max of it, for damage; the damaged vertices.

        StorageError for damage that peers cannot make good.
        """
        return scrub(self._reader, range(first_seq, min(first_seq + count, self._durable_seq)), bytes_max)

    def backup(self, folder: str | PathLike[str]) -> None:
        """Copy what is durable to a new folder, from which it can be opened, while the store is in use."""
        target = Path(folder).absolute()
        if (target / LEDGER).exists():
            raise StorageError(f"{target} has a database already")
        make_folder(target)
        make_ledger(target, self._native.copy)

    def info(self) -> StoreInfo:
        """Sizes and counters, for the metrics."""
        return StoreInfo(**self._native.info())


def _create(folder: Path, identity: Identity) -> None:
    """Make an empty database; it is durable on return."""
    size = _CREATION_BYTES
    made = native.Store(folder, TABLES, SEAL_KEY, map_bytes=size, map_bytes_max=size, create=True)
    try:
        made.submit(1, pack_batch([Put(Table.META, IDENTITY_KEY, (encode_identity(identity),))]))
        made.wait()
        durable, code, _ = made.collect()
    finally:
        made.close()
    if code or durable != 1:
        raise StorageError(f"cannot make a database in {folder}: {native.message(code)} ({code})")


def _digest(vertex: Vertex) -> Digest:
    return vertex.digest


def _commit_index(record: SwapRecord) -> int:
    return record.commit_index
