"""Commits into state: transfers in native runs, modules' operations one by one, in the commit's order.

Deterministic, integers only: the state after a commit depends on the state before and on the commit's
vertices, not on the seed of an index nor on how records are batched.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

import numpy as np

from cherrydag.address import address_of
from cherrydag.consensus.effects import SubDag
from cherrydag.errors import ShapeError, StorageError, invariant
from cherrydag.execution.accounts import NATIVE, Accounts, Status
from cherrydag.execution.checkpoint import State, StateSnapshot, load_state
from cherrydag.execution.entries import EntryTable
from cherrydag.execution.module import (
    CHARGED,
    Context,
    Module,
    ModuleRegistry,
    Operation,
    OperationStatus,
    Receipt,
    execute_operation,
)
from cherrydag.execution.overlay import Overlay, View
from cherrydag.execution.state_tree import LedgerFigures, StateCommitment
from cherrydag.params import VALID_FOREVER
from cherrydag.payload import Payload
from cherrydag.primitives import Amount, Digest, PublicKey
from cherrydag.state_proof import ACCOUNTS, ENTRIES, LEDGER
from cherrydag.transaction import Octets, Records, Scheme

_MS_PER_S: Final = 1000

_IS_CHARGED: Final = np.isin(np.arange(256), CHARGED)  # by status: a lookup costs less than a search


_Kind = TypeVar("_Kind", bound=Module)


class OperationReceipt(NamedTuple):
    """The receipt of the operation in a row of a vertex, both counted within the commit and the vertex."""

    vertex: int
    row: int
    receipt: Receipt


@dataclass(frozen=True, slots=True, eq=False)
class CommitResult:
    """What became of a commit's transactions.

    statuses: for each vertex, one Status or OperationStatus for each of its transactions. receipts: of all
    operations of modules, in order; transfers have their status alone. fees: what went to the pot.
    """

    index: int
    now_s: int
    statuses: tuple[Octets, ...]
    receipts: tuple[OperationReceipt, ...]
    fees: Amount


class Executor:
    """Owner of the state: nothing else changes accounts and entries.

    supply: of the native coin, fixed by genesis: all balances and the pot. commit_index: of the last commit
    in the state.
    Overloaded or MemoryError from a call mean that this node cannot hold the state: it must stop, and the
    state is no commit's.
    """

    __slots__ = (
        "_accounts",
        "_commitment",
        "_figures",
        "_modules",
        "_overlay",
        "_state",
        "commit_index",
        "supply",
    )

    def __init__(
        self,
        accounts: Accounts,
        entries: EntryTable,
        modules: Iterable[Module] = (),
        *,
        supply: Amount,
        commit_index: int = 0,
    ) -> None:
        """Raises ConfigError for modules that do not go together."""
        self._accounts = accounts
        self._state = State(accounts, entries)
        self._modules = ModuleRegistry(modules)
        self._overlay = Overlay(accounts, entries)
        self._figures = LedgerFigures()
        self._commitment = StateCommitment({ACCOUNTS: accounts, ENTRIES: entries, LEDGER: self._figures})
        self.supply = supply
        self.commit_index = commit_index

    @property
    def commitment(self) -> StateCommitment:
        """The state's trees, for proofs against the last root."""
        return self._commitment

    def execute(self, sub_dag: SubDag) -> CommitResult:
        """Execute the next commit: its vertices in its order, under its time.

        The records were checked and verified before. A second copy of a transaction is a no-op.
        """
        commit = sub_dag.commit
        invariant(
            commit.index == self.commit_index + 1,
            "commits are executed in order, without a gap",
            index=commit.index,
            last=self.commit_index,
        )
        invariant(self._overlay.is_clean, "no operation is left open between commits")
        now_s = min(commit.timestamp_ms // _MS_PER_S, VALID_FOREVER)
        before = self._accounts.fees
        statuses: list[Octets] = []
        receipts: list[OperationReceipt] = []
        paid = 0
        for vertex in sub_dag.vertices:
            of_vertex = self._execute_payload(vertex.payload, commit.index, now_s, len(statuses), receipts)
            statuses.append(of_vertex)
            paid += _fees_of(vertex.payload.records, of_vertex)
        fees = Amount(self._accounts.fees - before)
        invariant(fees == paid, "the pot grows by the fees of charged transactions", pot=fees, charged=paid)
        self.commit_index = commit.index
        return CommitResult(commit.index, now_s, tuple(statuses), tuple(receipts), fees)

    def _execute_payload(
        self, payload: Payload, commit_index: int, now_s: int, vertex: int, receipts: list[OperationReceipt]
    ) -> Octets:
        n = len(payload)
        statuses = np.zeros(n, np.uint8)
        row = 0
        while row < n:
            row += self._accounts.apply(payload.records, statuses, now_s, start=row)
            if row < n:
                receipt = self._operate(payload, row, commit_index, now_s)
                statuses[row] = receipt.status
                receipts.append(OperationReceipt(vertex, row, receipt))
                row += 1
        return statuses

    def _operate(self, payload: Payload, row: int, commit_index: int, now_s: int) -> Receipt:
        record = payload.records[row : row + 1]
        module = self._modules.find(int(record["kind"][0]))
        if module is None or record["scheme"][0] != Scheme.ED25519 or record["flags"][0]:
            return Receipt(OperationStatus.UNKNOWN)
        sender = address_of(PublicKey(record["sender"][0].tobytes()))
        status = self._accounts.begin_operation(record, now_s, sender=sender)
        if status != Status.APPLIED:
            return Receipt(status)
        operation = Operation.of(payload.records, row, bytes(payload.body(row)))
        return execute_operation(module, operation, self._overlay, Context(commit_index, now_s, sender))

    def find(self, kind: type[_Kind]) -> tuple[_Kind, View] | None:
        """The chain's module of this type and the state as it may read it; None if the chain has none."""
        found = next((module for module in self._modules if isinstance(module, kind)), None)
        return None if found is None else (found, View(self._overlay, found.powers))

    def state_root(self) -> Digest:
        """The root of the state after the last commit. Costs what changed since the last one."""
        self._figures.set(self.commit_index, self._accounts.fees, self.supply)
        return self._commitment.commit()

    def audit(self) -> None:
        """InvariantViolation unless the supply is exact and modules and trees hold together. O(state)."""
        balances, fees = self._accounts.audit(NATIVE), self._accounts.fees
        invariant(
            balances + fees == self.supply,
            "balances and fees are the native supply",
            balances=balances,
            fees=fees,
            supply=self.supply,
        )
        for module in self._modules:
            module.audit(View(self._overlay, module.powers))
        self._commitment.audit()

    def begin_snapshot(self) -> StateSnapshot:
        """The state after the last commit with its root, to be read while the next ones are executed.

        Costs what the root costs. InvariantViolation while another snapshot is open.
        """
        return StateSnapshot(self.commit_index, self.state_root(), self.supply, self._state)

    def restore(self, chunks: Iterable[tuple[int, bytes]]) -> Digest:
        """Become the state of a snapshot's chunks; its root, for the caller to compare with a trusted one.

        ShapeError unless the state is empty. StorageError if the chunks are not those of a state with this
        supply and the root that they name; Overloaded if it has more lines than this node holds: then the
        executor is of no use any more.
        """
        accounts, entries = self._state
        if len(accounts) or len(entries) or accounts.fees:
            raise ShapeError("chunks: they are restored into an empty state")
        head = load_state(chunks, self._state)
        balances = accounts.audit(NATIVE)
        if head.supply != self.supply or balances + head.fees != self.supply:
            raise StorageError(
                f"state: balances {balances} and fees {head.fees} of a supply of {head.supply}, "
                f"but this chain's is {self.supply}"
            )
        self.commit_index = head.commit_index
        root = self.state_root()
        if root != head.root:
            raise StorageError(f"state: its root is {root.hex()}, but the head says {head.root.hex()}")
        return root


def _fees_of(records: Records, statuses: Octets) -> int:
    """Fees of the charged ones. Halves are summed: whole words could wrap."""
    if not len(statuses):
        return 0
    fees = records["fee"][_IS_CHARGED[statuses]]
    low, high = (fees & np.uint64(2**32 - 1)).sum(), (fees >> np.uint64(32)).sum()
    return int(low) + (int(high) << 32)
