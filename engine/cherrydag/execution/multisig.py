"""Policy accounts: k of n members together move the funds of an account whose own key no longer can.

An account hands itself over to its members, once and for all. From then on the POLICY flag forbids whatever
its key signs, and a transfer out of it is proposed, approved by k members in all, and executed.

Kinds (record fields that are not named are zero):
    20 create    body: u8 k, u8 n, n addresses     the sender's account becomes theirs
    21 propose   asset, amount, recipient; body: account 20    approves, too
    22 approve   body: account 20, proposal 32
    23 execute   body: account 20, proposal 32     by any member, once k have approved
    24 cancel    body: account 20, proposal 32     by who proposed
Entries:
    1 | account                       u8 k, u8 n, n addresses
    2 | account | proposal            asset u32, amount u128, recipient 20, proposer 20, u32 mask of members
    3 | account | member              u8, how many of its proposals are open
A proposal is named by a hash of all that it says, its account, proposer and nonce. So who approves has seen
what it moves, and proposals of one content are still two.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from struct import Struct
from typing import ClassVar, Final, NamedTuple

from cherrydag import crypto
from cherrydag.errors import Rejected, invariant
from cherrydag.execution.body import BodyReader, encode_addresses
from cherrydag.execution.module import Context, Event, Module, Operation
from cherrydag.execution.overlay import Powers, Scope, View
from cherrydag.params import ADDRESS_BYTES
from cherrydag.primitives import Address, Digest

MEMBERS_MAX: Final = 32
"""Most members of a policy account."""

OPEN_PROPOSALS_MAX: Final = 8
"""Most open proposals of one member for one account, so that no member fills the state or blocks another."""

PROPOSAL_KEY: Final = crypto.derive_key("cherrydag 2026-11-22 policy proposal v1", b"")
"""Hashing key of a proposal's name."""

POLICY_ACCOUNT: Final = 1 << 8
"""Flag of the accounts that members hold."""

_PROPOSAL: Final = Struct("<I16s20s20sI")
_NAMED: Final = Struct("<20s20sQI16s20s")


class PolicyKind(IntEnum):
    """Kinds of operations."""

    CREATE = 20
    PROPOSE = 21
    APPROVE = 22
    EXECUTE = 23
    CANCEL = 24


class PolicyRefusal(StrEnum):
    """Why an operation is refused; stable codes."""

    THRESHOLD = "policy_threshold"
    """The threshold is zero or above the number of members."""
    OWN_MEMBER = "policy_own_member"
    """The account would be a member of itself, and could never approve."""
    UNKNOWN_ACCOUNT = "policy_unknown_account"
    """That account has no policy."""
    NOT_MEMBER = "policy_not_member"
    """The sender is not a member."""
    AMOUNT_ZERO = "policy_amount_zero"
    """The amount is zero."""
    OPEN_PROPOSALS = "policy_open_proposals"
    """The member has as many open proposals as it may."""
    UNKNOWN_PROPOSAL = "policy_unknown_proposal"
    """That proposal is not open."""
    APPROVED = "policy_approved"
    """The member has approved already."""
    TOO_FEW = "policy_too_few"
    """Fewer members than the threshold have approved."""
    NOT_PROPOSER = "policy_not_proposer"
    """Only who proposed may cancel."""


class Policy(NamedTuple):
    """threshold: how many of the members, which ascend, must approve."""

    threshold: int
    members: tuple[Address, ...]


class Proposal(NamedTuple):
    """A transfer out of a policy account. approvals: bit i is set once member i has approved."""

    asset: int
    amount: int
    recipient: Address
    proposer: Address
    approvals: int


@dataclass(frozen=True, slots=True)
class PolicyCreated(Event):
    """The account is its members' from now on."""

    name: ClassVar[str] = "policy.created"
    account: Address
    policy: Policy


@dataclass(frozen=True, slots=True)
class TransferProposed(Event):
    """A member proposed a transfer, and so approved it."""

    name: ClassVar[str] = "policy.proposed"
    account: Address
    proposal_id: Digest
    proposal: Proposal


@dataclass(frozen=True, slots=True)
class TransferApproved(Event):
    """A member approved. count: how many have."""

    name: ClassVar[str] = "policy.approved"
    account: Address
    proposal_id: Digest
    member: Address
    count: int


@dataclass(frozen=True, slots=True)
class TransferExecuted(Event):
    """The amount has moved to the recipient."""

    name: ClassVar[str] = "policy.executed"
    account: Address
    proposal_id: Digest
    proposal: Proposal


@dataclass(frozen=True, slots=True)
class TransferCancelled(Event):
    """The proposal was taken back."""

    name: ClassVar[str] = "policy.cancelled"
    account: Address
    proposal_id: Digest


class _Table(IntEnum):
    POLICY = 1
    PROPOSAL = 2
    OPEN_COUNT = 3


def encode_policy(threshold: int, members: tuple[Address, ...]) -> bytes:
    """The body of a create; members ascend."""
    return bytes([threshold]) + encode_addresses(members)


def decode_policy(body: bytes) -> Policy:
    """The policy. Total: raises Rejected for anything that is not a create's body."""
    reader = BodyReader(body)
    threshold = reader.integer(1)
    members = reader.addresses(MEMBERS_MAX)
    reader.end()
    if not 1 <= threshold <= len(members):
        raise Rejected(PolicyRefusal.THRESHOLD, f"threshold: 1 to {len(members)}, got {threshold}")
    return Policy(threshold, members)


def decode_target(body: bytes) -> tuple[Address, Digest]:
    """Account and proposal of an approve, execute or cancel. Total, as decode_policy."""
    reader = BodyReader(body)
    account, proposal_id = reader.address(), Digest(reader.take(crypto.DIGEST_BYTES))
    reader.end()
    return account, proposal_id


def proposal_id_of(account: Address, proposer: Address, operation: Operation) -> Digest:
    """The name of what the operation proposes: known before it is sent."""
    amount = operation.amount.to_bytes(16, "little")
    said = _NAMED.pack(account, proposer, operation.nonce, operation.asset, amount, operation.recipient)
    return Digest(crypto.hash_bytes(said, PROPOSAL_KEY))


class Multisig(Module):
    """Policy accounts and the proposals to move what they hold."""

    name = "multisig"
    kinds = tuple(PolicyKind)
    powers = Powers(prefix=2, flags=POLICY_ACCOUNT)

    def execute(self, operation: Operation, scope: Scope, context: Context) -> tuple[Event, ...]:
        """Create a policy account; propose, approve, execute or cancel a transfer out of one."""
        if operation.kind == PolicyKind.PROPOSE:
            return (self._propose(operation, scope, context),)
        operation.require_unused("asset", "amount", "recipient")
        if operation.kind == PolicyKind.CREATE:
            return (self._create(operation, scope, context),)
        return (self._decide(operation, scope, context.sender),)

    def policy(self, view: View, account: Address) -> Policy | None:
        """The policy of an account, or None."""
        value = view.get(self.key(_Table.POLICY, account))
        return None if value is None else decode_policy(value)

    def proposal(self, view: View, account: Address, proposal_id: Digest) -> Proposal | None:
        """An open proposal, or None."""
        value = view.get(self.key(_Table.PROPOSAL, account + proposal_id))
        return None if value is None else _decode(value)

    def audit(self, view: View) -> None:
        """Policy accounts bear the flags, and the open proposals are members', and as many as counted."""
        for key, _ in view.scan(bytes([_Table.POLICY])):
            line = view.line(Address(key[1:]))
            invariant(line.flags & POLICY_ACCOUNT != 0, "a policy account is flagged", account=key[1:].hex())
        open_counts: dict[bytes, int] = {}
        for key, value in view.scan(bytes([_Table.PROPOSAL])):
            account, proposal = Address(key[1 : 1 + ADDRESS_BYTES]), _decode(value)
            policy = self.policy(view, account)
            known = policy is not None and proposal.proposer in policy.members
            invariant(known, "a member proposed what is open", account=account.hex())
            place = account + proposal.proposer
            open_counts[place] = open_counts.get(place, 0) + 1
        counted = {key[1:]: value[0] for key, value in view.scan(bytes([_Table.OPEN_COUNT]))}
        invariant(open_counts == counted, "open proposals are as many as counted")

    def _create(self, operation: Operation, scope: Scope, context: Context) -> PolicyCreated:
        policy = decode_policy(operation.body)
        if context.sender in policy.members:
            raise Rejected(PolicyRefusal.OWN_MEMBER, "members: the account itself could never approve")
        scope.claim_sender()
        scope.put(self.key(_Table.POLICY, context.sender), operation.body)
        return PolicyCreated(context.sender, policy)

    def _propose(self, operation: Operation, scope: Scope, context: Context) -> TransferProposed:
        reader = BodyReader(operation.body)
        account = reader.address()
        reader.end()
        _, member = self._member(scope, account, context.sender)
        if operation.amount == 0:
            raise Rejected(PolicyRefusal.AMOUNT_ZERO, "amount: it is zero")
        place = self.key(_Table.OPEN_COUNT, account + context.sender)
        count = (scope.get(place) or bytes(1))[0]
        if count >= OPEN_PROPOSALS_MAX:
            raise Rejected(PolicyRefusal.OPEN_PROPOSALS, f"proposals: {count} are open already")
        scope.put(place, bytes([count + 1]))
        proposal_id = proposal_id_of(account, context.sender, operation)
        moved = operation.asset, operation.amount, operation.recipient
        proposal = Proposal(*moved, context.sender, 1 << member)
        self._put(scope, account, proposal_id, proposal)
        return TransferProposed(account, proposal_id, proposal)

    def _decide(self, operation: Operation, scope: Scope, sender: Address) -> Event:
        """Approve, execute or cancel an open proposal."""
        account, proposal_id = decode_target(operation.body)
        policy, member = self._member(scope, account, sender)
        proposal = self.proposal(scope, account, proposal_id)
        if proposal is None:
            raise Rejected(PolicyRefusal.UNKNOWN_PROPOSAL, "proposal: it is not open")
        if operation.kind == PolicyKind.APPROVE:
            if proposal.approvals >> member & 1:
                raise Rejected(PolicyRefusal.APPROVED, "approval: the member has approved already")
            proposal = proposal._replace(approvals=proposal.approvals | 1 << member)
            self._put(scope, account, proposal_id, proposal)
            return TransferApproved(account, proposal_id, sender, proposal.approvals.bit_count())
        if operation.kind == PolicyKind.EXECUTE:
            count = proposal.approvals.bit_count()
            if count < policy.threshold:
                raise Rejected(PolicyRefusal.TOO_FEW, f"approvals: {count} of {policy.threshold}")
            scope.move(account, proposal.recipient, proposal.asset, proposal.amount)
            self._close(scope, account, proposal_id, proposal)
            return TransferExecuted(account, proposal_id, proposal)
        if proposal.proposer != sender:
            raise Rejected(PolicyRefusal.NOT_PROPOSER, "cancel: another member proposed it")
        self._close(scope, account, proposal_id, proposal)
        return TransferCancelled(account, proposal_id)

    def _member(self, scope: Scope, account: Address, sender: Address) -> tuple[Policy, int]:
        """The account's policy, and which of its members the sender is."""
        policy = self.policy(scope, account)
        if policy is None:
            raise Rejected(PolicyRefusal.UNKNOWN_ACCOUNT, "account: it has no policy")
        if sender not in policy.members:
            raise Rejected(PolicyRefusal.NOT_MEMBER, "sender: not a member")
        return policy, policy.members.index(sender)

    def _put(self, scope: Scope, account: Address, proposal_id: Digest, proposal: Proposal) -> None:
        value = _PROPOSAL.pack(proposal.asset, proposal.amount.to_bytes(16, "little"), *proposal[2:])
        scope.put(self.key(_Table.PROPOSAL, account + proposal_id), value)

    def _close(self, scope: Scope, account: Address, proposal_id: Digest, proposal: Proposal) -> None:
        scope.delete(self.key(_Table.PROPOSAL, account + proposal_id))
        place = self.key(_Table.OPEN_COUNT, account + proposal.proposer)
        count = (scope.get(place) or bytes(1))[0]
        invariant(count > 0, "an open proposal is counted", account=account.hex())
        if count == 1:
            scope.delete(place)
        else:
            scope.put(place, bytes([count - 1]))


def _decode(value: bytes) -> Proposal:
    asset, amount, recipient, proposer, approvals = _PROPOSAL.unpack(value)
    return Proposal(asset, int.from_bytes(amount, "little"), Address(recipient), Address(proposer), approvals)
