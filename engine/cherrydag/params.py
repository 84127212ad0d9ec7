"""Constants and limits of the ledger. All are consensus rules: nodes that differ in one fork."""

from typing import Final

RECORD_BYTES: Final = 176
"""Size of a transaction record."""

RECORD_HEAD_BYTES: Final = 112
"""The part of a record that its id covers: all but the signature, which comes last."""

ADDRESS_BYTES: Final = 20
"""Size of an account's address."""

PUBLIC_KEY_BYTES: Final = 32
"""Size of an Ed25519 public key."""

SIGNATURE_BYTES: Final = 64
"""Size of an Ed25519 signature."""

AMOUNT_MAX: Final = 2**128 - 1
"""Largest amount a record can carry, in smallest units (10^-18 of the native coin)."""

NONCE_WINDOW: Final = 64
"""How many nonces above an account's base are valid at once."""

NONCE_MAX: Final = 2**64 - 2 - NONCE_WINDOW
"""Largest valid nonce: an account that has used it has base + NONCE_WINDOW = 2^64 - 1, so that sum
never wraps."""

FEE_MIN: Final = 1
"""Least fee of a transaction, in smallest units: nothing is free, whatever a node's own floor."""

BODY_BYTES_MAX: Final = 64 * 1024
"""Largest body of one transaction."""

VALID_FOREVER: Final = 2**32 - 1
"""`valid_until` of a transaction that does not expire (in 2106 this field must grow)."""
