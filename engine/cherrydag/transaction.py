"""Transactions as arrays of fixed-size records: build, view, identify, check.

A batch is a one-dimensional numpy array of dtype RECORD, one 176-byte item per transaction; a single
transaction is a batch of one. Every function takes the whole batch and no loop runs over its rows.
"""

from collections.abc import Collection, Iterable, Sequence
from enum import IntEnum
from operator import index
from typing import Final, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt

from cherrydag import crypto
from cherrydag._native import wire
from cherrydag.address import ByteRows, byte_rows
from cherrydag.errors import ShapeError
from cherrydag.params import (
    ADDRESS_BYTES,
    AMOUNT_MAX,
    BODY_BYTES_MAX,
    FEE_MIN,
    NONCE_MAX,
    PUBLIC_KEY_BYTES,
    RECORD_BYTES,
    RECORD_HEAD_BYTES,
    VALID_FOREVER,
)

Records: TypeAlias = npt.NDArray[np.void]
Octets: TypeAlias = npt.NDArray[np.uint8]
Words: TypeAlias = npt.NDArray[np.uint64]
Bytes: TypeAlias = bytes | bytearray | memoryview
Integers: TypeAlias = int | npt.NDArray[np.integer] | Sequence[SupportsIndex]

_LAYOUT: tuple[tuple[str, int, str | tuple[str, tuple[int]]], ...] = (
    ("kind", 0, "u1"),
    ("scheme", 1, "u1"),
    ("flags", 2, "<u2"),
    ("asset", 4, "<u4"),
    ("nonce", 8, "<u8"),
    ("amount_lo", 16, "<u8"),
    ("amount_hi", 24, "<u8"),
    ("fee", 32, "<u8"),
    ("valid_until", 40, "<u4"),
    ("body_size", 44, "<u4"),
    ("recipient", 48, ("u1", (20,))),
    ("reserved", 68, ("u1", (12,))),
    ("sender", 80, ("u1", (32,))),
    ("signature", 112, ("u1", (64,))),
)

RECORD = np.dtype(
    {
        "names": [name for name, _, _ in _LAYOUT],
        "offsets": [offset for _, offset, _ in _LAYOUT],
        "formats": [layout for _, _, layout in _LAYOUT],
        "itemsize": RECORD_BYTES,
    }
)
"""A record, little-endian. The amount is two words; byte fields are u1 arrays, since numpy's byte strings
drop trailing zeros."""

CHAIN_CONTEXT = "cherrydag 2026-11-22 transaction id v1"
"""Derives the key of a chain's transaction ids."""

_BLOCK = 4096  # Records filled at a time: they stay in cache while column after column is written.


class Kind(IntEnum):
    """What a transaction does; the operations of modules have kinds of their own, from OPERATION_KIND_MIN on.

    Zero is no kind, so cleared memory is never a transaction.
    """

    TRANSFER = 1


OPERATION_KIND_MIN: Final = wire.OPERATION_KIND_MIN
"""Smallest kind of a module's operation, 16; those below are the ledger's own."""

OPERATION_KIND_MAX: Final = wire.OPERATION_KIND_MAX
"""Largest kind, 255: a record's kind is one byte."""

_KIND_BYTES: Final = (OPERATION_KIND_MAX + 1) // 8  # a bit for each kind


class Scheme(IntEnum):
    """How a transaction is signed. Zero is no scheme."""

    ED25519 = 1


class RecordFault(IntEnum):
    """Why a record alone is refused, in the order of the checks; the values are stable.

    Whether a nonce is in its window, a balance suffices, an asset exists or a signature holds needs
    more than the record and is checked elsewhere. Sending to oneself is allowed. BODY_ON_TRANSFER and the
    rules of the amount are for transfers: what an operation's fields mean is for its module to say.
    """

    text: str

    def __new__(cls, code: int, text: str) -> "RecordFault":
        """Make the member of this code and explanation."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.text = text
        return member

    NONE = 0, "no fault"
    UNKNOWN_KIND = 1, "the kind is not one of this ledger's"
    UNKNOWN_SCHEME = 2, "the signature scheme is not one of this ledger's"
    FLAGS_SET = 3, "flags are set, and none is defined"
    RESERVED_SET = 4, "reserved bytes are not zero"
    BODY_TOO_LARGE = 5, "the body is larger than a transaction's may be"
    BODY_ON_TRANSFER = 6, "a transfer has no body"
    AMOUNT_ZERO = 7, "the amount is zero"
    AMOUNT_OVERFLOW = 8, "amount and fee together exceed 128 bits"
    FEE_TOO_LOW = 9, "the fee is below the minimum"
    NONCE_TOO_HIGH = 10, "the nonce is above the largest that a replay window can hold"
    EXPIRED = 11, "valid_until is before the main chain's time"


def as_records(source: crypto.BytesLike) -> Records:
    """View whole records in a buffer, without a copy; read-only where the buffer is.

    Raises ShapeError if it is not contiguous or not a whole number of records.
    """
    try:
        octets = np.frombuffer(source, dtype=np.uint8)
    except (ValueError, BufferError) as error:
        raise ShapeError(f"records: {error}") from error
    if octets.size % RECORD_BYTES:
        raise ShapeError(
            f"records: {octets.size} bytes are not a whole number of {RECORD_BYTES}-byte records"
        )
    return octets.view(RECORD)


def build_transfers(
    *,
    senders: ByteRows,
    recipients: ByteRows,
    amounts: Integers | tuple[Words, Words],
    nonces: Integers,
    fee: Integers = FEE_MIN,
    valid_until: Integers = VALID_FOREVER,
    asset: Integers = 0,
) -> Records:
    """Build unsigned transfers, one per row of the longest argument.

    senders: n x 32 bytes, public keys; recipients: n x 20 bytes, addresses; each as bytes or as a uint8
    array. The others are one integer for all rows, an integer array or a sequence of n; amounts may also be
    a pair (low words, high words) of uint64 arrays. An argument of one row stands for all n.
    valid_until: the last second of main-chain time at which the transfer is valid.
    Raises ShapeError naming the field, and the row where there is one, for a wrong shape or a value beyond
    the field's limit. Whether the values make a valid transfer is for check_records to say.
    """
    amount_lo, amount_hi = _amounts(amounts)
    columns: dict[str, Words | Octets] = {
        "asset": _column("asset", asset, 2**32 - 1),
        "nonce": _column("nonces", nonces, 2**64 - 1),
        "amount_lo": amount_lo,
        "amount_hi": amount_hi,
        "fee": _column("fee", fee, 2**64 - 1),
        "valid_until": _column("valid_until", valid_until, 2**32 - 1),
        "recipient": byte_rows("recipients", recipients, ADDRESS_BYTES),
        "sender": byte_rows("senders", senders, PUBLIC_KEY_BYTES),
    }
    n = _row_count(columns)
    template = np.zeros(1, dtype=RECORD)
    template["kind"] = Kind.TRANSFER
    template["scheme"] = Scheme.ED25519
    varying = {name: values for name, values in columns.items() if len(values) != 1}
    for name in columns.keys() - varying.keys():
        template[name] = columns[name]

    records = np.empty(n, dtype=RECORD)
    for start in range(0, n, _BLOCK):
        block = records[start : start + _BLOCK]
        block[:] = template
        for name, values in varying.items():
            block[name] = values[start : start + _BLOCK]
    return records


def amounts(records: Records) -> list[int]:
    """Amount of each record in smallest units. Makes a Python int per row: meant for a few rows."""
    pairs = zip(records["amount_lo"].tolist(), records["amount_hi"].tolist(), strict=True)
    return [lo | hi << 64 for lo, hi in pairs]


def chain_key(genesis_digest: bytes) -> bytes:
    """Key of a chain's transaction ids, 32 bytes, from its 32-byte genesis digest.

    Ids and so signatures of one chain mean nothing on another. Raises ShapeError for another length.
    """
    if len(genesis_digest) != crypto.DIGEST_BYTES:
        raise ShapeError(f"genesis_digest: expected {crypto.DIGEST_BYTES} bytes, got {len(genesis_digest)}")
    return crypto.derive_key(CHAIN_CONTEXT, genesis_digest)


def transaction_ids(
    records: Records, key: bytes, bodies: Bytes = b"", body_offsets: Words | None = None
) -> bytes:
    """Id of each transaction: keyed BLAKE3 over its record's head, [0, 112), and its body.

    key: the chain's, from chain_key. bodies: all bodies end to end; body_offsets: n + 1 uint64 values, body
    i is bodies[body_offsets[i] : body_offsets[i + 1]] and as long as record i's body_size says. Both are left
    out when no record has a body. Returns n x 32 bytes.
    Raises ShapeError naming the row where body_size and offsets disagree.
    """
    if body_offsets is not None:
        return _ids_with_bodies(records, key, bodies, body_offsets)
    with_body = np.flatnonzero(records["body_size"])
    if with_body.size:
        raise ShapeError(f"body_offsets: missing, but row {with_body[0]} has a body")
    if len(bodies):
        raise ShapeError(f"bodies: {len(bodies)} bytes without body_offsets")
    return crypto.hash_records(records, 0, RECORD_HEAD_BYTES, key)


def verify_records(records: Records, ids: bytes) -> bytes:
    """Check each record's signature of its id, from transaction_ids, under its sender's key (ZIP-215).

    Returns n bytes, 1 valid or 0 invalid. Raises ShapeError unless there are n x 32 bytes of ids.
    """
    senders, signatures = (np.ascontiguousarray(records[name]) for name in ("sender", "signature"))
    return crypto.verify_signatures(senders, ids, signatures)


def operation_kinds(kinds: Iterable[int]) -> tuple[int, ...]:
    """Kinds of modules' operations, each once, ascending.

    Raises ShapeError for one outside OPERATION_KIND_MIN to OPERATION_KIND_MAX.
    """
    listed = tuple(sorted({index(kind) for kind in kinds}))
    if listed and (listed[0] < OPERATION_KIND_MIN or listed[-1] > OPERATION_KIND_MAX):
        expected = f"expected {OPERATION_KIND_MIN} to {OPERATION_KIND_MAX}"
        raise ShapeError(f"kinds: {expected}, got {listed[0]} to {listed[-1]}")
    return listed


def check_records(
    records: Records,
    *,
    now_s: int,
    fee_min: int = FEE_MIN,
    body_bytes_max: int = BODY_BYTES_MAX,
    kinds: Collection[int] = (),
) -> Octets:
    """Check each record alone; return n RecordFault codes, 0 where there is none.

    now_s: main-chain time in unix seconds; a record is valid through the second valid_until. fee_min may be
    raised by a node for what it admits; for committed records it is the chain's. kinds: of the operations
    that the chain's modules have; transfers are always allowed.
    Raises ShapeError unless records are contiguous and kinds are operations', OverflowError for a limit that
    its field cannot hold.
    """
    faults = np.empty(len(records), dtype=np.uint8)
    allowed = sum([1 << kind for kind in operation_kinds(kinds)]).to_bytes(_KIND_BYTES, "little")
    wire.check_records(records, faults, now_s, fee_min, body_bytes_max, NONCE_MAX, allowed)
    return faults


def _ids_with_bodies(records: Records, key: bytes, bodies: Bytes, body_offsets: Words) -> bytes:
    if body_offsets.dtype != np.uint64 or body_offsets.ndim != 1:
        got = f"{body_offsets.ndim}-d {body_offsets.dtype}"
        raise ShapeError(f"body_offsets: expected a row of uint64, got {got}")
    offsets = np.require(body_offsets, requirements=["C", "A"])
    messages = bytearray(len(records) * RECORD_HEAD_BYTES + memoryview(bodies).nbytes)
    starts = np.empty(len(records) + 1, dtype=np.uint64)
    wire.gather(records, bodies, offsets, messages, starts)
    return crypto.hash_many(messages, starts, key)


def _row_count(columns: dict[str, Words | Octets]) -> int:
    counts = {name: len(values) for name, values in columns.items() if len(values) != 1}
    n = next(iter(counts.values()), 1)
    for name, count in counts.items():
        if count != n:
            raise ShapeError(f"{name}: {count} rows, but {next(iter(counts))} has {n}")
    return n


def _amounts(values: Integers | tuple[Words, Words]) -> tuple[Words, Words]:
    if isinstance(values, tuple) and len(values) == 2:
        low, high = values
        if isinstance(low, np.ndarray) and isinstance(high, np.ndarray):
            low, high = _column("amounts (low)", low, 2**64 - 1), _column("amounts (high)", high, 2**64 - 1)
            if len(low) != len(high):
                raise ShapeError(f"amounts: {len(low)} low words, but {len(high)} high words")
            return low, high
    return _words("amounts", values, AMOUNT_MAX)


def _column(field: str, values: Integers, limit: int) -> Words:
    return _words(field, values, limit)[0]


def _words(field: str, values: Integers, limit: int) -> tuple[Words, Words]:
    """Low and high 64-bit words of the values, each a row of n, or ShapeError where one is out of range."""
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "ui" or values.ndim != 1:
            raise ShapeError(f"{field}: expected a row of integers, got {values.ndim}-d {values.dtype}")
        if values.size and (values.min() < 0 or int(values.max()) > limit):
            _refuse_beyond(field, values.tolist(), limit)
        return values.astype(np.uint64, copy=False), np.zeros(1, np.uint64)
    listed = [index(values)] if isinstance(values, int | np.integer) else [index(value) for value in values]
    if any(not 0 <= value <= limit for value in listed):
        _refuse_beyond(field, listed, limit)
    pairs = np.frombuffer(b"".join([value.to_bytes(16, "little") for value in listed]), dtype="<u8")
    return pairs[0::2], pairs[1::2]


def _refuse_beyond(field: str, values: Iterable[int], limit: int) -> None:
    for row, value in enumerate(values):
        if not 0 <= value <= limit:
            raise ShapeError(f"{field}: row {row} is {value}, beyond 0 .. {limit}")
