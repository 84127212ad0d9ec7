"""The benches of execution, in the same registry as those of cases.py."""

from itertools import cycle

import numpy as np
from reference.ledger_reference import ReferenceLedger

from cases import SEED, Prepared, case
from cherrydag.address import ADDRESS_KEY, addresses_of
from cherrydag.execution.accounts import LINE, Accounts, Status
from cherrydag.transaction import build_transfers

PLAIN_LEDGER = "dicts and ints in plain Python"
BALANCE = 10**15


@case("execution.transfers/known", "ns/transfer", PLAIN_LEDGER, known=1)
@case("execution.transfers", "ns/transfer", PLAIN_LEDGER)
def transfers(accounts: int = 1_000_000, batch: int = 8192, known: int = 0) -> Prepared:
    """Apply batches of 8192 transfers between random accounts, ids and signatures checked before.

    known: the senders' addresses are given, not computed. The baseline applies the first 1024.
    """
    rng = np.random.default_rng(SEED)
    keys = rng.integers(0, 256, (accounts, 32), dtype=np.uint8)
    addresses = np.ascontiguousarray(addresses_of(keys))
    table = Accounts(bytes(32), bytes(16))
    lines = np.zeros(accounts, LINE)
    lines["address"], lines["balance_lo"] = addresses, BALANCE
    table.load(lines)

    batches = []
    for _ in range(16):
        senders = rng.choice(accounts, batch, replace=False)
        recipients = addresses[rng.integers(0, accounts, batch)]
        records = build_transfers(senders=keys[senders], recipients=recipients, amounts=1, nonces=0)
        batches.append((records, senders, np.ascontiguousarray(addresses[senders])))
    turns, nonces = cycle(batches), np.zeros(accounts, np.uint64)
    statuses = np.empty(batch, np.uint8)
    records, senders, known_addresses = batches[0]

    def reset() -> None:
        """The next batch, with nonces that no other has used."""
        nonlocal records, senders, known_addresses
        records, senders, known_addresses = next(turns)
        records["nonce"] = nonces[senders]
        nonces[senders] += 1

    def run() -> int:
        return table.apply(records, statuses, 0, senders=known_addresses if known else None)

    few = batches[0][0][:1024].tobytes()
    named = [address.tobytes() for address in addresses[batches[0][1][:1024]]]

    def baseline() -> list[int]:
        reference = ReferenceLedger(bytes(32), ADDRESS_KEY, 20)
        for address in named:
            reference.put(address, 0, BALANCE, 0, 0, 0)
        return reference.apply(few, 0)

    reset()
    if run() != batch or (statuses != Status.APPLIED).any() or baseline() != [Status.APPLIED] * 1024:
        raise AssertionError("not every transfer was applied")
    if table.audit() + table.fees != accounts * BALANCE:
        raise AssertionError("the supply has changed")
    return Prepared(run, batch, baseline, 1024, reset)
