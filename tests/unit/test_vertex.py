"""Vertices, commits and checkpoints as values: digests, signing digests, genesis."""

import json
from dataclasses import FrozenInstanceError, fields, replace

import blake3
import pytest
from vertices import (
    CHAIN,
    COMMITTEE,
    EPOCH,
    OPERATORS,
    OTHER_CHAIN,
    VECTORS,
    checkpoint,
    checkpoint_vote,
    commit,
    committee_of,
    digest,
    golden,
    operator_vertex,
    refs,
    tip,
    transfers,
    validator_vertex,
)

from cherrydag.chain import Chain
from cherrydag.commit import COMMIT_KEY, CheckpointVote, CommitVote
from cherrydag.errors import ShapeError
from cherrydag.payload import build_payload
from cherrydag.refs import OperatorRef, VertexRef
from cherrydag.vertex import UNSIGNED, VERTEX_KEY, ValidatorVertex, genesis_vertices

OTHER_PAYLOAD = build_payload(transfers(1), CHAIN)
VALIDATOR_CHANGES = {
    "epoch": EPOCH + 1,
    "round": 6,
    "author": 1,
    "timestamp_ms": 1,
    "ancestors": refs(4, "012"),
    "tips": (),
    "commit_votes": (CommitVote(8, digest(8)),),
    "checkpoint": checkpoint_vote(0),
    "payload": OTHER_PAYLOAD,
}
OPERATOR_CHANGES = {
    "epoch": EPOCH + 1,
    "issuer": OPERATORS[1].public_key,
    "seq": 5,
    "anchor_round": 4,
    "timestamp_ms": 1,
    "parents": (tip(3), tip(4, 1)),
    "payload": OTHER_PAYLOAD,
}


def test_golden_vectors() -> None:
    """To change them on purpose: python tests/vertices.py --write."""
    assert golden() == json.loads(VECTORS.read_text())


def test_the_lists_of_changes_name_every_field() -> None:
    derived = {"header", "digest", "ref", "signature"}
    assert {f.name for f in fields(validator_vertex())} - derived == set(VALIDATOR_CHANGES)
    assert {f.name for f in fields(operator_vertex())} - derived == set(OPERATOR_CHANGES)


def test_every_field_changes_digest_and_signing_digest() -> None:
    for vertex, changes in ((validator_vertex(), VALIDATOR_CHANGES), (operator_vertex(), OPERATOR_CHANGES)):
        variants = [vertex, *(replace(vertex, **{name: value}) for name, value in changes.items())]
        assert len({variant.digest for variant in variants}) == len(variants)
        assert len({variant.signing_digest(CHAIN) for variant in variants}) == len(variants)


def test_digest_covers_the_signature_and_the_signing_digest_does_not() -> None:
    for vertex in (validator_vertex(), operator_vertex()):
        unsigned = replace(vertex, signature=UNSIGNED)
        assert unsigned.digest != vertex.digest
        assert unsigned.signing_digest(CHAIN) == vertex.signing_digest(CHAIN)


def test_digests_are_keyed_hashes_of_the_header() -> None:
    for vertex, key in ((validator_vertex(), CHAIN.validator_key), (operator_vertex(), CHAIN.operator_key)):
        assert vertex.digest == blake3.blake3(vertex.header, key=VERTEX_KEY).digest()
        assert vertex.signing_digest(CHAIN) == blake3.blake3(vertex.header[:-64], key=key).digest()
    assert commit().digest == blake3.blake3(commit().encoding, key=COMMIT_KEY).digest()


def test_signing_digests_of_chains_and_kinds_differ() -> None:
    keys = [getattr(chain, name) for chain in (CHAIN, OTHER_CHAIN) for name in Chain.__slots__]
    assert len(set(keys)) == len(keys) == 10
    for vertex in (validator_vertex(), operator_vertex()):
        assert vertex.signing_digest(CHAIN) != vertex.signing_digest(OTHER_CHAIN)
        assert vertex.digest == replace(vertex).digest
    other = replace(checkpoint(), chain=OTHER_CHAIN.genesis_digest)
    assert other.signing_digest(OTHER_CHAIN) != checkpoint().signing_digest(CHAIN)
    with pytest.raises(ShapeError, match="another chain"):
        other.signing_digest(CHAIN)


def test_a_reference_says_what_the_vertex_is() -> None:
    vertex, operator = validator_vertex(), operator_vertex()
    assert vertex.ref == VertexRef(5, 0, vertex.digest)
    assert operator.ref == OperatorRef(5, OPERATORS[0].public_key, operator.digest)


def test_references_sort_by_round_author_digest() -> None:
    low, high = bytes(32), bytes([255]) * 32
    ordered = [VertexRef(1, 9, high), VertexRef(2, 0, high), VertexRef(2, 1, low), VertexRef(2, 1, high)]
    assert sorted([*ordered[2:], *ordered[:2]]) == ordered


def test_genesis_follows_from_committee_and_origin() -> None:
    origin = CHAIN.genesis_digest
    vertices = genesis_vertices(COMMITTEE, origin)
    assert [(v.epoch, v.round, v.author, v.timestamp_ms) for v in vertices] == [
        (EPOCH, 0, author, 0) for author in range(4)
    ]
    assert all(v.ancestors == () and len(v.payload) == 0 for v in vertices)
    others = [
        genesis_vertices(COMMITTEE, OTHER_CHAIN.genesis_digest),
        genesis_vertices(committee_of([1, 1, 1, 2]), origin),
        genesis_vertices(committee_of([1, 1, 1, 1], EPOCH + 1), origin),
    ]
    digests = [v.digest for group in (vertices, *others) for v in group]
    assert len(set(digests)) == len(digests) == 16
    assert genesis_vertices(COMMITTEE, origin) == vertices
    with pytest.raises(ShapeError, match="origin"):
        genesis_vertices(COMMITTEE, origin[:31])


def test_every_field_changes_a_commit_s_digest() -> None:
    base = commit()
    changes = {
        "epoch": 8,
        "index": 13,
        "prev_digest": digest(0),
        "timestamp_ms": 1,
        "vertices": refs(4, "12"),
    }
    variants = [base, *(replace(base, **{name: value}) for name, value in changes.items())]
    assert len({variant.digest for variant in variants}) == len(variants)
    assert base.leader == refs(4, "2")[0]


def test_a_commit_without_a_leader_is_refused() -> None:
    for vertices in ((), (*refs(4, "2"), tip(3))):
        with pytest.raises(ShapeError, match="leader"):
            commit(vertices=vertices)


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": 2**32}, {"round": -1}, {"author": 2**16}, {"timestamp_ms": 2**64}, {"signature": bytes(63)},
        {"ancestors": (VertexRef(2**32, 0, bytes(32)),)}, {"commit_votes": (CommitVote(-1, bytes(32)),)},
        {"ancestors": (VertexRef(1, 0, bytes(31)),)}, {"tips": (OperatorRef(1, bytes(31), bytes(32)),)},
        {"commit_votes": (CommitVote(1, bytes(33)),)},
        {"checkpoint": CheckpointVote(1, bytes(32), bytes(32), bytes(63))},
    ],
)  # fmt: skip
def test_values_that_do_not_fit_their_field_are_our_bug(changes: dict[str, object]) -> None:
    with pytest.raises(ShapeError):
        replace(validator_vertex(), **changes)  # type: ignore[arg-type]


def test_operator_values_that_do_not_fit_are_our_bug() -> None:
    for changes in ({"issuer": bytes(31)}, {"seq": 2**64}, {"parents": (tip(3), VertexRef(1, 0, bytes(31)))}):
        with pytest.raises(ShapeError):
            replace(operator_vertex(), **changes)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="state_root"):
        checkpoint(state_root=b"")
    with pytest.raises(ShapeError, match="out of range"):
        checkpoint(index=2**64)
    with pytest.raises(ShapeError, match="genesis_digest"):
        Chain.of(bytes(31))


def test_values_are_frozen() -> None:
    vertex: ValidatorVertex = validator_vertex()
    with pytest.raises(FrozenInstanceError):
        vertex.round = 6  # type: ignore[misc]
    assert vertex == validator_vertex()
    assert vertex != validator_vertex(round=6)
