"""Transaction records in native code: one call per batch, without the GIL."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t, SIZE_MAX

include "base/buffers.pxi"


cdef extern from "wire/wire.h" nogil:
    enum:
        CD_OK
        CD_RECORD_KIND
        CD_RECORD_SCHEME
        CD_RECORD_FLAGS
        CD_RECORD_ASSET
        CD_RECORD_NONCE
        CD_RECORD_AMOUNT_LO
        CD_RECORD_AMOUNT_HI
        CD_RECORD_FEE
        CD_RECORD_VALID_UNTIL
        CD_RECORD_BODY_SIZE
        CD_RECORD_RECIPIENT
        CD_RECORD_RESERVED
        CD_RECORD_SENDER
        CD_RECORD_SIGNATURE
        CD_RECORD_HEAD_BYTES
        CD_RECORD_BYTES
        CD_KIND_OPERATION_MIN
        CD_KIND_OPERATION_MAX
        CD_KIND_WORDS

    uint64_t cd_load64_le(const uint8_t *p)

    ctypedef struct cd_wire_limits:
        uint64_t kinds[CD_KIND_WORDS]
        uint64_t fee_min
        uint64_t nonce_max
        uint32_t body_bytes_max
        uint32_t now_s

    int cd_wire_check(const uint8_t *records, size_t n, const cd_wire_limits *limits,
                      uint8_t *faults, size_t *refused)
    int cd_wire_gather(const uint8_t *records, size_t n, const uint8_t *bodies, size_t bodies_len,
                       const uint64_t *offsets, uint8_t *out, size_t out_len,
                       uint64_t *out_offsets, size_t *bad_row)


LAYOUT = {
    "kind": CD_RECORD_KIND,
    "scheme": CD_RECORD_SCHEME,
    "flags": CD_RECORD_FLAGS,
    "asset": CD_RECORD_ASSET,
    "nonce": CD_RECORD_NONCE,
    "amount_lo": CD_RECORD_AMOUNT_LO,
    "amount_hi": CD_RECORD_AMOUNT_HI,
    "fee": CD_RECORD_FEE,
    "valid_until": CD_RECORD_VALID_UNTIL,
    "body_size": CD_RECORD_BODY_SIZE,
    "recipient": CD_RECORD_RECIPIENT,
    "reserved": CD_RECORD_RESERVED,
    "sender": CD_RECORD_SENDER,
    "signature": CD_RECORD_SIGNATURE,
}
HEAD_BYTES = CD_RECORD_HEAD_BYTES
RECORD_BYTES = CD_RECORD_BYTES
OPERATION_KIND_MIN = CD_KIND_OPERATION_MIN
OPERATION_KIND_MAX = CD_KIND_OPERATION_MAX


def check_records(object records, object faults, uint32_t now_s, uint64_t fee_min,
                  uint32_t body_bytes_max, uint64_t nonce_max, object kinds):
    cdef Buffer source = acquire(records, "records")
    cdef Buffer target = acquire(faults, "faults", True)
    cdef Buffer allowed = acquire(kinds, "kinds")
    cdef size_t n = rows(source, "records", CD_RECORD_BYTES)
    if target.size() != n:
        raise ShapeError(f"faults: {target.size()} bytes for {n} records")
    if allowed.size() != CD_KIND_WORDS * 8:
        raise ShapeError(f"kinds: expected {CD_KIND_WORDS * 8} bytes of bits, got {allowed.size()}")
    cdef cd_wire_limits limits
    cdef size_t i
    for i in range(CD_KIND_WORDS):
        limits.kinds[i] = cd_load64_le(allowed.data() + 8 * i)
    limits.fee_min = fee_min
    limits.nonce_max = nonce_max
    limits.body_bytes_max = body_bytes_max
    limits.now_s = now_s
    cdef size_t refused = 0
    cdef int status
    with nogil:
        status = cd_wire_check(source.data(), n, &limits, target.writable(), &refused)
    if status != CD_OK:
        raise ShapeError(f"kinds: a bit below {CD_KIND_OPERATION_MIN} is set ({status})")
    return refused


def gather(object records, object bodies, const uint64_t[::1] offsets not None, object out,
           uint64_t[::1] out_offsets not None):
    cdef Buffer source = acquire(records, "records")
    cdef Buffer extra = acquire(bodies, "bodies")
    cdef Buffer target = acquire(out, "out", True)
    cdef size_t n = rows(source, "records", CD_RECORD_BYTES)
    if <size_t>offsets.shape[0] != n + 1 or <size_t>out_offsets.shape[0] != n + 1:
        raise ShapeError(f"offsets: expected {n + 1} values for {n} records,"
                         f" got {offsets.shape[0]} and {out_offsets.shape[0]}")
    cdef size_t bad_row = SIZE_MAX
    cdef int status
    with nogil:
        status = cd_wire_gather(source.data(), n, extra.data(), extra.size(), &offsets[0],
                                target.writable(), target.size(), &out_offsets[0], &bad_row)
    if status == CD_OK:
        return
    if bad_row == SIZE_MAX:
        raise ShapeError(f"out: {target.size()} bytes do not hold {n} heads and {extra.size()} body bytes")
    if bad_row == n:
        raise ShapeError(f"body_offsets: end at {offsets[n]}, but there are {extra.size()} body bytes")
    raise ShapeError(f"body_offsets: row {bad_row} spans {offsets[bad_row]} to {offsets[bad_row + 1]},"
                     f" which is not its record's body_size within {extra.size()} body bytes")
