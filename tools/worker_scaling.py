#!/usr/bin/env python3
"""What a busy event loop costs the workers: verified signatures a second, by 1 and by 2 threads.

    python3 tools/worker_scaling.py [--seconds 1] [--rounds 3] [--batch 512] [--duty 0.9] [--json]

The loop is idle, or wants `duty` of a core: it spends 0.1 ms of CPU in Python at a time while it is
behind that, else naps for 1 ms. Signatures are checked by the worker pool and, for contrast, by Python
threads through run_in_executor, with 16 jobs waiting for each thread. Two ratios of 2 threads to 1
answer two questions:

- wall: signatures a second. Two workers beside a loop that is 90 % busy ask for 2.9 cores; on two
  cores 1.1 are left for them, so 1.1 is about the best that anything could reach there.
- per CPU second: signatures a second of CPU time that the threads received. Near 1, what the workers
  lack is cores and nothing else.

`running`, `queued` (ready, but no core is free) and `asleep` are shares of the threads' wall time, as
the kernel counts them. With work always there, asleep is time lost to handing over: to the GIL, where
there is one. Rounds are interleaved, medians are shown; the machine's other load is in the figures.
"""

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import _setup

_setup.bootstrap()

import nacl.bindings
import uvloop

from cherrydag._native.ed25519 import verify_signatures
from cherrydag.runtime.workers import WorkerPool

CHUNK_S = 0.0001
NAP_S = 0.001
KEYS = 64
DEPTH = 16  # jobs outstanding for each thread
CASES = [("pool", False), ("pool", True), ("executor", False), ("executor", True)]

Batch = tuple[bytes, bytes, bytes]
Verify = Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured case. The shares are of the threads' wall time, loop_cpu of the loop's."""

    rate: float
    per_cpu_s: float
    running: float
    queued: float
    asleep: float
    loop_cpu: float


def main() -> None:
    """Measure every case in turns and print the medians."""
    parser = argparse.ArgumentParser(description="Worker scaling beside a busy event loop.")
    parser.add_argument("--seconds", type=float, default=1.0, help="measured time of each case")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=512, help="signatures in a job")
    parser.add_argument("--duty", type=float, default=0.9, help="share of a core that the busy loop wants")
    parser.add_argument("--json", action="store_true", help="print one JSON line instead of the table")
    args = parser.parse_args()

    batch = signed_batch(args.batch)
    samples: dict[tuple[str, bool, int], list[Sample]] = {}
    for _ in range(args.rounds):
        for by, busy in CASES:
            for threads in (1, 2):
                case = measure(by, threads, args.duty if busy else 0.0, batch, args.seconds)
                samples.setdefault((by, busy, threads), []).append(uvloop.run(case))
    medians = {case: median_of(found) for case, found in samples.items()}
    if args.json:
        print(json.dumps(as_record(medians, args)))
    else:
        print_table(medians, args)


def signed_batch(n: int) -> Batch:
    """N valid signatures by KEYS keys, the same ones each time."""
    pairs = [nacl.bindings.crypto_sign_seed_keypair(bytes([i]) * 32) for i in range(KEYS)]
    digests = [i.to_bytes(32, "little") for i in range(n)]
    keys = b"".join(pairs[i % KEYS][0] for i in range(n))
    signed = (nacl.bindings.crypto_sign(digest, pairs[i % KEYS][1])[:64] for i, digest in enumerate(digests))
    return keys, b"".join(digests), b"".join(signed)


async def measure(by: str, threads: int, duty: float, batch: Batch, seconds: float) -> Sample:
    """Verify the batch again and again for some seconds, `duty` of the loop being busy meanwhile."""
    before = tasks()
    async with (pooled if by == "pool" else executed)(threads, batch) as verify:
        jobs = [0]
        stop = asyncio.Event()
        running = [asyncio.ensure_future(feed(verify, jobs, stop)) for _ in range(DEPTH * threads)]
        running.append(asyncio.ensure_future(keep_busy(duty, stop)))
        await asyncio.sleep(0.1)
        workers = tasks() - before
        start, jobs_start, loop_start = time.perf_counter(), jobs[0], time.thread_time()
        run_start, queue_start = scheduled(workers)
        await asyncio.sleep(seconds)
        wall, done = time.perf_counter() - start, (jobs[0] - jobs_start) * len(batch[1]) // 32
        loop_cpu = time.thread_time() - loop_start
        run, queue = (
            now - then for now, then in zip(scheduled(workers), (run_start, queue_start), strict=True)
        )
        stop.set()
        await asyncio.gather(*running)
    share = 1 / (wall * threads)
    asleep = max(0.0, 1 - (run + queue) * share)
    return Sample(done / wall, done / run, run * share, queue * share, asleep, loop_cpu / wall)


@asynccontextmanager
async def pooled(threads: int, batch: Batch) -> AsyncIterator[Verify]:
    """Verification by the worker pool."""
    async with WorkerPool(threads) as pool:
        yield partial(pool.verify_async, *batch)


@asynccontextmanager
async def executed(threads: int, batch: Batch) -> AsyncIterator[Verify]:
    """Verification by Python threads."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(threads) as executor:
        yield lambda: loop.run_in_executor(executor, verify_signatures, *batch)


async def feed(verify: Verify, jobs: list[int], stop: asyncio.Event) -> None:
    """Keep one job outstanding; count those done."""
    while not stop.is_set():
        assert all(await verify())
        jobs[0] += 1


async def keep_busy(duty: float, stop: asyncio.Event) -> None:
    """Spend `duty` of a core in Python on the loop."""
    start, spent = time.perf_counter(), time.thread_time()
    while duty and not stop.is_set():
        now = time.thread_time()
        if now - spent >= duty * (time.perf_counter() - start):
            await asyncio.sleep(NAP_S)
            continue
        while time.thread_time() < now + CHUNK_S:
            pass
        await asyncio.sleep(0)


def tasks() -> set[Path]:
    """The threads of this process."""
    return set(Path("/proc/self/task").iterdir())


def scheduled(threads: set[Path]) -> tuple[float, float]:
    """Seconds that the threads have run, and have been ready to run but waited for a core."""
    counts = [Path(thread, "schedstat").read_text().split() for thread in threads]
    return sum(int(count[0]) for count in counts) / 1e9, sum(int(count[1]) for count in counts) / 1e9


def median_of(samples: list[Sample]) -> Sample:
    """Median of each column."""
    columns = zip(*(asdict(sample).values() for sample in samples), strict=True)
    return Sample(*(statistics.median(column) for column in columns))


def ratios(medians: dict[tuple[str, bool, int], Sample], by: str, busy: bool) -> tuple[float, float]:
    """Two threads to one: by the wall, and by CPU second."""
    one, two = medians[by, busy, 1], medians[by, busy, 2]
    return two.rate / one.rate, two.per_cpu_s / one.per_cpu_s


def title(by: str, busy: bool, duty: float) -> str:
    """Name of a case in the table."""
    return f"{by}, loop {f'{duty:.0%} busy' if busy else 'idle'}"


def print_table(medians: dict[tuple[str, bool, int], Sample], args: argparse.Namespace) -> None:
    """For people."""
    print(f"{len(os.sched_getaffinity(0))} usable cores, jobs of {args.batch} signatures, "
          f"median of {args.rounds} x {args.seconds} s")  # fmt: skip
    print(f"{'':24}threads     sig/s  sig/CPU-s  running  queued  asleep  loop CPU")
    for (by, busy, threads), sample in medians.items():
        print(
            f"{title(by, busy, args.duty):24}{threads:7} {sample.rate:9,.0f} {sample.per_cpu_s:10,.0f}"
            f" {sample.running:8.0%}{sample.queued:8.0%}{sample.asleep:8.0%}{sample.loop_cpu:10.0%}"
        )
    print(f"\n{'2 threads to 1':24}   wall  per CPU second")
    for by, busy in CASES:
        wall, per_cpu_s = ratios(medians, by, busy)
        print(f"{title(by, busy, args.duty):24}{wall:7.2f}{per_cpu_s:16.2f}")


def as_record(medians: dict[tuple[str, bool, int], Sample], args: argparse.Namespace) -> dict[str, object]:
    """For programs."""
    cases = [
        {"by": by, "loop_duty": args.duty if busy else 0.0, "threads": threads, **asdict(sample)}
        for (by, busy, threads), sample in medians.items()
    ]
    wall, per_cpu_s = ratios(medians, "pool", True)
    return {
        "name": f"workers.verify/duty={args.duty},batch={args.batch}",
        "value": round(per_cpu_s, 3),
        "unit": "2 threads to 1, per CPU second",
        "wall_ratio": round(wall, 3),
        "idle_wall_ratio": round(ratios(medians, "pool", False)[0], 3),
        "n": args.rounds,
        "cores": len(os.sched_getaffinity(0)),
        "cases": cases,
    }


if __name__ == "__main__":
    main()
