"""Bonds: what an operator has at stake is locked, leaves late, and is lost by two vertices under one seq."""

from contextlib import suppress
from dataclasses import replace

import pytest
from execution_rig import NOW_S, USERS, Rig, Transaction
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from vertices import CHAIN, OTHER_CHAIN, operator_vertex, sign

from cherrydag import crypto
from cherrydag.chain import Chain
from cherrydag.errors import InvariantViolation, Rejected
from cherrydag.execution import bonds
from cherrydag.execution.accounts import Status
from cherrydag.execution.body import BodyRefusal
from cherrydag.execution.bonds import (
    BOND_MIN,
    QUOTA_MAX,
    QUOTA_UNIT,
    SHARE_MAX,
    UNBOND_S,
    VAULT,
    Bond,
    BondKind,
    BondLeaving,
    BondPlaced,
    BondRefusal,
    Bonds,
    BondSlashed,
    BondWithdrawn,
    Totals,
    changed_bonds,
    decode_bond,
    decode_operator,
    encode_bond,
    possession_digest,
    quota_of,
    share_of,
)
from cherrydag.execution.catalogue import modules_of
from cherrydag.execution.evidence import (
    HEADER_MAX,
    HEADER_MIN,
    EvidenceRefusal,
    decode_evidence,
    encode_evidence,
)
from cherrydag.execution.module import OperationStatus, Receipt
from cherrydag.execution.overlay import MoveRefusal, Overlay, View
from cherrydag.primitives import PublicKey
from cherrydag.signing import KeyPair, generate_keypair, sign_digest

OWNER, OTHER, REPORTER = 0, 1, 2
RICH = 10 * BOND_MIN
KEYS = [generate_keypair(bytes([40 + i]) * 32) for i in range(3)]
KEY = KEYS[0]
OP = KEY.public_key
READY_S = NOW_S + UNBOND_S


def make(chain: Chain | None = CHAIN) -> Rig:
    return Rig(Bonds(chain), balance=RICH)


def bonded(amount: int = 3 * BOND_MIN) -> Rig:
    rig = make()
    assert bond(rig, amount).status == Status.APPLIED
    return rig


def bond(rig: Rig, amount: int, user: int = OWNER, key: KeyPair = KEY, **fields: object) -> Receipt:
    possession = sign_digest(possession_digest(key.public_key, USERS[user]), key)
    fields = {"amount": amount, "body": encode_bond(key.public_key, possession)} | fields
    return rig.do(user, BondKind.BOND, **fields)


def unbond(rig: Rig, amount: int, user: int = OWNER, key: KeyPair = KEY) -> Receipt:
    return rig.do(user, BondKind.UNBOND, amount=amount, body=key.public_key)


def withdraw(rig: Rig, now_s: int, user: int = OWNER, key: KeyPair = KEY) -> Receipt:
    operation = Transaction(user, BondKind.WITHDRAW, rig.nonces[user], body=key.public_key)
    (receipt,) = rig.commit([operation], now_s=now_s).receipts
    rig.nonces[user] += receipt.receipt.status in (Status.APPLIED, OperationStatus.REFUSED)
    return receipt.receipt


def headers(key: KeyPair = KEY, chain: Chain = CHAIN, **changes: object) -> tuple[bytes, bytes]:
    """Of two vertices of this key under one seq; the changes are the second one's."""
    first = operator_vertex(issuer=key.public_key, signed=False)
    second = replace(first, **({"timestamp_ms": first.timestamp_ms + 1} | changes))
    return sign(first, key, chain).header, sign(second, key, chain).header


def slash(rig: Rig, *of: bytes, user: int = REPORTER) -> Receipt:
    return rig.do(user, BondKind.SLASH, body=encode_evidence(*(of or headers())))


def view(rig: Rig) -> View:
    return View(Overlay(rig.accounts, rig.entries), Bonds.powers)


def held(rig: Rig, key: KeyPair = KEY) -> Bond | None:
    return Bonds().get(view(rig), key.public_key)


# Locking


def test_bond_locks_its_amount_in_the_vault() -> None:
    rig = make()
    assert bond(rig, BOND_MIN).events == (BondPlaced(OP, USERS[OWNER], BOND_MIN, BOND_MIN),)
    assert bond(rig, 5).events == (BondPlaced(OP, USERS[OWNER], BOND_MIN + 5, 5),)
    assert held(rig) == (USERS[OWNER], BOND_MIN + 5, 0, 0)
    assert rig.balance(VAULT) == BOND_MIN + 5 and rig.balance(USERS[OWNER]) == RICH - BOND_MIN - 5 - 2
    assert Bonds().totals(view(rig)) == Totals(1, 0)
    assert list(Bonds().active(view(rig))) == [(OP, BOND_MIN + 5)]
    rig.executor.audit()


def test_bonds_are_listed_by_key_behind_a_cursor() -> None:
    rig = make()
    for key in KEYS:
        assert bond(rig, BOND_MIN, key=key).status == Status.APPLIED
    every = list(Bonds().listed(view(rig)))
    assert [operator for operator, _ in every] == sorted(key.public_key for key in KEYS)
    assert all(found == (USERS[OWNER], BOND_MIN, 0, 0) for _, found in every)
    for at, (operator, _) in enumerate(every):
        assert list(Bonds().listed(view(rig), operator)) == every[at + 1 :]
    assert list(Bonds().listed(view(rig), PublicKey(bytes(32)))) == every


@pytest.mark.parametrize(
    ("amount", "code"),
    [(0, BondRefusal.TOO_SMALL), (BOND_MIN - 1, BondRefusal.TOO_SMALL), (BOND_MIN, ""), (BOND_MIN + 1, "")],
)
def test_bond_is_of_some_size(amount: int, code: str) -> None:
    assert bond(make(), amount).refusal == code


def test_more_than_the_balance_cannot_be_bonded() -> None:
    rig = make()
    assert bond(rig, RICH).refusal == MoveRefusal.INSUFFICIENT  # the fee is paid before
    assert rig.balance(VAULT) == 0 and len(rig.entries) == 0
    assert bond(rig, RICH - 2).status == Status.APPLIED


def test_nobody_bonds_a_key_that_has_not_signed_for_him() -> None:
    rig = make()
    of_owner = sign_digest(possession_digest(OP, USERS[OWNER]), KEY)
    of_stranger = sign_digest(possession_digest(OP, USERS[OTHER]), KEYS[1])
    for possession in (of_owner, of_stranger, bytes(64)):
        receipt = bond(rig, BOND_MIN, OTHER, body=encode_bond(OP, possession))
        assert receipt.refusal == BondRefusal.POSSESSION
    assert rig.balance(VAULT) == 0


def test_bond_is_its_first_owner_s() -> None:
    rig = bonded()
    for receipt in (bond(rig, BOND_MIN, OTHER), unbond(rig, BOND_MIN, OTHER), withdraw(rig, READY_S, OTHER)):
        assert receipt.refusal == BondRefusal.NOT_OWNER
    assert bond(rig, BOND_MIN, OTHER, KEYS[1]).status == Status.APPLIED
    assert [key for key, _ in Bonds().active(view(rig))] == sorted([OP, KEYS[1].public_key])


def test_so_many_bonds_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bonds, "BONDS_MAX", 2)
    rig = make()
    for key in KEYS[:2]:
        assert bond(rig, BOND_MIN, key=key).status == Status.APPLIED
    assert bond(rig, BOND_MIN, key=KEYS[2]).refusal == BondRefusal.TOO_MANY
    assert bond(rig, 1).status == Status.APPLIED  # one that is there may grow
    unbond(rig, BOND_MIN + 1)
    assert withdraw(rig, READY_S).status == Status.APPLIED
    assert bond(rig, BOND_MIN, key=KEYS[2]).status == Status.APPLIED
    rig.executor.audit()


# Leaving


def test_what_leaves_is_paid_out_after_the_delay_and_not_before() -> None:
    rig = bonded()
    leaving = BondLeaving(OP, USERS[OWNER], BOND_MIN, 2 * BOND_MIN, READY_S)
    assert unbond(rig, 2 * BOND_MIN).events == (leaving,)
    assert held(rig) == (USERS[OWNER], BOND_MIN, 2 * BOND_MIN, READY_S)
    before = rig.balance(USERS[OWNER])
    assert withdraw(rig, READY_S - 1).refusal == BondRefusal.EARLY
    assert withdraw(rig, READY_S).events == (BondWithdrawn(OP, USERS[OWNER], BOND_MIN, 2 * BOND_MIN),)
    assert rig.balance(USERS[OWNER]) == before + 2 * BOND_MIN - 2
    assert withdraw(rig, READY_S).refusal == BondRefusal.NOTHING
    assert held(rig) == (USERS[OWNER], BOND_MIN, 0, 0)
    rig.executor.audit()


def test_unbonding_again_makes_all_of_it_wait_anew() -> None:
    rig = bonded()
    unbond(rig, BOND_MIN)
    later = Transaction(OWNER, BondKind.UNBOND, rig.nonces[OWNER], 2 * BOND_MIN, body=OP)
    rig.commit([later], now_s=NOW_S + 100)
    rig.nonces[OWNER] += 1
    assert withdraw(rig, READY_S + 99).refusal == BondRefusal.EARLY
    assert withdraw(rig, READY_S + 100).status == Status.APPLIED
    assert held(rig) is None and len(rig.entries) == 0 and rig.balance(VAULT) == 0


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        (0, BondRefusal.TOO_SMALL),
        (2 * BOND_MIN, ""),
        (2 * BOND_MIN + 1, BondRefusal.TOO_SMALL),
        (3 * BOND_MIN - 1, BondRefusal.TOO_SMALL),
        (3 * BOND_MIN, ""),
        (3 * BOND_MIN + 1, BondRefusal.TOO_MUCH),
    ],
)
def test_all_leaves_or_enough_stays(amount: int, code: str) -> None:
    rig = bonded()
    assert unbond(rig, amount).refusal == code
    rig.executor.audit()


def test_bond_that_leaves_can_be_filled_up_again() -> None:
    rig = bonded()
    unbond(rig, 3 * BOND_MIN)
    assert list(Bonds().active(view(rig))) == []
    assert bond(rig, BOND_MIN - 1).refusal == BondRefusal.TOO_SMALL
    assert bond(rig, BOND_MIN).status == Status.APPLIED
    assert held(rig) == (USERS[OWNER], BOND_MIN, 3 * BOND_MIN, READY_S)
    assert Bonds().totals(view(rig)).bonds == 1


def test_keys_without_a_bond_are_unknown() -> None:
    rig = make()
    for receipt in (unbond(rig, 1), withdraw(rig, READY_S), slash(rig)):
        assert receipt.refusal == BondRefusal.UNKNOWN


# Slashing


def test_two_vertices_under_one_seq_cost_all_that_is_bonded_or_leaving() -> None:
    rig = bonded()
    unbond(rig, BOND_MIN)
    before = rig.balance(USERS[REPORTER])
    reward = 3 * BOND_MIN // 10
    [event] = slash(rig).events
    assert event == BondSlashed(OP, USERS[OWNER], 0, USERS[REPORTER], 4, reward, 3 * BOND_MIN - reward)
    assert rig.balance(USERS[REPORTER]) == before + reward - 1
    assert rig.balance(VAULT) == 3 * BOND_MIN - reward
    assert held(rig) is None and Bonds().is_slashed(view(rig), OP)
    assert Bonds().totals(view(rig)) == Totals(0, 3 * BOND_MIN - reward)
    rig.executor.audit()


def test_evidence_counts_once_and_the_key_is_never_bonded_again() -> None:
    rig = bonded()
    slash(rig)
    assert slash(rig).refusal == BondRefusal.UNKNOWN
    assert bond(rig, BOND_MIN).refusal == BondRefusal.SLASHED
    assert withdraw(rig, READY_S).refusal == BondRefusal.UNKNOWN
    rig.executor.audit()


def test_who_reports_himself_loses_nine_tenths() -> None:
    rig = bonded(BOND_MIN)
    before = rig.balance(USERS[OWNER])
    slash(rig, user=OWNER)
    assert rig.balance(USERS[OWNER]) == before + BOND_MIN // 10 - 1


@pytest.mark.parametrize(
    ("second", "code"),
    [
        ({"seq": 5}, EvidenceRefusal.ISSUE),
        ({"epoch": 99}, EvidenceRefusal.ISSUE),
        ({"issuer": KEYS[1].public_key}, EvidenceRefusal.ISSUE),
        ({"timestamp_ms": operator_vertex().timestamp_ms}, EvidenceRefusal.SAME),
        ({"anchor_round": 3}, ""),
        ({"parents": operator_vertex().parents[:2]}, ""),
    ],
)
def test_evidence_is_two_contents_of_one_issue(second: dict[str, object], code: str) -> None:
    assert slash(bonded(), *headers(**second)).refusal == code


def test_another_signature_of_one_content_is_no_evidence() -> None:
    header, _ = headers()
    other = header[:-64] + sign_digest(crypto.hash_bytes(b"else"), KEY)
    assert slash(bonded(), header, other).refusal == EvidenceRefusal.SAME


@pytest.mark.parametrize("place", [0, 1])
def test_evidence_that_the_issuer_has_not_signed_is_refused(place: int) -> None:
    rig, pair = bonded(), list(headers())
    pair[place] = pair[place][:-1] + bytes([pair[place][-1] ^ 1])
    assert slash(rig, *pair).refusal == EvidenceRefusal.SIGNATURE
    assert slash(rig, *headers(chain=OTHER_CHAIN)).refusal == EvidenceRefusal.SIGNATURE
    assert held(rig) == (USERS[OWNER], 3 * BOND_MIN, 0, 0)


@pytest.mark.parametrize("at", [0, 1])
def test_other_frames_are_no_evidence(at: int) -> None:
    first, second = headers()
    changed = bytearray(first)
    changed[at] += 1
    assert slash(bonded(), bytes(changed), second).refusal == EvidenceRefusal.FORMAT


@pytest.mark.parametrize(
    ("sizes", "code"),
    [
        ((HEADER_MIN - 1, HEADER_MIN), EvidenceRefusal.SIZE),
        ((HEADER_MIN, HEADER_MIN - 1), EvidenceRefusal.SIZE),
        ((HEADER_MIN, HEADER_MIN), EvidenceRefusal.FORMAT),
        ((HEADER_MAX, HEADER_MAX), EvidenceRefusal.FORMAT),
        ((HEADER_MAX + 1, HEADER_MAX), EvidenceRefusal.SIZE),
        ((HEADER_MAX, HEADER_MAX + 1), EvidenceRefusal.SIZE),
    ],
)
def test_headers_have_so_many_bytes(sizes: tuple[int, int], code: str) -> None:
    assert slash(bonded(), *(bytes(size) for size in sizes)).refusal == code


def test_a_module_without_a_chain_judges_nothing() -> None:
    rig = make(None)
    bond(rig, BOND_MIN)
    with pytest.raises(InvariantViolation, match="knows its chain"):
        slash(rig)


# Bodies, quotas, changes


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        (BondKind.BOND, {"amount": BOND_MIN, "body": bytes(95)}, BodyRefusal.TRUNCATED),
        (BondKind.BOND, {"amount": BOND_MIN, "body": bytes(97)}, BodyRefusal.TRAILING),
        (BondKind.BOND, {"amount": BOND_MIN, "asset": 1}, BodyRefusal.FIELD_SET),
        (BondKind.UNBOND, {"amount": 1, "body": OP[:-1]}, BodyRefusal.TRUNCATED),
        (BondKind.UNBOND, {"amount": 1, "body": OP, "recipient": USERS[0]}, BodyRefusal.FIELD_SET),
        (BondKind.WITHDRAW, {"body": OP + b"x"}, BodyRefusal.TRAILING),
        (BondKind.WITHDRAW, {"body": OP, "amount": 1}, BodyRefusal.FIELD_SET),
        (BondKind.SLASH, {"body": encode_evidence(*headers()), "amount": 1}, BodyRefusal.FIELD_SET),
        (BondKind.SLASH, {"body": b"\x01"}, BodyRefusal.TRUNCATED),
    ],
)
def test_malformed_operation_is_refused(kind: BondKind, fields: dict[str, object], code: str) -> None:
    assert bonded().do(OWNER, kind, **fields).refusal == code


@given(st.binary(max_size=2 * HEADER_MAX + 4))
def test_any_body_is_decoded_or_refused(body: bytes) -> None:
    with suppress(Rejected):
        assert encode_bond(*decode_bond(body)) == body
    with suppress(Rejected):
        assert decode_operator(body) == body
    with suppress(Rejected):
        assert encode_evidence(*decode_evidence(body).headers) == body


@pytest.mark.parametrize(
    ("active", "quota", "share"),
    [
        (0, 0, 0),
        (BOND_MIN, QUOTA_UNIT, 100),
        (2 * BOND_MIN - 1, QUOTA_UNIT, 199),
        (2 * BOND_MIN, 2 * QUOTA_UNIT, 200),
        (QUOTA_MAX // QUOTA_UNIT * BOND_MIN, QUOTA_MAX, 800),
        (2**128 - 1, QUOTA_MAX, SHARE_MAX),
    ],
)
def test_quota_and_share_follow_from_the_bond(active: int, quota: int, share: int) -> None:
    assert (quota_of(active), share_of(active)) == (quota, share)


def test_receipts_tell_which_bonds_have_changed() -> None:
    rig = make()
    receipts = [bond(rig, 2 * BOND_MIN), bond(rig, BOND_MIN, OTHER, KEYS[1]), bond(rig, 0)]
    assert changed_bonds(receipts) == {OP: 2 * BOND_MIN, KEYS[1].public_key: BOND_MIN}
    assert changed_bonds([*receipts, unbond(rig, BOND_MIN)])[OP] == BOND_MIN
    assert changed_bonds([slash(rig)]) == {OP: 0}


def test_a_chain_may_have_bonds_by_name() -> None:
    [module] = modules_of(["bonds"], CHAIN)
    assert isinstance(module, Bonds)


@pytest.mark.parametrize("broken", ["count", "vault", "small", "slashed"])
def test_audit_finds_what_does_not_hold(broken: str) -> None:
    rig = bonded()
    if broken == "count":
        rig.entries.put(6, b"\x03", (2).to_bytes(4, "little") + bytes(16))
    elif broken == "vault":
        rig.entries.put(6, b"\x03", (1).to_bytes(4, "little") + (1).to_bytes(16, "little"))
    elif broken == "small":
        value = rig.entries.get(6, b"\x01" + OP)
        assert value is not None
        rig.entries.put(6, b"\x01" + OP, value[:20] + (5).to_bytes(16, "little") + value[36:])
    else:
        rig.entries.put(6, b"\x02" + OP, bytes(8))
    with pytest.raises(InvariantViolation):
        rig.executor.audit()


class AgainstDicts(RuleBasedStateMachine):
    """Any history of two owners and three keys: nobody gets more than what was his, and all is conserved."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = make()
        self.now_s = NOW_S
        self.bonds: dict[int, list[int]] = {}  # key: owner, active, leaving, ready_s
        self.slashed: set[int] = set()
        self.burned = 0

    def do(self, user: int, kind: BondKind, amount: int, body: bytes) -> bool:
        operation = Transaction(user, kind, self.rig.nonces[user], amount, body=body)
        (receipt,) = self.rig.commit([operation], now_s=self.now_s).receipts
        self.rig.nonces[user] += 1
        return receipt.receipt.status == Status.APPLIED

    @rule(
        user=st.sampled_from([0, 1]), key=st.integers(0, 2), parts=st.sampled_from([0, 1, 50, 100, 150, 600])
    )
    def bond(self, user: int, key: int, parts: int) -> None:
        amount = BOND_MIN * parts // 100
        owner, active, *rest = self.bonds.get(key, [user, 0, 0, 0])
        fine = (
            key not in self.slashed
            and owner == user
            and amount > 0
            and active + amount >= BOND_MIN
            and amount <= self.rig.balance(USERS[user]) - 1
        )
        possession = sign_digest(possession_digest(KEYS[key].public_key, USERS[user]), KEYS[key])
        body = encode_bond(KEYS[key].public_key, possession)
        assert self.do(user, BondKind.BOND, amount, body) == fine
        if fine:
            self.bonds[key] = [owner, active + amount, *rest]

    @rule(user=st.sampled_from([0, 1]), key=st.integers(0, 2), parts=st.sampled_from([0, 50, 100, 150]))
    def unbond(self, user: int, key: int, parts: int) -> None:
        amount = BOND_MIN * parts // 100
        owner, active, leaving, _ = self.bonds.get(key, [-1, 0, 0, 0])
        left = active - amount
        fine = owner == user and amount > 0 and (left == 0 or left >= BOND_MIN)
        assert self.do(user, BondKind.UNBOND, amount, KEYS[key].public_key) == fine
        if fine:
            self.bonds[key] = [owner, left, leaving + amount, self.now_s + UNBOND_S]

    @rule(user=st.sampled_from([0, 1]), key=st.integers(0, 2), wait=st.sampled_from([0, 1, UNBOND_S]))
    def withdraw(self, user: int, key: int, wait: int) -> None:
        self.now_s += wait
        owner, active, leaving, ready_s = self.bonds.get(key, [-1, 0, 0, 0])
        fine = owner == user and leaving > 0 and self.now_s >= ready_s
        before = self.rig.balance(USERS[user])
        assert self.do(user, BondKind.WITHDRAW, 0, KEYS[key].public_key) == fine
        assert self.rig.balance(USERS[user]) == before - 1 + (leaving if fine else 0)
        if fine and active:
            self.bonds[key] = [owner, active, 0, 0]
        elif fine:
            del self.bonds[key]

    @rule(user=st.sampled_from([0, 2]), key=st.integers(0, 2))
    def slash(self, user: int, key: int) -> None:
        fine = key in self.bonds
        assert self.do(user, BondKind.SLASH, 0, encode_evidence(*headers(KEYS[key]))) == fine
        if fine:
            _, active, leaving, _ = self.bonds.pop(key)
            self.burned += active + leaving - (active + leaving) // 10
            self.slashed.add(key)

    @invariant()
    def all_is_conserved(self) -> None:
        bonded = sum(active + leaving for _, active, leaving, _ in self.bonds.values())
        assert self.rig.balance(VAULT) == bonded + self.burned
        assert Bonds().totals(view(self.rig)) == (len(self.bonds), self.burned)
        self.rig.executor.audit()


AgainstDicts.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestAgainstDicts = AgainstDicts.TestCase
