"""Commits, the hash-chained main chain, and the checkpoints that a quorum signs (consensus, 6)."""

import struct
from dataclasses import dataclass, field
from typing import Final, NamedTuple, cast

from cherrydag import crypto
from cherrydag.chain import Chain
from cherrydag.errors import ShapeError
from cherrydag.layout import CHECKPOINT, COMMIT_HEAD, VERSION, FrameTag
from cherrydag.primitives import Digest, Epoch, TimestampMs, ValidatorIndex
from cherrydag.refs import AnyRef, VertexRef, check_widths, pack_refs

COMMIT_KEY: Final = crypto.derive_key("cherrydag 2026-11-22 commit v1", b"")
"""Hashing key of commit digests."""


class CommitVote(NamedTuple):
    """A validator says in its vertex that the commit of this index has this digest."""

    commit_index: int
    digest: Digest


class CheckpointVote(NamedTuple):
    """A validator's signature of a checkpoint, as it rides in its vertex.

    Chain, epoch and signer are the vertex's, so they are not repeated.
    """

    commit_index: int
    commit_digest: Digest
    state_root: Digest
    signature: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """One link of the main chain: the vertices that a committed leader orders, parents first.

    index: from 1, u64. prev_digest: the commit before, or the epoch's origin. vertices: not empty and
    distinct; the last one is the leader, a validator's, since all others are its ancestors. encoding and
    digest (keyed BLAKE3 of it) follow from the other fields. Raises ShapeError if one does not fit its field.
    """

    epoch: Epoch
    index: int
    prev_digest: Digest
    timestamp_ms: TimestampMs
    vertices: tuple[AnyRef, ...]
    encoding: bytes = field(init=False, repr=False, compare=False)
    digest: Digest = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.vertices or not isinstance(self.vertices[-1], VertexRef):
            raise ShapeError("vertices: expected a validator vertex, the leader, at the end")
        check_widths("prev_digest", [self.prev_digest])
        try:
            head = COMMIT_HEAD.pack(
                FrameTag.COMMIT,
                VERSION,
                self.epoch,
                self.index,
                self.timestamp_ms,
                self.prev_digest,
                len(self.vertices),
            )
            encoding = head + pack_refs(self.vertices)
        except struct.error as error:
            raise ShapeError(f"commit: a field is out of range: {error}") from error
        object.__setattr__(self, "encoding", encoding)
        object.__setattr__(self, "digest", crypto.hash_bytes(encoding, COMMIT_KEY))

    @property
    def leader(self) -> VertexRef:
        """The committed leader: the last vertex."""
        return cast(VertexRef, self.vertices[-1])


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after commit `index`: what a light client or a joining node trusts once a quorum signed it.

    chain: digest of the chain's genesis. epoch: of the committee that signs. encoding follows from the other
    fields. Raises ShapeError if one does not fit its field.
    """

    chain: Digest
    epoch: Epoch
    index: int
    commit_digest: Digest
    state_root: Digest
    encoding: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_widths("chain", [self.chain])
        check_widths("commit_digest", [self.commit_digest])
        check_widths("state_root", [self.state_root])
        try:
            encoding = CHECKPOINT.pack(
                FrameTag.CHECKPOINT,
                VERSION,
                self.chain,
                self.epoch,
                self.index,
                self.commit_digest,
                self.state_root,
            )
        except struct.error as error:
            raise ShapeError(f"checkpoint: a field is out of range: {error}") from error
        object.__setattr__(self, "encoding", encoding)

    def signing_digest(self, chain: Chain) -> Digest:
        """The 32 bytes that a validator signs. Raises ShapeError if the checkpoint is another chain's."""
        if chain.genesis_digest != self.chain:
            raise ShapeError("chain: the checkpoint is another chain's")
        return Digest(crypto.hash_bytes(self.encoding, chain.checkpoint_key))


class CheckpointSignature(NamedTuple):
    """A validator's 64-byte signature of a checkpoint."""

    author: ValidatorIndex
    signature: bytes


@dataclass(frozen=True, slots=True)
class CheckpointCertificate:
    """A checkpoint and signatures of it, authors strictly ascending; verify says if they are a quorum's."""

    checkpoint: Checkpoint
    signatures: tuple[CheckpointSignature, ...]
