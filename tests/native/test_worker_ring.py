"""The native ring: every job gives one result, the bound holds, and nothing is left behind."""

import ctypes
import gc
import os
import random
import re
import resource
import signal
import subprocess
import threading
import time
import weakref
from pathlib import Path

import pytest
from compiled import ROOT
from worker_jobs import (
    GUARD_S,
    Gate,
    add_job,
    all_threads_gone,
    capsule,
    descriptors,
    job_runs,
    readable,
    until,
    worker_threads,
)

from cherrydag._native import workers
from cherrydag._native.workers import Job, Ring
from cherrydag.errors import Closed, Overloaded, ShapeError


@pytest.fixture
def open_ring():
    rings = []

    def make(*args, **options):
        rings.append(Ring(*args, **options))
        return rings[-1]

    yield make
    for ring in rings:
        ring.close(drain=False)


def collect_all(ring):
    results = []
    while ring.outstanding:
        assert ring.wait(GUARD_S)
        results += ring.collect()
    return results


def closing(ring):
    """Whether a ring that is full refuses jobs because close() has begun."""
    with pytest.raises((Closed, Overloaded)) as refusal:
        ring.submit(add_job(b"x"))
    return refusal.type is Closed


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_every_job_gives_its_result_exactly_once(open_ring, threads):
    ring, rng = open_ring(threads, 32), random.Random(threads)
    expected, seen = {}, {}
    for i in range(3000):
        data = rng.randbytes(rng.randrange(200))
        if ring.outstanding == ring.capacity:
            assert ring.wait(GUARD_S)
        for ticket, status, output in ring.collect():
            assert ticket not in seen
            seen[ticket] = (status, output)
        ticket = ring.submit(add_job(data, us=rng.randrange(30), add=i % 256))
        expected[ticket] = (workers.OK, bytes((b + i) % 256 for b in data))
    for ticket, status, output in collect_all(ring):
        assert ticket not in seen
        seen[ticket] = (status, output)
    assert seen == expected
    submitted, completed, discarded, refused, *depths, by_thread = ring.stats()
    assert (submitted, completed, discarded, refused, depths) == (3000, 3000, 0, 0, [0, 0, 0])
    assert len(by_thread) == threads
    assert sum(jobs for jobs, _, _ in by_thread) == 3000


def test_a_short_job_overtakes_a_long_one(open_ring):
    ring = open_ring(2)
    with Gate() as gate:
        long = ring.submit(add_job(b"long", gate=gate))
        short = ring.submit(add_job(b"short"))
        assert ring.wait(GUARD_S)
        assert ring.collect() == [(short, workers.OK, b"short")]
    assert collect_all(ring) == [(long, workers.OK, b"long")]


def test_one_thread_runs_jobs_in_the_order_of_submission(open_ring):
    ring = open_ring(1)
    with Gate() as gate:
        tickets = [ring.submit(add_job(b"x", gate=gate)) for _ in range(20)]
    assert [ticket for ticket, _, _ in collect_all(ring)] == tickets


@pytest.mark.parametrize("capacity", [1, 2, 5])
def test_full_ring_refuses_at_capacity_and_recovers(open_ring, capacity):
    ring, refused = open_ring(1, capacity), add_job(b"y")
    with Gate() as gate:
        for _ in range(capacity):
            ring.submit(add_job(b"x", gate=gate))
        with pytest.raises(Overloaded, match=f"full: {capacity} jobs"):
            ring.submit(refused)
    until(lambda: ring.stats()[6] == capacity)  # all have run; uncollected results still hold their slots
    assert ring.outstanding == capacity
    with pytest.raises(Overloaded):
        ring.submit(refused)
    assert len(ring.collect()) == capacity
    for _ in range(capacity - 1):
        ring.submit(add_job(b"x"))
    ring.submit(refused)
    assert len(collect_all(ring)) == capacity
    assert ring.stats()[3] == 2


def test_more_results_than_one_chunk_are_collected_at_once(open_ring):
    ring = open_ring(1, 200)
    for _ in range(200):
        ring.submit(add_job(b"x"))
    ring.close()
    assert len(ring.collect()) == 200


def test_close_drains(open_ring):
    ring = open_ring(2, 20)
    with Gate() as gate:
        for _ in range(20):
            ring.submit(add_job(b"x", gate=gate, add=1))
        gate.open_when(lambda: closing(ring))
        ring.close(drain=True)
    assert [result[1:] for result in ring.collect()] == [(workers.OK, b"y")] * 20
    assert ring.collect() == []


def test_close_without_draining_discards_only_what_has_not_started(open_ring):
    before, ring = job_runs(), open_ring(1)
    with Gate() as gate:
        tickets = [ring.submit(add_job(b"x", gate=gate)) for _ in range(10)]
        gate.wait_started(1)
        gate.open_when(lambda: ring.stats()[2] == 9)  # discarded, while the first job still runs
        ring.close(drain=False)
    results = {ticket: status for ticket, status, _ in ring.collect()}
    assert [results[ticket] for ticket in tickets] == [workers.OK] + [workers.ERR_CLOSED] * 9
    assert job_runs() == before + 1
    assert ring.stats()[:3] == (10, 1, 9)


def test_closed_ring_refuses_and_close_may_be_repeated(open_ring):
    ring = open_ring()
    ring.close()
    ring.close(drain=False)
    with pytest.raises(Closed, match="the pool is closed"):
        ring.submit(add_job(b"x"))
    with pytest.raises(Closed):
        _ = ring.eventfd
    assert ring.outstanding == 0
    assert ring.wait(0) is False


def test_close_releases_a_waiter_in_another_thread(open_ring):
    ring, waited = open_ring(1, 1), []
    thread = threading.Thread(target=lambda: waited.append(ring.wait()))
    with Gate() as gate:
        ring.submit(add_job(b"x", gate=gate))
        thread.start()
        gate.open_when(lambda: closing(ring))
        ring.close()
    thread.join(GUARD_S)
    assert waited == [True]


def test_a_discarding_close_overtakes_a_draining_one(open_ring):
    ring, thread = open_ring(1, 20), threading.Thread(target=lambda: ring.close(drain=True))
    with Gate() as gate:
        for _ in range(20):
            ring.submit(add_job(b"x", gate=gate))
        gate.wait_started(1)
        thread.start()
        until(lambda: closing(ring))
        gate.open_when(lambda: ring.stats()[2] == 19)
        ring.close(drain=False)
    thread.join(GUARD_S)
    assert not thread.is_alive()
    statuses = sorted(status for _, status, _ in ring.collect())
    assert statuses == [workers.ERR_CLOSED] * 19 + [workers.OK]


@pytest.mark.parametrize("status", [workers.ERR_ARGUMENT, workers.ERR_MEMORY, -77])
def test_a_failed_job_gives_its_status_and_no_output(open_ring, status):
    ring = open_ring()
    ticket = ring.submit(add_job(b"secret", status=status))
    assert collect_all(ring) == [(ticket, status, b"")]


def test_inputs_are_held_until_collected(open_ring):
    ring, data = open_ring(), bytearray(b"abc")
    with Gate() as gate:
        ring.submit(add_job(data, gate=gate))
        with pytest.raises(BufferError):
            data.append(1)
    assert ring.wait(GUARD_S)
    with pytest.raises(BufferError):
        data.append(1)
    collect_all(ring)
    data.append(1)


def test_a_dropped_input_stays_readable(open_ring):
    ring = open_ring()
    with Gate() as gate:
        for i in range(50):
            ring.submit(add_job(bytes([i]) * 100_000, gate=gate, add=1))
    for ticket, _, output in collect_all(ring):
        assert output == bytes([ticket + 1]) * 100_000


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((object(), (), (), 0), ValueError),
        (("job_add", ("text",), (), 0), TypeError),
        (("job_add", (memoryview(b"abcd")[::2],), (), 0), ShapeError),
        (("job_add", (b"",) * 5, (), 0), ShapeError),
        (("job_add", (), (0,) * 5, 0), ShapeError),
        (("job_add", (), (-1,), 0), OverflowError),
    ],
)
def test_malformed_jobs_are_refused(arguments, error):
    run, *rest = arguments
    with pytest.raises(error):
        Job(capsule(run) if isinstance(run, str) else run, *rest)


def test_a_capsule_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="incorrect name"):
        Job(capsule("job_add", b"other"), (), (), 0)


def test_a_job_can_be_submitted_once(open_ring):
    ring, job = open_ring(), add_job(b"x")
    ring.submit(job)
    with pytest.raises(ShapeError, match="before"):
        ring.submit(job)
    assert len(collect_all(ring)) == 1


@pytest.mark.parametrize(
    "options", [{"threads": 0}, {"threads": 65}, {"capacity": 0}, {"capacity": 65537}, {"cpus": (0, 1)}]
)
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ShapeError):
        Ring(**options)


def test_largest_numbers_are_accepted(open_ring):
    assert all_threads_gone()
    ring = open_ring(64, 65536)
    assert len(worker_threads()) == 64
    ring.submit(add_job(b"x"))
    assert len(collect_all(ring)) == 1


def test_pinned_thread_runs_on_its_cpu(open_ring):
    cpu = max(os.sched_getaffinity(0))
    before = set(Path("/proc/self/task").iterdir())
    open_ring(1, cpus=(cpu,))
    (thread,) = set(Path("/proc/self/task").iterdir()) - before
    assert os.sched_getaffinity(int(thread.name)) == {cpu}


@pytest.mark.parametrize("cpu", [-1, 1023, 5000])
def test_a_cpu_that_does_not_exist_is_refused_without_leftovers(cpu):
    before = descriptors()
    with pytest.raises(ShapeError, match="cpus"):
        Ring(1, cpus=(cpu,))
    assert all_threads_gone()
    assert descriptors() == before


def test_eventfd_reports_results_and_wait_times_out(open_ring):
    ring = open_ring()
    start = time.monotonic()
    assert ring.wait(GUARD_S) is False  # nothing can come
    assert time.monotonic() - start < GUARD_S
    with Gate() as gate:
        ring.submit(add_job(b"x", gate=gate))
        start = time.monotonic()
        assert ring.wait(0.1) is False
        assert time.monotonic() - start >= 0.1
        assert not readable(ring.eventfd)
    assert ring.wait(GUARD_S) is True
    assert readable(ring.eventfd, GUARD_S)  # the event is raised a moment after the result is there
    assert os.eventfd_read(ring.eventfd) == 1


def test_wait_lets_python_run(open_ring):
    ring, waiting = open_ring(), threading.Event()
    with Gate() as gate:
        ring.submit(add_job(b"x", gate=gate))
        gate.open_when(waiting.is_set)  # by another Python thread, or the job never ends
        waiting.set()
        assert ring.wait()
    assert [result[1:] for result in ring.collect()] == [(workers.OK, b"x")]


def test_a_signal_interrupts_wait(open_ring):
    class AlarmError(Exception):
        pass

    def handler(*_):
        if waiting:
            waiting.clear()
            raise AlarmError

    ring, waiting = open_ring(4), []
    previous = signal.signal(signal.SIGALRM, handler)
    try:
        with Gate() as gate, pytest.raises(AlarmError):
            ring.submit(add_job(b"x", gate=gate))
            signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)  # again: one just before the wait is no use
            waiting.append(True)
            ring.wait()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert [result[1:] for result in collect_all(ring)] == [(workers.OK, b"x")]


def test_workers_block_signals_but_not_those_of_a_fault(open_ring):
    before = set(Path("/proc/self/task").iterdir())
    ring = open_ring(1)
    (thread,) = set(Path("/proc/self/task").iterdir()) - before
    ring.submit(add_job(b"x"))
    collect_all(ring)  # it has begun: until then everything is blocked
    mask = int(re.search(r"SigBlk:\t(\w+)", Path(thread, "status").read_text())[1], 16)
    blocked = {number for number in signal.Signals if mask >> (number - 1) & 1}
    assert {signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD, signal.SIGPROF} <= blocked
    assert blocked.isdisjoint({signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT})
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_nothing_is_left_after_200_rings():
    before = descriptors()
    for i in range(200):
        ring = Ring(2, 4)
        ring.submit(add_job(b"x"))
        if i % 2:
            ring.close()
        del ring
    assert all_threads_gone()
    assert descriptors() == before


def test_a_ring_dropped_in_a_cycle_joins_before_its_buffers_go():
    class Holder:
        pass

    ring, holder, alone_at_release = Ring(1), Holder(), []  # the collector would clear the ring first
    holder.ring, holder.self = ring, holder
    data = (ctypes.c_ubyte * 1000)()
    weakref.finalize(data, lambda: alone_at_release.append(all_threads_gone()))
    for _ in range(3):
        ring.submit(add_job(data, us=20_000))
    del ring, holder, data
    assert alone_at_release == []
    gc.collect()
    assert alone_at_release == [True]


def test_memory_does_not_grow_over_20000_jobs(open_ring):
    ring = open_ring(2, 64)

    def run(jobs):
        for _ in range(jobs):
            if ring.outstanding == ring.capacity:
                ring.wait()
                ring.collect()
            ring.submit(add_job(bytes(10_000)))
        collect_all(ring)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    warm = run(2000)
    assert run(20_000) - warm < 4096  # KiB; one job in ten kept would be 40 MiB


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_stress_is_clean_under_sanitizers(tmp_path, sanitizer):
    program = tmp_path / "stress"
    flags = ["-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-DCD_VERIFY"]
    sources = [ROOT / "tests/native/stress_workers.c", ROOT / "ext/workers/pool.c"]
    command = [os.environ.get("CC", "cc"), *flags, f"-fsanitize={sanitizer}", "-I", ROOT / "ext", *sources]
    subprocess.run([*command, "-o", program], check=True)
    bare = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # no second runtime
    done = subprocess.run(
        [program, "10", "7"], env=bare, capture_output=True, text=True, timeout=8 * GUARD_S, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "every claim held\n", "")
