"""The state's commitment and the proofs against it: all that a light client needs, without a tree.

State lies with providers: the account table, the modules' entries, a few figures of the ledger itself. Each
maps keys to values and has a Merkle tree of 2^depth buckets. H is BLAKE3 keyed with a key derived from the
provider's name, another one for each use; `|` joins, integers are little-endian.

    bucket = the first `depth` bits, most significant first, of H(bucket key, key)
    entry  = u8 key size | key | u8 value size | value                      up to 64 bytes of value
           = u8 key size | key | 255 | u32 value size | H(value key, value)         beyond
    leaf   = H(leaf key, the bucket's entries, ascending by key)
    node   = H(node key, left | right)
    tree   = H(root key, u8 depth | top node)
    state  = BLAKE3 derived under the state's context, of each provider, ascending by name:
             u8 name size | name | u8 depth | tree

A long value stands in its bucket as its digest, so that it burdens no proof but its own, and no update of
a neighbour. An entry of the account table has a key of 24 bytes and a value of 36: 62 bytes, which leaves
the commonest bucket a message of one block.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from struct import Struct
from typing import Final, NamedTuple, NoReturn

from cherrydag import crypto
from cherrydag.errors import PeerFault, ShapeError
from cherrydag.primitives import Digest

ACCOUNTS: Final = "accounts"
"""The provider of accounts and holdings; a key is address, asset."""

ENTRIES: Final = "entries"
"""The provider of the modules' entries; a key is `entry_key`'s."""

LEDGER: Final = "ledger"
"""The provider of the ledger's own figures: commit_index (u64), fees in the pot and supply (u128)."""

DEPTH_MIN: Final = 1
DEPTH_MAX: Final = 24
DEPTH_DEFAULT: Final = 20
"""Depth of the large trees, unless genesis says otherwise."""

PROVIDERS_MAX: Final = 16
"""Most providers of a state."""

KEY_BYTES_MAX: Final = 130
"""Largest key of a provider; the smallest has 1 byte."""

VALUE_BYTES_MAX: Final = 64 * 1024
"""Largest value."""

INLINE_BYTES_MAX: Final = 64
"""Largest value that stands in its bucket itself."""

BUCKET_BYTES_MAX: Final = 1024 * 1024
"""Most bytes of entries that a proof may carry: 16,912 accounts in one bucket."""

PROOF_TAG: Final = 6
PROOF_VERSION: Final = 1
"""The first two bytes of an encoded proof."""

_LONG: Final = 255
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_LONG_SIZE: Final = Struct("<I")
_HEAD: Final = Struct("<BBBBII")
"""tag, version, depth, other providers, bytes of entries, bytes of the value; then the provider's name, the
other providers, the siblings, the entries and the value."""

PROOF_BYTES_MAX: Final = (
    _HEAD.size + PROVIDERS_MAX * 66 + DEPTH_MAX * crypto.DIGEST_BYTES + BUCKET_BYTES_MAX + VALUE_BYTES_MAX
)
"""Largest encoded proof: a provider takes at most 66 bytes."""

_STATE_CONTEXT: Final = "cherrydag 2026-11-22 state root v1"


# The commitment


class StateKey(NamedTuple):
    """What a value stands under: a provider's name and one of its keys."""

    provider: str
    key: bytes


class TreeRoot(NamedTuple):
    """A provider's name, its tree's depth and root."""

    provider: str
    depth: int
    root: Digest


@dataclass(frozen=True, slots=True)
class TreeKeys:
    """The hashing keys of one provider, 32 bytes each. Make them with TreeKeys.of."""

    bucket: bytes
    value: bytes
    leaf: bytes
    node: bytes
    root: bytes

    @classmethod
    def of(cls, provider: str) -> "TreeKeys":
        """The keys that a name gives. Raises ShapeError unless it is 1 to 32 of a-z, 0-9 and _, a letter
        first."""
        if not _NAME.fullmatch(provider):
            raise ShapeError(f"provider: expected 1 to 32 of a-z, 0-9, _, a letter first, got {provider!r}")
        name = provider.encode()
        return cls(
            crypto.derive_key("cherrydag 2026-11-22 state bucket v1", name),
            crypto.derive_key("cherrydag 2026-11-22 state value v1", name),
            crypto.derive_key("cherrydag 2026-11-22 state leaf v1", name),
            crypto.derive_key("cherrydag 2026-11-22 state node v1", name),
            crypto.derive_key("cherrydag 2026-11-22 state tree v1", name),
        )

    def bucket_of(self, key: bytes, depth: int) -> int:
        """The bucket of a key in a tree of this depth."""
        return int.from_bytes(crypto.hash_bytes(key, self.bucket)[:4], "big") >> (32 - depth)

    def tree_root(self, depth: int, top: bytes) -> Digest:
        """The root of a tree with this top node."""
        return Digest(crypto.hash_bytes(bytes([depth]) + top, self.root))


def entry_key(prefix: int, key: bytes) -> StateKey:
    """The state key of a module's entry: its prefix, u16 with the high byte first, then its own key.

    Raises ShapeError for a prefix beyond 16 bits or a key beyond 128 bytes.
    """
    if not 0 <= prefix <= 0xFFFF or len(key) > KEY_BYTES_MAX - 2:
        wanted = f"a prefix up to 65535 and at most {KEY_BYTES_MAX - 2} bytes"
        raise ShapeError(f"entry: expected {wanted}, got {prefix} and {len(key)}")
    return StateKey(ENTRIES, prefix.to_bytes(2, "big") + key)


def encode_entry(key: bytes, value: bytes, digest: bytes | None = None) -> bytes:
    """One entry of a bucket. digest: H(value key, value), for a value beyond INLINE_BYTES_MAX.

    The sizes are the caller's care.
    """
    head = bytes([len(key)]) + key
    if digest is None:
        return head + bytes([len(value)]) + value
    return head + bytes([_LONG]) + _LONG_SIZE.pack(len(value)) + digest


def state_root(roots: Sequence[TreeRoot]) -> Digest:
    """The state's root over its providers'.

    Raises ShapeError unless they are 1 to PROVIDERS_MAX, strictly ascending by name, with a valid name, depth
    and root each.
    """
    wrong = _wrong_roots(roots)
    if wrong or not 1 <= len(roots) <= PROVIDERS_MAX:
        raise ShapeError(f"roots: {wrong or f'expected 1 to {PROVIDERS_MAX}, got {len(roots)}'}")
    return _state_root(roots)


def _state_root(roots: Sequence[TreeRoot]) -> Digest:
    message = b"".join(_encode_name(name) + bytes([depth]) + root for name, depth, root in roots)
    return Digest(crypto.derive_key(_STATE_CONTEXT, message))


def _wrong_roots(roots: Sequence[TreeRoot]) -> str:
    """What is wrong with a list of providers, or nothing."""
    for name, depth, root in roots:
        if not _NAME.fullmatch(name):
            return f"{name!r} is no provider's name"
        if not DEPTH_MIN <= depth <= DEPTH_MAX:
            return f"depth of {name}: expected {DEPTH_MIN} to {DEPTH_MAX}, got {depth}"
        if len(root) != crypto.DIGEST_BYTES:
            return f"root of {name}: expected {crypto.DIGEST_BYTES} bytes, got {len(root)}"
    if any(a.provider >= b.provider for a, b in pairwise(roots)):
        return "the providers' names are not strictly ascending"
    return ""


# Proofs


class StateFault(StrEnum):
    """Why bytes are no proof, or a proof does not hold; stable codes."""

    SIZE = "state_proof_size"
    """The proof, its entries or its value are larger than any may be."""
    TRUNCATED = "state_proof_truncated"
    """The bytes end before what the head announces."""
    TRAILING = "state_proof_trailing"
    """The bytes go on after what the head announces."""
    TAG = "state_proof_tag"
    """The first byte is not a proof's."""
    VERSION = "state_proof_version"
    """The version is not known."""
    DEPTH = "state_proof_depth"
    """The depth is none that a tree may have, or there is not one sibling for each level."""
    PROVIDERS = "state_proof_providers"
    """The providers are too many, out of order, or not well formed."""
    OTHER_PROVIDER = "state_proof_other_provider"
    """The proof is of another provider's tree than the key."""
    ROOT = "state_proof_root"
    """The proof does not lead to the state's root."""
    ENTRIES = "state_proof_entries"
    """The bucket's bytes are no entries in canonical form."""
    VALUE = "state_proof_value"
    """The long value is not the one committed to, or there is one that nothing calls for."""


@dataclass(frozen=True, slots=True)
class StateProof:
    """What leads from a bucket to the root of the state, for a key that is in the bucket or is not.

    provider: whose tree, of `depth`. others: all other providers, ascending by name. siblings: from the
    bucket's leaf up to the top, 32 bytes each, lowest first. entries: all of the bucket. value: the key's, if
    its entry holds a digest; else empty.
    """

    provider: str
    depth: int
    others: tuple[TreeRoot, ...]
    siblings: bytes
    entries: bytes
    value: bytes = b""


def verify_state_proof(proof: StateProof, key: StateKey, root: bytes) -> bytes | None:
    """The value that stands under `key` in the state of this root, or None if there is none.

    Raises PeerFault with a StateFault for any proof that does not show it, whatever its fields hold;
    ShapeError for a key or a root that cannot be one, since those are the asker's own.
    """
    if not 1 <= len(key.key) <= KEY_BYTES_MAX or len(root) != crypto.DIGEST_BYTES:
        wanted = f"a key of 1 to {KEY_BYTES_MAX} bytes and a root of {crypto.DIGEST_BYTES}"
        raise ShapeError(f"expected {wanted}, got {len(key.key)} and {len(root)}")
    _check_fields(proof)
    if proof.provider != key.provider:
        _refuse(StateFault.OTHER_PROVIDER, f"provider: expected {key.provider}, got {proof.provider}")
    keys = TreeKeys.of(proof.provider)
    tree = TreeRoot(proof.provider, proof.depth, _climb(proof, keys, key.key))
    if _state_root(sorted((*proof.others, tree))) != root:
        _refuse(StateFault.ROOT, "the proof does not lead to the state's root")
    found = find_entry(proof.entries, key.key)
    if found is None or found.inline is not None:
        if proof.value:
            _refuse(StateFault.VALUE, "value: nothing calls for one")
        return found and found.inline
    if len(proof.value) != found.size or crypto.hash_bytes(proof.value, keys.value) != found.digest:
        _refuse(StateFault.VALUE, f"value: not the {found.size} bytes that the entry stands for")
    return proof.value


def _climb(proof: StateProof, keys: TreeKeys, key: bytes) -> Digest:
    """The root of the tree in which the proof's bucket is the one of `key`."""
    place = keys.bucket_of(key, proof.depth)
    node = crypto.hash_bytes(proof.entries, keys.leaf)
    for at in range(0, len(proof.siblings), crypto.DIGEST_BYTES):
        sibling = proof.siblings[at : at + crypto.DIGEST_BYTES]
        node = crypto.hash_bytes(sibling + node if place & 1 else node + sibling, keys.node)
        place >>= 1
    return keys.tree_root(proof.depth, node)


class Entry(NamedTuple):
    """An entry of a bucket: the size of its value, and the value itself or its digest."""

    key: bytes
    size: int
    inline: bytes | None
    digest: bytes


def find_entry(entries: bytes, key: bytes) -> Entry | None:
    """The entry of `key` in a bucket. All are read: raises PeerFault unless they are canonical."""
    wanted = None
    last = b""
    for entry in _read_entries(entries):
        if entry.key <= last:
            _refuse(StateFault.ENTRIES, "entries: not strictly ascending by key")
        last = entry.key
        if entry.key == key:
            wanted = entry
    return wanted


def _read_entries(entries: bytes) -> Iterator[Entry]:
    at, end = 0, len(entries)
    while at < end:
        size_at = at + 1 + entries[at]
        if not 1 <= entries[at] <= KEY_BYTES_MAX or size_at >= end:
            _refuse(StateFault.ENTRIES, f"entries: no whole key at byte {at}")
        key, size = entries[at + 1 : size_at], entries[size_at]
        at = size_at + 1
        if size <= INLINE_BYTES_MAX:
            entry = Entry(key, size, entries[at : at + size], b"")
            at += size
        elif size == _LONG and at + _LONG_SIZE.size <= end:
            (size,) = _LONG_SIZE.unpack_from(entries, at)
            at += _LONG_SIZE.size + crypto.DIGEST_BYTES
            entry = Entry(key, size, None, entries[at - crypto.DIGEST_BYTES : at])
            if not INLINE_BYTES_MAX < size <= VALUE_BYTES_MAX:
                _refuse(StateFault.ENTRIES, f"entries: a value of {size} bytes stands as a digest")
        else:
            _refuse(StateFault.ENTRIES, f"entries: no value begins at byte {size_at}")
        if at > end:
            _refuse(StateFault.ENTRIES, "entries: the last one is not whole")
        yield entry


def _check_fields(proof: StateProof) -> None:
    """Refuse what no proof can hold, before anything is hashed."""
    if not DEPTH_MIN <= proof.depth <= DEPTH_MAX:
        _refuse(StateFault.DEPTH, f"depth: expected {DEPTH_MIN} to {DEPTH_MAX}, got {proof.depth}")
    if len(proof.siblings) != proof.depth * crypto.DIGEST_BYTES:
        _refuse(StateFault.DEPTH, f"siblings: {len(proof.siblings)} bytes for a depth of {proof.depth}")
    if len(proof.entries) > BUCKET_BYTES_MAX:
        _refuse(StateFault.SIZE, f"entries: {len(proof.entries)} bytes, allowed are {BUCKET_BYTES_MAX}")
    if len(proof.value) > VALUE_BYTES_MAX:
        _refuse(StateFault.SIZE, f"value: {len(proof.value)} bytes, at most {VALUE_BYTES_MAX} are allowed")
    if len(proof.others) >= PROVIDERS_MAX:
        _refuse(StateFault.PROVIDERS, f"others: {len(proof.others)}, at most {PROVIDERS_MAX - 1} are allowed")
    wrong = _wrong_roots(proof.others)
    if not _NAME.fullmatch(proof.provider) or proof.provider in (tree.provider for tree in proof.others):
        wrong = wrong or f"{proof.provider!r} is no name, or listed among the others"
    if wrong:
        _refuse(StateFault.PROVIDERS, f"providers: {wrong}")


# Bytes of a proof


def encode_state_proof(proof: StateProof) -> bytes:
    """The bytes of a proof that was decoded, or made from a tree."""
    counts = proof.depth, len(proof.others), len(proof.entries), len(proof.value)
    return b"".join(
        [
            _HEAD.pack(PROOF_TAG, PROOF_VERSION, *counts),
            _encode_name(proof.provider),
            *[_encode_name(name) + bytes([depth]) + root for name, depth, root in proof.others],
            proof.siblings,
            proof.entries,
            proof.value,
        ]
    )


def decode_state_proof(frame: bytes | bytearray | memoryview) -> StateProof:
    """The proof that the bytes spell; encode_state_proof gives the same bytes back.

    Total: raises PeerFault with a StateFault for anything else. Whether it holds is verify_state_proof's.
    """
    if memoryview(frame).nbytes > PROOF_BYTES_MAX:
        _refuse(StateFault.SIZE, f"proof: more than the {PROOF_BYTES_MAX} bytes that are allowed")
    octets = bytes(frame)
    if len(octets) < _HEAD.size:
        _refuse(StateFault.TRUNCATED, f"proof: {len(octets)} bytes, the head alone has {_HEAD.size}")
    tag, version, depth, others, entries_size, value_size = _HEAD.unpack_from(octets)
    if tag != PROOF_TAG:
        _refuse(StateFault.TAG, f"tag: expected {PROOF_TAG}, got {tag}")
    if version != PROOF_VERSION:
        _refuse(StateFault.VERSION, f"version: expected {PROOF_VERSION}, got {version}")
    provider, at = _decode_name(octets, _HEAD.size)
    roots = []
    for _ in range(others):
        name, at = _decode_name(octets, at)
        roots.append(TreeRoot(name, octets[at], Digest(octets[at + 1 : at + 1 + crypto.DIGEST_BYTES])))
        at += 1 + crypto.DIGEST_BYTES
    entries_at = at + depth * crypto.DIGEST_BYTES
    value_at = entries_at + entries_size
    if len(octets) != value_at + value_size:
        fault = StateFault.TRUNCATED if len(octets) < value_at + value_size else StateFault.TRAILING
        _refuse(fault, f"proof: the head announces {value_at + value_size} bytes, got {len(octets)}")
    siblings, entries, value = octets[at:entries_at], octets[entries_at:value_at], octets[value_at:]
    proof = StateProof(provider, depth, tuple(roots), siblings, entries, value)
    _check_fields(proof)
    return proof


def _encode_name(name: str) -> bytes:
    return bytes([len(name)]) + name.encode()


def _decode_name(octets: bytes, at: int) -> tuple[str, int]:
    """A name whose size stands at `at`, and the offset behind it, which is within the octets."""
    end = at + 1 + octets[at] if at < len(octets) else len(octets)
    if end >= len(octets):
        _refuse(StateFault.TRUNCATED, f"proof: the bytes end within the name at byte {at}")
    # Latin-1 takes any byte, so that what is wrong with a name is found in one place.
    return octets[at + 1 : end].decode("latin-1"), end


def _refuse(fault: StateFault, message: str) -> NoReturn:
    raise PeerFault(fault, message)
