"""References to vertices. Whatever a rule needs to know of a parent stands in its reference.

They are named tuples rather than dataclasses: a vertex holds hundreds, they are keys of every table, and
they sort as the consensus rules say, by (round, author, digest).
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from cherrydag.errors import ShapeError
from cherrydag.layout import OPERATOR_REF, TAGGED_OPERATOR_REF, TAGGED_VERTEX_REF, VERTEX_REF, RefTag
from cherrydag.primitives import Digest, PublicKey, Round, ValidatorIndex


class VertexRef(NamedTuple):
    """Reference to a validator vertex: its slot (round, author) and its 32-byte digest."""

    round: Round
    author: ValidatorIndex
    digest: Digest


class OperatorRef(NamedTuple):
    """Reference to an operator vertex: its anchor round, its issuer's public key, its digest."""

    anchor_round: Round
    issuer: PublicKey
    digest: Digest


AnyRef: TypeAlias = VertexRef | OperatorRef


def round_of(ref: AnyRef) -> Round:
    """The round of a validator vertex, the anchor round of an operator's."""
    return ref[0]


def pack_vertex_refs(refs: Sequence[VertexRef]) -> bytes:
    """The references one after another, each of VERTEX_REF. ShapeError unless digests have 32 bytes."""
    check_widths("digest", [ref[2] for ref in refs])
    pack = VERTEX_REF.pack
    return b"".join([pack(*ref) for ref in refs])


def pack_operator_refs(refs: Sequence[OperatorRef]) -> bytes:
    """The references one after another, each of OPERATOR_REF. ShapeError as for pack_refs."""
    check_widths("issuer", [ref[1] for ref in refs])
    check_widths("digest", [ref[2] for ref in refs])
    pack = OPERATOR_REF.pack
    return b"".join([pack(*ref) for ref in refs])


def pack_refs(refs: Sequence[AnyRef]) -> bytes:
    """References of either kind, each behind its RefTag. ShapeError unless keys and digests have 32 bytes."""
    check_widths("issuer", [ref[1] for ref in refs if isinstance(ref, OperatorRef)])
    check_widths("digest", [ref[2] for ref in refs])
    vertex, operator = TAGGED_VERTEX_REF.pack, TAGGED_OPERATOR_REF.pack
    return b"".join(
        [
            vertex(RefTag.VALIDATOR, *ref) if isinstance(ref, VertexRef) else operator(RefTag.OPERATOR, *ref)
            for ref in refs
        ]
    )


def check_widths(field: str, values: Sequence[bytes], width: int = 32) -> None:
    """ShapeError unless each value has `width` bytes: struct would pad or cut it without a word."""
    wrong = set(map(len, values)) - {width}
    if wrong:
        raise ShapeError(f"{field}: expected {width} bytes, got {min(wrong)}")
