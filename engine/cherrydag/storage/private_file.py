"""Files for their owner's eyes alone: modes are enforced, and a file is written whole or not at all."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cherrydag.errors import ConfigError, StorageError, write_error
from cherrydag.storage.directory import make_folder, sync_folder

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700

UNFINISHED: Final = ".new"
"""What the name of a file in the making ends with; it begins with a dot."""

_OTHERS: Final = 0o077


def check_private(path: Path, status: os.stat_result) -> None:
    """ConfigError unless it is a plain file or a folder that its owner alone may use."""
    is_folder = stat.S_ISDIR(status.st_mode)
    if not is_folder and not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path}: expected a plain file")
    mode = stat.S_IMODE(status.st_mode)
    if mode & _OTHERS:
        wanted = FOLDER_MODE if is_folder else FILE_MODE
        raise ConfigError(f"{path}: expected mode {wanted:04o}, got {mode:04o}: chmod {wanted:o} {path}")


def open_private(path: Path, flags: int) -> int:
    """The descriptor of a private file. OSError if it cannot be opened, else as check_private."""
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not hold us up
    try:
        check_private(path, os.fstat(descriptor))
    except ConfigError:
        os.close(descriptor)
        raise
    return descriptor


def read_private(path: Path, bytes_max: int) -> bytes:
    """What a private file holds. FileNotFoundError if there is none, StorageError if it is larger or cannot
    be read, else as check_private."""
    try:
        descriptor = open_private(path, os.O_RDONLY)
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(bytes_max + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > bytes_max:
        raise StorageError(f"{path}: more than {bytes_max} bytes")
    return data


@contextmanager
def folder_to_oneself(folder: Path) -> Iterator[os.stat_result]:
    """Make a folder if it is missing, and have it alone among those who ask so; they wait. Gives its status.

    StorageError if it cannot be used.
    """
    try:
        make_folder(folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"{folder} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield os.fstat(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, data: bytes) -> None:
    """Make a private file, or replace it as a whole, durably. The caller has its folder to itself.

    A crash may leave its UNFINISHED file, which is of no worth.

    StorageError if it cannot be written: then the file is as it was, or already the new one.
    """
    unfinished = path.with_name(f".{path.name}{UNFINISHED}")
    try:
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, FILE_MODE)  # whatever the umask took
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        unfinished.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise write_error(error.errno, f"{path} cannot be written: {error.strerror}") from error
