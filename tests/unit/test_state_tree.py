"""Roots of the state against the reference, and what a commitment proves."""

import random

import blake3
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.state_tree_reference import (
    bucket_of,
    contents,
    derive,
    siblings_reference,
    state_root_reference,
    tree_root_reference,
)

from cherrydag._native import statetree
from cherrydag.errors import Rejected, ShapeError
from cherrydag.execution.entries import EntryTable
from cherrydag.execution.state_tree import ProofRefusal, StateCommitment, StateTree
from cherrydag.state_proof import (
    ACCOUNTS,
    BUCKET_BYTES_MAX,
    DEPTH_DEFAULT,
    DEPTH_MAX,
    DEPTH_MIN,
    ENTRIES,
    StateKey,
    TreeKeys,
    TreeRoot,
    decode_state_proof,
    encode_state_proof,
    entry_key,
    state_root,
    verify_state_proof,
)

EMPTY_ROOT = "b0ea91a36328e92e5d71a00eb023acf3d3141a67f5f8063c7ac8722fcb8fc7cc"
SMALL_ROOT = "eed454c39c88b0b2a41aae910dfc3d5e3fa57eba6464fda0f13c6f50155845ee"

Packed = tuple[npt.NDArray[np.uint32], bytes, npt.NDArray[np.uint64]]


def packed(buckets: dict[int, bytes]) -> Packed:
    """What StateTree.update takes."""
    order = sorted(buckets)
    offsets = np.cumsum([0, *[len(buckets[bucket]) for bucket in order]]).astype(np.uint64)
    return np.array(order, np.uint32), b"".join(buckets[bucket] for bucket in order), offsets


class Plain:
    """A provider over a dictionary, which calls every bucket dirty."""

    def __init__(self, depth: int, entries: dict[bytes, bytes], name: str = ACCOUNTS) -> None:
        self.depth, self.entries, self.name = depth, entries, name

    def drain_dirty(self) -> npt.NDArray[np.uint32]:
        return np.arange(2**self.depth, dtype=np.uint32)

    def bucket_entries(self, buckets: npt.NDArray[np.uint32]) -> tuple[bytes, npt.NDArray[np.uint64]]:
        found = contents(self.name, self.depth, self.entries)
        return packed({bucket: found.get(bucket, b"") for bucket in buckets.tolist()})[1:]

    def value_of(self, key: bytes) -> bytes | None:
        return self.entries.get(key)


def accounts(count: int) -> dict[bytes, bytes]:
    rng = random.Random(count)
    return {rng.randbytes(24): rng.randbytes(36) for _ in range(count)}


# Roots


@settings(max_examples=60)
@given(
    st.sampled_from([1, 2, 3, 7]),
    st.lists(
        st.dictionaries(
            st.binary(min_size=1, max_size=3),
            st.one_of(st.none(), st.binary(max_size=4), st.sampled_from([bytes(64), bytes(65)])),
        ),
        max_size=4,
    ),
)
def test_any_history_gives_the_root_of_the_reference(
    depth: int, history: list[dict[bytes, bytes | None]]
) -> None:
    tree, entries = StateTree(ACCOUNTS, depth), dict[bytes, bytes]()
    for changes in history:
        for key, value in changes.items():
            entries.pop(key, None)
            if value is not None:
                entries[key] = value
        now = contents(ACCOUNTS, depth, entries)
        dirty = {bucket_of(ACCOUNTS, depth, key) for key in changes}
        root = tree.update(*packed({bucket: now.get(bucket, b"") for bucket in dirty}))
        assert root == tree.root == tree_root_reference(ACCOUNTS, depth, now)
    tree.audit()


def test_incremental_equals_rebuilt_and_loaded() -> None:
    tree, entries = StateTree(ACCOUNTS, 8), dict[bytes, bytes]()
    for count in (1, 40, 300):
        new = accounts(count)
        entries |= new
        now = contents(ACCOUNTS, 8, entries)
        tree.update(*packed({bucket: now[bucket] for bucket in contents(ACCOUNTS, 8, new)}))
    rebuilt = StateTree(ACCOUNTS, 8)
    assert rebuilt.update(*packed(contents(ACCOUNTS, 8, entries))) == tree.root
    loaded = StateTree(ACCOUNTS, 8)
    assert loaded.load(tree.snapshot()) == tree.root
    loaded.audit()
    bucket = bucket_of(ACCOUNTS, 8, min(entries))
    expected = siblings_reference(ACCOUNTS, 8, contents(ACCOUNTS, 8, entries), bucket)
    assert loaded.siblings(bucket) == tree.siblings(bucket) == expected
    assert loaded.leaf(bucket) == tree.leaf(bucket)


def test_emptied_tree_is_as_one_never_used() -> None:
    tree = StateTree(ACCOUNTS, 6)
    before = tree.root
    buckets = contents(ACCOUNTS, 6, accounts(50))
    assert tree.update(*packed(buckets)) != before
    assert tree.update(*packed(dict.fromkeys(buckets, b""))) == before


def test_bucket_is_the_first_bits_of_the_keyed_hash() -> None:
    keys = StateTree(ACCOUNTS, 1).keys
    assert keys.bucket == derive("bucket", b"accounts")
    for key in accounts(20):
        first = int.from_bytes(blake3.blake3(key, key=keys.bucket).digest()[:3], "big")
        for depth in (DEPTH_MIN, 2, 8, DEPTH_DEFAULT, DEPTH_MAX):
            assert keys.bucket_of(key, depth) == bucket_of(ACCOUNTS, depth, key) == first >> (24 - depth)


def test_state_root_follows_the_definition() -> None:
    state = {ACCOUNTS: accounts(30), ENTRIES: {b"\0\1k": b"v", b"\0\1l": bytes(65)}, "x": {}}
    sources = {name: Plain(5, state[name], name) for name in ("x", ACCOUNTS, ENTRIES)}
    commitment = StateCommitment(sources)
    assert commitment.root == state_root_reference({name: {} for name in state}, 5)
    assert commitment.commit() == commitment.root == state_root_reference(state, 5)
    commitment.audit()


def test_golden_roots() -> None:
    """The commitment's format is a rule: these change with it only."""
    table = EntryTable(2)
    commitment = StateCommitment({ACCOUNTS: Plain(2, {bytes(24): bytes(36)}), ENTRIES: table})
    assert commitment.root.hex() == EMPTY_ROOT
    table.put(7, b"key", b"value")
    table.put(7, b"long", bytes(65))
    assert commitment.commit().hex() == SMALL_ROOT


# Domains


def test_equal_entries_of_two_providers_have_nothing_in_common() -> None:
    buckets = {3: b"same"}
    one, other = StateTree("one", 4), StateTree("other", 4)
    one.update(*packed(buckets))
    other.update(*packed(buckets))
    for bucket in range(16):
        assert one.leaf(bucket) != other.leaf(bucket)
        for at in range(0, 128, 32):
            assert one.siblings(bucket)[at : at + 32] != other.siblings(bucket)[at : at + 32]
    assert one.root != other.root


def test_each_use_of_a_hash_has_a_key_of_its_own() -> None:
    trees = [StateTree(name, 1).keys for name in (ACCOUNTS, ENTRIES)]
    derived = {key for keys in trees for key in (keys.bucket, keys.value, keys.leaf, keys.node, keys.root)}
    assert len(derived) == 10


def test_bucket_that_spells_two_nodes_is_no_node() -> None:
    """Entries are anybody's bytes; those that equal a pair of nodes give a leaf, not their parent."""
    tree = StateTree(ACCOUNTS, 2)
    pair = tree.leaf(2) + tree.leaf(3)
    parent = tree.siblings(0)[32:]
    tree.update(*packed({0: pair}))
    assert tree.leaf(0) != parent


def test_state_root_binds_name_depth_root_and_number() -> None:
    trees = [TreeRoot("a", 5, StateTree("a", 5).root), TreeRoot("b", 5, StateTree("b", 5).root)]
    different = [
        trees,
        trees[:1],
        trees[1:],
        [trees[0], trees[1]._replace(depth=6)],
        [trees[0], trees[1]._replace(provider="ba")],
        [trees[0], trees[1]._replace(root=trees[0].root)],
        [*trees, trees[1]._replace(provider="c")],
    ]
    assert len({state_root(roots) for roots in different}) == len(different)


# Bounds and shapes


@pytest.mark.parametrize("depth", [DEPTH_MIN - 1, DEPTH_MAX + 1, -1, 2**40])
def test_depth_out_of_bounds_is_refused(depth: int) -> None:
    with pytest.raises(ShapeError, match="depth"):
        StateTree(ACCOUNTS, depth)


def test_bounds_of_the_depth_are_the_native_ones() -> None:
    assert (DEPTH_MIN, DEPTH_MAX) == (statetree.DEPTH_MIN, statetree.DEPTH_MAX)


@pytest.mark.slow
def test_deepest_tree() -> None:
    """1 GiB."""
    tree = StateTree(ACCOUNTS, DEPTH_MAX)
    buckets = {0: b"a", 2**DEPTH_MAX - 1: b"b", 2**23: b"c"}
    assert tree.update(*packed(buckets)) == tree_root_reference(ACCOUNTS, DEPTH_MAX, buckets)
    assert tree.siblings(2**23) == siblings_reference(ACCOUNTS, DEPTH_MAX, buckets, 2**23)


@pytest.mark.parametrize("name", ["", "A", "1a", "_a", "a-b", "a b", "a\n", "ä", "a" * 33])
def test_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ShapeError, match="provider"):
        StateTree(name, 1)


@pytest.mark.parametrize("name", ["a", "a1_", "a" * 32])
def test_names_within_the_bounds(name: str) -> None:
    assert StateTree(name, 1).name == name


def test_update_of_the_wrong_shape_is_refused_and_changes_nothing() -> None:
    tree = StateTree(ACCOUNTS, 4)
    root, octets = tree.root, b"abcdef"
    two = np.array([3, 4], np.uint32)
    for buckets, offsets in (
        (two, [0, 3]),
        (two, [0, 1, 2, 3]),
        (two, [0, 4, 3]),
        (two, [0, 3, 7]),
        (two[::-1], [0, 3, 6]),
        (np.array([4, 4], np.uint32), [0, 3, 6]),
        (np.array([3, 16], np.uint32), [0, 3, 6]),
        (two.astype(np.int64), [0, 3, 6]),
        (two.reshape(1, 2), [0, 3, 6]),
    ):
        with pytest.raises(ShapeError):
            tree.update(buckets, octets, offsets)
    assert tree.root == root
    every_second = np.array([3, 0, 4, 0], np.uint32)[::2]
    assert tree.update(every_second, octets, [0, 3, 6]) == StateTree(ACCOUNTS, 4).update(
        two, octets, [0, 3, 6]
    )


def test_snapshot_of_another_depth_is_refused() -> None:
    with pytest.raises(ShapeError, match="leaves"):
        StateTree(ACCOUNTS, 4).load(StateTree(ACCOUNTS, 5).snapshot())


def test_lists_of_providers_are_bounded_and_in_order() -> None:
    roots = [TreeRoot(f"p{i:02}", 1, StateTree(f"p{i:02}", 1).root) for i in range(17)]
    state_root(roots[:1])
    state_root(roots[:16])
    a, b = roots[:2]
    wrong = [
        [],
        roots,
        [b, a],
        [a, a],
        [a._replace(depth=0)],
        [a._replace(depth=25)],
        [a._replace(root=a.root[:31])],
        [a._replace(provider="P")],
    ]
    for listed in wrong:
        with pytest.raises(ShapeError, match="roots"):
            state_root(listed)
    with pytest.raises(ShapeError, match="roots"):
        StateCommitment({})


# Proofs from trees


def refusal(commitment: StateCommitment, key: StateKey) -> str:
    with pytest.raises(Rejected) as caught:
        commitment.prove(key)
    return caught.value.code


@settings(max_examples=30)
@given(
    st.sampled_from([1, 2, 4, 9]),
    st.dictionaries(
        st.binary(max_size=2), st.one_of(st.binary(max_size=3), st.binary(min_size=63, max_size=67))
    ),
    st.lists(st.binary(max_size=2)),
)
def test_everything_that_is_there_or_not_is_proven(
    depth: int, entries: dict[bytes, bytes], others: list[bytes]
) -> None:
    table, lines = EntryTable(depth), accounts(5)
    for key, value in entries.items():
        table.put(3, key, value)
    commitment = StateCommitment(
        {ENTRIES: table, ACCOUNTS: Plain(depth, lines), "third": Plain(depth, {}, "third")}
    )
    root = commitment.commit()
    for key in (*entries, *others):
        wanted = entry_key(3, key)
        assert verify_state_proof(commitment.prove(wanted), wanted, root) == entries.get(key)
    for name, value in (*lines.items(), (bytes(24), None)):
        wanted = StateKey(ACCOUNTS, name)
        assert verify_state_proof(commitment.prove(wanted), wanted, root) == value
    absent = StateKey("third", b"key")
    assert verify_state_proof(commitment.prove(absent), absent, root) is None


def test_proof_follows_the_reference() -> None:
    lines = accounts(40)
    commitment = StateCommitment({ACCOUNTS: Plain(3, lines), ENTRIES: EntryTable(3)})
    commitment.commit()
    buckets = contents(ACCOUNTS, 3, lines)
    for key in lines:
        proof, bucket = commitment.prove(StateKey(ACCOUNTS, key)), bucket_of(ACCOUNTS, 3, key)
        assert proof.entries == buckets[bucket]
        assert proof.siblings == siblings_reference(ACCOUNTS, 3, buckets, bucket)
        assert [(root.provider, root.depth) for root in proof.others] == [(ENTRIES, 3)]
        assert proof.others[0].root == tree_root_reference(ENTRIES, 3, {})


def test_changed_bucket_is_proven_only_after_the_next_commit() -> None:
    table = EntryTable(1)
    commitment = StateCommitment({ENTRIES: table})
    key = entry_key(1, b"k")
    table.put(1, b"k", b"v")
    assert refusal(commitment, key) == ProofRefusal.STALE
    root = commitment.commit()
    assert verify_state_proof(commitment.prove(key), key, root) == b"v"
    table.delete(1, b"k")
    assert refusal(commitment, key) == ProofRefusal.STALE
    root = commitment.commit()
    assert verify_state_proof(commitment.prove(key), key, root) is None


def test_unknown_provider_and_impossible_keys_are_refused() -> None:
    commitment = StateCommitment({ENTRIES: EntryTable(1)})
    assert refusal(commitment, StateKey(ACCOUNTS, b"k")) == ProofRefusal.PROVIDER
    for size in (0, 131):
        assert refusal(commitment, StateKey(ENTRIES, bytes(size))) == ProofRefusal.KEY
    for size in (1, 130):
        commitment.prove(StateKey(ENTRIES, bytes(size)))


def test_bucket_beyond_the_bound_cannot_be_proven() -> None:
    table, full = EntryTable(1), BUCKET_BYTES_MAX // 128
    commitment = StateCommitment({ENTRIES: table})
    keys = [key for key in (i.to_bytes(60, "big") for i in range(3 * full)) if in_first_half(key)]
    for key in keys[:full]:
        table.put(1, key, bytes(64))
    root = commitment.commit()
    wanted = entry_key(1, keys[5])
    proof = commitment.prove(wanted)
    assert len(proof.entries) == BUCKET_BYTES_MAX
    assert verify_state_proof(decode_state_proof(encode_state_proof(proof)), wanted, root) == bytes(64)
    table.put(1, keys[full], b"")
    commitment.commit()
    assert refusal(commitment, wanted) == ProofRefusal.TOO_LARGE


def in_first_half(key: bytes) -> bool:
    return TreeKeys.of(ENTRIES).bucket_of(entry_key(1, key).key, 1) == 0
