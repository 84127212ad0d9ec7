"""What processes have used, as the kernel counts it, and what they ran on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Final, NamedTuple

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")

MAIN: Final = "main"
"""Name of a process's first thread, whatever it calls itself."""


class ThreadTime(NamedTuple):
    """Seconds that a thread has run, and that it was ready to run but had no core."""

    run_s: float
    queued_s: float

    def __add__(self, other: object) -> ThreadTime:
        if not isinstance(other, ThreadTime):
            return NotImplemented
        return ThreadTime(self.run_s + other.run_s, self.queued_s + other.queued_s)

    def __sub__(self, other: ThreadTime) -> ThreadTime:
        return ThreadTime(self.run_s - other.run_s, self.queued_s - other.queued_s)


class ProcessFigures(NamedTuple):
    """What one process has used so far. cpu_s: of all its threads, those that have ended included. threads:
    of those that live, by name, numbered ones ("cherry-w0") together. rss_bytes: now; rss_max_bytes: at most.
    written_bytes: that it has caused to be written to disks."""

    cpu_s: float
    threads: dict[str, ThreadTime]
    rss_bytes: int
    rss_max_bytes: int
    written_bytes: int


def process_figures(pid: int) -> ProcessFigures | None:
    """Of a process by its number; None if it has ended."""
    folder = Path(f"/proc/{pid}")
    try:
        status = _table(folder / "status")
        return ProcessFigures(
            time.clock_gettime(_cpu_clock(pid)),
            _threads(folder),
            _kib(status.get("VmRSS", "0 kB")),
            _kib(status.get("VmHWM", "0 kB")),
            int(_table(folder / "io").get("write_bytes", "0")),
        )
    except OSError:
        return None


def _cpu_clock(pid: int) -> int:
    """What clock_getcpuclockid(3) answers: it counts nanoseconds, where /proc/PID/stat counts ticks."""
    return ~pid << 3 | 2


def _threads(folder: Path) -> dict[str, ThreadTime]:
    used: dict[str, ThreadTime] = {}
    for task in sorted((folder / "task").iterdir()):
        try:
            name = MAIN if task.name == folder.name else (task / "comm").read_text().strip()
            run, queued, *_ = (task / "schedstat").read_text().split()
        except OSError:  # it has ended
            continue
        name = name.rstrip("0123456789")
        used[name] = used.get(name, ThreadTime(0, 0)) + ThreadTime(int(run) / 1e9, int(queued) / 1e9)
    return used


def _table(path: Path) -> dict[str, str]:
    """Lines of "name: value"; nothing if it may not be read."""
    try:
        lines = path.read_text().splitlines()
    except PermissionError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _kib(text: str) -> int:
    return int(text.split()[0]) * 1024


# The machine


class MachineTime(NamedTuple):
    """Seconds since the machine was started, of all its cores together. busy: they ran something. stolen:
    they had something to run while other guests had the processor."""

    busy_s: float
    stolen_s: float

    def __sub__(self, before: MachineTime) -> MachineTime:
        return MachineTime(self.busy_s - before.busy_s, self.stolen_s - before.stolen_s)


def machine_time() -> MachineTime:
    """Until now."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("cpu "):
            user, nice, system, _, _, irq, softirq, steal, *_ = (int(text) for text in line.split()[1:])
            return MachineTime((user + nice + system + irq + softirq) * TICK_S, steal * TICK_S)
    return MachineTime(0.0, 0.0)


def machine(folder: Path | None = None, source: Path | None = None) -> dict[str, object]:
    """What a measurement was taken on. folder: on the disk that is used. source: in the checkout."""
    told: dict[str, object] = {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 1),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    if folder is not None:
        told["file_system"] = file_system(folder)
    if source is not None:
        told["commit"] = commit_of(source)
    return told


def cpu_model() -> str:
    """As the kernel names it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def file_system(folder: Path) -> str:
    """Type of the file system that holds a folder: on tmpfs a sync costs nothing."""
    place = folder.resolve()
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, this_kind, *_ = line.split()
        if place.is_relative_to(point) and len(point) > len(best):
            best, kind = point, this_kind
    return kind


def commit_of(source: Path) -> str:
    """The git commit of a checkout, with "+" if there are changes beside it; "unknown" if it is none."""
    try:
        head = _git(source, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(source, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(  # noqa: S603 - fixed words
        ["git", "-C", str(folder), *words],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout.strip()
