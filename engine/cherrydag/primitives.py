"""The small integer and byte types that every layer speaks."""

from typing import NewType

Amount = NewType("Amount", int)
"""Smallest units of an asset, 0 .. 2^128 - 1."""

Digest = NewType("Digest", bytes)
"""32 bytes of BLAKE3."""

PublicKey = NewType("PublicKey", bytes)
"""32 bytes, an Ed25519 public key as received."""

Address = NewType("Address", bytes)
"""20 bytes, the first of the keyed BLAKE3 of a public key."""
