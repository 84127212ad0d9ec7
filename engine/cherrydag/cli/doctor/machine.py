"""The machine under a node: clock, disk, processor, memory, open files. Facts are read apart from judging."""

import ctypes
import os
import platform
import resource
import ssl
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from cherrydag import __version__, crypto
from cherrydag.cli.doctor.findings import Finding, fail, ok, warn
from cherrydag.cli.output import bytes_text
from cherrydag.watch import DISK_LOW_BYTES

OFFSET_WARN_MS: Final = 200
OFFSET_FAIL_MS: Final = 400
"""Others park what is dated more than 500 ms ahead of their clocks. What the node tells has in it how long a
vertex needs to come here, which is no fault of a clock."""

DISK_LEAST_BYTES: Final = 256 << 20
FSYNC_SLOW_MS: Final = 20.0
"""A commit waits for one sync of the log, its vertices for one more."""

MEMORY_LEAST_BYTES: Final = 512 << 20
MEMORY_GOOD_BYTES: Final = 2 << 30

_FSYNC_ROUNDS: Final = 16
_FSYNC_S: Final = 0.4
_STA_UNSYNC: Final = 0x40
_FORGETFUL: Final = ("tmpfs", "ramfs", "overlay")
_REMOTE: Final = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs")


# Versions and processor


def versions() -> Finding:
    """What runs here."""
    words = f"cherrydag {__version__}, Python {platform.python_version()}, {ssl.OPENSSL_VERSION}, "
    words += f"Linux {platform.release()}"
    if not ssl.HAS_TLSv1_3:
        return fail("versions", words, "nodes speak TLS 1.3 only: use a Python whose OpenSSL has it")
    return ok("versions", words)


def processor(backend: str, backends: Sequence[str], cores: int) -> Finding:
    """The instruction set of the native code. backends: what this CPU has, fastest first."""
    words = f"{cores} {'core' if cores == 1 else 'cores'}, native code for {backend}"
    if backend != backends[0]:
        advice = f"CHERRYDAG_BACKEND chooses it, but this CPU has {backends[0]}: unset the variable"
        return warn("processor", words, advice)
    if backend == "portable":
        advice = (
            "neither AVX2 nor AVX-512: signatures cost three to five times as much; take another CPU type"
        )
        return warn("processor", words, advice)
    if cores < 2:
        advice = "one core for the loop and for signatures: give it two for more than 10,000 transfers/s"
        return warn("processor", words, advice)
    return ok("processor", words)


def processor_here() -> Finding:
    """Of this machine, as far as this process may use it."""
    return processor(crypto.backend(), crypto.backends(), len(os.sched_getaffinity(0)))


# Clock


class ClockState(NamedTuple):
    """What the kernel knows of its clock. error_ms: at most so far from the true time, as it believes."""

    is_synchronised: bool
    error_ms: float


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2), as far as it is read; the kernel writes 208 bytes."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def clock_state() -> ClockState | None:
    """The kernel's word, None where it gives none, as in some containers."""
    state = _Timex()
    with suppress(OSError, AttributeError):
        if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(state)) >= 0:
            return ClockState(not state.status & _STA_UNSYNC, state.maxerror / 1000)
    return None


def clock(state: ClockState | None, offset_ms: float | None) -> Finding:
    """Whether the clock can be believed. offset_ms: others' clocks minus ours, None if nobody tells."""
    advice = "run chrony or systemd-timesyncd: timestamps far from others' keep vertices out"
    if offset_ms is not None and abs(offset_ms) >= OFFSET_WARN_MS:
        words = f"{abs(offset_ms):.0f} ms {'behind' if offset_ms > 0 else 'ahead of'} the other validators"
        return (fail if abs(offset_ms) >= OFFSET_FAIL_MS else warn)("clock", words, advice)
    if offset_ms is not None:
        return ok("clock", f"{abs(offset_ms):.0f} ms from the other validators'")
    if state is None:
        return warn(
            "clock", "the kernel does not say whether it is kept right", f"see for yourself, or {advice}"
        )
    if not state.is_synchronised:
        return warn("clock", "nothing keeps it right, as far as the kernel knows", advice)
    return ok("clock", f"kept right, to {state.error_ms:.0f} ms at most")


# Disk


def disk_space(free_bytes: int, total_bytes: int) -> Finding:
    """Room for the log."""
    words = f"{bytes_text(free_bytes)} free of {bytes_text(total_bytes)}"
    if free_bytes < DISK_LEAST_BYTES:
        return fail("disk space", words, "make room: a node that cannot write signs nothing")
    if free_bytes < DISK_LOW_BYTES:
        return warn("disk space", words, "make room soon, or move the folder to a larger disk")
    return ok("disk space", words)


def disk_speed(syncs_ms: Sequence[float]) -> Finding:
    """How long small durable writes take."""
    median = statistics.median(syncs_ms)
    words = f"a durable write takes {median:.1f} ms, {max(syncs_ms):.1f} ms at most of {len(syncs_ms)}"
    if median > FSYNC_SLOW_MS:
        return warn("disk speed", words, "finality waits for two in a row: use an SSD that is not shared")
    return ok("disk speed", words)


def disk_kind(kind: str) -> Finding:
    """The file system under the data."""
    if kind in _REMOTE:
        return fail("disk kind", kind, "the database is a memory map with locks: it needs a local disk")
    if kind in _FORGETFUL:
        return warn("disk kind", kind, "what is written here does not outlive the machine or the container")
    return ok("disk kind", kind or "unknown")


def disk(folder: Path) -> Iterator[Finding]:
    """All of these, for the folder with the data."""
    room = os.statvfs(folder)
    yield disk_space(room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize)
    try:
        yield disk_speed(_syncs_ms(folder))
    except OSError as error:
        yield fail("disk speed", f"{folder}: {error.strerror}", "the node's user must be able to write there")
    yield disk_kind(_file_system(folder))


def _syncs_ms(folder: Path) -> list[float]:
    """What some writes of one page took, in a file that has no name."""
    page = os.urandom(4096)
    found: list[float] = []
    descriptor = os.open(folder, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    try:
        ends_s = time.monotonic() + _FSYNC_S
        while len(found) < _FSYNC_ROUNDS and (not found or time.monotonic() < ends_s):
            begun_s = time.monotonic()
            os.write(descriptor, page)
            os.fdatasync(descriptor)
            found.append(1000 * (time.monotonic() - begun_s))
    finally:
        os.close(descriptor)
    return found


def _file_system(folder: Path) -> str:
    """The type of the mount that a folder is on; '' if that cannot be told."""
    path, best = folder.resolve(), ("", "")
    with suppress(OSError):
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _, mount, kind, *_ = line.split(" ")
            place = mount.encode().decode("unicode_escape")
            if path.is_relative_to(place) and len(place) >= len(best[0]):
                best = place, kind
    return best[1]


# Memory and files


def memory(total_bytes: int, limit_bytes: int | None) -> Finding:
    """Of the machine, and what a control group leaves of it."""
    size = total_bytes if limit_bytes is None else min(total_bytes, limit_bytes)
    words = bytes_text(size) + (" by the control group's limit" if size < total_bytes else "")
    if size < MEMORY_LEAST_BYTES:
        return fail(
            "memory", words, f"give it {bytes_text(MEMORY_GOOD_BYTES)}: it would be killed under load"
        )
    if size < MEMORY_GOOD_BYTES:
        advice = f"enough for a small chain; give it {bytes_text(MEMORY_GOOD_BYTES)} for a million accounts"
        return warn("memory", words, advice)
    return ok("memory", words)


def memory_here() -> Finding:
    """Of this machine and process."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return memory(total, _group_limit())


def _group_limit() -> int | None:
    """The least limit of the control groups that this process is in (version 2)."""
    limits = []
    with suppress(OSError, ValueError, IndexError):
        group = Path("/proc/self/cgroup").read_text().strip().splitlines()[-1].rpartition(":")[2]
        place = Path("/sys/fs/cgroup") / group.lstrip("/")
        for folder in (place, *place.parents):
            with suppress(OSError):
                text = (folder / "memory.max").read_text().strip()
                if text.isdigit():
                    limits.append(int(text))
    return min(limits, default=None)


def address_space(limit_bytes: int, map_bytes_max: int) -> Finding:
    """Room for the database's map. limit_bytes: -1 for none."""
    if limit_bytes == resource.RLIM_INFINITY:
        return ok("address space", "not limited")
    words = f"limited to {bytes_text(limit_bytes)}; the database may map {bytes_text(map_bytes_max)}"
    if limit_bytes < map_bytes_max:
        return fail("address space", words, "raise it (ulimit -v unlimited), or lower store.map_bytes_max")
    return ok("address space", words)


def open_files(hard: int, least: int, needed: int) -> Finding:
    """The limit of descriptors. least: for the validators; needed: with all others and clients."""
    if hard == resource.RLIM_INFINITY or hard >= needed:
        return ok("open files", f"{'any number' if hard < 0 else hard} may be open, {needed} may be needed")
    words = f"{hard} may be open"
    if hard < least:
        return fail("open files", f"{words}, {least} are needed", f"raise the limit to {needed}: ulimit -Hn")
    advice = f"raise the limit (ulimit -Hn {needed}), or lower api.limits.connections or peers.others_max"
    return warn("open files", f"{words}, {needed} may be needed", advice)
