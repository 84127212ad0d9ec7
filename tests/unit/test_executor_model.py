"""The executor against a ledger in plain Python, step by step: whatever is sent, in whatever order."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
from execution_rig import DEPTH, NOW_S, USERS, Rig, Transaction
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from reference.ledger_reference import ReferenceLedger
from reference.state_tree_reference import contents, state_root_reference

from cherrydag.address import ADDRESS_KEY
from cherrydag.errors import InvariantViolation, Rejected
from cherrydag.execution import checkpoint
from cherrydag.execution.accounts import Line, Status
from cherrydag.execution.anchor import Anchors, anchor_id_of, encode_anchor
from cherrydag.execution.assets import Assets
from cherrydag.execution.checkpoint import Chunk, StateSnapshot
from cherrydag.execution.module import Context, Event, Module, Operation, OperationStatus
from cherrydag.execution.multisig import POLICY_ACCOUNT, Multisig, encode_policy, proposal_id_of
from cherrydag.execution.overlay import EntryKey, Powers, Scope, View
from cherrydag.params import AMOUNT_MAX, NONCE_MAX, VALID_FOREVER
from cherrydag.state_proof import ACCOUNTS, ENTRIES, LEDGER, TreeKeys

APPLIED, REFUSED, UNKNOWN = Status.APPLIED, OperationStatus.REFUSED, OperationStatus.UNKNOWN
CREATE, MINT, BURN = 16, 17, 18
POLICY, PROPOSE, APPROVE, EXECUTE, CANCEL = range(20, 25)
ANCHOR, SIGN = 28, 29
TROUBLE, INTRUDE = 50, 51

RICH = 10**6
WHALE = AMOUNT_MAX - 3 * RICH
"""The fourth user's balance: with the others' it is all the coin that there can be."""

MEMBERS = tuple(sorted(USERS[1:4]))
ZERO = bytes(20)


class Trouble(Module):
    """Writes, moves and then refuses; or reaches for what is not its own, which no module may."""

    name = "trouble"
    kinds = (TROUBLE, INTRUDE)
    powers: ClassVar[Powers] = Powers(prefix=50)

    def execute(self, operation: Operation, scope: Scope, context: Context) -> tuple[Event, ...]:
        scope.put(self.key(1, operation.recipient), bytes(70))
        if operation.kind == INTRUDE:
            scope.put(EntryKey(1, b"\1"), b"another's")
        scope.move(context.sender, operation.recipient, 0, operation.amount)
        scope.delete(self.key(1, USERS[0]))
        if operation.amount % 2:
            raise Rejected("trouble", "every odd amount")
        return ()

    def audit(self, view: View) -> None:
        pass


@dataclass
class Asset:
    issuer: bytes
    symbol: bytes
    supply: int = 0


@dataclass
class Proposal:
    proposer: bytes
    asset: int
    amount: int
    recipient: bytes
    approvals: set[bytes] = field(default_factory=set)


@dataclass
class Anchor:
    signed: set[bytes] = field(default_factory=set)
    effective: int = 0


def u(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


class Model(ReferenceLedger):
    """What the rules say, with dictionaries. It has no journal: it looks before it writes."""

    def __init__(self) -> None:
        super().__init__(TreeKeys.of(ACCOUNTS).bucket, ADDRESS_KEY, DEPTH)
        self.commit_index = 0
        self.assets: list[Asset] = []
        self.policies: dict[bytes, int] = {}
        self.proposals: dict[tuple[bytes, bytes], Proposal] = {}
        self.anchors: dict[bytes, Anchor] = {}
        self.troubled: set[bytes] = set()

    def run(self, t: Transaction) -> int:
        if t.kind == 1 and not t.body:
            return self.transfer(t.record, NOW_S)
        rules: dict[int, Callable[[Transaction, bytes], bool]] = {
            **dict.fromkeys((CREATE, MINT, BURN), self.issue),
            POLICY: self.hand_over,
            PROPOSE: self.propose,
            **dict.fromkeys((APPROVE, EXECUTE, CANCEL), self.decide),
            ANCHOR: self.anchor,
            SIGN: self.sign,
            TROUBLE: self.trouble,
        }
        if t.kind not in rules:
            return UNKNOWN
        status = self.begin(t.record, NOW_S, None, 1)
        if status != APPLIED:
            return status
        return APPLIED if rules[t.kind](t, USERS[t.user]) else REFUSED

    def move(self, payer: bytes, payee: bytes, asset: int, amount: int) -> bool:
        if self.line(payer, asset).balance < amount:
            return False
        self.line(payer, asset).balance -= amount
        self.line(payee, asset).balance += amount
        return True

    def issue(self, t: Transaction, sender: bytes) -> bool:
        if t.kind == CREATE:
            known = any((asset.issuer, asset.symbol) == (sender, t.body[2:]) for asset in self.assets)
            if known or t.amount:
                return False
            self.assets.append(Asset(sender, t.body[2:]))
            return True
        if not 1 <= t.asset <= len(self.assets) or not t.amount:
            return False
        asset = self.assets[t.asset - 1]
        if asset.issuer != sender:
            return False
        if t.kind == MINT:
            if asset.supply + t.amount > AMOUNT_MAX:
                return False
            asset.supply += t.amount
            self.line(t.recipient, t.asset).balance += t.amount
            return True
        if t.recipient != ZERO or self.line(sender, t.asset).balance < t.amount:
            return False
        asset.supply -= t.amount
        self.line(sender, t.asset).balance -= t.amount
        return True

    def hand_over(self, t: Transaction, sender: bytes) -> bool:
        if t.amount or sender in MEMBERS:
            return False
        self.policies[sender] = t.body[0]
        self.line(sender).flags |= 1 | POLICY_ACCOUNT
        return True

    def propose(self, t: Transaction, sender: bytes) -> bool:
        account = t.body
        own = [p for (of, _), p in self.proposals.items() if of == account and p.proposer == sender]
        if account not in self.policies or sender not in MEMBERS or not t.amount or len(own) == 8:
            return False
        operation = Operation(t.kind, t.asset, t.amount, t.recipient, t.nonce, t.body)
        name = proposal_id_of(account, sender, operation)
        self.proposals[account, name] = Proposal(sender, t.asset, t.amount, t.recipient, {sender})
        return True

    def decide(self, t: Transaction, sender: bytes) -> bool:
        account, name = t.body[:20], t.body[20:]
        proposal = self.proposals.get((account, name))
        if t.amount or sender not in MEMBERS or proposal is None:
            return False
        if t.kind == APPROVE:
            fresh = sender not in proposal.approvals
            proposal.approvals.add(sender)
            return fresh
        if t.kind == EXECUTE:
            enough = len(proposal.approvals) >= self.policies[account]
            if not enough or not self.move(account, proposal.recipient, proposal.asset, proposal.amount):
                return False
        elif proposal.proposer != sender:
            return False
        del self.proposals[account, name]
        return True

    def anchor(self, t: Transaction, sender: bytes) -> bool:
        name = anchor_id_of(t.body[:32], MEMBERS)
        if t.amount or name in self.anchors:
            return False
        self.anchors[name] = Anchor()
        return True

    def sign(self, t: Transaction, sender: bytes) -> bool:
        anchor = self.anchors.get(t.body)
        if t.amount or anchor is None or sender not in MEMBERS or sender in anchor.signed:
            return False
        anchor.signed.add(sender)
        if len(anchor.signed) == len(MEMBERS):
            anchor.effective = self.commit_index
        return True

    def trouble(self, t: Transaction, sender: bytes) -> bool:
        if t.amount % 2 or not self.move(sender, t.recipient, 0, t.amount):
            return False
        self.troubled |= {t.recipient}
        self.troubled -= {USERS[0]}
        return True

    # What all this is under the root, spelt from the modules' words

    def module_entries(self) -> dict[bytes, bytes]:
        return {prefix + key: value for prefix, key, value in self._spell()}

    def _spell(self) -> Iterator[tuple[bytes, bytes, bytes]]:
        listed = u(len(MEMBERS), 1) + b"".join(MEMBERS)
        if self.assets:
            yield b"\0\1", b"\1", u(len(self.assets), 4)
        for number, asset in enumerate(self.assets, 1):
            value = asset.issuer + u(asset.supply, 16) + b"\2" + asset.symbol
            yield b"\0\1", b"\2" + number.to_bytes(4, "big"), value
            yield b"\0\1", b"\3" + asset.issuer + asset.symbol, u(number, 4)
        for account, threshold in self.policies.items():
            yield b"\0\2", b"\1" + account, u(threshold, 1) + listed
        open_counts: dict[bytes, int] = {}
        for (account, name), p in self.proposals.items():
            value = u(p.asset, 4) + u(p.amount, 16) + p.recipient + p.proposer + u(mask(p.approvals), 4)
            yield b"\0\2", b"\2" + account + name, value
            open_counts[account + p.proposer] = open_counts.get(account + p.proposer, 0) + 1
        for place, count in open_counts.items():
            yield b"\0\2", b"\3" + place, u(count, 1)
        for digest in DIGESTS:
            name = anchor_id_of(digest, MEMBERS)
            if anchor := self.anchors.get(name):
                value = digest + u(mask(anchor.signed), 8) + u(anchor.effective, 8) + listed
                yield b"\0\3", b"\1" + name, value
        for address in self.troubled:
            yield b"\0\x32", b"\1" + address, bytes(70)

    def root(self) -> bytes:
        sizes = (16, 8, 8, 4)
        lines = {
            address + u(asset, 4): b"".join(u(*pair) for pair in zip(line, sizes, strict=True))
            for (address, asset), line in self.visible().items()
        }
        figures = {
            b"commit_index": u(self.commit_index, 8),
            b"fees": u(self.fees, 16),
            b"supply": u(AMOUNT_MAX, 16),
        }
        state = {ACCOUNTS: lines, ENTRIES: self.module_entries(), LEDGER: figures}
        return state_root_reference(state, {ACCOUNTS: DEPTH, ENTRIES: DEPTH, LEDGER: 1})


def mask(members: set[bytes]) -> int:
    return sum(1 << MEMBERS.index(member) for member in members)


DIGESTS = [bytes([i]) * 32 for i in range(2)]

users = st.integers(0, 3)
amounts = st.one_of(
    st.integers(1, 30),
    st.sampled_from([RICH - 1, RICH, WHALE, AMOUNT_MAX - 30, AMOUNT_MAX - 1, AMOUNT_MAX]),
)
fees = st.sampled_from([1] * 10 + [2, 7, RICH, 2**64 - 1])
ahead = st.sampled_from([0] * 10 + [1, 2, 5, 62, 63, 64, -1, NONCE_MAX])
payees = st.sampled_from(USERS[:5])
assets = st.sampled_from([0, 0, 0, 1, 1, 2])
made = st.builds(Transaction, user=users, fee=fees, nonce=ahead)


def with_fields(**fields: st.SearchStrategy) -> st.SearchStrategy:
    return st.tuples(made, st.fixed_dictionaries(fields)).map(lambda pair: replace(pair[0], **pair[1]))


transfers = with_fields(
    amount=amounts,
    asset=assets,
    recipient=payees,
    valid_until=st.sampled_from([VALID_FOREVER] * 9 + [NOW_S, NOW_S - 1]),
)
spoilt = st.sampled_from([0] * 9 + [1])  # an amount where none belongs
issues = st.one_of(
    with_fields(kind=st.just(CREATE), body=st.sampled_from([b"\2\1A", b"\2\2BB"]), amount=spoilt),
    with_fields(kind=st.just(MINT), asset=st.integers(0, 3), amount=amounts, recipient=payees),
    with_fields(
        kind=st.just(BURN),
        asset=st.sampled_from([0, 1, 1, 1, 2]),
        amount=amounts,
        recipient=st.sampled_from([ZERO] * 9 + [USERS[0]]),
    ),
)
foreign = with_fields(kind=st.sampled_from([0, 2, 15, 19, 99, 255]), body=st.sampled_from([b"", b"x"]))
troubles = with_fields(kind=st.just(TROUBLE), amount=st.one_of(st.integers(0, 30), amounts), recipient=payees)
anchors = st.one_of(
    with_fields(
        kind=st.just(ANCHOR),
        amount=spoilt,
        body=st.sampled_from([encode_anchor(d, MEMBERS) for d in DIGESTS]),
    ),
    with_fields(
        kind=st.just(SIGN), amount=spoilt, body=st.sampled_from([anchor_id_of(d, MEMBERS) for d in DIGESTS])
    ),
)
policies = st.one_of(
    with_fields(
        user=st.sampled_from([0, 1, 4]),
        kind=st.just(POLICY),
        amount=spoilt,
        body=st.integers(1, 3).map(lambda k: encode_policy(k, MEMBERS)),
    ),
    with_fields(
        kind=st.just(PROPOSE),
        amount=st.one_of(st.integers(0, 9), amounts),
        asset=assets,
        recipient=payees,
        body=st.sampled_from([USERS[0], USERS[0], USERS[4], USERS[2]]),
    ),
)
anything = st.one_of(transfers, transfers, transfers, issues, issues, anchors, policies, troubles, foreign)


class Ledgers(RuleBasedStateMachine):
    """Executor and model see the same commits, and say the same after each."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = self.new_rig(bytes(16))
        self.model = Model()
        for user, balance in enumerate([RICH, RICH, RICH, WHALE]):
            self.rig.accounts.put(USERS[user], Line(balance))
            self.model.line(USERS[user]).balance = balance
        self.sent: list[Transaction] = []
        self.snapshot: StateSnapshot | None = None
        self.reading: Iterator[Chunk] = iter(())
        self.found: list[Chunk] = []
        self.then = self.model

    def new_rig(self, seed: bytes) -> Rig:
        rig = Rig(Assets(), Multisig(), Anchors(), Trouble(), seed=seed, rich=())
        rig.executor.supply = AMOUNT_MAX
        return rig

    @initialize(rich=st.integers(1, 3), threshold=st.integers(0, 3))
    def begin_with_an_asset_and_a_policy(self, rich: int, threshold: int) -> None:
        minted = Transaction(rich, MINT, asset=1, amount=AMOUNT_MAX - 40, recipient=USERS[rich])
        items = [Transaction(rich, CREATE, body=b"\2\1A"), minted]
        if threshold:
            items.append(Transaction(0, POLICY, body=encode_policy(threshold, MEMBERS)))
            items += [
                Transaction(user, PROPOSE, amount=user, recipient=USERS[4], body=USERS[0])
                for user in (1, 2, 3)
            ]
        self.commit(self.numbered(items))

    def numbered(self, items: list[Transaction]) -> list[Transaction]:
        """Nonces, which say how far ahead, from each sender's base as it will be if all goes well."""
        bases = [self.model.line(address).base for address in USERS]
        numbered = []
        for item in items:
            nonce = max(0, min(bases[item.user] + item.nonce, 2**64 - 1))
            bases[item.user] += item.nonce == 0
            numbered.append(replace(item, nonce=nonce))
        return numbered

    def commit(self, *vertices: list[Transaction]) -> None:
        self.model.commit_index += 1
        fees = self.model.fees
        result = self.rig.commit(*vertices)
        for statuses, vertex in zip(result.statuses, vertices, strict=True):
            assert statuses.tolist() == [self.model.run(item) for item in vertex]
        assert result.fees == self.model.fees - fees
        refused = [at.receipt.status == REFUSED for at in result.receipts]
        assert refused == [bool(at.receipt.refusal) for at in result.receipts]
        self.sent = [item for vertex in vertices for item in vertex][:10]

    @rule(vertices=st.lists(st.lists(anything, max_size=6), min_size=1, max_size=3))
    def send(self, vertices: list[list[Transaction]]) -> None:
        flat = iter(self.numbered([item for vertex in vertices for item in vertex]))
        self.commit(*[[next(flat) for _ in vertex] for vertex in vertices])

    @rule(items=st.lists(st.one_of(issues, anchors, policies, troubles), min_size=1, max_size=6))
    def send_operations(self, items: list[Transaction]) -> None:
        self.commit(self.numbered(items))

    @rule(order=st.permutations(range(8)), user=users, amount=st.integers(1, 9))
    def send_a_window_in_any_order(self, order: list[int], user: int, amount: int) -> None:
        base = self.model.line(USERS[user]).base
        self.commit([Transaction(user, 1, base + n, amount, recipient=USERS[n % 5]) for n in order])

    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        """What was sent, in any order: what was charged leaves no trace, the rest may find its moment."""
        self.commit([*data.draw(st.permutations(self.sent))], self.sent[:3])

    @precondition(lambda self: self.model.proposals)
    @rule(
        data=st.data(),
        items=st.lists(
            with_fields(
                user=st.integers(1, 3),
                nonce=st.just(0),
                kind=st.sampled_from([APPROVE, APPROVE, EXECUTE, CANCEL]),
                amount=spoilt,
            ),
            min_size=1,
            max_size=6,
        ),
    )
    def decide(self, data: st.DataObject, items: list[Transaction]) -> None:
        names = sorted(self.model.proposals)
        bodies = [b"".join(data.draw(st.sampled_from(names))) for _ in items]
        self.commit(self.numbered([replace(t, body=b) for t, b in zip(items, bodies, strict=True)]))

    @precondition(lambda self: self.snapshot is None)
    @rule()
    def begin_snapshot(self) -> None:
        self.snapshot = self.rig.executor.begin_snapshot()
        self.reading, self.found, self.then = self.snapshot.chunks(), [], deepcopy(self.model)

    @precondition(lambda self: self.snapshot is not None)
    @rule()
    def read_a_chunk(self) -> None:
        self.found += [chunk for chunk in [next(self.reading, None)] if chunk is not None]

    @precondition(lambda self: self.snapshot is not None)
    @rule(seed=st.binary(min_size=16, max_size=16), end=st.sampled_from(["restore", "go on", "close"]))
    def end_snapshot(self, seed: bytes, end: str) -> None:
        """What the snapshot was of is another ledger's state; this one may go on from it."""
        snapshot, self.snapshot = self.snapshot, None
        if end == "close":
            snapshot.close()
            return
        other = self.new_rig(seed)
        root = other.executor.restore([*self.found, *self.reading])
        assert root == snapshot.root == self.then.root()
        self.compare(other, self.then)
        if end == "go on":
            self.rig, self.model, self.sent = other, self.then, []

    @precondition(lambda self: self.snapshot is None)
    @rule(user=users)
    def intrude(self, user: int) -> None:
        """A module that writes outside its prefix stops the node; another node plays this one."""
        other = self.new_rig(bytes(range(16)))
        other.executor.restore(self.rig.executor.begin_snapshot().chunks())
        base = self.model.line(USERS[user]).base
        if self.model.line(USERS[user]).flags & 1 or not self.model.line(USERS[user]).balance:
            return
        with pytest.raises(InvariantViolation, match="its own prefix"):
            other.commit([Transaction(user, INTRUDE, base)])

    @rule()
    def audit(self) -> None:
        assert self.rig.executor.state_root() == self.model.root()
        self.rig.executor.audit()

    @invariant()
    def same_state(self) -> None:
        self.compare(self.rig, self.model)

    def compare(self, rig: Rig, model: Model) -> None:
        assert rig.lines() == {
            key: (balance & 2**64 - 1, balance >> 64, *rest)
            for key, (balance, *rest) in model.visible().items()
        }
        assert rig.accounts.fees == model.fees
        assert model.total(0) + model.fees == AMOUNT_MAX
        buckets = contents(ENTRIES, DEPTH, model.module_entries())
        assert rig.entry_bytes()[0] == b"".join(buckets[bucket] for bucket in sorted(buckets))
        assert rig.executor.commit_index == model.commit_index


def test_executor_and_model_agree_on_every_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """With chunks so small that a snapshot takes many steps."""
    monkeypatch.setattr(checkpoint, "CHUNK_LINES", 2)
    monkeypatch.setattr(checkpoint, "CHUNK_ENTRIES", 2)
    run_state_machine_as_test(
        Ledgers, settings=settings(max_examples=60, stateful_step_count=25, deadline=None)
    )
