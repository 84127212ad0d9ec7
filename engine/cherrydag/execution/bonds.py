"""Bonds of operators: who locks coins for a vertex key may issue operator vertices with it.

The coins lie in the module's vault until their owner takes them back, a while after he said so, or until two
vertices of the key under one seq are shown: then a tenth goes to who shows them and the rest stays in the
vault for good, counted as burned, and the key is never bonded again. So whoever equivocates loses nine
tenths at least, even if he reports himself, and evidence counts once.

Kinds (record fields that are not named are zero):
    32 bond       amount; body: operator key 32, its signature of possession 64
    33 unbond     amount; body: operator key 32        by the owner; all that leaves waits UNBOND_S anew
    34 withdraw   body: operator key 32                by the owner, once that time is over
    35 slash      body: evidence                       by anyone
Entries:
    1 | operator key    owner 20, active u128, leaving u128, ready_s u64
    2 | operator key    u64 commit in which it was slashed
    3                   u32 bonds, u128 burned
Possession is of the key and for the owner's address; what carries the signature is bound to the chain.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from struct import Struct
from typing import ClassVar, Final, NamedTuple

from cherrydag import crypto
from cherrydag.chain import Chain
from cherrydag.errors import Rejected, invariant
from cherrydag.execution.accounts import NATIVE
from cherrydag.execution.body import BodyReader
from cherrydag.execution.evidence import EvidenceRefusal, decode_evidence
from cherrydag.execution.module import Context, Event, Module, Operation, Receipt
from cherrydag.execution.overlay import Powers, Scope, View
from cherrydag.params import ADDRESS_BYTES, PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from cherrydag.primitives import Address, Digest, PublicKey

COIN: Final = 10**18
"""Smallest units of one native coin."""

BOND_MIN: Final = 100 * COIN
"""Least that is active of a bond, and the unit of its quota."""

BONDS_MAX: Final = 16_384
"""Most bonds: every node numbers their operators in its window."""

UNBOND_S: Final = 7 * 86_400
"""Main-chain time from the last unbond to the withdrawal, for which the amount can still be slashed."""

REWARD_PARTS: Final = 10
"""One part in so many goes to who reports."""

QUOTA_UNIT: Final = 8
"""Uncommitted vertices for each BOND_MIN."""

QUOTA_MAX: Final = 64
"""Most uncommitted vertices of one operator, whatever its bond."""

SHARE_MAX: Final = 2**32
"""Most units that a bond counts in the fair share of tips."""

POSSESSION_KEY: Final = crypto.derive_key("cherrydag 2026-11-22 bond possession v1", b"")
"""Hashing key of what an operator key signs to be bonded."""

VAULT: Final = Address(
    crypto.hash_bytes(b"", crypto.derive_key("cherrydag 2026-11-22 bond vault v1", b""))[:ADDRESS_BYTES]
)
"""Where the locked coins lie: an address that no key is known to have."""

_BOND: Final = Struct("<20s16s16sQ")
_SLASHED: Final = Struct("<Q")
_TOTALS: Final = Struct("<I16s")


class BondKind(IntEnum):
    """Kinds of operations."""

    BOND = 32
    UNBOND = 33
    WITHDRAW = 34
    SLASH = 35


class BondRefusal(StrEnum):
    """Why an operation is refused; stable codes."""

    POSSESSION = "bond_possession"
    """The operator key has not signed for the sender."""
    NOT_OWNER = "bond_not_owner"
    """Another account bonded that key."""
    UNKNOWN = "bond_unknown"
    """That key has no bond."""
    SLASHED = "bond_slashed"
    """That key was slashed, and is never bonded again."""
    TOO_SMALL = "bond_too_small"
    """Less than BOND_MIN would be active, and more than nothing; or the amount is zero."""
    TOO_MANY = "bond_too_many"
    """There are BONDS_MAX bonds."""
    TOO_MUCH = "bond_too_much"
    """Less than the amount is active."""
    NOTHING = "bond_nothing"
    """Nothing leaves the bond."""
    EARLY = "bond_early"
    """The time since the last unbond is not over."""


class Bond(NamedTuple):
    """What an owner has locked for an operator key. leaving: may be withdrawn from ready_s on, unix seconds
    of the main chain. Only what is active counts for quota and share."""

    owner: Address
    active: int
    leaving: int = 0
    ready_s: int = 0


class Totals(NamedTuple):
    """How many bonds there are, and what was burned by slashing so far."""

    bonds: int = 0
    burned: int = 0


@dataclass(frozen=True, slots=True)
class BondEvent(Event):
    """Something has happened to a bond. active: what it counts now, 0 if it is none any more."""

    operator: PublicKey
    owner: Address
    active: int


@dataclass(frozen=True, slots=True)
class BondPlaced(BondEvent):
    """The amount was locked on top of what was active."""

    name: ClassVar[str] = "bond.placed"
    amount: int


@dataclass(frozen=True, slots=True)
class BondLeaving(BondEvent):
    """The amount counts no more; all that leaves may be withdrawn from ready_s on."""

    name: ClassVar[str] = "bond.leaving"
    amount: int
    ready_s: int


@dataclass(frozen=True, slots=True)
class BondWithdrawn(BondEvent):
    """The amount is its owner's again."""

    name: ClassVar[str] = "bond.withdrawn"
    amount: int


@dataclass(frozen=True, slots=True)
class BondSlashed(BondEvent):
    """The operator has issued two vertices under one seq: all is gone, what was leaving too."""

    name: ClassVar[str] = "bond.slashed"
    reporter: Address
    seq: int
    reward: int
    burned: int


class _Table(IntEnum):
    BOND = 1
    SLASHED = 2
    TOTALS = 3


def quota_of(active: int) -> int:
    """Uncommitted vertices that an operator with so much active may have; 0 for none."""
    return min(QUOTA_MAX, QUOTA_UNIT * (active // BOND_MIN))


def share_of(active: int) -> int:
    """The weight of so much among operators when a validator picks tips; 0 for none."""
    return min(SHARE_MAX, active // COIN)


def changed_bonds(receipts: Iterable[Receipt]) -> dict[PublicKey, int]:
    """What is active now of each bond that these have changed, in the order of the first change."""
    changed: dict[PublicKey, int] = {}
    for receipt in receipts:
        for event in receipt.events:
            if isinstance(event, BondEvent):
                changed[event.operator] = event.active
    return changed


def possession_digest(operator: PublicKey, owner: Address) -> Digest:
    """The 32 bytes that an operator key signs so that the owner may bond it."""
    return Digest(crypto.hash_bytes(operator + owner, POSSESSION_KEY))


def encode_bond(operator: PublicKey, possession: bytes) -> bytes:
    """The body of a bond. possession: the key's signature of possession_digest."""
    return operator + possession


def decode_bond(body: bytes) -> tuple[PublicKey, bytes]:
    """Operator key and signature. Total: raises Rejected for anything that is not a bond's body."""
    reader = BodyReader(body)
    operator, possession = PublicKey(reader.take(PUBLIC_KEY_BYTES)), reader.take(SIGNATURE_BYTES)
    reader.end()
    return operator, possession


def decode_operator(body: bytes) -> PublicKey:
    """The operator key of an unbond or withdraw. Total, as decode_bond."""
    reader = BodyReader(body)
    operator = PublicKey(reader.take(PUBLIC_KEY_BYTES))
    reader.end()
    return operator


class Bonds(Module):
    """What operators have at stake. chain: whose vertices are evidence; without it none can be judged."""

    name = "bonds"
    kinds = tuple(BondKind)
    powers = Powers(prefix=6, vault=VAULT)

    def __init__(self, chain: Chain | None = None) -> None:
        self._chain = chain

    def execute(self, operation: Operation, scope: Scope, context: Context) -> tuple[Event, ...]:
        """Bond, unbond, withdraw or slash."""
        operation.require_unused("asset", "recipient")
        if operation.kind == BondKind.BOND:
            return (self._bond(operation, scope, context.sender),)
        if operation.kind == BondKind.UNBOND:
            return (self._unbond(operation, scope, context),)
        operation.require_unused("amount")
        if operation.kind == BondKind.WITHDRAW:
            return (self._withdraw(operation, scope, context),)
        return (self._slash(operation, scope, context),)

    def get(self, view: View, operator: PublicKey) -> Bond | None:
        """The bond of an operator key, or None."""
        value = view.get(self.key(_Table.BOND, operator))
        return None if value is None else _decode(value)

    def is_slashed(self, view: View, operator: PublicKey) -> bool:
        """Whether that key was slashed."""
        return view.get(self.key(_Table.SLASHED, operator)) is not None

    def totals(self, view: View) -> Totals:
        """Counts over all bonds."""
        value = view.get(self.key(_Table.TOTALS))
        if value is None:
            return Totals()
        bonds, burned = _TOTALS.unpack(value)
        return Totals(bonds, int.from_bytes(burned, "little"))

    def listed(self, view: View, after: PublicKey | None = None) -> Iterator[tuple[PublicKey, Bond]]:
        """Each bond by its operator, ascending, those beyond `after`."""
        past = None if after is None else self.key(_Table.BOND, after).key
        for key, value in view.scan(bytes([_Table.BOND]), past):
            yield PublicKey(key[1:]), _decode(value)

    def active(self, view: View) -> Iterator[tuple[PublicKey, int]]:
        """Each operator with something active, and how much, ascending by key. O(bonds)."""
        for operator, bond in self.listed(view):
            if bond.active:
                yield operator, bond.active

    def audit(self, view: View) -> None:
        """The vault holds all that is bonded and burned; no bond is empty, too small or of a slashed key."""
        totals, count, held = self.totals(view), 0, 0
        for operator, bond in self.listed(view):
            whole = (bond.active >= BOND_MIN or not bond.active) and bond.active + bond.leaving > 0
            invariant(whole, "a bond is not empty and large enough", operator=operator.hex(), bond=bond)
            slashed = self.is_slashed(view, operator)
            invariant(not slashed, "a slashed operator has no bond", operator=operator.hex())
            count += 1
            held += bond.active + bond.leaving
        invariant(count == totals.bonds, "bonds are as many as counted", bonds=count, counted=totals.bonds)
        # Anyone may send coins there beside what is bonded: they are nobody's any more.
        vault = view.line(VAULT).balance
        enough = vault >= held + totals.burned
        invariant(enough, "the vault holds what is bonded and burned", vault=vault, held=held)

    def _bond(self, operation: Operation, scope: Scope, sender: Address) -> BondPlaced:
        operator, possession = decode_bond(operation.body)
        bond = self.get(scope, operator)
        if self.is_slashed(scope, operator):
            raise Rejected(BondRefusal.SLASHED, "operator: its key was slashed")
        if bond is not None and bond.owner != sender:
            raise Rejected(BondRefusal.NOT_OWNER, "operator: another account bonded it")
        active = operation.amount + (0 if bond is None else bond.active)
        if not operation.amount or active < BOND_MIN:
            raise Rejected(
                BondRefusal.TOO_SMALL, f"amount: at least {BOND_MIN} is to be active, not {active}"
            )
        if not _is_signed(operator, possession_digest(operator, sender), possession):
            raise Rejected(
                BondRefusal.POSSESSION, "possession: the operator key has not signed for the sender"
            )
        if bond is None:
            totals = self.totals(scope)
            if totals.bonds >= BONDS_MAX:
                raise Rejected(BondRefusal.TOO_MANY, f"bonds: there are {BONDS_MAX} already")
            self._put_totals(scope, totals._replace(bonds=totals.bonds + 1))
            bond = Bond(sender, 0)
        scope.move(sender, VAULT, NATIVE, operation.amount)
        self._put(scope, operator, bond._replace(active=active))
        return BondPlaced(operator, sender, active, operation.amount)

    def _unbond(self, operation: Operation, scope: Scope, context: Context) -> BondLeaving:
        operator, bond = self._owned(operation, scope, context.sender)
        active = bond.active - operation.amount
        if active < 0:
            raise Rejected(BondRefusal.TOO_MUCH, f"amount: {bond.active} is active")
        if not operation.amount or 0 < active < BOND_MIN:
            raise Rejected(
                BondRefusal.TOO_SMALL, f"amount: {active} would stay active, {BOND_MIN} is the least"
            )
        ready_s = context.now_s + UNBOND_S
        self._put(scope, operator, Bond(bond.owner, active, bond.leaving + operation.amount, ready_s))
        return BondLeaving(operator, bond.owner, active, operation.amount, ready_s)

    def _withdraw(self, operation: Operation, scope: Scope, context: Context) -> BondWithdrawn:
        operator, bond = self._owned(operation, scope, context.sender)
        if not bond.leaving:
            raise Rejected(BondRefusal.NOTHING, "withdrawal: nothing leaves")
        if context.now_s < bond.ready_s:
            raise Rejected(BondRefusal.EARLY, f"withdrawal: not before {bond.ready_s}, it is {context.now_s}")
        scope.move(VAULT, bond.owner, NATIVE, bond.leaving)
        if bond.active:
            self._put(scope, operator, Bond(bond.owner, bond.active))
        else:
            self._remove(scope, operator, burned=0)
        return BondWithdrawn(operator, bond.owner, bond.active, bond.leaving)

    def _slash(self, operation: Operation, scope: Scope, context: Context) -> BondSlashed:
        invariant(self._chain is not None, "a module that executes operations knows its chain")
        evidence = decode_evidence(operation.body)
        bond = self.get(scope, evidence.issuer)
        if bond is None:
            raise Rejected(BondRefusal.UNKNOWN, "operator: it has no bond")
        if self._chain is None or not evidence.is_signed(self._chain):
            raise Rejected(EvidenceRefusal.SIGNATURE, "headers: not both signed for this chain")
        total = bond.active + bond.leaving
        reward = total // REWARD_PARTS
        scope.move(VAULT, context.sender, NATIVE, reward)
        self._remove(scope, evidence.issuer, burned=total - reward)
        scope.put(self.key(_Table.SLASHED, evidence.issuer), _SLASHED.pack(context.commit_index))
        slashed = evidence.issuer, bond.owner, 0, context.sender
        return BondSlashed(*slashed, evidence.seq, reward, total - reward)

    def _owned(self, operation: Operation, scope: Scope, sender: Address) -> tuple[PublicKey, Bond]:
        operator = decode_operator(operation.body)
        bond = self.get(scope, operator)
        if bond is None:
            raise Rejected(BondRefusal.UNKNOWN, "operator: it has no bond")
        if bond.owner != sender:
            raise Rejected(BondRefusal.NOT_OWNER, "operator: another account bonded it")
        return operator, bond

    def _put(self, scope: Scope, operator: PublicKey, bond: Bond) -> None:
        amounts = bond.active.to_bytes(16, "little"), bond.leaving.to_bytes(16, "little")
        scope.put(self.key(_Table.BOND, operator), _BOND.pack(bond.owner, *amounts, bond.ready_s))

    def _remove(self, scope: Scope, operator: PublicKey, *, burned: int) -> None:
        scope.delete(self.key(_Table.BOND, operator))
        totals = self.totals(scope)
        invariant(totals.bonds > 0, "a bond is counted", operator=operator.hex())
        self._put_totals(scope, Totals(totals.bonds - 1, totals.burned + burned))

    def _put_totals(self, scope: Scope, totals: Totals) -> None:
        key = self.key(_Table.TOTALS)
        if totals == Totals():
            scope.delete(key)
        else:
            scope.put(key, _TOTALS.pack(totals.bonds, totals.burned.to_bytes(16, "little")))


def _decode(value: bytes) -> Bond:
    owner, active, leaving, ready_s = _BOND.unpack(value)
    return Bond(Address(owner), int.from_bytes(active, "little"), int.from_bytes(leaving, "little"), ready_s)


def _is_signed(key: PublicKey, digest: Digest, signature: bytes) -> bool:
    return bool(crypto.verify_signatures(key, digest, signature)[0])
