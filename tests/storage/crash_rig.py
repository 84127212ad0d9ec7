"""Kills a process that writes, again and again, and looks at what it left."""

import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from storage.persists import IDENTITY, check, execute, persist_of, steps

from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.values import StoreOptions

IN_FLIGHT = 8
"""Writes that wait at most."""

DELAY_MAX_S = 0.03
OPTIONS = StoreOptions(map_bytes=1 << 22, preflight=False)


class Crashes(NamedTuple):
    """cycles: kills. progress: of them, those before which something new was acknowledged. last: writes found
    in the end, tickets and outcomes in turn. findings: broken promises."""

    cycles: int
    progress: int
    last: int
    findings: list[str]


def crash(cycles: int, seed: int, folder: Path | None = None) -> Crashes:
    """Kill a writer `cycles` times; each time what it acknowledged must be there, whole and in order."""
    rng = random.Random(seed)
    progress = last = 0
    findings: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        target = (folder or Path(scratch)) / "store"
        for cycle in range(cycles):
            acknowledged, words = _run_and_kill(target, rng.uniform(0, DELAY_MAX_S))
            if words:
                findings.append(f"cycle {cycle}: the writer ended by itself: {words}")
            progress += acknowledged > last
            try:
                with LmdbStore(target, IDENTITY, OPTIONS) as store:
                    check(store, 40 if cycle < cycles - 1 else 1 << 30)
                    found = steps(store)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
                return Crashes(cycle + 1, progress, last, [*findings, f"cycle {cycle}: {error!r}"])
            if found < max(acknowledged, last):
                findings.append(f"cycle {cycle}: acknowledged {acknowledged}, found {found}")
            last = found
    return Crashes(cycles, progress, last, findings)


def _run_and_kill(target: Path, delay_s: float) -> tuple[int, str]:
    """Let a child write; kill it some time after its first acknowledgement. How many writes it acknowledged,
    and what went wrong before the kill."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _write_for_ever(target, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as reports:
        report = reports.readline()
        time.sleep(delay_s)
        os.kill(child, signal.SIGKILL)
        rest = report + reports.read()
    os.waitpid(child, 0)
    lines = rest.decode().split("\n")[:-1]
    numbers = [int(line) for line in lines if line.isdigit()]
    return max(numbers, default=0), "".join(line for line in lines if not line.isdigit())


def _write_for_ever(target: Path, reports: int) -> None:
    """Report how many writes are durable, when more are. Does not return."""
    try:
        store = LmdbStore(target, IDENTITY, OPTIONS)
        last, found = check(store, 2), steps(store)
        if last:
            execute(store, last)  # as after any restart: it may be there
        ticket = reported = 0
        while True:
            ticket += 1
            store.write(persist_of(last + ticket, ticket))
            execute(store, last + ticket)
            if ticket % IN_FLIGHT == 0:
                store.sync()
            store.collect()
            if store.durable_batch > reported:
                reported = store.durable_batch
                os.write(reports, b"%d\n" % (found + reported))
    except BaseException as error:  # noqa: BLE001 - the parent reports it
        os.write(reports, f"{error!r}".replace("\n", " ").encode() + b"\n")
    finally:
        os._exit(1)
