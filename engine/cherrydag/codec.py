"""Canonical, bounded decoding: any bytes become a value or a PeerFault with a CodecFault.

A value has one encoding: encode(decode(b)) == b. Every count is checked against its limit, and the frame's
size against the counts, before anything is allocated or looped over. Records and bodies stay views of the
frame, which must not change while the value lives. The rules that values must obey are verify's.
"""

from collections.abc import Callable
from enum import StrEnum
from itertools import pairwise
from struct import Struct
from typing import NoReturn, TypeAlias

from cherrydag.commit import (
    Checkpoint,
    CheckpointCertificate,
    CheckpointSignature,
    CheckpointVote,
    Commit,
    CommitVote,
)
from cherrydag.errors import PeerFault
from cherrydag.layout import (
    CERTIFICATE_COUNT,
    CHECKPOINT,
    CHECKPOINT_SIGNATURE,
    CHECKPOINT_VOTE,
    COMMIT_HEAD,
    COMMIT_VOTE,
    OPERATOR_HEAD,
    OPERATOR_REF,
    TAGGED_OPERATOR_REF,
    TAGGED_VERTEX_REF,
    VALIDATOR_HEAD,
    VERSION,
    VERTEX_REF,
    FrameTag,
    RefTag,
)
from cherrydag.params import (
    COMMIT_BYTES_MAX,
    COMMIT_VERTICES_MAX,
    COMMIT_VOTES_MAX,
    COMMITTEE_MAX,
    OPERATOR_PARENTS_MAX,
    RECORD_BYTES,
    SIGNATURE_BYTES,
    TIPS_MAX,
    VERTEX_BODIES_BYTES_MAX,
    VERTEX_BYTES_MAX,
    VERTEX_TRANSACTIONS_MAX,
)
from cherrydag.payload import EMPTY_PAYLOAD, Payload, body_offsets
from cherrydag.primitives import Digest
from cherrydag.refs import AnyRef, OperatorRef, VertexRef
from cherrydag.transaction import as_records
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex

Frame: TypeAlias = bytes | bytearray | memoryview
"""One whole frame, nothing before or after it; a memoryview must be contiguous bytes."""


_REF_KINDS: dict[int, tuple[int, Callable[..., tuple[object, ...]], Callable[..., AnyRef]]] = {
    RefTag.VALIDATOR: (TAGGED_VERTEX_REF.size, Struct("<xIH32s").unpack_from, VertexRef._make),
    RefTag.OPERATOR: (TAGGED_OPERATOR_REF.size, Struct("<xI32s32s").unpack_from, OperatorRef._make),
}
"""Size, fields behind the tag, and value of each kind of tagged reference."""


class CodecFault(StrEnum):
    """Why bytes are no value; stable codes."""

    FRAME_SIZE = "codec_frame_size"
    """The frame is larger than one of its kind may be."""
    TRUNCATED = "codec_truncated"
    """The frame ends before what its head announces."""
    TRAILING = "codec_trailing"
    """The frame goes on after what its head announces."""
    TAG = "codec_tag"
    """The first byte is not the tag of what was expected."""
    VERSION = "codec_version"
    """The version is not known."""
    ANCESTORS = "codec_ancestors"
    """More ancestors than a committee has members."""
    TIPS = "codec_tips"
    """Too many tips."""
    COMMIT_VOTES = "codec_commit_votes"
    """Too many commit votes."""
    COMMIT_VOTE_ORDER = "codec_commit_vote_order"
    """Commit votes are not in strictly ascending order of index."""
    CHECKPOINT_VOTES = "codec_checkpoint_votes"
    """More than one checkpoint vote."""
    PARENTS = "codec_parents"
    """Too many parents of an operator vertex."""
    TRANSACTIONS = "codec_transactions"
    """Too many transactions."""
    BODIES = "codec_bodies"
    """Too many bytes of bodies."""
    BODY_SIZES = "codec_body_sizes"
    """The bodies are not as long as the records say."""
    REF_TAG = "codec_ref_tag"
    """A reference is of no known kind."""
    COMMIT_VERTICES = "codec_commit_vertices"
    """A commit of no vertex, or of too many."""
    COMMIT_DUPLICATE = "codec_commit_duplicate"
    """A commit lists a vertex twice."""
    COMMIT_LEADER = "codec_commit_leader"
    """The last vertex of a commit is not a validator's."""
    SIGNATURES = "codec_signatures"
    """A certificate has more signatures than a committee has members."""
    SIGNATURE_ORDER = "codec_signature_order"
    """The authors of a certificate's signatures are not strictly ascending."""


# Vertices


def encode_vertex(vertex: Vertex) -> bytes:
    """The frame of a vertex. `vertex_parts` gives the same bytes without copying the payload."""
    return b"".join(vertex_parts(vertex))


def vertex_parts(vertex: Vertex) -> tuple[bytes, memoryview, memoryview]:
    """Header, records and bodies of a vertex: its frame, for one gathering write."""
    return vertex.header, vertex.payload.octets, memoryview(vertex.payload.bodies)


def decode_vertex(frame: Frame) -> Vertex:
    """A vertex of either kind, by the frame's tag. Raises PeerFault with a CodecFault."""
    if len(frame) and frame[0] == FrameTag.OPERATOR_VERTEX:
        return decode_operator_vertex(frame)
    return decode_validator_vertex(frame)


def decode_validator_vertex(frame: Frame) -> ValidatorVertex:
    """The validator vertex that the frame spells. Raises PeerFault with a CodecFault."""
    view = _bounded(frame, VERTEX_BYTES_MAX, VALIDATOR_HEAD.size, FrameTag.VALIDATOR_VERTEX)
    (
        _,
        _,
        author,
        epoch,
        round_,
        ancestors,
        tips,
        votes,
        checkpoints,
        timestamp_ms,
        root,
        transactions,
        bodies_size,
    ) = VALIDATOR_HEAD.unpack_from(view)
    _limit(CodecFault.ANCESTORS, "ancestors", ancestors, COMMITTEE_MAX)
    _limit(CodecFault.TIPS, "tips", tips, TIPS_MAX)
    _limit(CodecFault.COMMIT_VOTES, "commit_votes", votes, COMMIT_VOTES_MAX)
    _limit(CodecFault.CHECKPOINT_VOTES, "checkpoint votes", checkpoints, 1)
    payload_size = _payload_size(transactions, bodies_size)
    tips_at = VALIDATOR_HEAD.size + ancestors * VERTEX_REF.size
    votes_at = tips_at + tips * OPERATOR_REF.size
    checkpoint_at = votes_at + votes * COMMIT_VOTE.size
    signature_at = checkpoint_at + checkpoints * CHECKPOINT_VOTE.size
    payload_at = signature_at + SIGNATURE_BYTES
    _exact(view, payload_at + payload_size)

    commit_votes = tuple(map(CommitVote._make, COMMIT_VOTE.iter_unpack(view[votes_at:checkpoint_at])))
    _ascending(CodecFault.COMMIT_VOTE_ORDER, "commit_votes", [vote.commit_index for vote in commit_votes])
    return ValidatorVertex(
        epoch=epoch,
        round=round_,
        author=author,
        timestamp_ms=timestamp_ms,
        ancestors=tuple(map(VertexRef._make, VERTEX_REF.iter_unpack(view[VALIDATOR_HEAD.size : tips_at]))),
        tips=tuple(map(OperatorRef._make, OPERATOR_REF.iter_unpack(view[tips_at:votes_at]))),
        commit_votes=commit_votes,
        checkpoint=(
            CheckpointVote._make(CHECKPOINT_VOTE.unpack_from(view, checkpoint_at)) if checkpoints else None
        ),
        payload=_payload(view[payload_at:], Digest(root), transactions, bodies_size),
        signature=bytes(view[signature_at:payload_at]),
    )


def decode_operator_vertex(frame: Frame) -> OperatorVertex:
    """The operator vertex that the frame spells. Raises PeerFault with a CodecFault."""
    view = _bounded(frame, VERTEX_BYTES_MAX, OPERATOR_HEAD.size, FrameTag.OPERATOR_VERTEX)
    (_, _, parents, epoch, anchor_round, timestamp_ms, seq, issuer, root, transactions, bodies_size) = (
        OPERATOR_HEAD.unpack_from(view)
    )
    _limit(CodecFault.PARENTS, "parents", parents, OPERATOR_PARENTS_MAX)
    payload_size = _payload_size(transactions, bodies_size)
    refs, signature_at = _refs(view, OPERATOR_HEAD.size, parents)
    payload_at = signature_at + SIGNATURE_BYTES
    _exact(view, payload_at + payload_size)
    return OperatorVertex(
        epoch=epoch,
        issuer=issuer,
        seq=seq,
        anchor_round=anchor_round,
        timestamp_ms=timestamp_ms,
        parents=refs,
        payload=_payload(view[payload_at:], Digest(root), transactions, bodies_size),
        signature=bytes(view[signature_at:payload_at]),
    )


# Commits and checkpoints


def encode_commit(commit: Commit) -> bytes:
    """The frame of a commit."""
    return commit.encoding


def decode_commit(frame: Frame) -> Commit:
    """The commit that the frame spells. Raises PeerFault with a CodecFault."""
    view = _bounded(frame, COMMIT_BYTES_MAX, COMMIT_HEAD.size, FrameTag.COMMIT)
    _, _, epoch, index, timestamp_ms, prev_digest, count = COMMIT_HEAD.unpack_from(view)
    _limit(CodecFault.COMMIT_VERTICES, "vertices", count, COMMIT_VERTICES_MAX)
    if not count:
        _refuse(CodecFault.COMMIT_VERTICES, "vertices: a commit has at least 1")
    vertices, end = _refs(view, COMMIT_HEAD.size, count)
    _exact(view, end)
    if len(set(vertices)) != count:
        _refuse(CodecFault.COMMIT_DUPLICATE, "vertices: one is listed twice")
    if not isinstance(vertices[-1], VertexRef):
        _refuse(CodecFault.COMMIT_LEADER, "vertices: the last one is not a validator's")
    return Commit(
        epoch=epoch, index=index, prev_digest=prev_digest, timestamp_ms=timestamp_ms, vertices=vertices
    )


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """The frame of a checkpoint."""
    return checkpoint.encoding


def decode_checkpoint(frame: Frame) -> Checkpoint:
    """The checkpoint that the frame spells. Raises PeerFault with a CodecFault."""
    view = _bounded(frame, CHECKPOINT.size, CHECKPOINT.size, FrameTag.CHECKPOINT)
    return Checkpoint(*CHECKPOINT.unpack(view)[2:])


def encode_certificate(certificate: CheckpointCertificate) -> bytes:
    """The frame of a checkpoint certificate: the checkpoint's under another tag, then the signatures."""
    pack = CHECKPOINT_SIGNATURE.pack
    return b"".join(
        [
            bytes([FrameTag.CHECKPOINT_CERTIFICATE]),
            certificate.checkpoint.encoding[1:],
            CERTIFICATE_COUNT.pack(len(certificate.signatures)),
            *[pack(*item) for item in certificate.signatures],
        ]
    )


def decode_certificate(frame: Frame) -> CheckpointCertificate:
    """The checkpoint certificate that the frame spells. Raises PeerFault with a CodecFault."""
    signatures_at = CHECKPOINT.size + CERTIFICATE_COUNT.size
    size_max = signatures_at + COMMITTEE_MAX * CHECKPOINT_SIGNATURE.size
    view = _bounded(frame, size_max, signatures_at, FrameTag.CHECKPOINT_CERTIFICATE)
    (count,) = CERTIFICATE_COUNT.unpack_from(view, CHECKPOINT.size)
    _limit(CodecFault.SIGNATURES, "signatures", count, COMMITTEE_MAX)
    _exact(view, signatures_at + count * CHECKPOINT_SIGNATURE.size)
    signatures = tuple(map(CheckpointSignature._make, CHECKPOINT_SIGNATURE.iter_unpack(view[signatures_at:])))
    _ascending(CodecFault.SIGNATURE_ORDER, "signatures", [item.author for item in signatures])
    return CheckpointCertificate(Checkpoint(*CHECKPOINT.unpack_from(view)[2:]), signatures)


# Parts


def _bounded(frame: Frame, size_max: int, size_min: int, tag: FrameTag) -> memoryview:
    """The frame as bytes, once its size, tag and version are right."""
    view = memoryview(frame).cast("B")
    if len(view) > size_max:
        _refuse(CodecFault.FRAME_SIZE, f"frame: {len(view)} bytes, at most {size_max} are allowed")
    if len(view) < size_min:
        _refuse(CodecFault.TRUNCATED, f"frame: {len(view)} bytes, the head alone has {size_min}")
    if view[0] != tag:
        _refuse(CodecFault.TAG, f"tag: expected {tag:d}, {tag.name}, got {view[0]}")
    if view[1] != VERSION:
        _refuse(CodecFault.VERSION, f"version: expected {VERSION}, got {view[1]}")
    return view


def _limit(fault: CodecFault, field: str, count: int, limit: int) -> None:
    if count > limit:
        _refuse(fault, f"{field}: {count}, at most {limit} are allowed")


def _exact(view: memoryview, size: int) -> None:
    if len(view) != size:
        fault = CodecFault.TRUNCATED if len(view) < size else CodecFault.TRAILING
        _refuse(fault, f"frame: the head announces {size} bytes, got {len(view)}")


def _ascending(fault: CodecFault, field: str, keys: list[int]) -> None:
    if any(a >= b for a, b in pairwise(keys)):
        _refuse(fault, f"{field}: not in strictly ascending order")


def _refs(view: memoryview, at: int, count: int) -> tuple[tuple[AnyRef, ...], int]:
    """`count` tagged references from offset `at`, and the offset behind them."""
    if count * TAGGED_VERTEX_REF.size > len(view) - at:
        _refuse(CodecFault.TRUNCATED, f"references: {count} do not fit into {len(view) - at} bytes")
    size = len(view)
    refs: list[AnyRef] = []
    for _ in range(count):
        kind = _REF_KINDS.get(view[at]) if at < size else None
        if kind is None:
            fault = CodecFault.REF_TAG if at < size else CodecFault.TRUNCATED
            _refuse(fault, f"reference {len(refs)}: expected a reference of a known kind at byte {at}")
        width, unpack, make = kind
        if at + width > size:
            _refuse(CodecFault.TRUNCATED, f"reference {len(refs)}: the frame ends within it")
        refs.append(make(unpack(view, at)))
        at += width
    return tuple(refs), at


def _payload_size(transactions: int, bodies_size: int) -> int:
    _limit(CodecFault.TRANSACTIONS, "transactions", transactions, VERTEX_TRANSACTIONS_MAX)
    _limit(CodecFault.BODIES, "bytes of bodies", bodies_size, VERTEX_BODIES_BYTES_MAX)
    return transactions * RECORD_BYTES + bodies_size


def _payload(view: memoryview, root: Digest, transactions: int, bodies_size: int) -> Payload:
    """The payload in `view`, whose size is known to be right."""
    if not transactions and not bodies_size and root == EMPTY_PAYLOAD.root:
        return EMPTY_PAYLOAD
    records = as_records(view[: transactions * RECORD_BYTES])
    stated = int(records["body_size"].sum(dtype="u8"))
    if stated != bodies_size:
        _refuse(CodecFault.BODY_SIZES, f"bodies: the records state {stated} bytes, got {bodies_size}")
    bodies = view[transactions * RECORD_BYTES :]
    return Payload(records, bodies, body_offsets(records, bodies_size), root)


def _refuse(fault: CodecFault, message: str) -> NoReturn:
    raise PeerFault(fault, message)
