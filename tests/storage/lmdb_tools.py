"""What the tests of the durable store need: stores in a folder, a writer that is held, bytes that flip."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage.persists import IDENTITY

from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.schema import Identity
from cherrydag.storage.values import StoreOptions

# Another process begins a write transaction, and ends it when its input does. It comes to the library through
# ctypes: what matters is the lock that it holds.
_HOLDER = """
import ctypes, sys
lmdb = ctypes.CDLL("liblmdb.so.0")
env, txn = ctypes.c_void_p(), ctypes.c_void_p()
steps = [lmdb.mdb_env_create(ctypes.byref(env)), lmdb.mdb_env_open(env, sys.argv[1].encode(), 0, 0o600)]
steps.append(lmdb.mdb_txn_begin(env, None, 0, ctypes.byref(txn)))
print(steps, flush=True)
sys.stdin.read()
"""


def open_store(folder: Path, identity: Identity = IDENTITY, **options: Any) -> LmdbStore:
    fields = {"map_bytes": 1 << 26, "preflight": False}
    return LmdbStore(folder, identity, StoreOptions(**fields | options))


@contextmanager
def held_writer(folder: Path) -> Iterator[None]:
    """While this holds, the store's writer cannot begin a transaction."""
    command = [sys.executable, "-c", _HOLDER, str(folder / "ledger")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "[0, 0, 0]\n"
        try:
            yield
        finally:
            holder.stdin.close()


def data_file(folder: Path) -> Path:
    return folder / "ledger" / "data.mdb"


def flip(path: Path, offset: int, bit: int = 0) -> None:
    """Flip one bit of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0] ^ (1 << bit)
        file.seek(offset)
        file.write(bytes([byte]))


def flip_all(path: Path, content: bytes, offset: int, bit: int = 0) -> None:
    """Flip a bit `offset` bytes from the beginning of these bytes, wherever a file has them: in the page that
    is in use, and in older copies of it."""
    held = path.read_bytes()
    at = held.find(content)
    assert at >= 0
    while at >= 0:
        flip(path, at + offset, bit)
        at = held.find(content, at + 1)


def in_child(act: Callable[[], int]) -> int:
    """Exit code of a forked child that ran this; negative for a signal."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = act()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
