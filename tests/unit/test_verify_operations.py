"""Operations of modules, from signature to state: valid where a chain has their modules, and nowhere else."""

from collections.abc import Sequence

import numpy as np
import pytest
from execution_rig import Rig
from vertices import CHAIN, COMMITTEE, EPOCH, USERS, operator_vertex, refs, validator_vertex

from cherrydag.address import address_of
from cherrydag.codec import decode_vertex, encode_vertex
from cherrydag.commit import Commit
from cherrydag.consensus.effects import SubDag
from cherrydag.errors import PeerFault, ShapeError
from cherrydag.execution.accounts import Status
from cherrydag.execution.anchor import AnchorKind, Anchors, anchor_id_of, encode_anchor
from cherrydag.execution.assets import AssetKind, Assets, encode_create
from cherrydag.execution.module import Module, ModuleRegistry, Operation
from cherrydag.execution.multisig import Multisig, PolicyKind, encode_policy, proposal_id_of
from cherrydag.params import BODY_BYTES_MAX
from cherrydag.payload import Payload, body_offsets, build_payload, payload_ids
from cherrydag.primitives import Address
from cherrydag.signing import sign_records
from cherrydag.transaction import Records, build_transfers, verify_records
from cherrydag.verify import EpochRules, VertexFault, verify_vertex, verify_vertex_signatures
from cherrydag.vertex import Vertex

FUNDS, NOW_MS = 1000, 1_800_000_000_000
MODULES = (Assets(), Multisig(), Anchors())
ALICE, BOB, CAROL = (address_of(user.public_key) for user in USERS)
SIGNERS = (ALICE, BOB) if ALICE < BOB else (BOB, ALICE)
ANCHOR = anchor_id_of(bytes(32), SIGNERS)
PROPOSED = Operation(PolicyKind.PROPOSE, 0, 60, BOB, 3, CAROL)  # Alice's fourth transaction
PROPOSAL = proposal_id_of(CAROL, ALICE, PROPOSED)

Item = tuple[int, int, Address, int, int, bytes]
"""User, kind, recipient, amount, asset, body."""

NOBODY = Address(bytes(20))
ITEMS: tuple[Item, ...] = (
    (0, 1, BOB, 5, 0, b""),
    (0, AssetKind.CREATE, NOBODY, 0, 0, encode_create("CHERRY", 2)),
    (0, AssetKind.MINT, CAROL, 700, 1, b""),
    (2, 1, ALICE, 300, 1, b""),
    (2, PolicyKind.CREATE, NOBODY, 0, 0, encode_policy(2, SIGNERS)),
    (0, PolicyKind.PROPOSE, BOB, 60, 0, bytes(CAROL)),
    (1, PolicyKind.APPROVE, NOBODY, 0, 0, bytes(CAROL) + PROPOSAL),
    (1, PolicyKind.EXECUTE, NOBODY, 0, 0, bytes(CAROL) + PROPOSAL),
    (1, AnchorKind.CREATE, NOBODY, 0, 0, encode_anchor(bytes(32), SIGNERS)),
    (0, AnchorKind.SIGN, NOBODY, 0, 0, ANCHOR),
    (1, AnchorKind.SIGN, NOBODY, 0, 0, ANCHOR),
)
"""An asset that changes hands, funds that two of two members move, an anchor that two signers make."""


def rules_of(modules: Sequence[Module]) -> EpochRules:
    return EpochRules.of(CHAIN, COMMITTEE, kinds=ModuleRegistry(modules).kinds)


def signed_payload(items: Sequence[Item], **changes: int) -> Payload:
    """Records with each user's nonces in order, really signed; `changes` are the same in all records."""
    users = np.array([item[0] for item in items])
    records = build_transfers(
        senders=bytes(32),
        recipients=b"".join(item[2] for item in items),
        amounts=[item[3] for item in items],
        asset=[item[4] for item in items],
        nonces=[sum(users[:row] == users[row]) for row in range(len(items))],
    )
    records["kind"] = [item[1] for item in items]
    records["body_size"] = [len(item[5]) for item in items]
    for name, value in changes.items():
        records[name] = value
    return signed(records, users, b"".join(item[5] for item in items))


def signed(records: Records, users: np.ndarray, bodies: bytes) -> Payload:
    offsets = body_offsets(records, len(bodies))
    sign_records(records, CHAIN.transaction_key, USERS, users, bodies=bodies, body_offsets=offsets)
    return build_payload(records, CHAIN, bodies)


def vertices_with(payload: Payload) -> tuple[Vertex, Vertex]:
    return validator_vertex(payload=payload), operator_vertex(payload=payload)


def refusal(vertex: Vertex, rules: EpochRules) -> str | None:
    """The message of the RECORD fault, or None."""
    try:
        verify_vertex(vertex, rules)
    except PeerFault as error:
        assert error.code == VertexFault.RECORD
        return str(error)
    return None


def funded_rig() -> Rig:
    """The users of the rig have paid each of ours."""
    rig = Rig(*MODULES)
    for payer, address in enumerate((ALICE, BOB, CAROL)):
        assert rig.transfer(payer, address, FUNDS) == Status.APPLIED
    return rig


@pytest.mark.parametrize("place", [0, 1], ids=["validator", "operator"])
def test_signed_operations_pass_every_check_and_execute(place: int) -> None:
    """Through the codec, as a peer's vertex comes."""
    rules = rules_of(MODULES)
    frame = encode_vertex(vertices_with(signed_payload(ITEMS))[place])
    vertex = decode_vertex(frame)
    ids = verify_vertex(vertex, rules)
    assert verify_vertex_signatures([vertex], rules) == [None]
    assert ids == payload_ids(vertex.payload, CHAIN)
    assert verify_records(vertex.payload.records, ids) == b"\x01" * len(ITEMS)

    rig = funded_rig()
    leader = validator_vertex(author=1, ancestors=refs(4, "1023"))
    commit = Commit(EPOCH, rig.executor.commit_index + 1, bytes(32), NOW_MS, (vertex.ref, leader.ref))
    result = rig.executor.execute(SubDag(commit, (vertex, leader)))
    assert [receipt.receipt.refusal for receipt in result.receipts] == [""] * 9
    assert result.statuses[0].tolist() == [Status.APPLIED] * len(ITEMS)
    # Five transactions of Alice's, four of Bob's and two of Carol's paid a fee of 1 each.
    expected = [FUNDS - 5 - 5, FUNDS + 5 + 60 - 4, FUNDS - 60 - 2]
    assert [rig.balance(who) for who in (ALICE, BOB, CAROL)] == expected
    assert [rig.balance(who, 1) for who in (ALICE, CAROL)] == [300, 400]
    rig.executor.audit()


def test_without_the_kinds_the_first_operation_is_refused() -> None:
    for vertex in vertices_with(signed_payload(ITEMS)):
        message = refusal(vertex, EpochRules.of(CHAIN, COMMITTEE))
        assert message is not None
        assert "transaction 1: UNKNOWN_KIND" in message


@pytest.mark.parametrize(("missing", "row"), [(0, 1), (1, 4), (2, 8)])
def test_a_chain_without_a_module_refuses_its_operations(missing: int, row: int) -> None:
    rules = rules_of([module for i, module in enumerate(MODULES) if i != missing])
    for vertex in vertices_with(signed_payload(ITEMS)):
        message = refusal(vertex, rules)
        assert message is not None
        assert f"transaction {row}: UNKNOWN_KIND" in message


@pytest.mark.parametrize("kind", [0, 2, 15, 16, 17, 254, 255])
def test_only_the_rules_kinds_are_valid(kind: int) -> None:
    payload = signed_payload([(0, kind, NOBODY, 0, 0, b"")])
    kinds = [other for other in range(16, 256) if other != kind]
    for vertex in vertices_with(payload):
        assert refusal(vertex, EpochRules.of(CHAIN, COMMITTEE, kinds=kinds)) is not None
        if kind >= 16:
            assert refusal(vertex, EpochRules.of(CHAIN, COMMITTEE, kinds=[kind])) is None


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"fee": 0}, "FEE_TOO_LOW"),
        ({"nonce": 2**64 - 1}, "NONCE_TOO_HIGH"),
        ({"scheme": 2}, "UNKNOWN_SCHEME"),
        ({"flags": 1}, "FLAGS_SET"),
        ({"reserved": 1}, "RESERVED_SET"),
        ({"amount_lo": 2**64 - 1, "amount_hi": 2**64 - 1}, None),
        ({"valid_until": 0}, None),
    ],
)
def test_an_operation_keeps_the_rules_of_all_transactions(changes: dict[str, int], fault: str | None) -> None:
    payload = signed_payload([ITEMS[1], ITEMS[2]], **changes)
    for vertex in vertices_with(payload):
        message = refusal(vertex, rules_of(MODULES))
        assert (message is None) if fault is None else (f"transaction 0: {fault}" in str(message))


def test_a_body_may_be_as_large_as_a_transaction_s() -> None:
    for size in (BODY_BYTES_MAX - 1, BODY_BYTES_MAX, BODY_BYTES_MAX + 1):
        payload = signed_payload([(0, AnchorKind.CREATE, NOBODY, 0, 0, bytes(size))])
        for vertex in vertices_with(payload):
            message = refusal(vertex, rules_of(MODULES))
            assert (message is None) == (size <= BODY_BYTES_MAX)
            assert message is None or "BODY_TOO_LARGE" in message


def test_a_signature_covers_the_body() -> None:
    payload = signed_payload(ITEMS)
    bodies = bytearray(payload.bodies)
    bodies[-1] ^= 1
    forged = build_payload(payload.records, CHAIN, bytes(bodies))
    vertex = operator_vertex(payload=forged)
    ids = verify_vertex(vertex, rules_of(MODULES))
    assert verify_records(forged.records, ids) == b"\x01" * (len(ITEMS) - 1) + b"\x00"


def test_rules_keep_the_kinds_sorted_and_each_once() -> None:
    rules = EpochRules.of(CHAIN, COMMITTEE, kinds=[255, 16, 30, 16])
    assert rules.kinds == (16, 30, 255)
    assert rules == EpochRules.of(CHAIN, COMMITTEE, kinds={30, 255, 16})
    assert rules != EpochRules.of(CHAIN, COMMITTEE, kinds=[16, 30])
    assert EpochRules.of(CHAIN, COMMITTEE).kinds == ()
    assert rules_of(MODULES).kinds == tuple(sorted([*AssetKind, *PolicyKind, *AnchorKind]))


@pytest.mark.parametrize("kind", [-1, 0, 1, 15, 256])
def test_rules_have_no_kind_that_an_operation_cannot_have(kind: int) -> None:
    with pytest.raises(ShapeError, match="kinds: expected 16 to 255"):
        EpochRules.of(CHAIN, COMMITTEE, kinds=[16, kind])
