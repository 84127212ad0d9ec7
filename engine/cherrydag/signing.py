"""Signing with Ed25519, by libsodium through PyNaCl: constant-time and deterministic.

A signature covers the 32-byte transaction id. libsodium signs and nothing else here does; verifying is
crypto's work.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context

import nacl.bindings
import numpy as np
import numpy.typing as npt

from cherrydag.crypto import DIGEST_BYTES
from cherrydag.errors import ShapeError
from cherrydag.params import PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from cherrydag.primitives import Digest, PublicKey
from cherrydag.transaction import Bytes, Records, Words, transaction_ids

SEED_BYTES = 32
"""Size of the secret from which a key pair follows."""

_SECRET_BYTES = 64  # libsodium's form of a secret key: the seed, then the public key.
_CHUNK = 2048  # Signatures between two reports of progress, about 60 ms of one core.

Progress = Callable[[int, int], None]
"""Called as (done, total) from the caller's thread."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An Ed25519 key pair. Its repr shows the public half only, and only that half is compared."""

    public_key: PublicKey
    secret_key: bytes = field(repr=False, compare=False)


def generate_keypair(seed: bytes | None = None) -> KeyPair:
    """A key pair from a 32-byte seed, or from the operating system's randomness without one.

    Raises ShapeError for a seed of another length.
    """
    if seed is None:
        public, secret = nacl.bindings.crypto_sign_keypair()
    elif len(seed) == SEED_BYTES:
        public, secret = nacl.bindings.crypto_sign_seed_keypair(seed)
    else:
        raise ShapeError(f"seed: expected {SEED_BYTES} bytes, got {len(seed)}")
    return KeyPair(PublicKey(public), secret)


def sign_digest(digest: bytes, key: KeyPair) -> bytes:
    """Sign 32 bytes; returns the 64-byte signature."""
    if len(digest) != DIGEST_BYTES:
        raise ShapeError(f"digest: expected {DIGEST_BYTES} bytes, got {len(digest)}")
    return nacl.bindings.crypto_sign(digest, key.secret_key)[:SIGNATURE_BYTES]


@dataclass(frozen=True, slots=True)
class ValidatorSigner:
    """consensus.ports.Signer over a key pair, of which its repr shows the public half only."""

    key: KeyPair

    @property
    def public_key(self) -> PublicKey:
        """By which the committee knows the validator."""
        return self.key.public_key

    def sign(self, digest: Digest) -> bytes:
        """The 64-byte signature of 32 bytes."""
        return sign_digest(digest, self.key)


def sign_records(
    records: Records,
    chain_key: bytes,
    keys: Sequence[KeyPair],
    sender_index: npt.NDArray[np.integer],
    *,
    bodies: Bytes = b"",
    body_offsets: Words | None = None,
    progress: Progress | None = None,
    processes: int = 1,
) -> None:
    """Fill in sender and signature of each record, in place.

    sender_index: n integers, the place in `keys` of each record's signer. bodies, body_offsets: as in
    transaction_ids. processes: how many processes sign; beyond 1 they are spawned for this call (0.7 s), are
    sent the secret keys, and need a main module that can be imported. The signatures do not depend on it.
    Raises ShapeError if lengths disagree, an index is out of range (records are untouched then) or bodies do
    not fit their records.
    """
    n = len(records)
    if sender_index.shape != (n,):
        raise ShapeError(f"sender_index: expected {n} integers, got shape {sender_index.shape}")
    if n and not 0 <= int(sender_index.min()) <= int(sender_index.max()) < len(keys):
        row = int(np.flatnonzero((sender_index < 0) | (sender_index >= len(keys)))[0])
        raise ShapeError(f"sender_index: row {row} is {sender_index[row]}, but there are {len(keys)} keys")
    publics = _matrix([key.public_key for key in keys], PUBLIC_KEY_BYTES)
    secrets = _matrix([key.secret_key for key in keys], _SECRET_BYTES)

    records["sender"] = publics[sender_index]
    ids = transaction_ids(records, chain_key, bodies, body_offsets)
    starts = range(0, n, _CHUNK)
    digests = (ids[start * DIGEST_BYTES : (start + _CHUNK) * DIGEST_BYTES] for start in starts)
    signers = (secrets[sender_index[start : start + _CHUNK]].tobytes() for start in starts)
    with _mapper(processes) as mapped:
        for start, signatures in zip(starts, mapped(digests, signers), strict=True):
            block = records["signature"][start : start + _CHUNK]
            block[:] = np.frombuffer(signatures, dtype=np.uint8).reshape(block.shape)
            if progress is not None:
                progress(start + len(block), n)


def _sign_chunk(digests: bytes, secrets: bytes) -> bytes:
    """Sign n x 32 bytes with n x 64 bytes of secret keys, row by row; returns n x 64 bytes."""
    sign = nacl.bindings.crypto_sign
    return b"".join(
        [
            sign(digests[at : at + DIGEST_BYTES], secrets[2 * at : 2 * at + _SECRET_BYTES])[:SIGNATURE_BYTES]
            for at in range(0, len(digests), DIGEST_BYTES)
        ]
    )


@contextmanager
def _mapper(processes: int) -> Iterator[Callable[[Iterator[bytes], Iterator[bytes]], Iterator[bytes]]]:
    """Map _sign_chunk over chunks, in order, here or in that many processes.

    Processes, because PyNaCl drops the GIL for one 30 us signature at a time: two threads gained 1.4x on two
    cores where two processes gained 2.0x. Spawned, because a fork would copy the locks of other threads.
    """
    if processes == 1:
        yield lambda digests, secrets: map(_sign_chunk, digests, secrets)
        return
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    try:
        yield lambda digests, secrets: pool.map(_sign_chunk, digests, secrets)
    finally:
        pool.shutdown(cancel_futures=True)  # An interrupted call does not sign the rest first.


def _matrix(rows: list[bytes], width: int) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, width)
