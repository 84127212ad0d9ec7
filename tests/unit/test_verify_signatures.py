"""Signatures of vertices and checkpoint certificates: what they fit, and that nothing altered verifies."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vertices import (
    CHAIN,
    COMMITTEE,
    EPOCH,
    KEYS,
    OPERATORS,
    OTHER_CHAIN,
    RULES,
    certificate,
    checkpoint,
    checkpoint_vote,
    committee_of,
    operator_vertex,
    sign,
    transfers,
    validator_vertex,
)

from cherrydag import crypto
from cherrydag.codec import decode_vertex, encode_vertex
from cherrydag.errors import PeerFault
from cherrydag.payload import build_payload
from cherrydag.verify import (
    EpochRules,
    VertexFault,
    signature_items,
    verify_certificate,
    verify_items,
    verify_vertex,
    verify_vertex_signatures,
)


def test_signatures_of_many_vertices_are_checked_in_one_call() -> None:
    good, operator = validator_vertex(checkpoint=checkpoint_vote(0)), operator_vertex()
    forged = replace(good, signature=bytes(64))
    wrong_vote = sign(replace(good, checkpoint=checkpoint_vote(1)), KEYS[0])
    vertices = [good, forged, operator, wrong_vote, validator_vertex(), replace(operator, seq=5)]
    faults = [
        None,
        VertexFault.SIGNATURE,
        None,
        VertexFault.CHECKPOINT_SIGNATURE,
        None,
        VertexFault.SIGNATURE,
    ]
    assert verify_vertex_signatures(vertices, RULES) == faults
    assert verify_vertex_signatures([], RULES) == []
    assert verify_items([item for vertex in vertices for item in signature_items(vertex, RULES)]) == bytes(
        [1, 1, 0, 1, 1, 1, 0, 1, 0]
    )


def test_a_signature_fits_no_other_author_chain_or_epoch() -> None:
    for vertex, other_key in ((validator_vertex(), KEYS[1]), (operator_vertex(), OPERATORS[1])):
        other_chain = EpochRules.of(OTHER_CHAIN, COMMITTEE)
        other_epoch = EpochRules.of(CHAIN, committee_of([1, 1, 1, 1], EPOCH + 1))
        assert verify_vertex_signatures([vertex], RULES) == [None]
        assert verify_vertex_signatures([sign(vertex, other_key)], RULES) == [VertexFault.SIGNATURE]
        assert verify_vertex_signatures([vertex], other_chain) == [VertexFault.SIGNATURE]
        moved = replace(vertex, epoch=EPOCH + 1)
        assert verify_vertex_signatures([moved], other_epoch) == [VertexFault.SIGNATURE]


def test_a_signature_of_one_kind_fits_no_other_kind() -> None:
    """Even over the same header: the keys of the kinds differ."""
    vertex = validator_vertex()
    as_operator = crypto.hash_bytes(vertex.header[:-64], CHAIN.operator_key)
    assert as_operator != vertex.signing_digest(CHAIN)


def verifies(frame: bytes) -> bool:
    try:
        vertex = decode_vertex(frame)
        verify_vertex(vertex, RULES)
    except PeerFault:
        return False
    return verify_vertex_signatures([vertex], RULES) == [None]


PAYLOAD = build_payload(transfers(2), CHAIN)
FRAMES = [
    encode_vertex(validator_vertex(payload=PAYLOAD, checkpoint=checkpoint_vote(0))),
    encode_vertex(operator_vertex(payload=PAYLOAD)),
]


@pytest.mark.parametrize("frame", FRAMES, ids=["validator", "operator"])
def test_a_vertex_with_any_byte_changed_never_verifies(frame: bytes) -> None:
    assert verifies(frame)
    for at in range(len(frame)):
        assert not verifies(frame[:at] + bytes([frame[at] ^ (1 << at % 8)]) + frame[at + 1 :])


@given(st.data(), st.sampled_from(FRAMES))
@settings(max_examples=200)
def test_a_vertex_with_random_edits_never_verifies(data: st.DataObject, frame: bytes) -> None:
    start = data.draw(st.integers(0, len(frame)))
    stop = data.draw(st.integers(start, min(len(frame), start + 40)))
    edited = frame[:start] + data.draw(st.binary(max_size=40)) + frame[stop:]
    assert verifies(edited) == (edited == frame)


# Checkpoint certificates


def fault_of_certificate(authors: list[int], rules: EpochRules = RULES, **changes: Any) -> str | None:
    try:
        verify_certificate(certificate(authors, checkpoint(**changes)), rules)
    except PeerFault as error:
        return error.code
    return None


def test_a_quorum_of_signatures_certifies_a_checkpoint() -> None:
    assert fault_of_certificate([0, 1, 2]) is None
    assert fault_of_certificate([0, 1, 2, 3]) is None
    assert fault_of_certificate([1, 2]) == VertexFault.CERTIFICATE_STAKE
    assert fault_of_certificate([]) == VertexFault.CERTIFICATE_STAKE


def test_a_certificate_counts_stake_and_not_heads() -> None:
    rules = EpochRules.of(CHAIN, committee_of([1, 1, 1, 7]))
    assert fault_of_certificate([0, 1, 2], rules) == VertexFault.CERTIFICATE_STAKE
    assert fault_of_certificate([3], rules) is None


def test_a_certificate_of_another_chain_or_epoch_is_refused() -> None:
    assert fault_of_certificate([0, 1, 2], chain=OTHER_CHAIN.genesis_digest) == VertexFault.CERTIFICATE_CHAIN
    assert fault_of_certificate([0, 1, 2], epoch=EPOCH + 1) == VertexFault.EPOCH


def test_a_signer_twice_or_out_of_order_is_refused() -> None:
    assert fault_of_certificate([0, 0, 1]) == VertexFault.CERTIFICATE_ORDER
    assert fault_of_certificate([2, 1, 0]) == VertexFault.CERTIFICATE_ORDER


def test_a_signer_outside_the_committee_is_refused() -> None:
    good = certificate([0, 1, 2])
    for author in (4, 2**16 - 1):
        signatures = (*good.signatures, good.signatures[0]._replace(author=author))
        with pytest.raises(PeerFault) as caught:
            verify_certificate(replace(good, signatures=signatures), RULES)
        assert caught.value.code == VertexFault.CERTIFICATE_AUTHOR


def test_one_false_signature_refuses_the_certificate() -> None:
    good = certificate([0, 1, 2, 3])
    for row in range(4):
        signatures = list(good.signatures)
        signatures[row] = signatures[row]._replace(signature=good.signatures[row - 1].signature)
        with pytest.raises(PeerFault, match=f"author {row}") as caught:
            verify_certificate(replace(good, signatures=tuple(signatures)), RULES)
        assert caught.value.code == VertexFault.CERTIFICATE_SIGNATURE
