"""A process that opens a ledger, holds it to what was told before, then submits until it is killed.

It reports in lines, each written at once and before the next thing happens:

    root INDEX ROOT               of the state that the start begins with
    commit INDEX DIGEST ROOT      executed, so durable
    ready MS REPLAYED INDEX       open: time taken, commits replayed, the last commit
    checked                       all that was to be checked has been
    final ID:PLACE:STATUS ...     transactions whose submission says that they are final
    closed                        closed in peace
    found WORDS                   a broken promise
"""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple, NoReturn, TypeVar

import numpy as np

from cherrydag.address import address_of
from cherrydag.consensus.effects import SubDag
from cherrydag.execution.accounts import Status
from cherrydag.execution.assets import AssetKind, encode_create
from cherrydag.ledger import AsyncLedger, Ledger
from cherrydag.primitives import Digest
from cherrydag.runtime.books import Books, Executed
from cherrydag.runtime.lookups import HistoryItem
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.runtime.submissions import Submission
from cherrydag.signing import KeyPair, generate_keypair, sign_records
from cherrydag.storage.values import StoreOptions
from cherrydag.transaction import build_transfers

LINE_BYTES: Final = 4096
"""What a pipe takes in one piece (PIPE_BUF)."""

IDS_A_LINE: Final = 32
COMMITS_CHECKED: Final = 128
OLD_CHECKED: Final = 64
HANDED_IN_AGAIN: Final = 16
BATCH_KEYS, BATCH_EACH = 8, 16
ASSET_LIFE: Final = 50
"""Operations until the issuer creates another asset."""

FUNDS: Final = 10**15
RECIPIENT: Final = address_of(generate_keypair(b"\x63" * 32).public_key)


_Item = TypeVar("_Item")


class Outcome(NamedTuple):
    """Where a transaction stands and its status."""

    place: int
    status: int


class Block(NamedTuple):
    """A commit's digest and the state's root behind it, in hexadecimal."""

    digest: str
    root: str


@dataclass(slots=True)
class Told:
    """All that a ledger has told. finals: by id. blocks: by index. fresh: finals that no check has seen yet.
    roots: of the states that starts began with, by index."""

    finals: dict[bytes, Outcome] = field(default_factory=dict)
    blocks: dict[int, Block] = field(default_factory=dict)
    roots: dict[int, str] = field(default_factory=dict)
    fresh: list[bytes] = field(default_factory=list)


class Task(NamedTuple):
    """What one process is to do. is_whole: check all that was told, not a sample, and then end."""

    folder: Path
    seed: int
    checkpoint_transactions: int
    preflight: bool
    is_whole: bool


def key(name: str) -> KeyPair:
    """The key of a sender; anybody can make it."""
    return generate_keypair(name.encode().ljust(32, b"\x00"))


SENDERS: Final = ("single", "issuer", *(f"batch {number}" for number in range(BATCH_KEYS)))


def serve(task: Task, told: Told, reports: int) -> NoReturn:
    """Do the task, until killed or told to end by SIGTERM. Does not return."""
    worker = _Worker(task, told, reports)
    try:
        worker.run()
    except BaseException as error:  # noqa: BLE001 - the parent reports it
        worker.tell(f"found {type(error).__name__}: {error}")
    finally:
        os._exit(0)


class _Worker:
    def __init__(self, task: Task, told: Told, reports: int) -> None:
        self._task = task
        self._told = told
        self._reports = reports
        self._rng = random.Random(task.seed)
        self._ended = threading.Event()
        self._ledger: Ledger

    def tell(self, line: str) -> None:
        """Write a line in one piece."""
        data = line.replace("\n", " ").encode()[: LINE_BYTES - 1] + b"\n"
        os.write(self._reports, data)

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._on_end)
        self._listen()
        task, started = self._task, time.perf_counter()
        store = StoreOptions(map_bytes=1 << 22, preflight=task.preflight)
        options = LedgerOptions(store=store, checkpoint_transactions=task.checkpoint_transactions)
        self._ledger = Ledger.open(task.folder, options=options)
        running = self._ledger._ledger._running
        ready_ms = (time.perf_counter() - started) * 1e3
        self.tell(f"ready {ready_ms:.0f} {running.replayed} {running.books.commit_index}")
        for note in running.notes:
            self.tell(f"found a checkpoint that cannot be used: {note}")
        self._on_loop(self._check)
        self._hand_in_again()
        self.tell("checked")
        if not task.is_whole:
            self._load()
        self._ledger.close()
        self.tell("closed")

    def _on_end(self, _signal: int, _frame: FrameType | None) -> None:
        self._ended.set()

    def _listen(self) -> None:
        """Tell each commit as the books execute it, in a replay too, and the state that they begin with."""
        tell, apply = self.tell, Books.apply
        is_first = True

        def told(
            books: Books, sub_dag: SubDag, ids: Sequence[bytes | None], *, needs_root: bool = True
        ) -> Executed:
            nonlocal is_first
            if is_first:
                is_first = False
                tell(f"root {books.commit_index} {books.executor.state_root().hex()}")
            executed = apply(books, sub_dag, ids)  # with each root that is due, in a replay too
            root = executed.state_root.hex() if executed.state_root else ""
            tell(f"commit {sub_dag.commit.index} {sub_dag.commit.digest.hex()} {root}")
            return executed

        Books.apply = told  # type: ignore[method-assign, assignment]

    def _on_loop(self, call: Callable[[AsyncLedger], None]) -> None:
        self._ledger._thread.call(call, self._ledger._ledger)

    # What was told before

    def _check(self, ledger: AsyncLedger) -> None:
        """On the ledger's own thread: the state adds up, and all that was told is still so."""
        ledger._running.books.executor.audit()
        self._check_chain(ledger)
        told = self._told
        ids = told.fresh + self._sample(list(told.finals), OLD_CHECKED)
        for transaction_id in ids:
            receipt = ledger.receipt(Digest(transaction_id))
            found = None if receipt is None else Outcome(receipt.place.number, receipt.status)
            if found != told.finals[transaction_id]:
                self.tell(f"found {transaction_id.hex()} {found}, told {told.finals[transaction_id]}")
        if self._task.is_whole:
            for name in SENDERS:
                self._check_history(ledger, name)

    def _check_chain(self, ledger: AsyncLedger) -> None:
        """The commits that were told are there, and each links to the one before."""
        store, told = ledger._running.store, self._told.blocks
        last = max(told, default=0)
        if ledger._running.books.commit_index < last:
            self.tell(f"found commit {ledger._running.books.commit_index} the last, told {last}")
        newest = range(max(1, last - COMMITS_CHECKED), last + 1)
        for index in (*self._sample(list(told), COMMITS_CHECKED), *newest):
            commits = store.commits(max(1, index - 1), index)
            digest = commits[-1].digest.hex() if commits else "none"
            if index in told and digest != told[index].digest:
                self.tell(f"found commit {index} {digest}, told {told[index].digest}")
            if len(commits) == 2 and commits[1].prev_digest != commits[0].digest:
                self.tell(f"found commit {index} that does not link to the one before")

    def _check_history(self, ledger: AsyncLedger, name: str) -> None:
        """A sender's history has a transaction for each nonce that it has used, each once, newest first."""
        address, public_key = address_of(key(name).public_key), key(name).public_key
        nonces: list[int] = []
        cursor: int | None = None
        while True:
            page = ledger.history(address, 1000, cursor)
            nonces += [_nonce(item) for item in page.items if _sender(item) == public_key]
            cursor = page.cursor
            if cursor is None:
                break
        if nonces != list(range(ledger.account(address).next_nonce))[::-1]:
            self.tell(f"found a history of {name} with gaps or copies: {len(nonces)} transactions")

    def _hand_in_again(self) -> None:
        """Some that are final, as one that missed the answer would: they get the same result."""
        finals, again = self._told.finals, []
        for transaction_id in self._sample(list(finals), HANDED_IN_AGAIN):
            item = self._ledger.transaction(transaction_id)
            if item is None:
                self.tell(f"found no transaction {transaction_id.hex()}")
            else:
                again.append((transaction_id, self._ledger.submit(item.record, item.body)))
        for transaction_id, submission in again:
            submission.wait(60)
            result = Outcome(int(submission.places[0]), int(submission.statuses[0]))
            if result != finals[transaction_id]:
                told = finals[transaction_id]
                self.tell(f"found {result} for {transaction_id.hex()} handed in again, told {told}")

    def _sample(self, items: Sequence[_Item], most: int) -> list[_Item]:
        if self._task.is_whole and most != HANDED_IN_AGAIN:
            return list(items)
        return self._rng.sample(items, min(most, len(items)))

    # Load

    def _load(self) -> None:
        """Submit from several threads until the end."""
        self._fund()
        jobs = (self._submit_singles, self._submit_batches, self._operate)
        threads = [threading.Thread(target=partial(self._until_end, job)) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _until_end(self, job: Callable[[], None]) -> None:
        try:
            while not self._ended.is_set():
                job()
        except BaseException as error:  # noqa: BLE001 - the parent reports it
            self.tell(f"found {type(error).__name__} in {job.__name__}: {error}")
            self._ended.set()

    def _fund(self) -> None:
        ledger = self._ledger
        poor = [name for name in SENDERS if ledger.balance(key(name)) < FUNDS // 2]
        sent = [ledger.transfer(ledger.treasury, key(name), FUNDS) for name in poor]
        for submission in sent:
            self._acknowledge(submission)

    def _submit_singles(self) -> None:
        sent = [self._ledger.transfer(key("single"), RECIPIENT, 1) for _ in range(4)]
        for submission in sent:
            self._acknowledge(submission)

    def _submit_batches(self) -> None:
        keys = [key(f"batch {number}") for number in range(BATCH_KEYS)]
        firsts = [self._ledger.account(each).next_nonce for each in keys]
        senders = np.repeat(np.arange(BATCH_KEYS), BATCH_EACH)
        records = build_transfers(
            senders=b"".join(keys[sender].public_key for sender in senders.tolist()),
            recipients=RECIPIENT,
            amounts=1,
            nonces=np.concatenate([np.arange(first, first + BATCH_EACH) for first in firsts]),
        )
        sign_records(records, self._ledger.transaction_key, keys, senders)
        half = len(records) // 2
        first, second = self._ledger.submit(records[:half]), self._ledger.submit(records[half:].tobytes())
        self._acknowledge(first)
        self._acknowledge(second)

    def _operate(self) -> None:
        """A new asset, then mints, transfers and burns of it."""
        ledger, issuer = self._ledger, key("issuer")
        symbol = f"A{ledger.account(issuer).next_nonce}"
        made = ledger.operate(issuer, AssetKind.CREATE, encode_create(symbol, 2))
        self._acknowledge(made)
        receipt = ledger.receipt(made.id())
        if receipt is None or receipt.operation is None:
            self.tell(f"found no receipt of the operation {made.id().hex()}")
            return
        asset = int(receipt.operation.events[0].fields["asset"])
        for _ in range(ASSET_LIFE):
            if self._ended.is_set():
                return
            sent = (
                ledger.operate(issuer, AssetKind.MINT, asset=asset, amount=10, recipient=issuer),
                ledger.transfer(issuer, RECIPIENT, 3, asset=asset),
                ledger.operate(issuer, AssetKind.BURN, asset=asset, amount=2),
            )
            for submission in sent:
                self._acknowledge(submission)

    def _acknowledge(self, submission: Submission) -> None:
        """Wait until it is final, and say so."""
        submission.wait(60)
        if set(submission.statuses.tolist()) != {int(Status.APPLIED)}:
            self.tell(f"found statuses {sorted(set(submission.statuses.tolist()))} in a sound submission")
        rows = [
            f"{submission.id(row).hex()}:{place}:{status}"
            for row, (place, status) in enumerate(
                zip(submission.places.tolist(), submission.statuses.tolist(), strict=True)
            )
        ]
        for start in range(0, len(rows), IDS_A_LINE):
            self.tell("final " + " ".join(rows[start : start + IDS_A_LINE]))


def _nonce(item: HistoryItem) -> int:
    return int.from_bytes(item.record[8:16], "little")


def _sender(item: HistoryItem) -> bytes:
    return item.record[80:112]
