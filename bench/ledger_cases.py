"""The benches of execution, in the same registry as those of cases.py."""

from functools import partial
from itertools import cycle

import numpy as np
from reference.ledger_reference import ReferenceLedger

from cases import SEED, Prepared, case
from cherrydag.address import ADDRESS_KEY, addresses_of
from cherrydag.execution.accounts import LINE, Accounts, Status
from cherrydag.transaction import build_transfers

PLAIN_LEDGER = "dicts and ints in plain Python"
NO_SNAPSHOT = "the same without a snapshot"
BALANCE = 10**15


class Payers:
    """Batches of transfers between random accounts, which are filled in with nonces that none has used."""

    def __init__(self, accounts: int, batch: int) -> None:
        rng = np.random.default_rng(SEED)
        self.keys = rng.integers(0, 256, (accounts, 32), dtype=np.uint8)
        self.addresses = np.ascontiguousarray(addresses_of(self.keys))
        self._nonces = np.zeros(accounts, np.uint64)
        self._batches = []
        for _ in range(16):
            senders = rng.choice(accounts, batch, replace=False)
            recipients = self.addresses[rng.integers(0, accounts, batch)]
            records = build_transfers(senders=self.keys[senders], recipients=recipients, amounts=1, nonces=0)
            self._batches.append((records, senders, np.ascontiguousarray(self.addresses[senders])))
        self._turns = cycle(self._batches)
        self.records, self.senders, self.known = self._batches[0]

    def table(self) -> Accounts:
        """A table with all accounts, each rich."""
        table = Accounts(bytes(32), bytes(16))
        lines = np.zeros(len(self.addresses), LINE)
        lines["address"], lines["balance_lo"] = self.addresses, BALANCE
        table.load(lines)
        return table

    def turn(self) -> None:
        """The next batch."""
        self.records, self.senders, self.known = next(self._turns)
        self.records["nonce"] = self._nonces[self.senders]
        self._nonces[self.senders] += 1

    def few(self, count: int) -> tuple[bytes, list[bytes]]:
        """The first transfers of the first batch, and their senders."""
        records, senders, _ = self._batches[0]
        return records[:count].tobytes(), [address.tobytes() for address in self.addresses[senders[:count]]]


@case("execution.transfers/known", "ns/transfer", PLAIN_LEDGER, known=1)
@case("execution.transfers", "ns/transfer", PLAIN_LEDGER)
def transfers(accounts: int = 1_000_000, batch: int = 8192, known: int = 0) -> Prepared:
    """Apply batches of 8192 transfers between random accounts, ids and signatures checked before.

    known: the senders' addresses are given, not computed. The baseline applies the first 1024.
    """
    payers = Payers(accounts, batch)
    table, statuses = payers.table(), np.empty(batch, np.uint8)
    few, named = payers.few(1024)

    def run() -> int:
        return table.apply(payers.records, statuses, 0, senders=payers.known if known else None)

    def baseline() -> list[int]:
        reference = ReferenceLedger(bytes(32), ADDRESS_KEY, 20)
        for address in named:
            reference.put(address, 0, BALANCE, 0, 0, 0)
        return reference.apply(few, 0)

    payers.turn()
    if run() != batch or (statuses != Status.APPLIED).any() or baseline() != [Status.APPLIED] * 1024:
        raise AssertionError("not every transfer was applied")
    if table.audit() + table.fees != accounts * BALANCE:
        raise AssertionError("the supply has changed")
    return Prepared(run, batch, baseline, 1024, payers.turn)


@case("execution.transfers/snapshot", "ns/transfer", NO_SNAPSHOT)
def transfers_in_snapshot(accounts: int = 1_000_000, batch: int = 8192) -> Prepared:
    """Number and apply a batch right after a snapshot began, when all that it changes is saved.

    No batch of a snapshot costs more. The baseline does the same to a table without one.
    """
    payers, others = Payers(accounts, batch), Payers(accounts, batch)
    table, other, statuses = payers.table(), others.table(), np.empty(batch, np.uint8)

    def apply(to: Accounts, by: Payers) -> int:
        by.turn()
        return to.apply(by.records, statuses, 0)

    def reset() -> None:
        table.end_snapshot()
        table.begin_snapshot()

    reset()
    for to, by in ((table, payers), (other, others)):
        if apply(to, by) != batch or (statuses != Status.APPLIED).any():
            raise AssertionError("not every transfer was applied")
    return Prepared(partial(apply, table, payers), batch, partial(apply, other, others), batch, reset)


@case("execution.snapshot", "ns/line", "np.concatenate of all lines at once")
def snapshot(accounts: int = 1_000_000) -> Prepared:
    """Read a snapshot of a table that rests, in pieces of 1 MiB; the baseline copies an array as large."""
    table = Payers(accounts, 1).table()
    whole = np.concatenate(list(table.export_all()))

    def run() -> int:
        table.begin_snapshot()
        count = 0
        while taken := len(table.snapshot_lines()):
            count += taken
        table.end_snapshot()
        return count

    if run() != accounts:
        raise AssertionError("lines are missing")
    return Prepared(run, accounts, lambda: np.concatenate([whole]), accounts)
