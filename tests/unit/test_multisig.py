"""Policy accounts: only k members together move what they hold."""

from contextlib import suppress
from dataclasses import replace

import pytest
from execution_rig import NOBODY, RICH, USERS, Rig, Transaction
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cherrydag.errors import Rejected
from cherrydag.execution.accounts import AccountFlag, Status
from cherrydag.execution.assets import AssetKind, Assets, encode_create
from cherrydag.execution.body import BodyRefusal
from cherrydag.execution.module import Operation, Receipt
from cherrydag.execution.multisig import (
    MEMBERS_MAX,
    OPEN_PROPOSALS_MAX,
    POLICY_ACCOUNT,
    Multisig,
    PolicyCreated,
    PolicyKind,
    PolicyRefusal,
    Proposal,
    TransferApproved,
    TransferCancelled,
    TransferExecuted,
    TransferProposed,
    decode_policy,
    decode_target,
    encode_policy,
    proposal_id_of,
)
from cherrydag.execution.overlay import MoveRefusal, Overlay, View

OWNER, OUTSIDER, PAYEE = 0, 4, USERS[5]
MEMBERS = tuple(sorted(USERS[1:4]))
ACCOUNT = USERS[OWNER]


def make(threshold: int = 2) -> Rig:
    rig = Rig(Assets(), Multisig())
    assert create(rig, threshold).status == Status.APPLIED
    return rig


def create(rig: Rig, threshold: int = 2, members: tuple[bytes, ...] = MEMBERS, user: int = OWNER) -> Receipt:
    return rig.do(user, PolicyKind.CREATE, body=encode_policy(threshold, members))


def propose(rig: Rig, member: int = 1, amount: int = 100, **fields: object) -> Receipt:
    fields = {"amount": amount, "recipient": PAYEE, "body": ACCOUNT} | fields
    return rig.do(member, PolicyKind.PROPOSE, **fields)


def opened(receipt: Receipt) -> bytes:
    (event,) = receipt.events
    assert isinstance(event, TransferProposed)
    return event.proposal_id


def decide(rig: Rig, kind: PolicyKind, member: int, proposal: bytes) -> Receipt:
    return rig.do(member, kind, body=ACCOUNT + proposal)


def view(rig: Rig) -> View:
    return View(Overlay(rig.accounts, rig.entries), Multisig.powers)


def test_two_of_three_move_the_funds() -> None:
    rig = make()
    proposal = opened(propose(rig, 1))
    assert decide(rig, PolicyKind.EXECUTE, 1, proposal).refusal == PolicyRefusal.TOO_FEW
    approved = decide(rig, PolicyKind.APPROVE, 3, proposal)
    assert approved.events == (TransferApproved(ACCOUNT, proposal, USERS[3], 2),)
    executed = decide(rig, PolicyKind.EXECUTE, 2, proposal)  # any member, also one who has not approved
    assert isinstance(executed.events[0], TransferExecuted)
    assert rig.balance(PAYEE) == RICH + 100 and rig.balance(ACCOUNT) == RICH - 101
    assert decide(rig, PolicyKind.EXECUTE, 2, proposal).refusal == PolicyRefusal.UNKNOWN_PROPOSAL
    assert Multisig().policy(view(rig), ACCOUNT) == (2, MEMBERS)
    rig.executor.audit()


def test_owner_s_key_moves_nothing_any_more() -> None:
    rig = Rig(Assets(), Multisig())
    assert create(rig).events == (PolicyCreated(ACCOUNT, (2, MEMBERS)),)  # type: ignore[arg-type]
    line = rig.accounts.get(ACCOUNT)
    assert line is not None and line.flags == POLICY_ACCOUNT | AccountFlag.POLICY
    before = rig.lines()
    assert rig.transfer(OWNER, PAYEE, 1) == Status.POLICY
    assert rig.do(OWNER, AssetKind.CREATE, body=encode_create("TEA", 0)).status == Status.POLICY
    assert create(rig, 1).status == Status.POLICY
    assert rig.lines() == before
    assert rig.transfer(OUTSIDER, ACCOUNT, 7) == Status.APPLIED  # but it still receives


@pytest.mark.parametrize("threshold", [1, 2, 3])
def test_threshold_is_met_at_k_and_not_below(threshold: int) -> None:
    rig = make(threshold)
    proposal = opened(propose(rig, 1))
    for count, member in enumerate((1, 2, 3), start=1):
        if member > 1:
            decide(rig, PolicyKind.APPROVE, member, proposal)
        status = decide(rig, PolicyKind.EXECUTE, 1, proposal).refusal
        expected = PolicyRefusal.TOO_FEW if count < threshold else ""
        assert status == (expected if count <= threshold else PolicyRefusal.UNKNOWN_PROPOSAL)
        if count > threshold:
            break


def test_approving_twice_counts_once() -> None:
    rig = make()
    proposal = opened(propose(rig, 1))
    assert decide(rig, PolicyKind.APPROVE, 1, proposal).refusal == PolicyRefusal.APPROVED
    assert decide(rig, PolicyKind.EXECUTE, 1, proposal).refusal == PolicyRefusal.TOO_FEW


def test_outsiders_do_nothing() -> None:
    rig = make(1)
    proposal = opened(propose(rig, 1))
    assert propose(rig, OUTSIDER).refusal == PolicyRefusal.NOT_MEMBER
    for kind in (PolicyKind.APPROVE, PolicyKind.EXECUTE, PolicyKind.CANCEL):
        assert decide(rig, kind, OUTSIDER, proposal).refusal == PolicyRefusal.NOT_MEMBER
        assert rig.do(1, kind, body=PAYEE + proposal).refusal == PolicyRefusal.UNKNOWN_ACCOUNT
        assert decide(rig, kind, 1, bytes(32)).refusal == PolicyRefusal.UNKNOWN_PROPOSAL
    assert propose(rig, 1, body=PAYEE).refusal == PolicyRefusal.UNKNOWN_ACCOUNT
    assert rig.balance(ACCOUNT) == RICH - 1


def test_only_the_proposer_cancels() -> None:
    rig = make()
    proposal = opened(propose(rig, 1))
    assert decide(rig, PolicyKind.CANCEL, 2, proposal).refusal == PolicyRefusal.NOT_PROPOSER
    assert decide(rig, PolicyKind.CANCEL, 1, proposal).events == (TransferCancelled(ACCOUNT, proposal),)
    assert decide(rig, PolicyKind.APPROVE, 2, proposal).refusal == PolicyRefusal.UNKNOWN_PROPOSAL
    rig.executor.audit()
    assert len(rig.entries) == 1  # the policy


def test_funds_that_are_not_there_leave_the_proposal_open() -> None:
    rig = make(1)
    proposal = opened(propose(rig, 1, RICH))
    before = rig.entry_bytes()
    assert decide(rig, PolicyKind.EXECUTE, 1, proposal).refusal == MoveRefusal.INSUFFICIENT
    assert rig.entry_bytes() == before and rig.balance(PAYEE) == RICH
    rig.transfer(OUTSIDER, ACCOUNT, 1)
    assert decide(rig, PolicyKind.EXECUTE, 1, proposal).status == Status.APPLIED
    assert rig.balance(ACCOUNT) == 0


def test_assets_leave_a_policy_account_too() -> None:
    rig = make(1)
    rig.do(OUTSIDER, AssetKind.CREATE, body=encode_create("TEA", 0))
    rig.do(OUTSIDER, AssetKind.MINT, asset=1, amount=9, recipient=ACCOUNT)
    proposal = opened(propose(rig, 1, 9, asset=1))
    assert decide(rig, PolicyKind.EXECUTE, 1, proposal).status == Status.APPLIED
    assert rig.balance(PAYEE, 1) == 9 and rig.accounts.get(ACCOUNT, 1) is None
    rig.executor.audit()


def test_proposal_s_name_binds_all_that_it_says() -> None:
    base = Operation(PolicyKind.PROPOSE, 1, 2, PAYEE, 3, ACCOUNT)
    changes = [{}, {"asset": 2}, {"amount": 3}, {"recipient": NOBODY}, {"nonce": 4}]
    names = {proposal_id_of(ACCOUNT, USERS[1], base._replace(**change)) for change in changes}  # type: ignore[arg-type]
    names |= {proposal_id_of(USERS[1], ACCOUNT, base), proposal_id_of(ACCOUNT, USERS[2], base)}
    assert len(names) == 7
    rig = make()
    expected = proposal_id_of(ACCOUNT, USERS[1], Operation(PolicyKind.PROPOSE, 0, 100, PAYEE, 0, ACCOUNT))
    receipt = propose(rig, 1)
    bit = 1 << MEMBERS.index(USERS[1])
    assert receipt.events == (
        TransferProposed(ACCOUNT, expected, Proposal(0, 100, PAYEE, USERS[1], bit)),  # type: ignore[arg-type]
    )


def test_member_has_so_many_open_proposals_and_blocks_no_other() -> None:
    rig = make()
    names = [opened(propose(rig, 1)) for _ in range(OPEN_PROPOSALS_MAX)]
    assert len(set(names)) == OPEN_PROPOSALS_MAX
    assert propose(rig, 1).refusal == PolicyRefusal.OPEN_PROPOSALS
    assert propose(rig, 2).status == Status.APPLIED
    assert decide(rig, PolicyKind.CANCEL, 1, names[3]).status == Status.APPLIED
    assert propose(rig, 1).status == Status.APPLIED
    assert propose(rig, 1).refusal == PolicyRefusal.OPEN_PROPOSALS
    rig.executor.audit()


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        (PolicyKind.PROPOSE, {"recipient": PAYEE, "body": ACCOUNT}, PolicyRefusal.AMOUNT_ZERO),
        (PolicyKind.PROPOSE, {"amount": 1, "body": ACCOUNT[1:]}, BodyRefusal.TRUNCATED),
        (PolicyKind.PROPOSE, {"amount": 1, "body": ACCOUNT + b"x"}, BodyRefusal.TRAILING),
        (PolicyKind.CREATE, {"amount": 1, "body": encode_policy(1, MEMBERS)}, BodyRefusal.FIELD_SET),
        (PolicyKind.APPROVE, {"asset": 1, "body": bytes(52)}, BodyRefusal.FIELD_SET),
        (PolicyKind.EXECUTE, {"recipient": PAYEE, "body": bytes(52)}, BodyRefusal.FIELD_SET),
        (PolicyKind.CANCEL, {"amount": 1, "body": bytes(52)}, BodyRefusal.FIELD_SET),
        (PolicyKind.APPROVE, {"body": bytes(51)}, BodyRefusal.TRUNCATED),
        (PolicyKind.APPROVE, {"body": bytes(53)}, BodyRefusal.TRAILING),
    ],
)
def test_malformed_operation_is_refused(kind: PolicyKind, fields: dict[str, object], code: str) -> None:
    assert make().do(1, kind, **fields).refusal == code


@pytest.mark.parametrize(
    ("threshold", "members", "code"),
    [
        (0, MEMBERS, PolicyRefusal.THRESHOLD),
        (4, MEMBERS, PolicyRefusal.THRESHOLD),
        (1, (), BodyRefusal.COUNT),
        (1, MEMBERS[::-1], BodyRefusal.ORDER),
        (1, (MEMBERS[0], MEMBERS[0]), BodyRefusal.ORDER),
        (1, tuple(sorted(USERS[:3])), PolicyRefusal.OWN_MEMBER),
        (1, tuple(bytes([i]) * 20 for i in range(MEMBERS_MAX + 1)), BodyRefusal.COUNT),
        (3, MEMBERS, ""),
        (MEMBERS_MAX, tuple(bytes([i]) * 20 for i in range(MEMBERS_MAX)), ""),
    ],
)
def test_policy_must_be_one_that_can_decide(threshold: int, members: tuple[bytes, ...], code: str) -> None:
    rig = Rig(Multisig())
    assert create(rig, threshold, members).refusal == code
    line = rig.accounts.get(ACCOUNT)
    assert line is not None and bool(line.flags) == (code == "")


@given(st.binary(max_size=90))
def test_any_body_is_decoded_or_refused(body: bytes) -> None:
    with suppress(Rejected):
        assert encode_policy(*decode_policy(body)) == body
    try:
        assert b"".join(decode_target(body)) == body
    except Rejected:
        assert len(body) != 52


class AgainstSets(RuleBasedStateMachine):
    """Any history of members and outsiders: funds leave with k approvals of a proposal and not otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = make(2)
        self.open: dict[bytes, tuple[int, int, set[int]]] = {}
        self.known: list[bytes] = [bytes(32)]
        self.held = self.rig.balance(ACCOUNT)

    @rule(user=st.sampled_from([1, 2, 3, OUTSIDER]), amount=st.sampled_from([0, 1, RICH // 2, RICH]))
    def propose(self, user: int, amount: int) -> None:
        mine = sum(proposer == user for proposer, _, _ in self.open.values())
        receipt = propose(self.rig, user, amount)
        fine = user != OUTSIDER and amount > 0 and mine < OPEN_PROPOSALS_MAX
        assert (receipt.status == Status.APPLIED) == fine
        if fine:
            self.known.append(opened(receipt))
            self.open[opened(receipt)] = (user, amount, {user})

    @rule(
        user=st.sampled_from([1, 2, 3, OUTSIDER]),
        kind=st.sampled_from([PolicyKind.APPROVE, PolicyKind.EXECUTE, PolicyKind.CANCEL]),
        data=st.data(),
    )
    def decide(self, user: int, kind: PolicyKind, data: st.DataObject) -> None:
        proposal = data.draw(st.sampled_from(self.known))
        proposer, amount, approved = self.open.get(proposal, (0, 0, set()))
        fine = proposal in self.open and user != OUTSIDER
        if kind == PolicyKind.APPROVE:
            fine = fine and user not in approved
        elif kind == PolicyKind.EXECUTE:
            fine = fine and len(approved) >= 2 and amount <= self.held
        else:
            fine = fine and user == proposer
        assert (decide(self.rig, kind, user, proposal).status == Status.APPLIED) == fine
        if fine and kind == PolicyKind.APPROVE:
            approved.add(user)
        elif fine:
            del self.open[proposal]
            self.held -= amount if kind == PolicyKind.EXECUTE else 0

    @invariant()
    def held_as_expected(self) -> None:
        assert self.rig.balance(ACCOUNT) == self.held
        self.rig.executor.audit()


AgainstSets.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
test_any_history = AgainstSets.TestCase


def test_second_copy_of_an_approval_counts_once() -> None:
    rig = make(3)
    proposal = opened(propose(rig, 1))
    approve = Transaction(2, PolicyKind.APPROVE, 0, body=ACCOUNT + proposal)
    statuses = rig.commit([approve, approve, replace(approve, nonce=1)]).statuses[0].tolist()
    assert statuses == [Status.APPLIED, Status.NONCE_USED, 16]
