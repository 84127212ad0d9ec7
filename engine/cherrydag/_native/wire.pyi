"""Transaction records in C. Use cherrydag.transaction, which states the contracts."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Bytes: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.generic]

LAYOUT: dict[str, int]
"""Field name -> byte offset in a record, as the native code has it."""

HEAD_BYTES: int
RECORD_BYTES: int

OPERATION_KIND_MIN: int
OPERATION_KIND_MAX: int

def check_records(
    records: _Bytes,
    faults: _Bytes,
    now_s: int,
    fee_min: int,
    body_bytes_max: int,
    nonce_max: int,
    kinds: _Bytes,
) -> int:
    """Write one fault code per 176-byte record to `faults` (n writable bytes); return how many are not 0.

    kinds: 32 bytes, bit k % 8 of byte k // 8 allows operations of kind k; none below OPERATION_KIND_MIN.
    Raises ShapeError if the lengths disagree or such a bit is set, OverflowError if a limit does not fit its
    field's width.
    """

def gather(
    records: _Bytes,
    bodies: _Bytes,
    offsets: npt.NDArray[np.uint64],
    out: _Bytes,
    out_offsets: npt.NDArray[np.uint64],
) -> None:
    """Write head || body of each record to `out` and where each starts to `out_offsets`.

    offsets, out_offsets: n + 1 contiguous u64; out: n * 112 + len(bodies) writable bytes.
    Raises ShapeError naming the first row whose offsets are not its body_size apart.
    """
