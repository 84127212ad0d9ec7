"""Native worker threads behind a bounded ring of jobs. Used through cherrydag.runtime.workers."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Bytes: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.generic]

OK: int
ERR_ARGUMENT: int
ERR_MEMORY: int
ERR_UNSUPPORTED: int
ERR_CLOSED: int
THREADS_MAX: int
CAPACITY_MAX: int

class Job:
    """A job with its inputs held and its output allocated; it can be submitted once.

    run: a capsule named "cherrydag.job" around a cd_job_run (base/job.h). inputs: up to 4 buffers, or
    None; mutable ones stay locked against resizing until the job is collected or dropped, and must not
    be written to. params: up to 4 integers of 64 bits. output_size: bytes that the job writes.
    """

    def __init__(
        self, run: object, inputs: tuple[_Bytes | None, ...], params: tuple[int, ...], output_size: int
    ) -> None: ...

class Ring:
    """N native threads behind one bounded queue of jobs. Results come back by ticket, from collect().

    Raises Closed after close() and in a forked child. Close it; a ring that is dropped, or alive when
    the interpreter exits, discards its queue and waits for the jobs that are running.
    """

    def __init__(self, threads: int = 1, capacity: int = 64, cpus: tuple[int, ...] = ()) -> None: ...
    @property
    def capacity(self) -> int: ...
    @property
    def owner(self) -> int:
        """Process id of the process that may use the ring."""
    @property
    def outstanding(self) -> int:
        """Jobs accepted and not yet collected, at most capacity."""
    @property
    def eventfd(self) -> int:
        """A descriptor that polls readable while results wait; only collect() may read it."""
    def submit(self, job: Job) -> int:
        """Queue a job and return its ticket. Overloaded if capacity jobs are outstanding."""
    def collect(self) -> list[tuple[int, int, bytes]]:
        """The results that wait, as (ticket, status, output); the output is empty if the job failed."""
    def wait(self, timeout: float | None = None) -> bool:
        """Block, without the GIL, until a result waits; False after timeout seconds or if none can come."""
    def close(self, drain: bool = True) -> None:
        """Refuse jobs, run the queue or discard it, and join the threads, without the GIL."""
    def stats(self) -> tuple[int, int, int, int, int, int, int, Sequence[tuple[int, int, int]]]:
        """(submitted, completed, discarded, refused, queued, running, finished, workers), where workers
        is one (jobs, busy_ns, cpu_ns) for each thread."""
