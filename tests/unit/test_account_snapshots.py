"""Snapshots of the accounts against a copy of a plain dict, whatever happens between two reads."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cherrydag.address import address_of
from cherrydag.execution.accounts import LINE, Accounts, Line, Lines, Status
from cherrydag.transaction import build_transfers

KEYS = [bytes([i]) * 32 for i in range(1, 5)]
ADDRESSES = [address_of(key) for key in KEYS] + [bytes([200 + i]) * 20 for i in range(6)]
NOW_S = 1000

Plain = dict[tuple[bytes, int], tuple[int, ...]]

places = st.tuples(st.sampled_from(ADDRESSES), st.sampled_from([0, 0, 1]))
balances = st.sampled_from([0, 0, 1, 50, 2**64, 2**128 - 1])


def rows_of(lines: Lines) -> Plain:
    rows = {}
    for address, asset, low, high, base, mask, flags, reserved in lines.tolist():
        assert reserved == 0 and (bytes(address), asset) not in rows
        rows[bytes(address), asset] = (low | high << 64, base, mask, flags)
    return rows


class Snapshots(RuleBasedStateMachine):
    """The table as it stood, once and whole; the table itself as if nobody looked."""

    def __init__(self) -> None:
        super().__init__()
        self.accounts = Accounts(bytes(32), bytes(16), lines_max=256, depth=2)
        self.frozen: Plain | None = None
        self.found: Plain = {}

    def everything(self) -> Plain:
        rows: Plain = {}
        for lines in self.accounts.export_all():
            rows |= rows_of(lines)
        return rows

    @initialize(lines=st.dictionaries(places, st.integers(1, 100), max_size=12))
    def fill(self, lines: dict[tuple[bytes, int], int]) -> None:
        for (address, asset), balance in lines.items():
            self.accounts.put(address, Line(balance), asset)

    @rule(place=places, balance=balances)
    def put(self, place: tuple[bytes, int], balance: int) -> None:
        self.accounts.put(place[0], Line(balance), place[1])

    @rule(changes=st.lists(st.tuples(places, st.integers(0, 2)), max_size=8))
    def put_lines(self, changes: list[tuple[tuple[bytes, int], int]]) -> None:
        lines = np.zeros(len(changes), LINE)
        for i, ((address, asset), balance) in enumerate(changes):
            lines[i] = (np.frombuffer(address, np.uint8), asset, balance, 0, 0, 0, 0, 0)
        self.accounts.put_lines(lines)

    @rule(
        moves=st.lists(
            st.tuples(
                st.sampled_from(KEYS),
                st.sampled_from(ADDRESSES),
                st.sampled_from([0, 0, 1]),
                st.sampled_from([1, 49, 50, 2**64 - 1]),
                st.sampled_from([0, 0, 1, 63]),
                st.sampled_from([0, 1]),
            ),
            min_size=1,
            max_size=6,
        )
    )
    def transfer(self, moves: list[tuple[bytes, bytes, int, int, int, int]]) -> None:
        """Accounts pay, are opened, and are charged in vain; holdings go and come."""
        senders, recipients, assets, amounts, ahead, fees = zip(*moves, strict=True)
        bases = [(self.accounts.get(address_of(key)) or Line(0)).nonce_base for key in senders]
        records = build_transfers(
            senders=b"".join(senders),
            recipients=b"".join(recipients),
            amounts=list(amounts),
            nonces=[base + more for base, more in zip(bases, ahead, strict=True)],
            fee=list(fees),
            asset=list(assets),
        )
        statuses = np.zeros(len(moves), np.uint8)
        assert self.accounts.apply(records, statuses, NOW_S) == len(moves)

    @rule(key=st.sampled_from(KEYS), nonce=st.integers(0, 70), fee=st.sampled_from([0, 1]))
    def begin_operation(self, key: bytes, nonce: int, fee: int) -> None:
        record = build_transfers(senders=key, recipients=bytes(20), amounts=1, nonces=nonce, fee=fee)
        assert isinstance(self.accounts.begin_operation(record, NOW_S), Status)

    @precondition(lambda self: self.frozen is None)
    @rule()
    def begin(self) -> None:
        self.frozen, self.found = self.everything(), {}
        self.accounts.begin_snapshot()

    @precondition(lambda self: self.frozen is not None)
    @rule(count_max=st.integers(1, 5))
    def read(self, count_max: int) -> None:
        lines = rows_of(self.accounts.snapshot_lines(count_max))
        assert len(lines) <= count_max and not lines.keys() & self.found.keys()
        self.found |= lines
        assert self.found.items() <= self.frozen.items()
        assert lines or self.found == self.frozen

    @precondition(lambda self: self.frozen is not None)
    @rule(whole=st.booleans())
    def end(self, whole: bool) -> None:
        while whole and len(lines := self.accounts.snapshot_lines(3)):
            self.found |= rows_of(lines)
        assert not whole or self.found == self.frozen
        self.accounts.end_snapshot()
        self.frozen = None

    @invariant()
    def table_is_sound(self) -> None:
        assert self.accounts._table.is_sound()


TestSnapshots = Snapshots.TestCase
TestSnapshots.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


def test_snapshot_has_payer_holding_and_payee_as_they_stood() -> None:
    """Of transfers that change a holding, empty it, and are charged in vain; and of an operation."""
    accounts = Accounts(bytes(32), bytes(16), lines_max=16, depth=2)
    payer, payee, other = ADDRESSES[:3]
    before = {(payer, 0): 10, (payer, 1): 40, (payee, 1): 5, (other, 0): 7}
    for (address, asset), balance in before.items():
        accounts.put(address, Line(balance), asset)
    accounts.begin_snapshot()
    records = build_transfers(
        senders=KEYS[0], recipients=payee, amounts=[15, 99, 25], nonces=[0, 1, 2], asset=1
    )
    statuses = np.zeros(3, np.uint8)
    assert accounts.apply(records, statuses, NOW_S) == 3
    assert statuses.tolist() == [Status.APPLIED, Status.INSUFFICIENT, Status.APPLIED]
    operation = build_transfers(senders=KEYS[2], recipients=payee, amounts=1, nonces=0)
    assert accounts.begin_operation(operation, NOW_S) == Status.APPLIED
    assert accounts.get(payer, 1) is None and accounts.get(payee, 1) == Line(45)
    found = rows_of(accounts.snapshot_lines())
    assert found == {place: (balance, 0, 0, 0) for place, balance in before.items()}


def test_removed_lines_are_in_the_snapshot_and_their_places_new_lines_are_not() -> None:
    accounts = Accounts(bytes(32), bytes(16), lines_max=4, depth=2)
    for i, address in enumerate(ADDRESSES[:4]):
        accounts.put(address, Line(1 + i))
    accounts.put(ADDRESSES[0], Line(0))
    accounts.begin_snapshot()
    for address in ADDRESSES[1:4]:
        accounts.put(address, Line(0))
    for address in ADDRESSES[4:8]:
        accounts.put(address, Line(9))
    found = rows_of(accounts.snapshot_lines())
    assert {key[0]: row[0] for key, row in found.items()} == dict(zip(ADDRESSES[1:4], (2, 3, 4), strict=True))


def test_line_that_was_read_or_came_later_costs_nothing_more() -> None:
    accounts = Accounts(bytes(32), bytes(16), lines_max=16, depth=2)
    accounts.put(ADDRESSES[0], Line(1))
    accounts.begin_snapshot()
    assert len(accounts.snapshot_lines()) == 1
    before = accounts.memory_bytes
    for address in ADDRESSES:
        accounts.put(address, Line(5))
    assert accounts.memory_bytes - before < 1024  # the index has grown
    assert len(accounts.snapshot_lines()) == 0
