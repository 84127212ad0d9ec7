"""What a transfer, and what an operation's nonce and fee, do to accounts."""

import numpy as np
import pytest
from account_rig import (
    BUCKET_KEY,
    KEYS,
    NOW_S,
    SENDERS,
    STRANGERS,
    U128_MAX,
    A,
    B,
    all_entries,
    apply,
    funded,
    make,
    record,
    rows,
)
from reference.ledger_reference import ReferenceLedger

from cherrydag.address import ADDRESS_KEY
from cherrydag.execution.accounts import LINE, AccountFlag, Line, Status
from cherrydag.params import NONCE_MAX, VALID_FOREVER
from cherrydag.transaction import build_transfers


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
