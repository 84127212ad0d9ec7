"""The rules of a transaction record alone, as they read: one record at a time, in plain Python."""

from collections.abc import Collection
from dataclasses import dataclass

from reference.ledger_reference import RECORD


@dataclass(frozen=True)
class Limits:
    """What records are checked against; kinds: of the operations that are allowed."""

    now_s: int
    fee_min: int
    body_bytes_max: int
    nonce_max: int
    kinds: Collection[int] = ()


def record_fault(record: bytes, limits: Limits) -> str:
    """The name of the first rule that the record breaks, or NONE."""
    fields = RECORD.unpack(record)
    kind, scheme, flags, _, nonce, low, high, fee, valid_until, body_size, _, reserved, _, _ = fields
    amount = low + 2**64 * high
    of_transfers = [
        ("BODY_ON_TRANSFER", body_size == 0),
        ("AMOUNT_ZERO", amount > 0),
        ("AMOUNT_OVERFLOW", amount + fee < 2**128),
    ]
    rules = [
        ("UNKNOWN_KIND", kind == 1 or kind in limits.kinds),
        ("UNKNOWN_SCHEME", scheme == 1),
        ("FLAGS_SET", flags == 0),
        ("RESERVED_SET", reserved == bytes(12)),
        ("BODY_TOO_LARGE", body_size <= limits.body_bytes_max),
        *(of_transfers if kind == 1 else []),
        ("FEE_TOO_LOW", fee >= limits.fee_min),
        ("NONCE_TOO_HIGH", nonce <= limits.nonce_max),
        ("EXPIRED", limits.now_s <= valid_until),
    ]
    return next((name for name, holds in rules if not holds), "NONE")
