"""Commits into state: against a ledger in plain Python, and what no order, batching or seed may change."""

import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from execution_rig import DEPTH, KEYS, NOW_S, RICH, USERS, Rig, Transaction, sub_dag
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.ledger_reference import ReferenceLedger

from cherrydag.address import ADDRESS_KEY
from cherrydag.errors import ConfigError, InvariantViolation, Overloaded
from cherrydag.execution.accounts import Accounts, Line, Status
from cherrydag.execution.anchor import Anchors, anchor_id_of, encode_anchor
from cherrydag.execution.assets import AssetKind, Assets, encode_create
from cherrydag.execution.entries import EntryTable
from cherrydag.execution.executor import Executor
from cherrydag.execution.module import Context, Event, Module, Operation, OperationStatus
from cherrydag.execution.multisig import Multisig, encode_policy, proposal_id_of
from cherrydag.execution.overlay import Powers, Scope, View
from cherrydag.params import AMOUNT_MAX, NONCE_MAX, VALID_FOREVER
from cherrydag.primitives import Amount
from cherrydag.state_proof import ACCOUNTS, TreeKeys, entry_key, verify_state_proof

GOLDEN_ROOT = "48c1395858fe49e9a8336e238f642ef3221e81ef256b6152954ebd71bf69e47a"
BUCKET_KEY = TreeKeys.of(ACCOUNTS).bucket
REFUSED, UNKNOWN = OperationStatus.REFUSED, OperationStatus.UNKNOWN

amounts = st.one_of(st.integers(0, 30), st.sampled_from([RICH, RICH + 1, AMOUNT_MAX - 5, AMOUNT_MAX]))
SYMBOLS = [b"", b"\x02\x01A", b"\x02\x01B", b"\x02\x01b", b"\x02\x01AA"]
transactions = st.builds(
    Transaction,
    user=st.integers(0, 2),
    kind=st.sampled_from([1, 1, 1, 16, 17, 17, 17, 18, 99]),
    nonce=st.sampled_from([0] * 12 + [-1, 1, 60, 64, NONCE_MAX - 60]),  # ahead of the sender's last
    amount=amounts,
    asset=st.sampled_from([0, 0, 1, 1, 1, 2]),
    recipient=st.sampled_from(USERS[:4]),
    fee=st.sampled_from([1] * 12 + [5, RICH, 2**64 - 1]),
    valid_until=st.sampled_from([VALID_FOREVER] * 12 + [NOW_S - 1, NOW_S]),
).flatmap(
    lambda made: st.sampled_from(SYMBOLS).map(
        lambda body: (
            replace(made, asset=0, amount=0, recipient=bytes(20), body=body)
            if made.kind == 16
            else replace(made, recipient=bytes(20) if made.kind == 18 and body else made.recipient)
        )
    )
)


class ReferenceChain(ReferenceLedger):
    """The ledger with its assets: number -> [issuer, symbol, supply]."""

    def __init__(self) -> None:
        super().__init__(BUCKET_KEY, ADDRESS_KEY, DEPTH)
        self.assets: list[list[object]] = []

    def run(self, transaction: Transaction, now_s: int) -> int:
        if transaction.kind == 1 and not transaction.body:
            return self.transfer(transaction.record, now_s)
        if transaction.kind not in (16, 17, 18):
            return UNKNOWN
        status = self.begin(transaction.record, now_s, None, 1)
        if status != Status.APPLIED:
            return status
        return Status.APPLIED if self.operate(transaction) else REFUSED

    def operate(self, t: Transaction) -> bool:
        sender = USERS[t.user]
        if t.kind == 16:
            symbol = t.body[2:]
            wrong = t.body not in (b"\x02\x01A", b"\x02\x01B")
            if wrong or any(asset[:2] == [sender, symbol] for asset in self.assets):
                return False
            self.assets.append([sender, symbol, 0])
            return True
        if not 1 <= t.asset <= len(self.assets) or t.amount == 0 or t.body:
            return False
        asset = self.assets[t.asset - 1]
        supply = asset[2]
        assert isinstance(supply, int)
        if asset[0] != sender:
            return False
        if t.kind == 17:
            if supply + t.amount > AMOUNT_MAX:
                return False
            self.line(t.recipient, t.asset).balance += t.amount
            asset[2] = supply + t.amount
            return True
        if t.recipient != bytes(20) or self.line(sender, t.asset).balance < t.amount:
            return False
        self.line(sender, t.asset).balance -= t.amount
        asset[2] = supply - t.amount
        return True


def numbered(items: list[Transaction], counts: list[int]) -> list[Transaction]:
    """The nonces, which said how far ahead, count up for each user."""
    made = []
    for item in items:
        made.append(replace(item, nonce=max(0, counts[item.user] + item.nonce)))
        counts[item.user] += item.nonce == 0
    return made


def cut(items: list[Transaction], places: list[int]) -> list[list[Transaction]]:
    bounds = sorted({place for place in places if place < len(items)} | {0, len(items)})
    return [items[a:b] for a, b in pairwise(bounds)]


@settings(max_examples=120, deadline=None)
@given(
    st.lists(transactions, min_size=5, max_size=30),
    st.lists(st.integers(1, 24), max_size=6),
    st.lists(st.integers(1, 24), max_size=6),
    st.binary(min_size=16, max_size=16),
)
def test_any_commits_do_what_the_reference_does(
    items: list[Transaction], commits: list[int], vertices: list[int], seed: bytes
) -> None:
    """And the root depends on neither the seed nor the vertices, and on the commits by their number alone."""
    creates = [Transaction(user, 16, body=encode_create("A", 2)) for user in (0, 1)]
    items = creates + numbered(items, [1, 1, 0])
    rig, other = Rig(Assets(), rich=range(3)), Rig(Assets(), seed=seed, rich=range(3))
    expected = ReferenceChain()
    for user in range(3):
        expected.line(USERS[user]).balance = RICH
    fees = 0
    for batch in cut(items, commits):
        result = rig.commit(batch)
        assert result.statuses[0].tolist() == [expected.run(item, NOW_S) for item in batch]
        fees += result.fees
    assert rig.lines() == {
        key: (low & 2**64 - 1, low >> 64, *rest) for key, (low, *rest) in expected.visible().items()
    }
    other.commit(*cut(items, vertices), [])
    while other.executor.commit_index < rig.executor.commit_index:
        other.commit([])
    assert rig.executor.state_root() == other.executor.state_root()
    assert fees == rig.accounts.fees == expected.fees
    assert expected.total(0) + expected.fees == 3 * RICH
    rig.executor.audit()
    other.executor.audit()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_affordable_transactions_commute_and_copies_are_no_ops(data: st.DataObject) -> None:
    """Funds suffice and nonces are in their windows: any order, with second copies anywhere, is one state."""
    items = [
        Transaction(user, nonce=nonce, amount=10 + nonce, recipient=USERS[(user + 1 + nonce) % 6])
        for user in range(3)
        for nonce in range(data.draw(st.integers(0, 6)))
    ]
    roots = []
    for _ in range(2):
        copies = data.draw(st.lists(st.sampled_from(items), max_size=5)) if items else []
        order = data.draw(st.permutations(items + copies))
        rig = Rig(Assets())
        result = rig.commit(*cut(order, data.draw(st.lists(st.integers(1, 20), max_size=3))), [])
        statuses = np.concatenate(result.statuses)
        assert np.count_nonzero(statuses == Status.APPLIED) == len(items)
        assert np.count_nonzero(statuses == Status.NONCE_USED) == len(order) - len(items)
        assert result.fees == len(items)
        rig.executor.audit()
        roots.append(rig.executor.state_root())
    assert roots[0] == roots[1]


PAYMENT = {"amount": 5, "recipient": USERS[2]}
PROPOSALS = [
    proposal_id_of(USERS[0], USERS[user], Operation(21, 0, 5, USERS[2], 0, USERS[0])) for user in (1, 2)
]
SIGNERS = tuple(sorted(USERS[1:3]))
MENU: list[tuple[int, dict[str, object]]] = [
    (1, PAYMENT),
    (1, PAYMENT | {"asset": 1}),
    (16, {"body": b"\x02\x01A"}),
    (17, PAYMENT | {"asset": 1}),
    (18, {"asset": 1, "amount": 2}),
    (20, {"body": encode_policy(2, SIGNERS)}),
    (21, PAYMENT | {"body": USERS[0]}),
    *[(kind, {"body": USERS[0] + proposal}) for kind in (22, 23, 24) for proposal in PROPOSALS],
    (28, {"body": encode_anchor(bytes(32), SIGNERS)}),
    (29, {"body": anchor_id_of(bytes(32), SIGNERS)}),
    (99, {}),
]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 1, 2, 2, 3, 3]), st.sampled_from(MENU)), min_size=10, max_size=40
    ),
    st.lists(st.integers(1, 40), max_size=6),
    st.binary(min_size=16, max_size=16),
)
def test_any_history_of_all_modules_is_one_state(
    history: list[tuple[int, tuple[int, dict[str, object]]]], places: list[int], seed: bytes
) -> None:
    """Whatever the seed and the vertices: receipts, root and supply are the same, and the audits hold."""
    items = [Transaction(0, 20, body=encode_policy(2, SIGNERS))]
    items.append(Transaction(3, 16, body=encode_create("A", 2)))
    items += [Transaction(user, 21, **PAYMENT | {"body": USERS[0]}) for user in (1, 2)]  # type: ignore[arg-type]
    more = [Transaction(user, kind, **fields) for user, (kind, fields) in history]  # type: ignore[arg-type]
    items += numbered(more, [1, 1, 1, 1])
    rigs = [Rig(Assets(), Multisig(), Anchors(), seed=s, rich=range(4)) for s in (bytes(16), seed)]
    results = [rigs[0].commit(items), rigs[1].commit(*cut(items, places))]
    first, second = ([at.receipt for at in result.receipts] for result in results)
    assert first == second and results[0].fees == results[1].fees
    for rig in rigs:
        rig.executor.audit()
    assert rigs[0].executor.state_root() == rigs[1].executor.state_root()


def test_operations_stand_in_order_between_runs_of_transfers() -> None:
    rig = Rig(Assets())
    create = Transaction(0, AssetKind.CREATE, nonce=1, body=encode_create("TEA", 0))
    mint = Transaction(0, AssetKind.MINT, nonce=2, asset=1, amount=9, recipient=USERS[1])
    pay = Transaction(1, nonce=0, asset=1, amount=9, recipient=USERS[2])
    result = rig.commit(
        [Transaction(0, amount=1, recipient=USERS[1]), create],
        [],
        [replace(pay, nonce=5), mint, pay, pay],
        [Transaction(4, 99)],
    )
    assert [s.tolist() for s in result.statuses] == [[1, 1], [], [Status.INSUFFICIENT, 1, 1, 6], [UNKNOWN]]
    assert [(at.vertex, at.row, at.receipt.status) for at in result.receipts] == [
        (0, 1, 1), (2, 1, 1), (3, 0, UNKNOWN),
    ]  # fmt: skip
    assert all(s.dtype == np.uint8 for s in result.statuses)
    assert rig.balance(USERS[2], 1) == 9 and result.fees == 5 and result.index == 1


def test_second_copy_of_an_operation_is_a_no_op_wherever_it_comes() -> None:
    rig = Rig(Assets())
    create = Transaction(0, AssetKind.CREATE, body=encode_create("TEA", 0))
    first = rig.commit([create, create], [create])
    before = rig.lines(), rig.entry_bytes()
    second = rig.commit([create])
    assert [s.tolist() for s in first.statuses + second.statuses] == [[1, 6], [6], [6]]
    assert (rig.lines(), rig.entry_bytes()) == before and second.fees == 0


@pytest.mark.parametrize(("now_s", "status"), [(NOW_S - 1, 1), (NOW_S, 1), (NOW_S + 1, Status.EXPIRED)])
def test_commit_s_time_decides_expiry(now_s: int, status: int) -> None:
    rig = Rig(Assets())
    create = Transaction(1, AssetKind.CREATE, body=encode_create("TEA", 0), valid_until=NOW_S)
    pay = Transaction(0, amount=1, recipient=USERS[1], valid_until=NOW_S)
    result = rig.commit([pay, create], now_s=now_s)
    assert result.statuses[0].tolist() == [status, status] and result.now_s == now_s


def test_time_beyond_the_field_is_its_end() -> None:
    rig = Rig()
    result = rig.commit([Transaction(0, amount=1, recipient=USERS[1])], now_s=2**33)
    assert result.now_s == VALID_FOREVER and result.statuses[0].tolist() == [1]


def test_fees_beyond_64_bits_add_up() -> None:
    rig = Rig(rich=range(2), balance=2**70)
    fee = 2**64 - 1
    items = [
        Transaction(user, nonce=n, amount=1, recipient=USERS[2], fee=fee) for user in (0, 1) for n in (0, 1)
    ]
    assert rig.commit(items).fees == 4 * fee
    rig.executor.audit()


@pytest.mark.parametrize("index", [0, 2])
def test_commits_are_executed_without_a_gap(index: int) -> None:
    rig = Rig()
    with pytest.raises(InvariantViolation, match="without a gap"):
        rig.executor.execute(sub_dag(index, [[]]))


def test_audit_finds_coins_from_nowhere() -> None:
    rig = Rig(Assets())
    rig.executor.audit()
    rig.accounts.put(USERS[5], Line(RICH + 1))
    with pytest.raises(InvariantViolation, match="native supply"):
        rig.executor.audit()


class Rogue(Module):
    """Code that is wrong: it empties the pot, or writes once its operation is over."""

    name = "rogue"
    kinds = (50, 51)
    powers = Powers(prefix=50)
    accounts: Accounts
    kept: list[Scope]

    def execute(self, operation: Operation, scope: Scope, context: Context) -> tuple[Event, ...]:
        if operation.kind == 50:
            self.accounts.set_fees(Amount(0))
        self.kept = [scope]
        return ()

    def audit(self, view: View) -> None:
        pass


def test_pot_that_does_not_grow_by_the_fees_stops_the_node() -> None:
    rogue = Rogue()
    rig = Rig(rogue)
    rogue.accounts = rig.accounts
    with pytest.raises(InvariantViolation, match="the pot grows"):
        rig.do(0, 50)


def test_write_after_an_operation_stops_the_node() -> None:
    rogue = Rogue()
    rig = Rig(rogue)
    rig.do(0, 51)
    rogue.kept[0].put(rogue.key(1), b"late")
    with pytest.raises(InvariantViolation, match="left open"):
        rig.commit([])


def test_modules_that_share_a_kind_are_refused() -> None:
    accounts = Accounts(BUCKET_KEY, bytes(16), depth=DEPTH)
    with pytest.raises(ConfigError):
        Executor(accounts, EntryTable(DEPTH), [Assets(), Assets()], supply=0)


def test_golden_root() -> None:
    """The format of the state is a rule: this changes with it only."""
    rig = Rig(rich=range(2))
    rig.commit([Transaction(0, amount=5, recipient=USERS[2])])
    assert rig.executor.state_root().hex() == GOLDEN_ROOT


def test_root_proves_an_asset() -> None:
    rig = Rig(Assets())
    rig.do(0, AssetKind.CREATE, body=encode_create("TEA", 3))
    root = rig.executor.state_root()
    key = entry_key(1, b"\x02" + (1).to_bytes(4, "big"))
    value = verify_state_proof(rig.executor.commitment.prove(key), key, root)
    assert value == USERS[0] + bytes(16) + b"\x03TEA"


def test_node_without_room_for_a_line_stops() -> None:
    accounts = Accounts(BUCKET_KEY, bytes(16), lines_max=1, depth=DEPTH)
    accounts.put(USERS[0], Line(RICH))
    executor = Executor(accounts, EntryTable(DEPTH), supply=RICH)
    with pytest.raises(Overloaded):
        executor.execute(sub_dag(1, [[Transaction(0, amount=1, recipient=USERS[1])]]))


_SCRIPT = """
import sys
sys.path.insert(0, "tests")
from execution_rig import Rig, Transaction, USERS
from cherrydag.execution.assets import Assets, encode_create
rig = Rig(Assets(), seed=bytes.fromhex(sys.argv[1]))
for user in range(5):
    rig.do(user, 16, body=encode_create("COIN", user))
    rig.do(user, 17, asset=user + 1, amount=user + 7, recipient=USERS[user + 1])
print(rig.executor.state_root().hex())
"""


def test_root_is_the_same_under_any_hash_seed() -> None:
    roots = set()
    for seed in ("0", "77"):
        command = [sys.executable, "-c", _SCRIPT, seed.rjust(32, "0")]
        environment = os.environ | {"PYTHONHASHSEED": seed}
        roots.add(subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout)
    assert len(roots) == 1 and len(KEYS) == 6
