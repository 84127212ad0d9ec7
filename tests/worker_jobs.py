"""Jobs that only tests run (tests/native/jobs.c), compiled on first use, and gates that hold them."""

import contextlib
import ctypes
import functools
import select
import threading
import time
from pathlib import Path

from compiled import compile_shared

from cherrydag._native.workers import Job

SOURCE = Path(__file__).parent / "native" / "jobs.c"
CAPSULE_NAME = b"cherrydag.job"

GUARD_S = 30  # ends a test that would hang; a busy machine must never come near it


@functools.cache
def library():
    return compile_shared(SOURCE, "jobs", ["-Werror"])


@functools.cache
def capsule(function, name=CAPSULE_NAME):
    new = ctypes.pythonapi.PyCapsule_New
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return new(ctypes.cast(getattr(library(), function), ctypes.c_void_p), name, None)


def add_job(data, *, gate=None, us=0, add=0, status=0, size=None):
    """A job that spins for `us` microseconds, waits at the gate, and gives data with `add` on every byte."""
    inputs = (data, None if gate is None else gate.state)
    params = (us, GUARD_S, add, status & 0xFFFF_FFFF_FFFF_FFFF)
    return Job(capsule("job_add"), inputs, params, len(data) if size is None else size)


class Gate:
    """Jobs given to it cannot end before it is open: the order of events is known, on any machine.

    Leaving `with` opens it. A gate that stays shut for GUARD_S opens by itself, and the test fails.
    """

    def __init__(self):
        self.state = bytearray(3)  # open, jobs that came to it, forced: jobs.c

    @property
    def is_open(self):
        return bool(self.state[0])

    def open(self):
        self.state[0] = 1

    def open_when(self, condition):
        """Open it from another thread, once the condition holds."""

        def wait():
            try:
                until(lambda: self.is_open or condition())
            finally:
                self.open()

        threading.Thread(target=wait, daemon=True).start()

    def wait_started(self, jobs):
        """Return when so many jobs wait at the gate or have passed it, at most 255."""
        until(lambda: self.state[1] >= jobs)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.open()
        assert error is not None or not self.state[2], f"nobody opened the gate for {GUARD_S} s"


def comes_true(condition):
    deadline = time.monotonic() + GUARD_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def until(condition):
    """Wait for what must happen soon; fails if it has not after GUARD_S."""
    assert comes_true(condition), f"still not so after {GUARD_S} s"


def job_runs():
    """How many such jobs this process has run."""
    return library().job_runs()


def readable(descriptor, within_s=0.0):
    return bool(select.select([descriptor], [], [], within_s)[0])


def worker_threads():
    """Names of the pool threads that this process has now."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            names.append(Path(task, "comm").read_text().strip())
    return [name for name in names if name.startswith("cherry-w")]


def all_threads_gone():
    """Whether no pool thread is left. A joined thread stays listed until the kernel has put it away."""
    return comes_true(lambda: not worker_threads())


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))
