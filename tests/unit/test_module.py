"""The registry of modules, operations and their frame: all or nothing."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
from execution_rig import NOBODY, RICH, USERS, Rig, Transaction, payload_of

from cherrydag.errors import ConfigError, InvariantViolation, Rejected
from cherrydag.execution.accounts import AccountFlag, Status
from cherrydag.execution.assets import AssetKind, Assets
from cherrydag.execution.body import BodyRefusal
from cherrydag.execution.bonds import BondKind
from cherrydag.execution.module import (
    CHARGED,
    KIND_MAX,
    KIND_MIN,
    Context,
    Event,
    Module,
    ModuleRegistry,
    Operation,
    OperationStatus,
)
from cherrydag.execution.overlay import EntryKey, Powers, Scope, View


@dataclass(frozen=True, slots=True)
class Noted(Event):
    """The note was taken."""

    name: ClassVar[str] = "notes.noted"
    body: bytes


class Notes(Module):
    """Writes its body down and moves the amount; then refuses if the body says so, or reaches too far."""

    name = "notes"
    kinds = (200, 201)
    powers = Powers(prefix=77)

    def execute(self, operation: Operation, scope: Scope, context: Context) -> tuple[Event, ...]:
        scope.put(self.key(1, operation.body[:8]), context.commit_index.to_bytes(8, "big"))
        scope.delete(self.key(1, b"old"))
        if operation.amount:
            scope.move(context.sender, operation.recipient, operation.asset, operation.amount)
        if operation.body == b"refuse":
            raise Rejected("notes_refused", "as asked")
        if operation.body == b"reach":
            scope.put(EntryKey(78, b""), b"")
        return (Noted(operation.body),)

    def audit(self, view: View) -> None:
        pass


def make(name: str = "other", kinds: tuple[int, ...] = (100,), prefix: int = 5, flags: int = 0) -> Module:
    fields = {"name": name, "kinds": kinds, "powers": Powers(prefix, flags)}
    return type("Made", (Notes,), fields)()


def test_applied_operation_writes_and_says_so() -> None:
    rig = Rig(Notes())
    receipt = rig.do(0, 200, body=b"hello", amount=5, recipient=USERS[1], fee=3)
    assert receipt == (Status.APPLIED, "", (Noted(b"hello"),))
    assert receipt.events[0].name == "notes.noted"
    assert rig.entries.get(77, b"\x01hello") == (1).to_bytes(8, "big")
    assert (rig.balance(USERS[0]), rig.balance(USERS[1])) == (RICH - 8, RICH + 5)


def test_refused_operation_leaves_its_nonce_and_fee_alone() -> None:
    rig, bare = Rig(Notes()), Rig(Notes())
    for other in (rig, bare):
        other.entries.put(77, b"\x01old", b"x")
    receipt = rig.do(0, 200, body=b"refuse", amount=5, recipient=USERS[1], fee=3)
    assert receipt == (OperationStatus.REFUSED, "notes_refused", ())
    assert rig.entry_bytes() == bare.entry_bytes()
    line = rig.accounts.get(USERS[0])
    assert line is not None and line[:3] == (RICH - 3, 1, 0)
    assert rig.balance(USERS[1]) == RICH and rig.accounts.fees == 3


def test_refusal_of_a_move_is_the_operation_s() -> None:
    rig = Rig(Notes())
    assert rig.do(0, 201, amount=RICH, recipient=USERS[1]).refusal == "move_insufficient"
    assert rig.do(0, 201, body=bytes(200)).status == Status.APPLIED  # it keeps the first bytes alone


def test_module_that_reaches_beyond_its_prefix_stops_the_node() -> None:
    with pytest.raises(InvariantViolation, match="prefix"):
        Rig(Notes()).do(0, 200, body=b"reach")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"valid_until": 1}, Status.EXPIRED),
        ({"nonce": 64}, Status.NONCE_FAR),
        ({"fee": RICH + 1}, Status.FEE_UNPAYABLE),
        ({"kind": 199}, OperationStatus.UNKNOWN),
        ({"kind": 0}, OperationStatus.UNKNOWN),
        ({"kind": 1, "body": b"x"}, OperationStatus.UNKNOWN),
        ({"scheme": 2}, OperationStatus.UNKNOWN),
        ({"flags": 1}, OperationStatus.UNKNOWN),
        ({"flags": 256}, OperationStatus.UNKNOWN),
    ],
)
def test_operation_that_cannot_begin_leaves_no_trace(fields: dict[str, int], status: int) -> None:
    rig = Rig(Notes())
    before = rig.lines(), rig.entry_bytes()
    result = rig.commit([Transaction(**{"kind": 200} | fields)])  # type: ignore[arg-type]
    assert result.statuses[0].tolist() == [status] and result.receipts[0].receipt == (status, "", ())
    assert (rig.lines(), rig.entry_bytes()) == before and result.fees == 0


def test_policy_account_begins_no_operation() -> None:
    rig = Rig(Notes())
    line = rig.accounts.get(USERS[0])
    assert line is not None
    rig.accounts.put(USERS[0], line._replace(flags=AccountFlag.POLICY))
    assert rig.do(0, 200).status == Status.POLICY


def test_statuses_are_distinct_and_charged_ones_are_listed() -> None:
    assert not {int(s) for s in Status} & {int(s) for s in OperationStatus}
    assert [s for s in Status if s.is_charged] == [s for s in CHARGED if isinstance(s, Status)]
    assert (OperationStatus.REFUSED, OperationStatus.UNKNOWN) == (16, 17)


@pytest.mark.parametrize(
    "other",
    [
        make(name="notes"),
        make(kinds=(100, 201)),
        make(prefix=77),
        make(kinds=(KIND_MIN - 1,)),
        make(kinds=(KIND_MAX + 1,)),
        make(kinds=(100, 100)),
        make(prefix=-1),
        make(prefix=65536),
        make(flags=AccountFlag.POLICY),
        make(flags=2**32),
    ],
)
def test_registry_refuses_what_does_not_go_together(other: Module) -> None:
    with pytest.raises(ConfigError):
        ModuleRegistry([Notes(), other])


def test_registry_refuses_flags_that_two_want() -> None:
    with pytest.raises(ConfigError, match="flags"):
        ModuleRegistry([make(flags=6), make(name="third", kinds=(101,), prefix=6, flags=4)])


def test_registry_finds_by_kind_and_lists_by_prefix() -> None:
    notes, other = Notes(), make(kinds=(KIND_MIN, KIND_MAX), prefix=0)
    registry = ModuleRegistry([notes, other])
    assert list(registry) == [other, notes] and registry.kinds == (KIND_MIN, 200, 201, KIND_MAX)
    assert registry.find(201) is notes and registry.find(KIND_MAX) is other and registry.find(1) is None


def test_registry_names_the_kinds_of_its_modules_alone() -> None:
    registry = ModuleRegistry([Notes(), Assets()])
    assert [registry.name_of(kind) for kind in AssetKind] == ["assets.create", "assets.mint", "assets.burn"]
    assert registry.name_of(200) == "notes.200"  # one without names
    assert registry.name_of(BondKind.BOND) is None and registry.name_of(1) is None


def test_operation_reads_every_field() -> None:
    fields = {"kind": 200, "nonce": 2**63, "amount": (7 << 64) + 6, "asset": 2**32 - 1}
    payload = payload_of([Transaction(), Transaction(recipient=USERS[3], body=b"abc", **fields)])  # type: ignore[arg-type]
    assert Operation.of(payload.records, 1, bytes(payload.body(1))) == Operation(
        200, 2**32 - 1, (7 << 64) + 6, USERS[3], 2**63, b"abc"
    )


@pytest.mark.parametrize("change", [{"asset": 1}, {"amount": 1}, {"recipient": USERS[0]}, {"body": b"x"}])
def test_field_without_a_use_must_be_unset(change: dict[str, object]) -> None:
    bare = Operation(200, 0, 0, NOBODY, 5, b"")
    bare.require_unused("asset", "amount", "recipient", "body")
    changed = bare._replace(**change)  # type: ignore[arg-type]
    changed.require_unused(*({"asset", "amount", "recipient", "body"} - change.keys()))
    with pytest.raises(Rejected) as caught:
        changed.require_unused(*change)
    assert caught.value.code == BodyRefusal.FIELD_SET
