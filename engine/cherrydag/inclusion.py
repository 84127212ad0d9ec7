"""Proof that a transaction stands in a vertex, for whoever trusts the vertex's digest alone."""

from dataclasses import dataclass

from cherrydag import crypto
from cherrydag.chain import Chain
from cherrydag.errors import ShapeError
from cherrydag.layout import OPERATOR_HEAD, PAYLOAD, VALIDATOR_HEAD, VERSION, FrameTag
from cherrydag.params import SIGNATURE_BYTES
from cherrydag.payload import LEAF_KEY, payload_ids, payload_leaves
from cherrydag.vertex import VERTEX_KEY, Vertex

_HEAD_BYTES: dict[int, int] = {
    FrameTag.VALIDATOR_VERTEX: VALIDATOR_HEAD.size,
    FrameTag.OPERATOR_VERTEX: OPERATOR_HEAD.size,
}


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """What leads from a transaction's id to the digest of the vertex that holds it.

    header: the vertex's. row: the transaction's place in the payload. signature: the transaction's, 64
    bytes. siblings: from its leaf up to the root, 32 bytes each.
    """

    header: bytes
    row: int
    signature: bytes
    siblings: bytes


def prove_inclusion(vertex: Vertex, row: int, chain: Chain) -> InclusionProof:
    """The proof for transaction `row` of the vertex. Raises ShapeError if it has no such row."""
    payload = vertex.payload
    if not 0 <= row < len(payload):
        raise ShapeError(f"row: expected one of {len(payload)} transactions, got {row}")
    leaves = payload_leaves(payload, payload_ids(payload, chain))
    signature = payload.records["signature"][row].tobytes()
    return InclusionProof(vertex.header, row, signature, crypto.merkle_proof(leaves, row))


def verify_inclusion(proof: InclusionProof, transaction_id: bytes, vertex_digest: bytes) -> bool:
    """Whether the proof shows that the transaction of this id, with this signature, is in the vertex.

    Total: whatever the proof's bytes and numbers are, the answer is a verdict. The id has to be computed by
    whoever asks, from the transaction and the chain's key.
    """
    header, signature = proof.header, proof.signature
    if len(transaction_id) != crypto.DIGEST_BYTES or len(signature) != SIGNATURE_BYTES or len(header) < 2:
        return False
    head_bytes = _HEAD_BYTES.get(header[0])
    if head_bytes is None or header[1] != VERSION or len(header) < head_bytes + SIGNATURE_BYTES:
        return False
    if crypto.hash_bytes(header, VERTEX_KEY) != vertex_digest:
        return False
    root, count, _ = PAYLOAD.unpack_from(header, head_bytes - PAYLOAD.size)
    leaf = crypto.hash_bytes(transaction_id + signature, LEAF_KEY)
    return crypto.verify_merkle_proof(root, leaf, proof.row, count, proof.siblings)
