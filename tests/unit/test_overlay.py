"""The overlay undoes what it wrote and conserves; a scope stays within its module's powers."""

import numpy as np
import pytest
from execution_rig import DEPTH
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cherrydag.errors import InvariantViolation, Rejected
from cherrydag.execution.accounts import AccountFlag, Accounts, Line
from cherrydag.execution.body import BodyReader, BodyRefusal, encode_addresses
from cherrydag.execution.entries import ENTRY_OVERHEAD_BYTES, SCAN_MAX, EntryRefusal, EntryTable
from cherrydag.execution.overlay import EntryKey, MoveRefusal, Overlay, Powers, Scope, View
from cherrydag.execution.state_tree import StateCommitment
from cherrydag.params import AMOUNT_MAX
from cherrydag.state_proof import ACCOUNTS, ENTRIES, TreeKeys

A, B, C = (bytes([i]) * 20 for i in range(1, 4))
OWN, OTHER = 7, 8
FLAG = 1 << 9
PLAIN, ISSUING, CLAIMING = Powers(OWN), Powers(OWN, issues=True), Powers(OWN, flags=FLAG)


def state(bytes_max: int = 1 << 20) -> tuple[Accounts, EntryTable, Overlay]:
    accounts = Accounts(TreeKeys.of(ACCOUNTS).bucket, bytes(16), depth=DEPTH)
    entries = EntryTable(DEPTH, bytes_max)
    return accounts, entries, Overlay(accounts, entries)


class AgainstCopies(RuleBasedStateMachine):
    """Any nest of checkpoints and reverts gives what copies of plain dictionaries give."""

    def __init__(self) -> None:
        super().__init__()
        self.accounts, self.entries, self.overlay = state()
        self.commitment = StateCommitment({ACCOUNTS: self.accounts, ENTRIES: self.entries})
        self.lines: dict[tuple[bytes, int], int] = {}
        self.values: dict[EntryKey, bytes] = {}
        self.saved: list[tuple[int, dict[tuple[bytes, int], int], dict[EntryKey, bytes], bytes]] = []

    @rule(address=st.sampled_from([A, B, C]), asset=st.sampled_from([0, 1]), balance=st.integers(0, 3))
    def put_line(self, address: bytes, asset: int, balance: int) -> None:
        change = balance - self.lines.get((address, asset), 0)
        self.overlay.put_line(address, Line(balance), asset)
        self.overlay.declare_issued(asset, change)
        self.lines[address, asset] = balance

    @rule(prefix=st.sampled_from([OWN, OTHER]), key=st.binary(max_size=1), value=st.binary(max_size=70))
    def put(self, prefix: int, key: bytes, value: bytes) -> None:
        self.overlay.put(EntryKey(prefix, key), value)
        self.values[EntryKey(prefix, key)] = value

    @rule(prefix=st.sampled_from([OWN, OTHER]), key=st.binary(max_size=1))
    def delete(self, prefix: int, key: bytes) -> None:
        was = self.values.pop(EntryKey(prefix, key), None)
        assert self.overlay.delete(EntryKey(prefix, key)) == (was is not None)

    @rule()
    def checkpoint(self) -> None:
        root = self.commitment.commit()
        self.saved.append((self.overlay.checkpoint(), dict(self.lines), dict(self.values), root))

    @rule(data=st.data())
    def revert(self, data: st.DataObject) -> None:
        if self.saved:
            at = data.draw(st.integers(0, len(self.saved) - 1))
            mark, self.lines, self.values, root = self.saved[at]
            del self.saved[at:]
            self.overlay.revert(mark)
            assert self.commitment.commit() == root

    @rule()
    def commit(self) -> None:
        self.overlay.commit()
        self.saved.clear()
        assert self.overlay.is_clean

    @invariant()
    def shows_what_the_copies_show(self) -> None:
        for address in (A, B, C):
            for asset in (0, 1):
                assert self.overlay.line(address, asset) == Line(self.lines.get((address, asset), 0))
        for prefix in (OWN, OTHER):
            listed = sorted((key.key, value) for key, value in self.values.items() if key.prefix == prefix)
            assert list(self.overlay.scan(prefix)) == listed
        assert len(self.accounts) == sum(balance > 0 for balance in self.lines.values())


AgainstCopies.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_any_nest_of_checkpoints = AgainstCopies.TestCase


def test_line_keeps_nonces_and_flags_through_a_revert() -> None:
    accounts, _, overlay = state()
    line = Line(5, 3, 0b110, 1)
    accounts.put(A, line)
    mark = overlay.checkpoint()
    overlay.put_line(A, Line(0))
    overlay.revert(mark)
    assert accounts.get(A) == line


def test_what_was_written_more_than_once_is_undone_in_reverse() -> None:
    accounts, entries, overlay = state()
    accounts.put(A, Line(5))
    entries.put(OWN, b"old", b"0")
    mark = overlay.checkpoint()
    for value in (b"1", b"", b"2"):
        overlay.put_line(A, Line(len(value)))
        overlay.put(EntryKey(OWN, b"old"), value)
        overlay.put(EntryKey(OWN, b"new"), value)
        overlay.delete(EntryKey(OWN, b"old"))
    overlay.revert(mark)
    assert accounts.get(A) == Line(5) and list(overlay.scan(OWN)) == [(b"old", b"0")]


def test_empty_value_is_not_no_value_in_a_revert() -> None:
    _, entries, overlay = state()
    entries.put(OWN, b"k", b"")
    mark = overlay.checkpoint()
    overlay.delete(EntryKey(OWN, b"k"))
    overlay.revert(mark)
    assert entries.get(OWN, b"k") == b""


@pytest.mark.parametrize(("asset", "surplus"), [(0, 1), (0, -1), (3, 1)])
def test_commit_stops_where_an_asset_is_not_conserved(asset: int, surplus: int) -> None:
    accounts, _, overlay = state()
    accounts.put(A, Line(10), asset)
    overlay.put_line(A, Line(10 + surplus), asset)
    with pytest.raises(InvariantViolation, match=f"asset={asset}, surplus={surplus}"):
        overlay.commit()


def test_issue_that_is_declared_and_not_made_stops() -> None:
    _, _, overlay = state()
    overlay.declare_issued(1, 5)
    with pytest.raises(InvariantViolation, match="conserves"):
        overlay.commit()


def test_mark_behind_the_journal_is_refused() -> None:
    _, _, overlay = state()
    with pytest.raises(InvariantViolation, match="mark"):
        overlay.revert(overlay.checkpoint() + 1)  # type: ignore[arg-type]


def test_put_without_room_is_rejected_and_leaves_nothing_to_undo() -> None:
    _, entries, overlay = state(bytes_max=2 * (ENTRY_OVERHEAD_BYTES + 4))
    scope = Scope(overlay, PLAIN, A)
    scope.put(EntryKey(OWN, b"a"), b"1")
    scope.put(EntryKey(OWN, b"b"), b"1")
    with pytest.raises(Rejected) as caught:
        scope.put(EntryKey(OWN, b"c"), b"")
    assert caught.value.code == EntryRefusal.TABLE_FULL
    overlay.revert(overlay.checkpoint())
    assert len(entries) == 2


@pytest.mark.parametrize("count", [SCAN_MAX - 1, SCAN_MAX, SCAN_MAX + 1])
def test_scan_goes_on_over_pages(count: int) -> None:
    _, _, overlay = state(1 << 24)
    keys = [i.to_bytes(2, "big") for i in range(count)]
    for key in keys:
        overlay.put(EntryKey(OWN, key), b"x")
    overlay.put(EntryKey(OTHER, b""), b"y")
    assert [key for key, _ in View(overlay, PLAIN).scan()] == keys


# A scope


def test_scope_stays_under_its_prefix() -> None:
    _, _, overlay = state()
    overlay.put(EntryKey(OTHER, b"k"), b"v")
    scope, foreign = Scope(overlay, PLAIN, A), EntryKey(OTHER, b"k")
    for attempt in (
        lambda: scope.get(foreign),
        lambda: scope.put(foreign, b""),
        lambda: scope.delete(foreign),
    ):
        with pytest.raises(InvariantViolation, match="under its own prefix"):
            attempt()
    assert list(scope.scan()) == [] and overlay.get(foreign) == b"v"


def test_scope_debits_its_sender_and_claimed_accounts_alone() -> None:
    accounts, _, overlay = state()
    accounts.put(A, Line(10))
    accounts.put(B, Line(10))
    accounts.put(C, Line(10, flags=FLAG))
    scope = Scope(overlay, CLAIMING, A)
    scope.move(A, B, 0, 4)
    scope.move(C, B, 0, 1)
    for powers in (CLAIMING, PLAIN):
        with pytest.raises(InvariantViolation, match="debits"):
            Scope(overlay, powers, A).move(B, A, 0, 1)
    with pytest.raises(InvariantViolation, match="debits"):
        Scope(overlay, PLAIN, A).move(C, A, 0, 1)
    overlay.commit()
    assert [overlay.line(address).balance for address in (A, B, C)] == [6, 15, 9]


def test_move_refuses_overdraft_and_overflow_at_the_bound() -> None:
    accounts, _, overlay = state()
    accounts.put(A, Line(10), 1)
    accounts.put(B, Line(AMOUNT_MAX - 9), 1)
    scope = Scope(overlay, PLAIN, A)
    for amount, code in ((11, MoveRefusal.INSUFFICIENT), (10, MoveRefusal.OVERFLOW)):
        mark = overlay.checkpoint()
        with pytest.raises(Rejected) as caught:
            scope.move(A, B, 1, amount)
        assert caught.value.code == code
        overlay.revert(mark)
    scope.move(A, B, 1, 9)
    overlay.commit()
    assert overlay.line(B, 1).balance == AMOUNT_MAX and overlay.line(A, 1).balance == 1


def test_moving_to_oneself_needs_the_amount_and_keeps_it() -> None:
    accounts, _, overlay = state()
    accounts.put(A, Line(AMOUNT_MAX))
    scope = Scope(overlay, PLAIN, A)
    scope.move(A, A, 0, AMOUNT_MAX)
    assert overlay.line(A).balance == AMOUNT_MAX
    with pytest.raises(Rejected):
        scope.move(A, A, 1, 1)


def test_only_an_issuing_module_issues_and_never_the_native_coin() -> None:
    _, _, overlay = state()
    for powers, asset in ((PLAIN, 1), (ISSUING, 0)):
        for call in (lambda s, asset=asset: s.issue(A, asset, 1), lambda s, asset=asset: s.retire(asset, 1)):
            with pytest.raises(InvariantViolation, match="issues"):
                call(Scope(overlay, powers, A))
    scope = Scope(overlay, ISSUING, A)
    scope.issue(A, 1, 5)
    scope.retire(1, 2)
    overlay.commit()
    assert overlay.total(1) == 3 and overlay.assets() == [1]


@pytest.mark.parametrize("amount", [-1, AMOUNT_MAX + 1])
def test_amount_beyond_128_bits_is_our_bug(amount: int) -> None:
    _, _, overlay = state()
    with pytest.raises(InvariantViolation, match="128 bits"):
        Scope(overlay, ISSUING, A).issue(A, 1, amount)


def test_claim_sets_policy_and_the_module_s_flags_and_nothing_else() -> None:
    accounts, _, overlay = state()
    accounts.put(A, Line(10, 4, 2, 1 << 20))
    Scope(overlay, CLAIMING, A).claim_sender()
    overlay.commit()
    assert accounts.get(A) == Line(10, 4, 2, 1 << 20 | FLAG | AccountFlag.POLICY)
    with pytest.raises(InvariantViolation, match="flags of its own"):
        Scope(overlay, PLAIN, B).claim_sender()


def test_assets_are_those_with_lines() -> None:
    accounts, _, overlay = state()
    for asset in (9, 2, 2**32 - 1, 0):
        accounts.put(A, Line(1), asset)
    accounts.put(B, Line(1), 9)
    assert overlay.assets() == [0, 2, 9, 2**32 - 1]
    assert accounts.drain_dirty().dtype == np.uint32


# Bodies


def refusal(reader: BodyReader, count_max: int) -> str:
    with pytest.raises(Rejected) as caught:
        reader.addresses(count_max)
    return caught.value.code


def test_reader_takes_all_and_no_more() -> None:
    reader = BodyReader(b"\x01\x02\x00\x03")
    assert (reader.integer(1), reader.integer(2)) == (1, 2)
    with pytest.raises(Rejected) as caught:
        reader.end()
    assert caught.value.code == BodyRefusal.TRAILING
    with pytest.raises(Rejected) as caught:
        reader.take(2)
    assert caught.value.code == BodyRefusal.TRUNCATED
    assert reader.take(1) == b"\x03"
    reader.end()


def test_addresses_ascend_strictly_and_are_counted() -> None:
    assert BodyReader(encode_addresses((A, B, C))).addresses(3) == (A, B, C)
    assert refusal(BodyReader(encode_addresses((A, B, C))), 2) == BodyRefusal.COUNT
    assert refusal(BodyReader(b"\x00"), 2) == BodyRefusal.COUNT
    assert refusal(BodyReader(encode_addresses((A, A))), 2) == BodyRefusal.ORDER
    assert refusal(BodyReader(encode_addresses((B, A))), 2) == BodyRefusal.ORDER
    assert refusal(BodyReader(encode_addresses((A, B))[:-1]), 2) == BodyRefusal.TRUNCATED
