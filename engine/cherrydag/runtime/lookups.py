"""Questions about what is final: accounts, transactions by id, history, commits, proofs.

Answers are as of the last executed commit. What comes from a file is checked: a value that is not what was
written raises StorageError, never a wrong answer.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Final, NamedTuple

import numpy as np

from cherrydag.commit import CheckpointCertificate
from cherrydag.consensus.effects import SubDag
from cherrydag.errors import Rejected, StorageError
from cherrydag.execution.accounts import NATIVE, Accounts, Line, account_key
from cherrydag.execution.bonds import Bond, Bonds, Totals
from cherrydag.execution.module import CHARGED
from cherrydag.execution.receipts import StoredReceipt, decode_receipts
from cherrydag.inclusion import InclusionProof, prove_inclusion
from cherrydag.params import NONCE_MAX
from cherrydag.payload import body_offsets, payload_ids
from cherrydag.primitives import Address, Amount, Digest, PublicKey
from cherrydag.refs import AnyRef, VertexRef
from cherrydag.runtime.books import Books, Executed
from cherrydag.runtime.index_keeper import Place
from cherrydag.state_proof import ACCOUNTS, StateKey, StateProof
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.values import RecordPlace
from cherrydag.transaction import RECORD, Octets, Records, transaction_ids
from cherrydag.verify import EpochRules

PAGE_MAX: Final = 1000
"""Most items of one page of a history."""

KNOWN_BYTES_MAX: Final = 32 * 1024 * 1024
"""What the outcomes of commits that were asked for may take in memory."""

_KNOWN_OVERHEAD: Final = 2048  # of one, beside its statuses

BONDS_PAGE_MAX: Final = 100
"""Most bonds of one page."""

RECENT_COMMITS: Final = 64
"""Commits that are kept in memory for those who follow the chain."""


class Outcome(NamedTuple):
    """Where a transaction stands and what came of it: a Status or OperationStatus."""

    place: Place
    status: int


class TransactionReceipt(NamedTuple):
    """A final transaction. vertex: the one that carries it, at `row`. operation: of a module's operation."""

    transaction_id: Digest
    place: Place
    status: int
    time_s: int
    vertex: AnyRef
    row: int
    operation: StoredReceipt | None


class HistoryItem(NamedTuple):
    """A transaction that left a trace in an account. record: 176 bytes, as RECORD describes."""

    transaction_id: Digest
    place: Place
    status: int
    time_s: int
    record: bytes
    body: bytes


class HistoryPage(NamedTuple):
    """Newest first. cursor: where the next page begins; None if there is nothing older."""

    items: tuple[HistoryItem, ...]
    cursor: int | None


class AccountProof(NamedTuple):
    """An account as of a checkpoint that a quorum has signed; line: None if it is absent. Verify it with
    state_proof.verify_state and verify.verify_certificate."""

    address: Address
    asset: int
    line: Line | None
    state: StateProof
    certificate: CheckpointCertificate


@dataclass(frozen=True, eq=False)
class CommitEvent:
    """One commit of the main chain, executed and durable: what a subscriber gets.

    index: also the cursor to go on behind it. statuses: one for each transaction, in the order of `records`
    and `ids` (n x 32 bytes). receipts: of modules' operations, by vertex and row.
    """

    index: int
    time_s: int
    sub_dag: SubDag
    vertex_statuses: tuple[Octets, ...]
    receipts: tuple[StoredReceipt, ...]
    vertex_ids: tuple[bytes, ...]

    @cached_property
    def records(self) -> Records:
        """All transactions, in order."""
        return np.concatenate([np.empty(0, RECORD), *(v.payload.records for v in self.sub_dag.vertices)])

    @cached_property
    def statuses(self) -> Octets:
        """Of all transactions."""
        return np.concatenate([np.zeros(0, np.uint8), *self.vertex_statuses])

    @property
    def ids(self) -> bytes:
        """Of all transactions, n x 32 bytes."""
        return b"".join(self.vertex_ids)


class Supply(NamedTuple):
    """How much there is of an asset, in smallest units. fees: the part of the native coin in the pot."""

    total: int
    fees: int


class BondState(NamedTuple):
    """What an operator key has at stake: None if nothing. is_slashed: it was taken, and never is again."""

    operator: PublicKey
    bond: Bond | None
    is_slashed: bool = False


class BondPage(NamedTuple):
    """Bonds by their operators' keys, ascending. cursor: the last key, None if nothing follows. totals: of
    all."""

    bonds: tuple[BondState, ...]
    cursor: PublicKey | None
    totals: Totals


class _Known(NamedTuple):
    """A commit as a lookup needs it: time, vertices with their numbers of transactions, statuses."""

    time_s: int
    vertices: tuple[AnyRef, ...]
    counts: tuple[int, ...]
    statuses: Octets
    receipts: tuple[StoredReceipt, ...]

    def vertex_of(self, position: int) -> tuple[int, int]:
        """Which vertex carries the transaction at this position, and in which row."""
        for vertex, count in enumerate(self.counts):
            if position < count:
                return vertex, position
            position -= count
        raise StorageError(f"an index has position {position} beyond the end of its commit")


class Lookups:
    """Reads over one ledger's books and store, on the owner's thread.

    certificate: of the state that the last root is of, if there is one.
    """

    def __init__(
        self,
        rules: EpochRules,
        accounts: Accounts,
        books: Books,
        store: LmdbStore,
        certificate: Callable[[], CheckpointCertificate | None],
    ) -> None:
        self.time_s = 0
        self._rules = rules
        self._accounts = accounts
        self._books = books
        self._store = store
        self._certificate = certificate
        self._known: OrderedDict[int, _Known] = OrderedDict()
        self._known_bytes = 0
        self._recent: OrderedDict[int, CommitEvent] = OrderedDict()
        last = store.commits(books.commit_index, books.commit_index)
        if last:
            self.time_s = last[0].timestamp_ms // 1000

    def note(self, executed: Executed) -> None:
        """A commit has been executed: those who follow the chain find it in memory."""
        result, index = executed.result, executed.result.index
        self.time_s = result.now_s
        receipts = decode_receipts(executed.receipts)
        self._recent[index] = CommitEvent(
            index, result.now_s, executed.sub_dag, result.statuses, receipts, executed.ids
        )
        if len(self._recent) > RECENT_COMMITS:
            self._recent.popitem(last=False)

    # Accounts

    def judge(self, records: Records) -> Octets:
        """The Status that each record would begin with now, by itself: APPLIED if it would pay its fee."""
        return self._accounts.judge(records, self.time_s)

    def line(self, address: Address, asset: int = NATIVE) -> Line:
        """Balance, nonces and flags of an account, or a holding of it; zeros if there is none."""
        return self._accounts.get(address, asset) or Line(Amount(0))

    def next_nonce(self, address: Address) -> int:
        """The lowest nonce that the account has not used. Rejected if it has used them all."""
        line = self.line(address)
        nonce, mask = line.nonce_base, line.nonce_mask
        while mask & 1:
            nonce, mask = nonce + 1, mask >> 1
        if nonce > NONCE_MAX:
            raise Rejected("nonce_exhausted", f"the account has used every nonce up to {NONCE_MAX}")
        return nonce

    def prove(self, address: Address, asset: int = NATIVE) -> AccountProof | None:
        """Proof of an account's line as of the last root, or of its absence; None until that is certified.

        Rejected with a ProofRefusal if the line's bucket has changed since: ask after the next checkpoint.
        """
        certificate = self._certificate()
        if certificate is None:
            return None
        key = StateKey(ACCOUNTS, account_key(address, asset))
        proof = self._books.executor.commitment.prove(key)
        return AccountProof(address, asset, self._accounts.get(address, asset), proof, certificate)

    def supply(self, asset: int = NATIVE) -> Supply:
        """How much there is of an asset; adds up every holding unless it is the native coin."""
        if asset == NATIVE:
            return Supply(self._books.executor.supply, self._accounts.fees)
        return Supply(self._accounts.audit(asset), 0)

    # Bonds

    def bond(self, operator: PublicKey) -> BondState:
        """What an operator key has at stake; nothing, on a chain without bonds."""
        found = self._books.executor.find(Bonds)
        if found is None:
            return BondState(operator, None)
        bonds, view = found
        return BondState(operator, bonds.get(view, operator), bonds.is_slashed(view, operator))

    def bonds(self, after: PublicKey | None = None, limit: int = BONDS_PAGE_MAX) -> BondPage:
        """Bonds beyond `after`, the cursor of the page before. limit: 1 to BONDS_PAGE_MAX, else Rejected."""
        if not 1 <= limit <= BONDS_PAGE_MAX:
            raise Rejected("bonds_limit", f"limit: expected 1 to {BONDS_PAGE_MAX}, got {limit}")
        found = self._books.executor.find(Bonds)
        if found is None:
            return BondPage((), None, Totals())
        bonds, view = found
        page = [BondState(operator, bond) for operator, bond in islice(bonds.listed(view, after), limit + 1)]
        cursor = page[limit - 1].operator if len(page) > limit else None
        return BondPage(tuple(page[:limit]), cursor, bonds.totals(view))

    # Transactions

    def outcome(self, transaction_id: Digest) -> Outcome | None:
        """Where a final transaction stands, what came of it; of several copies, of the one that counted.

        It is found by the first half of its id, which nobody can make two of: who asks for an id of his own
        making compares the whole, as `receipt` does.
        """
        found: Outcome | None = None
        for place in self._books.indexes.find(transaction_id):
            found = Outcome(place, int(self._commit(place.commit_index).statuses[place.position]))
            if found.status in CHARGED:
                break
        return found

    def receipt(self, transaction_id: Digest) -> TransactionReceipt | None:
        """All about a final transaction; None if there is none of this id."""
        found = self.outcome(transaction_id)
        if found is None or self._items([found.place])[0].transaction_id != transaction_id:
            return None
        commit = self._commit(found.place.commit_index)
        vertex, row = commit.vertex_of(found.place.position)
        own = [receipt for receipt in commit.receipts if (receipt.vertex, receipt.row) == (vertex, row)]
        return TransactionReceipt(
            transaction_id,
            found.place,
            found.status,
            commit.time_s,
            commit.vertices[vertex],
            row,
            own[0] if own else None,
        )

    def transaction(self, transaction_id: Digest) -> HistoryItem | None:
        """A final transaction with its record."""
        found = self.outcome(transaction_id)
        item = None if found is None else self._items([found.place])[0]
        return None if item is None or item.transaction_id != transaction_id else item

    def inclusion(self, transaction_id: Digest) -> InclusionProof | None:
        """Proof that a vertex carries the transaction; None if there is none of this id."""
        found = self.outcome(transaction_id)
        if found is None:
            return None
        commit = self._commit(found.place.commit_index)
        number, row = commit.vertex_of(found.place.position)
        (vertex,) = self._store.vertices([commit.vertices[number]])
        if vertex is None:
            raise StorageError(f"commit {found.place.commit_index} lacks a vertex: {commit.vertices[number]}")
        return prove_inclusion(vertex, row, self._rules.chain)

    def history(self, address: Address, limit: int = 50, cursor: int | None = None) -> HistoryPage:
        """An account's transactions that left a trace, newest first. limit: 1 to PAGE_MAX; cursor: of the
        page before. Rejected for another limit."""
        if not 1 <= limit <= PAGE_MAX:
            raise Rejected("history_limit", f"limit: expected 1 to {PAGE_MAX}, got {limit}")
        places = self._books.indexes.history(address, cursor, limit + 1)
        items = self._items(places[:limit])
        more = len(places) > limit
        return HistoryPage(tuple(items), items[-1].place.number if more else None)

    def _items(self, places: list[Place]) -> list[HistoryItem]:
        """Records at these places, each shown to be what was committed there: its id leads back to it."""
        stored = self._store.records([RecordPlace(*place) for place in places])
        items = []
        for place, found in zip(places, stored, strict=True):
            if found is None:
                raise StorageError(f"an index has place {place}, where no transaction is")
            records = np.frombuffer(found.record, RECORD)
            offsets = body_offsets(records, len(found.body))
            key = self._rules.chain.transaction_key
            transaction_id = Digest(transaction_ids(records, key, found.body, offsets))
            if place not in self._books.indexes.find(transaction_id):
                raise StorageError(f"the record at {place} is damaged: check the database")
            commit = self._commit(place.commit_index)
            status = int(commit.statuses[place.position])
            items.append(HistoryItem(transaction_id, place, status, commit.time_s, found.record, found.body))
        return items

    # Commits

    def event(self, index: int) -> CommitEvent | None:
        """An executed commit; None if it is not executed yet or not kept. From memory if it is recent."""
        recent = self._recent.get(index)
        if recent is not None or index > self._books.commit_index:
            return recent
        sub_dag, outcome = self._store.sub_dag(index), self._store.outcome(index)
        if sub_dag is None or outcome is None:
            return None
        return CommitEvent(
            index,
            sub_dag.commit.timestamp_ms // 1000,
            sub_dag,
            outcome.statuses,
            decode_receipts(outcome.receipts),
            tuple(payload_ids(vertex.payload, self._rules.chain) for vertex in sub_dag.vertices),
        )

    def recent_leaders(self) -> list[VertexRef]:
        """Of the commits that are kept in memory, in order."""
        return [event.sub_dag.commit.leader for event in self._recent.values()]

    def _commit(self, index: int) -> _Known:
        known = self._known.get(index)
        if known is not None:
            self._known.move_to_end(index)
            return known
        commits, outcome = self._store.commits(index, index), self._store.outcome(index)
        if not commits or outcome is None:
            raise StorageError(f"an index has commit {index}, whose outcome is not stored")
        known = _Known(
            commits[0].timestamp_ms // 1000,
            commits[0].vertices,
            tuple(map(len, outcome.statuses)),
            np.concatenate([np.zeros(0, np.uint8), *outcome.statuses]),
            decode_receipts(outcome.receipts),
        )
        self._known[index] = known
        self._known_bytes += len(known.statuses) + _KNOWN_OVERHEAD
        while self._known_bytes > KNOWN_BYTES_MAX:
            _, gone = self._known.popitem(last=False)
            self._known_bytes -= len(gone.statuses) + _KNOWN_OVERHEAD
        return known
