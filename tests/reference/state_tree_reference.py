"""The state's commitment as cherrydag.state_proof defines it, without a tree in memory: slow and plain."""

from collections.abc import Mapping

import blake3

State = Mapping[str, Mapping[bytes, bytes]]
"""Values by key by provider."""


def derive(context: str, material: bytes) -> bytes:
    return blake3.blake3(material, derive_key_context=f"cherrydag 2026-11-22 state {context} v1").digest()


def keyed(use: str, provider: str, message: bytes) -> bytes:
    return blake3.blake3(message, key=derive(use, provider.encode())).digest()


def bucket_of(provider: str, depth: int, key: bytes) -> int:
    bits = "".join(f"{byte:08b}" for byte in keyed("bucket", provider, key))
    return int(bits[:depth], 2)


def entry(provider: str, key: bytes, value: bytes) -> bytes:
    head = len(key).to_bytes(1, "little") + key
    if len(value) <= 64:
        return head + len(value).to_bytes(1, "little") + value
    return head + b"\xff" + len(value).to_bytes(4, "little") + keyed("value", provider, value)


def contents(provider: str, depth: int, entries: Mapping[bytes, bytes]) -> dict[int, bytes]:
    """The bytes of every bucket that has entries."""
    buckets: dict[int, bytes] = {}
    for key in sorted(entries):
        bucket = bucket_of(provider, depth, key)
        buckets[bucket] = buckets.get(bucket, b"") + entry(provider, key, entries[key])
    return buckets


def levels(provider: str, depth: int, leaves: Mapping[int, bytes]) -> list[tuple[dict[int, bytes], bytes]]:
    """Each level, leaves first: its nodes that have something below them, and the node of nothing."""
    rows = [(dict(leaves), keyed("leaf", provider, b""))]
    for _ in range(depth):
        below, empty = rows[-1]
        row = {
            i: keyed("node", provider, below.get(2 * i, empty) + below.get(2 * i + 1, empty))
            for i in {place // 2 for place in below}
        }
        rows.append((row, keyed("node", provider, empty + empty)))
    return rows


def tree(provider: str, depth: int, buckets: Mapping[int, bytes]) -> list[tuple[dict[int, bytes], bytes]]:
    return levels(
        provider, depth, {bucket: keyed("leaf", provider, octets) for bucket, octets in buckets.items()}
    )


def tree_root_reference(provider: str, depth: int, buckets: Mapping[int, bytes]) -> bytes:
    nodes, empty = tree(provider, depth, buckets)[-1]
    return keyed("tree", provider, bytes([depth]) + nodes.get(0, empty))


def siblings_reference(provider: str, depth: int, buckets: Mapping[int, bytes], bucket: int) -> bytes:
    joined = b""
    for nodes, empty in tree(provider, depth, buckets)[:-1]:
        joined += nodes.get(bucket ^ 1, empty)
        bucket //= 2
    return joined


def state_root_reference(state: State, depth: int | Mapping[str, int]) -> bytes:
    """depth: of every tree, or of each provider's."""
    message, depths = b"", depth
    for provider in sorted(state):
        depth = depths if isinstance(depths, int) else depths[provider]
        root = tree_root_reference(provider, depth, contents(provider, depth, state[provider]))
        message += bytes([len(provider)]) + provider.encode() + bytes([depth]) + root
    return derive("root", message)
