"""Accounts as bytes: their entries and buckets, and the lines that checkpoints carry."""

import struct

import numpy as np
import pytest
from account_rig import BUCKET_KEY, U128_MAX, A, B, all_entries, apply, make, record
from reference.ledger_reference import ReferenceLedger

from cherrydag.address import ADDRESS_KEY
from cherrydag.errors import ShapeError
from cherrydag.execution.accounts import ENTRY_BYTES, LINE, Line, Status
from cherrydag.params import NONCE_MAX


def test_asset_transfer_changes_three_buckets() -> None:
    expected = ReferenceLedger(BUCKET_KEY, ADDRESS_KEY, 24)
    accounts = make(depth=24)
    accounts.put(A, Line(9))
    accounts.put(A, Line(7), 3)
    accounts.drain_dirty()
    assert apply(accounts, record(amount=2, asset=3)) == [Status.APPLIED]
    changed = sorted(expected.bucket_of(key) for key in ((A, 0), (A, 3), (B, 3)))
    assert accounts.drain_dirty().tolist() == changed


def test_entry_layout() -> None:
    accounts = make(depth=1)
    accounts.put(A, Line(2**100 + 1, 3, 4, 5))
    data, offsets = accounts.bucket_entries(np.array([0, 1], np.uint32))
    value = struct.pack("<QQQQI", 1, 2**36, 3, 4, 5)
    assert data == b"\x18" + A + bytes(4) + b"\x24" + value
    assert accounts.value_of(A + bytes(4)) == value
    assert [accounts.value_of(key) for key in (A + b"\1\0\0\0", A + bytes(3), A + bytes(5))] == [None] * 3
    assert sorted(np.diff(offsets).tolist()) == [0, ENTRY_BYTES]


def test_entries_ascend_by_the_bytes_of_their_keys() -> None:
    """An asset is little-endian in its key, so 256 comes before 1."""
    accounts = make(depth=1)
    for asset in (1, 256, 0, 3, 2):
        accounts.put(A, Line(asset + 1), asset)
    for entries in all_entries(accounts, depth=1):
        keys = [entries[at + 1 : at + 25] for at in range(0, len(entries), ENTRY_BYTES)]
        assert keys == sorted(keys)


def test_dirty_buckets_are_those_that_changed() -> None:
    depth = 24
    expected = ReferenceLedger(BUCKET_KEY, ADDRESS_KEY, depth)
    accounts = make(depth=depth)
    accounts.put(A, Line(100))
    accounts.put(B, Line(0))
    assert accounts.drain_dirty().tolist() == [expected.bucket_of((A, 0))]
    assert accounts.drain_dirty().tolist() == []
    statuses = apply(accounts, record(nonce=99), record(fee=101), record(amount=200), record(nonce=1))
    assert statuses == [Status.NONCE_FAR, Status.FEE_UNPAYABLE, Status.INSUFFICIENT, Status.APPLIED]
    assert accounts.dirty_count == 2
    both = sorted(expected.bucket_of((address, 0)) for address in (A, B))
    assert accounts.drain_dirty().tolist() == both
    accounts.put(B, Line(0))
    assert accounts.drain_dirty().tolist() == [expected.bucket_of((B, 0))]


def test_lines_travel_as_an_array() -> None:
    accounts = make()
    lines = np.zeros(2, LINE)
    lines["address"] = np.frombuffer(A + B, np.uint8).reshape(2, 20)
    lines["balance_lo"], lines["balance_hi"], lines["nonce_base"] = [1, 0], [2, 0], [3, 4]
    accounts.load(lines)
    assert accounts.get(A) == Line(1 + (2 << 64), 3)
    exported, cursor = accounts.export(count_max=1)
    rest, _ = accounts.export(cursor, 10)
    assert np.concatenate([exported, rest]).tobytes() == lines.tobytes()
    lines["nonce_base"], lines["balance_lo"], lines["balance_hi"] = 0, [7, 0], 0
    accounts.put_lines(lines)
    assert (accounts.get(A), accounts.get(B)) == (Line(7), None)


@pytest.mark.parametrize("line, asset", [
    (Line(1, 0, 1), 0),
    (Line(1, NONCE_MAX + 2), 0),
    (Line(1, NONCE_MAX - 62, 2**63), 0),
    (Line(1, NONCE_MAX, 2), 0),
    (Line(1, NONCE_MAX + 1, 2), 0),
    (Line(1, 1), 4),
    (Line(1, 0, 2), 4),
    (Line(U128_MAX + 1), 0),
    (Line(-1), 0),
])  # fmt: skip
def test_what_no_line_can_be_is_refused(line: Line, asset: int) -> None:
    accounts = make()
    with pytest.raises(ShapeError):
        accounts.put(A, line, asset)
    assert len(accounts) == 0


def test_window_at_its_end_is_a_line() -> None:
    for line in (Line(1, NONCE_MAX - 63, 2**63), Line(1, NONCE_MAX - 1, 2), Line(1, NONCE_MAX + 1)):
        accounts = make()
        accounts.put(A, line)
        assert accounts.get(A) == line


def test_checkpoint_with_a_line_twice_or_an_empty_one_is_refused_by_its_row() -> None:
    lines = np.zeros(3, LINE)
    lines["asset"], lines["balance_lo"] = [0, 1, 0], 1
    with pytest.raises(ShapeError, match="row 2"):
        make().load(lines)
    lines["asset"], lines["balance_lo"] = [0, 1, 2], [1, 0, 1]
    with pytest.raises(ShapeError, match="row 1"):
        make().load(lines)
    lines["balance_lo"], lines["reserved"] = 1, [1, 0, 0]
    with pytest.raises(ShapeError, match="row 0"):
        make().load(lines)
    with pytest.raises(ShapeError, match="expected a row of LINE"):
        make().load(lines.view("u1"))
