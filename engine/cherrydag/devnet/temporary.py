"""A folder that is gone when its process is: at once if that ends well, else when the next one begins."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

PREFIX: Final = "cherrydag-devnet-"

_LOCK: Final = "lock"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new folder among the system's temporary ones. What killed processes have left is removed first."""
    _sweep(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        lock = _locked(Path(name) / _LOCK, os.O_CREAT)
        try:
            yield Path(name)
        finally:
            if lock is not None:
                os.close(lock)


def _sweep(parent: Path) -> None:
    """Remove those of ours that no process holds. A child that still runs holds its parent's."""
    for folder in sorted(parent.glob(f"{PREFIX}*")):
        with suppress(OSError):
            if folder.stat().st_uid != os.getuid():
                continue
            lock = _locked(folder / _LOCK, 0)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked(path: Path, flags: int) -> int | None:
    """A descriptor with the lock, None if another process has it. OSError if there is no such file."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
