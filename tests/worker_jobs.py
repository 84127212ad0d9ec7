"""Jobs that only tests run (tests/native/jobs.c), compiled on first use."""

import contextlib
import ctypes
import functools
import time
from pathlib import Path

from compiled import compile_shared

from cherrydag._native.workers import Job

SOURCE = Path(__file__).parent / "native" / "jobs.c"
CAPSULE_NAME = b"cherrydag.job"


@functools.cache
def library():
    return compile_shared(SOURCE, "jobs", ["-Werror"])


@functools.cache
def capsule(function, name=CAPSULE_NAME):
    new = ctypes.pythonapi.PyCapsule_New
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return new(ctypes.cast(getattr(library(), function), ctypes.c_void_p), name, None)


def add_job(data, *, us=0, sleep=False, add=0, status=0, size=None):
    """A job that takes `us` microseconds, spinning or asleep, and gives data with `add` on every byte."""
    params = (us, int(sleep), add, status & 0xFFFF_FFFF_FFFF_FFFF)
    return Job(capsule("job_add"), (data,), params, len(data) if size is None else size)


def job_runs():
    """How many such jobs this process has run."""
    return library().job_runs()


def worker_threads():
    """Names of the pool threads that this process has now."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            names.append(Path(task, "comm").read_text().strip())
    return [name for name in names if name.startswith("cherry-w")]


def all_threads_gone(within_s=2.0):
    """Whether no pool thread is left. A joined thread stays listed until the kernel has put it away."""
    deadline = time.monotonic() + within_s
    while worker_threads():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))
