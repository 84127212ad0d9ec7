"""The verbs of an embedded ledger on an event loop; cherrydag.ledger says what it is."""

import time
from collections.abc import AsyncGenerator
from os import PathLike
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from cherrydag.errors import Rejected, ShapeError
from cherrydag.execution.accounts import NATIVE
from cherrydag.inclusion import InclusionProof
from cherrydag.mempool import MempoolStats
from cherrydag.params import NONCE_WINDOW
from cherrydag.primitives import Address, Amount, Digest, PublicKey, TimestampMs
from cherrydag.runtime.home import SOLO_SUPPLY, TREASURY, Home, create_solo, is_home
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
from cherrydag.runtime.opening import LedgerOptions, Progress, Running, open_ledger
from cherrydag.runtime.orders import Owner, Payer, Terms, address_of_owner
from cherrydag.runtime.submissions import Phase, Submission
from cherrydag.signing import KeyPair
from cherrydag.transaction import Bytes, Records, as_records

_PROOF_WAITS = 100
"""Commits that a proof waits for at most, while the account keeps changing."""


class AccountView(NamedTuple):
    """An account as of a commit. next_nonce: the lowest that it has not used."""

    address: Address
    balance: Amount
    next_nonce: int
    flags: int
    commit_index: int


class LedgerStatus(NamedTuple):
    """Where a ledger stands. checkpoint_index: of the commit that a restart begins with."""

    genesis_digest: Digest
    commit_index: int
    time_s: int
    checkpoint_index: int
    is_checkpointing: bool
    open_submissions: int
    mempool: MempoolStats
    stored_bytes: int


class AsyncLedger(Payer[Submission]):
    """The verbs on a running event loop. Make it with `open`; `async with` closes it."""

    def __init__(self, running: Running) -> None:
        super().__init__()
        self._running = running

    # Life

    @classmethod
    async def open(
        cls,
        folder: str | PathLike[str],
        *,
        supply: Amount = SOLO_SUPPLY,
        modules: tuple[str, ...] = ("anchor", "assets", "multisig"),
        options: LedgerOptions | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Open the ledger in a folder, or make a new one there: its treasury then has the supply.

        supply, modules: of a new one. progress: called while the log is replayed. Raises ConfigError for a
        folder of something else, StorageError if what is there cannot be trusted or is in use.
        """
        home = _home(Path(folder), supply, modules)
        return cls(await open_ledger(home, options, progress=progress))

    async def close(self) -> None:
        """Write what waits and let the folder go. Idempotent. What was accepted and is not final yet may be
        forgotten: hand it in again."""
        await self._running.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def treasury(self) -> KeyPair:
        """The key that a new solo ledger's supply belongs to. Rejected if it is not in the keystore."""
        return self._running.home.key(TREASURY)

    @property
    def genesis_digest(self) -> Digest:
        """The chain's identity."""
        return self._running.home.genesis.digest

    @property
    def transaction_key(self) -> bytes:
        """The key of this chain's transaction ids: what sign_records and transaction_ids take."""
        return self._running.service.rules.chain.transaction_key

    # Submission

    async def submit(self, records: Records | Bytes, bodies: Bytes = b"", *, wait: bool = True) -> Submission:
        """Hand in signed transactions: a numpy array of RECORD, or its bytes. They are accepted or refused,
        by row, when this returns; await the submission for what is final.

        bodies: of the records that have one, end to end. wait: for room in the mempool, where it is full.
        """
        taken = records if isinstance(records, np.ndarray) else as_records(records)
        return await self._running.service.submit(taken, bodies, wait=wait)

    async def _terms(self) -> Terms:
        rules = self._running.service.rules
        return Terms(self._running.home.genesis.network, rules.chain.transaction_key, rules.fee_min)

    async def _nonce_window(self, address: Address) -> tuple[int, int]:
        lookups = self._running.lookups
        return lookups.next_nonce(address), lookups.line(address).nonce_base + NONCE_WINDOW

    async def _phase(self, transaction_id: Digest) -> Phase | None:
        return self.phase(transaction_id)

    async def _next_commit(self) -> None:
        await self._running.service.progress()

    # Reads

    def balance(self, owner: Owner, asset: int = NATIVE) -> Amount:
        """Of an account, in smallest units, as of the last final commit; 0 if there is none."""
        return self._running.lookups.line(self._address(owner), asset).balance

    def account(self, owner: Owner) -> AccountView:
        """An account as of the last final commit; zeros if there is none."""
        address, lookups = self._address(owner), self._running.lookups
        line = lookups.line(address)
        return AccountView(
            address, line.balance, lookups.next_nonce(address), line.flags, self._running.books.commit_index
        )

    def receipt(self, transaction_id: bytes) -> TransactionReceipt | None:
        """What became of a transaction; None if it is not final, which `phase` tells more about."""
        return self._running.lookups.receipt(_digest(transaction_id))

    def phase(self, transaction_id: bytes) -> Phase | None:
        """How far a transaction has come here; None if this ledger does not know it: hand it in again."""
        return self._running.service.phase(_digest(transaction_id))

    def transaction(self, transaction_id: bytes) -> HistoryItem | None:
        """A final transaction with its record; None if there is none of this id."""
        return self._running.lookups.transaction(_digest(transaction_id))

    def history(self, owner: Owner, limit: int = 50, cursor: int | None = None) -> HistoryPage:
        """An account's transactions, newest first; cursor: of the page before."""
        return self._running.lookups.history(self._address(owner), limit, cursor)

    def inclusion(self, transaction_id: bytes) -> InclusionProof | None:
        """Proof that a committed vertex carries a transaction: verify it with inclusion.verify_inclusion."""
        return self._running.lookups.inclusion(_digest(transaction_id))

    async def proof(self, owner: Owner, asset: int = NATIVE) -> AccountProof:
        """Proof of an account's balance, or that there is none, as of a checkpoint that a quorum has signed.

        Waits for that checkpoint. Rejected if the account changes faster than checkpoints come.
        """
        address = self._address(owner)
        for waited in range(_PROOF_WAITS):
            try:
                found = self._running.lookups.prove(address, asset)
            except Rejected:
                if waited == _PROOF_WAITS - 1:
                    raise
                found = None
            if found is not None:
                return found
            await self._running.service.progress()
        raise Rejected("proof_uncertified", "proof: no checkpoint of the present state has been signed")

    def supply(self, asset: int = NATIVE) -> Supply:
        """How much there is of an asset. Adds up every holding if it is not the native coin."""
        return self._running.lookups.supply(asset)

    def bond(self, operator: PublicKey) -> BondState:
        """What an operator key has at stake, as of the last final commit."""
        return self._running.lookups.bond(operator)

    def bonds(self, after: PublicKey | None = None, limit: int = BONDS_PAGE_MAX) -> BondPage:
        """A page of all bonds, ascending by operator; after: the cursor of the page before."""
        return self._running.lookups.bonds(after, limit)

    def status(self) -> LedgerStatus:
        """Where the ledger stands."""
        running = self._running
        checkpointing = running.books.checkpointing
        return LedgerStatus(
            self.genesis_digest,
            running.books.commit_index,
            running.lookups.time_s,
            checkpointing.commit_index,
            checkpointing.is_running,
            len(running.service.tracker),
            running.service.mempool.stats(),
            running.store.info().used_bytes,
        )

    async def subscribe(self, after: int | None = None) -> AsyncGenerator[CommitEvent, None]:
        """Every commit behind `after`, without a gap: old ones from the disk, then each as it becomes final.

        after: index of the last commit that is known, 0 for all of them; None for those still to come. Go on
        later with the index of the last event. Who reads slowly delays nobody.
        """
        running = self._running
        index = running.books.commit_index if after is None else after
        while True:
            while index >= running.books.commit_index:
                await running.service.progress()
            index += 1
            event = running.lookups.event(index)
            if event is None:
                raise Rejected("cursor_gone", f"cursor: commit {index} is not kept any more")
            yield event

    async def backup(self, folder: str | PathLike[str]) -> int:
        """Copy the ledger to a new folder, from which it can be opened, while it goes on; index of the last
        commit that is in the copy for sure. The keys are copied with it."""
        return await self._running.backup(Path(folder))

    def _address(self, owner: Owner) -> Address:
        return address_of_owner(owner, self._running.home.genesis.network)


def _home(folder: Path, supply: Amount, modules: tuple[str, ...]) -> Home:
    if is_home(folder):
        return Home.load(folder)
    return create_solo(
        folder, created_ms=TimestampMs(time.time_ns() // 1_000_000), supply=supply, modules=modules
    )


def _digest(transaction_id: bytes) -> Digest:
    if len(transaction_id) != 32:
        raise ShapeError(f"transaction_id: expected 32 bytes, got {len(transaction_id)}")
    return Digest(bytes(transaction_id))
