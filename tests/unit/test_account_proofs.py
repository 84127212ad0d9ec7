"""The accounts under the state's root: the real table as a provider, against the slow reference."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.state_tree_reference import bucket_of, state_root_reference

from cherrydag.address import address_of
from cherrydag.errors import Rejected
from cherrydag.execution.accounts import AccountFlag, Accounts, Line
from cherrydag.execution.entries import EntryTable
from cherrydag.execution.state_tree import LedgerFigures, ProofRefusal, StateCommitment
from cherrydag.primitives import Amount
from cherrydag.state_proof import (
    ACCOUNTS,
    DEPTH_DEFAULT,
    ENTRIES,
    LEDGER,
    StateKey,
    TreeKeys,
    decode_state_proof,
    encode_state_proof,
    verify_state_proof,
)
from cherrydag.transaction import build_transfers

KEYS = [bytes([i]) * 32 for i in range(1, 7)]
ADDRESSES = [address_of(key) for key in KEYS]
ASSETS = (0, 1, 2**32 - 1)
PLACES = [(address, asset) for address in ADDRESSES for asset in ASSETS]
DEPTH = 3
NOW_S = 1000


def key_of(address: bytes, asset: int) -> bytes:
    return address + asset.to_bytes(4, "little")


def entries_of(accounts: Accounts) -> dict[bytes, bytes]:
    """Every line as the definition spells it, read one by one."""
    spelt = {}
    for address, asset in PLACES:
        if line := accounts.get(address, asset):
            sizes = zip(line, (16, 8, 8, 4), strict=True)
            spelt[key_of(address, asset)] = b"".join(field.to_bytes(size, "little") for field, size in sizes)
    return spelt


def new_accounts(depth: int = DEPTH, seed: bytes = bytes(16)) -> Accounts:
    return Accounts(TreeKeys.of(ACCOUNTS).bucket, seed, depth=depth)


transfers = st.tuples(
    st.sampled_from(KEYS),
    st.sampled_from(ADDRESSES),
    st.sampled_from(ASSETS),
    st.sampled_from([1, 40, 100, 2**64 - 1]),
    st.sampled_from([0, 0, 1, 5]),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(transfers, min_size=1, max_size=8), max_size=5),
    st.sampled_from([1, DEPTH, 9]),
    st.binary(min_size=16, max_size=16),
)
def test_root_after_any_transfers_is_the_reference_s_and_proves_every_line(
    batches: list[list[tuple[bytes, bytes, int, int, int]]], depth: int, seed: bytes
) -> None:
    """Present, absent and removed lines alike; holdings of 40 go whole."""
    accounts = new_accounts(depth, seed)
    for i, address in enumerate(ADDRESSES[:3]):
        accounts.put(address, Line(Amount(500), flags=8 * i))
        accounts.put(address, Line(Amount(40)), 1)
    commitment = StateCommitment({ACCOUNTS: accounts})
    commitment.commit()
    for batch in batches:
        senders, recipients, assets, amounts, ahead = zip(*batch, strict=True)
        bases = [(accounts.get(address_of(key)) or Line(Amount(0))).nonce_base for key in senders]
        records = build_transfers(
            senders=b"".join(senders),
            recipients=b"".join(recipients),
            amounts=list(amounts),
            nonces=[base + more for base, more in zip(bases, ahead, strict=True)],
            asset=list(assets),
        )
        accounts.apply(records, np.zeros(len(batch), np.uint8), NOW_S)
        root = commitment.commit()
        entries = entries_of(accounts)
        assert root == state_root_reference({ACCOUNTS: entries}, depth)
        for address, asset in PLACES:
            key = StateKey(ACCOUNTS, key_of(address, asset))
            proof = decode_state_proof(encode_state_proof(commitment.prove(key)))
            assert verify_state_proof(proof, key, root) == entries.get(key.key)
    commitment.audit()


@pytest.mark.parametrize("depth", [1, DEPTH, 8, DEPTH_DEFAULT])
def test_line_lies_in_the_bucket_that_the_definition_gives(depth: int) -> None:
    rng = random.Random(depth)
    accounts = new_accounts(depth)
    for _ in range(30):
        address, asset = rng.randbytes(20), rng.choice(ASSETS)
        accounts.put(address, Line(Amount(1)), asset)
        assert accounts.drain_dirty().tolist() == [bucket_of(ACCOUNTS, depth, key_of(address, asset))]


def test_removed_line_is_proven_absent_after_the_next_root_alone() -> None:
    accounts = new_accounts()
    commitment = StateCommitment({ACCOUNTS: accounts})
    accounts.put(ADDRESSES[0], Line(Amount(5), 3, 0b10, AccountFlag.POLICY))
    key = StateKey(ACCOUNTS, key_of(ADDRESSES[0], 0))
    root = commitment.commit()
    value = (5).to_bytes(16, "little") + (3).to_bytes(8, "little") + (2).to_bytes(8, "little") + b"\1\0\0\0"
    assert verify_state_proof(commitment.prove(key), key, root) == value
    accounts.put(ADDRESSES[0], Line(Amount(0)))
    with pytest.raises(Rejected) as caught:
        commitment.prove(key)
    assert caught.value.code == ProofRefusal.STALE
    root = commitment.commit()
    assert verify_state_proof(commitment.prove(key), key, root) is None
    assert root == state_root_reference({ACCOUNTS: {}}, DEPTH)


@pytest.mark.parametrize("size", [1, 23, 25, 130])
def test_key_that_no_line_can_have_is_proven_absent(size: int) -> None:
    accounts = new_accounts(1)
    for address, asset in PLACES:
        accounts.put(address, Line(Amount(1)), asset)
    commitment = StateCommitment({ACCOUNTS: accounts})
    root = commitment.commit()
    key = StateKey(ACCOUNTS, (ADDRESSES[0] * 7)[:size])
    assert verify_state_proof(commitment.prove(key), key, root) is None


@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**128 - 1),
)
def test_ledger_s_figures_are_entries_like_others(index: int, fees: int, supply: int) -> None:
    figures, accounts = LedgerFigures(), new_accounts()
    accounts.put(ADDRESSES[0], Line(Amount(7)))
    commitment = StateCommitment({ACCOUNTS: accounts, ENTRIES: EntryTable(2), LEDGER: figures})
    figures.set(index, Amount(fees), Amount(supply))
    values = {
        b"commit_index": index.to_bytes(8, "little"),
        b"fees": fees.to_bytes(16, "little"),
        b"supply": supply.to_bytes(16, "little"),
    }
    state = {ACCOUNTS: entries_of(accounts), ENTRIES: {}, LEDGER: values}
    root = commitment.commit()
    assert root == state_root_reference(state, {ACCOUNTS: DEPTH, ENTRIES: 2, LEDGER: 1})
    for name in (*values, b"other"):
        key = StateKey(LEDGER, name)
        assert verify_state_proof(commitment.prove(key), key, root) == values.get(name)


def test_root_of_a_ledger_depends_on_each_figure() -> None:
    figures = LedgerFigures()
    commitment = StateCommitment({LEDGER: figures})
    roots = {commitment.root}
    for index, fees, supply in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)):
        figures.set(index, Amount(fees), Amount(supply))
        roots.add(commitment.commit())
    assert len(roots) == 6


def test_depth_is_a_rule_of_each_provider() -> None:
    roots = {StateCommitment({ACCOUNTS: new_accounts(depth)}).commit() for depth in (1, 2, 3)}
    assert len(roots) == 3
