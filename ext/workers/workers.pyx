# The worker ring: jobs over held buffers, results by ticket. Rules and meanings live in workers.h and
# in cherrydag.runtime.workers.
import atexit
import os
import time
import weakref

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint8_t, uint64_t

from cherrydag.errors import Closed, Overloaded

include "base/buffers.pxi"

cdef extern from "base/job.h":
    ctypedef enum cd_status:
        CD_OK, CD_ERR_ARGUMENT, CD_ERR_MEMORY, CD_ERR_UNSUPPORTED, CD_ERR_FULL, CD_ERR_CLOSED
    enum:
        CD_JOB_INPUTS
    const char *CD_JOB_CAPSULE
    ctypedef struct cd_job_args:
        const uint8_t *input[4]
        size_t size[4]
        uint64_t param[4]
        uint8_t *output
        size_t output_size
    ctypedef cd_status (*cd_job_run)(const cd_job_args *args) noexcept nogil

cdef extern from "workers/workers.h" nogil:
    enum:
        CD_POOL_THREADS_MAX
        CD_POOL_CAPACITY_MAX
    ctypedef struct cd_pool:
        pass
    ctypedef struct cd_result:
        uint64_t ticket
        cd_status status
    ctypedef struct cd_worker_stats:
        uint64_t jobs, busy_ns, cpu_ns
    ctypedef struct cd_pool_stats:
        uint64_t submitted, completed, discarded, refused
        size_t queued, running, finished, threads
        cd_worker_stats worker[64]
    cd_status cd_pool_open(size_t threads, size_t capacity, const int *cpus, cd_pool **pool)
    cd_status cd_pool_submit(cd_pool *pool, cd_job_run run, const cd_job_args *args, uint64_t ticket)
    cd_status cd_pool_collect(cd_pool *pool, cd_result *out, size_t max, size_t *count)
    cd_status cd_pool_wait(cd_pool *pool, int64_t timeout_ns, size_t *ready)
    int cd_pool_eventfd(cd_pool *pool)
    cd_status cd_pool_get_stats(cd_pool *pool, cd_pool_stats *stats)
    cd_status cd_pool_close(cd_pool *pool, int drain)
    void cd_pool_free(cd_pool *pool)

OK = <int>CD_OK
ERR_ARGUMENT = <int>CD_ERR_ARGUMENT
ERR_MEMORY = <int>CD_ERR_MEMORY
ERR_UNSUPPORTED = <int>CD_ERR_UNSUPPORTED
ERR_CLOSED = <int>CD_ERR_CLOSED
THREADS_MAX = CD_POOL_THREADS_MAX
CAPACITY_MAX = CD_POOL_CAPACITY_MAX

# Weak, so that a forgotten ring can go; what is left is closed before the interpreter frees anything.
cdef object rings = weakref.WeakSet()


@atexit.register
def close_rings():
    for ring in list(rings):
        ring.close(drain=False)


cdef class Job:
    """A job with its inputs held and its output allocated; it can be submitted once."""
    cdef object capsule
    cdef tuple held
    cdef bytes output
    cdef cd_job_run run
    cdef cd_job_args args
    cdef bint submitted

    def __init__(self, capsule, tuple inputs not None, tuple params not None, size_t output_size):
        if len(inputs) > CD_JOB_INPUTS or len(params) > CD_JOB_INPUTS:
            raise ShapeError(f"a job takes up to {CD_JOB_INPUTS} inputs and {CD_JOB_INPUTS} params, "
                             f"got {len(inputs)} and {len(params)}")
        if self.output is not None:
            raise ShapeError("a job is made once")
        self.run = <cd_job_run>PyCapsule_GetPointer(capsule, CD_JOB_CAPSULE)
        self.capsule = capsule
        self.held = tuple([None if source is None else acquire(source, f"input {i}")
                           for i, source in enumerate(inputs)])
        cdef size_t i
        cdef Buffer held
        for i in range(<size_t>len(inputs)):
            held = self.held[i]
            if held is not None:
                self.args.input[i] = held.data()
                self.args.size[i] = held.size()
        for i in range(<size_t>len(params)):
            self.args.param[i] = params[i]
        self.output = PyBytes_FromStringAndSize(NULL, output_size)
        self.args.output = <uint8_t *>PyBytes_AS_STRING(self.output)
        self.args.output_size = output_size


cdef class Ring:
    """N native threads behind one bounded queue of jobs. Results come back by ticket, from collect().

    Raises Closed after close() and in a forked child. Close it; a ring that is dropped, or alive when
    the interpreter exits, discards its queue and waits for the jobs that are running.
    """
    cdef cd_pool *pool
    cdef dict jobs
    cdef uint64_t next_ticket
    cdef readonly size_t capacity
    cdef readonly int owner
    cdef object __weakref__

    def __cinit__(self, size_t threads=1, size_t capacity=64, tuple cpus not None=()):
        cdef int pinned[64]
        cdef size_t i
        if not 1 <= threads <= CD_POOL_THREADS_MAX:
            raise ShapeError(f"threads must be 1..{CD_POOL_THREADS_MAX}, got {threads}")
        if not 1 <= capacity <= CD_POOL_CAPACITY_MAX:
            raise ShapeError(f"capacity must be 1..{CD_POOL_CAPACITY_MAX}, got {capacity}")
        if cpus and <size_t>len(cpus) != threads:
            raise ShapeError(f"cpus must name one CPU for each of {threads} threads, got {len(cpus)}")
        for i in range(<size_t>len(cpus)):
            pinned[i] = cpus[i]
        self.jobs = {}
        self.capacity = capacity
        self.owner = os.getpid()
        cdef cd_status status = cd_pool_open(threads, capacity, pinned if cpus else NULL, &self.pool)
        if status == CD_ERR_ARGUMENT:
            raise ShapeError(f"cpus: this process may not run on one of {cpus}")
        if status != CD_OK:
            raise MemoryError(f"the system refused memory, a descriptor or one of {threads} threads")
        rings.add(self)

    def __del__(self):
        # Not left to __dealloc__: the cycle collector may drop self.jobs before that, and with it
        # the buffers of running jobs. It calls finalizers before it drops anything.
        self.close(drain=False)

    def __dealloc__(self):
        cd_pool_free(self.pool)

    cdef object closed_error(self):
        if os.getpid() != self.owner:
            return Closed(f"the pool belongs to process {self.owner}; open one in this process")
        return Closed("the pool is closed")

    def submit(self, Job job not None):
        """Queue a job and return its ticket. Overloaded if capacity jobs are outstanding."""
        if job.submitted:
            raise ShapeError("this job was submitted before; its output is taken")
        cdef uint64_t ticket = self.next_ticket
        self.jobs[ticket] = job  # before it can run: what it reads and writes must outlive it
        cdef cd_status status = cd_pool_submit(self.pool, job.run, &job.args, ticket)
        if status == CD_OK:
            job.submitted = True
            self.next_ticket += 1
            return ticket
        del self.jobs[ticket]
        if status == CD_ERR_FULL:
            raise Overloaded(f"the worker pool is full: {self.capacity} jobs are outstanding")
        raise self.closed_error()

    def collect(self):
        """The results that wait, as (ticket, status, output); the output is empty if the job failed."""
        cdef cd_result results[64]  # on the stack: a finalizer that runs here may call collect() too
        cdef size_t i, count = 64
        cdef list collected = []
        cdef Job job
        while count == 64:
            if cd_pool_collect(self.pool, results, 64, &count) != CD_OK:
                raise self.closed_error()
            for i in range(count):
                job = self.jobs.pop(results[i].ticket)
                output = job.output if results[i].status == CD_OK else b""
                collected.append((results[i].ticket, <int>results[i].status, output))
        return collected

    def wait(self, timeout=None):
        """Block, without the GIL, until a result waits; False after timeout seconds or if none can come."""
        cdef size_t ready = 0
        cdef int64_t left_ns = -1
        cdef cd_status status
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.jobs:
            if deadline is not None:
                left_ns = <int64_t>(min(max(0.0, deadline - time.monotonic()), 1e9) * 1e9)
            with nogil:
                status = cd_pool_wait(self.pool, left_ns, &ready)
            if status != CD_OK:
                raise self.closed_error()
            if ready or left_ns == 0:
                break  # a timeout ends in one last look
            PyErr_CheckSignals()
        return ready > 0

    def close(self, bint drain=True):
        """Refuse jobs, run the queue or discard it, and join the threads, without the GIL.

        What finished can still be collected; discarded jobs give ERR_CLOSED. Calling it again does
        nothing, and so does calling it in a forked child.
        """
        if self.pool != NULL:
            with nogil:
                cd_pool_close(self.pool, drain)

    @property
    def eventfd(self):
        """A descriptor that polls readable while results wait; only collect() may read it."""
        cdef int descriptor = cd_pool_eventfd(self.pool)
        if descriptor < 0:
            raise self.closed_error()
        return descriptor

    @property
    def outstanding(self):
        """Jobs accepted and not yet collected, at most capacity."""
        return len(self.jobs)

    def stats(self):
        """(submitted, completed, discarded, refused, queued, running, finished, workers), where workers
        is a list of (jobs, busy_ns, cpu_ns), one for each thread."""
        cdef cd_pool_stats stats
        cdef size_t i
        if cd_pool_get_stats(self.pool, &stats) != CD_OK:
            raise self.closed_error()
        workers = [(stats.worker[i].jobs, stats.worker[i].busy_ns, stats.worker[i].cpu_ns)
                   for i in range(stats.threads)]
        return (stats.submitted, stats.completed, stats.discarded, stats.refused,
                stats.queued, stats.running, stats.finished, workers)
