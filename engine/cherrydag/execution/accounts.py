"""The accounts: balances and replay windows, transfers applied in batches, buckets of the state tree.

A line of state lies under an address and an asset. Asset 0 is the native coin, whose line is the account
itself, with nonces and flags; every other line is a holding of the account. A line that says nothing does
not exist. Rules in full: ext/ledger/ledger.h.
"""

from collections.abc import Iterator
from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from cherrydag._native import ledger
from cherrydag.address import ADDRESS_KEY
from cherrydag.errors import ShapeError
from cherrydag.primitives import Address, Amount
from cherrydag.state_proof import DEPTH_DEFAULT
from cherrydag.transaction import Bytes, Octets, Records

NATIVE: Final = 0
"""The asset that fees are paid in."""

LINES_MAX: Final = 1 << 26
"""Lines that a node holds unless it is told otherwise: 4 GiB of them, and 1 GiB of index at most."""

ENTRY_BYTES: Final = ledger.ENTRY_BYTES
"""Size of a line's entry in its bucket: u8 24, the key (address 20 bytes, asset u32), u8 36, the value
(balance u128, nonce_base u64, nonce_mask u64, flags u32); little-endian."""

Lines: TypeAlias = npt.NDArray[np.void]
Buckets: TypeAlias = npt.NDArray[np.uint32]
Words: TypeAlias = npt.NDArray[np.uint64]

_KEY: Final = Struct("<20sI")
_VALUE: Final = Struct("<16sQQI")

LINE: Final = np.dtype(
    [
        ("address", "u1", (20,)),
        ("asset", "<u4"),
        ("balance_lo", "<u8"),
        ("balance_hi", "<u8"),
        ("nonce_base", "<u8"),
        ("nonce_mask", "<u8"),
        ("flags", "<u4"),
        ("reserved", "<u4"),
    ]
)
"""A line in a checkpoint or in a batch of changes: 64 bytes; `reserved` is 0."""


class Status(IntEnum):
    """What became of a transaction: its receipt's code, stable.

    The first three used the nonce and paid the fee; the others left no trace. The checks run in the order
    EXPIRED, POLICY, NONCE_USED, NONCE_FAR, FEE_UNPAYABLE, INSUFFICIENT, OVERFLOW.
    """

    NONE = 0
    """Not handled: what cleared memory says."""
    APPLIED = 1
    INSUFFICIENT = 2
    """The balance does not hold the amount beside the fee."""
    OVERFLOW = 3
    """The recipient's balance would pass 2^128 - 1."""
    EXPIRED = 4
    """Main-chain time is past valid_until."""
    POLICY = 5
    """A flag of the account forbids it."""
    NONCE_USED = 6
    """Also a second copy of a transaction, which costs nobody a fee."""
    NONCE_FAR = 7
    """At or above nonce_base + 64, or above NONCE_MAX."""
    FEE_UNPAYABLE = 8
    """The native balance is below the fee."""

    @property
    def is_charged(self) -> bool:
        """Whether the nonce was used and the fee paid."""
        return Status.APPLIED <= self <= Status.OVERFLOW

    @property
    def may_pass(self) -> bool:
        """Whether the same transaction may have an effect later: what refused it is the account's state."""
        return self in (Status.POLICY, Status.NONCE_FAR, Status.FEE_UNPAYABLE)


class AccountFlag(IntFlag):
    """Flags of an account. All other bits are free for modules."""

    POLICY = ledger.ACCOUNT_POLICY
    """Its owner's key alone cannot move its funds: a plain transfer from it fails."""


class Line(NamedTuple):
    """A line of state: of the account for the native coin, else of a holding, which has no nonces.

    Nonce n is used if n < nonce_base or bit n - nonce_base of nonce_mask is set; bit 0 never is.
    """

    balance: Amount
    nonce_base: int = 0
    nonce_mask: int = 0
    flags: int = 0


class Accounts:
    """All lines of state, in native memory: 64 bytes each, and 11 to 16 bytes of index.

    bucket_key: the chain's 32-byte key of the state tree. seed: 16 secret bytes of the process; they keep
    strangers from aiming collisions at the index and change no answer. lines_max: a node's own limit.
    depth: of the tree that commits to the lines, a consensus rule.
    One owner. Batch calls release the GIL; a call during another one raises InvariantViolation. Overloaded
    means that lines_max is reached, MemoryError that the system has no more: nothing of the row in question
    has happened.
    """

    __slots__ = ("_table", "depth")

    def __init__(
        self, bucket_key: bytes, seed: bytes, *, lines_max: int = LINES_MAX, depth: int = DEPTH_DEFAULT
    ) -> None:
        self.depth = depth
        self._table = ledger.Table(lines_max, depth, bucket_key, ADDRESS_KEY, seed)

    def apply(
        self,
        records: Records,
        statuses: Octets,
        now_s: int,
        *,
        start: int = 0,
        senders: Octets | None = None,
    ) -> int:
        """Apply transfers from row `start` in order; return how many rows were handled.

        It stops at the end or at the first record that is not a plain transfer: that one is a module's, and
        the caller goes on behind it. records were checked and verified before. statuses: n bytes, one Status
        for each row handled, other rows are left alone. now_s: main-chain time. senders: n x 20 bytes, the
        addresses of the records' public keys if they are known; they are computed otherwise.
        On Overloaded or MemoryError the rows whose status was written are handled.
        """
        return self._table.apply(records, statuses, now_s, start, senders)

    def begin_operation(
        self,
        record: Bytes | Records,
        now_s: int,
        *,
        sender: Address | None = None,
        forbidden: int = AccountFlag.POLICY,
    ) -> Status:
        """Begin a module's operation: APPLIED if its nonce is used and its fee taken now.

        record: one, of any kind; expiry, nonce and fee follow the rules of transfers, the rest is the
        module's affair. sender: whose account, if not the address of the record's public key. forbidden:
        account flags that make it POLICY.
        """
        return Status(self._table.begin(record, sender, now_s, forbidden))

    def judge(self, records: Records, now_s: int, *, forbidden: int = AccountFlag.POLICY) -> Octets:
        """What begin_operation would say of each of n records as things stand, each by itself: a Status each,
        APPLIED for those that would pay their fee. Nothing changes."""
        statuses = np.zeros(len(records), np.uint8)
        self._table.judge(records, statuses, now_s, forbidden)
        return statuses

    def get(self, address: Address, asset: int = NATIVE) -> Line | None:
        """The line, or None if it says nothing."""
        found = self._table.get(address, asset)
        return None if found is None else Line(Amount(found[0]), *found[1:])

    def put(self, address: Address, line: Line, asset: int = NATIVE) -> None:
        """Set a line; one that says nothing is removed.

        ShapeError for what no line can be: bit 0 of the mask set, nonces of a holding, a used nonce above
        NONCE_MAX, a balance beyond 128 bits.
        """
        self._table.put_one(address, asset, *line)

    def put_lines(self, lines: Lines) -> None:
        """Set n items of LINE in order, as put does. ShapeError names a wrong row; those before are set."""
        self._table.put(_checked(lines), False)

    def load(self, lines: Lines) -> None:
        """Add the lines of a checkpoint: none may be there already or say nothing, else as put_lines."""
        self._table.put(_checked(lines), True)

    def export(self, cursor: int = 0, count_max: int = 1 << 16) -> tuple[Lines, int]:
        """Up to count_max lines from a cursor on, 0 at first, and the cursor behind them.

        Fewer than count_max are the last. Their order shows in which they came, so it is no consensus
        matter. A line that changes between two calls is seen as it was or as it is, and those that stay are
        seen once.
        """
        lines = np.empty(count_max, LINE)
        count, cursor = self._table.export(cursor, lines)
        return lines[:count], cursor

    def export_all(self, count_max: int = 1 << 16) -> Iterator[Lines]:
        """All lines, up to count_max at a time, of a table that is at rest: for audits."""
        cursor, count = 0, count_max
        while count == count_max:
            lines, cursor = self.export(cursor, count_max)
            count = len(lines)
            if count:
                yield lines

    # Snapshots

    def begin_snapshot(self) -> None:
        """From now on snapshot_lines gives the lines as they stand, whatever changes. Sets up a bit for each.

        InvariantViolation if a snapshot is under way. Until it ends, a line that changes before it was read
        takes 64 bytes more, so all of it at most as much as the lines do; a change that finds no such memory
        is a MemoryError, and has not happened.
        """
        self._table.snapshot_begin()

    def snapshot_lines(self, count_max: int = 1 << 14) -> Lines:
        """Up to count_max lines of the snapshot that were not read yet, each once; none: it is finished.

        Their order is nobody's business. InvariantViolation if no snapshot is under way.
        """
        lines = np.empty(count_max, LINE)
        return lines[: self._table.snapshot_read(lines)]

    def end_snapshot(self) -> None:
        """End the snapshot, finished or not, and give its memory back. Fine if there is none."""
        self._table.snapshot_end()

    # The state's provider

    def drain_dirty(self) -> Buckets:
        """Buckets with a line that was set, changed or removed since the last call, ascending."""
        return self._table.drain_dirty()

    def bucket_entries(self, buckets: Buckets) -> tuple[bytes, Words]:
        """The entries of n buckets: their bytes, and n + 1 offsets into them.

        An entry has ENTRY_BYTES; those of a bucket ascend by the bytes of their keys (address, asset). They
        depend on the state alone. ShapeError if a bucket is not below 2^depth.
        """
        return self._table.bucket_entries(buckets)

    def value_of(self, key: bytes) -> bytes | None:
        """The value in the entry under a key of 24 bytes, or None."""
        if len(key) != _KEY.size:
            return None
        line = self.get(*_KEY.unpack(key))
        return None if line is None else _VALUE.pack(line.balance.to_bytes(16, "little"), *line[1:])

    def audit(self, asset: int = NATIVE) -> int:
        """Sum of the balances of an asset, added up anew over all lines.

        The native supply is audit() + fees + what modules hold.
        """
        return self._table.audit(asset)

    @property
    def fees(self) -> Amount:
        """Fees in the pot: paid, and not yet paid out."""
        return Amount(self._table.stats()[2])

    def set_fees(self, fees: Amount) -> None:
        """Set the pot: after a payout, or from a checkpoint."""
        self._table.set_fees(fees)

    def __len__(self) -> int:
        return self._table.stats()[0]

    @property
    def dirty_count(self) -> int:
        """How many buckets drain_dirty would return."""
        return self._table.stats()[1]

    @property
    def memory_bytes(self) -> int:
        """Allocated native memory."""
        return self._table.stats()[3]


def account_key(address: Address, asset: int = NATIVE) -> bytes:
    """The key of a line among the provider's entries: what a proof of it is asked for by."""
    return _KEY.pack(address, asset)


def _checked(lines: Lines) -> Lines:
    if lines.dtype != LINE or lines.ndim != 1:
        raise ShapeError(f"lines: expected a row of LINE, got {lines.ndim}-d {lines.dtype}")
    return np.require(lines, requirements=["C", "A"])
