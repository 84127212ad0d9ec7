"""Proofs of state: what holds, what is refused, and their bytes."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.state_tree_reference import (
    bucket_of,
    contents,
    derive,
    entry,
    keyed,
    siblings_reference,
    state_root_reference,
    tree_root_reference,
)

from cherrydag.errors import PeerFault, ShapeError
from cherrydag.primitives import Digest
from cherrydag.state_proof import (
    ACCOUNTS,
    BUCKET_BYTES_MAX,
    DEPTH_MAX,
    ENTRIES,
    PROOF_BYTES_MAX,
    VALUE_BYTES_MAX,
    StateFault,
    StateKey,
    StateProof,
    TreeRoot,
    decode_state_proof,
    encode_entry,
    encode_state_proof,
    entry_key,
    find_entry,
    verify_state_proof,
)

LONG = random.Random(7).randbytes(200)
STATE = {
    ACCOUNTS: {bytes([i] * 24): bytes([i] * 36) for i in range(9)},
    ENTRIES: {
        b"\0\1": b"no key",
        b"\0\1a": b"",
        b"\0\1b": bytes(64),
        b"\0\1c": bytes(65),
        b"\0\2a": LONG,
        b"\xff\xff" + b"\xff" * 128: b"last",
    },
    "other": {},
}
DEPTH = 2
ROOT = state_root_reference(STATE, DEPTH)
KEYS = [StateKey(name, key) for name in sorted(STATE) for key in (*STATE[name], b"absent", b"\0")]


def fault(call: Callable[..., Any], *arguments: object) -> str | None:
    """The code that it is refused with, if it is."""
    try:
        call(*arguments)
    except PeerFault as error:
        return error.code
    return None


def prove(key: StateKey, state: dict[str, dict[bytes, bytes]] = STATE, depth: int = DEPTH) -> StateProof:
    """A proof from the reference's definitions alone."""
    name, bucket = key.provider, bucket_of(key.provider, depth, key.key)
    buckets = {other: contents(other, depth, state[other]) for other in sorted(state)}
    value = state[name].get(key.key, b"")
    return StateProof(
        name,
        depth,
        tuple(
            TreeRoot(other, depth, Digest(tree_root_reference(other, depth, found)))
            for other, found in buckets.items()
            if other != name
        ),
        siblings_reference(name, depth, buckets[name], bucket),
        buckets[name].get(bucket, b""),
        value if len(value) > 64 else b"",
    )


PROOFS = {
    "account": StateKey(ACCOUNTS, bytes([3] * 24)),
    "absent account": StateKey(ACCOUNTS, b"absent"),
    "entry": StateKey(ENTRIES, b"\0\1"),
    "long entry": StateKey(ENTRIES, b"\0\2a"),
    "empty tree": StateKey("other", b"absent"),
}
proofs = pytest.mark.parametrize("key", PROOFS.values(), ids=PROOFS)


# What holds


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_value_or_absence_is_shown(key: StateKey) -> None:
    assert verify_state_proof(prove(key), key, ROOT) == STATE[key.provider].get(key.key)


@settings(max_examples=50)
@given(
    st.dictionaries(st.binary(min_size=1, max_size=2), st.one_of(st.binary(max_size=3), st.just(LONG))),
    st.binary(min_size=1, max_size=2),
    st.integers(1, 5),
)
def test_any_state_shows_every_key(entries: dict[bytes, bytes], absent: bytes, depth: int) -> None:
    state = {"provider": entries}
    root = state_root_reference(state, depth)
    for key in (*entries, absent):
        wanted = StateKey("provider", key)
        assert verify_state_proof(prove(wanted, state, depth), wanted, root) == entries.get(key)


def test_proof_of_the_deepest_tree_with_the_most_providers() -> None:
    state = {f"p{i:02}" + "_" * 29: {b"k": bytes([i])} for i in range(16)}
    root = state_root_reference(state, DEPTH_MAX)
    key = StateKey(min(state), b"k")
    proof = prove(key, state, DEPTH_MAX)
    assert len(encode_state_proof(proof)) == 12 + 16 * 66 - 33 + 24 * 32 + 4
    assert verify_state_proof(decode_state_proof(encode_state_proof(proof)), key, root) == b"\0"
    one_more = replace(proof, others=(*proof.others, TreeRoot("q", 1, Digest(bytes(32)))))
    assert fault(verify_state_proof, one_more, key, root) == StateFault.PROVIDERS
    assert fault(decode_state_proof, encode_state_proof(one_more)) == StateFault.PROVIDERS


def test_entry_key_is_prefix_then_key() -> None:
    assert entry_key(0x0102, b"k") == StateKey(ENTRIES, b"\1\2k")
    assert entry_key(65535, b"k" * 128).key == b"\xff\xff" + b"k" * 128
    for prefix, size in ((-1, 0), (65536, 0), (0, 129)):
        with pytest.raises(ShapeError, match="entry"):
            entry_key(prefix, bytes(size))


def test_entry_of_an_account_fits_a_block() -> None:
    assert len(encode_entry(bytes(24), bytes(36))) == 62


# What is refused


def changes(octets: bytes) -> Iterator[bytes]:
    """Every byte changed by a bit and by all bits, removed, and doubled; every end cut off."""
    for at in range(len(octets)):
        for mask in (1 << at % 8, 0xFF):
            yield octets[:at] + bytes([octets[at] ^ mask]) + octets[at + 1 :]
        yield octets[:at] + octets[at + 1 :]
        yield octets[: at + 1] + octets[at:]
        yield octets[:at]


def shown(octets: bytes, key: StateKey) -> bytes | None:
    return verify_state_proof(decode_state_proof(octets), key, ROOT)


@proofs
def test_every_change_of_a_byte_is_refused(key: StateKey) -> None:
    octets = encode_state_proof(prove(key))
    for changed in changes(octets):
        if changed != octets:  # doubled equal neighbours
            code = fault(shown, changed, key)
            assert code in set(StateFault), changed


@proofs
def test_proof_shows_nothing_for_another_root_or_provider(key: StateKey) -> None:
    proof = prove(key)
    assert fault(verify_state_proof, proof, key, bytes(32)) == StateFault.ROOT
    for name in {ACCOUNTS, ENTRIES, "other", "none"} - {key.provider}:
        other = key._replace(provider=name)
        assert fault(verify_state_proof, proof, other, ROOT) == StateFault.OTHER_PROVIDER
        if name in STATE:
            renamed = prove(key)
            others = tuple(root for root in prove(other).others)
            renamed = replace(proof, provider=name, others=others)
            assert fault(verify_state_proof, renamed, other, ROOT) == StateFault.ROOT


def test_proof_of_one_bucket_shows_no_absence_in_another() -> None:
    """The bucket follows from the key that was asked for, not from the proof. (In an empty tree all buckets
    look alike, and a proof for one is a proof for all.)"""
    checked = 0
    for here in KEYS:
        for there in KEYS:
            if here.provider != there.provider or not STATE[here.provider]:
                continue
            same = bucket_of(here.provider, DEPTH, here.key) == bucket_of(here.provider, DEPTH, there.key)
            proof = replace(prove(here), value=b"")
            if not same:
                assert fault(verify_state_proof, proof, there, ROOT) == StateFault.ROOT
                checked += 1
            elif len(STATE[there.provider].get(there.key, b"")) <= 64:
                found = verify_state_proof(proof, there, ROOT)
                assert found == STATE[there.provider].get(there.key)
    assert checked > 40


def test_leaf_of_another_depth_is_refused() -> None:
    """A node of the tree as the leaf of a tree less deep."""
    key = PROOFS["account"]
    proof = prove(key)
    for shorter in (proof.siblings[32:], proof.siblings[:32]):
        assert (
            fault(verify_state_proof, replace(proof, depth=1, siblings=shorter), key, ROOT) == StateFault.ROOT
        )
    longer = replace(proof, depth=3, siblings=proof.siblings + bytes(32))
    assert fault(verify_state_proof, longer, key, ROOT) == StateFault.ROOT


@pytest.mark.parametrize("depth", [0, 25, -1, 255, 10**9])
def test_depth_of_no_tree_is_refused(depth: int) -> None:
    proof = replace(prove(PROOFS["account"]), depth=depth)
    assert fault(verify_state_proof, proof, PROOFS["account"], ROOT) == StateFault.DEPTH


@pytest.mark.parametrize("size", [0, 32, 63, 65, 96, 32 * 25])
def test_siblings_must_be_one_for_each_level(size: int) -> None:
    proof = replace(prove(PROOFS["account"]), siblings=bytes(size))
    assert fault(verify_state_proof, proof, PROOFS["account"], ROOT) == StateFault.DEPTH


@pytest.mark.parametrize(
    "change",
    [
        lambda others: others[::-1],
        lambda others: (others[0], *others),
        lambda others: (others[0]._replace(provider=ACCOUNTS), others[1]),
        lambda others: (others[0]._replace(provider="Entries"), others[1]),
        lambda others: (others[0]._replace(provider=""), others[1]),
        lambda others: (others[0]._replace(provider="é"), others[1]),
        lambda others: (others[0]._replace(depth=0), others[1]),
        lambda others: (others[0]._replace(depth=25), others[1]),
        lambda others: (others[0]._replace(root=bytes(31)), others[1]),
    ],
)
def test_list_of_providers_must_be_in_order(change: Callable[[tuple[TreeRoot, ...]], Any]) -> None:
    proof = prove(PROOFS["account"])
    wrong = replace(proof, others=change(proof.others))
    assert fault(verify_state_proof, wrong, PROOFS["account"], ROOT) == StateFault.PROVIDERS


def test_other_providers_belong_to_the_root() -> None:
    proof = prove(PROOFS["account"])
    entries, other = proof.others
    for others in (
        (),
        (entries,),
        (other,),
        (entries, other._replace(depth=3)),
        (entries, other._replace(provider="z")),
    ):
        wrong = replace(proof, others=others)
        assert fault(verify_state_proof, wrong, PROOFS["account"], ROOT) == StateFault.ROOT


@pytest.mark.parametrize("value", [b"", LONG[:-1], LONG + b"\0", LONG[:-1] + b"\0", bytes(200)])
def test_long_value_must_be_the_one_committed_to(value: bytes) -> None:
    proof = replace(prove(PROOFS["long entry"]), value=value)
    assert fault(verify_state_proof, proof, PROOFS["long entry"], ROOT) == StateFault.VALUE


@pytest.mark.parametrize("name", ["account", "absent account", "entry", "empty tree"])
def test_value_that_nothing_calls_for_is_refused(name: str) -> None:
    proof = replace(prove(PROOFS[name]), value=b"\0")
    assert fault(verify_state_proof, proof, PROOFS[name], ROOT) == StateFault.VALUE


def test_sizes_are_bounded() -> None:
    key = PROOFS["account"]
    proof = prove(key)
    for field, bound in (("entries", BUCKET_BYTES_MAX), ("value", VALUE_BYTES_MAX)):
        for size, code in ((bound - 1, None), (bound, None), (bound + 1, StateFault.SIZE)):
            octets = encode_state_proof(replace(proof, **{field: bytes(size)}))
            assert fault(decode_state_proof, octets) == code
        too_large = replace(proof, **{field: bytes(bound + 1)})
        assert fault(verify_state_proof, too_large, key, ROOT) == StateFault.SIZE
    assert fault(decode_state_proof, bytes(PROOF_BYTES_MAX)) == StateFault.TAG
    assert fault(decode_state_proof, bytes(PROOF_BYTES_MAX + 1)) == StateFault.SIZE


@pytest.mark.parametrize("size", [0, 131])
def test_impossible_question_is_our_bug(size: int) -> None:
    key = StateKey(ACCOUNTS, bytes(size))
    with pytest.raises(ShapeError):
        verify_state_proof(prove(PROOFS["account"]), key, ROOT)
    with pytest.raises(ShapeError):
        verify_state_proof(prove(PROOFS["account"]), PROOFS["account"], ROOT[:31])


# Entries of a bucket


def committed(entries: bytes, key: bytes = b"k") -> tuple[StateProof, StateKey, bytes]:
    """A proof whose root does commit to these bytes of a bucket, whatever they are."""
    name, bucket = "provider", bucket_of("provider", 1, key)
    buckets = {bucket: entries}
    root = tree_root_reference(name, 1, buckets)
    state = derive("root", b"\x08provider\1" + root)
    return (
        StateProof(name, 1, (), siblings_reference(name, 1, buckets, bucket), entries),
        StateKey(name, key),
        state,
    )


A, B, K = (encode_entry(key, b"v") for key in (b"a", b"b", b"k"))
DIGEST = keyed("value", "provider", LONG)
LONG_K = encode_entry(b"k", LONG, DIGEST)


def long_of(size: int) -> bytes:
    return b"\1k\xff" + size.to_bytes(4, "little") + DIGEST


@pytest.mark.parametrize(
    "entries",
    [
        B + A,
        A + A,
        K + K,
        encode_entry(b"aa", b"") + A,
        A + b"\0\1v",
        b"\0",
        b"\x83" + bytes(131) + b"\0",
        A + b"\1",
        A + b"\1k",
        A + b"\2k\0",
        A + b"\1k\2v",
        A + b"\1k\x41" + bytes(65),
        A + b"\1k\xfe" + bytes(254),
        A + b"\1k\xfe" + (200).to_bytes(4, "little") + DIGEST,
        A + b"\1k\xff",
        A + b"\1k\xff\0\1\0",
        long_of(64),
        long_of(65537),
        long_of(2**32 - 1),
        long_of(200)[:-1],
        A + long_of(200) + b"\1",
    ],
)
def test_bucket_that_is_not_canonical_shows_nothing(entries: bytes) -> None:
    """Not even where a root commits to it, nor for a key that can be read."""
    for key in (b"k", b"a", b"z"):
        assert fault(verify_state_proof, *committed(entries, key)) == StateFault.ENTRIES


def test_size_of_a_long_value_is_part_of_its_entry() -> None:
    for size in (199, 200, 201):
        proof, key, root = committed(long_of(size))
        code = None if size == 200 else StateFault.VALUE
        assert fault(verify_state_proof, replace(proof, value=LONG), key, root) == code


def test_entries_within_the_bounds_are_read() -> None:
    key, value = bytes(130), bytes(64)
    proof, wanted, root = committed(encode_entry(key, value) + A, key)
    assert verify_state_proof(proof, wanted, root) == value
    for size in (65, 65536):
        proof, wanted, root = committed(
            encode_entry(b"k", bytes(size), keyed("value", "provider", bytes(size)))
        )
        assert verify_state_proof(replace(proof, value=bytes(size)), wanted, root) == bytes(size)


@given(st.dictionaries(st.binary(min_size=1, max_size=3), st.one_of(st.binary(max_size=3), st.just(LONG))))
def test_entries_are_found_as_they_were_put(entries: dict[bytes, bytes]) -> None:
    octets = b"".join(entry("provider", key, entries[key]) for key in sorted(entries))
    for key, value in entries.items():
        found = find_entry(octets, key)
        assert found is not None and found.size == len(value)
        assert (found.inline, found.digest) == ((value, b"") if len(value) <= 64 else (None, DIGEST))
        one = encode_entry(key, value, DIGEST if len(value) > 64 else None)
        assert one == entry("provider", key, value) and one in octets
    assert find_entry(octets, b"\0\0\0\0") is None


@given(st.binary(max_size=80))
def test_any_bytes_as_entries_are_read_or_refused(entries: bytes) -> None:
    assert fault(find_entry, entries, b"k") in {None, StateFault.ENTRIES}


# Bytes


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_bytes_give_the_proof_back(key: StateKey) -> None:
    proof = prove(key)
    octets = encode_state_proof(proof)
    assert decode_state_proof(octets) == proof
    assert decode_state_proof(bytearray(octets)) == decode_state_proof(memoryview(octets)) == proof


def test_every_byte_is_where_the_table_says() -> None:
    others = (TreeRoot("b", 3, Digest(b"r" * 32)), TreeRoot("cc", 24, Digest(b"s" * 32)))
    proof = StateProof("abc", 1, others, b"t" * 32, b"entries", b"va")
    assert encode_state_proof(proof) == (
        b"\6\1\1\2" + b"\7\0\0\0" + b"\2\0\0\0" + b"\3abc"
        + b"\1b\3" + b"r" * 32 + b"\2cc\x18" + b"s" * 32
        + b"t" * 32 + b"entries" + b"va"
    )  # fmt: skip


@proofs
def test_changed_bytes_are_refused_or_another_proof(key: StateKey) -> None:
    octets = encode_state_proof(prove(key))
    for changed in changes(octets):
        if fault(decode_state_proof, changed) is None:
            assert encode_state_proof(decode_state_proof(changed)) == changed


@settings(max_examples=300)
@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_are_a_proof_or_refused(octets: bytes, headed: bool) -> None:
    octets = b"\6\1" + octets if headed else octets
    if fault(decode_state_proof, octets) is None:
        assert encode_state_proof(decode_state_proof(octets)) == octets


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (b"", StateFault.TRUNCATED),
        (b"\6\1\1\0" + bytes(7), StateFault.TRUNCATED),
        (b"\7\1\1\0" + bytes(8), StateFault.TAG),
        (b"\6\2\1\0" + bytes(8), StateFault.VERSION),
        (b"\6\1\1\0" + bytes(8), StateFault.TRUNCATED),
        (b"\6\1\1\0" + bytes(8) + b"\1", StateFault.TRUNCATED),
        (b"\6\1\1\0" + bytes(8) + b"\1a" + bytes(31), StateFault.TRUNCATED),
        (b"\6\1\1\0" + bytes(8) + b"\1a" + bytes(33), StateFault.TRAILING),
        (b"\6\1\1\0" + bytes(8) + b"\0" + bytes(32), StateFault.PROVIDERS),
        (b"\6\1\1\0" + bytes(8) + b"\1\xe9" + bytes(32), StateFault.PROVIDERS),
        (b"\6\1\0\0" + b"\1" + bytes(7) + b"\1a" + b"\0", StateFault.DEPTH),
        (b"\6\1\xff\0" + bytes(8) + b"\1a" + bytes(255 * 32), StateFault.DEPTH),
        (b"\6\1\1\xff" + bytes(8) + b"\1a" + bytes(32), StateFault.TRUNCATED),
        (b"\6\1\1\0" + b"\xff" * 8 + b"\1a" + bytes(32), StateFault.TRUNCATED),
    ],
)
def test_wrong_bytes_have_a_code(octets: bytes, code: StateFault) -> None:
    assert fault(decode_state_proof, octets) == code
