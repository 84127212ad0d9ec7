"""The transactions of a vertex: contiguous records, then their bodies, committed by a Merkle root.

A leaf is the keyed BLAKE3 of a transaction's id and signature, so the root binds every byte of the payload
(an id covers all of a record but its signature, and the body), and a proof carries 64 bytes besides the
siblings, however long the body is. Body i starts where body i - 1 ends: records state the sizes.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from cherrydag import crypto
from cherrydag.chain import Chain
from cherrydag.errors import ShapeError
from cherrydag.params import SIGNATURE_BYTES
from cherrydag.primitives import Digest
from cherrydag.transaction import Bytes, Octets, Records, Words, as_records, transaction_ids

LEAF_KEY: Final = crypto.derive_key("cherrydag 2026-11-22 payload leaf v1", b"")
"""Hashing key of a payload's leaves."""

EMPTY_ROOT: Final = Digest(crypto.merkle_root(b""))
"""Root of a payload without transactions, on every chain."""

_LEAF_BYTES = crypto.DIGEST_BYTES + SIGNATURE_BYTES


@dataclass(frozen=True, slots=True, eq=False)
class Payload:
    """Records, bodies and the root that the vertex's header claims for them.

    records: n records, contiguous, a view of the frame they came in: never write to that frame. bodies: end
    to end; body_offsets: n + 1 uint64, or None if there are no bodies. root: of a received payload only a
    claim, until payload_root agrees. Two payloads are equal if their bytes and roots are.
    """

    records: Records
    bodies: Bytes
    body_offsets: Words | None
    root: Digest

    def __len__(self) -> int:
        return len(self.records)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Payload):
            return NotImplemented
        return self.root == other.root and self.octets == other.octets and self.bodies == other.bodies

    def __hash__(self) -> int:
        return int.from_bytes(self.root[:8], "little")

    @property
    def octets(self) -> memoryview:
        """The records as bytes, without a copy."""
        return memoryview(self.records.view(np.uint8))  # type: ignore[arg-type]

    def body(self, row: int) -> Bytes:
        """Body of transaction `row`, without a copy where `bodies` is a memoryview."""
        if self.body_offsets is None:
            return b""
        return self.bodies[int(self.body_offsets[row]) : int(self.body_offsets[row + 1])]


EMPTY_PAYLOAD: Final = Payload(as_records(b""), b"", None, EMPTY_ROOT)
"""The payload without transactions."""


def build_payload(records: Records, chain: Chain, bodies: Bytes = b"") -> Payload:
    """A payload with its root, one native call for each of ids, leaves and tree.

    Raises ShapeError if the bodies are not as long as the records say, or the records not contiguous.
    """
    if not records.flags.c_contiguous:
        raise ShapeError("records: expected contiguous ones")
    stated = int(records["body_size"].sum(dtype=np.uint64))
    if stated != len(bodies):
        raise ShapeError(f"bodies: expected the {stated} bytes that the records state, got {len(bodies)}")
    claimed = Payload(records, bodies, body_offsets(records, len(bodies)), EMPTY_ROOT)
    root = payload_root(claimed, payload_ids(claimed, chain))
    return Payload(records, bodies, claimed.body_offsets, root)


def body_offsets(records: Records, bodies_size: int) -> Words | None:
    """Where each body starts, and the end: n + 1 uint64; None if bodies_size is 0."""
    if not bodies_size:
        return None
    offsets = np.zeros(len(records) + 1, np.uint64)
    np.cumsum(records["body_size"], out=offsets[1:], dtype=np.uint64)
    return offsets


def payload_ids(payload: Payload, chain: Chain) -> bytes:
    """Id of each transaction, n x 32 bytes."""
    if not len(payload):
        return b""
    return transaction_ids(payload.records, chain.transaction_key, payload.bodies, payload.body_offsets)


def payload_leaves(payload: Payload, ids: bytes) -> bytes:
    """Leaf of each transaction, n x 32 bytes; ids from payload_ids."""
    rows: Octets = np.empty((len(payload), _LEAF_BYTES), np.uint8)
    rows[:, : crypto.DIGEST_BYTES] = np.frombuffer(ids, np.uint8).reshape(-1, crypto.DIGEST_BYTES)
    rows[:, crypto.DIGEST_BYTES :] = payload.records["signature"]
    return crypto.hash_records(rows, 0, _LEAF_BYTES, LEAF_KEY)


def payload_root(payload: Payload, ids: bytes) -> Digest:
    """Merkle root of the leaves, computed: what `payload.root` must be; ids from payload_ids."""
    if not len(payload):
        return EMPTY_ROOT
    return Digest(crypto.merkle_root(payload_leaves(payload, ids)))
