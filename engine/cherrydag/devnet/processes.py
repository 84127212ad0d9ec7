"""Nodes as processes of this one: forked, since all of their modules are here already; they end when it ends.

What a node's modules take to be imported, about a second of a core and 40 MB, is paid once and shared by all.
"""

import asyncio
import ctypes
import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from cherrydag.errors import ConfigError, invariant

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_NAME_BYTES: Final = 15
_TAIL_BYTES: Final = 16 * 1024
_FAILED: Final = 70

Main = Callable[[], int]
"""What a child does; its exit code."""


class Memory(NamedTuple):
    """Of a process. rss_bytes: all that it has in memory; pss_bytes: of pages that it shares, its part."""

    rss_bytes: int
    pss_bytes: int


class ChildProcess:
    """A process that runs `main`, from now on. on_end, once watched, gets its exit code, negative for a
    signal. Everything it prints goes to the end of `log`.

    It dies with this one, however that ends, and does not hear the terminal's signals. Fork before there are
    threads or an event loop: the child has neither, but would keep their locks.
    """

    def __init__(self, name: str, log: Path, main: Main) -> None:
        invariant(threading.active_count() == 1, "a process with threads is not forked", child=name)
        self.name = name
        self.log = log
        self.code: int | None = None
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(_run(name, log, main, parent))
        self._handle = os.pidfd_open(self.pid)
        self._watching: asyncio.AbstractEventLoop | None = None

    @property
    def is_running(self) -> bool:
        """Whether it has not ended, as far as is known here."""
        return self.code is None

    def watch(self, on_end: Callable[["ChildProcess"], None]) -> None:
        """Call back, on the running event loop, when it has ended."""
        loop = self._watching = asyncio.get_running_loop()

        def ended() -> None:
            self.poll()
            on_end(self)

        loop.add_reader(self._handle, ended)

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._forget(status)
        return self.code

    def wait(self) -> int:
        """Block until it has ended; its exit code."""
        if self.code is None:
            self._forget(os.waitpid(self.pid, 0)[1])
        return self.code or 0

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self.code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def memory(self) -> Memory | None:
        """What it has in memory; None if it has ended."""
        if self.code is None:
            return memory_of(self.pid)
        return None

    def last_lines(self, count: int) -> list[str]:
        """What it said last."""
        return last_lines(self.log, count)

    def _forget(self, status: int) -> None:
        self.code = os.waitstatus_to_exitcode(status)
        if self._watching is not None and not self._watching.is_closed():
            self._watching.remove_reader(self._handle)
        os.close(self._handle)


def preload() -> None:
    """Import what every node needs, and keep the collector from touching it: touched pages are copied."""
    import uvloop  # noqa: F401

    import cherrydag.config_sources
    import cherrydag.daemon
    import cherrydag.logs  # noqa: F401

    gc.collect()
    gc.freeze()


def memory_of(pid: int) -> Memory | None:
    """What a process has in memory; None if there is none."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    fields = {words[0]: int(words[1]) * 1024 for words in map(str.split, lines) if words[-1] == "kB"}
    return Memory(fields.get("Rss:", 0), fields.get("Pss:", 0))


def age_s() -> float:
    """How long this process has been there."""
    started_ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a file, as far as they lie in its last 16 KiB."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []


def _run(name: str, log: Path, main: Main, parent: int) -> int:
    """The child's whole life."""
    try:
        die_with_parent(parent)
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        _redirect(log)
        _name_process(name)
        return main()
    except SystemExit as asked:
        return asked.code if isinstance(asked.code, int) else 0 if asked.code is None else 1
    except BaseException:  # noqa: BLE001 - the process's edge
        traceback.print_exc()
        return _FAILED
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()


def die_with_parent(parent: int) -> None:
    """Have this process killed when `parent`, which forked it, ends. ConfigError where that cannot be."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise ConfigError(f"PR_SET_PDEATHSIG: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it ended before that
        os._exit(_FAILED)


def _name_process(name: str) -> None:
    """What `ps` and `top` call it."""
    title = f"cherrydag {name}".encode()[:_NAME_BYTES]
    ctypes.CDLL(None).prctl(_PR_SET_NAME, title, 0, 0, 0)


def _redirect(log: Path) -> None:
    into = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(into, 1)
    os.dup2(into, 2)
    os.close(into)
    os.close(nothing)
