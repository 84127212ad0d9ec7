"""Vertices of the DAG: validators' (they vote) and operators' (they carry transactions).

A vertex makes its header when it is made, since its digest covers it: the header is every field but the
payload's bytes, for which its root stands, and ends with the signature. Bytes: cherrydag.layout.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from cherrydag import crypto
from cherrydag.chain import Chain
from cherrydag.commit import CheckpointVote, CommitVote
from cherrydag.committee import Committee
from cherrydag.errors import ShapeError
from cherrydag.layout import CHECKPOINT_VOTE, COMMIT_VOTE, OPERATOR_HEAD, VALIDATOR_HEAD, VERSION, FrameTag
from cherrydag.params import SIGNATURE_BYTES
from cherrydag.payload import EMPTY_PAYLOAD, Payload
from cherrydag.primitives import Digest, Epoch, PublicKey, Round, TimestampMs, ValidatorIndex
from cherrydag.refs import (
    AnyRef,
    OperatorRef,
    VertexRef,
    check_widths,
    pack_operator_refs,
    pack_refs,
    pack_vertex_refs,
)

VERTEX_KEY: Final = crypto.derive_key("cherrydag 2026-11-22 vertex v1", b"")
"""Hashing key of vertex digests, of either kind: the header's first byte tells them apart."""

UNSIGNED: Final = bytes(SIGNATURE_BYTES)
"""Stands for the signature of a vertex that is about to be signed."""


@dataclass(frozen=True, slots=True)
class ValidatorVertex:
    """A validator's one vertex of a round.

    ancestors: validator vertices, its own last one first. tips: operator vertices that it brings in.
    commit_votes: by ascending index. checkpoint: its signature of a checkpoint, if one is due. signature: of
    signing_digest. header, digest and ref (by which others name it) follow from the other fields.
    Raises ShapeError if a field does not fit its place in the header: our bug. The rules are verify's.
    """

    epoch: Epoch
    round: Round
    author: ValidatorIndex
    timestamp_ms: TimestampMs
    ancestors: tuple[VertexRef, ...]
    tips: tuple[OperatorRef, ...] = ()
    commit_votes: tuple[CommitVote, ...] = ()
    checkpoint: CheckpointVote | None = None
    payload: Payload = EMPTY_PAYLOAD
    signature: bytes = UNSIGNED
    header: bytes = field(init=False, repr=False, compare=False)
    digest: Digest = field(init=False, repr=False, compare=False)
    ref: VertexRef = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_widths("payload.root", [self.payload.root])
        check_widths("signature", [self.signature], SIGNATURE_BYTES)
        check_widths("commit_votes", [vote.digest for vote in self.commit_votes])
        if self.checkpoint is not None:
            check_widths("checkpoint", self.checkpoint[1:3])
            check_widths("checkpoint.signature", self.checkpoint[3:], SIGNATURE_BYTES)
        digest = _seal(self, self._pack)
        object.__setattr__(self, "ref", VertexRef(self.round, self.author, digest))

    def signing_digest(self, chain: Chain) -> Digest:
        """The 32 bytes that the author signs: the header up to the signature, under the chain's key."""
        return Digest(crypto.hash_bytes(memoryview(self.header)[:-SIGNATURE_BYTES], chain.validator_key))

    def _pack(self) -> bytes:
        vote, checkpoint = COMMIT_VOTE.pack, self.checkpoint
        head = VALIDATOR_HEAD.pack(
            FrameTag.VALIDATOR_VERTEX,
            VERSION,
            self.author,
            self.epoch,
            self.round,
            len(self.ancestors),
            len(self.tips),
            len(self.commit_votes),
            0 if checkpoint is None else 1,
            self.timestamp_ms,
            self.payload.root,
            len(self.payload),
            len(self.payload.bodies),
        )
        return b"".join(
            [
                head,
                pack_vertex_refs(self.ancestors),
                pack_operator_refs(self.tips),
                b"".join([vote(*item) for item in self.commit_votes]),
                b"" if checkpoint is None else CHECKPOINT_VOTE.pack(*checkpoint),
                self.signature,
            ]
        )


@dataclass(frozen=True, slots=True)
class OperatorVertex:
    """A vertex of a node that carries transactions and never votes.

    issuer: its 32-byte public key. seq: number of this vertex among the issuer's, from 0. anchor_round: the
    highest round among `parents`, of which the first is the issuer's own previous vertex once there is one.
    Other fields as in ValidatorVertex. Raises ShapeError if a field does not fit its place: our bug.
    """

    epoch: Epoch
    issuer: PublicKey
    seq: int
    anchor_round: Round
    timestamp_ms: TimestampMs
    parents: tuple[AnyRef, ...]
    payload: Payload = EMPTY_PAYLOAD
    signature: bytes = UNSIGNED
    header: bytes = field(init=False, repr=False, compare=False)
    digest: Digest = field(init=False, repr=False, compare=False)
    ref: OperatorRef = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_widths("issuer", [self.issuer])
        check_widths("payload.root", [self.payload.root])
        check_widths("signature", [self.signature], SIGNATURE_BYTES)
        digest = _seal(self, self._pack)
        object.__setattr__(self, "ref", OperatorRef(self.anchor_round, self.issuer, digest))

    def signing_digest(self, chain: Chain) -> Digest:
        """The 32 bytes that the issuer signs: the header up to the signature, under the chain's key."""
        return Digest(crypto.hash_bytes(memoryview(self.header)[:-SIGNATURE_BYTES], chain.operator_key))

    def _pack(self) -> bytes:
        head = OPERATOR_HEAD.pack(
            FrameTag.OPERATOR_VERTEX,
            VERSION,
            len(self.parents),
            self.epoch,
            self.anchor_round,
            self.timestamp_ms,
            self.seq,
            self.issuer,
            self.payload.root,
            len(self.payload),
            len(self.payload.bodies),
        )
        return b"".join([head, pack_refs(self.parents), self.signature])


Vertex: TypeAlias = ValidatorVertex | OperatorVertex


def genesis_vertices(committee: Committee, origin: Digest) -> tuple[ValidatorVertex, ...]:
    """The vertices of round 0, one for each validator: never signed, sent or accepted from the network.

    origin: the digest of the chain's genesis, or of the last commit of the epoch before. Where a signature
    would stand they hold the committee's digest and the origin, so another committee or chain has others.
    """
    check_widths("origin", [origin])
    return tuple(
        ValidatorVertex(
            epoch=committee.epoch,
            round=Round(0),
            author=ValidatorIndex(author),
            timestamp_ms=TimestampMs(0),
            ancestors=(),
            signature=committee.digest + origin,
        )
        for author in range(len(committee))
    )


def _seal(vertex: Vertex, pack: Callable[[], bytes]) -> Digest:
    """Set header and digest; the digest."""
    try:
        header = pack()
    except struct.error as error:
        raise ShapeError(f"vertex: a field is out of range: {error}") from error
    object.__setattr__(vertex, "header", header)
    digest = Digest(crypto.hash_bytes(header, VERTEX_KEY))
    object.__setattr__(vertex, "digest", digest)
    return digest
