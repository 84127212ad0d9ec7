"""A run of a store with disk_recorder preloaded: `python recorded.py LOG FOLDER NUMBERS SEED`.

What it notes is how many writes are durable, and times 2^32 the index of the generation that was published.
Or `python recorded.py --crash FOLDER`: make the store again and again, killed one act later each time; prints
how many acts there are. Or `--fail FOLDER KIND CODE`: let a write or a sync fail, and print what came of it.
"""

import ctypes
import os
import random
import sys
from contextlib import suppress
from pathlib import Path

from storage.persists import IDENTITY, check, execute, persist_of, steps

from cherrydag.errors import StorageError
from cherrydag.storage.generation import DERIVED, Generation, publish_manifest
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.private_file import write_private
from cherrydag.storage.values import StoreOptions

SMALL = StoreOptions(map_bytes=1 << 20, map_bytes_max=1 << 30, preflight=False)
"""The map has to grow."""

PUBLISH_EVERY = 10
"""Numbers from one generation to the next."""


def record(log: str, folder: Path, numbers: int, seed: int) -> None:
    """Write the numbers and their outcomes, and a generation now and then; note what is durable."""
    recorder = ctypes.CDLL(None)
    rng = random.Random(seed)
    published = 0
    if recorder.recorder_start(log.encode(), str(folder).encode()):
        sys.exit(f"cannot write {log}")
    with LmdbStore(folder / "store", IDENTITY, SMALL) as store:
        for number in range(1, numbers + 1):
            store.write(persist_of(number, number))
            execute(store, number)
            if number % PUBLISH_EVERY == 0 or rng.random() < 0.6:
                store.sync()
            store.collect()
            if number % PUBLISH_EVERY == 0:
                publish(folder / "store" / DERIVED, number)
                published = number
            recorder.recorder_note(ctypes.c_uint64(published << 32 | store.durable_batch))
        store.sync()
        recorder.recorder_note(ctypes.c_uint64(published << 32 | store.durable_batch))


def publish(folder: Path, number: int) -> None:
    """Let a generation after this number hold."""
    folder.mkdir(exist_ok=True)
    write_private(folder / state_name(number), state_of(number))
    publish_manifest(folder, Generation(IDENTITY, number, state_name(number), ()))


def state_name(number: int) -> str:
    return f"state.{number}"


def state_of(number: int) -> bytes:
    return f"the state after {number}".encode() * number


def crash_creation(folder: Path) -> None:
    """After each crash a restart must find either no store or an empty one, and be able to write."""
    recorder = ctypes.CDLL(None)
    acts, crashed = 0, True
    while crashed:
        child = os.fork()
        if child == 0:
            recorder.recorder_crash_at(str(folder).encode(), ctypes.c_long(acts))
            with LmdbStore(folder / str(acts) / "store", IDENTITY, SMALL):
                os._exit(0)
        crashed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        with LmdbStore(folder / str(acts) / "store", IDENTITY, SMALL) as store:
            assert check(store, 9) == 0
            store.write(persist_of(1, 1))
            store.sync()
            assert check(store, 9) == 1
        acts += 1
    print(acts - 1)


def fail(folder: Path, kind: int, code: int) -> None:
    """Print the failure, whether the store went on after it, and what a restart found."""
    recorder = ctypes.CDLL(None)
    resumed = 0
    with LmdbStore(folder, IDENTITY, SMALL) as store:
        store.write(persist_of(1, 1))
        store.sync()
        recorder.recorder_fail(str(folder).encode(), kind, code)
        execute(store, 1)
        try:
            store.sync()
        except StorageError as error:
            print(error)
        durable = store.durable_batch
        store.resume()
        with suppress(StorageError):
            store.write(persist_of(2, 2))
            store.sync()
            resumed = store.durable_batch
    with LmdbStore(folder, IDENTITY, SMALL) as store:
        check(store, 9)
        print(durable, resumed, steps(store))


if __name__ == "__main__":
    if sys.argv[1] == "--crash":
        crash_creation(Path(sys.argv[2]))
    elif sys.argv[1] == "--fail":
        fail(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        record(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
