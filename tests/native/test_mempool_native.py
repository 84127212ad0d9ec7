"""The native mempool: long runs against the reference, its memory, and inputs that aim at its weak sides."""

import random
import resource

import numpy as np
import pytest
from reference.mempool_reference import DROP_EVICTED, HEAD, ReferenceMempool

from cherrydag._native import mempool
from cherrydag.errors import ShapeError
from cherrydag.mempool import AddStatus, DropReason, Mempool, MempoolLimits
from cherrydag.transaction import RECORD, Records, build_transfers

SEED = bytes(range(16))
FOREVER = 2**32 - 1


def key(i: int) -> bytes:
    return i.to_bytes(32, "little")


def packed(sender: int, nonce: int, fee: int, valid_until: int = FOREVER) -> bytes:
    return HEAD.pack(
        1, 1, 0, 0, nonce, 1, 0, fee, valid_until, 0, bytes(20), bytes(12), key(sender), bytes(64)
    )


def ids(rng: random.Random, n: int) -> list[bytes]:
    return [rng.randbytes(32) for _ in range(n)]


def offered(senders: int, each: int, fee: int = 1) -> tuple[Records, bytes]:
    """`each` transfers of each sender, and ids for them."""
    n = senders * each
    keys = np.zeros((n, 32), np.uint8)
    keys[:, :4] = (np.arange(n, dtype="<u4") % senders).view(np.uint8).reshape(-1, 4)
    nonces = np.arange(n) // senders
    records = build_transfers(senders=keys, recipients=bytes(20), amounts=1, nonces=nonces, fee=fee)
    return records, np.random.default_rng(n).bytes(32 * n)


@pytest.mark.parametrize("fees", ["few", "spread", "wide"])
@pytest.mark.parametrize("crowd", [3, 20, 400])
def test_long_runs_agree_with_the_reference(fees: str, crowd: int) -> None:
    rng = random.Random(f"{fees} {crowd}")
    limits = {"transactions_max": 150, "sender_max": 64, "body_bytes_max": 0, "fee_min": 3, "recent_max": 40}
    pool, expected = Mempool(MempoolLimits(**limits), SEED), ReferenceMempool(**limits)
    draw = {
        "few": lambda: rng.choice([2, 3, 4]),
        "spread": lambda: rng.randrange(1, 100),
        "wide": lambda: min(2**64 - 1, 1 << rng.randrange(66)),
    }[fees]
    taken: list[bytes] = []
    for step in range(60):
        now_s = step
        names = ids(rng, 40)
        tags = [rng.choice([0, step * 100 + i]) for i in range(40)]
        rows = [
            packed(rng.randrange(crowd), rng.randrange(100), draw(), rng.choice([FOREVER, step + 5]))
            for _ in names
        ]
        records = np.frombuffer(b"".join(rows), RECORD)
        got = pool.add(records, b"".join(names), now_s, tags=np.array(tags, np.uint64))
        offers = zip(rows, names, tags, strict=True)
        assert got.tolist() == [expected.add(row, name, now_s, tag=tag) for row, name, tag in offers]
        n = rng.randrange(30)
        took = pool.take(n, 0, now_s)
        assert took.ids == b"".join(waiter.id for waiter in expected.take(n, 0, 2**63, now_s))
        taken += [took.ids[i : i + 32] for i in range(0, len(took.ids), 32)]
        rng.shuffle(taken)
        lost, settled, taken = taken[:6], taken[6:20], taken[20:]
        settled_tags = np.zeros(len(settled), np.uint64)
        pool.settle(b"".join(settled), settled_tags)
        assert settled_tags.tolist() == expected.settle(settled)
        pool.forget(b"".join(settled[:3] + taken[:1]))
        expected.forget_settled(settled[:3] + taken[:1])
        assert pool.put_back(b"".join(lost)) == expected.put_back(lost) == len(lost)
        if step % 7 == 0:
            assert pool.expire(now_s, 50) == expected.expire(now_s, 50)
        assert len(pool) == expected.waiting
        marks, reasons = pool.drain_dropped()
        assert list(zip(marks.tolist(), reasons.tolist(), strict=True)) == expected.drain_dropped()
    assert pool.stats().evicted == expected.drops[DROP_EVICTED]
    assert crowd < 20 or expected.drops[DROP_EVICTED] > 0


def test_the_ring_of_recent_ids_forgets_the_oldest() -> None:
    rng = random.Random(1)
    pool = Mempool(MempoolLimits(transactions_max=1000, recent_max=100), SEED)
    names = ids(rng, 1000)
    pool.settle(b"".join(names))
    records = np.frombuffer(b"".join(packed(i, 0, 1) for i in range(1000)), RECORD)
    statuses = pool.add(records, b"".join(names), 0)
    assert (statuses[:900] == AddStatus.ADDED).all()
    assert (statuses[900:] == AddStatus.DUPLICATE).all()
    assert pool.stats().recent == 100


@pytest.mark.parametrize("each", [1, 2, 3, 63, 64])
def test_memory_is_bounded_and_lists_are_given_back(each: int) -> None:
    limits = MempoolLimits(transactions_max=4096, sender_max=64, body_bytes_max=65536, recent_max=1000)
    pool = Mempool(limits, SEED)
    reserved = pool.stats().memory_bytes
    tables = 8 * (16384 + 8192)
    assert 0 <= reserved - tables - 36 * 1000 - 260 * 256 - 9 * 65536 - 404 * 4096 <= 16384
    records, names = offered(4096 // each, each)
    assert (pool.add(records, names, 0) == AddStatus.ADDED).all()
    assert pool.stats().memory_bytes - reserved <= 128 * len(records)
    half = len(names) // 64 * 32
    pool.settle(names[:half])
    assert pool.stats().memory_bytes - reserved <= 128 * len(pool)
    pool.settle(names[half:])
    stats = pool.stats()
    assert (stats.memory_bytes, stats.senders, stats.waiting) == (reserved, 0, 0)


def test_calls_do_not_wait_for_pages_that_were_touched_at_the_start() -> None:
    pool = Mempool(MempoolLimits(transactions_max=1 << 14, recent_max=1 << 14, prefault=True), SEED)
    records, names = offered(1 << 14, 1)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    pool.add(records, names, 0)
    pool.settle(names)
    faults = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before
    assert faults < 404 * len(records) // 4096 // 10


@pytest.mark.parametrize(("n", "told"), [(65535, 65535), (65536, 65536), (65537, 65536)])
def test_the_list_of_dropped_tags_is_bounded(n: int, told: int) -> None:
    pool = Mempool(MempoolLimits(transactions_max=1), SEED)
    records, names = offered(n + 1, 1)
    records["fee"] = np.arange(1, n + 2)
    assert (pool.add(records, names, 0, tags=np.arange(1, n + 2, dtype=np.uint64)) == AddStatus.ADDED).all()
    assert (pool.stats().evicted, pool.stats().tags_lost) == (n, n - told)
    tags, reasons = pool.drain_dropped()
    assert tags.tolist() == list(range(1, told + 1))
    assert set(reasons.tolist()) == {DropReason.EVICTED}
    assert len(pool.drain_dropped()[0]) == 0


def test_a_call_that_drops_all_that_waits_loses_no_tag() -> None:
    count = mempool.DROPPED_MIN + 1
    pool = Mempool(MempoolLimits(transactions_max=count), SEED)
    records, names = offered(count, 1)
    records["valid_until"] = 5
    pool.add(records, names, 0, tags=np.arange(1, count + 1, dtype=np.uint64))
    assert pool.expire(6, count) == count
    assert pool.drain_dropped()[0].tolist() == list(range(1, count + 1))


@pytest.mark.parametrize("wrong", [np.zeros(2, np.int64), np.zeros(4, np.uint64)[::2], bytearray(16)])
def test_tags_must_be_whole_words_in_a_row(wrong: object) -> None:
    pool = mempool.Pool(4, 4, 4, 0, 0, SEED)
    with pytest.raises((TypeError, ValueError)):
        pool.settle(bytes(64), wrong)


def test_tags_are_not_written_where_nobody_may_write() -> None:
    tags = np.zeros(1, np.uint64)
    tags.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        Mempool(MempoolLimits(transactions_max=1), SEED).settle(bytes(32), tags)


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_nonces_may_come_in_any_order(order: str) -> None:
    numbers = list(range(1024))
    if order == "descending":
        numbers.reverse()
    elif order == "shuffled":
        random.Random(2).shuffle(numbers)
    pool = Mempool(MempoolLimits(transactions_max=2048, sender_max=1024), SEED)
    records = np.frombuffer(b"".join(packed(0, nonce, 1) for nonce in numbers), RECORD)
    assert (pool.add(records, b"".join(ids(random.Random(3), 1024)), 0) == AddStatus.ADDED).all()
    assert pool.take(2000, 0, 0).records["nonce"].tolist() == list(range(1024))


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 64, 65])
def test_every_batch_size_is_admitted_whole(n: int) -> None:
    pool = Mempool(MempoolLimits(transactions_max=100), SEED)
    records, names = offered(max(n, 1), 1)
    assert len(pool.add(records[:n], names[: 32 * n], 0)) == n
    assert len(pool) == n
    assert pool.take(n, 0, 0).ids == names[: 32 * n]


@pytest.mark.parametrize("size", [1, 255, 256, 257, 65535, 65536])
def test_bodies_come_out_as_they_went_in_from_blocks_used_before(size: int) -> None:
    limits = MempoolLimits(transactions_max=8, body_bytes_max=65536 + 256)
    pool, rng = Mempool(limits, SEED), random.Random(size)
    for turn, sizes in enumerate([(size, 1), (1, size), (size, 256), (size, 0)]):
        bodies = rng.randbytes(sum(sizes))
        records = np.frombuffer(packed(0, turn, 1) + packed(1, turn, 1), RECORD).copy()
        records["body_size"] = sizes
        offsets = np.array([0, sizes[0], sum(sizes)], np.uint64)
        statuses = pool.add(records, rng.randbytes(64), 0, bodies, offsets)
        assert (statuses == AddStatus.ADDED).all()
        taken = [pool.take(1, 2**40, 0) for _ in range(2)]
        taken.sort(key=lambda one: one.records["sender"].tobytes())
        assert taken[0].bodies + taken[1].bodies == bodies
        pool.settle(taken[0].ids + taken[1].ids)
    assert pool.stats().body_bytes == 0


def test_expired_ones_that_come_up_are_dropped_up_to_a_bound() -> None:
    count = mempool.STEPS + 1
    pool = Mempool(MempoolLimits(transactions_max=count + 1), SEED)
    records, names = offered(count, 1)
    records["valid_until"] = 5
    pool.add(records, names, 0)
    assert len(pool.take(10, 0, 6).records) == 0
    assert len(pool) == 1


def test_native_limits_are_checked() -> None:
    good = {"transactions_max": 1, "sender_max": 1, "recent_max": 0, "body_bytes_max": 0, "fee_min": 0}
    for name, wrong in [
        ("transactions_max", 0),
        ("sender_max", 0),
        ("sender_max", 1025),
        ("recent_max", 2**25),
    ]:
        with pytest.raises(ShapeError, match="limits"):
            mempool.Pool(**good | {name: wrong}, seed=SEED)
    with pytest.raises(ShapeError, match="seed"):
        mempool.Pool(**good, seed=bytes(15))
