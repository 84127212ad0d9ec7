"""The benches of the durable store, in the same registry as those of cases.py. Seconds are the disk's."""

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
from storage.persists import EPOCH, IDENTITY, vertices_of

from cases import SEED, Prepared, case
from cherrydag._native.store import Store
from cherrydag.chain import Chain
from cherrydag.commit import Commit
from cherrydag.consensus.effects import Persist, Ticket
from cherrydag.payload import Payload, build_payload
from cherrydag.primitives import Round, TimestampMs, ValidatorIndex
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.schema import SEAL_KEY, SEQ, TABLES, Put, Table, pack_batch
from cherrydag.storage.values import RecordPlace, StoreOptions
from cherrydag.transaction import RECORD
from cherrydag.vertex import ValidatorVertex

PLAIN_FILE = "the same frames appended to a file, one fdatasync a call"
ALONE = "each ticket in a transaction of its own"
KNOWN_TICKET = "a ticket with as many vertices, all of which are there"
WHOLE_VERTEX = "the whole vertex, read and decoded"
RECORDS = 5_957
"""Records of a vertex of 1 MiB."""

COMMITS, VERTICES_PER_COMMIT = 16, 16
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
        if store.collect()[2]:
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


@case("storage.record/vertex=1MiB", "us/record", WHOLE_VERTEX, n=1, body_size=0)
@case("storage.record/vertex=1MiB,bodies", "us/record", WHOLE_VERTEX, n=1, body_size=64)
@case("storage.records/vertex=1MiB,n=64", "us/record", WHOLE_VERTEX, n=64, body_size=0)
def read_records(n: int, body_size: int) -> Prepared:
    """Transactions at random places of 16 commits of 16 vertices each, with 1 MiB of records in every vertex,
    all in the page cache; n in one call."""
    folder = tempfile.TemporaryDirectory()
    store = LmdbStore(folder.name, IDENTITY, StoreOptions(preflight=False))
    commits = write_commits(store, body_size)
    rng = random.Random(SEED)
    places: list[RecordPlace] = []

    def reset() -> None:
        nonlocal places
        places = [
            RecordPlace(rng.randint(1, COMMITS), rng.randrange(VERTICES_PER_COMMIT * RECORDS))
            for _ in range(n)
        ]

    def run() -> None:
        if None in store.records(places):
            raise AssertionError("a record is not there")

    def read_vertex() -> None:
        store.vertices([rng.choice(rng.choice(commits).vertices)])

    return Prepared(run, n, read_vertex, 1, reset)


def write_commits(store: LmdbStore, body_size: int) -> list[Commit]:
    """Commits of vertices of 1 MiB of records, and their outcomes; durable."""
    payload = payload_of(RECORDS, body_size)
    commits: list[Commit] = []
    for index in range(1, COMMITS + 1):
        vertices = tuple(vertex_of(index, author, payload) for author in range(VERTICES_PER_COMMIT))
        commits.append(commit_of(index, vertices))
        store.write(Persist(Ticket(index), vertices, (commits[-1],), ()))
        statuses = [np.zeros(RECORDS, np.uint8)] * len(vertices)
        store.write_outcome(index, statuses, vertices, bytes(1000))
        store.sync()
    return commits


def vertex_of(round_: int, author: int, payload: Payload) -> ValidatorVertex:
    """A vertex that is nobody's child."""
    time_ms = TimestampMs(round_)
    return ValidatorVertex(EPOCH, Round(round_), ValidatorIndex(author), time_ms, (), payload=payload)


def commit_of(index: int, vertices: Sequence[ValidatorVertex]) -> Commit:
    """A commit that links to nothing."""
    refs = tuple(vertex.ref for vertex in vertices)
    return Commit(EPOCH, index, IDENTITY.genesis_digest, TimestampMs(index), refs)


def payload_of(records: int, body_size: int) -> Payload:
    """Records that all have a body, or none."""
    rows = np.zeros(records, RECORD)
    rows["body_size"] = body_size
    return build_payload(rows, Chain.of(IDENTITY.genesis_digest), bytes(records * body_size))


@case("storage.outcome/vertices=500", "us/outcome", KNOWN_TICKET, n=16)
def write_outcomes(n: int) -> Prepared:
    """What the loop's thread spends to queue the outcome of a commit of 500 durable vertices, each with 20
    transactions."""
    folder = tempfile.TemporaryDirectory()
    store = LmdbStore(folder.name, IDENTITY, StoreOptions(preflight=False))
    payload = payload_of(20, 0)
    vertices = tuple(vertex_of(1 + row // 100, row % 100, payload) for row in range(500))
    statuses = [np.zeros(20, np.uint8)] * 500
    tickets, executed, written = count(1), count(1), 0

    def reset() -> None:
        nonlocal written
        commits = tuple(commit_of(index, vertices[-1:]) for index in range(written + 1, written + n + 1))
        store.write(Persist(Ticket(next(tickets)), vertices, commits, ()))
        written += n
        store.sync()

    def run() -> None:
        for _ in range(n):
            store.write_outcome(next(executed), statuses, vertices)

    def write_tickets() -> None:
        for _ in range(n):
            store.write(Persist(Ticket(next(tickets)), vertices, (), ()))
        store.sync()

    return Prepared(run, n, write_tickets, n, reset)
