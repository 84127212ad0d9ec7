"""Anchors take effect once every required signer has signed, and not before."""

from contextlib import suppress
from itertools import permutations

import pytest
from execution_rig import USERS, Rig, Transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from cherrydag.errors import InvariantViolation, Rejected
from cherrydag.execution.accounts import Status
from cherrydag.execution.anchor import (
    SIGNERS_MAX,
    Anchor,
    AnchorCreated,
    AnchorEffective,
    AnchorKind,
    AnchorRefusal,
    Anchors,
    AnchorSigned,
    anchor_id_of,
    decode_anchor,
    decode_anchor_id,
    encode_anchor,
)
from cherrydag.execution.body import BodyRefusal
from cherrydag.execution.module import Receipt
from cherrydag.execution.overlay import Overlay, View

DIGEST = bytes(range(32))
SIGNERS = tuple(sorted(USERS[1:4]))
ANCHOR = anchor_id_of(DIGEST, SIGNERS)  # type: ignore[arg-type]


def make() -> Rig:
    rig = Rig(Anchors())
    assert create(rig).events == (AnchorCreated(ANCHOR, DIGEST, SIGNERS),)  # type: ignore[arg-type]
    return rig


def create(rig: Rig, digest: bytes = DIGEST, signers: tuple[bytes, ...] = SIGNERS, user: int = 0) -> Receipt:
    return rig.do(user, AnchorKind.CREATE, body=encode_anchor(digest, signers))  # type: ignore[arg-type]


def sign(rig: Rig, user: int, anchor: bytes = ANCHOR) -> Receipt:
    return rig.do(user, AnchorKind.SIGN, body=anchor)


def anchor_in(rig: Rig) -> Anchor:
    found = Anchors().get(View(Overlay(rig.accounts, rig.entries), Anchors.powers), ANCHOR)
    assert found is not None
    return found


@pytest.mark.parametrize("order", list(permutations((1, 2, 3))))
def test_anchor_is_effective_with_the_last_signature_in_any_order(order: tuple[int, ...]) -> None:
    rig = make()
    for user in order[:-1]:
        assert sign(rig, user).events == (AnchorSigned(ANCHOR, USERS[user]),)
        assert not anchor_in(rig).is_effective
        rig.executor.audit()
    last = sign(rig, order[-1])
    assert last.events == (AnchorSigned(ANCHOR, USERS[order[-1]]), AnchorEffective(ANCHOR, DIGEST))  # type: ignore[arg-type]
    assert anchor_in(rig) == (DIGEST, SIGNERS, 7, 4) and anchor_in(rig).is_effective
    rig.executor.audit()


def test_signing_twice_counts_once() -> None:
    rig = make()
    sign(rig, 1)
    for _ in range(3):
        assert sign(rig, 1).refusal == AnchorRefusal.SIGNED
    copy = Transaction(2, AnchorKind.SIGN, body=ANCHOR)
    assert rig.commit([copy, copy]).statuses[0].tolist() == [Status.APPLIED, Status.NONCE_USED]
    assert not anchor_in(rig).is_effective


def test_creating_signs_nothing() -> None:
    rig = Rig(Anchors())
    create(rig, user=1)
    assert anchor_in(rig).signed == 0
    alone = anchor_id_of(DIGEST, (USERS[1],))
    create(rig, signers=(USERS[1],), user=1)
    assert [type(event) for event in sign(rig, 1, alone).events] == [AnchorSigned, AnchorEffective]


def test_strangers_and_unknown_anchors_are_refused() -> None:
    rig = make()
    assert sign(rig, 0).refusal == AnchorRefusal.NOT_SIGNER
    assert sign(rig, 1, bytes(32)).refusal == AnchorRefusal.UNKNOWN
    assert anchor_in(rig).signed == 0


def test_anchor_is_one_whoever_creates_it_and_its_signatures_stay() -> None:
    rig = make()
    sign(rig, 1)
    assert create(rig, user=5).refusal == AnchorRefusal.EXISTS
    assert anchor_in(rig).signed.bit_count() == 1
    assert create(rig, digest=bytes(32)).status == Status.APPLIED
    assert create(rig, signers=SIGNERS[:2]).status == Status.APPLIED


@pytest.mark.parametrize("field", [{"asset": 1}, {"amount": 1}, {"recipient": USERS[0]}])
@pytest.mark.parametrize("kind", list(AnchorKind))
def test_unused_field_is_refused(kind: AnchorKind, field: dict[str, object]) -> None:
    rig = make()
    body = ANCHOR if kind == AnchorKind.SIGN else encode_anchor(bytes(32), SIGNERS)  # type: ignore[arg-type]
    assert rig.do(1, kind, body=body, **field).refusal == BodyRefusal.FIELD_SET


@pytest.mark.parametrize(
    ("count", "code"),
    [(0, BodyRefusal.COUNT), (1, ""), (SIGNERS_MAX, ""), (SIGNERS_MAX + 1, BodyRefusal.COUNT)],
)
def test_signers_are_so_many(count: int, code: str) -> None:
    signers = tuple(bytes([i]) * 20 for i in range(count))
    rig = Rig(Anchors())
    assert create(rig, signers=signers).refusal == code
    rig.executor.audit()


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        (AnchorKind.CREATE, encode_anchor(DIGEST, SIGNERS)[:-1], BodyRefusal.TRUNCATED),  # type: ignore[arg-type]
        (AnchorKind.CREATE, encode_anchor(DIGEST, SIGNERS) + b"x", BodyRefusal.TRAILING),  # type: ignore[arg-type]
        (AnchorKind.CREATE, encode_anchor(DIGEST, SIGNERS[::-1]), BodyRefusal.ORDER),  # type: ignore[arg-type]
        (AnchorKind.SIGN, bytes(31), BodyRefusal.TRUNCATED),
        (AnchorKind.SIGN, bytes(33), BodyRefusal.TRAILING),
    ],
)
def test_malformed_body_is_refused(kind: AnchorKind, body: bytes, code: str) -> None:
    assert make().do(1, kind, body=body).refusal == code


@given(st.binary(max_size=120))
def test_any_body_is_decoded_or_refused(body: bytes) -> None:
    with suppress(Rejected):
        assert encode_anchor(*decode_anchor(body)[:2]) == body
    try:
        assert decode_anchor_id(body) == body
    except Rejected:
        assert len(body) != 32


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([ANCHOR, bytes(32)])), max_size=20))
def test_any_history_is_a_set_of_signers(history: list[tuple[int, bytes]]) -> None:
    rig, signed = make(), set()
    for user, anchor in history:
        fine = anchor == ANCHOR and USERS[user] in SIGNERS and user not in signed
        assert (sign(rig, user, anchor).status == Status.APPLIED) == fine
        if fine:
            signed.add(user)
        assert anchor_in(rig).is_effective == (len(signed) == 3)
    rig.executor.audit()


def test_audit_finds_an_effect_without_signatures() -> None:
    rig = make()
    key, value = b"\x01" + ANCHOR, rig.entries.get(3, b"\x01" + ANCHOR)
    assert value is not None
    rig.entries.put(3, key, value[:40] + (9).to_bytes(8, "little") + value[48:])
    with pytest.raises(InvariantViolation, match="if and only if"):
        rig.executor.audit()
