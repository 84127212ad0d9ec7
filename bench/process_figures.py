"""What this process has used, as the kernel counts it."""

import os
import threading
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def thread_cpu_s() -> dict[str, float]:
    """CPU seconds of the threads that live, by name; numbered ones ("cherry-w0") together."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    used: dict[str, float] = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            name = names.get(int(task.name)) or (task / "comm").read_text().strip()
            nanoseconds = int((task / "schedstat").read_text().split()[0])
        except OSError:  # it has ended
            continue
        name = name.rstrip("0123456789")
        used[name] = used.get(name, 0.0) + nanoseconds / 1e9
    return used


def main_thread_s() -> tuple[float, float]:
    """Seconds that the main thread has run, and that it was ready to run but had no core."""
    run, queued, *_ = Path(f"/proc/self/task/{os.getpid()}/schedstat").read_text().split()
    return int(run) / 1e9, int(queued) / 1e9


def rss_bytes() -> int:
    """Memory that is resident."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


def written_bytes() -> int:
    """Bytes that this process has caused to be written to a disk; 0 if the kernel does not tell."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def disk_bytes(folder: Path) -> int:
    """What the files of a folder take."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
