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

Epoch = NewType("Epoch", int)
"""Number of a committee's term, u32."""

Round = NewType("Round", int)
"""A round of the DAG, u32; the genesis vertices are round 0."""

Stake = NewType("Stake", int)
"""Voting weight, an integer; a committee's total fits 63 bits."""

ValidatorIndex = NewType("ValidatorIndex", int)
"""Place of a validator in its epoch's committee, u16."""

TimestampMs = NewType("TimestampMs", int)
"""Unix time in milliseconds, u64."""

Peer = NewType("Peer", int)
"""A connected node as its host numbers it: a validator by its index, others from PEER_OTHERS on."""
