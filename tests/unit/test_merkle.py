"""Merkle roots and proofs against the definition, on every instruction set of this CPU."""

import json
import random
from collections.abc import Iterator

import blake3
import pytest
from places import ROOT
from reference.merkle_reference import merkle_proof_reference, merkle_root_reference

from cherrydag import crypto
from cherrydag._native import digest as native
from cherrydag.errors import ShapeError

LEAVES = [blake3.blake3(i.to_bytes(8, "little")).digest() for i in range(1100)]
SIZES = [*range(131), 255, 256, 257, 511, 512, 513, 1000, 1024, 1025]

pytestmark = pytest.mark.usefixtures("backend")


def flips(value: bytes) -> Iterator[bytes]:
    """Every change of one byte by one bit, and by all bits."""
    for at in range(len(value)):
        for mask in (1 << at % 8, 0xFF):
            yield value[:at] + bytes([value[at] ^ mask]) + value[at + 1 :]


def test_root_follows_the_definition() -> None:
    wrong = [
        n for n in SIZES if crypto.merkle_root(b"".join(LEAVES[:n])) != merkle_root_reference(LEAVES[:n])
    ]
    assert wrong == []


def test_root_of_many_leaves() -> None:
    leaves = random.Random(3).randbytes(32 * 40_001)
    want = merkle_root_reference([leaves[i : i + 32] for i in range(0, len(leaves), 32)])
    assert crypto.merkle_root(leaves) == want


def test_golden_roots() -> None:
    for case in json.loads((ROOT / "tests" / "vectors" / "digest.json").read_text())["merkle"]:
        assert crypto.merkle_root(b"".join(LEAVES[: case["leaves"]])).hex() == case["root"]


def test_proof_follows_the_definition_and_holds() -> None:
    for n in [*range(1, 67), 130, 1000]:
        joined = b"".join(LEAVES[:n])
        root = crypto.merkle_root(joined)
        for index in range(n) if n < 70 else (0, 1, n // 2, n - 2, n - 1):
            proof = crypto.merkle_proof(joined, index)
            assert proof == merkle_proof_reference(LEAVES[:n], index), (n, index)
            assert crypto.verify_merkle_proof(root, LEAVES[index], index, n, proof), (n, index)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9, 13])
def test_every_change_of_a_byte_breaks_a_proof(n: int) -> None:
    joined = b"".join(LEAVES[:n])
    root = crypto.merkle_root(joined)
    verify = crypto.verify_merkle_proof
    for index in range(n):
        leaf, proof = LEAVES[index], crypto.merkle_proof(joined, index)
        assert verify(root, leaf, index, n, proof)
        assert not any(verify(root, leaf, index, n, changed) for changed in flips(proof))
        assert not any(verify(root, changed, index, n, proof) for changed in flips(leaf))
        assert not any(verify(changed, leaf, index, n, proof) for changed in flips(root))
        assert not any(verify(root, leaf, other, n, proof) for other in range(-2, 70) if other != index)
        assert not any(verify(root, leaf, index, count, proof) for count in range(-2, 70) if count != n)


@pytest.mark.parametrize("n", [1, 2, 5, 8, 100])
def test_proof_of_the_wrong_length_fails(n: int) -> None:
    joined = b"".join(LEAVES[:n])
    root, proof = crypto.merkle_root(joined), crypto.merkle_proof(joined, 0)
    for wrong in (proof[:-1], proof[:-32], proof[32:], proof + b"\0", proof + bytes(32), proof + proof, b"x"):
        if wrong != proof:
            assert not crypto.verify_merkle_proof(root, LEAVES[0], 0, n, wrong)


def test_numbers_and_lengths_that_cannot_be_are_answered_no() -> None:
    verify = crypto.verify_merkle_proof
    root = crypto.merkle_root(LEAVES[0])
    assert verify(root, LEAVES[0], 0, 1, b"")
    for index, count in ((0, 0), (-1, 1), (1, 1), (0, 2**64), (2**64, 2**65), (0, -1), (2**70, 2**71)):
        assert not verify(root, LEAVES[0], index, count, b"")
    assert not verify(root, LEAVES[0], 2**64 - 2, 2**64 - 1, bytes(64 * 32))
    assert not verify(root[:31], LEAVES[0], 0, 1, b"")
    assert not verify(root, LEAVES[0] + b"\0", 0, 1, b"")
    assert not verify(b"", b"", 0, 1, b"")


def test_native_check_refuses_an_index_outside_the_tree() -> None:
    root = crypto.merkle_root(LEAVES[0])
    assert native.merkle_verify(root, LEAVES[0], 0, 1, b"")
    for index, count in ((1, 1), (0, 0), (2**64 - 1, 1), (2**64 - 1, 2**64 - 1)):
        assert not native.merkle_verify(root, LEAVES[0], index, count, b"")


def test_arbitrary_proofs_never_hold() -> None:
    rng = random.Random(9)
    for _ in range(500):
        count = rng.randrange(1, 1 << rng.randrange(1, 64))
        proof = rng.randbytes(32 * rng.randrange(66))
        assert not crypto.verify_merkle_proof(
            rng.randbytes(32), rng.randbytes(32), rng.randrange(count), count, proof
        )


def test_a_node_does_not_pass_for_a_leaf() -> None:
    """The tree of two nodes over four leaves has the same top as the tree of the leaves, but a root of its
    own."""
    four = b"".join(LEAVES[:4])
    siblings = crypto.merkle_proof(four, 0), crypto.merkle_proof(four, 2)
    left, right = siblings[1][32:], siblings[0][32:]
    assert merkle_proof_reference([left, right], 0) == right
    assert crypto.merkle_root(left + right) != crypto.merkle_root(four)
    assert not crypto.verify_merkle_proof(crypto.merkle_root(four), left, 0, 2, right)
    assert not crypto.verify_merkle_proof(crypto.merkle_root(four), left, 0, 4, right)


def test_no_leaves_and_a_zero_leaf_have_different_roots() -> None:
    roots = {crypto.merkle_root(bytes(32 * n)) for n in range(40)}
    assert len(roots) == 40


@pytest.mark.parametrize("size", [1, 31, 33, 63])
def test_leaves_that_are_not_whole_are_refused(size: int) -> None:
    with pytest.raises(ShapeError, match="32-byte rows"):
        crypto.merkle_root(bytes(size))
    with pytest.raises(ShapeError, match="32-byte rows"):
        crypto.merkle_proof(bytes(size), 0)


@pytest.mark.parametrize("index", [-1, 3, 2**64 - 1, 2**64])
def test_proof_of_no_leaf_is_refused(index: int) -> None:
    with pytest.raises(ShapeError, match="index: expected"):
        crypto.merkle_proof(bytes(96), index)
