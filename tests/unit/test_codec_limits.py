"""Limits of the codec, at bound - 1, bound and bound + 1, and forms that are not canonical."""

from collections.abc import Callable
from struct import pack_into
from typing import Any

import pytest
from vertices import (
    certificate,
    checkpoint,
    checkpoint_vote,
    codec_fault,
    commit,
    digest,
    operator_vertex,
    refs,
    tip,
    validator_vertex,
    zeros,
)

from cherrydag.codec import (
    CodecFault,
    decode_certificate,
    decode_commit,
    decode_vertex,
    encode_certificate,
    encode_commit,
    encode_vertex,
)
from cherrydag.commit import CheckpointCertificate, CheckpointSignature, CommitVote
from cherrydag.params import (
    COMMIT_BYTES_MAX,
    COMMIT_VERTICES_MAX,
    COMMIT_VOTES_MAX,
    COMMITTEE_MAX,
    OPERATOR_PARENTS_MAX,
    RECORD_BYTES,
    TIPS_MAX,
    VERTEX_BODIES_BYTES_MAX,
    VERTEX_BYTES_MAX,
    VERTEX_TRANSACTIONS_MAX,
)
from cherrydag.refs import VertexRef

Decode = Callable[[Any], Any]

# Limits, at bound - 1, bound, bound + 1


def check_limit(
    limit: int, code: CodecFault, decode: Callable[[Any], Any], make: Callable[[int], bytes]
) -> None:
    for count in (limit - 1, limit):
        assert codec_fault(decode, make(count)) is None
    assert codec_fault(decode, make(limit + 1)) == code


def test_limit_of_ancestors() -> None:
    def make(count: int) -> bytes:
        ancestors = tuple(VertexRef(4, author, digest(author)) for author in range(count))
        return encode_vertex(validator_vertex(ancestors=ancestors))

    check_limit(COMMITTEE_MAX, CodecFault.ANCESTORS, decode_vertex, make)


def test_limit_of_tips() -> None:
    def make(count: int) -> bytes:
        return encode_vertex(validator_vertex(tips=tuple(tip(4, number) for number in range(count))))

    check_limit(TIPS_MAX, CodecFault.TIPS, decode_vertex, make)


def test_limit_of_commit_votes() -> None:
    def make(count: int) -> bytes:
        votes = tuple(CommitVote(index, digest(index)) for index in range(count))
        return encode_vertex(validator_vertex(commit_votes=votes))

    check_limit(COMMIT_VOTES_MAX, CodecFault.COMMIT_VOTES, decode_vertex, make)


def test_limit_of_checkpoint_votes() -> None:
    frame = bytearray(encode_vertex(validator_vertex(checkpoint=checkpoint_vote(0))))
    pack_into("<H", frame, 18, 2)
    assert codec_fault(decode_vertex, bytes(frame)) == CodecFault.CHECKPOINT_VOTES


def test_limit_of_parents() -> None:
    def make(count: int) -> bytes:
        return encode_vertex(operator_vertex(parents=tuple(tip(4, number) for number in range(count))))

    check_limit(OPERATOR_PARENTS_MAX, CodecFault.PARENTS, decode_vertex, make)


def test_limit_of_transactions() -> None:
    def make(count: int) -> bytes:
        return encode_vertex(operator_vertex(payload=zeros(count)))

    check_limit(VERTEX_TRANSACTIONS_MAX, CodecFault.TRANSACTIONS, decode_vertex, make)


def test_limit_of_bodies() -> None:
    def make(size: int) -> bytes:
        return encode_vertex(operator_vertex(payload=zeros(1, size)))

    check_limit(VERTEX_BODIES_BYTES_MAX, CodecFault.BODIES, decode_vertex, make)


def test_limit_of_a_vertex_frame() -> None:
    rest = VERTEX_BYTES_MAX - VERTEX_TRANSACTIONS_MAX * RECORD_BYTES - len(validator_vertex().header)

    def make(size: int) -> bytes:
        body = rest + size - VERTEX_BYTES_MAX
        return encode_vertex(validator_vertex(payload=zeros(VERTEX_TRANSACTIONS_MAX, body)))

    assert len(make(VERTEX_BYTES_MAX)) == VERTEX_BYTES_MAX
    check_limit(VERTEX_BYTES_MAX, CodecFault.FRAME_SIZE, decode_vertex, make)


def test_limit_of_a_commit() -> None:
    vertices = tuple(VertexRef(number, 0, digest("commit")) for number in range(COMMIT_VERTICES_MAX + 1))

    def make(count: int) -> bytes:
        return encode_commit(commit(vertices=vertices[:count]))

    check_limit(COMMIT_VERTICES_MAX, CodecFault.COMMIT_VERTICES, decode_commit, make)
    assert codec_fault(decode_commit, bytes(COMMIT_BYTES_MAX)) == CodecFault.TAG
    assert codec_fault(decode_commit, bytes(COMMIT_BYTES_MAX + 1)) == CodecFault.FRAME_SIZE
    assert 58 + COMMIT_VERTICES_MAX * 69 <= COMMIT_BYTES_MAX  # The longest commit fits.


def test_limit_of_signatures() -> None:
    def make(count: int) -> bytes:
        items = tuple(CheckpointSignature(author, bytes(64)) for author in range(count))
        return encode_certificate(CheckpointCertificate(checkpoint(), items))

    check_limit(COMMITTEE_MAX, CodecFault.FRAME_SIZE, decode_certificate, make)
    frame = bytearray(make(3))
    pack_into("<H", frame, 110, COMMITTEE_MAX + 1)
    assert codec_fault(decode_certificate, bytes(frame)) == CodecFault.SIGNATURES


# Forms that are not canonical


@pytest.mark.parametrize("indices", [(8, 8), (9, 8)])
def test_commit_votes_out_of_order_or_twice_are_refused(indices: tuple[int, int]) -> None:
    votes = tuple(CommitVote(index, digest(number)) for number, index in enumerate(indices))
    assert (
        codec_fault(decode_vertex, encode_vertex(validator_vertex(commit_votes=votes)))
        == CodecFault.COMMIT_VOTE_ORDER
    )


@pytest.mark.parametrize("authors", [[0, 0], [1, 0]])
def test_certificate_signatures_out_of_order_or_twice_are_refused(authors: list[int]) -> None:
    frame = encode_certificate(certificate(authors))
    assert codec_fault(decode_certificate, frame) == CodecFault.SIGNATURE_ORDER


def test_a_commit_that_lists_a_vertex_twice_is_refused() -> None:
    frame = encode_commit(commit(vertices=(tip(1), tip(1), *refs(4, "2"))))
    assert codec_fault(decode_commit, frame) == CodecFault.COMMIT_DUPLICATE


def test_a_commit_must_end_with_a_validator_s_vertex_and_not_be_empty() -> None:
    ends_with_tip = encode_commit(commit(vertices=(*refs(4, "2"), tip(1), *refs(4, "3"))))[:-39]
    frame = bytearray(ends_with_tip)
    pack_into("<I", frame, 54, 2)
    assert codec_fault(decode_commit, bytes(frame)) == CodecFault.COMMIT_LEADER
    pack_into("<I", frame, 54, 0)
    assert codec_fault(decode_commit, bytes(frame[:58])) == CodecFault.COMMIT_VERTICES


def test_bodies_that_the_records_do_not_state_are_refused() -> None:
    for stated, size in ((1, 2), (2, 1), (2**32 - 1, 1), (0, 1)):
        payload = zeros(1, size)
        payload.records["body_size"][0] = stated
        frame = encode_vertex(operator_vertex(payload=payload))
        assert codec_fault(decode_vertex, frame) == CodecFault.BODY_SIZES


def test_codes_are_stable() -> None:
    assert {member.value for member in CodecFault} == {
        "codec_" + member.name.lower() for member in CodecFault
    }
    assert len(CodecFault) == 20
