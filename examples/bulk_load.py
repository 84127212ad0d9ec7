#!/usr/bin/env python3
"""Load many payments into an embedded ledger from a table of numpy, by the batch.

    python3 examples/bulk_load.py FOLDER PAYMENTS.npy [--senders 64]

PAYMENTS.npy has a row for each payment: recipient, 20 bytes, and amount, in smallest units. One account may
have 64 transactions under way, so the load is spread over several senders, which the treasury funds first.
No Python object is made for a payment: batches are built, signed, executed and written by native code.
"""

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cherrydag.address import address_of
from cherrydag.errors import ShapeError
from cherrydag.execution.accounts import Status
from cherrydag.ledger import Ledger
from cherrydag.params import FEE_MIN, NONCE_WINDOW
from cherrydag.signing import KeyPair, generate_keypair, sign_records
from cherrydag.transaction import Records, build_transfers

PAYMENT = np.dtype([("recipient", "u1", (20,)), ("amount", "<u8")])

Payments = npt.NDArray[np.void]


class Loaded(NamedTuple):
    """What was done. refused: payments that had no effect."""

    payments: int
    refused: int
    seconds: float


def load(ledger: Ledger, payments: Payments, senders: int = 64) -> Loaded:
    """Pay all of them from the treasury's coins, through so many senders. ShapeError for another dtype."""
    if payments.dtype != PAYMENT or payments.ndim != 1:
        raise ShapeError(f"payments: expected a row of {PAYMENT}, got {payments.ndim}-d {payments.dtype}")
    keys = [generate_keypair() for _ in range(senders)]
    rows = np.arange(len(payments))
    lanes = rows % senders  # row i is paid by sender i % senders, with its nonce i // senders
    fees = (len(rows) // senders + 1) * FEE_MIN
    sums = [sum(payments["amount"][lanes == lane].tolist()) + fees for lane in range(senders)]
    fund(ledger, keys, sums)
    refused, started = 0, time.perf_counter()
    step = senders * NONCE_WINDOW
    for start in range(0, len(payments), step):
        part = slice(start, start + step)
        batch = build_transfers(
            senders=keys[0].public_key,  # signing puts in each one's own
            recipients=np.ascontiguousarray(payments["recipient"][part]),
            amounts=payments["amount"][part],
            nonces=(rows[part] // senders).astype(np.uint64),
        )
        refused += pay(ledger, batch, keys, lanes[part])
    return Loaded(len(payments), refused, time.perf_counter() - started)


def fund(ledger: Ledger, keys: list[KeyPair], amounts: list[int]) -> None:
    """Give each sender so much."""
    for start in range(0, len(keys), NONCE_WINDOW):
        part = keys[start : start + NONCE_WINDOW]
        first = ledger.account(ledger.treasury).next_nonce
        batch = build_transfers(
            senders=ledger.treasury.public_key,
            recipients=b"".join(address_of(key.public_key) for key in part),
            amounts=amounts[start : start + NONCE_WINDOW],
            nonces=np.arange(first, first + len(part), dtype=np.uint64),
        )
        pay(ledger, batch, [ledger.treasury], np.zeros(len(part), np.int64))


def pay(ledger: Ledger, batch: Records, keys: list[KeyPair], owners: npt.NDArray[np.int64]) -> int:
    """Sign a batch, hand it in, and wait until it is final; how many had no effect."""
    sign_records(batch, ledger.transaction_key, keys, owners)
    done = ledger.submit(batch).wait()
    return int((done.statuses != Status.APPLIED).sum())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("payments", type=Path)
    parser.add_argument("--senders", type=int, default=64)
    options = parser.parse_args()
    with Ledger.open(options.folder) as ledger:
        loaded = load(ledger, np.load(options.payments), options.senders)
    print(f"{loaded.payments} payments, {loaded.refused} refused, {loaded.payments / loaded.seconds:,.0f}/s")
