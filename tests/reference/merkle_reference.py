"""The Merkle tree of ext/digest/digest.h, written as its definition reads."""

import blake3

NODE_CONTEXT = "cherrydag 2026-11 merkle node"
ROOT_CONTEXT = "cherrydag 2026-11 merkle root"


def node(left: bytes, right: bytes) -> bytes:
    return blake3.blake3(left + right, derive_key_context=NODE_CONTEXT).digest()


def levels(leaves: list[bytes]) -> list[list[bytes]]:
    """Every level, leaves first: neighbours are paired, the odd last one rises unchanged."""
    rows = [leaves]
    while len(rows[-1]) > 1:
        row = rows[-1]
        paired = [node(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        rows.append(paired + (row[-1:] if len(row) % 2 else []))
    return rows


def merkle_root_reference(leaves: list[bytes]) -> bytes:
    top = levels(leaves)[-1][0] if leaves else bytes(32)
    return blake3.blake3(len(leaves).to_bytes(8, "little") + top, derive_key_context=ROOT_CONTEXT).digest()


def merkle_proof_reference(leaves: list[bytes], index: int) -> bytes:
    siblings = b""
    for row in levels(leaves)[:-1]:
        if index ^ 1 < len(row):
            siblings += row[index ^ 1]
        index //= 2
    return siblings
