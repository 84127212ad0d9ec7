"""The mempool against plain dicts, and the claims of its contract."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from reference import mempool_reference as reference
from reference.mempool_reference import ReferenceMempool
from vertices import CHAIN, digest, transfers, validator_vertex, with_bodies

from cherrydag.errors import ConfigError, ShapeError
from cherrydag.mempool import (
    BLOCK_BYTES,
    HEADER_ROOM,
    AddStatus,
    DropReason,
    Mempool,
    MempoolLimits,
    MempoolSource,
    Presence,
)
from cherrydag.params import RECORD_BYTES, VALID_FOREVER, VERTEX_BYTES_MAX
from cherrydag.payload import EMPTY_PAYLOAD, build_payload, payload_ids
from cherrydag.primitives import TimestampMs
from cherrydag.transaction import RECORD, transaction_ids

SEED = bytes(range(16))
NOW_S = 1000
SENDERS = [bytes([i]) * 32 for i in range(1, 6)]
A, B, C, D, _ = SENDERS
ADDED, REPLACED, DUPLICATE, NONCE, EXPIRED, FEE_LOW, SENDER_FULL, FULL, TOO_BIG = AddStatus
TAG_MAX = 2**64 - 1
OFTEN_MAX = 2**40


def record(
    sender: bytes, nonce: int, fee: int = 10, valid_until: int = VALID_FOREVER, size: int = 0
) -> bytes:
    head = (1, 1, 0, 0, nonce, 1, 0, fee, valid_until, size)
    return reference.HEAD.pack(*head, bytes(20), bytes(12), sender, bytes(64))


def id_of(packed: bytes, body: bytes = b"") -> bytes:
    return digest(packed, body)


class Pool:
    """A mempool with calls for a few transactions."""

    def __init__(self, seed: bytes = SEED, **limits: int) -> None:
        small = {"transactions_max": 1024, "recent_max": 1024, "body_bytes_max": 1 << 20}
        self.mempool = Mempool(MempoolLimits(**small | limits), seed)

    def add(
        self,
        *packed: bytes,
        bodies: list[bytes] | None = None,
        now_s: int = NOW_S,
        tags: list[int] | None = None,
    ) -> list[AddStatus]:
        listed = bodies or [b""] * len(packed)
        ids = b"".join(id_of(one, body) for one, body in zip(packed, listed, strict=True))
        offsets = np.cumsum([0, *map(len, listed)], dtype=np.uint64) if bodies else None
        records = np.frombuffer(b"".join(packed), RECORD)
        marks = None if tags is None else np.array(tags, np.uint64)
        statuses = self.mempool.add(records, ids, now_s, b"".join(listed), offsets, marks)
        return [AddStatus(status) for status in statuses]

    def take(self, n: int = OFTEN_MAX, body_bytes: int = OFTEN_MAX, now_s: int = NOW_S) -> list[bytes]:
        taken = self.mempool.take(n, body_bytes, now_s)
        return [row.tobytes() for row in taken.records]

    def settle(self, *packed: bytes) -> list[int]:
        tags = np.full(len(packed), TAG_MAX, np.uint64)
        self.mempool.settle(ids_of(list(packed)), tags)
        return tags.tolist()

    def dropped(self) -> list[tuple[int, DropReason]]:
        tags, reasons = self.mempool.drain_dropped()
        return [(int(tag), DropReason(reason)) for tag, reason in zip(tags, reasons, strict=True)]


def nonces(taken: list[bytes], sender: bytes) -> list[int]:
    fields = [reference.HEAD.unpack(one) for one in taken]
    return [one[4] for one in fields if one[12] == sender]


def ids_of(packed: list[bytes]) -> bytes:
    return b"".join(map(id_of, packed))


class AgainstReference(RuleBasedStateMachine):
    """Every operation on both; what they answer and hold must agree at every step."""

    @initialize(
        seed=st.binary(min_size=16, max_size=16),
        transactions_max=st.sampled_from([1, 4, 7, 7, 50]),
        sender_max=st.sampled_from([1, 3, 4, 20]),
        body_blocks=st.sampled_from([0, 1, 4, 100]),
        fee_min=st.sampled_from([0, 1, 5]),
        recent_max=st.sampled_from([0, 1, 3, 100]),
    )
    def open(self, seed: bytes, body_blocks: int, **limits: int) -> None:
        limits["body_bytes_max"] = body_blocks * BLOCK_BYTES
        self.pool = Mempool(MempoolLimits(**limits), seed)
        self.expected = ReferenceMempool(**limits)
        self.seen: list[bytes] = [bytes(32)]

    @rule(
        offers=st.lists(
            st.tuples(
                st.sampled_from(SENDERS),
                st.sampled_from([0, 1, 2, 3, 4, 7, 2**63, 2**64 - 1]),
                st.sampled_from([0, 1, 4, 5, 6, 7, 10, 11, 12, 20, 100, 2**54, 2**64 - 1]),
                st.sampled_from([VALID_FOREVER] * 5 + [NOW_S - 1, NOW_S, NOW_S + 1, NOW_S + 2]),
                st.sampled_from([0] * 6 + [1, 255, 256, 257, 512, 1024, 1025]),
            ),
            max_size=12,
        ),
        now_s=st.integers(NOW_S, NOW_S + 2),
        tag=st.sampled_from([None, 0, 1, 1, 1 << 20, TAG_MAX - 12]),
    )
    def add(self, offers: list[tuple[bytes, int, int, int, int]], now_s: int, tag: int | None) -> None:
        packed = [record(*offer) for offer in offers]
        bodies = [digest(one) * 33 for one in packed]
        bodies = [body[: offer[4]] for body, offer in zip(bodies, offers, strict=True)]
        ids = [id_of(*pair) for pair in zip(packed, bodies, strict=True)]
        self.seen += ids
        offsets = np.cumsum([0, *map(len, bodies)], dtype=np.uint64)
        records = np.frombuffer(b"".join(packed), RECORD)
        tags = [tag and tag + i for i in range(len(offers))]
        marks = None if tag is None else np.array(tags, np.uint64)
        got = self.pool.add(records, b"".join(ids), now_s, b"".join(bodies), offsets, marks)
        rows = zip(packed, ids, bodies, tags, strict=True)
        expected = [self.expected.add(one, id_, now_s, body, mark or 0) for one, id_, body, mark in rows]
        assert got.tolist() == expected

    @rule(
        n=st.sampled_from([0, 1, 2, 3, 5, 100]),
        body_bytes_max=st.sampled_from([0, 1, 256, 600, 10**6]),
        bytes_max=st.sampled_from([10**6, 10**6, 175, 176, 177, 700]),
        now_s=st.integers(NOW_S, NOW_S + 2),
    )
    def take(self, n: int, body_bytes_max: int, bytes_max: int, now_s: int) -> None:
        taken = self.pool.take(n, body_bytes_max, now_s, bytes_max=bytes_max)
        expected = self.expected.take(n, body_bytes_max, bytes_max, now_s)
        assert taken.ids == b"".join(waiter.id for waiter in expected)
        assert taken.records.tobytes() == b"".join(waiter.record for waiter in expected)
        assert taken.bodies == b"".join(waiter.body for waiter in expected)

    def some(self, picks: list[int]) -> list[bytes]:
        return [self.seen[-1 - pick % len(self.seen)] for pick in picks]

    @rule(picks=st.lists(st.integers(0, 15), max_size=6))
    def settle(self, picks: list[int]) -> None:
        tags = np.full(len(picks), TAG_MAX, np.uint64)
        self.pool.settle(b"".join(self.some(picks)), tags)
        assert tags.tolist() == self.expected.settle(self.some(picks))

    @rule(picks=st.lists(st.integers(0, 15), max_size=6))
    def settle_without_asking(self, picks: list[int]) -> None:
        self.pool.settle(b"".join(self.some(picks)))
        self.expected.settle(self.some(picks))

    @rule(picks=st.lists(st.integers(0, 15), max_size=6))
    def forget(self, picks: list[int]) -> None:
        self.pool.forget(b"".join(self.some(picks)))
        self.expected.forget_settled(self.some(picks))

    @rule()
    def drain_dropped(self) -> None:
        tags, reasons = self.pool.drain_dropped()
        assert list(zip(tags.tolist(), reasons.tolist(), strict=True)) == self.expected.drain_dropped()

    @rule(picks=st.lists(st.integers(0, 15), max_size=6))
    def put_back(self, picks: list[int]) -> None:
        ids = self.some(picks)
        assert self.pool.put_back(b"".join(ids)) == self.expected.put_back(ids)

    @rule(now_s=st.integers(NOW_S, NOW_S + 3), scan_max=st.sampled_from([0, 1, 2, 100]))
    def expire(self, now_s: int, scan_max: int) -> None:
        assert self.pool.expire(now_s, scan_max) == self.expected.expire(now_s, scan_max)

    @rule(
        bases=st.lists(st.tuples(st.sampled_from(SENDERS), st.sampled_from([0, 1, 3, 2**64 - 1])), max_size=3)
    )
    def drop_stale(self, bases: list[tuple[bytes, int]]) -> None:
        keys = np.frombuffer(b"".join(key for key, _ in bases), np.uint8)
        numbers = np.array([base for _, base in bases], np.uint64)
        assert self.pool.drop_stale(keys, numbers) == self.expected.drop_stale(bases)

    @invariant()
    def counts_agree(self) -> None:
        if not hasattr(self, "pool"):
            return
        stats, expected = self.pool.stats(), self.expected
        assert len(self.pool) == stats.waiting == expected.waiting
        assert stats.waiting + stats.taken == len(expected.known)
        assert stats.senders == len(expected.senders)
        assert stats.recent == len(expected.recent)
        assert stats.body_bytes == expected.blocks_held * BLOCK_BYTES
        assert stats.evicted == expected.drops[DropReason.EVICTED]
        assert stats.expired == expected.drops[DropReason.EXPIRED]
        assert stats.stale == expected.drops[DropReason.STALE]
        assert stats.tags_lost == expected.tags_lost
        known = [*dict.fromkeys(self.seen[-40:])]
        assert self.pool.status(b"".join(known)).tolist() == [expected.status(id_) for id_ in known]


TestAgainstReference = AgainstReference.TestCase
TestAgainstReference.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize(("n", "last"), [(3, ADDED), (4, ADDED), (5, SENDER_FULL)])
def test_a_sender_has_at_most_sender_max_that_are_not_settled(n: int, last: AddStatus) -> None:
    pool = Pool(sender_max=4)
    assert pool.add(*(record(A, i) for i in range(n - 1))) == [ADDED] * (n - 1)
    pool.take(2)
    assert pool.add(record(A, n)) == [last]


@pytest.mark.parametrize(("n", "last"), [(3, ADDED), (4, ADDED), (5, FEE_LOW)])
def test_a_full_pool_refuses_what_bids_no_more(n: int, last: AddStatus) -> None:
    pool = Pool(transactions_max=4)
    statuses = pool.add(*(record(bytes([i]) * 32, 0) for i in range(n)))
    assert statuses == [ADDED] * (n - 1) + [last]


def test_a_pool_in_which_all_is_taken_is_full() -> None:
    pool = Pool(transactions_max=1)
    pool.add(record(A, 0))
    pool.take()
    assert pool.add(record(B, 0, fee=1000)) == [FULL]


@pytest.mark.parametrize(("fee", "status"), [(4, FEE_LOW), (5, ADDED), (6, ADDED)])
def test_the_floor_is_the_least_fee(fee: int, status: AddStatus) -> None:
    assert Pool(fee_min=5).add(record(A, 0, fee)) == [status]


@pytest.mark.parametrize(("now_s", "status"), [(999, ADDED), (1000, ADDED), (1001, EXPIRED)])
def test_a_transaction_is_admitted_through_its_last_second(now_s: int, status: AddStatus) -> None:
    assert Pool().add(record(A, 0, valid_until=1000), now_s=now_s) == [status]


@pytest.mark.parametrize(
    ("old", "fee", "status"),
    [
        (100, 99, NONCE),
        (100, 100, NONCE),
        (100, 109, NONCE),
        (100, 110, REPLACED),
        (11, 12, NONCE),
        (11, 13, REPLACED),
    ],
)
def test_a_fee_higher_by_a_tenth_replaces(old: int, fee: int, status: AddStatus) -> None:
    pool = Pool()
    assert pool.add(record(A, 7, old), record(A, 7, fee, valid_until=2000)) == [ADDED, status]
    assert pool.take() == [record(A, 7, fee, valid_until=2000) if status == REPLACED else record(A, 7, old)]


def test_a_taken_transaction_cannot_be_replaced() -> None:
    pool = Pool()
    pool.add(record(A, 0))
    pool.take()
    assert pool.add(record(A, 0, fee=10**6)) == [NONCE]


@pytest.mark.parametrize(("size", "status"), [(65535, ADDED), (65536, ADDED), (65537, TOO_BIG)])
def test_a_body_has_a_largest_size(size: int, status: AddStatus) -> None:
    assert Pool().add(record(A, 0, size=size), bodies=[bytes(size)]) == [status]


@pytest.mark.parametrize(("size", "status"), [(511, ADDED), (512, ADDED), (513, FULL)])
def test_bodies_fill_whole_blocks(size: int, status: AddStatus) -> None:
    pool = Pool(body_bytes_max=3 * BLOCK_BYTES)
    offered = [record(A, 0, size=1), record(B, 0, size=size)]
    assert pool.add(*offered, bodies=[b"x", bytes(size)]) == [ADDED, status]


def test_an_id_is_a_duplicate_while_it_waits_is_taken_and_is_remembered() -> None:
    pool = Pool(recent_max=2)
    offer = record(A, 0)
    assert pool.add(offer, offer) == [ADDED, DUPLICATE]
    pool.take()
    assert pool.add(offer) == [DUPLICATE]
    pool.mempool.settle(id_of(offer))
    assert pool.add(offer) == [DUPLICATE]
    pool.mempool.settle(bytes(32))
    assert pool.add(offer) == [DUPLICATE]
    pool.mempool.settle(b"\1" * 32)
    assert pool.add(offer) == [ADDED]


def test_what_was_committed_by_others_first_is_a_duplicate() -> None:
    pool = Pool()
    pool.mempool.settle(id_of(record(A, 0)))
    assert pool.add(record(A, 0)) == [DUPLICATE]


def test_a_flood_by_one_sender_pushes_nobody_out_at_equal_fees() -> None:
    pool = Pool(transactions_max=8)
    assert pool.add(record(A, 0), record(B, 0)) == [ADDED] * 2
    assert pool.add(*(record(C, i) for i in range(20))) == [ADDED] * 6 + [FEE_LOW] * 14
    assert pool.add(record(D, 0), record(B, 1)) == [ADDED] * 2
    taken = pool.take()
    assert nonces(taken, A) == [0]
    assert nonces(taken, B) == [0, 1]
    assert nonces(taken, C) == [0, 1, 2, 3]
    assert nonces(taken, D) == [0]


def test_a_flood_must_pay_more_than_its_number_times_the_fee_of_others() -> None:
    pool = Pool(transactions_max=4)
    pool.add(*(record(key, 0) for key in (A, B, C, D)))
    flood = bytes(32)
    assert pool.add(record(flood, 0, fee=10), record(flood, 0, fee=11)) == [FEE_LOW, ADDED]
    assert pool.add(record(flood, 1, fee=20), record(flood, 1, fee=21)) == [FEE_LOW, ADDED]
    assert pool.add(record(flood, 2, fee=11), record(flood, 2, fee=200)) == [FEE_LOW, ADDED]
    taken = pool.take()
    assert nonces(taken, flood) == [1, 2]
    assert nonces(taken, C) == nonces(taken, D) == [0]


def test_one_rich_sender_does_not_shield_the_poor_from_being_outbid() -> None:
    pool = Pool(transactions_max=5)
    pool.add(*(record(A, i, fee=10**9) for i in range(4)), record(B, 0, fee=1))
    assert pool.add(record(C, 0, fee=2)) == [ADDED]
    taken = pool.take()
    assert nonces(taken, B) == []
    assert nonces(taken, C) == [0]


def test_a_senders_transactions_leave_by_ascending_nonce() -> None:
    pool = Pool()
    pool.add(*(record(A, nonce, fee=10 + nonce) for nonce in (5, 2, 9, 0, 7)))
    assert nonces(pool.take(3), A) == [0, 2, 5]
    pool.add(record(A, 1))
    assert nonces(pool.take(), A) == [1, 7, 9]


def test_equal_fees_take_turns() -> None:
    pool = Pool()
    for key, count in ((A, 6), (B, 2), (C, 4)):
        pool.add(*(record(key, nonce) for nonce in range(count)))
    order = [reference.HEAD.unpack(one)[12] for one in pool.take()]
    assert order == [A, B, C, A, B, C, A, C, A, C, A, A]


@pytest.mark.parametrize("floor", [1, 10, 2**47, 2**48, 2**60])
def test_shares_follow_fees_and_nobody_starves(floor: int) -> None:
    pool = Pool(fee_min=floor)
    pool.add(*(record(A, nonce, fee=4 * floor) for nonce in range(40)))
    pool.add(*(record(B, nonce, fee=floor) for nonce in range(40)))
    taken = pool.take(25)
    assert (len(nonces(taken, A)), len(nonces(taken, B))) == (20, 5)


def test_bodies_count_in_a_senders_share() -> None:
    pool = Pool()
    pool.add(*(record(A, nonce, size=512) for nonce in range(20)), bodies=[bytes(512)] * 20)
    pool.add(*(record(B, nonce) for nonce in range(20)))
    taken = pool.take(16)
    assert (len(nonces(taken, A)), len(nonces(taken, B))) == (4, 12)


def test_a_newcomer_does_not_reclaim_the_time_before_it_came() -> None:
    pool = Pool()
    pool.add(*(record(A, nonce) for nonce in range(40)))
    pool.take(20)
    pool.add(*(record(B, nonce) for nonce in range(40)))
    taken = pool.take(10)
    assert len(nonces(taken, A)) == len(nonces(taken, B)) == 5


def test_what_is_put_back_waits_in_its_order() -> None:
    pool = Pool()
    pool.add(*(record(A, nonce) for nonce in range(5)))
    lost = pool.take(3)
    assert pool.mempool.put_back(ids_of(lost) + bytes(32)) == 3
    assert pool.mempool.put_back(ids_of(lost)) == 0
    assert nonces(pool.take(), A) == [0, 1, 2, 3, 4]


def test_a_body_that_does_not_fit_holds_up_its_sender_alone() -> None:
    pool = Pool()
    big, small = record(A, 0, size=300), record(A, 1)
    pool.add(big, small, record(B, 0), bodies=[bytes(300), b"", b""])
    assert pool.take(body_bytes=299) == [record(B, 0)]
    assert pool.take(body_bytes=300) == [big, small]


@pytest.mark.parametrize(("crowd", "found"), [(63, 1), (64, 1), (65, 0)])
def test_taking_passes_over_64_senders_whose_bodies_do_not_fit(crowd: int, found: int) -> None:
    pool = Pool()
    keys = [bytes([i]) * 32 for i in range(crowd)]
    pool.add(*(record(key, 0, fee=99, size=1) for key in keys), bodies=[b"x"] * crowd)
    pool.add(record(b"\xff" * 32, 0))
    assert len(pool.take(body_bytes=0)) == found


@pytest.mark.parametrize(("bytes_max", "count"), [(351, 1), (352, 2), (353, 2)])
def test_records_and_bodies_have_a_common_limit(bytes_max: int, count: int) -> None:
    pool = Pool()
    pool.add(*(record(A, nonce) for nonce in range(5)))
    assert len(pool.mempool.take(10, 10, NOW_S, bytes_max=bytes_max).records) == count


def test_expired_ones_are_dropped_when_they_come_up_and_by_scans() -> None:
    pool = Pool()
    pool.add(record(A, 0, valid_until=1000), record(A, 1), record(B, 0, valid_until=1001))
    assert pool.take(now_s=1001) == [record(A, 1), record(B, 0, valid_until=1001)]
    assert pool.mempool.stats().expired == 1
    pool.add(*(record(C, nonce, valid_until=1000) for nonce in range(6)))
    assert [pool.mempool.expire(1001, 4) for _ in range(3)] == [2, 4, 0]


def test_a_taken_one_expires_only_after_it_was_put_back() -> None:
    pool = Pool()
    offer = record(A, 0, valid_until=1000)
    pool.add(offer)
    pool.take()
    assert pool.mempool.expire(2000) == 0
    pool.mempool.put_back(id_of(offer))
    assert pool.mempool.expire(2000) == 1


@pytest.mark.parametrize(("base", "dropped"), [(4, 0), (5, 0), (6, 1)])
def test_what_lies_below_a_nonce_base_is_stale(base: int, dropped: int) -> None:
    pool = Pool()
    pool.add(record(A, 5))
    assert pool.mempool.drop_stale(np.frombuffer(A, np.uint8), np.array([base], np.uint64)) == dropped


def test_settling_gives_back_the_tag_of_what_waited_or_was_taken() -> None:
    pool = Pool()
    first, second, untagged = record(A, 0), record(A, 1), record(B, 0)
    assert pool.add(first, second, untagged, tags=[7, TAG_MAX, 0]) == [ADDED] * 3
    assert pool.take(1) == [first]
    assert pool.settle(second, first, untagged, record(C, 0), first) == [TAG_MAX, 7, 0, 0, 0]
    assert pool.dropped() == []


def test_what_is_put_back_keeps_its_tag() -> None:
    pool = Pool()
    pool.add(record(A, 0), tags=[7])
    pool.mempool.put_back(ids_of(pool.take()))
    assert pool.settle(record(A, 0)) == [7]


def test_what_is_refused_leaves_no_tag() -> None:
    pool = Pool(fee_min=5)
    assert pool.add(record(A, 0), record(A, 0), record(A, 1, fee=4), tags=[1, 2, 3]) == [
        ADDED,
        DUPLICATE,
        FEE_LOW,
    ]
    assert pool.settle(record(A, 0), record(A, 1, fee=4)) == [1, 0]


def test_every_other_way_to_leave_is_told_with_its_reason() -> None:
    pool = Pool(transactions_max=4)
    pool.add(*(record(A, nonce) for nonce in range(4)), tags=[1, 2, 3, 4])
    pool.add(record(A, 2, fee=100), tags=[5])
    assert pool.dropped() == [(3, DropReason.REPLACED)]
    pool.add(record(B, 0, fee=200, valid_until=NOW_S), tags=[6])
    assert pool.dropped() == [(4, DropReason.EVICTED)]
    pool.mempool.expire(NOW_S + 1)
    pool.mempool.drop_stale(np.frombuffer(A, np.uint8), np.array([2], np.uint64))
    assert pool.dropped() == [(6, DropReason.EXPIRED), (1, DropReason.STALE), (2, DropReason.STALE)]
    pool.add(record(C, 0, valid_until=NOW_S), tags=[8])
    pool.take(now_s=NOW_S + 1)
    assert pool.dropped() == [(8, DropReason.EXPIRED)]
    assert pool.dropped() == []


def test_dropped_ones_without_a_tag_are_not_told() -> None:
    pool = Pool()
    pool.add(record(A, 0), record(A, 0, fee=100), record(A, 0, fee=200), tags=[0, 1, 0])
    assert pool.dropped() == [(1, DropReason.REPLACED)]
    assert pool.mempool.stats().tags_lost == 0


def test_an_id_is_unknown_then_waits_is_taken_settled_and_forgotten() -> None:
    pool = Pool(recent_max=1)
    one = record(A, 0)

    def presence() -> Presence:
        return Presence(pool.mempool.status(id_of(one))[0])

    assert presence() == Presence.UNKNOWN
    pool.add(one)
    assert presence() == Presence.WAITING
    pool.take()
    assert presence() == Presence.TAKEN
    pool.mempool.put_back(id_of(one))
    assert presence() == Presence.WAITING
    pool.settle(one)
    assert presence() == Presence.SETTLED
    pool.mempool.settle(bytes(32))
    assert presence() == Presence.UNKNOWN


def test_what_came_to_nothing_may_be_added_again() -> None:
    pool = Pool(recent_max=2)
    one = record(A, 0)
    pool.add(one)
    pool.mempool.forget(id_of(one))  # it waits
    assert pool.add(one) == [AddStatus.DUPLICATE]
    for _ in range(5):
        pool.settle(one)
        assert pool.add(one) == [AddStatus.DUPLICATE]
        pool.mempool.forget(id_of(one) + id_of(record(B, 0)))
        assert pool.mempool.status(id_of(one))[0] == Presence.UNKNOWN
        assert pool.add(one) == [AddStatus.ADDED]
    with pytest.raises(ShapeError, match="ids"):
        pool.mempool.forget(bytes(31))


def test_outcomes_are_counted() -> None:
    pool = Pool()
    pool.add(record(A, 0), record(A, 0), record(A, 0, fee=9))
    outcomes = pool.mempool.stats().outcomes
    assert (outcomes[ADDED], outcomes[DUPLICATE], outcomes[NONCE]) == (1, 1, 1)


@given(st.lists(st.tuples(st.sampled_from(SENDERS), st.integers(0, 5), st.integers(1, 50)), max_size=60))
@settings(max_examples=50, deadline=None)
def test_the_seed_changes_no_answer(offers: list[tuple[bytes, int, int]]) -> None:
    packed = [record(*offer) for offer in offers]
    pools = [Pool(seed, transactions_max=12) for seed in (bytes(16), b"\xff" * 16)]
    first, second = ((pool.add(*packed), pool.take()) for pool in pools)
    assert first == second


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("transactions_max", 1, 1 << 24),
        ("sender_max", 1, 1024),
        ("body_bytes_max", 0, 1 << 36),
        ("fee_min", 0, 2**64 - 1),
        ("recent_max", 0, 1 << 24),
    ],
)
def test_limits_are_named_when_out_of_range(name: str, least: int, most: int) -> None:
    for allowed in (least, most):
        assert getattr(MempoolLimits(**{name: allowed}), name) == allowed
    for wrong in (least - 1, most + 1):
        with pytest.raises(ConfigError, match=f"mempool.{name}"):
            MempoolLimits(**{name: wrong})


def test_wrong_shapes_admit_nothing() -> None:
    pool = Pool().mempool
    two = np.frombuffer(record(A, 0) + record(A, 1, size=3), RECORD)
    good = np.array([0, 0, 3], np.uint64)
    with pytest.raises(ShapeError, match="ids"):
        pool.add(two, bytes(63), NOW_S, b"abc", good)
    with pytest.raises(ShapeError, match="row 1"):
        pool.add(two, bytes(64), NOW_S)
    for offsets in ([0, 0, 2], [0, 1, 3], [1, 1, 4]):
        with pytest.raises(ShapeError, match="disagree"):
            pool.add(two, bytes(64), NOW_S, b"abc", np.array(offsets, np.uint64))
    with pytest.raises(ShapeError, match="disagree"):
        pool.add(two, bytes(64), NOW_S, b"abcd", good)
    with pytest.raises(ShapeError, match="tags"):
        pool.add(two, bytes(64), NOW_S, b"abc", good, np.zeros(3, np.uint64))
    with pytest.raises(ShapeError, match="ids"):
        pool.settle(bytes(31))
    with pytest.raises(ShapeError, match="tags_out"):
        pool.settle(bytes(64), np.zeros(1, np.uint64))
    with pytest.raises(ShapeError, match="ids"):
        pool.status(bytes(33))
    stats = pool.stats()
    assert (stats.waiting, stats.recent) == (0, 0)


def source() -> tuple[MempoolSource, Mempool]:
    pool = Mempool(MempoolLimits(), SEED)
    return MempoolSource(pool, CHAIN), pool


def test_a_payload_is_what_build_payload_makes_of_the_same() -> None:
    issuing, pool = source()
    made = with_bodies([0, 3, 300])
    pool.add(made.records, payload_ids(made, CHAIN), NOW_S, made.bodies, made.body_offsets)
    payload = issuing.take(TimestampMs(NOW_S * 1000))
    assert len(payload) == 3
    assert payload == build_payload(payload.records, CHAIN, bytes(payload.bodies))
    assert issuing.is_empty()
    assert issuing.take(TimestampMs(0)) is EMPTY_PAYLOAD


def test_lost_payloads_wait_again_and_committed_ones_are_forgotten() -> None:
    issuing, pool = source()
    records = transfers(5)
    pool.add(records, transaction_ids(records, CHAIN.transaction_key), NOW_S)
    lost = validator_vertex(payload=issuing.take(TimestampMs(0)))
    issuing.on_lost([lost])
    assert len(pool) == 5
    assert issuing.issued(lost.payload.root) is None
    again = validator_vertex(payload=issuing.take(TimestampMs(0)))
    ids = issuing.issued(again.payload.root)
    assert ids == payload_ids(again.payload, CHAIN)
    pool.settle(ids)
    issuing.on_committed([again])
    issuing.on_lost([again])
    assert issuing.issued(again.payload.root) is None
    stats = pool.stats()
    assert (stats.waiting, stats.taken, stats.recent) == (0, 0, 5)


def test_a_payload_leaves_room_for_the_header() -> None:
    issuing, pool = source()
    count = VERTEX_BYTES_MAX // (RECORD_BYTES + 1024)
    packed = [record(bytes(28) + i.to_bytes(4, "big"), 0, size=1024) for i in range(count)]
    offsets = np.arange(0, 1024 * (count + 1), 1024, dtype=np.uint64)
    pool.add(np.frombuffer(b"".join(packed), RECORD), ids_of(packed), 0, bytes(1024 * count), offsets)
    payload = issuing.take(TimestampMs(0))
    assert len(payload.octets) + len(payload.bodies) <= VERTEX_BYTES_MAX - HEADER_ROOM
    assert len(payload.bodies) == 4 * 1024 * 1024


def test_everything_that_is_admitted_leaves_exactly_once() -> None:
    pool = Pool()
    packed = [record(key, nonce) for key, nonce in itertools.product(SENDERS, range(30))]
    assert set(pool.add(*packed)) == {ADDED}
    taken = [one for _ in range(16) for one in pool.take(10)]
    assert sorted(taken) == sorted(packed)
