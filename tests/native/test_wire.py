"""The native record checks and the gathering of bodies, against references written in plain Python."""

import random
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cherrydag._native import wire
from cherrydag.errors import ShapeError
from cherrydag.transaction import RECORD, Kind, RecordFault, Records, Scheme

NOW_S, FEE_MIN, BODY_MAX, NONCE_MAX = 1_800_000_000, 10, 1000, 2**64 - 66
HEAD = struct.Struct("<BBHIQQQQII20s12s32s64s")
SOUND = {
    "kind": 1, "scheme": 1, "flags": 0, "asset": 7, "nonce": 5, "amount_lo": 100, "amount_hi": 0,
    "fee": FEE_MIN, "valid_until": NOW_S, "body_size": 0, "recipient": b"\x11" * 20, "reserved": bytes(12),
    "sender": b"\x22" * 32, "signature": b"\x33" * 64,
}  # fmt: skip


def pack(**changes: int | bytes) -> bytes:
    return HEAD.pack(*(SOUND | changes).values())


def codes(data: bytes | Records) -> list[int]:
    faults = np.empty(memoryview(data).nbytes // 176, dtype=np.uint8)
    refused = wire.check_records(data, faults, NOW_S, FEE_MIN, BODY_MAX, NONCE_MAX)
    assert refused == np.count_nonzero(faults)
    return faults.tolist()


def reference_code(data: bytes) -> RecordFault:
    kind, scheme, flags, _, nonce, lo, hi, fee, valid_until, body, _, reserved, _, _ = HEAD.unpack(data)
    amount = lo + (hi << 64)
    checks = [
        (kind != Kind.TRANSFER, RecordFault.UNKNOWN_KIND),
        (scheme != Scheme.ED25519, RecordFault.UNKNOWN_SCHEME),
        (flags != 0, RecordFault.FLAGS_SET),
        (any(reserved), RecordFault.RESERVED_SET),
        (body > BODY_MAX, RecordFault.BODY_TOO_LARGE),
        (body > 0, RecordFault.BODY_ON_TRANSFER),
        (amount == 0, RecordFault.AMOUNT_ZERO),
        (amount + fee >= 2**128, RecordFault.AMOUNT_OVERFLOW),
        (fee < FEE_MIN, RecordFault.FEE_TOO_LOW),
        (nonce > NONCE_MAX, RecordFault.NONCE_TOO_HIGH),
        (valid_until < NOW_S, RecordFault.EXPIRED),
    ]
    return next((fault for failed, fault in checks if failed), RecordFault.NONE)


def test_native_offsets_are_the_dtype_s() -> None:
    fields = RECORD.fields
    assert fields is not None
    assert {name: fields[name][1] for name in RECORD.names or ()} == wire.LAYOUT
    assert (RECORD.itemsize, wire.LAYOUT["signature"]) == (wire.RECORD_BYTES, wire.HEAD_BYTES)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, RecordFault.NONE),
        ({"kind": 0}, RecordFault.UNKNOWN_KIND),
        ({"kind": 2}, RecordFault.UNKNOWN_KIND),
        ({"kind": 255}, RecordFault.UNKNOWN_KIND),
        ({"scheme": 0}, RecordFault.UNKNOWN_SCHEME),
        ({"scheme": 2}, RecordFault.UNKNOWN_SCHEME),
        ({"flags": 1}, RecordFault.FLAGS_SET),
        ({"flags": 0x8000}, RecordFault.FLAGS_SET),
        ({"reserved": b"\x01" + bytes(11)}, RecordFault.RESERVED_SET),
        ({"reserved": bytes(7) + b"\x80" + bytes(4)}, RecordFault.RESERVED_SET),
        ({"reserved": bytes(11) + b"\x80"}, RecordFault.RESERVED_SET),
        ({"body_size": BODY_MAX + 1}, RecordFault.BODY_TOO_LARGE),
        ({"body_size": 2**32 - 1}, RecordFault.BODY_TOO_LARGE),
        ({"body_size": BODY_MAX}, RecordFault.BODY_ON_TRANSFER),
        ({"body_size": BODY_MAX - 1}, RecordFault.BODY_ON_TRANSFER),
        ({"body_size": 1}, RecordFault.BODY_ON_TRANSFER),
        ({"amount_lo": 0}, RecordFault.AMOUNT_ZERO),
        ({"amount_lo": 1}, RecordFault.NONE),
        ({"amount_lo": 0, "amount_hi": 1}, RecordFault.NONE),
        ({"amount_lo": 2**64 - 1 - 11, "amount_hi": 2**64 - 1, "fee": 10}, RecordFault.NONE),
        ({"amount_lo": 2**64 - 1 - 10, "amount_hi": 2**64 - 1, "fee": 10}, RecordFault.NONE),
        ({"amount_lo": 2**64 - 1 - 9, "amount_hi": 2**64 - 1, "fee": 10}, RecordFault.AMOUNT_OVERFLOW),
        ({"amount_lo": 2**64 - 1, "amount_hi": 2**64 - 2, "fee": 2**64 - 1}, RecordFault.NONE),
        ({"fee": FEE_MIN - 1}, RecordFault.FEE_TOO_LOW),
        ({"fee": FEE_MIN + 1}, RecordFault.NONE),
        ({"fee": 2**64 - 1}, RecordFault.NONE),
        ({"nonce": 0}, RecordFault.NONE),
        ({"nonce": NONCE_MAX - 1}, RecordFault.NONE),
        ({"nonce": NONCE_MAX}, RecordFault.NONE),
        ({"nonce": NONCE_MAX + 1}, RecordFault.NONCE_TOO_HIGH),
        ({"valid_until": NOW_S - 1}, RecordFault.EXPIRED),
        ({"valid_until": NOW_S + 1}, RecordFault.NONE),
        ({"valid_until": 2**32 - 1}, RecordFault.NONE),
    ],
)
def test_each_limit_holds_exactly(changes: dict[str, int | bytes], fault: RecordFault) -> None:
    record = pack(**changes)
    assert codes(record) == [fault]
    assert reference_code(record) is fault


def test_first_failing_check_is_the_one_reported() -> None:
    broken: dict[str, int | bytes] = {
        "kind": 9, "scheme": 9, "flags": 9, "reserved": b"\x09" * 12, "body_size": BODY_MAX + 1,
        "amount_lo": 0, "fee": 0, "nonce": 2**64 - 1, "valid_until": 0,
    }  # fmt: skip
    seen = []
    for name in (
        "kind",
        "scheme",
        "flags",
        "reserved",
        "body_size",
        "amount_lo",
        "fee",
        "nonce",
        "valid_until",
    ):
        seen += codes(pack(**broken))
        if name == "body_size":
            seen += codes(pack(**broken | {"body_size": 1}))
        if name == "amount_lo":
            seen += codes(pack(**broken | {"amount_lo": 2**64 - 1, "amount_hi": 2**64 - 1, "fee": 1}))
        del broken[name]
    assert seen == list(range(1, 12))
    assert codes(pack(**broken)) == [0]


def test_reference_agrees_on_every_mutated_byte() -> None:
    record = pack()
    mutants = [
        record[:at] + bytes([record[at] ^ flip]) + record[at + 1 :]
        for at in range(176)
        for flip in (1, 16, 128, 255)
    ]
    assert codes(b"".join(mutants)) == [reference_code(mutant) for mutant in mutants]
    assert set(codes(b"".join(mutants))) == {0, 1, 2, 3, 4, 5, 6, 11}


def test_reference_agrees_on_random_records() -> None:
    rng = random.Random(7)
    edge = {
        "kind": [1, 1, 1, 1, 0], "scheme": [1, 1, 1, 1, 2], "flags": [0, 0, 0, 0, 1],
        "nonce": [0, NONCE_MAX, NONCE_MAX + 1], "amount_lo": [0, 1, 2**64 - 11, 2**64 - 10, 2**64 - 1],
        "amount_hi": [0, 1, 2**64 - 1], "fee": [0, 9, 10, 11, 2**64 - 1],
        "valid_until": [NOW_S - 1, NOW_S, NOW_S + 1], "body_size": [0, 0, 0, 1, BODY_MAX, BODY_MAX + 1],
    }  # fmt: skip
    records = [pack(**{name: rng.choice(values) for name, values in edge.items()}) for _ in range(20_000)]
    records += [rng.randbytes(176) for _ in range(1000)]
    found = codes(b"".join(records))
    assert found == [reference_code(record) for record in records]
    assert set(found) == set(range(12)) - {RecordFault.RESERVED_SET}


def test_no_records_have_no_faults() -> None:
    assert codes(b"") == []


def test_torn_records_and_wrong_outputs_are_refused() -> None:
    with pytest.raises(ShapeError, match="records: 175 bytes"):
        wire.check_records(bytes(175), bytearray(1), 0, 0, 0, 0)
    with pytest.raises(ShapeError, match="faults: 2 bytes for 1 records"):
        wire.check_records(bytes(176), bytearray(2), 0, 0, 0, 0)
    with pytest.raises(ShapeError, match="faults"):
        wire.check_records(bytes(176), bytes(1), 0, 0, 0, 0)
    with pytest.raises(ShapeError, match="records"):
        wire.check_records(np.zeros(4, dtype=RECORD)[::2], bytearray(2), 0, 0, 0, 0)
    with pytest.raises(OverflowError):
        wire.check_records(bytes(176), bytearray(1), 2**32, 0, 0, 0)


def gather(records: bytes, bodies: bytes, offsets: list[int]) -> tuple[bytes, list[int]]:
    n = len(records) // 176
    out = bytearray(n * 112 + len(bodies))
    starts = np.zeros(n + 1, dtype=np.uint64)
    wire.gather(records, bodies, np.array(offsets, dtype=np.uint64), out, starts)
    return bytes(out), starts.tolist()


@given(st.lists(st.binary(max_size=200), max_size=12))
def test_gathered_messages_are_head_then_body(bodies: list[bytes]) -> None:
    records = [pack(body_size=len(body), nonce=row) for row, body in enumerate(bodies)]
    offsets = [sum(map(len, bodies[:row])) for row in range(len(bodies) + 1)]
    messages, starts = gather(b"".join(records), b"".join(bodies), offsets)
    expected = [record[:112] + body for record, body in zip(records, bodies, strict=True)]
    assert messages == b"".join(expected)
    assert starts == [sum(map(len, expected[:row])) for row in range(len(bodies) + 1)]


@pytest.mark.parametrize(
    ("offsets", "match"),
    [
        ([1, 3, 5], "row 0"),
        ([0, 2, 5], "row 0"),
        ([0, 4, 5], "row 0"),
        ([0, 3, 4], "row 1"),
        ([0, 3, 2], "row 1"),
        ([0, 3, 2**64 - 1], "row 1"),
        ([0, 3], "expected 3 values"),
        ([0, 3, 5, 5], "expected 3 values"),
    ],
)
def test_offsets_that_are_not_the_body_sizes_are_refused(offsets: list[int], match: str) -> None:
    records = pack(body_size=3) + pack(body_size=2)
    assert gather(records, b"abcde", [0, 3, 5])[1] == [0, 115, 229]
    with pytest.raises(ShapeError, match=match):
        gather(records, b"abcde", offsets)


def test_bodies_longer_or_shorter_than_their_offsets_are_refused() -> None:
    record = pack(body_size=3)
    with pytest.raises(ShapeError, match="end at 3, but there are 4"):
        gather(record, b"abcd", [0, 3])
    with pytest.raises(ShapeError, match="row 0"):
        gather(record, b"ab", [0, 3])
    with pytest.raises(ShapeError, match="row 0"):
        gather(pack(body_size=2**32 - 1), b"ab", [0, 2**32 - 1])


def test_output_of_another_size_is_refused() -> None:
    with pytest.raises(ShapeError, match="out: 111 bytes"):
        wire.gather(pack(), b"", np.zeros(2, np.uint64), bytearray(111), np.zeros(2, np.uint64))
