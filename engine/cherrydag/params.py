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

COMMITTEE_MAX: Final = 200
"""Most validators of a committee."""

STAKE_TOTAL_MAX: Final = 2**63 - 1
"""Largest total stake of a committee: sums and their differences fit a signed 64-bit word."""

EPOCH_MAX: Final = 2**32 - 1
"""Largest epoch."""

VERTEX_BYTES_MAX: Final = 8 * 1024 * 1024
"""Largest frame of a vertex of either kind, header and payload; checked before a byte is read."""

VERTEX_TRANSACTIONS_MAX: Final = 32_768
"""Most transactions of one vertex: 5.5 MiB of records."""

VERTEX_BODIES_BYTES_MAX: Final = 4 * 1024 * 1024
"""Most bytes of transaction bodies in one vertex."""

TIPS_MAX: Final = 64
"""Most operator vertices that a validator vertex lists."""

TIP_WINDOW: Final = 30
"""A tip of a round-r vertex has its anchor round in [r - TIP_WINDOW, r). Half of the garbage-collection
depth, so that a tip is not lost before a leader can commit it."""

COMMIT_VOTES_MAX: Final = 100
"""Most commit votes of a validator vertex."""

OPERATOR_PARENTS_MIN: Final = 2
"""Fewest parents of an operator vertex."""

OPERATOR_PARENTS_MAX: Final = 8
"""Most parents of an operator vertex."""

COMMIT_VERTICES_MAX: Final = 131_072
"""Most vertices that one commit orders."""

COMMIT_BYTES_MAX: Final = 10 * 1024 * 1024
"""Largest frame of a commit: room for COMMIT_VERTICES_MAX references of the longer kind."""

PEER_OTHERS: Final = 1 << 16
"""First peer number that is no validator's."""

PEER_SELF: Final = PEER_OTHERS - 1
"""This node itself as the source of a vertex."""

COMMIT_SYNC_BATCH: Final = 100
"""Most commits that one request of commit sync asks for."""

COMMIT_SYNC_LAG: Final = 20
"""Who is so many commits behind what is committed for certain fetches commits instead of vertices: about a
second, and less than what others keep in memory of the DAG."""

FETCH_REFS_MAX: Final = 1000
"""Most vertices that one request asks for."""

ANNOUNCE_REFS_MAX: Final = 1000
"""Most vertices that one message announces."""

GRAFT_REFS_MAX: Final = 64
"""Most vertices that one graft asks for."""
