"""Ed25519 verification in C. Use cherrydag.crypto, which states the contracts."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Bytes: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.generic]

INDEPENDENT: int
"""The flag that skips the batch equation."""

BATCH_MAX: int
KEY_CACHE_CAPACITY: int
KEY_CACHE_BYTES: int

verify_job: object
"""PyCapsule "cherrydag.job" (ext/base/job.h): verify_signatures for the native workers.

input[0] public keys, input[1] digests, input[2] signatures; param n, flags; output n.
"""

def verify_signatures(public_keys: _Bytes, digests: _Bytes, signatures: _Bytes, flags: int = 0) -> bytes: ...
def verify_messages(
    public_keys: _Bytes, messages: _Bytes, offsets: npt.NDArray[np.uint64], signatures: _Bytes, flags: int = 0
) -> bytes:
    """offsets: n + 1 of them; message i is messages[offsets[i]:offsets[i + 1]]."""

def clear_key_cache() -> None: ...
def backend_name() -> str:
    """The code that the level in force selects: "ifma", "avx2" (also at the level avx512) or "portable"."""

def isa_best() -> int: ...
def isa_current() -> int: ...
def isa_use(level: int) -> None: ...
