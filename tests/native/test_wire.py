"""The native record checks and the gathering of bodies, against references written in plain Python."""

import random
from collections.abc import Collection

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.ledger_reference import RECORD as FIELDS
from reference.record_reference import Limits, record_fault

from cherrydag._native import wire
from cherrydag.errors import ShapeError
from cherrydag.transaction import RECORD, RecordFault, Records

NOW_S, FEE_MIN, BODY_MAX, NONCE_MAX = 1_800_000_000, 10, 1000, 2**64 - 66
SOUND = {
    "kind": 1, "scheme": 1, "flags": 0, "asset": 7, "nonce": 5, "amount_lo": 100, "amount_hi": 0,
    "fee": FEE_MIN, "valid_until": NOW_S, "body_size": 0, "recipient": b"\x11" * 20, "reserved": bytes(12),
    "sender": b"\x22" * 32, "signature": b"\x33" * 64,
}  # fmt: skip
ALL = range(16, 256)
OF_TRANSFERS = (RecordFault.BODY_ON_TRANSFER, RecordFault.AMOUNT_ZERO, RecordFault.AMOUNT_OVERFLOW)


def pack(**changes: int | bytes) -> bytes:
    return FIELDS.pack(*(SOUND | changes).values())


def bits(kinds: Collection[int]) -> bytes:
    return bytes(sum(1 << kind % 8 for kind in kinds if kind // 8 == at) for at in range(32))


def codes(data: bytes | Records, kinds: Collection[int] = ()) -> list[int]:
    faults = np.empty(memoryview(data).nbytes // 176, dtype=np.uint8)
    refused = wire.check_records(data, faults, NOW_S, FEE_MIN, BODY_MAX, NONCE_MAX, bits(kinds))
    assert refused == np.count_nonzero(faults)
    return faults.tolist()


def reference_code(record: bytes, kinds: Collection[int] = ()) -> RecordFault:
    return RecordFault[record_fault(record, Limits(NOW_S, FEE_MIN, BODY_MAX, NONCE_MAX, kinds))]


def test_native_offsets_are_the_dtype_s() -> None:
    fields = RECORD.fields
    assert fields is not None
    assert {name: fields[name][1] for name in RECORD.names or ()} == wire.LAYOUT
    assert (RECORD.itemsize, wire.LAYOUT["signature"]) == (wire.RECORD_BYTES, wire.HEAD_BYTES)


LIMITS: list[tuple[dict[str, int | bytes], RecordFault]] = [
    ({}, RecordFault.NONE),
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
    ({"asset": 2**32 - 1, "recipient": bytes(20), "sender": bytes(32)}, RecordFault.NONE),
]
"""What makes a transfer invalid, and what at the same limit does not."""


@pytest.mark.parametrize(("changes", "fault"), LIMITS)
def test_each_limit_holds_exactly(changes: dict[str, int | bytes], fault: RecordFault) -> None:
    record = pack(**changes)
    assert codes(record) == [fault]
    assert reference_code(record) is fault


def test_every_rule_holds_for_every_kind_with_and_without_its_bit() -> None:
    """Transfers need no bit; an allowed operation keeps all rules but those of transfers."""
    for kind in range(256):
        records = [pack(kind=kind, **changes) for changes, _ in LIMITS]
        data = b"".join(records)
        others = [other for other in ALL if other != kind]
        for kinds in ((kind,), ALL) if kind in ALL else ((), ALL):
            found = codes(data, kinds)
            assert found == [reference_code(record, kinds) for record in records]
            if kind == 1:
                assert found == [fault for _, fault in LIMITS]
            elif kind < 16:
                assert set(found) == {RecordFault.UNKNOWN_KIND}
            else:
                assert found == [0 if fault in OF_TRANSFERS else fault for _, fault in LIMITS]
        for kinds in ((), others):
            if kind != 1:
                assert set(codes(data, kinds)) == {RecordFault.UNKNOWN_KIND}


def test_a_bit_allows_its_kind_and_no_other() -> None:
    records = b"".join(pack(kind=kind) for kind in range(256))
    for kind in ALL:
        assert [k for k, code in enumerate(codes(records, [kind])) if code == 0] == [1, kind]
    assert [k for k, code in enumerate(codes(records)) if code == 0] == [1]


def test_no_kind_below_16_is_an_operation_s() -> None:
    assert codes(pack(kind=16), [16]) == codes(pack(kind=255), [255]) == [0]
    for kind in range(16):
        with pytest.raises(ShapeError, match="kinds: a bit below 16 is set"):
            codes(pack(), [kind])
    with pytest.raises(ShapeError, match="kinds"):
        codes(b"", [15, 16])


@pytest.mark.parametrize("size", [0, 31, 33])
def test_kinds_are_256_bits(size: int) -> None:
    with pytest.raises(ShapeError, match=f"kinds: expected 32 bytes of bits, got {size}"):
        wire.check_records(pack(), bytearray(1), 0, 0, 0, 0, bytes(size))


@pytest.mark.parametrize("kind", [1, 200])
def test_first_failing_check_is_the_one_reported(kind: int) -> None:
    broken: dict[str, int | bytes] = {
        "kind": 9, "scheme": 9, "flags": 9, "reserved": b"\x09" * 12, "body_size": BODY_MAX + 1,
        "amount_lo": 0, "fee": 0, "nonce": 2**64 - 1, "valid_until": 0,
    }  # fmt: skip
    seen = []
    for name in list(broken):
        seen += codes(pack(**broken), [200])
        if name == "body_size" and kind == 1:
            seen += codes(pack(**broken | {"body_size": 1}))
        if name == "amount_lo" and kind == 1:
            seen += codes(pack(**broken | {"amount_lo": 2**64 - 1, "amount_hi": 2**64 - 1, "fee": 1}))
        del broken[name]
        broken |= {"kind": kind} if name == "kind" else {}
    expected = [code for code in range(1, 12) if kind == 1 or code not in OF_TRANSFERS]
    assert list(dict.fromkeys(seen)) == expected
    assert codes(pack(**broken), [200]) == [0]


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
        "kind": [1, 1, 1, 1, 0, 16, 17, 255], "scheme": [1, 1, 1, 1, 2], "flags": [0, 0, 0, 0, 1],
        "nonce": [0, NONCE_MAX, NONCE_MAX + 1], "amount_lo": [0, 1, 2**64 - 11, 2**64 - 10, 2**64 - 1],
        "amount_hi": [0, 1, 2**64 - 1], "fee": [0, 9, 10, 11, 2**64 - 1],
        "valid_until": [NOW_S - 1, NOW_S, NOW_S + 1], "body_size": [0, 0, 0, 1, BODY_MAX, BODY_MAX + 1],
    }  # fmt: skip
    records = [pack(**{name: rng.choice(values) for name, values in edge.items()}) for _ in range(20_000)]
    records += [rng.randbytes(176) for _ in range(1000)]
    found = codes(b"".join(records), (17, 255))
    assert found == [reference_code(record, (17, 255)) for record in records]
    assert set(found) == set(range(12)) - {RecordFault.RESERVED_SET}


edges = {
    "kind": st.one_of(st.sampled_from([1, 15, 16, 63, 64, 255]), st.integers(0, 255)),
    "scheme": st.sampled_from([1] * 8 + [0, 255]),
    "flags": st.sampled_from([0] * 8 + [1, 256]),
    "reserved": st.sampled_from([bytes(12)] * 8 + [bytes(11) + b"\x01"]),
    "body_size": st.one_of(st.just(0), st.integers(0, BODY_MAX + 1), st.integers(0, 2**32 - 1)),
    "amount_lo": st.one_of(st.sampled_from([0, 2**64 - 1]), st.integers(0, 2**64 - 1)),
    "amount_hi": st.sampled_from([0, 1, 2**64 - 1]),
    "fee": st.one_of(st.integers(FEE_MIN - 1, FEE_MIN + 1), st.integers(0, 2**64 - 1)),
    "nonce": st.one_of(st.just(0), st.integers(NONCE_MAX - 1, 2**64 - 1)),
    "valid_until": st.one_of(st.integers(NOW_S - 1, NOW_S + 1), st.integers(0, 2**32 - 1)),
}


@given(
    st.lists(st.one_of(st.builds(pack, **edges), st.binary(min_size=176, max_size=176)), max_size=8),
    st.one_of(st.just(set(ALL)), st.sets(st.integers(16, 255), max_size=8)),
)
def test_reference_agrees_on_any_records_and_kinds(records: list[bytes], kinds: set[int]) -> None:
    assert codes(b"".join(records), kinds) == [reference_code(record, kinds) for record in records]


def test_no_records_have_no_faults() -> None:
    assert codes(b"") == []


def test_torn_records_and_wrong_outputs_are_refused() -> None:
    with pytest.raises(ShapeError, match="records: 175 bytes"):
        wire.check_records(bytes(175), bytearray(1), 0, 0, 0, 0, bits(()))
    with pytest.raises(ShapeError, match="faults: 2 bytes for 1 records"):
        wire.check_records(bytes(176), bytearray(2), 0, 0, 0, 0, bits(()))
    with pytest.raises(ShapeError, match="faults"):
        wire.check_records(bytes(176), bytes(1), 0, 0, 0, 0, bits(()))
    with pytest.raises(ShapeError, match="records"):
        wire.check_records(np.zeros(4, dtype=RECORD)[::2], bytearray(2), 0, 0, 0, 0, bits(()))
    with pytest.raises(OverflowError):
        wire.check_records(bytes(176), bytearray(1), 2**32, 0, 0, 0, bits(()))


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
