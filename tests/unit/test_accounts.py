"""Accounts against plain dicts and ints, and the claims of their contract."""

import itertools
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from reference import ledger_reference as reference
from reference.ledger_reference import ReferenceLedger

from cherrydag.address import ADDRESS_KEY, address_of
from cherrydag.errors import ShapeError
from cherrydag.execution.accounts import (
    ENTRY_BYTES,
    LINE,
    AccountFlag,
    Accounts,
    Line,
    Status,
)
from cherrydag.params import NONCE_MAX, VALID_FOREVER
from cherrydag.transaction import RECORD, Records, build_transfers

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

amounts = st.one_of(
    st.integers(0, 30),
    st.sampled_from([2**64 - 1, 2**64, 2**127, U128_MAX - 10, U128_MAX - 1, U128_MAX]),
)
bases = st.one_of(st.integers(0, 3), st.sampled_from([2**64 - 200, NONCE_MAX - 63, NONCE_MAX, NONCE_MAX + 1]))
transfers = st.fixed_dictionaries(
    {
        "asset": st.sampled_from([0, 0, 0, 1, 2, 2**32 - 1]),
        "amount": amounts,
        "fee": st.sampled_from([0, 1, 1, 2, 7, 2**64 - 1]),
        "ahead": st.sampled_from([0, 0, 0, 1, 2, 5, 62, 63, 64, 65, -1, -2]),
        "valid_until": st.sampled_from([VALID_FOREVER] * 4 + [NOW_S - 1, NOW_S, NOW_S + 1]),
        "recipient": st.sampled_from(ADDRESSES),
        "sender": st.sampled_from(KEYS),
        "kind": st.sampled_from([1] * 20 + [0, 2]),
        "scheme": st.sampled_from([1] * 20 + [0, 2]),
        "flags": st.sampled_from([0] * 20 + [1]),
        "body_size": st.sampled_from([0] * 20 + [1]),
    }
)


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


class AgainstReference(RuleBasedStateMachine):
    """Every operation on both; what they show must agree at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.clean = [b""] * (1 << DEPTH)

    @initialize(seed=st.binary(min_size=16, max_size=16), rich=st.lists(st.sampled_from(SENDERS)))
    def open(self, seed: bytes, rich: list[bytes]) -> None:
        self.accounts = make(seed=seed)
        self.expected = ReferenceLedger(BUCKET_KEY, ADDRESS_KEY, DEPTH)
        for address in rich:
            self.put_line(address, 0, 10_000, 0, 0, 0)

    def put_line(self, address: bytes, asset: int, balance: int, base: int, mask: int, flags: int) -> None:
        self.accounts.put(address, Line(balance, base, mask, flags), asset)
        self.expected.put(address, asset, balance, base, mask, flags)

    @rule(
        address=st.sampled_from(ADDRESSES),
        balance=amounts,
        base=bases,
        mask=st.sampled_from([0, 0, 2, 2**63, 2**64 - 2]),
        flags=st.sampled_from([0, 0, 0, 1, 2, 2**32 - 1]),
    )
    def put_account(self, address: bytes, balance: int, base: int, mask: int, flags: int) -> None:
        mask &= (1 << NONCE_MAX + 1 - base) - 1 if base > NONCE_MAX - 64 else -1
        self.put_line(address, 0, balance, base, mask, flags)

    @rule(
        address=st.sampled_from(ADDRESSES),
        asset=st.sampled_from([1, 2, 2**32 - 1]),
        balance=amounts,
        flags=st.sampled_from([0, 0, 0, 1]),
    )
    def put_holding(self, address: bytes, asset: int, balance: int, flags: int) -> None:
        self.put_line(address, asset, balance, 0, 0, flags)

    def pack(self, made: dict) -> bytes:
        fields = dict(made)
        base = self.expected.line(address_of(fields["sender"])).base
        nonce = min(max(base + fields.pop("ahead"), 0), 2**64 - 1)
        return record(nonce=nonce, **fields)

    @rule(batch=st.lists(transfers, max_size=6), known=st.booleans())
    def transfer(self, batch: list[dict], known: bool) -> None:
        packed = [self.pack(made) for made in batch]
        statuses = np.full(len(packed), 99, np.uint8)
        senders = np.frombuffer(b"".join(address_of(made["sender"]) for made in batch), np.uint8)
        supply = self.expected.total(0) + self.expected.fees
        expected = self.expected.apply(b"".join(packed), NOW_S)
        handled = self.accounts.apply(rows(*packed), statuses, NOW_S, senders=senders if known else None)
        assert statuses.tolist() == expected + [99] * (len(packed) - len(expected))
        assert handled == len(expected)
        assert self.accounts.audit() + self.accounts.fees == supply

    @rule(made=transfers, sender=st.none() | st.sampled_from(ADDRESSES), forbidden=st.sampled_from([0, 1, 2]))
    def begin(self, made: dict, sender: bytes | None, forbidden: int) -> None:
        packed = self.pack(made)
        got = self.accounts.begin_operation(packed, NOW_S, sender=sender, forbidden=forbidden)
        assert got == self.expected.begin(packed, NOW_S, sender, forbidden)

    @rule(batch=st.lists(transfers, max_size=70), forbidden=st.sampled_from([0, 1, 2]))
    def judge(self, batch: list[dict], forbidden: int) -> None:
        packed = [self.pack(made) for made in batch]
        got = self.accounts.judge(rows(*packed), NOW_S, forbidden=forbidden)
        senders = [address_of(made["sender"]) for made in batch]
        judged = [
            self.expected.admit(sender, one, NOW_S, forbidden)
            for sender, one in zip(senders, packed, strict=True)
        ]
        assert got.tolist() == judged

    @rule(fees=amounts)
    def set_fees(self, fees: int) -> None:
        self.accounts.set_fees(fees)
        self.expected.fees = fees

    @rule()
    def drain(self) -> None:
        """Whatever changed is among the drained; nothing else need be read again."""
        drained = self.accounts.drain_dirty()
        assert drained.tolist() == sorted(set(drained.tolist()))
        data, offsets = self.accounts.bucket_entries(drained)
        for bucket, a, b in zip(drained.tolist(), offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            self.clean[bucket] = data[a:b]
        assert self.clean == self.expected.entries()

    @rule(seed=st.binary(min_size=16, max_size=16), count_max=st.integers(1, 5))
    def reload(self, seed: bytes, count_max: int) -> None:
        copy = make(seed=seed)
        for lines in self.accounts.export_all(count_max):
            copy.load(lines)
        copy.set_fees(self.accounts.fees)
        assert copy.dirty_count == sum(1 for entries in self.expected.entries() if entries)
        self.accounts = copy
        self.clean = [b""] * (1 << DEPTH)

    @invariant()
    def agree(self) -> None:
        visible = self.expected.visible()
        assert len(self.accounts) == len(visible)
        assert self.accounts.fees == self.expected.fees
        for address in ADDRESSES:
            for asset in (0, 1, 2, 2**32 - 1):
                assert self.accounts.get(address, asset) == self.expected.get(address, asset)
        for asset in (0, 1):
            assert self.accounts.audit(asset) == self.expected.total(asset)
        assert all_entries(self.accounts) == self.expected.entries()
        assert self.accounts._table.is_sound()


TestAgainstReference = AgainstReference.TestCase
TestAgainstReference.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)


@settings(max_examples=60)
@given(order=st.permutations(range(12)), seed=st.binary(min_size=16, max_size=16))
def test_order_of_arrival_and_seed_do_not_show(order: list[int], seed: bytes) -> None:
    lines = [(ADDRESSES[i % 6], Line(i + 1), i // 6) for i in range(12)]
    plain, shuffled = make(), make(seed=seed)
    for line in lines:
        plain.put(*line)
    for i in order:
        shuffled.put(lines[i][0], Line(99), 7)
        shuffled.put(*lines[i])
    for i in order:
        shuffled.put(lines[i][0], Line(0), 7)
    assert all_entries(plain) == all_entries(shuffled)


def test_transfer_moves_the_amount_and_pays_the_fee() -> None:
    accounts = funded(native=100)
    assert apply(accounts, record(amount=30, fee=4)) == [Status.APPLIED]
    assert accounts.get(A) == Line(66, nonce_base=1)
    assert accounts.get(B) == Line(30)
    assert accounts.fees == 4


@pytest.mark.parametrize("balance, status, left", [
    (9, Status.FEE_UNPAYABLE, Line(9)),
    (10, Status.INSUFFICIENT, Line(0, 1)),
    (109, Status.INSUFFICIENT, Line(99, 1)),
    (110, Status.APPLIED, Line(0, 1)),
    (111, Status.APPLIED, Line(1, 1)),
])  # fmt: skip
def test_balance_at_its_bounds(balance: int, status: Status, left: Line) -> None:
    accounts = funded(native=balance)
    assert apply(accounts, record(amount=100, fee=10)) == [status]
    assert accounts.get(A) == left
    assert accounts.fees == (10 if status.is_charged else 0)


@pytest.mark.parametrize("held, status", [
    (U128_MAX - 100, Status.APPLIED),
    (U128_MAX - 99, Status.OVERFLOW),
])  # fmt: skip
@pytest.mark.parametrize("asset", [0, 7])
def test_recipient_overflow_costs_the_fee_and_the_nonce(asset: int, held: int, status: Status) -> None:
    accounts = make()
    accounts.put(A, Line(200))
    if asset:
        accounts.put(A, Line(200), asset)
    accounts.put(B, Line(held), asset)
    assert apply(accounts, record(amount=100, fee=10, asset=asset)) == [status]
    assert accounts.get(B, asset) == Line(held + 100 if status == Status.APPLIED else held)
    assert accounts.get(A).nonce_base == 1
    assert accounts.fees == 10


def test_transfer_to_oneself_costs_the_fee_alone_even_at_the_largest_balance() -> None:
    accounts = funded(native=U128_MAX, a3=U128_MAX)
    both = [
        record(recipient=A, amount=U128_MAX - 5, fee=5),
        record(recipient=A, amount=U128_MAX, fee=5, asset=3, nonce=1),
        record(recipient=A, amount=U128_MAX, fee=5, nonce=2),
    ]
    assert apply(accounts, *both) == [Status.APPLIED, Status.APPLIED, Status.INSUFFICIENT]
    assert accounts.get(A) == Line(U128_MAX - 15, 3)
    assert accounts.get(A, 3) == Line(U128_MAX)


def test_holding_sent_to_oneself_has_not_changed() -> None:
    expected = ReferenceLedger(BUCKET_KEY, ADDRESS_KEY, 24)
    accounts = make(depth=24)
    accounts.put(A, Line(9))
    accounts.put(A, Line(7), 3)
    accounts.drain_dirty()
    assert apply(accounts, record(recipient=A, amount=7, asset=3)) == [Status.APPLIED]
    assert accounts.drain_dirty().tolist() == [expected.bucket_of((A, 0))]


def test_asset_pays_its_fee_in_native_coin_and_an_emptied_holding_is_gone() -> None:
    accounts = funded(native=5, a9=40)
    assert apply(accounts, record(asset=9, amount=40, fee=5)) == [Status.APPLIED]
    assert (accounts.get(A), accounts.get(A, 9)) == (Line(0, 1), None)
    assert (accounts.get(B), accounts.get(B, 9)) == (None, Line(40))
    assert len(accounts) == 2
    assert accounts.audit(9) == 40


def test_holding_that_goes_and_comes_back_within_a_batch_is_the_same_one() -> None:
    """Its place has another line by then: what was looked up before the batch no longer holds."""
    accounts = funded(native=100, a9=40)
    accounts.put(B, Line(100))
    accounts.put(B, Line(7), 9)
    statuses = apply(
        accounts,
        record(asset=9, amount=40),
        record(recipient=STRANGERS[1], nonce=1),
        record(sender=KEYS[1], recipient=A, asset=9, amount=5),
    )
    assert statuses == [Status.APPLIED] * 3
    assert (accounts.get(A, 9), accounts.get(B, 9)) == (Line(5), Line(42))
    assert accounts.get(STRANGERS[1]) == Line(1)


def test_line_of_zeros_removed_and_set_within_a_batch_is_there() -> None:
    """A free place looks like the native line of address zero that says nothing."""
    accounts = make()
    accounts.put(bytes(20), Line(3))
    lines = np.zeros(2, LINE)
    lines["balance_lo"] = [0, 5]
    accounts.put_lines(lines)
    assert (len(accounts), accounts.get(bytes(20)), accounts.audit()) == (1, Line(5), 5)
    assert accounts._table.is_sound()


def test_asset_without_native_coin_leaves_no_trace() -> None:
    accounts = funded(a9=40)
    before = all_entries(accounts)
    assert apply(accounts, record(asset=9, amount=40, fee=1)) == [Status.FEE_UNPAYABLE]
    assert all_entries(accounts) == before


def test_nonces_are_valid_in_any_order_within_the_window_and_once() -> None:
    accounts = funded(native=10_000)
    order = [63, 2, 1, 64, 2, 0, 0, 64, 66, 67, 3]
    U, F, O = Status.NONCE_USED, Status.NONCE_FAR, Status.APPLIED  # noqa: E741
    assert apply(accounts, *(record(nonce=n) for n in order)) == [O, O, O, F, U, O, U, O, O, F, O]
    assert accounts.get(A)[1:3] == (4, 1 << 59 | 1 << 60 | 1 << 62)


def test_window_slides_over_64_used_nonces_at_once() -> None:
    accounts = make()
    accounts.put(A, Line(10, 5, 2**64 - 2))
    assert apply(accounts, record(nonce=5)) == [Status.APPLIED]
    assert accounts.get(A)[1:3] == (69, 0)


@pytest.mark.parametrize("base", [NONCE_MAX - 63, NONCE_MAX])
def test_largest_nonce_ends_the_account(base: int) -> None:
    accounts = make()
    accounts.put(A, Line(1000, base))
    assert apply(accounts, record(nonce=NONCE_MAX + 1)) == [Status.NONCE_FAR]
    nonces = range(base, NONCE_MAX + 1)
    assert set(apply(accounts, *(record(nonce=n) for n in nonces))) == {Status.APPLIED}
    assert accounts.get(A)[1:3] == (NONCE_MAX + 1, 0)
    ended = apply(accounts, *(record(nonce=n) for n in (NONCE_MAX, NONCE_MAX + 1, 2**64 - 1, 0)))
    assert ended == [Status.NONCE_USED, Status.NONCE_FAR, Status.NONCE_FAR, Status.NONCE_USED]


@pytest.mark.parametrize("valid_until, now_s, status", [
    (NOW_S, NOW_S - 1, Status.APPLIED),
    (NOW_S, NOW_S, Status.APPLIED),
    (NOW_S, NOW_S + 1, Status.EXPIRED),
    (VALID_FOREVER - 1, VALID_FOREVER, Status.EXPIRED),
    (VALID_FOREVER, VALID_FOREVER, Status.APPLIED),
])  # fmt: skip
def test_transfer_is_valid_through_its_last_second(valid_until: int, now_s: int, status: Status) -> None:
    accounts = funded(native=100)
    assert apply(accounts, record(valid_until=valid_until), now_s=now_s) == [status]


def test_checks_run_in_their_order() -> None:
    """Each record breaks the rules from one on; the first that it breaks is its status."""
    accounts = make()
    line = Line(5, 10, 0b10, AccountFlag.POLICY)
    late, poor = {"valid_until": NOW_S - 1}, {"fee": 6, "amount": 9}
    accounts.put(A, line)
    assert apply(accounts, record(nonce=0, **late, **poor), record(nonce=0, **poor)) == [
        Status.EXPIRED,
        Status.POLICY,
    ]
    assert accounts.get(A) == line
    accounts.put(A, line._replace(flags=0))
    accounts.put(B, Line(U128_MAX))
    statuses = apply(
        accounts,
        record(nonce=9, **poor),
        record(nonce=11, **poor),
        record(nonce=74, **poor),
        record(nonce=10, **poor),
    )
    assert statuses == [Status.NONCE_USED, Status.NONCE_USED, Status.NONCE_FAR, Status.FEE_UNPAYABLE]
    assert accounts.get(A) == line._replace(flags=0)
    charged = apply(accounts, record(nonce=10, fee=1, amount=5), record(nonce=12, fee=1, amount=3))
    assert charged == [Status.INSUFFICIENT, Status.OVERFLOW]
    assert accounts.get(A) == Line(3, 13)


def test_policy_account_receives_and_its_operations_begin_where_the_module_allows() -> None:
    accounts = make()
    accounts.put(A, Line(100, flags=AccountFlag.POLICY | 8))
    accounts.put(B, Line(100))
    assert apply(accounts, record(sender=KEYS[1], recipient=A)) == [Status.APPLIED]
    assert accounts.begin_operation(record(), NOW_S) == Status.POLICY
    assert accounts.begin_operation(record(), NOW_S, forbidden=8) == Status.POLICY
    assert accounts.begin_operation(record(), NOW_S, forbidden=4) == Status.APPLIED
    assert accounts.get(A) == Line(100, 1, flags=AccountFlag.POLICY | 8)


def test_operation_takes_nonce_and_fee_and_nothing_else() -> None:
    accounts = funded(native=100)
    operation = record(kind=9, amount=10**30, fee=7, nonce=2)
    assert accounts.begin_operation(operation, NOW_S) == Status.APPLIED
    assert accounts.begin_operation(operation, NOW_S) == Status.NONCE_USED
    assert accounts.begin_operation(rows(operation)[0:1], NOW_S, sender=B) == Status.FEE_UNPAYABLE
    assert accounts.get(A) == Line(93, 0, 0b100)
    assert accounts.get(B) is None
    assert accounts.fees == 7


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 64])
def test_each_of_a_batch_is_judged_by_itself_and_nothing_changes(count: int) -> None:
    accounts = funded(native=5)
    packed = [record(fee=5 + at % 2, nonce=0, sender=KEYS[at % 3 > 1]) for at in range(count)]
    before = all_entries(accounts)
    verdicts = accounts.judge(rows(*packed), NOW_S).tolist()
    pays = [at % 3 <= 1 and at % 2 == 0 for at in range(count)]
    assert verdicts == [Status.APPLIED if one else Status.FEE_UNPAYABLE for one in pays]
    assert all_entries(accounts) == before


def test_a_fee_that_the_pot_cannot_hold_is_not_payable() -> None:
    accounts = funded(native=100)
    accounts.set_fees(U128_MAX - 1)
    assert apply(accounts, record(fee=2), record(fee=1)) == [Status.FEE_UNPAYABLE, Status.APPLIED]
    assert accounts.fees == U128_MAX


def test_batch_stops_at_a_module_record_and_goes_on_behind_it() -> None:
    accounts = funded(native=10**6)
    records = rows(*(record(nonce=n, kind=2 if n in (0, 5, 6, 50) else 1) for n in range(60)))
    statuses = np.zeros(60, np.uint8)
    start, stops = 0, []
    while (start := start + accounts.apply(records, statuses, NOW_S, start=start)) < 60:
        stops.append(start)
        statuses[start] = accounts.begin_operation(records[start : start + 1], NOW_S)
        start += 1
    assert stops == [0, 5, 6, 50]
    assert (statuses == Status.APPLIED).all()
    assert accounts.get(A).nonce_base == 60


@pytest.mark.parametrize("field", ["kind", "scheme", "flags", "body_size"])
@pytest.mark.parametrize("value", [0, 1, 2, 255])
def test_only_plain_transfers_are_applied(field: str, value: int) -> None:
    plain = value == (1 if field in ("kind", "scheme") else 0)
    assert len(apply(funded(native=100), record(**{field: value}))) == plain


def test_known_senders_stand_for_their_keys() -> None:
    records = build_transfers(senders=b"".join(KEYS), recipients=STRANGERS[0], amounts=1, nonces=0)
    senders = np.frombuffer(b"".join(SENDERS), np.uint8)
    ours, theirs = make(), make()
    for accounts in (ours, theirs):
        for address in SENDERS:
            accounts.put(address, Line(50))
    statuses = np.zeros(4, np.uint8)
    assert ours.apply(records, statuses, NOW_S, start=1, senders=senders.reshape(4, 20)) == 3
    assert theirs.apply(records, statuses, NOW_S, start=1) == 3
    assert all_entries(ours) == all_entries(theirs)
    assert ours.get(SENDERS[0]) == Line(50)


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
