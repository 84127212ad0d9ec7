"""The store's folder: one process at a time, made whole or not at all, looked at before it is mapped.

FOLDER/lock                 held by the process that has the store open; holds its number
FOLDER/ledger/data.mdb      the database; lock.mdb beside it is LMDB's
FOLDER/ledger.new/          a database in the making, of no worth until it is renamed
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from struct import Struct
from typing import Final

from cherrydag.errors import InUse, StorageError

LEDGER: Final = "ledger"
DATA: Final = "data.mdb"

_META = Struct("<8x2xH4x II 8x8x I44x 48x QQ")
"""A meta page of LMDB 0.9 from its start: flags, magic, version, page size, last page, transaction."""
_META_FLAG, _MAGIC, _VERSION = 0x08, 0xBEEFC0DE, 1


class FolderLock:
    """Holds a folder for this process until `release`, or until nothing refers to it. InUse if another
    process has it."""

    __slots__ = ("_descriptor",)

    def __init__(self, folder: Path) -> None:
        self._descriptor = -1
        make_folder(folder)
        path = folder / "lock"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            self.release()
            raise InUse(f"{folder} is in use by process {owner}") from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the folder go. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.release()


def make_folder(folder: Path) -> None:
    """Make the folder and those above it, durably, where they are missing."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def make_ledger(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` make the database in a folder that is renamed when it is durable.

    fill: leaves a synced and closed data.mdb in the folder that it is given.
    """
    unfinished = folder / f"{LEDGER}.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    fill(unfinished)
    sync_folder(unfinished)
    unfinished.rename(folder / LEDGER)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_size(ledger: Path) -> None:
    """StorageError unless data.mdb holds every page that its newest meta page counts.

    A shorter file would be SIGBUS at some later read. Nothing is ever deleted from the tables, so the last
    page that is counted was written.
    """
    path = ledger / DATA
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            page_size, first = _meta(file.read(_META.size), path)
            file.seek(page_size)
            _, second = _meta(file.read(_META.size), path)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    needed = (max(first, second)[1] + 1) * page_size
    if size < needed:
        raise StorageError(f"{path} is cut off: {size} bytes, its newest state needs {needed}")


def _meta(page: bytes, path: Path) -> tuple[int, tuple[int, int]]:
    """Page size, and (transaction, last page) of a meta page."""
    if len(page) < _META.size:
        raise StorageError(f"{path} is cut off within its meta pages")
    flags, magic, version, page_size, last_page, transaction = _META.unpack(page)
    if not flags & _META_FLAG or (magic, version) != (_MAGIC, _VERSION):
        raise StorageError(f"{path} is no database of LMDB 0.9, or its meta pages are damaged")
    if page_size not in (1 << shift for shift in range(9, 17)):
        raise StorageError(f"{path}: its meta pages name a page size of {page_size}")
    return page_size, (transaction, last_page)


def run_preflight(folder: Path) -> None:
    """Let a child process read the database first: damage that would kill a process kills that one.

    StorageError with what it said, or how it died.
    """
    command = [sys.executable, "-m", "cherrydag.storage.preflight", str(folder)]
    done = subprocess.run(  # noqa: S603 - our own interpreter and module
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        how = f"died of signal {-done.returncode}" if done.returncode < 0 else "refused it"
        words = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise StorageError(f"{folder}: preflight {how}: {words[0]}")
