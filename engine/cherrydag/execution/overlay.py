"""The state as a module's operation may change it: written through, with a journal that takes it all back.

Overlay is the executor's: accounts and entries with checkpoint, revert and commit. A module gets a View of
it for its audit and a Scope for one operation: its own entries, moves that conserve, and no more powers than
it has declared.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple, NewType, TypeAlias

import numpy as np

from cherrydag.errors import Rejected, invariant
from cherrydag.execution.accounts import NATIVE, AccountFlag, Accounts, Line
from cherrydag.execution.entries import SCAN_MAX, EntryTable
from cherrydag.params import AMOUNT_MAX
from cherrydag.primitives import Address, Amount

Mark = NewType("Mark", int)
"""A point in the journal, from Overlay.checkpoint."""

_NOTHING: Final = Line(Amount(0))


class EntryKey(NamedTuple):
    """A module's prefix and a key under it."""

    prefix: int
    key: bytes


class MoveRefusal(StrEnum):
    """Why a module cannot move or issue an amount; stable codes."""

    INSUFFICIENT = "move_insufficient"
    """The balance does not hold the amount."""
    OVERFLOW = "move_overflow"
    """The payee's balance would pass 2^128 - 1."""


class _LineBefore(NamedTuple):
    address: Address
    asset: int
    line: Line | None


class _EntryBefore(NamedTuple):
    key: EntryKey
    value: bytes | None


class _Issued(NamedTuple):
    asset: int
    amount: int  # negative where it was retired


_Step: TypeAlias = _LineBefore | _EntryBefore | _Issued


class Overlay:
    """Accounts and entries with a journal of what stood there before.

    Writes take effect at once, so every read, scan and bound sees them; the journal holds what it takes to
    undo them in reverse. What is undone leaves the state, and so its root, as they were. Transfers that are
    applied beside it must find the journal empty. Rejected with an EntryRefusal as EntryTable has it.
    """

    __slots__ = ("_accounts", "_entries", "_journal")

    def __init__(self, accounts: Accounts, entries: EntryTable) -> None:
        self._accounts = accounts
        self._entries = entries
        self._journal: list[_Step] = []

    def get(self, key: EntryKey) -> bytes | None:
        """The value of an entry, or None."""
        return self._entries.get(*key)

    def put(self, key: EntryKey, value: bytes) -> None:
        """Set an entry."""
        before = self._entries.get(*key)
        self._entries.put(*key, value)
        self._journal.append(_EntryBefore(key, before))

    def delete(self, key: EntryKey) -> bool:
        """Remove an entry; whether there was one."""
        before = self._entries.get(*key)
        if before is None:
            return False
        self._entries.delete(*key)
        self._journal.append(_EntryBefore(key, before))
        return True

    def scan(
        self, prefix: int, starts_with: bytes = b"", after: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """All entries (key, value) of a prefix, those beyond `after`, ascending. They may change between two
        of them."""
        while True:
            page, after = self._entries.scan(prefix, starts_with=starts_with, after=after, limit=SCAN_MAX)
            yield from page
            if after is None:
                return

    def line(self, address: Address, asset: int = NATIVE) -> Line:
        """The line; one that says nothing if there is none."""
        return self._accounts.get(address, asset) or _NOTHING

    def put_line(self, address: Address, line: Line, asset: int = NATIVE) -> None:
        """Set a line."""
        before = self._accounts.get(address, asset)
        self._accounts.put(address, line, asset)
        self._journal.append(_LineBefore(address, asset, before))

    def declare_issued(self, asset: int, amount: int) -> None:
        """Say that the supply of an asset changes by this amount: commit checks that it has."""
        self._journal.append(_Issued(asset, amount))

    def total(self, asset: int) -> int:
        """Sum of the balances of an asset. O(lines)."""
        return self._accounts.audit(asset)

    def assets(self) -> list[int]:
        """Assets of which anybody has a line, ascending. O(lines)."""
        found: set[int] = set()
        for lines in self._accounts.export_all():
            found.update(np.unique(lines["asset"]).tolist())
        return sorted(found)

    # The journal

    @property
    def is_clean(self) -> bool:
        """Whether nothing awaits commit or revert."""
        return not self._journal

    def checkpoint(self) -> Mark:
        """A mark to revert to. Marks nest; commit ends them all."""
        return Mark(len(self._journal))

    def revert(self, mark: Mark) -> None:
        """Undo everything since the mark, which stays good; later marks are gone."""
        invariant(0 <= mark <= len(self._journal), "a mark is reverted to once, and before commit", mark=mark)
        while len(self._journal) > mark:
            self._undo(self._journal.pop())

    def commit(self) -> None:
        """Keep everything. InvariantViolation unless each asset's balances changed by what was issued."""
        first: dict[tuple[Address, int], int] = {}
        change: dict[int, int] = {}
        for step in self._journal:
            if isinstance(step, _LineBefore):
                first.setdefault(step[:2], 0 if step.line is None else step.line.balance)
            elif isinstance(step, _Issued):
                change[step.asset] = change.get(step.asset, 0) - step.amount
        for (address, asset), balance in first.items():
            change[asset] = change.get(asset, 0) + self.line(address, asset).balance - balance
        for asset, amount in change.items():
            invariant(amount == 0, "an operation conserves every asset", asset=asset, surplus=amount)
        self._journal.clear()

    def _undo(self, step: _Step) -> None:
        if isinstance(step, _LineBefore):
            self._accounts.put(step.address, step.line or _NOTHING, step.asset)
        elif isinstance(step, _EntryBefore):
            if step.value is None:
                self._entries.delete(*step.key)
            else:
                self._entries.put(*step.key, step.value)


class Powers(NamedTuple):
    """What a module may do beyond reading accounts and moving its caller's funds.

    prefix: of its entries. flags: bits of accounts that are its own; an account with one of them is its to
    debit. issues: whether it may issue and retire assets, never the native coin. vault: an address that no
    key has, whose account is the module's to debit.
    """

    prefix: int
    flags: int = 0
    issues: bool = False
    vault: Address | None = None


class View:
    """The state for a module to read: its own entries, everybody's lines."""

    __slots__ = ("_overlay", "_powers")

    def __init__(self, overlay: Overlay, powers: Powers) -> None:
        self._overlay = overlay
        self._powers = powers

    def get(self, key: EntryKey) -> bytes | None:
        """The value of an entry of the module, or None. InvariantViolation for another's key."""
        self._check_key(key)
        return self._overlay.get(key)

    def scan(self, starts_with: bytes = b"", after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """The module's entries whose key begins so and lies beyond `after`, (key, value), ascending."""
        return self._overlay.scan(self._powers.prefix, starts_with, after)

    def line(self, address: Address, asset: int = NATIVE) -> Line:
        """The line; one that says nothing if there is none."""
        return self._overlay.line(address, asset)

    def total(self, asset: int) -> int:
        """Sum of the balances of an asset. O(lines): for audits."""
        return self._overlay.total(asset)

    def assets(self) -> list[int]:
        """Assets of which anybody has a line, ascending. O(lines): for audits."""
        return self._overlay.assets()

    def _check_key(self, key: EntryKey) -> None:
        own = self._powers.prefix
        invariant(key.prefix == own, "a module stays under its own prefix", prefix=key.prefix, own=own)


class Scope(View):
    """The state for one operation of one module, whose sender is known.

    Whatever goes beyond the module's powers is an InvariantViolation: its code asked for it, no client can.
    """

    __slots__ = ("_sender",)

    def __init__(self, overlay: Overlay, powers: Powers, sender: Address) -> None:
        super().__init__(overlay, powers)
        self._sender = sender

    def put(self, key: EntryKey, value: bytes) -> None:
        """Set an entry of the module. Rejected with an EntryRefusal where it finds no room."""
        self._check_key(key)
        self._overlay.put(key, value)

    def delete(self, key: EntryKey) -> bool:
        """Remove an entry of the module; whether there was one."""
        self._check_key(key)
        return self._overlay.delete(key)

    def move(self, payer: Address, payee: Address, asset: int, amount: int) -> None:
        """Move an amount. payer: the sender, the module's vault, or an account that it has claimed.

        Rejected with a MoveRefusal. Moving to oneself needs the amount.
        """
        claimed = self._overlay.line(payer).flags & self._powers.flags
        invariant(
            claimed != 0 or payer in (self._sender, self._powers.vault),
            "a module debits its caller, its vault or an account that it has claimed",
            prefix=self._powers.prefix,
        )
        self._debit(payer, asset, amount)
        self._credit(payee, asset, amount)

    def issue(self, payee: Address, asset: int, amount: int) -> None:
        """Bring an amount of an asset into being. Rejected with a MoveRefusal."""
        self._check_issues(asset)
        self._credit(payee, asset, amount)
        self._overlay.declare_issued(asset, amount)

    def retire(self, asset: int, amount: int) -> None:
        """Take an amount of an asset from the sender and out of being. Rejected with a MoveRefusal."""
        self._check_issues(asset)
        self._debit(self._sender, asset, amount)
        self._overlay.declare_issued(asset, -amount)

    def claim_sender(self) -> None:
        """Make the sender's account the module's: its flags and POLICY, so that its key moves it no more."""
        invariant(self._powers.flags != 0, "a module claims accounts by flags of its own")
        line = self._overlay.line(self._sender)
        flags = line.flags | self._powers.flags | AccountFlag.POLICY
        self._overlay.put_line(self._sender, line._replace(flags=flags))

    def _debit(self, address: Address, asset: int, amount: int) -> None:
        invariant(0 <= amount <= AMOUNT_MAX, "an amount is within 128 bits", amount=amount)
        line = self._overlay.line(address, asset)
        if amount > line.balance:
            raise Rejected(MoveRefusal.INSUFFICIENT, f"asset {asset}: {line.balance} held, {amount} wanted")
        self._overlay.put_line(address, line._replace(balance=Amount(line.balance - amount)), asset)

    def _credit(self, address: Address, asset: int, amount: int) -> None:
        invariant(0 <= amount <= AMOUNT_MAX, "an amount is within 128 bits", amount=amount)
        line = self._overlay.line(address, asset)
        if line.balance + amount > AMOUNT_MAX:
            raise Rejected(MoveRefusal.OVERFLOW, f"asset {asset}: the balance would pass 2^128 - 1")
        self._overlay.put_line(address, line._replace(balance=Amount(line.balance + amount)), asset)

    def _check_issues(self, asset: int) -> None:
        allowed = self._powers.issues and asset != NATIVE
        invariant(allowed, "only an issuing module issues, never the native coin", asset=asset)
