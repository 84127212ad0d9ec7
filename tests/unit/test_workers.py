"""The worker pool: blocking, by ticket and from an event loop."""

import asyncio
import hashlib
import threading
import time

import pytest
import uvloop
from worker_jobs import GUARD_S, Gate, add_job, all_threads_gone, descriptors, job_runs, until

from cherrydag._native import workers as native
from cherrydag.errors import CherrydagError, Closed, InvariantViolation, Overloaded, ShapeError
from cherrydag.runtime.workers import Job, WorkerPool

blake3 = pytest.importorskip("blake3").blake3
signing = pytest.importorskip("nacl.signing")

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]
loops = pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])


def run_on(new_loop, coroutine):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(asyncio.wait_for(coroutine, 2 * GUARD_S))


@pytest.fixture
def pool():
    with WorkerPool(2, 8) as pool:
        yield pool
        pool.close(drain=False)
    assert all_threads_gone()


def signatures_of(n, wrong=()):
    keys, digests, signatures = [], [], []
    for i in range(n):
        key = signing.SigningKey(hashlib.sha256(bytes([i])).digest())
        digest = hashlib.sha256(b"digest %d" % i).digest()
        keys.append(bytes(key.verify_key))
        digests.append(digest)
        signatures.append(key.sign(digest).signature if i not in wrong else bytes(64))
    return b"".join(keys), b"".join(digests), b"".join(signatures)


# The operations.


def test_verify_marks_each_signature(pool):
    assert pool.verify(*signatures_of(20, wrong={3, 19})) == bytes(i not in {3, 19} for i in range(20))


def test_submit_verify_and_verify_async_agree(pool):
    batch = signatures_of(9, wrong={0})
    ticket = pool.submit_verify(*batch)
    assert asyncio.run(pool.verify_async(*batch)) == ticket.result() == bytes([0] + [1] * 8)


def test_verify_of_nothing_is_empty(pool):
    assert pool.verify(b"", b"", b"") == b""


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ((64, 64, 127), "signatures: 127 bytes"),
        ((63, 64, 128), "public_keys: 63 bytes"),
        ((32, 64, 128), "public_keys: 1 rows for 2"),
        ((64, 96, 128), "digests: 3 rows for 2"),
    ],
)
def test_verify_refuses_lengths_that_disagree(pool, lengths, message):
    with pytest.raises(ShapeError, match=message):
        pool.submit_verify(*map(bytes, lengths))


@pytest.mark.parametrize("key", [None, bytes(range(32))])
def test_hash_records_is_blake3_of_each_part(pool, key):
    records = bytes(i * 7 % 256 for i in range(50 * 40))
    options = {} if key is None else {"key": key}
    expected = b"".join(blake3(records[i + 4 : i + 36], **options).digest() for i in range(0, 2000, 40))
    assert pool.hash_records(records, 4, 36, key, stride=40) == expected
    assert pool.submit_hash_records(records, 4, 36, key, stride=40).result() == expected
    assert asyncio.run(pool.hash_records_async(records, 4, 36, key, stride=40)) == expected


def test_hash_records_takes_the_stride_of_a_record_array(pool):
    np = pytest.importorskip("numpy")
    records = np.arange(300, dtype="u1").repeat(2).view("V30")
    assert pool.hash_records(records, 2, 9) == pool.hash_records(records.tobytes(), 2, 9, stride=30)


@pytest.mark.parametrize(
    ("start", "stop", "stride", "key"),
    [
        (2, 1, 10, None),
        (0, 11, 10, None),
        (-1, 5, 10, None),
        (0, 0, 0, None),
        (0, 7, 7, None),
        (0, 1, 10, b"k"),
    ],
)
def test_hash_records_refuses_wrong_shapes(pool, start, stop, stride, key):
    with pytest.raises(ShapeError):
        pool.hash_records(bytes(100), start, stop, key, stride=stride)


# Blocking and by ticket.


def test_run_waits_for_a_slot(pool):
    calling = threading.Event()
    with Gate() as gate:
        tickets = [pool.submit(add_job(b"a", gate=gate)) for _ in range(8)]
        gate.open_when(calling.is_set)
        calling.set()
        assert pool.run(add_job(b"a", add=1)) == b"b"
    assert [ticket.result() for ticket in tickets] == [b"a"] * 8


def test_submit_refuses_at_capacity_and_recovers_unasked(pool):
    with Gate() as one, Gate() as rest:
        tickets = [pool.submit(add_job(b"a", gate=gate)) for gate in [one] + [rest] * 7]
        with pytest.raises(Overloaded, match="8 jobs"):
            pool.submit(add_job(b"b"))
        one.open()
        until(lambda: pool.stats().finished == 1)
        tickets.append(pool.submit(add_job(b"a")))  # collects finished results by itself
        with pytest.raises(Overloaded, match="8 jobs"):
            pool.submit(add_job(b"b"))
    assert [ticket.result() for ticket in tickets] == [b"a"] * 9
    assert (pool.stats().refused, pool.stats().completed) == (2, 9)


def test_ticket_times_out_and_can_be_asked_again(pool):
    with Gate() as gate:
        ticket, start = pool.submit(add_job(b"a", gate=gate)), time.monotonic()
        assert not ticket.done()
        with pytest.raises(TimeoutError, match=r"0\.1 s"):
            ticket.result(0.1)
        assert time.monotonic() - start >= 0.1
        assert not ticket.done()
    assert ticket.result(GUARD_S) == ticket.result(0) == b"a"
    assert ticket.done()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (native.ERR_ARGUMENT, ShapeError),
        (native.ERR_MEMORY, MemoryError),
        (native.ERR_UNSUPPORTED, CherrydagError),
    ],
)
def test_a_failed_job_raises(pool, status, error):
    with pytest.raises(error):
        pool.run(add_job(b"a", status=status))
    with pytest.raises(error):
        asyncio.run(pool.run_async(add_job(b"a", status=status)))


def test_a_pool_serves_its_own_thread_only(pool):
    faults = []

    def use():
        for call in (lambda: pool.run(add_job(b"a")), pool.drain):
            try:
                call()
            except InvariantViolation as fault:
                faults.append(fault)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(faults) == 2


def test_leaving_a_failed_block_discards():
    before = job_runs()
    with Gate() as gate, pytest.raises(ZeroDivisionError), WorkerPool(1) as pool:
        tickets = [pool.submit(add_job(b"a", gate=gate)) for _ in range(30)]
        gate.wait_started(1)
        gate.open_when(lambda: pool.stats().discarded == 29)
        _ = 1 / 0
    assert job_runs() == before + 1
    assert tickets[0].result() == b"a"
    for ticket in tickets[1:]:
        with pytest.raises(Closed, match="before the job ran"):
            ticket.result()


def test_leaving_a_block_drains():
    leaving = threading.Event()
    with Gate() as gate, WorkerPool(1) as pool:
        tickets = [pool.submit(add_job(b"a", gate=gate)) for _ in range(30)]
        gate.open_when(leaving.is_set)
        leaving.set()
    assert [ticket.result() for ticket in tickets] == [b"a"] * 30


def test_closed_pool_refuses_everything(pool):
    pool.close()
    pool.close(drain=False)
    for call in (pool.run, pool.submit):
        with pytest.raises(Closed):
            call(add_job(b"a"))
    with pytest.raises(Closed):
        asyncio.run(pool.run_async(add_job(b"a")))
    asyncio.run(pool.close_async())
    pool.drain()


# From an event loop.


@loops
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_many_callers_each_get_their_own_result(new_loop, threads):
    async def main():
        async with WorkerPool(threads, 16) as pool:
            jobs = [add_job(bytes([i % 251]) * 50, us=i % 40, add=1) for i in range(1000)]
            outputs = await asyncio.gather(*map(pool.run_async, jobs))
            assert outputs == [bytes([i % 251 + 1]) * 50 for i in range(1000)]
            assert pool.stats().submitted == pool.stats().completed == 1000
            assert pool.stats().waiting == 0

    run_on(new_loop, main())
    assert all_threads_gone()


@loops
def test_waiting_callers_are_served_in_order_of_arrival(new_loop):
    async def main():
        order = []

        async def call(i):
            await pool.run_async(add_job(b"a", gate=gate))
            order.append(i)

        async with WorkerPool(1, 2) as pool:
            with Gate() as gate:
                calls = [asyncio.ensure_future(call(i)) for i in range(30)]
                await asyncio.sleep(0)
                assert pool.stats().waiting == 28
            until(lambda: pool.stats().finished == 2)
            await asyncio.gather(*calls, call(30))  # a late caller finds free slots, and must not take them
        assert order == list(range(31))

    run_on(new_loop, main())


@loops
@pytest.mark.parametrize("waiters", [0, 1, 3])
def test_waiting_callers_are_bounded(new_loop, waiters):
    async def main():
        async with WorkerPool(1, 2, waiters=waiters) as pool:
            with Gate() as gate:
                jobs = [add_job(b"a", gate=gate) for _ in range(2 + waiters)]
                calls = [asyncio.ensure_future(pool.run_async(job)) for job in jobs]
                await asyncio.sleep(0)
                assert pool.stats().waiting == waiters
                with pytest.raises(Overloaded, match=f"2 jobs are outstanding and {waiters} callers wait"):
                    await pool.run_async(add_job(b"a"))
            assert await asyncio.gather(*calls) == [b"a"] * (2 + waiters)
            assert await pool.run_async(add_job(b"b")) == b"b"
            assert pool.stats().turned_away == 1

    run_on(new_loop, main())


@loops
def test_the_loop_runs_on_while_jobs_do(new_loop):
    async def main():
        async with WorkerPool(1) as pool:
            with Gate() as gate:
                call = asyncio.ensure_future(pool.run_async(add_job(b"a", gate=gate)))
                await asyncio.sleep(0)
                gate.wait_started(1)
                for _ in range(20):
                    await asyncio.sleep(0.001)
                assert not call.done()
            assert await call == b"a"

    run_on(new_loop, main())


@loops
def test_a_cancelled_caller_frees_its_slot(new_loop):
    async def main():
        async with WorkerPool(1, 2) as pool:
            before = job_runs()
            with Gate() as gate:
                jobs = [add_job(b"a", gate=gate) for _ in range(4)]
                calls = [asyncio.ensure_future(pool.run_async(job)) for job in jobs]
                await asyncio.sleep(0)
                gate.wait_started(1)
                for call in (calls[0], calls[2]):  # one runs, one waits for a slot
                    call.cancel()
                await asyncio.sleep(0)
                assert pool.stats().waiting == 1
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, bytes] * 2
            assert job_runs() == before + 3
            assert await asyncio.gather(*(pool.run_async(add_job(b"b")) for _ in range(5))) == [b"b"] * 5

    run_on(new_loop, main())


def test_two_loops_in_sequence_use_one_pool(pool):
    before = descriptors()
    for new_loop in LOOPS * 2:
        assert run_on(new_loop, pool.run_async(add_job(b"a", add=1))) == b"b"
    assert descriptors() == before


@loops
def test_a_loop_that_ended_early_leaves_a_working_pool(new_loop, pool):
    async def leave():
        calls = [asyncio.ensure_future(pool.run_async(add_job(b"a", gate=gate))) for _ in range(12)]
        await asyncio.sleep(0)
        assert not any(call.done() for call in calls)

    with Gate() as gate:
        run_on(new_loop, leave())
    assert pool.run(add_job(b"b")) == b"b"
    assert run_on(new_loop, pool.run_async(add_job(b"c"))) == b"c"
    pool.drain()


@loops
def test_a_loop_closed_with_calls_pending_leaves_a_working_pool(new_loop, pool):
    before = job_runs()
    loop = new_loop()
    with Gate() as gate:
        calls = [loop.create_task(pool.run_async(add_job(b"a", gate=gate))) for _ in range(12)]
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    assert pool.run(add_job(b"b")) == b"b"
    pool.drain()
    assert job_runs() == before + 8 + 1  # not the four that waited for a slot
    for call in calls:
        call._log_destroy_pending = False


def test_a_pool_leaves_one_open_loop_for_another(pool):
    with asyncio.Runner() as first, asyncio.Runner() as second:
        for runner in (first, second, first, second):
            assert runner.run(pool.run_async(add_job(b"a", add=1))) == b"b"
        assert not first.get_loop().remove_reader(pool._ring.eventfd)
        assert second.get_loop().remove_reader(pool._ring.eventfd)


@loops
def test_blocking_calls_inside_a_coroutine_deliver_to_the_others(new_loop, pool):
    async def main():
        calls = [asyncio.ensure_future(pool.run_async(add_job(b"a", us=300))) for _ in range(20)]
        await asyncio.sleep(0)
        assert pool.run(add_job(b"b")) == b"b"
        assert await asyncio.gather(*calls) == [b"a"] * 20

    run_on(new_loop, main())


@loops
def test_drain_async_delivers_everything(new_loop, pool):
    async def main():
        with Gate() as gate:
            calls = [asyncio.ensure_future(pool.run_async(add_job(b"a", gate=gate))) for _ in range(20)]
            await asyncio.sleep(0)
            drains = [asyncio.ensure_future(pool.drain_async()) for _ in range(2)]
            await asyncio.sleep(0.01)
            assert not any(drain.done() for drain in drains)
        await asyncio.gather(*drains)
        assert [call.result() for call in calls] == [b"a"] * 20
        await pool.drain_async()

    run_on(new_loop, main())


@loops
@pytest.mark.parametrize("drain", [True, False])
def test_close_async_settles_every_caller(new_loop, drain):
    async def main():
        pool = WorkerPool(1, 4)
        with Gate() as gate:
            calls = [asyncio.ensure_future(pool.run_async(add_job(b"a", gate=gate))) for _ in range(8)]
            await asyncio.sleep(0)
            gate.wait_started(1)
            if drain:
                asyncio.get_running_loop().call_later(0.01, gate.open)  # the loop keeps running
            else:
                gate.open_when(lambda: pool.stats().discarded == 3)
            await pool.close_async(drain)
        first, *others = await asyncio.gather(*calls, return_exceptions=True)
        assert first == b"a"
        assert [type(outcome) for outcome in others] == [bytes if drain else Closed] * 7
        with pytest.raises(Closed):
            await pool.run_async(add_job(b"a"))

    run_on(new_loop, main())
    assert all_threads_gone()


@loops
def test_a_job_given_twice_fails_its_second_caller_only(new_loop):
    async def main():
        async with WorkerPool(1, 1) as pool:
            with Gate() as gate:
                jobs = [add_job(b"a", gate=gate)] * 2 + [add_job(b"c")]
                calls = [asyncio.ensure_future(pool.run_async(job)) for job in jobs]
                await asyncio.sleep(0)
                assert pool.stats().waiting == 2
            first, second, third = await asyncio.gather(*calls, return_exceptions=True)
            assert (first, third) == (b"a", b"c")
            assert isinstance(second, ShapeError)

    run_on(new_loop, main())


def test_stats_add_up():
    start = time.monotonic_ns()
    with WorkerPool(2) as pool:
        for _ in range(10):
            pool.run(add_job(b"a", us=1000))
        stats = pool.stats()
        elapsed_ns = time.monotonic_ns() - start
    assert sum(worker.jobs for worker in stats.workers) == 10
    assert 10_000_000 <= sum(worker.busy_ns for worker in stats.workers) <= elapsed_ns  # one at a time
    assert 0 < sum(worker.cpu_ns for worker in stats.workers) <= 2 * elapsed_ns
    assert isinstance(add_job(b"a"), Job)
