"""A file system of a few MiB, filled and emptied at will."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[Path]:
    """A new folder on one of its own; the test is skipped where none can be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, leaving: int = 0) -> Path:
    """Put a file there that leaves so many bytes free, or fewer if others write meanwhile; its path."""
    ballast = disk / "ballast"
    free = os.statvfs(disk)
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        left = free.f_bavail * free.f_bsize - leaving
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 16)))
    return ballast
