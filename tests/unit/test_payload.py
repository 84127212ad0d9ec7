"""Payloads, their Merkle roots, and proofs that a transaction is in a vertex."""

from dataclasses import replace

import numpy as np
import pytest
from vertices import CHAIN, OTHER_CHAIN, operator_vertex, transfers, validator_vertex, with_bodies

from cherrydag import crypto
from cherrydag.errors import ShapeError
from cherrydag.inclusion import InclusionProof, prove_inclusion, verify_inclusion
from cherrydag.payload import (
    EMPTY_PAYLOAD,
    EMPTY_ROOT,
    LEAF_KEY,
    build_payload,
    payload_ids,
    payload_root,
)
from cherrydag.transaction import transaction_ids
from cherrydag.vertex import VERTEX_KEY, Vertex


def test_empty_payload_has_the_root_of_no_leaves() -> None:
    assert len(EMPTY_PAYLOAD) == 0
    assert EMPTY_PAYLOAD.root == EMPTY_ROOT == crypto.merkle_root(b"")
    assert build_payload(transfers(0), CHAIN) == EMPTY_PAYLOAD
    assert payload_ids(EMPTY_PAYLOAD, CHAIN) == b""


def test_a_leaf_is_the_keyed_hash_of_id_and_signature() -> None:
    records = transfers(3)
    ids = transaction_ids(records, CHAIN.transaction_key)
    leaves = [
        crypto.hash_bytes(ids[32 * row : 32 * row + 32] + records["signature"][row].tobytes(), LEAF_KEY)
        for row in range(3)
    ]
    assert build_payload(records, CHAIN).root == crypto.merkle_root(b"".join(leaves))


def test_root_binds_every_byte_of_records_and_bodies() -> None:
    payload = with_bodies([2, 0, 3])
    size_fields = {row * 176 + at for row in range(3) for at in range(44, 48)}  # Changed, the sizes disagree.
    for at in range(3 * 176):
        if at in size_fields:
            continue
        octets = bytearray(payload.octets)
        octets[at] ^= 1
        records = np.frombuffer(octets, payload.records.dtype)
        assert build_payload(records, CHAIN, payload.bodies).root != payload.root
    for at in range(5):
        bodies = bytearray(payload.bodies)
        bodies[at] ^= 1
        assert build_payload(payload.records, CHAIN, bytes(bodies)).root != payload.root


def test_root_binds_where_a_body_ends_the_order_and_the_chain() -> None:
    payload = with_bodies([2, 3])
    moved = payload.records.copy()
    moved["body_size"] = [3, 2]
    roots = {
        payload.root,
        build_payload(moved, CHAIN, payload.bodies).root,
        build_payload(payload.records[::-1].copy(), CHAIN, payload.bodies).root,
        build_payload(payload.records, OTHER_CHAIN, payload.bodies).root,
    }
    assert len(roots) == 4


def test_bodies_lie_end_to_end() -> None:
    payload = with_bodies([2, 0, 3])
    assert [bytes(payload.body(row)) for row in range(3)] == [b"\x00\x01", b"", b"\x02\x03\x04"]
    assert EMPTY_PAYLOAD.body(0) == b""


def test_build_refuses_bodies_of_another_length_and_scattered_records() -> None:
    payload = with_bodies([2, 3])
    for bodies in (payload.bodies[:-1], bytes(payload.bodies) + b"x", b""):
        with pytest.raises(ShapeError, match="bodies"):
            build_payload(payload.records, CHAIN, bodies)
    with pytest.raises(ShapeError, match="contiguous"):
        build_payload(transfers(4)[::2], CHAIN)


def test_root_is_computed_and_not_believed() -> None:
    payload = build_payload(transfers(2), CHAIN)
    claimed = replace(payload, root=EMPTY_ROOT)
    assert claimed != payload
    assert payload_root(claimed, payload_ids(claimed, CHAIN)) == payload.root


# Inclusion


def vertices_of(count: int) -> list[Vertex]:
    payload = build_payload(transfers(count), CHAIN)
    return [validator_vertex(payload=payload), operator_vertex(payload=payload)]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_every_transaction_of_a_vertex_can_be_proven(count: int) -> None:
    for vertex in vertices_of(count):
        ids = payload_ids(vertex.payload, CHAIN)
        for row in range(count):
            proof = prove_inclusion(vertex, row, CHAIN)
            assert verify_inclusion(proof, ids[32 * row : 32 * row + 32], vertex.digest)
            for other in range(count):
                if other != row:
                    assert not verify_inclusion(proof, ids[32 * other : 32 * other + 32], vertex.digest)


def test_a_transaction_with_a_body_can_be_proven_without_the_body() -> None:
    vertex = operator_vertex(payload=with_bodies([60_000, 0, 7]))
    ids = payload_ids(vertex.payload, CHAIN)
    proof = prove_inclusion(vertex, 0, CHAIN)
    assert verify_inclusion(proof, ids[:32], vertex.digest)
    assert len(proof.header) + len(proof.siblings) < 1000


def flipped(data: bytes) -> list[bytes]:
    flips = [
        data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :] for at in range(len(data)) for bit in (1, 128)
    ]
    return [*flips, data[:-1], data + b"\x00", b""]


def test_every_mutation_of_an_inclusion_proof_fails() -> None:
    for vertex in vertices_of(5):
        own_id, digest = payload_ids(vertex.payload, CHAIN)[64:96], vertex.digest
        proof = prove_inclusion(vertex, 2, CHAIN)
        assert verify_inclusion(proof, own_id, digest)
        bad: list[InclusionProof] = [replace(proof, row=row) for row in (-1, 0, 1, 3, 4, 5, 2**64)]
        bad += [replace(proof, header=header) for header in flipped(proof.header)]
        bad += [replace(proof, signature=signature) for signature in flipped(proof.signature)]
        bad += [replace(proof, siblings=siblings) for siblings in flipped(proof.siblings)]
        assert not any(verify_inclusion(item, own_id, digest) for item in bad)
        assert not any(verify_inclusion(proof, item, digest) for item in flipped(own_id))
        assert not any(verify_inclusion(proof, own_id, item) for item in flipped(digest))


def test_a_header_cut_to_its_first_bytes_proves_nothing() -> None:
    """Also where the digest is the cut header's own, as a liar could give."""
    vertex = vertices_of(1)[0]
    own_id, proof = payload_ids(vertex.payload, CHAIN), prove_inclusion(vertex, 0, CHAIN)
    for size in range(132):
        cut = replace(proof, header=vertex.header[:size])
        assert not verify_inclusion(cut, own_id, crypto.hash_bytes(cut.header, VERTEX_KEY))


def test_no_proof_for_a_row_that_is_not_there() -> None:
    vertex = vertices_of(2)[0]
    for row in (-1, 2):
        with pytest.raises(ShapeError, match="row"):
            prove_inclusion(vertex, row, CHAIN)
