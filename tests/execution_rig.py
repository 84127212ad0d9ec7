"""An executor with a few rich users, and commits of unsigned transactions: what verifies them is not here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from reference.ledger_reference import RECORD

from cherrydag.address import address_of
from cherrydag.commit import Commit
from cherrydag.consensus.effects import SubDag
from cherrydag.execution.accounts import Accounts, Line, Status
from cherrydag.execution.entries import EntryTable
from cherrydag.execution.executor import CommitResult, Executor
from cherrydag.execution.module import Module, Receipt
from cherrydag.params import VALID_FOREVER
from cherrydag.payload import EMPTY_ROOT, Payload, body_offsets
from cherrydag.state_proof import ACCOUNTS, TreeKeys
from cherrydag.transaction import as_records
from cherrydag.vertex import ValidatorVertex

DEPTH = 4
NOW_S = 1_800_000_000
RICH = 1_000_000
KEYS = [bytes([i]) * 32 for i in range(1, 7)]
USERS = [address_of(key) for key in KEYS]
NOBODY = bytes(20)


@dataclass(frozen=True)
class Transaction:
    """The fields of a record, of the user with this number, and a body."""

    user: int = 0
    kind: int = 1
    nonce: int = 0
    amount: int = 0
    asset: int = 0
    recipient: bytes = NOBODY
    body: bytes = b""
    fee: int = 1
    valid_until: int = VALID_FOREVER
    scheme: int = 1
    flags: int = 0

    @property
    def record(self) -> bytes:
        low, high = self.amount & 2**64 - 1, self.amount >> 64
        head = (self.kind, self.scheme, self.flags, self.asset, self.nonce, low, high, self.fee)
        key = KEYS[self.user]
        return RECORD.pack(*head, self.valid_until, len(self.body), self.recipient, bytes(12), key, bytes(64))


def payload_of(transactions: Iterable[Transaction]) -> Payload:
    listed = list(transactions)
    records = as_records(b"".join(item.record for item in listed))
    bodies = b"".join(item.body for item in listed)
    return Payload(records, bodies, body_offsets(records, len(bodies)), EMPTY_ROOT)


def sub_dag(index: int, vertices: Sequence[Sequence[Transaction]], now_s: int = NOW_S) -> SubDag:
    """A commit of one validator vertex for each list of transactions."""
    made = [
        ValidatorVertex(0, 1 + i, 0, now_s * 1000, (), payload=payload_of(transactions))
        for i, transactions in enumerate(vertices)
    ]
    commit = Commit(0, index, bytes(32), now_s * 1000, tuple([vertex.ref for vertex in made]))
    return SubDag(commit, tuple(made))


class Rig:
    """An executor that counts its commits, and the users' nonces if it is asked to."""

    def __init__(
        self, *modules: Module, seed: bytes = bytes(16), rich: Iterable[int] = range(6), balance: int = RICH
    ) -> None:
        self.accounts = Accounts(TreeKeys.of(ACCOUNTS).bucket, seed, depth=DEPTH)
        self.entries = EntryTable(DEPTH)
        supply = 0
        for user in rich:
            self.accounts.put(USERS[user], Line(balance))
            supply += balance
        self.executor = Executor(self.accounts, self.entries, modules, supply=supply)
        self.nonces = [0] * len(USERS)

    def commit(self, *vertices: Sequence[Transaction], now_s: int = NOW_S) -> CommitResult:
        return self.executor.execute(sub_dag(self.executor.commit_index + 1, vertices, now_s))

    def do(self, user: int, kind: int, **fields: object) -> Receipt:
        """One operation in a commit of its own, under the user's next nonce."""
        transaction = Transaction(user, kind, self.nonces[user], **fields)  # type: ignore[arg-type]
        result = self.commit([transaction])
        (receipt,) = result.receipts
        self.nonces[user] += receipt.receipt.status in (Status.APPLIED, 16)
        return receipt.receipt

    def transfer(self, user: int, recipient: bytes, amount: int, asset: int = 0) -> Status:
        """One transfer in a commit of its own, under the user's next nonce."""
        fields = {"recipient": recipient, "amount": amount, "asset": asset}
        result = self.commit([Transaction(user, nonce=self.nonces[user], **fields)])
        status = Status(result.statuses[0][0])
        self.nonces[user] += status.is_charged
        return status

    def balance(self, address: bytes, asset: int = 0) -> int:
        line = self.accounts.get(address, asset)
        return 0 if line is None else line.balance

    def lines(self) -> dict[tuple[bytes, int], tuple[int, ...]]:
        rows = chain.from_iterable(lines.tolist() for lines in self.accounts.export_all())
        return {(bytes(row[0]), row[1]): tuple(row[2:7]) for row in rows}

    def entry_bytes(self) -> list[bytes]:
        data, offsets = self.entries.bucket_entries(np.arange(1 << DEPTH, dtype=np.uint32))
        return [data, offsets.tobytes()]
