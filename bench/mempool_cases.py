"""The benches of the mempool, in the same registry as those of cases.py."""

from dataclasses import replace

import numpy as np
from reference.mempool_reference import ReferenceMempool

from cases import SEED, Prepared, case
from cherrydag.mempool import AddStatus, Mempool, MempoolLimits
from cherrydag.transaction import Records, build_transfers

PLAIN_MEMPOOL = "dicts and lists in plain Python"
BATCH = 8192
SENDERS = 65_536
HELD = 4 * SENDERS
LIMITS = MempoolLimits(transactions_max=2 * HELD, recent_max=1 << 19, prefault=True)


def offers(rounds: int, fee_max: int) -> list[tuple[Records, bytes]]:
    """Batches of transfers of 65,536 senders, each once a round, with random ids and fees."""
    rng = np.random.default_rng(SEED)
    keys = rng.integers(0, 256, (SENDERS, 32), dtype=np.uint8)
    batches = []
    for nonce in range(rounds):
        order = rng.permutation(SENDERS)
        for start in range(0, SENDERS, BATCH):
            rows = order[start : start + BATCH]
            fees = rng.integers(1, fee_max + 1, BATCH, dtype=np.uint64)
            records = build_transfers(
                senders=keys[rows], recipients=bytes(20), amounts=1, nonces=nonce, fee=fees
            )
            batches.append((records, rng.bytes(32 * BATCH)))
    return batches


def baseline(records: Records, ids: bytes, *, takes: bool) -> object:
    """Add 32 transfers to an empty reference, or take them from a full one."""
    pool = ReferenceMempool(
        transactions_max=1 << 19, sender_max=64, body_bytes_max=0, fee_min=1, recent_max=0
    )
    rows = [(row.tobytes(), ids[32 * i : 32 * i + 32]) for i, row in enumerate(records[:32])]
    statuses = [pool.add(*row, 0) for row in rows]
    return pool.take(32, 0, 2**63, 0) if takes else statuses


class Filled:
    """A mempool that holds 262,144 transfers; each call adds a batch, or takes one."""

    def __init__(self, fee_max: int, limits: MempoolLimits = LIMITS) -> None:
        self.batches = offers(HELD // SENDERS, fee_max)
        self.pool = Mempool(limits, bytes(16))
        for records, ids in self.batches:
            self.pool.add(records, ids, 0)
        self.next = self.raised = 0
        self.rng = np.random.default_rng(SEED + 1)
        self.taken = self.pool.take(0, 0, 0)

    def settle(self) -> None:
        """What was taken is committed."""
        self.pool.settle(self.taken.ids)
        self.taken = self.pool.take(0, 0, 0)

    def raise_fees(self) -> None:
        """Make the next batch one of newcomers that pay more than all that are there."""
        records, _ = self.batches[self.next]
        records["sender"] = self.rng.integers(0, 256, (BATCH, 32), dtype=np.uint8)
        self.raised += 10_000
        fees = self.rng.integers(self.raised, self.raised + 10_000, BATCH, dtype=np.uint64)
        records["fee"] = fees
        self.batches[self.next] = (records, self.rng.bytes(32 * BATCH))

    def refresh(self) -> None:
        """Make the next batch new: ids and nonces that were not there."""
        records, _ = self.batches[self.next]
        records["nonce"] += np.uint64(4)
        self.batches[self.next] = (records, self.rng.bytes(32 * BATCH))

    def add(self) -> None:
        """Add the next batch."""
        statuses = self.pool.add(*self.batches[self.next], 0)
        if (statuses != AddStatus.ADDED).any():
            raise AssertionError("not every transfer was added")
        self.next = (self.next + 1) % len(self.batches)

    def take(self) -> None:
        """Take a batch."""
        self.taken = self.pool.take(BATCH, 0, 0)
        if len(self.taken.records) != BATCH:
            raise AssertionError("fewer were taken than waited")


@case("mempool.add/fees=1", "ns/transaction", PLAIN_MEMPOOL, fee_max=1)
@case("mempool.add/fees=1000", "ns/transaction", PLAIN_MEMPOOL, fee_max=1000)
def add(fee_max: int) -> Prepared:
    """Add batches of 8192 to a pool of 262,144 by 65,536 senders; the baseline adds 32 to an empty one."""
    filled = Filled(fee_max)

    def reset() -> None:
        filled.take()
        filled.settle()
        filled.refresh()

    few = filled.batches[0]
    return Prepared(filled.add, BATCH, lambda: baseline(*few, takes=False), 32, reset)


@case("mempool.take/fees=1", "ns/transaction", PLAIN_MEMPOOL, fee_max=1)
@case("mempool.take/fees=1000", "ns/transaction", PLAIN_MEMPOOL, fee_max=1000)
def take(fee_max: int) -> Prepared:
    """Take batches of 8192 from the same pool; the baseline adds and takes 32."""
    filled = Filled(fee_max)

    def reset() -> None:
        filled.settle()
        filled.refresh()
        filled.add()

    filled.take()
    few = filled.batches[0]
    return Prepared(filled.take, BATCH, lambda: baseline(*few, takes=True), 32, reset)


@case("mempool.settle/fees=1000", "ns/transaction", PLAIN_MEMPOOL, fee_max=1000)
def settle(fee_max: int) -> Prepared:
    """Settle the batches of 8192 that were taken from the same pool; the baseline adds and takes 32."""
    filled = Filled(fee_max)

    def reset() -> None:
        filled.refresh()
        filled.add()
        filled.take()

    few = filled.batches[0]
    return Prepared(filled.settle, BATCH, lambda: baseline(*few, takes=True), 32, reset)


@case("mempool.outbid/fees=1000", "ns/transaction", PLAIN_MEMPOOL, fee_max=1000)
def outbid(fee_max: int) -> Prepared:
    """Add batches of 8192 newcomers to a full pool, each of which pushes another out."""
    filled = Filled(fee_max, replace(LIMITS, transactions_max=HELD))
    few = filled.batches[0]
    return Prepared(filled.add, BATCH, lambda: baseline(*few, takes=False), 32, filled.raise_fees)
