"""What a module of the ledger is: operations by kind, entries under a prefix, events, refusals.

A module executes one operation at a time within its Scope. It returns events, or raises Rejected with a
stable code: then nothing stays but the used nonce and the fee.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final, NamedTuple, TypeAlias

from cherrydag.errors import ConfigError, Rejected
from cherrydag.execution.accounts import NATIVE, AccountFlag, Status
from cherrydag.execution.body import ZERO_ADDRESS, BodyRefusal
from cherrydag.execution.entries import PREFIX_MAX
from cherrydag.execution.overlay import EntryKey, Overlay, Powers, Scope, View
from cherrydag.primitives import Address
from cherrydag.transaction import Records

KIND_MIN: Final = 16
"""Smallest kind of a module's operation; those below are the ledger's own."""

KIND_MAX: Final = 255
FLAGS_MAX: Final = 2**32 - 1


class OperationStatus(IntEnum):
    """Statuses that a Status has none of; the numbers of both are distinct and stable."""

    REFUSED = 16
    """The module refused: the nonce is used and the fee paid; the receipt has the code."""
    UNKNOWN = 17
    """No module has operations of that kind, scheme and flags: no trace."""


AnyStatus: TypeAlias = Status | OperationStatus

CHARGED: Final = (Status.APPLIED, Status.INSUFFICIENT, Status.OVERFLOW, OperationStatus.REFUSED)
"""The statuses with which the nonce is used and the fee paid."""


@dataclass(frozen=True, slots=True)
class Event:
    """What an operation says has happened. Each kind of event is a frozen dataclass of its own."""

    name: ClassVar[str]
    """Stable, module first: "asset.created"."""


class Operation(NamedTuple):
    """A module's record and body. What a field of the record means is for its kind to say."""

    kind: int
    asset: int
    amount: int
    recipient: Address
    nonce: int
    body: bytes

    @classmethod
    def of(cls, records: Records, row: int, body: bytes) -> "Operation":
        """The operation in a row."""
        record = records[row]
        return cls(
            int(record["kind"]),
            int(record["asset"]),
            int(record["amount_lo"]) | int(record["amount_hi"]) << 64,
            Address(record["recipient"].tobytes()),
            int(record["nonce"]),
            body,
        )

    def require_unused(self, *fields: str) -> None:
        """Rejected unless these, of asset, amount, recipient and body, are zero or empty."""
        unset = {
            "asset": self.asset == NATIVE,
            "amount": self.amount == 0,
            "recipient": self.recipient == ZERO_ADDRESS,
            "body": not self.body,
        }
        for field in fields:
            if not unset[field]:
                raise Rejected(BodyRefusal.FIELD_SET, f"{field}: an operation {self.kind} has none")


class Context(NamedTuple):
    """Where an operation stands. commit_index: of the main chain; now_s: the commit's time, unix seconds."""

    commit_index: int
    now_s: int
    sender: Address


class Receipt(NamedTuple):
    """What became of an operation. refusal: the code if the module refused, else empty."""

    status: AnyStatus
    refusal: str = ""
    events: tuple[Event, ...] = ()


class Module(ABC):
    """Operations of certain kinds. Its state is entries: an object holds none that operations change.

    kinds: KIND_MIN to 255, of an IntEnum where they have names. powers: prefix of its entries, and what else
    it may do.
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[int, ...]]
    powers: ClassVar[Powers]

    @abstractmethod
    def execute(self, operation: Operation, scope: Scope, context: Context) -> tuple[Event, ...]:
        """Execute an operation of one of its kinds. Total: raises Rejected for all that it cannot do."""

    @abstractmethod
    def audit(self, view: View) -> None:
        """InvariantViolation unless the module's whole state holds together. It may read every line."""

    @classmethod
    def key(cls, table: int, key: bytes = b"") -> EntryKey:
        """The key of an entry in one of the module's tables, u8."""
        return EntryKey(cls.powers.prefix, bytes([table]) + key)


class ModuleRegistry:
    """The modules of a chain by kind. They are a consensus rule: all nodes have the same."""

    __slots__ = ("_by_kind", "_modules")

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        """Raises ConfigError where two share a name, kind, prefix or flag, or one is out of range."""
        self._modules = tuple(sorted(modules, key=lambda module: module.powers.prefix))
        self._by_kind: dict[int, Module] = {}
        names: set[str] = set()
        prefixes: set[int] = set()
        flags = int(AccountFlag.POLICY)
        for module in self._modules:
            powers = module.powers
            if module.name in names or powers.prefix in prefixes or not 0 <= powers.prefix <= PREFIX_MAX:
                raise ConfigError(f"module {module.name}: name or prefix {powers.prefix} taken or invalid")
            if not 0 <= powers.flags <= FLAGS_MAX or powers.flags & flags:
                raise ConfigError(f"module {module.name}: flags {powers.flags:#x} taken or invalid")
            names.add(module.name)
            prefixes.add(powers.prefix)
            flags |= powers.flags
            self._add_kinds(module)

    def _add_kinds(self, module: Module) -> None:
        for kind in module.kinds:
            if not KIND_MIN <= kind <= KIND_MAX or kind in self._by_kind:
                raise ConfigError(f"module {module.name}: kind {kind} taken or not {KIND_MIN} to {KIND_MAX}")
            self._by_kind[kind] = module

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules)

    @property
    def kinds(self) -> tuple[int, ...]:
        """All kinds that have a module, ascending."""
        return tuple(sorted(self._by_kind))

    def find(self, kind: int) -> Module | None:
        """The module of a kind, or None."""
        return self._by_kind.get(kind)

    def name_of(self, kind: int) -> str | None:
        """What an operation of a kind is called, module first: "bonds.bond"; None if no module has it."""
        module = self._by_kind.get(kind)
        if module is None:
            return None
        own = next(one for one in module.kinds if one == kind)
        return f"{module.name}.{own.name.lower() if isinstance(own, IntEnum) else own}"


def execute_operation(module: Module, operation: Operation, overlay: Overlay, context: Context) -> Receipt:
    """Execute an operation whose nonce is used and whose fee is paid: all of it or nothing.

    The overlay must be clean, and is afterwards.
    """
    mark = overlay.checkpoint()
    try:
        events = module.execute(operation, Scope(overlay, module.powers, context.sender), context)
    except Rejected as refused:
        overlay.revert(mark)
        return Receipt(OperationStatus.REFUSED, str(refused.code))
    overlay.commit()
    return Receipt(Status.APPLIED, "", events)
