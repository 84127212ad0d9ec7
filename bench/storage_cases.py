"""The benches of the durable store, in the same registry as those of cases.py. Seconds are the disk's."""

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

from storage.persists import IDENTITY, vertices_of

from cases import SEED, Prepared, case
from cherrydag._native.store import Store
from cherrydag.consensus.effects import Persist, Ticket
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.schema import SEAL_KEY, SEQ, TABLES, Put, Table, pack_batch
from cherrydag.storage.values import StoreOptions

PLAIN_FILE = "the same frames appended to a file, one fdatasync a call"
ALONE = "each ticket in a transaction of its own"
SPIN_S = 100e-6
"""How long a callback of the busy loop takes."""


@case("storage.put/bytes=350000", "us/frame", PLAIN_FILE, size=350_000, n=40)
@case("storage.put/bytes=350", "us/frame", PLAIN_FILE, size=350, n=10_000)
def put(size: int, n: int) -> Prepared:
    """From handing over a batch of frames, with their sequence keys and three index entries each at random
    places, to its being durable."""
    folder = tempfile.TemporaryDirectory()
    rng, numbers = random.Random(SEED), count()
    frame = rng.randbytes(size)
    map_bytes = 1 << 38
    store = Store(folder.name, TABLES, SEAL_KEY, map_bytes=map_bytes, map_bytes_max=map_bytes, create=True)
    batch = b""

    def reset() -> None:
        nonlocal batch
        puts = []
        for _ in range(n):
            seq = SEQ.pack(next(numbers))
            puts.append(Put(Table.VERTICES, seq, (frame,), append=True))
            indexes = (Table.VERTEX_DIGEST, Table.VERTEX_ROUND, Table.VERTEX_AUTHOR)
            puts += [Put(table, rng.randbytes(8) + seq) for table in indexes]
        batch = pack_batch(puts)

    def run() -> None:
        store.submit(1, batch)
        store.wait()
        if store.collect()[1]:
            raise AssertionError("a write failed")

    file = Path(folder.name, "plain").open("ab", buffering=0)  # noqa: SIM115 - lives as long as the case

    def append() -> None:
        file.writelines(frame for _ in range(n))
        os.fdatasync(file.fileno())

    return Prepared(run, n, append, n, reset)


@case("storage.commit/waiting=1,busy", "us/ticket", ALONE, waiting=1)
@case("storage.commit/waiting=64,busy", "us/ticket", ALONE, waiting=64)
def commit(waiting: int) -> Prepared:
    """Durable tickets of one small vertex beside an event loop that is never idle: `waiting` tickets are
    handed over at once, and awaited through the descriptor."""
    folder = tempfile.TemporaryDirectory()
    rounds = count(1)

    def opened(name: str, group_bytes: int) -> LmdbStore:
        options = StoreOptions(group_bytes=group_bytes, preflight=False)
        return LmdbStore(Path(folder.name, name), IDENTITY, options)

    def runner(store: LmdbStore) -> Callable[[], None]:
        tickets = count(1)
        return lambda: asyncio.run(write(store, tickets))

    async def write(store: LmdbStore, tickets: "count[int]") -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        persists = [
            Persist(Ticket(next(tickets)), vertices_of(next(rounds))[1:2], (), ()) for _ in range(waiting)
        ]
        loop.add_reader(store.fileno(), collect, store, persists[-1].ticket, done)
        loop.call_soon(spin, loop)
        for persist in persists:
            store.write(persist)
        await done
        loop.remove_reader(store.fileno())

    return Prepared(runner(opened("ours", 32 << 20)), waiting, runner(opened("alone", 0)), waiting)


def collect(store: LmdbStore, last: Ticket, done: "asyncio.Future[None]") -> None:
    """Finish once the last ticket is durable."""
    if store.collect() >= last and not done.done():
        done.set_result(None)


def spin(loop: asyncio.AbstractEventLoop) -> None:
    """Keep the loop busy."""
    end = time.perf_counter() + SPIN_S
    while time.perf_counter() < end:
        pass
    loop.call_soon(partial(spin, loop))
