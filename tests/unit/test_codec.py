"""Bytes of vertices, commits and checkpoints: canonical, bounded, total."""

from collections.abc import Callable
from dataclasses import replace
from struct import pack_into
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vertices import (
    CHAIN,
    certificate,
    checkpoint,
    checkpoint_vote,
    codec_fault,
    commit,
    digest,
    operator_vertex,
    transfers,
    validator_vertex,
    with_bodies,
)

from cherrydag import layout
from cherrydag.codec import (
    CodecFault,
    decode_certificate,
    decode_checkpoint,
    decode_commit,
    decode_operator_vertex,
    decode_validator_vertex,
    decode_vertex,
    encode_certificate,
    encode_checkpoint,
    encode_commit,
    encode_vertex,
    vertex_parts,
)
from cherrydag.commit import Checkpoint, CheckpointCertificate, CheckpointSignature, CommitVote
from cherrydag.payload import EMPTY_PAYLOAD, EMPTY_ROOT, Payload, body_offsets, build_payload
from cherrydag.refs import OperatorRef, VertexRef
from cherrydag.transaction import as_records
from cherrydag.vertex import OperatorVertex, ValidatorVertex

Coder = tuple[Callable[[Any], Any], Callable[[Any], bytes]]
VALIDATOR: Coder = (decode_validator_vertex, encode_vertex)
OPERATOR: Coder = (decode_operator_vertex, encode_vertex)
COMMIT: Coder = (decode_commit, encode_commit)
CHECKPOINT: Coder = (decode_checkpoint, encode_checkpoint)
CERTIFICATE: Coder = (decode_certificate, encode_certificate)
CODERS = [VALIDATOR, OPERATOR, COMMIT, CHECKPOINT, CERTIFICATE, (decode_vertex, encode_vertex)]

PAYLOAD = build_payload(transfers(2), CHAIN)
FRAMES: dict[str, tuple[Coder, bytes]] = {
    "validator": (
        VALIDATOR,
        encode_vertex(
            validator_vertex(checkpoint=checkpoint_vote(0), payload=build_payload(transfers(2), CHAIN))
        ),
    ),
    "operator": (OPERATOR, encode_vertex(operator_vertex(payload=with_bodies([3, 0, 5])))),
    "commit": (COMMIT, encode_commit(commit())),
    "checkpoint": (CHECKPOINT, encode_checkpoint(checkpoint())),
    "certificate": (CERTIFICATE, encode_certificate(certificate([0, 1, 3]))),
}
kinds = pytest.mark.parametrize("kind", FRAMES)


def refused_or_same(coder: Coder, frame: bytes) -> bool:
    """Whether the frame is refused; if it is not, its value must encode to the same bytes."""
    decode, encode = coder
    if codec_fault(decode, frame) is not None:
        return True
    assert encode(decode(frame)) == frame
    return False


# Layout


def test_sizes_of_parts() -> None:
    parts = ("VALIDATOR_HEAD", "OPERATOR_HEAD", "COMMIT_HEAD", "CHECKPOINT", "VERTEX_REF", "OPERATOR_REF")
    assert [getattr(layout, name).size for name in parts] == [68, 100, 58, 110, 38, 68]
    parts = ("COMMIT_VOTE", "CHECKPOINT_VOTE", "CHECKPOINT_SIGNATURE")
    assert [getattr(layout, name).size for name in parts] == [40, 136, 66]
    assert (layout.TAGGED_VERTEX_REF.size, layout.TAGGED_OPERATOR_REF.size) == (39, 69)


def test_every_byte_of_a_validator_vertex_is_where_the_table_says() -> None:
    vote, signature = checkpoint_vote(0), bytes(range(64))
    vertex = ValidatorVertex(
        0x01020304, 0x05060708, 0x090A, 0x0B0C0D0E0F101112,
        (VertexRef(1, 2, digest("a")),), (OperatorRef(3, digest("key"), digest("t")),),
        (CommitVote(4, digest("c")),), vote, EMPTY_PAYLOAD, signature,
    )  # fmt: skip
    assert encode_vertex(vertex) == (
        bytes([1, 1, 0x0A, 9, 4, 3, 2, 1, 8, 7, 6, 5, 1, 0, 1, 0, 1, 0, 1, 0])
        + bytes([0x12, 0x11, 0x10, 0x0F, 0x0E, 0x0D, 0x0C, 0x0B]) + EMPTY_ROOT + bytes(8)
        + bytes([1, 0, 0, 0, 2, 0]) + digest("a") + bytes([3, 0, 0, 0]) + digest("key") + digest("t")
        + bytes([4, 0, 0, 0, 0, 0, 0, 0]) + digest("c")
        + vote.commit_index.to_bytes(8, "little") + vote.commit_digest + vote.state_root + vote.signature
        + signature
    )  # fmt: skip


def test_every_byte_of_an_operator_vertex_is_where_the_table_says() -> None:
    payload, signature = with_bodies([2, 1]), bytes(range(64))
    parents = (OperatorRef(3, digest("key"), digest("t")), VertexRef(1, 2, digest("a")))
    vertex = OperatorVertex(1, digest("key"), 0x0102030405060708, 3, 4, parents, payload, signature)
    assert encode_vertex(vertex) == (
        bytes([2, 1, 2, 0, 1, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1])
        + digest("key") + payload.root + bytes([2, 0, 0, 0, 3, 0, 0, 0])
        + bytes([2, 3, 0, 0, 0]) + digest("key") + digest("t") + bytes([1, 1, 0, 0, 0, 2, 0]) + digest("a")
        + signature + payload.records.tobytes() + bytes([0, 1, 2])
    )  # fmt: skip


def test_payload_is_a_view_of_the_frame() -> None:
    frame = FRAMES["operator"][1]
    vertex = decode_operator_vertex(frame)
    assert np.shares_memory(vertex.payload.records, np.frombuffer(frame, np.uint8))
    assert not vertex.payload.records.flags.writeable
    assert [bytes(vertex.payload.body(row)) for row in range(3)] == [
        b"\x00\x01\x02",
        b"",
        b"\x03\x04\x05\x06\x07",
    ]
    assert b"".join(vertex_parts(vertex)) == frame


def test_any_buffer_of_bytes_is_a_frame() -> None:
    for coder, frame in FRAMES.values():
        for given_as in (frame, bytearray(frame), memoryview(b"x" + frame)[1:]):
            assert coder[1](coder[0](given_as)) == frame


def test_an_empty_payload_is_shared_but_a_wrong_claim_of_its_root_survives() -> None:
    assert decode_vertex(encode_vertex(validator_vertex())).payload is EMPTY_PAYLOAD
    claim = replace(EMPTY_PAYLOAD, root=digest("no root"))
    assert decode_vertex(encode_vertex(validator_vertex(payload=claim))).payload.root == digest("no root")


def test_decode_vertex_goes_by_the_tag() -> None:
    assert isinstance(decode_vertex(FRAMES["validator"][1]), ValidatorVertex)
    assert isinstance(decode_vertex(FRAMES["operator"][1]), OperatorVertex)


# Round trips and mutations


@kinds
def test_a_frame_cut_anywhere_is_refused(kind: str) -> None:
    (decode, _), frame = FRAMES[kind]
    codes = {codec_fault(decode, frame[:size]) for size in range(len(frame))}
    assert None not in codes
    assert CodecFault.TRUNCATED in codes


@kinds
def test_a_frame_with_more_bytes_behind_it_is_refused(kind: str) -> None:
    (decode, _), frame = FRAMES[kind]
    for extra in (b"\x00", frame[-1:], frame):
        assert codec_fault(decode, frame + extra) in {CodecFault.TRAILING, CodecFault.FRAME_SIZE}


@kinds
def test_every_flipped_byte_is_refused_or_another_canonical_frame(kind: str) -> None:
    coder, frame = FRAMES[kind]
    refused = 0
    for at in range(len(frame)):
        for bits in (1, 2, 128, 255):
            mutated = bytearray(frame)
            mutated[at] ^= bits
            refused += refused_or_same(coder, bytes(mutated))
    assert 0 < refused < 4 * len(frame)


@kinds
def test_tag_and_version_of_another_format_are_refused(kind: str) -> None:
    (decode, _), frame = FRAMES[kind]
    for value in range(256):
        if value != frame[0]:
            assert codec_fault(decode, bytes([value]) + frame[1:]) == CodecFault.TAG
        if value != layout.VERSION:
            assert codec_fault(decode, frame[:1] + bytes([value]) + frame[2:]) == CodecFault.VERSION


@given(st.binary(max_size=400), st.sampled_from(CODERS), st.booleans())
@settings(max_examples=400)
def test_random_bytes_are_refused_or_canonical(data: bytes, coder: Coder, tagged: bool) -> None:
    for tag in range(1, 6) if tagged else [None]:
        refused_or_same(coder, data if tag is None else bytes([tag, layout.VERSION]) + data)


@given(st.data(), st.sampled_from(list(FRAMES)))
@settings(max_examples=400)
def test_frames_with_random_edits_are_refused_or_canonical(data: st.DataObject, kind: str) -> None:
    coder, frame = FRAMES[kind]
    start = data.draw(st.integers(0, len(frame)))
    stop = data.draw(st.integers(start, min(len(frame), start + 16)))
    refused_or_same(coder, frame[:start] + data.draw(st.binary(max_size=16)) + frame[stop:])


u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
digests = st.binary(min_size=32, max_size=32)
signatures = st.binary(min_size=64, max_size=64)
vertex_refs = st.builds(VertexRef, u32, u16, digests)
operator_refs = st.builds(OperatorRef, u32, digests, digests)
any_refs = vertex_refs | operator_refs


@st.composite
def payloads(draw: st.DrawFn) -> Payload:
    sizes = draw(st.lists(st.integers(0, 5), max_size=4))
    octets = np.frombuffer(draw(st.binary(min_size=176, max_size=176)) * len(sizes), np.uint8)
    records = as_records(octets.copy())
    records["body_size"] = sizes
    bodies = draw(st.binary(min_size=sum(sizes), max_size=sum(sizes)))
    return Payload(records, bodies, body_offsets(records, len(bodies)), draw(digests))


def ascending(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=5, unique_by=lambda item: item[0]).map(lambda found: tuple(sorted(found)))


def tuples(items: st.SearchStrategy[Any], **sizes: int) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, **sizes).map(tuple)


commit_votes = ascending(st.tuples(u64, digests)).map(
    lambda votes: tuple(CommitVote(*vote) for vote in votes)
)
checkpoints = st.builds(Checkpoint, digests, u32, u64, digests, digests)


@given(
    st.builds(
        ValidatorVertex, u32, u32, u16, u64, tuples(vertex_refs, max_size=6),
        tuples(operator_refs, max_size=4), commit_votes, st.none() | st.just(checkpoint_vote(0)),
        payloads(), signatures,
    )
)  # fmt: skip
def test_random_validator_vertices_round_trip(vertex: ValidatorVertex) -> None:
    decoded = decode_validator_vertex(encode_vertex(vertex))
    assert decoded == vertex
    assert (decoded.digest, decoded.header) == (vertex.digest, vertex.header)


@given(
    st.builds(
        OperatorVertex, u32, digests, u64, u32, u64, tuples(any_refs, max_size=8), payloads(), signatures
    )
)
def test_random_operator_vertices_round_trip(vertex: OperatorVertex) -> None:
    decoded = decode_operator_vertex(encode_vertex(vertex))
    assert decoded == vertex
    assert (decoded.digest, decoded.header) == (vertex.digest, vertex.header)


@given(tuples(any_refs, max_size=8, unique=True), vertex_refs, u32, u64, digests, u64)
def test_random_commits_round_trip(
    vertices: tuple[Any, ...], leader: VertexRef, epoch: int, index: int, prev: bytes, time: int
) -> None:
    others = tuple(ref for ref in vertices if ref != leader)
    value = commit(epoch=epoch, index=index, prev_digest=prev, timestamp_ms=time, vertices=(*others, leader))
    decoded = decode_commit(encode_commit(value))
    assert decoded == value
    assert (decoded.digest, decoded.leader) == (value.digest, leader)


@given(checkpoints, ascending(st.tuples(u16, signatures)))
def test_random_checkpoints_and_certificates_round_trip(value: Checkpoint, items: tuple[Any, ...]) -> None:
    assert decode_checkpoint(encode_checkpoint(value)) == value
    signed = CheckpointCertificate(value, tuple(CheckpointSignature(*item) for item in items))
    assert decode_certificate(encode_certificate(signed)) == signed


@pytest.mark.parametrize(
    ("kind", "at", "layout_of_count"),
    [("validator", 12, "<H"), ("validator", 14, "<H"), ("validator", 16, "<H"), ("validator", 18, "<H"),
     ("validator", 60, "<I"), ("validator", 64, "<I"), ("operator", 2, "<H"), ("operator", 92, "<I"),
     ("operator", 96, "<I"), ("commit", 54, "<I"), ("certificate", 110, "<H")],
)  # fmt: skip
def test_no_count_is_believed(kind: str, at: int, layout_of_count: str) -> None:
    """Every count, one off and at its field's largest value, is refused by limit or by the frame's size."""
    (decode, _), frame = FRAMES[kind]
    width = 2 if layout_of_count == "<H" else 4
    stated = int.from_bytes(frame[at : at + width], "little")
    for count in ([stated - 1] if stated else []) + [stated + 1, 2 ** (8 * width) - 1]:
        lying = bytearray(frame)
        pack_into(layout_of_count, lying, at, count)
        assert codec_fault(decode, bytes(lying)) is not None


def test_a_reference_of_unknown_kind_is_refused() -> None:
    frame = bytearray(FRAMES["operator"][1])
    for tag in (0, 3, 255):
        frame[100] = tag
        assert codec_fault(decode_operator_vertex, bytes(frame)) == CodecFault.REF_TAG
