"""Where each field lies in the bytes of vertices, commits and checkpoints. Little-endian, no padding.

A vertex frame is header, records, bodies. The header ends with the signature, and its fixed head ends with
PAYLOAD. A list's count stands in the head; its items follow in the order of the counts.
"""

from enum import IntEnum
from struct import Struct
from typing import Final

VERSION: Final = 1
"""Version byte of every frame; another one is another format."""


class FrameTag(IntEnum):
    """First byte of a frame: what it holds."""

    VALIDATOR_VERTEX = 1
    OPERATOR_VERTEX = 2
    COMMIT = 3
    CHECKPOINT = 4
    CHECKPOINT_CERTIFICATE = 5


class RefTag(IntEnum):
    """First byte of a reference in a list that may hold either kind."""

    VALIDATOR = 1
    OPERATOR = 2


PAYLOAD: Final = Struct("<32sII")
"""root, transactions, bytes of bodies: the last fields of either vertex head."""

VALIDATOR_HEAD: Final = Struct("<BBHIIHHHHQ32sII")
"""tag, version, author, epoch, round, ancestors, tips, commit votes, checkpoint votes (0 or 1),
timestamp_ms, payload."""

OPERATOR_HEAD: Final = Struct("<BBHIIQQ32s32sII")
"""tag, version, parents, epoch, anchor_round, timestamp_ms, seq, issuer, payload."""

COMMIT_HEAD: Final = Struct("<BBIQQ32sI")
"""tag, version, epoch, index, timestamp_ms, prev_digest, vertices."""

CHECKPOINT: Final = Struct("<BB32sIQ32s32s")
"""tag, version, chain, epoch, index, commit_digest, state_root."""

CERTIFICATE_COUNT: Final = Struct("<H")
"""signatures of a certificate, after its checkpoint."""

CHECKPOINT_SIGNATURE: Final = Struct("<H64s")
"""author, signature."""

VERTEX_REF: Final = Struct("<IH32s")
"""round, author, digest."""

OPERATOR_REF: Final = Struct("<I32s32s")
"""anchor_round, issuer, digest."""

COMMIT_VOTE: Final = Struct("<Q32s")
"""index, digest."""

CHECKPOINT_VOTE: Final = Struct("<Q32s32s64s")
"""index, commit_digest, state_root, signature."""

TAGGED_VERTEX_REF: Final = Struct("<BIH32s")
"""RefTag.VALIDATOR, round, author, digest."""

TAGGED_OPERATOR_REF: Final = Struct("<BI32s32s")
"""RefTag.OPERATOR, anchor_round, issuer, digest."""
