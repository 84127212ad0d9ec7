"""The embedded ledger: a chain with one validator inside this process, on its own disk.

    with Ledger.open("shop") as ledger:
        ledger.transfer(ledger.treasury, to, 5 * COIN).wait()

It is the very engine that a network of validators runs: the same records, signatures, DAG, commits, execution
and log, without peers. Ledger is for threads and scripts, AsyncLedger for an event loop; the verbs are the
same.

Three facts about a transaction are told apart (`Phase`): accepted, it waits in this process; sequenced, the
main chain has its place; final, it is executed and a power cut does not undo it. Handing the same transaction
in again is harmless at any time. What became of an id is always known: `receipt`.
"""

from collections.abc import Iterator
from os import PathLike
from typing import Any, Self

from cherrydag.async_ledger import AccountView, AsyncLedger, LedgerStatus
from cherrydag.execution.accounts import NATIVE
from cherrydag.inclusion import InclusionProof
from cherrydag.primitives import Amount, Digest, PublicKey
from cherrydag.runtime.home import SOLO_SUPPLY
from cherrydag.runtime.lookups import (
    BONDS_PAGE_MAX,
    AccountProof,
    BondPage,
    BondState,
    CommitEvent,
    HistoryItem,
    HistoryPage,
    Supply,
    TransactionReceipt,
)
from cherrydag.runtime.loop_thread import LoopThread
from cherrydag.runtime.opening import LedgerOptions, Progress
from cherrydag.runtime.orders import Owner
from cherrydag.runtime.submissions import Phase, Submission
from cherrydag.signing import KeyPair
from cherrydag.transaction import Bytes, Records

__all__ = ["AccountView", "AsyncLedger", "Ledger", "LedgerStatus", "Owner"]


class Ledger:
    """The verbs for threads and scripts: each call blocks until it is done. Threads may share it.

    The ledger runs on an event loop in a thread of its own. Make it with `open`; `with` closes it.
    """

    def __init__(self, thread: LoopThread, ledger: AsyncLedger) -> None:
        self._thread = thread
        self._ledger = ledger

    @classmethod
    def open(
        cls,
        folder: str | PathLike[str],
        *,
        supply: Amount = SOLO_SUPPLY,
        modules: tuple[str, ...] = ("anchor", "assets", "multisig"),
        options: LedgerOptions | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """As AsyncLedger.open."""
        thread = LoopThread("ledger")
        try:
            return cls(
                thread,
                thread.run(
                    AsyncLedger.open(
                        folder, supply=supply, modules=modules, options=options, progress=progress
                    )
                ),
            )
        except BaseException:
            thread.close()
            raise

    def close(self) -> None:
        """As AsyncLedger.close."""
        self._thread.close(self._ledger.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def treasury(self) -> KeyPair:
        """As AsyncLedger.treasury."""
        return self._ledger.treasury

    @property
    def genesis_digest(self) -> Digest:
        """The chain's identity."""
        return self._ledger.genesis_digest

    @property
    def transaction_key(self) -> bytes:
        """As AsyncLedger.transaction_key."""
        return self._ledger.transaction_key

    def submit(self, records: Records | Bytes, bodies: Bytes = b"", *, wait: bool = True) -> Submission:
        """As AsyncLedger.submit; `wait()` of the submission blocks until it is final."""
        return self._thread.run(self._ledger.submit(records, bodies, wait=wait))

    def transfer(self, key: KeyPair, to: Owner, amount: int, **fields: Any) -> Submission:
        """As AsyncLedger.transfer, with its fields."""
        return self._thread.run(self._ledger.transfer(key, to, amount, **fields))

    def operate(self, key: KeyPair, kind: int, body: bytes = b"", **fields: Any) -> Submission:
        """As AsyncLedger.operate, with its fields."""
        return self._thread.run(self._ledger.operate(key, kind, body, **fields))

    def balance(self, owner: Owner, asset: int = NATIVE) -> Amount:
        """As AsyncLedger.balance."""
        return self._thread.call(self._ledger.balance, owner, asset)

    def account(self, owner: Owner) -> AccountView:
        """As AsyncLedger.account."""
        return self._thread.call(self._ledger.account, owner)

    def receipt(self, transaction_id: bytes) -> TransactionReceipt | None:
        """As AsyncLedger.receipt."""
        return self._thread.call(self._ledger.receipt, transaction_id)

    def phase(self, transaction_id: bytes) -> Phase | None:
        """As AsyncLedger.phase."""
        return self._thread.call(self._ledger.phase, transaction_id)

    def transaction(self, transaction_id: bytes) -> HistoryItem | None:
        """As AsyncLedger.transaction."""
        return self._thread.call(self._ledger.transaction, transaction_id)

    def history(self, owner: Owner, limit: int = 50, cursor: int | None = None) -> HistoryPage:
        """As AsyncLedger.history."""
        return self._thread.call(self._ledger.history, owner, limit, cursor)

    def inclusion(self, transaction_id: bytes) -> InclusionProof | None:
        """As AsyncLedger.inclusion."""
        return self._thread.call(self._ledger.inclusion, transaction_id)

    def proof(self, owner: Owner, asset: int = NATIVE) -> AccountProof:
        """As AsyncLedger.proof."""
        return self._thread.run(self._ledger.proof(owner, asset))

    def supply(self, asset: int = NATIVE) -> Supply:
        """As AsyncLedger.supply."""
        return self._thread.call(self._ledger.supply, asset)

    def bond(self, operator: PublicKey) -> BondState:
        """As AsyncLedger.bond."""
        return self._thread.call(self._ledger.bond, operator)

    def bonds(self, after: PublicKey | None = None, limit: int = BONDS_PAGE_MAX) -> BondPage:
        """As AsyncLedger.bonds."""
        return self._thread.call(self._ledger.bonds, after, limit)

    def status(self) -> LedgerStatus:
        """As AsyncLedger.status."""
        return self._thread.call(self._ledger.status)

    def subscribe(self, after: int | None = None) -> Iterator[CommitEvent]:
        """As AsyncLedger.subscribe: blocks for the next commit."""
        events = self._ledger.subscribe(after)
        try:
            while True:
                yield self._thread.run(events.__anext__())
        finally:
            if not self._thread.is_closed:
                self._thread.run(events.aclose())

    def backup(self, folder: str | PathLike[str]) -> int:
        """As AsyncLedger.backup."""
        return self._thread.run(self._ledger.backup(folder))
