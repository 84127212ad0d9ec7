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

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias, TypeVar

import numpy as np

from cherrydag.address import address_of, decode_address
from cherrydag.errors import Closed, Rejected, ShapeError
from cherrydag.execution.accounts import NATIVE
from cherrydag.execution.body import ZERO_ADDRESS
from cherrydag.inclusion import InclusionProof
from cherrydag.mempool import MempoolStats
from cherrydag.params import ADDRESS_BYTES, NONCE_WINDOW, VALID_FOREVER
from cherrydag.primitives import Address, Amount, Digest, TimestampMs
from cherrydag.runtime.home import SOLO_SUPPLY, TREASURY, Home, create_solo, is_home
from cherrydag.runtime.lookups import (
    AccountProof,
    CommitEvent,
    HistoryItem,
    HistoryPage,
    Supply,
    TransactionReceipt,
)
from cherrydag.runtime.opening import LedgerOptions, Progress, Running, open_ledger
from cherrydag.runtime.submissions import Phase, Submission
from cherrydag.signing import KeyPair, sign_records
from cherrydag.transaction import Bytes, Records, as_records, build_transfers

Owner: TypeAlias = Address | str | KeyPair
"""An account: its 20 bytes, its text, or its key."""

_Result = TypeVar("_Result")

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


class AsyncLedger:
    """The verbs on a running event loop. Make it with `open`; `async with` closes it."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._nonces: dict[Address, int] = {}

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

    async def transfer(
        self,
        key: KeyPair,
        to: Owner,
        amount: int,
        *,
        fee: int | None = None,
        asset: int = NATIVE,
        nonce: int | None = None,
        valid_until: int = VALID_FOREVER,
    ) -> Submission:
        """Sign and hand in one transfer. Raises Rejected, with the cause, if it is not accepted.

        fee: None for the chain's least. nonce: None takes the lowest one that is neither used nor given out;
        there is a wait if all 64 that may be under way are.
        """
        record = build_transfers(
            senders=key.public_key,
            recipients=self._address(to),
            amounts=amount,
            nonces=0,
            fee=self._least_fee if fee is None else fee,
            asset=asset,
            valid_until=valid_until,
        )
        return await self._hand_in(key, record, b"", nonce)

    async def operate(
        self,
        key: KeyPair,
        kind: int,
        body: bytes = b"",
        *,
        asset: int = 0,
        amount: int = 0,
        recipient: Owner = ZERO_ADDRESS,
        fee: int | None = None,
        nonce: int | None = None,
        valid_until: int = VALID_FOREVER,
    ) -> Submission:
        """Sign and hand in one operation of a module: which fields it takes is for its kind to say."""
        record = build_transfers(
            senders=key.public_key,
            recipients=self._address(recipient),
            amounts=amount,
            nonces=0,
            fee=self._least_fee if fee is None else fee,
            asset=asset,
            valid_until=valid_until,
        )
        record["kind"], record["body_size"] = kind, len(body)
        return await self._hand_in(key, record, body, nonce)

    @property
    def _least_fee(self) -> int:
        return self._running.service.rules.fee_min

    async def _hand_in(self, key: KeyPair, record: Records, body: bytes, nonce: int | None) -> Submission:
        address = address_of(key.public_key)
        record["nonce"] = await self._take_nonce(address) if nonce is None else nonce
        offsets = None if not body else np.array([0, len(body)], np.uint64)
        sign_records(record, self.transaction_key, [key], np.zeros(1, int), bodies=body, body_offsets=offsets)
        submission = await self.submit(record, body)
        if submission.phases[0] == Phase.REFUSED:
            taken = int(record["nonce"][0])
            if nonce is None and self._nonces.get(address) == taken + 1:
                self._nonces[address] = taken
            raise submission.refusal()
        return submission

    async def _take_nonce(self, address: Address) -> int:
        """A nonce that nobody else gets; its window may have to come."""
        while True:
            line = self._running.lookups.line(address)
            nonce = max(self._running.lookups.next_nonce(address), self._nonces.get(address, 0))
            if nonce < line.nonce_base + NONCE_WINDOW:
                self._nonces[address] = nonce + 1
                return nonce
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
        """What became of a transaction; None if it is not final, which `presence` tells more about."""
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
        if isinstance(owner, KeyPair):
            return address_of(owner.public_key)
        if isinstance(owner, str):
            return decode_address(owner, self._running.home.genesis.network)
        if len(owner) != ADDRESS_BYTES:
            raise ShapeError(f"owner: expected {ADDRESS_BYTES} bytes of address, got {len(owner)}")
        return owner


class Ledger:
    """The verbs for threads and scripts: each call blocks until it is done. Threads may share it.

    The ledger runs on an event loop in a thread of its own. Make it with `open`; `with` closes it.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, thread: threading.Thread, ledger: AsyncLedger
    ) -> None:
        self._loop = loop
        self._thread = thread
        self._ledger = ledger
        self._is_closed = False

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
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_run_loop, args=(loop,), name="cherrydag-ledger", daemon=True)
        thread.start()
        opened = AsyncLedger.open(folder, supply=supply, modules=modules, options=options, progress=progress)
        try:
            ledger = asyncio.run_coroutine_threadsafe(opened, loop).result()
        except BaseException:
            _end_loop(loop, thread)
            raise
        return cls(loop, thread, ledger)

    def close(self) -> None:
        """As AsyncLedger.close."""
        if not self._is_closed:
            self._is_closed = True
            try:
                asyncio.run_coroutine_threadsafe(self._ledger.close(), self._loop).result()
            finally:
                _end_loop(self._loop, self._thread)

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
        return self._await(self._ledger.submit(records, bodies, wait=wait))

    def transfer(self, key: KeyPair, to: Owner, amount: int, **fields: Any) -> Submission:
        """As AsyncLedger.transfer, with its fields."""
        return self._await(self._ledger.transfer(key, to, amount, **fields))

    def operate(self, key: KeyPair, kind: int, body: bytes = b"", **fields: Any) -> Submission:
        """As AsyncLedger.operate, with its fields."""
        return self._await(self._ledger.operate(key, kind, body, **fields))

    def balance(self, owner: Owner, asset: int = NATIVE) -> Amount:
        """As AsyncLedger.balance."""
        return self._await(_call(self._ledger.balance, owner, asset))

    def account(self, owner: Owner) -> AccountView:
        """As AsyncLedger.account."""
        return self._await(_call(self._ledger.account, owner))

    def receipt(self, transaction_id: bytes) -> TransactionReceipt | None:
        """As AsyncLedger.receipt."""
        return self._await(_call(self._ledger.receipt, transaction_id))

    def phase(self, transaction_id: bytes) -> Phase | None:
        """As AsyncLedger.phase."""
        return self._await(_call(self._ledger.phase, transaction_id))

    def transaction(self, transaction_id: bytes) -> HistoryItem | None:
        """As AsyncLedger.transaction."""
        return self._await(_call(self._ledger.transaction, transaction_id))

    def history(self, owner: Owner, limit: int = 50, cursor: int | None = None) -> HistoryPage:
        """As AsyncLedger.history."""
        return self._await(_call(self._ledger.history, owner, limit, cursor))

    def inclusion(self, transaction_id: bytes) -> InclusionProof | None:
        """As AsyncLedger.inclusion."""
        return self._await(_call(self._ledger.inclusion, transaction_id))

    def proof(self, owner: Owner, asset: int = NATIVE) -> AccountProof:
        """As AsyncLedger.proof."""
        return self._await(self._ledger.proof(owner, asset))

    def supply(self, asset: int = NATIVE) -> Supply:
        """As AsyncLedger.supply."""
        return self._await(_call(self._ledger.supply, asset))

    def status(self) -> LedgerStatus:
        """As AsyncLedger.status."""
        return self._await(_call(self._ledger.status))

    def subscribe(self, after: int | None = None) -> Iterator[CommitEvent]:
        """As AsyncLedger.subscribe: blocks for the next commit."""
        events = self._ledger.subscribe(after)
        try:
            while True:
                yield self._await(events.__anext__())
        finally:
            if not self._is_closed:
                self._await(events.aclose())

    def backup(self, folder: str | PathLike[str]) -> int:
        """As AsyncLedger.backup."""
        return self._await(self._ledger.backup(folder))

    def _await(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        if self._is_closed:
            work.close()
            raise Closed("the ledger is closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _call(call: Callable[..., _Result], *arguments: object) -> _Result:
    return call(*arguments)


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


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _end_loop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
