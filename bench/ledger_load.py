"""The embedded ledger under load, from octets in memory to final; and its start after a kill.

Each is measured in a process of its own, which reports through a pipe.
"""

import asyncio
import cProfile
import io
import pstats
import random
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import numpy as np
import uvloop

from cherrydag.address import addresses_of
from cherrydag.crypto import DIGEST_BYTES
from cherrydag.execution.accounts import Status
from cherrydag.ledger import AsyncLedger
from cherrydag.params import RECORD_BYTES
from cherrydag.primitives import Address, Digest
from cherrydag.runtime.home import Home
from cherrydag.runtime.lookups import TransactionReceipt
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.transaction import as_records, transaction_ids
from process_figures import disk_bytes, main_thread_s, rss_bytes, thread_cpu_s, written_bytes
from signed_load import read_frames

TENTHS: Final = 10
RECEIPTS: Final = 1000
PAGES: Final = 200
PAGE: Final = 50
TOP: Final = 25
"""Lines of a profile."""
SETTLING_STEP_S: Final = 0.05

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """How the transfers go in. workload: file of their octets, as write_workload leaves it; held: how many it
    holds, transfers: how many of these go in. batch: transfers of a submission. in_flight: submissions at a
    time. is_killed: the process waits for its kill instead of closing the ledger."""

    folder: Path
    workload: Path
    held: int
    transfers: int
    batch: int
    in_flight: int
    options: LedgerOptions
    is_profiled: bool = False
    is_killed: bool = False


class LoadResult(NamedTuple):
    """What a run came to. seconds: from the first submission to the last final. tenths: transfers a second in
    each tenth. latencies_ms: of each submission, from its call to final. cpu_s: by group of threads, the
    process and rest included. loop_running, loop_queued: shares of the seconds in which the loop's thread
    ran, and was ready to run but had no core. bytes: on disk, and written. profile: of the loop's thread, if
    it was asked for."""

    transfers: int
    seconds: float
    tenths: tuple[float, ...]
    latencies_ms: tuple[float, ...]
    cpu_s: dict[str, float]
    loop_running: float
    loop_queued: float
    statuses: dict[str, int]
    commits: int
    checkpoint_index: int
    open_s: float
    disk_bytes: int
    written_bytes: int
    rss_start: int
    rss_end: int
    rss_max: int
    verify_threads: int
    profile: str


class ReopenResult(NamedTuple):
    """A start after kill -9, and reads. genesis_s: of reading the genesis alone, a part of ready_s. Times of
    single calls in microseconds; settled_us: of receipts once the indexes have no work on files left."""

    ready_s: float
    genesis_s: float
    replayed: int
    commit_index: int
    notes: tuple[str, ...]
    missing: int
    receipts_us: tuple[float, ...]
    settled_us: tuple[float, ...]
    pages_us: tuple[float, ...]
    rss: int


class _Final(NamedTuple):
    began: float
    ended: float
    transfers: int


def run_load(settings: LoadSettings, reports: Connection) -> None:
    """Body of the measured process: sends a LoadResult."""
    uvloop.run(_run_load(settings, reports))


async def _run_load(settings: LoadSettings, reports: Connection) -> None:
    frames = read_frames(settings.workload, settings.held, settings.transfers)
    started = time.perf_counter()
    ledger = await AsyncLedger.open(settings.folder, options=settings.options)
    open_s = time.perf_counter() - started
    reports.send(await _measure(ledger, memoryview(frames), settings, open_s))
    if settings.is_killed:
        signal.pause()
    await ledger.close()


async def _measure(
    ledger: AsyncLedger, frames: memoryview, settings: LoadSettings, open_s: float
) -> LoadResult:
    before, written, rss = ledger.status(), written_bytes(), rss_bytes()
    profile = cProfile.Profile() if settings.is_profiled else None
    process_s, threads, loop_s = time.process_time(), thread_cpu_s(), main_thread_s()
    if profile:
        profile.enable()
    finals, statuses = await _submit_all(ledger, frames, settings.batch, settings.in_flight)
    if profile:
        profile.disable()
    process_s = time.process_time() - process_s
    cpu_s = {name: seconds - threads.get(name, 0.0) for name, seconds in thread_cpu_s().items()}
    ran, queued = (now - then for now, then in zip(main_thread_s(), loop_s, strict=True))
    seconds = finals[-1].ended - min(final.began for final in finals)
    after = ledger.status()
    count = len(frames) // RECORD_BYTES
    return LoadResult(
        count,
        seconds,
        rates_by_tenth(finals),
        tuple((final.ended - final.began) * 1e3 for final in finals),
        {**cpu_s, "other": process_s - sum(cpu_s.values()), "process": process_s},
        ran / seconds,
        queued / seconds,
        {_status_name(code): number for code, number in sorted(statuses.items())},
        after.commit_index - before.commit_index,
        after.checkpoint_index,
        open_s,
        disk_bytes(settings.folder),
        written_bytes() - written,
        rss,
        rss_bytes(),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        len(ledger._running.pool.stats().workers),
        _top(profile) if profile else "",
    )


async def _submit_all(
    ledger: AsyncLedger, frames: memoryview, batch: int, in_flight: int
) -> tuple[list[_Final], Counter[int]]:
    """Submit all frames; each submission by when it was final, and how many rows ended with each status."""
    starts = iter(range(0, len(frames), batch * RECORD_BYTES))
    finals: list[_Final] = []
    statuses: Counter[int] = Counter()

    async def lane() -> None:
        for start in starts:
            began = time.perf_counter()
            submission = await ledger.submit(frames[start : start + batch * RECORD_BYTES])
            await submission
            finals.append(_Final(began, time.perf_counter(), len(submission)))
            codes, counts = np.unique(submission.statuses, return_counts=True)
            statuses.update(dict(zip(codes.tolist(), counts.tolist(), strict=True)))

    await asyncio.gather(*[lane() for _ in range(in_flight)])
    return finals, statuses


def rates_by_tenth(finals: list[_Final]) -> tuple[float, ...]:
    """Transfers a second in each tenth of what became final; fewer if there are too few submissions."""
    rates: list[float] = []
    total = sum(final.transfers for final in finals)
    began, done, counted = min(final.began for final in finals), 0, 0
    for final in finals:
        counted += final.transfers
        if counted * TENTHS >= (done * TENTHS // total + 1) * total:
            rates.append((counted - done) / max(final.ended - began, 1e-9))
            began, done = final.ended, counted
    return tuple(rates)


# After a kill


def run_reopen(settings: LoadSettings, reports: Connection) -> None:
    """Body of the process that opens the ledger again: sends a ReopenResult."""
    uvloop.run(_run_reopen(settings, reports))


async def _run_reopen(settings: LoadSettings, reports: Connection) -> None:
    frames = read_frames(settings.workload, settings.held, settings.transfers)
    started = time.perf_counter()
    Home.load(settings.folder)
    genesis_s = time.perf_counter() - started
    started = time.perf_counter()
    ledger = await AsyncLedger.open(settings.folder, options=settings.options)
    ready_s = time.perf_counter() - started
    records = as_records(frames)
    rng = random.Random(1)
    chosen = records[[rng.randrange(len(records)) for _ in range(2 * RECEIPTS)]]
    ids = transaction_ids(chosen, ledger.transaction_key)
    senders = addresses_of(np.ascontiguousarray(chosen["sender"]))

    def receipt(row: int) -> TransactionReceipt | None:
        return ledger.receipt(Digest(ids[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES]))

    found, receipts_us = _timed(receipt, RECEIPTS)
    _, pages_us = _timed(lambda row: ledger.history(Address(senders[row].tobytes()), PAGE), PAGES)
    running = ledger._running
    while running.background.outstanding or running.merger.outstanding:
        await asyncio.sleep(SETTLING_STEP_S)
    later, settled_us = _timed(lambda row: receipt(RECEIPTS + row), RECEIPTS)
    missing = sum(one is None or one.status != Status.APPLIED for one in (*found, *later))
    reports.send(
        ReopenResult(
            ready_s,
            genesis_s,
            running.replayed,
            running.books.commit_index,
            running.notes,
            missing,
            receipts_us,
            settled_us,
            pages_us,
            rss_bytes(),
        )
    )
    await ledger.close()


def _timed(call: Callable[[int], _Answer], count: int) -> tuple[list[_Answer], tuple[float, ...]]:
    """Answers of calls, and the microseconds that each took."""
    answers, times_us = [], []
    for number in range(count):
        began = time.perf_counter()
        answers.append(call(number))
        times_us.append((time.perf_counter() - began) * 1e6)
    return answers, tuple(times_us)


def _status_name(code: int) -> str:
    return Status(code).name if code in list(Status) else str(code)


def _top(profile: cProfile.Profile) -> str:
    words = io.StringIO()
    pstats.Stats(profile, stream=words).sort_stats("tottime").print_stats(TOP)
    return words.getvalue()
