"""Records and accounts of the tests of execution's accounts."""

import itertools

import numpy as np
from reference import ledger_reference as reference

from cherrydag.address import address_of
from cherrydag.execution.accounts import Accounts, Line, Status
from cherrydag.params import VALID_FOREVER
from cherrydag.transaction import RECORD, Records

BUCKET_KEY = bytes(range(32))
SEED = bytes(range(16))
U128_MAX = 2**128 - 1
NOW_S = 1_800_000_000
DEPTH = 3
KEYS = [bytes([i]) * 32 for i in range(1, 5)]
SENDERS = [address_of(key) for key in KEYS]
STRANGERS = [bytes(20), b"\xff" * 20, bytes(19) + b"\x01"]
ADDRESSES = SENDERS + STRANGERS
A, B = SENDERS[:2]


def record(
    *,
    sender: bytes = KEYS[0],
    recipient: bytes = B,
    amount: int = 1,
    nonce: int = 0,
    fee: int = 1,
    valid_until: int = VALID_FOREVER,
    asset: int = 0,
    kind: int = 1,
    scheme: int = 1,
    flags: int = 0,
    body_size: int = 0,
) -> bytes:
    low, high = amount & 2**64 - 1, amount >> 64
    head = (kind, scheme, flags, asset, nonce, low, high, fee, valid_until, body_size)
    return reference.RECORD.pack(*head, recipient, bytes(12), sender, bytes(64))


def rows(*records: bytes) -> Records:
    return np.frombuffer(b"".join(records), RECORD)


def make(*, seed: bytes = SEED, depth: int = DEPTH, **limits: int) -> Accounts:
    return Accounts(BUCKET_KEY, seed, depth=depth, **limits)


def funded(**balances: int) -> Accounts:
    """Accounts whose first sender has these balances: native=…, or a1=… for asset 1."""
    accounts = make()
    for name, balance in balances.items():
        accounts.put(A, Line(balance), 0 if name == "native" else int(name[1:]))
    return accounts


def apply(accounts: Accounts, *records: bytes, now_s: int = NOW_S) -> list[Status]:
    statuses = np.zeros(len(records), np.uint8)
    handled = accounts.apply(rows(*records), statuses, now_s)
    assert not statuses[handled:].any()
    return [Status(status) for status in statuses[:handled]]


def all_entries(accounts: Accounts, depth: int = DEPTH) -> list[bytes]:
    data, offsets = accounts.bucket_entries(np.arange(1 << depth, dtype=np.uint32))
    return [data[a:b] for a, b in itertools.pairwise(offsets.tolist())]
