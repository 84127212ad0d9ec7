"""Building, viewing, identifying and checking batches of records."""

import hashlib

import blake3
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cherrydag import transaction
from cherrydag.errors import ShapeError
from cherrydag.execution.assets import AssetKind
from cherrydag.execution.module import KIND_MAX, KIND_MIN
from cherrydag.params import AMOUNT_MAX, BODY_BYTES_MAX, NONCE_MAX, NONCE_WINDOW
from cherrydag.transaction import (
    OPERATION_KIND_MAX,
    OPERATION_KIND_MIN,
    RECORD,
    RecordFault,
    amounts,
    as_records,
    build_transfers,
    chain_key,
    check_records,
    operation_kinds,
    transaction_ids,
)

SENDER, RECIPIENT = bytes(range(32)), bytes(range(100, 120))
KEY = chain_key(bytes(32))


def build(**changes: object) -> transaction.Records:
    fields: dict[str, object] = {"senders": SENDER, "recipients": RECIPIENT, "amounts": 5, "nonces": 0}
    return build_transfers(**fields | changes)  # type: ignore[arg-type]


def test_layout_is_the_ledger_s() -> None:
    assert RECORD.itemsize == 176
    assert {name: (field[1], field[0].itemsize) for name, field in (RECORD.fields or {}).items()} == {
        "kind": (0, 1), "scheme": (1, 1), "flags": (2, 2), "asset": (4, 4), "nonce": (8, 8),
        "amount_lo": (16, 8), "amount_hi": (24, 8), "fee": (32, 8), "valid_until": (40, 4),
        "body_size": (44, 4), "recipient": (48, 20), "reserved": (68, 12), "sender": (80, 32),
        "signature": (112, 64),
    }  # fmt: skip


def test_every_byte_of_a_transfer_is_where_the_table_says() -> None:
    record = build(
        amounts=(7 << 64) + 6, nonces=0x0102030405060708, fee=9, valid_until=0x0A0B0C0D, asset=0x0E0F
    )
    assert record.tobytes() == (
        bytes([1, 1, 0, 0, 0x0F, 0x0E, 0, 0])
        + bytes([8, 7, 6, 5, 4, 3, 2, 1])
        + bytes([6, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0])
        + bytes([9, 0, 0, 0, 0, 0, 0, 0, 0x0D, 0x0C, 0x0B, 0x0A, 0, 0, 0, 0])
        + RECIPIENT
        + bytes(12)
        + SENDER
        + bytes(64)
    )


def test_trailing_zeros_of_keys_survive() -> None:
    record = build(senders=b"\x01" + bytes(31), recipients=b"\x02" + bytes(19))
    assert record["sender"][0].tobytes() == b"\x01" + bytes(31)
    assert record["recipient"][0].tobytes() == b"\x02" + bytes(19)


def test_one_row_stands_for_all_and_columns_go_row_by_row() -> None:
    n = transaction._BLOCK * 2 + 3
    senders = np.random.default_rng(1).integers(0, 256, (n, 32), dtype=np.uint8)
    records = build(senders=senders, nonces=np.arange(n), fee=3)
    assert records.shape == (n,)
    assert np.array_equal(records["sender"], senders)
    assert np.array_equal(records["nonce"], np.arange(n))
    assert set(records["fee"].tolist()) == {3}
    assert (records["recipient"] == np.frombuffer(RECIPIENT, np.uint8)).all()
    assert not check_records(records, now_s=0).any()


@pytest.mark.parametrize(
    "given_as",
    [
        lambda values: values,
        tuple,
        lambda values: (
            np.array([value & (2**64 - 1) for value in values], np.uint64),
            np.array([value >> 64 for value in values], np.uint64),
        ),
    ],
)
def test_amounts_come_back_whatever_they_were_given_as(given_as: object) -> None:
    values = [0, 1, 2**64 - 1, 2**64, 2**100 + 3, AMOUNT_MAX]
    assert callable(given_as)
    assert amounts(build(amounts=given_as(values))) == values


@given(st.lists(st.integers(0, AMOUNT_MAX), max_size=5))
def test_any_amounts_round_trip(values: list[int]) -> None:
    assert amounts(build(amounts=values)) == values


def test_empty_columns_build_an_empty_batch() -> None:
    assert build(nonces=np.empty(0, np.uint64)).shape == (0,)
    assert transaction_ids(build(nonces=[]), KEY) == b""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"amounts": AMOUNT_MAX + 1}, f"amounts: row 0 is {2**128}, beyond 0 .. {2**128 - 1}"),
        ({"amounts": [1, -1]}, f"amounts: row 1 is -1, beyond 0 .. {2**128 - 1}"),
        ({"nonces": 2**64}, f"nonces: row 0 is {2**64}, beyond 0 .. {2**64 - 1}"),
        ({"nonces": np.array([4, 5, -6])}, f"nonces: row 2 is -6, beyond 0 .. {2**64 - 1}"),
        ({"fee": 2**64}, f"fee: row 0 is {2**64}"),
        (
            {"valid_until": np.array([1, 2**32], np.uint64)},
            f"valid_until: row 1 is {2**32}, beyond 0 .. {2**32 - 1}",
        ),
        ({"asset": 2**32}, f"asset: row 0 is {2**32}"),
        ({"nonces": np.array([1.0])}, "nonces: expected a row of integers, got 1-d float64"),
        ({"nonces": np.array([[1]])}, "nonces: expected a row of integers, got 2-d int64"),
        ({"senders": bytes(31)}, "senders: expected rows of 32 bytes, got shape (31,)"),
        ({"senders": np.zeros((2, 31), np.uint8)}, "senders: expected rows of 32 bytes, got shape (2, 31)"),
        ({"recipients": np.zeros((1, 20), np.int8)}, "recipients: expected uint8, got int8"),
        ({"nonces": [1, 2], "fee": [1, 2, 3]}, "fee: 3 rows, but nonce has 2"),
        (
            {"amounts": (np.zeros(2, np.uint64), np.zeros(3, np.uint64))},
            "amounts: 2 low words, but 3 high words",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_row_and_limit(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        build(**changes)
    assert message in str(caught.value)


def test_fractions_are_no_amounts() -> None:
    with pytest.raises(TypeError):
        build(amounts=[1.5])


@pytest.mark.parametrize(
    ("field", "limit"),
    [("nonces", 2**64 - 1), ("fee", 2**64 - 1), ("valid_until", 2**32 - 1), ("asset", 2**32 - 1)],
)
def test_fields_hold_their_limit_and_no_more(field: str, limit: int) -> None:
    name = {"nonces": "nonce"}.get(field, field)
    for value in (limit - 1, limit):
        assert build(**{field: value})[name][0] == value
    with pytest.raises(ShapeError):
        build(**{field: limit + 1})


def test_records_are_viewed_without_a_copy() -> None:
    buffer = bytearray(build(nonces=[1, 2, 3]).tobytes())
    records = as_records(buffer)
    buffer[8] = 77
    assert records["nonce"].tolist() == [77, 2, 3]
    assert np.shares_memory(as_records(records), records)
    assert not as_records(bytes(buffer)).flags.writeable


@pytest.mark.parametrize("size", [1, 175, 177])
def test_torn_records_are_refused(size: int) -> None:
    with pytest.raises(ShapeError, match=f"{size} bytes are not a whole number"):
        as_records(bytes(size))


def test_strided_records_are_refused() -> None:
    with pytest.raises(ShapeError, match="contiguous"):
        as_records(build(nonces=[1, 2, 3])[::2])


def test_id_is_keyed_blake3_of_the_head() -> None:
    records = build(nonces=[1, 2, 3])
    expected = [blake3.blake3(record.tobytes()[:112], key=KEY).digest() for record in records]
    assert transaction_ids(records, KEY) == b"".join(expected)


def test_id_with_bodies_is_keyed_blake3_of_head_and_body() -> None:
    bodies = [b"", b"x", b"y" * 2000]
    records = build(nonces=[1, 2, 3])
    records["body_size"] = [len(body) for body in bodies]
    ids = transaction_ids(records, KEY, b"".join(bodies), np.array([0, 0, 1, 2001], np.uint64))
    pairs = zip(records, bodies, strict=True)
    assert ids == b"".join(blake3.blake3(r.tobytes()[:112] + body, key=KEY).digest() for r, body in pairs)


def test_every_byte_but_the_signature_s_changes_the_id() -> None:
    record = build().tobytes()
    places = [*range(44), *range(48, 176)]  # a body_size would need its body
    mutants = b"".join(record[:at] + bytes([record[at] ^ 1]) + record[at + 1 :] for at in places)
    ids = transaction_ids(as_records(record + mutants), KEY)
    unchanged = [at for row, at in enumerate(places, start=1) if ids[row * 32 : row * 32 + 32] == ids[:32]]
    assert unchanged == list(range(112, 176))


def test_bodies_and_offsets_must_match() -> None:
    records = build(nonces=[1, 2])
    with pytest.raises(ShapeError, match="without body_offsets"):
        transaction_ids(records, KEY, b"stray")
    records["body_size"] = [0, 3]
    with pytest.raises(ShapeError, match="row 1 has a body"):
        transaction_ids(records, KEY)
    with pytest.raises(ShapeError, match="row 1"):
        transaction_ids(records, KEY, b"abcd", np.array([0, 0, 4], np.uint64))
    with pytest.raises(ShapeError, match="a row of uint64"):
        transaction_ids(records, KEY, b"abc", np.array([0, 0, 3]))  # type: ignore[arg-type]


def test_chains_have_keys_and_so_ids_of_their_own() -> None:
    other = chain_key(b"\x01" + bytes(31))
    assert (
        chain_key(bytes(32))
        == blake3.blake3(bytes(32), derive_key_context=transaction.CHAIN_CONTEXT).digest()
    )
    assert transaction_ids(build(), KEY) != transaction_ids(build(), other)
    with pytest.raises(ShapeError, match="expected 32 bytes, got 31"):
        chain_key(bytes(31))


def test_ids_and_records_are_pinned() -> None:
    records = build(nonces=[1, 2, 3], amounts=[5, 2**64, AMOUNT_MAX])
    assert (
        hashlib.sha256(records.tobytes()).hexdigest()
        == "fbd4d7bd90530217ca0905e65215a2c6c0b47ade48a3a276024bf084d38d512f"
    )
    assert (
        hashlib.sha256(transaction_ids(records, KEY)).hexdigest()
        == "1335592943435e4d6a263bc18f95c7d1ce47cebcc18f4f0895da272dcc475d5d"
    )


def test_faults_name_the_rows() -> None:
    records = build(nonces=[1, 2, 3, 4], valid_until=[99, 100, 101, 100], fee=[1, 1, 1, 0])
    found = check_records(records, now_s=100)
    assert [RecordFault(code) for code in found] == [
        RecordFault.EXPIRED, RecordFault.NONE, RecordFault.NONE, RecordFault.FEE_TOO_LOW,
    ]  # fmt: skip
    assert check_records(records, now_s=100, fee_min=2).all()


def test_operations_pass_if_their_kind_is_allowed_and_not_otherwise() -> None:
    records = build(nonces=[1, 2, 3, 4], amounts=[5, 0, 0, 0])
    records["kind"] = [1, 16, 17, 255]
    assert check_records(records, now_s=0).tolist() == [0, 1, 1, 1]
    assert check_records(records, now_s=0, kinds=(255, 16)).tolist() == [0, 0, 1, 0]
    assert check_records(records, now_s=0, kinds={16, 17, 255}).tolist() == [0, 0, 0, 0]
    assert check_records(records, now_s=0, kinds=(16, 17, 255), fee_min=2).tolist() == [9, 9, 9, 9]


def test_bodies_of_operations_are_bounded_as_the_caller_says() -> None:
    records = build(nonces=[1, 2, 3])
    records["kind"] = 16
    records["body_size"] = [99, 100, 101]
    found = check_records(records, now_s=0, kinds=[16], body_bytes_max=100)
    assert found.tolist() == [0, 0, RecordFault.BODY_TOO_LARGE]
    records["body_size"] = [BODY_BYTES_MAX - 1, BODY_BYTES_MAX, BODY_BYTES_MAX + 1]
    assert check_records(records, now_s=0, kinds=[16]).tolist() == [0, 0, RecordFault.BODY_TOO_LARGE]


def test_kinds_of_operations_are_16_to_255() -> None:
    assert (OPERATION_KIND_MIN, OPERATION_KIND_MAX) == (KIND_MIN, KIND_MAX) == (16, 255)
    assert operation_kinds(iter([255, 16, 17, 16])) == (16, 17, 255)
    assert operation_kinds([np.uint8(16), AssetKind.MINT]) == (16, 17)
    assert {type(kind) for kind in operation_kinds([np.uint8(16), AssetKind.MINT])} == {int}
    assert operation_kinds(()) == ()
    for kinds in ([15], [256], [-1], [16, 255, 256], [1, 16]):
        for refuse in (operation_kinds, lambda kinds: check_records(build(), now_s=0, kinds=kinds)):
            with pytest.raises(ShapeError, match="kinds: expected 16 to 255, got"):
                refuse(kinds)
    with pytest.raises(TypeError):
        operation_kinds([16.0])  # type: ignore[list-item]


def test_faults_have_stable_codes_and_a_text_each() -> None:
    assert [fault.value for fault in RecordFault] == list(range(12))
    assert [fault.name for fault in RecordFault][-1] == "EXPIRED"
    assert len({fault.text for fault in RecordFault}) == 12


def test_largest_nonce_leaves_room_for_its_window() -> None:
    assert (NONCE_MAX + 1) + NONCE_WINDOW == 2**64 - 1
    records = build(nonces=[NONCE_MAX - 1, NONCE_MAX, NONCE_MAX + 1])
    assert check_records(records, now_s=0).tolist() == [0, 0, RecordFault.NONCE_TOO_HIGH]
