"""BLAKE3 digests, Merkle trees and Ed25519 verification: the typed face of the native code.

Everything is computed natively, many items at a time, without the GIL. Domains are separated by the
keyed and derive-key modes of BLAKE3, never by prefixes. ShapeError means a wrong argument of ours;
verify_merkle_proof alone takes peers' bytes, and answers False to whatever is wrong with them.
"""

import os
from collections.abc import Sequence
from operator import index as as_int
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from cherrydag._native import digest as _digest
from cherrydag._native import ed25519 as _ed25519
from cherrydag._native import ledger as _ledger
from cherrydag._native import statetree as _statetree
from cherrydag.errors import ConfigError, ShapeError

DIGEST_BYTES: Final = 32

BytesLike: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.generic]
"""Contiguous bytes: also numpy arrays of u1, of void, of fixed strings and of records."""

Offsets: TypeAlias = Sequence[int] | npt.NDArray[np.integer]

_U64_MAX: Final = 2**64 - 1


# Digests


def hash_bytes(data: BytesLike, key: BytesLike | None = None) -> bytes:
    """BLAKE3 of one message of any length, 32 bytes; keyed mode if a 32-byte key is given."""
    return _digest.hash_one(data, key, None)


def derive_key(context: str, material: BytesLike) -> bytes:
    """32 bytes derived from key material, in BLAKE3's derive-key mode.

    context: a constant of the program that names application, date and purpose, never input.
    """
    return _digest.hash_one(material, None, context.encode())


def hash_many(
    data: BytesLike, offsets: Offsets, key: BytesLike | None = None, *, context: str | None = None
) -> bytes:
    """BLAKE3 of n messages that lie one after another, in one native call.

    data: the messages; offsets: n + 1 integers that do not decrease and do not pass the end of data;
    message i is data[offsets[i]:offsets[i + 1]], of any length. key: 32 bytes for keyed mode; context:
    for derive-key mode; only one of them.
    Returns n x 32 bytes in input order. Raises ShapeError on a wrong shape or offset.
    """
    domain = None if context is None else context.encode()
    return _digest.hash_many(data, _offset_bytes(offsets), key, domain)


def hash_records(
    records: BytesLike, start: int, stop: int, key: BytesLike | None = None, *, stride: int | None = None
) -> bytes:
    """BLAKE3 of bytes [start, stop) of each of n records of one size, in one native call.

    records: a 1-D array of records, voids or fixed strings (a record is an item), a 2-D array of bytes (a
    record is a row), a memoryview of either, or any bytes with the size of a record in `stride`.
    key: 32 bytes for keyed mode.
    Returns n x 32 bytes in input order. Raises ShapeError unless 0 <= start <= stop <= stride and the
    records are contiguous and whole.
    """
    size = record_bytes(records, stride)
    first, last = as_int(start), as_int(stop)
    if not 0 <= first <= last <= size:
        raise ShapeError(f"start, stop: expected 0 <= start <= stop <= {size}, got {first}, {last}")
    return _digest.hash_records(records, size, first, last, key)


def _offset_bytes(offsets: Offsets) -> BytesLike:
    """The offsets as the bytes of native uint64, whatever integers they were."""
    if not isinstance(offsets, np.ndarray):
        values = [as_int(offset) for offset in offsets]
        if values and not 0 <= min(values) <= max(values) <= _U64_MAX:
            raise ShapeError(f"offsets: expected 0 to 2^64 - 1, got {min(values)} to {max(values)}")
        return np.array(values, dtype=np.uint64).view(np.uint8)
    if offsets.ndim != 1 or offsets.dtype.kind not in "ui":
        shape = f"{offsets.ndim}-D of {offsets.dtype}"
        raise ShapeError(f"offsets: expected a 1-D array of integers, got {shape}")
    if offsets.dtype.kind == "i" and offsets.size and int(offsets.min()) < 0:
        raise ShapeError(f"offsets: expected values from 0, got {int(offsets.min())}")
    return np.require(offsets, np.uint64, ["C", "A"]).view(np.uint8)


def record_bytes(records: BytesLike, stride: int | None) -> int:
    """The size of a record, from the array or from the caller; ShapeError unless they agree."""
    implied = None
    if isinstance(records, memoryview):
        records = np.asarray(records)
    if isinstance(records, np.ndarray):
        if records.ndim == 2 and records.dtype.itemsize == 1:
            implied = records.shape[1]
        elif records.ndim == 1 and records.dtype.kind in "VS":
            implied = records.dtype.itemsize
        elif records.ndim != 1 or records.dtype.itemsize != 1:
            shape = f"{records.ndim}-D of {records.dtype}"
            raise ShapeError(f"records: expected a 1-D array of records or a 2-D array of u1, got {shape}")
    size = implied if stride is None else as_int(stride)
    if size is None:
        raise ShapeError("stride: expected the bytes of a record, since these records do not tell")
    if implied not in (None, size):
        raise ShapeError(f"stride: expected {implied}, the bytes of a record, got {size}")
    if not 1 <= size <= _U64_MAX:
        raise ShapeError(f"stride: expected at least 1 byte, got {size}")
    return size


# Merkle trees


def merkle_root(leaves: BytesLike) -> bytes:
    """Root of the tree over n leaves of 32 bytes (n x 32 bytes, row-major; n = 0 has a root too).

    Neighbours are paired level by level and an odd last node rises unchanged; the root binds n. Definition:
    ext/digest/digest.h. Raises ShapeError if the leaves are not whole.
    """
    return _digest.merkle_root(leaves)


def merkle_proof(leaves: BytesLike, index: int) -> bytes:
    """The siblings from leaf `index` up to the top, 32 bytes each, lowest first.

    Costs as much as the root. Raises ShapeError if the leaves are not whole or have no such index.
    """
    wanted = as_int(index)
    if not 0 <= wanted <= _U64_MAX:
        raise ShapeError(f"index: expected a leaf's number, got {wanted}")
    return _digest.merkle_proof(leaves, wanted)


def verify_merkle_proof(root: BytesLike, leaf: BytesLike, index: int, count: int, proof: BytesLike) -> bool:
    """Whether `leaf` stands at `index` under the root of a tree of `count` leaves.

    Total: any bytes and any integers are answered, with False if a length or a number cannot be right.
    """
    if not (0 <= index < count <= _U64_MAX):
        return False
    return _digest.merkle_verify(root, leaf, index, count, proof)


# Signatures

VERIFY_BATCH_MAX: Final = _ed25519.BATCH_MAX
"""Signatures that share one batch equation; a longer call is cut into equal batches."""

KEY_CACHE_CAPACITY: Final = _ed25519.KEY_CACHE_CAPACITY
"""Decoded public keys that are kept, for each backend in use; the oldest of a set gives way."""

KEY_CACHE_BYTES: Final = _ed25519.KEY_CACHE_BYTES
"""Memory of a full cache of decoded keys, for each backend in use."""


def verify_signatures(
    public_keys: BytesLike, digests: BytesLike, signatures: BytesLike, *, independent: bool = False
) -> bytes:
    """Check n Ed25519 signatures of 32-byte digests (ZIP-215) in one native call, without the GIL.

    public_keys: n x 32 bytes, row-major; digests: n x 32; signatures: n x 64. independent: skip the batch
    equation, which pays off for a source whose batches keep failing. The verdicts are the same.
    Returns n bytes, 1 valid or 0 invalid, in input order. Whatever the bytes say, the answer is a verdict.
    Raises ShapeError if the lengths disagree: our bug, never a peer's.
    Source: https://zips.z.cash/zip-0215 ; the rule in full is in ext/ed25519/ed25519.h.
    """
    flags = _ed25519.INDEPENDENT if independent else 0
    return _ed25519.verify_signatures(public_keys, digests, signatures, flags)


def verify_messages(
    public_keys: BytesLike, messages: Sequence[bytes], signatures: BytesLike, *, independent: bool = False
) -> bytes:
    """As verify_signatures, for n messages of any length."""
    if isinstance(messages, bytes | bytearray | memoryview | str):
        raise ShapeError("messages: expected a sequence of messages, got one")
    flags = _ed25519.INDEPENDENT if independent else 0
    offsets = np.zeros(len(messages) + 1, np.uint64)
    np.cumsum([len(message) for message in messages], out=offsets[1:], dtype=np.uint64)
    return _ed25519.verify_messages(public_keys, b"".join(messages), offsets, signatures, flags)


def clear_key_cache() -> None:
    """Forget the decoded public keys: for measurements from a cold start."""
    _ed25519.clear_key_cache()


# Backends

_LEVELS: Final = ("portable", "avx2", "avx512", "avx512ifma")  # by the native code's level number


def backends() -> tuple[str, ...]:
    """The instruction sets that this CPU supports, fastest first. All give the same bytes."""
    return _LEVELS[_digest.isa_best() :: -1]


def backend() -> str:
    """The instruction set in use: the fastest, unless use_backend or CHERRYDAG_BACKEND chose another."""
    return _LEVELS[_digest.isa_current()]


def use_backend(name: str) -> None:
    """Use one of backends() from now on, in the whole process. Raises ConfigError for any other."""
    _set_backend(name, "backend")


def _set_backend(name: str, source: str) -> None:
    if name not in backends():
        raise ConfigError(f"{source}: got {name!r}, this CPU has {', '.join(backends())}")
    _set_level(_LEVELS.index(name))


def _set_level(level: int) -> None:
    """Each native module has its own level; all go together."""
    _digest.isa_use(level)
    _ed25519.isa_use(level)
    _ledger.isa_use(level)
    _statetree.isa_use(level)


_chosen = os.environ.get("CHERRYDAG_BACKEND")
if _chosen is not None:
    _set_backend(_chosen, "CHERRYDAG_BACKEND")
