"""The worker pool: heavy native jobs beside the event loop, without the GIL.

    async with WorkerPool(threads=2) as pool:
        valid = await pool.verify_async(public_keys, digests, signatures)

Jobs run on native threads that never touch Python, so a busy loop does not slow them and they do not
slow the loop; results arrive through an eventfd that the loop watches. A job costs some 10 us of
Python and up to 65 us of wake-up, so give it about a millisecond of work: 512 to 2048 signatures, or
10,000 records. The caller splits larger batches; jobs of one pool share its threads, first come first
served, and may finish in any order.

Each operation has three forms. `verify` blocks. `submit_verify` returns a Ticket at once, or raises
Overloaded while `capacity` jobs are outstanding (queued, running or not yet collected). `verify_async`
waits its turn for a slot, in order of arrival; when `waiters` calls wait already, it raises Overloaded.
`run`, `submit` and `run_async` do the same for any other Job.

A pool serves the thread that made it, and whichever event loops run there, one after another. Input
buffers are held until the result is in: a caller may drop them but must not write to them.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from cherrydag._native import workers as native
from cherrydag._native.workers import Job
from cherrydag.errors import CherrydagError, Closed, Overloaded, ShapeError, invariant
from cherrydag.runtime.worker_jobs import hashing, verification

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from cherrydag.crypto import BytesLike

__all__ = ["Job", "PoolStats", "Ticket", "WorkerPool", "WorkerStats"]


class WorkerPool:
    """`threads` native workers behind one queue of at most `capacity` outstanding jobs.

    cpus pins each thread to a CPU. After close() no job can be started: Closed. A forked child gets
    Closed from every method but close() and must open a pool of its own. Leaving `with` or `async with`
    drains and closes, or discards what is queued if the block raised. A pool that is forgotten neither
    hangs the interpreter's exit nor outlives it.
    """

    def __init__(
        self, threads: int = 1, capacity: int = 64, *, waiters: int = 1024, cpus: Sequence[int] = ()
    ) -> None:
        self.waiters = waiters
        self._ring = native.Ring(threads, capacity, tuple(cpus))
        self._thread = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None  # watches the eventfd, which is:
        self._eventfd = self._ring.eventfd
        self._closing = False
        self._turned_away = 0
        self._sinks: dict[int, Ticket | asyncio.Future[bytes]] = {}  # by ticket number
        self._backlog: OrderedDict[asyncio.Future[bytes], Job] = OrderedDict()  # wait for a slot
        self._drainers: list[asyncio.Future[None]] = []

    # The operations.

    def verify(
        self, public_keys: BytesLike, digests: BytesLike, signatures: BytesLike, *, independent: bool = False
    ) -> bytes:
        """Check n Ed25519 signatures (ZIP-215); blocks until they are checked.

        public_keys: n x 32 bytes, row-major; digests: n x 32; signatures: n x 64. independent: skip the
        batch equation, for a source whose batches keep failing.
        Returns n bytes, 1 valid or 0 invalid, in input order.
        Raises ShapeError if the lengths disagree: our bug, never a peer's.
        """
        return self.run(verification(public_keys, digests, signatures, independent))

    def submit_verify(
        self, public_keys: BytesLike, digests: BytesLike, signatures: BytesLike, *, independent: bool = False
    ) -> Ticket:
        """Start `verify`."""
        return self.submit(verification(public_keys, digests, signatures, independent))

    async def verify_async(
        self, public_keys: BytesLike, digests: BytesLike, signatures: BytesLike, *, independent: bool = False
    ) -> bytes:
        """Await `verify`."""
        return await self.run_async(verification(public_keys, digests, signatures, independent))

    def hash_records(
        self,
        records: BytesLike,
        start: int,
        stop: int,
        key: BytesLike | None = None,
        *,
        stride: int | None = None,
    ) -> bytes:
        """BLAKE3 over bytes [start, stop) of each of n records that lie `stride` bytes apart; blocks.

        records, stride: as in crypto.hash_records. key: 32 bytes, for keyed mode.
        Returns n x 32 bytes. Raises ShapeError unless 0 <= start <= stop <= stride and records is whole.
        """
        return self.run(hashing(records, start, stop, key, stride))

    def submit_hash_records(
        self,
        records: BytesLike,
        start: int,
        stop: int,
        key: BytesLike | None = None,
        *,
        stride: int | None = None,
    ) -> Ticket:
        """Start `hash_records`."""
        return self.submit(hashing(records, start, stop, key, stride))

    async def hash_records_async(
        self,
        records: BytesLike,
        start: int,
        stop: int,
        key: BytesLike | None = None,
        *,
        stride: int | None = None,
    ) -> bytes:
        """Await `hash_records`."""
        return await self.run_async(hashing(records, start, stop, key, stride))

    # Any job.

    def run(self, job: Job) -> bytes:
        """Run one job and block until its output is there; waits for a slot if there is none."""
        self._check_open()
        while self._full():
            self._wait(None)
        return self.submit(job).result()

    def submit(self, job: Job) -> Ticket:
        """Queue a job. Overloaded if there is no slot; nothing was queued then."""
        self._check_open()
        self._full()  # may make room
        ticket = Ticket(self)
        self._sinks[self._ring.submit(job)] = ticket
        return ticket

    async def run_async(self, job: Job) -> bytes:
        """Run one job, waiting for a slot behind earlier callers.

        Overloaded if `waiters` callers wait already. If the caller is cancelled, a job that still waits
        for a slot is withdrawn; one that was queued runs, frees its slot, and its output is dropped.
        """
        self._check_open()
        loop = self._watch()
        future: asyncio.Future[bytes] = loop.create_future()
        if not self._full():
            self._sinks[self._ring.submit(job)] = future
        elif len(self._backlog) < self.waiters:
            self._backlog[future] = job
        else:
            self._turned_away += 1
            raise Overloaded(
                f"the worker pool is full: {self._ring.capacity} jobs are outstanding "
                f"and {self.waiters} callers wait"
            )
        try:
            return await future
        finally:
            self._backlog.pop(future, None)

    # The end.

    def drain(self) -> None:
        """Block until every job, also of the callers that wait for a slot, has its result delivered."""
        self._check_owner()
        while self._sinks:
            self._wait(None)

    async def drain_async(self) -> None:
        """Await `drain`."""
        self._check_owner()
        while self._sinks:
            done: asyncio.Future[None] = self._watch().create_future()
            self._drainers.append(done)
            await done

    def close(self, drain: bool = True) -> None:
        """Refuse further jobs, finish the queue or discard it, and end the threads; blocks.

        Discarded jobs raise Closed where their results are awaited. Running jobs finish in any case.
        """
        self._closing = True
        if self._eventfd < 0 or os.getpid() != self._ring.owner:
            return
        if drain:
            self.drain()
        self._unwatch()
        self._eventfd = -1
        self._ring.close(drain=False)
        while self._backlog:
            _deliver(self._backlog.popitem(last=False)[0], native.ERR_CLOSED, b"")
        self._collect()

    async def close_async(self, drain: bool = True) -> None:
        """Await `close`; the loop keeps running while the queue drains. Discards it if cancelled."""
        self._closing = True
        try:
            if drain and self._eventfd >= 0:
                await self.drain_async()
        finally:
            self.close(drain=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(drain=error is None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close_async(drain=error is None)

    def stats(self) -> PoolStats:
        """Counters and depths, also by thread, for the metrics; readable after close."""
        stats = self._ring.stats()
        workers = tuple(WorkerStats(*worker) for worker in stats[7])
        return PoolStats(*stats[:7], len(self._backlog), self._turned_away, workers)

    # Between the ring, the loop and the callers. While callers wait for a slot the ring is full, and
    # there is one sink for each outstanding job.

    def _check_owner(self) -> None:
        if os.getpid() != self._ring.owner:
            raise Closed(f"the pool belongs to process {self._ring.owner}; open one in this process")
        current = threading.get_ident()
        invariant(current == self._thread, "a pool serves the thread that made it", thread=current)

    def _check_open(self) -> None:
        self._check_owner()
        if self._closing:
            raise Closed("the pool is closed")

    def _full(self) -> bool:
        if self._ring.outstanding == self._ring.capacity:
            self._collect()
        return self._ring.outstanding == self._ring.capacity

    def _wait(self, timeout: float | None) -> None:
        self._check_owner()
        self._ring.wait(timeout)
        self._collect()

    def _watch(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._unwatch()
            loop.add_reader(self._eventfd, self._collect)
            self._loop = loop
        return loop

    def _unwatch(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._eventfd)
        self._loop = None

    def _collect(self) -> None:
        for number, status, output in self._ring.collect():
            _deliver(self._sinks.pop(number), status, output)
        while self._backlog and self._ring.outstanding < self._ring.capacity:
            self._start(*self._backlog.popitem(last=False))
        if not self._sinks:
            for drainer in self._drainers:
                if _expected(drainer):
                    drainer.set_result(None)
            self._drainers.clear()

    def _start(self, future: asyncio.Future[bytes], job: Job) -> None:
        if not _expected(future):
            return
        try:
            self._sinks[self._ring.submit(job)] = future
        except ShapeError as error:  # the same Job was given twice
            future.set_exception(error)


class Ticket:
    """The coming output of one submitted job. A ticket that is dropped drops the output."""

    __slots__ = ("_error", "_output", "_pool")

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._output: bytes | None = None
        self._error: Exception | None = None

    def done(self) -> bool:
        """Whether `result` would return or raise at once."""
        if not self._settled():
            self._pool._wait(0.0)
        return self._settled()

    def result(self, timeout: float | None = None) -> bytes:
        """Block until the output is there; TimeoutError after `timeout` seconds, and the job goes on.

        Raises ShapeError if the job refused its arguments, MemoryError if it found no memory, Closed if
        it was discarded.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._settled():
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            self._pool._wait(left)
            if left == 0.0 and not self._settled():
                raise TimeoutError(f"the job did not finish within {timeout} s")
        if self._error is not None:
            raise self._error
        return self._output or b""

    def _settled(self) -> bool:
        return self._output is not None or self._error is not None


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """One thread: jobs run, wall time inside them, and CPU time received until the last one ended."""

    jobs: int
    busy_ns: int
    cpu_ns: int


@dataclass(frozen=True, slots=True)
class PoolStats:
    """Totals since the start and depths now; queued + running + finished jobs are outstanding.

    refused counts what `submit` answered with Overloaded; waiting is the number of async callers that
    wait for a slot, turned_away the total of those that found no place to wait.
    """

    submitted: int
    completed: int
    discarded: int
    refused: int
    queued: int
    running: int
    finished: int
    waiting: int
    turned_away: int
    workers: tuple[WorkerStats, ...]


def _expected(future: asyncio.Future[bytes] | asyncio.Future[None]) -> bool:
    """Whether someone may still look: neither cancelled nor left behind by a loop that has ended."""
    return not future.done() and not future.get_loop().is_closed()


def _deliver(sink: Ticket | asyncio.Future[bytes], status: int, output: bytes) -> None:
    if isinstance(sink, Ticket):
        if status == native.OK:
            sink._output = output
        else:
            sink._error = _failure(status)
    elif _expected(sink):
        if status == native.OK:
            sink.set_result(output)
        else:
            sink.set_exception(_failure(status))


def _failure(status: int) -> Exception:
    if status == native.ERR_ARGUMENT:
        return ShapeError("the job refused its arguments: a length, count or flag breaks its contract")
    if status == native.ERR_MEMORY:
        return MemoryError("the job found no memory")
    if status == native.ERR_CLOSED:
        return Closed("the pool was closed before the job ran")
    return CherrydagError(f"the job failed with status {status}")
