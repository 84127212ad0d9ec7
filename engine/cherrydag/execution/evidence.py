"""Evidence that an operator has issued two vertices under one seq (consensus, 2): their headers.

A header is all of a vertex but its payload, for which its root stands, and ends with the signature. Only what
the issuer has signed counts: one content under two signatures is no second vertex.
"""

from enum import StrEnum
from typing import Final, NamedTuple

from cherrydag import crypto
from cherrydag.chain import Chain
from cherrydag.errors import Rejected
from cherrydag.execution.body import BodyReader
from cherrydag.layout import OPERATOR_HEAD, TAGGED_OPERATOR_REF, VERSION, FrameTag
from cherrydag.params import OPERATOR_PARENTS_MAX, SIGNATURE_BYTES
from cherrydag.primitives import PublicKey

HEADER_MIN: Final = OPERATOR_HEAD.size + SIGNATURE_BYTES
HEADER_MAX: Final = HEADER_MIN + OPERATOR_PARENTS_MAX * TAGGED_OPERATOR_REF.size


class EvidenceRefusal(StrEnum):
    """Why evidence is none; stable codes."""

    SIZE = "evidence_size"
    """A header has more or fewer bytes than an operator vertex's."""
    FORMAT = "evidence_format"
    """A header is not an operator vertex's."""
    ISSUE = "evidence_issue"
    """The headers differ in issuer, epoch or seq."""
    SAME = "evidence_same"
    """The headers say the same."""
    SIGNATURE = "evidence_signature"
    """A header is not signed by its issuer for this chain."""


class Evidence(NamedTuple):
    """Two headers of one issuer, epoch and seq with different contents."""

    issuer: PublicKey
    seq: int
    headers: tuple[bytes, bytes]

    def is_signed(self, chain: Chain) -> bool:
        """Whether the issuer has signed both, as vertices of this chain."""
        contents = [header[:-SIGNATURE_BYTES] for header in self.headers]
        digests = b"".join([crypto.hash_bytes(content, chain.operator_key) for content in contents])
        signatures = b"".join([header[-SIGNATURE_BYTES:] for header in self.headers])
        return all(crypto.verify_signatures(2 * self.issuer, digests, signatures))


def encode_evidence(first: bytes, second: bytes) -> bytes:
    """u16 size of the first header, the first, the second."""
    return len(first).to_bytes(2, "little") + first + second


def decode_evidence(body: bytes) -> Evidence:
    """The evidence, whose signatures are yet to be checked. Total: Rejected for anything else."""
    reader = BodyReader(body)
    size = reader.integer(2)
    rest = len(body) - 2 - size
    if not (HEADER_MIN <= size <= HEADER_MAX and HEADER_MIN <= rest <= HEADER_MAX):
        expected = f"expected {HEADER_MIN} to {HEADER_MAX} bytes each"
        raise Rejected(EvidenceRefusal.SIZE, f"headers: {expected}, got {size} and {rest}")
    first, second = reader.take(size), reader.take(rest)
    issue = _issue_of(first)
    if issue != _issue_of(second):
        raise Rejected(EvidenceRefusal.ISSUE, "headers: not of one issuer, epoch and seq")
    if first[:-SIGNATURE_BYTES] == second[:-SIGNATURE_BYTES]:
        raise Rejected(EvidenceRefusal.SAME, "headers: they say the same")
    return Evidence(issue.issuer, issue.seq, (first, second))


class _Issue(NamedTuple):
    issuer: PublicKey
    epoch: int
    seq: int


def _issue_of(header: bytes) -> _Issue:
    """What there may be one vertex of. Its references need no look: a signature covers them."""
    tag, version, _, epoch, _, _, seq, issuer, *_ = OPERATOR_HEAD.unpack_from(header)
    if tag != FrameTag.OPERATOR_VERTEX or version != VERSION:
        raise Rejected(EvidenceRefusal.FORMAT, f"header: tag {tag}, version {version}: no operator vertex's")
    return _Issue(PublicKey(issuer), epoch, seq)
