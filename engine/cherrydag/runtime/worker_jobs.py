"""What the workers are given: native jobs with their arguments checked, for no thread of theirs can raise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cherrydag._native.digest import hash_records_job
from cherrydag._native.ed25519 import INDEPENDENT, verify_job
from cherrydag._native.workers import Job
from cherrydag.crypto import record_bytes
from cherrydag.errors import ShapeError

if TYPE_CHECKING:
    from cherrydag.crypto import BytesLike


def verification(public_keys: BytesLike, digests: BytesLike, signatures: BytesLike, independent: bool) -> Job:
    """Of `WorkerPool.verify`, whose arguments these are. ShapeError if the lengths disagree."""
    n = _rows(signatures, "signatures", 64)
    for name, source in (("public_keys", public_keys), ("digests", digests)):
        count = _rows(source, name, 32)
        if count != n:
            raise ShapeError(f"{name}: {count} rows for {n} signatures")
    return Job(verify_job, (public_keys, digests, signatures), (n, INDEPENDENT if independent else 0), n)


def hashing(records: BytesLike, start: int, stop: int, key: BytesLike | None, stride: int | None) -> Job:
    """Of `WorkerPool.hash_records`, whose arguments these are. ShapeError unless they fit together."""
    width = record_bytes(records, stride)
    if not 0 <= start <= stop <= width:
        raise ShapeError(f"need 0 <= start <= stop <= stride, got {start}, {stop} and {width}")
    if key is not None and _size(key) != 32:
        raise ShapeError(f"key: expected 32 bytes, got {_size(key)}")
    n = _rows(records, "records", width)
    return Job(hash_records_job, (records, key), (n, width, start, stop), 32 * n)


def _size(source: BytesLike) -> int:
    return source.nbytes if isinstance(source, np.ndarray) else memoryview(source).nbytes


def _rows(source: BytesLike, name: str, width: int) -> int:
    size = _size(source)
    if size % width:
        raise ShapeError(f"{name}: {size} bytes are not a whole number of {width}-byte rows")
    return size // width
