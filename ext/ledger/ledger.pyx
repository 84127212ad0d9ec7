"""The account table in native code. Rules and costs: ledger.h; contracts: cherrydag.execution.accounts.

A Table has one owner. Batch calls let go of the GIL, so each call first makes sure that none is under way.
"""

import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from cherrydag.errors import Overloaded, invariant

include "base/buffers.pxi"


cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX

cdef extern from "base/cpu.h" nogil:
    int cd_isa_use(int level)

cdef extern from "wire/wire.h" nogil:
    enum:
        CD_RECORD_BYTES

cdef extern from "ledger/ledger.h" nogil:
    enum:
        CD_OK
        CD_ERR_ARGUMENT
        CD_ERR_MEMORY
        CD_ERR_FULL
        CD_LEDGER_ADDRESS_BYTES
        CD_LEDGER_ENTRY_BYTES
        CD_LEDGER_LINES_MAX
        CD_LEDGER_DEPTH_MAX
        CD_ACCOUNT_POLICY
    ctypedef struct cd_ledger:
        pass
    ctypedef struct cd_ledger_line:
        uint8_t address[20]
        uint32_t asset
        uint64_t balance[2]
        uint64_t nonce_base, nonce_mask
        uint32_t flags, link
    ctypedef struct cd_ledger_config:
        uint32_t lines_max, depth
        uint8_t bucket_key[32]
        uint8_t address_key[32]
        uint8_t seed[16]
    ctypedef struct cd_ledger_stats:
        uint32_t lines, dirty_buckets
        uint64_t fees[2]
        uint64_t bytes
    int cd_ledger_open(const cd_ledger_config *config, cd_ledger **ledger)
    void cd_ledger_free(cd_ledger *ledger)
    int cd_ledger_get_stats(const cd_ledger *ledger, cd_ledger_stats *stats)
    int cd_ledger_apply(cd_ledger *ledger, const uint8_t *records, const uint8_t *senders, size_t n,
                        uint32_t now_s, uint8_t *statuses, size_t *handled)
    int cd_ledger_begin(cd_ledger *ledger, const uint8_t *record, const uint8_t *sender, uint32_t now_s,
                        uint32_t forbidden, uint8_t *status)
    int cd_ledger_judge(const cd_ledger *ledger, const uint8_t *records, size_t n, uint32_t now_s,
                        uint32_t forbidden, uint8_t *statuses)
    int cd_ledger_get(const cd_ledger *ledger, const uint8_t *address, uint32_t asset,
                      cd_ledger_line *line, int *found)
    int cd_ledger_put(cd_ledger *ledger, const cd_ledger_line *lines, size_t n, int fresh, size_t *done)
    int cd_ledger_export(const cd_ledger *ledger, uint32_t *cursor, cd_ledger_line *lines, size_t max,
                         size_t *count)
    int cd_ledger_snapshot_begin(cd_ledger *ledger)
    int cd_ledger_snapshot_read(cd_ledger *ledger, cd_ledger_line *lines, size_t max, size_t *count)
    int cd_ledger_snapshot_end(cd_ledger *ledger)
    int cd_ledger_set_fees(cd_ledger *ledger, const uint64_t *fees)
    int cd_ledger_audit(const cd_ledger *ledger, uint32_t asset, uint64_t *total)
    int cd_ledger_is_sound(const cd_ledger *ledger)
    int cd_ledger_drain_dirty(cd_ledger *ledger, uint32_t *buckets, size_t max, size_t *count)
    int cd_ledger_bucket_offsets(const cd_ledger *ledger, const uint32_t *buckets, size_t n,
                                 uint64_t *offsets)
    int cd_ledger_bucket_entries(const cd_ledger *ledger, const uint32_t *buckets, size_t n,
                                 const uint64_t *offsets, uint8_t *out, size_t out_size)


LINE_BYTES = sizeof(cd_ledger_line)
ENTRY_BYTES = CD_LEDGER_ENTRY_BYTES
LINES_MAX = CD_LEDGER_LINES_MAX
DEPTH_MAX = CD_LEDGER_DEPTH_MAX
ACCOUNT_POLICY = CD_ACCOUNT_POLICY


def isa_use(int level):
    """Level of the hashes; cherrydag.crypto knows the levels."""
    if cd_isa_use(level) != CD_OK:
        raise ShapeError(f"level: this CPU does not support {level}")


cdef int check(int status, str what) except -1:
    if status == CD_OK:
        return 0
    if status == CD_ERR_FULL:
        raise Overloaded(f"{what}: the account table is full")
    if status == CD_ERR_MEMORY:
        raise MemoryError(what)
    raise ShapeError(what)


cdef const uint8_t *sized(Buffer held, str name, size_t size) except NULL:
    if held.size() != size:
        raise ShapeError(f"{name}: expected {size} bytes, got {held.size()}")
    return held.data()


cdef const cd_ledger_line *lines_of(Buffer held) except? NULL:
    if <size_t>held.data() % sizeof(uint64_t):
        raise ShapeError("lines: expected them at an 8-byte boundary")
    return <const cd_ledger_line *>held.data()


cdef class Table:
    cdef cd_ledger *ledger
    cdef bint busy

    def __cinit__(self, uint32_t lines_max, uint32_t depth, object bucket_key, object address_key,
                  object seed):
        cdef cd_ledger_config config
        cdef Buffer bucket = acquire(bucket_key, "bucket_key"), address = acquire(address_key, "address_key")
        cdef Buffer secret = acquire(seed, "seed")
        config.lines_max = lines_max
        config.depth = depth
        config.bucket_key = sized(bucket, "bucket_key", 32)[:32]
        config.address_key = sized(address, "address_key", 32)[:32]
        config.seed = sized(secret, "seed", 16)[:16]
        check(cd_ledger_open(&config, &self.ledger),
              f"lines_max: expected 1..{CD_LEDGER_LINES_MAX}, got {lines_max};"
              f" depth: expected 1..{CD_LEDGER_DEPTH_MAX}, got {depth}")

    def __dealloc__(self):
        cd_ledger_free(self.ledger)

    cdef int enter(self) except -1:
        if self.busy:
            invariant(False, "one owner calls the account table, one call at a time")
        return 0

    def apply(self, object records, object statuses, uint32_t now_s, size_t start, object senders):
        cdef Buffer source = acquire(records, "records"), target = acquire(statuses, "statuses", True)
        cdef Buffer known = None if senders is None else acquire(senders, "senders")
        cdef size_t n = rows(source, "records", CD_RECORD_BYTES)
        cdef size_t handled = 0
        cdef const uint8_t *by = NULL
        if target.size() != n:
            raise ShapeError(f"statuses: {target.size()} bytes for {n} records")
        if start > n:
            raise ShapeError(f"start: expected 0..{n}, got {start}")
        if known is not None and rows(known, "senders", CD_LEDGER_ADDRESS_BYTES) != n:
            raise ShapeError(f"senders: {known.size()} bytes for {n} records")
        if known is not None and n:
            by = known.data() + start * CD_LEDGER_ADDRESS_BYTES
        self.enter()
        self.busy = True
        with nogil:
            status = cd_ledger_apply(self.ledger, source.data() + start * CD_RECORD_BYTES, by, n - start,
                                     now_s, target.writable() + start, &handled)
        self.busy = False
        if status != CD_OK:
            check(status, f"row {start + handled}")
        return handled

    def begin(self, object record, object sender, uint32_t now_s, uint32_t forbidden):
        cdef Buffer source = acquire(record, "record")
        cdef Buffer known = None if sender is None else acquire(sender, "sender")
        cdef const uint8_t *by = NULL
        cdef uint8_t status = 0
        if known is not None:
            by = sized(known, "sender", CD_LEDGER_ADDRESS_BYTES)
        self.enter()
        check(cd_ledger_begin(self.ledger, sized(source, "record", CD_RECORD_BYTES), by, now_s, forbidden,
                              &status), "a new account")
        return status

    def judge(self, object records, object statuses, uint32_t now_s, uint32_t forbidden):
        cdef Buffer source = acquire(records, "records"), target = acquire(statuses, "statuses", True)
        cdef size_t n = rows(source, "records", CD_RECORD_BYTES)
        if target.size() != n:
            raise ShapeError(f"statuses: {target.size()} bytes for {n} records")
        self.enter()
        self.busy = True
        with nogil:
            cd_ledger_judge(self.ledger, source.data(), n, now_s, forbidden, target.writable())
        self.busy = False

    def get(self, object address, uint32_t asset):
        cdef Buffer held = acquire(address, "address")
        cdef cd_ledger_line line
        cdef int found = 0
        self.enter()
        cd_ledger_get(self.ledger, sized(held, "address", CD_LEDGER_ADDRESS_BYTES), asset, &line, &found)
        if not found:
            return None
        return (line.balance[0] | <object>line.balance[1] << 64, line.nonce_base, line.nonce_mask, line.flags)

    def put(self, object lines, bint fresh):
        cdef Buffer held = acquire(lines, "lines")
        cdef size_t n = rows(held, "lines", sizeof(cd_ledger_line))
        cdef const cd_ledger_line *first = lines_of(held)
        cdef size_t done = 0
        self.enter()
        self.busy = True
        with nogil:
            status = cd_ledger_put(self.ledger, first, n, fresh, &done)
        self.busy = False
        if status == CD_ERR_ARGUMENT:
            raise ShapeError(f"lines: row {done} is no line of a table"
                             + (", says nothing or is there already" if fresh else ""))
        if status != CD_OK:
            check(status, f"lines: row {done}")

    def put_one(self, object address, uint32_t asset, object balance, uint64_t nonce_base,
                uint64_t nonce_mask, uint32_t flags):
        cdef Buffer held = acquire(address, "address")
        cdef cd_ledger_line line
        cdef size_t done = 0
        if not 0 <= balance < 1 << 128:
            raise ShapeError(f"balance: expected 0..2^128-1, got {balance}")
        line.address = sized(held, "address", CD_LEDGER_ADDRESS_BYTES)[:20]
        line.asset = asset
        line.balance[0] = balance & 0xFFFFFFFFFFFFFFFF
        line.balance[1] = balance >> 64
        line.nonce_base = nonce_base
        line.nonce_mask = nonce_mask
        line.flags = flags
        line.link = 0
        self.enter()
        check(cd_ledger_put(self.ledger, &line, 1, 0, &done), "nonces: not a replay window of this line")

    def export(self, uint32_t cursor, object lines):
        cdef Buffer held = acquire(lines, "lines", True)
        cdef size_t n = rows(held, "lines", sizeof(cd_ledger_line)), count = 0
        cdef cd_ledger_line *first = <cd_ledger_line *>lines_of(held)
        self.enter()
        self.busy = True
        with nogil:
            cd_ledger_export(self.ledger, &cursor, first, n, &count)
        self.busy = False
        return count, cursor

    def snapshot_begin(self):
        self.enter()
        cdef int status = cd_ledger_snapshot_begin(self.ledger)
        invariant(status != CD_ERR_ARGUMENT, "the account table has one snapshot at a time")
        check(status, "a snapshot")

    def snapshot_read(self, object lines):
        cdef Buffer held = acquire(lines, "lines", True)
        cdef size_t n = rows(held, "lines", sizeof(cd_ledger_line)), count = 0
        cdef cd_ledger_line *first = <cd_ledger_line *>lines_of(held)
        self.enter()
        self.busy = True
        with nogil:
            status = cd_ledger_snapshot_read(self.ledger, first, n, &count)
        self.busy = False
        invariant(status == CD_OK, "a snapshot of the account table is read before it ends")
        return count

    def snapshot_end(self):
        self.enter()
        self.busy = True
        with nogil:
            cd_ledger_snapshot_end(self.ledger)
        self.busy = False

    def set_fees(self, object fees):
        cdef uint64_t words[2]
        if not 0 <= fees < 1 << 128:
            raise ShapeError(f"fees: expected 0..2^128-1, got {fees}")
        words[0], words[1] = fees & 0xFFFFFFFFFFFFFFFF, fees >> 64
        self.enter()
        cd_ledger_set_fees(self.ledger, words)

    def audit(self, uint32_t asset):
        cdef uint64_t total[3]
        self.enter()
        self.busy = True
        with nogil:
            cd_ledger_audit(self.ledger, asset, total)
        self.busy = False
        return total[0] | <object>total[1] << 64 | <object>total[2] << 128

    def is_sound(self):
        self.enter()
        return bool(cd_ledger_is_sound(self.ledger))

    def drain_dirty(self):
        cdef cd_ledger_stats stats
        cdef size_t count = 0
        cdef uint32_t[::1] view
        self.enter()
        cd_ledger_get_stats(self.ledger, &stats)
        out = np.empty(stats.dirty_buckets, np.uint32)
        if stats.dirty_buckets:
            view = out
            cd_ledger_drain_dirty(self.ledger, &view[0], stats.dirty_buckets, &count)
        return out

    def bucket_entries(self, const uint32_t[::1] buckets not None):
        cdef size_t n = <size_t>buckets.shape[0]
        cdef const uint32_t *first = &buckets[0] if n else NULL
        offsets = np.empty(n + 1, np.uint64)
        cdef uint64_t[::1] offsets_view = offsets
        cdef int status
        cdef bytes entries
        cdef uint8_t *out
        self.enter()
        self.busy = True
        with nogil:
            status = cd_ledger_bucket_offsets(self.ledger, first, n, &offsets_view[0])
        self.busy = False
        check(status, "buckets: one is beyond the state tree's last")
        if offsets_view[n] > <uint64_t>PY_SSIZE_T_MAX:
            raise MemoryError(f"{offsets_view[n]} bytes of entries")
        entries = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>offsets_view[n])
        out = <uint8_t *>PyBytes_AS_STRING(entries)
        self.busy = True
        with nogil:
            status = cd_ledger_bucket_entries(self.ledger, first, n, &offsets_view[0], out, offsets_view[n])
        self.busy = False
        check(status, "buckets: the entries changed under way")
        return entries, offsets

    def stats(self):
        cdef cd_ledger_stats stats
        self.enter()
        cd_ledger_get_stats(self.ledger, &stats)
        return stats.lines, stats.dirty_buckets, stats.fees[0] | <object>stats.fees[1] << 64, stats.bytes
