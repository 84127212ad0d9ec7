"""The keys that bind ids and signatures to one chain.

Each kind of signed value has its own hashing key, derived from the digest of the chain's genesis. So a
signature fits one kind on one chain; the epoch is among the signed bytes.
"""

from dataclasses import dataclass

from cherrydag import crypto
from cherrydag.errors import ShapeError
from cherrydag.primitives import Digest
from cherrydag.transaction import chain_key

_VALIDATOR_CONTEXT = "cherrydag 2026-11-22 validator vertex signature v1"
_OPERATOR_CONTEXT = "cherrydag 2026-11-22 operator vertex signature v1"
_CHECKPOINT_CONTEXT = "cherrydag 2026-11-22 checkpoint signature v1"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain's identity, the 32-byte digest of its genesis, and the four keys that follow from it.

    Make it with Chain.of. transaction_key: of transaction ids; the others: of what validators sign in a
    vertex, what operators sign, and what a checkpoint's signers sign.
    """

    genesis_digest: Digest
    transaction_key: bytes
    validator_key: bytes
    operator_key: bytes
    checkpoint_key: bytes

    @classmethod
    def of(cls, genesis_digest: bytes) -> "Chain":
        """The chain that starts from this genesis. Raises ShapeError unless it is 32 bytes."""
        if len(genesis_digest) != crypto.DIGEST_BYTES:
            wanted = crypto.DIGEST_BYTES
            raise ShapeError(f"genesis_digest: expected {wanted} bytes, got {len(genesis_digest)}")
        return cls(
            Digest(bytes(genesis_digest)),
            chain_key(genesis_digest),
            crypto.derive_key(_VALIDATOR_CONTEXT, genesis_digest),
            crypto.derive_key(_OPERATOR_CONTEXT, genesis_digest),
            crypto.derive_key(_CHECKPOINT_CONTEXT, genesis_digest),
        )
