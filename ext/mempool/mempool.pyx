"""The mempool in native code. Rules and costs: mempool.h; contracts: cherrydag.mempool.

A Pool has one owner. Calls let go of the GIL, so each first makes sure that none is under way.
"""

import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from cherrydag.errors import invariant

include "base/buffers.pxi"


cdef extern from "mempool/mempool.h" nogil:
    enum:
        CD_OK
        CD_ERR_MEMORY
        CD_MEMPOOL_TRANSACTIONS_MAX
        CD_MEMPOOL_SENDER_MAX
        CD_MEMPOOL_RECENT_MAX
        CD_MEMPOOL_BODY_MAX
        CD_MEMPOOL_BLOCK_BYTES
        CD_MEMPOOL_BODIES_MAX
        CD_MEMPOOL_STATUSES
        CD_MEMPOOL_STEPS
        CD_MEMPOOL_DROPPED_MIN
        CD_MEMPOOL_DROP_EVICTED
        CD_MEMPOOL_DROP_EXPIRED
        CD_MEMPOOL_DROP_STALE
    ctypedef struct cd_mempool:
        pass
    ctypedef struct cd_mempool_config:
        uint32_t transactions_max, sender_max, recent_max
        uint64_t body_bytes_max, fee_min
        uint64_t seed[2]
        uint32_t prefault
    ctypedef struct cd_mempool_stats:
        uint32_t waiting, taken, senders, recent
        uint64_t body_bytes, memory_bytes
        uint64_t outcomes[10]
        uint64_t taken_ever, settled_ever, put_back_ever
        uint64_t dropped[5]
        uint64_t tags, tags_lost
    int cd_mempool_open(const cd_mempool_config *config, cd_mempool **pool)
    void cd_mempool_free(cd_mempool *pool)
    void cd_mempool_get_stats(const cd_mempool *pool, cd_mempool_stats *stats)
    int cd_mempool_add(cd_mempool *pool, const uint8_t *records, const uint8_t *ids, size_t n,
                       const uint8_t *bodies, size_t bodies_size, const uint64_t *offsets,
                       const uint64_t *tags, uint32_t now_s, uint8_t *statuses, size_t *row)
    void cd_mempool_take(cd_mempool *pool, size_t max, uint64_t body_bytes_max, uint64_t bytes_max,
                         uint32_t now_s, uint32_t *slots, size_t *count, uint64_t *body_bytes)
    void cd_mempool_copy(const cd_mempool *pool, const uint32_t *slots, size_t n, uint8_t *records,
                         uint8_t *ids, uint8_t *bodies)
    void cd_mempool_settle(cd_mempool *pool, const uint8_t *ids, size_t n, uint64_t *tags)
    void cd_mempool_forget(cd_mempool *pool, const uint8_t *ids, size_t n)
    void cd_mempool_status(const cd_mempool *pool, const uint8_t *ids, size_t n, uint8_t *presences)
    void cd_mempool_drain(cd_mempool *pool, uint64_t *tags, uint8_t *reasons)
    void cd_mempool_put_back(cd_mempool *pool, const uint8_t *ids, size_t n, size_t *count)
    void cd_mempool_expire(cd_mempool *pool, uint32_t now_s, uint32_t scan_max, size_t *count)
    void cd_mempool_drop_stale(cd_mempool *pool, const uint8_t *keys, const uint64_t *bases, size_t n,
                               size_t *count)


TRANSACTIONS_MAX = CD_MEMPOOL_TRANSACTIONS_MAX
SENDER_MAX = CD_MEMPOOL_SENDER_MAX
RECENT_MAX = CD_MEMPOOL_RECENT_MAX
BODY_MAX = CD_MEMPOOL_BODY_MAX
BLOCK_BYTES = CD_MEMPOOL_BLOCK_BYTES
BODIES_MAX = <uint64_t>CD_MEMPOOL_BODIES_MAX
STEPS = CD_MEMPOOL_STEPS
DROPPED_MIN = CD_MEMPOOL_DROPPED_MIN


cdef class Pool:
    cdef cd_mempool *pool
    cdef bint busy

    def __cinit__(self, uint32_t transactions_max, uint32_t sender_max, uint32_t recent_max,
                  uint64_t body_bytes_max, uint64_t fee_min, bytes seed not None,
                  bint prefault=False):
        cdef cd_mempool_config config
        if len(seed) != 16:
            raise ShapeError(f"seed: expected 16 bytes, got {len(seed)}")
        config.transactions_max = transactions_max
        config.sender_max = sender_max
        config.recent_max = recent_max
        config.body_bytes_max = body_bytes_max
        config.fee_min = fee_min
        config.seed[0] = int.from_bytes(seed[:8], "little")
        config.seed[1] = int.from_bytes(seed[8:], "little")
        config.prefault = prefault
        cdef int status = cd_mempool_open(&config, &self.pool)
        limits = (transactions_max, sender_max, recent_max, body_bytes_max)
        if status == CD_ERR_MEMORY:
            raise MemoryError(f"a mempool with the limits {limits}")
        if status != CD_OK:
            raise ShapeError(f"limits: expected those of mempool.h, got {limits}")

    def __dealloc__(self):
        cd_mempool_free(self.pool)

    cdef int enter(self) except -1:
        if self.busy:
            invariant(False, "one owner calls the mempool, one call at a time")
        return 0

    def add(self, object records, object ids, uint32_t now_s, object bodies, object offsets,
            object tags):
        cdef Buffer source = acquire(records, "records"), names = acquire(ids, "ids")
        cdef Buffer octets = acquire(bodies, "bodies")
        cdef size_t n = rows(source, "records", 176), row = 0
        cdef const uint64_t[::1] starts, marks
        cdef const uint64_t *first = NULL
        cdef const uint64_t *mark = NULL
        cdef int status = CD_OK
        if names.size() != 32 * n:
            raise ShapeError(f"ids: {names.size()} bytes for {n} records")
        if offsets is not None:
            starts = offsets
            if <size_t>starts.shape[0] != n + 1:
                raise ShapeError(f"offsets: expected {n + 1} values, got {starts.shape[0]}")
            first = &starts[0]
        if tags is not None:
            marks = tags
            if <size_t>marks.shape[0] != n:
                raise ShapeError(f"tags: expected {n} values, got {marks.shape[0]}")
            mark = &marks[0] if n else NULL
        statuses = np.empty(n, np.uint8)
        cdef uint8_t[::1] view = statuses
        cdef uint8_t *out = &view[0] if n else NULL
        self.enter()
        self.busy = True
        with nogil:
            status = cd_mempool_add(self.pool, source.data(), names.data(), n, octets.data(), octets.size(),
                                    first, mark, now_s, out, &row)
        self.busy = False
        if status != CD_OK:
            raise ShapeError(f"row {row}: offsets, bodies and body_size disagree")
        return statuses

    def take(self, size_t transactions_max, uint64_t body_bytes_max, uint64_t bytes_max, uint32_t now_s):
        cdef cd_mempool_stats stats
        cdef size_t count = 0
        cdef uint64_t body_bytes = 0
        self.enter()
        cd_mempool_get_stats(self.pool, &stats)
        chosen = np.empty(min(transactions_max, stats.waiting) + 1, np.uint32)
        cdef uint32_t[::1] slots = chosen
        self.busy = True
        with nogil:
            cd_mempool_take(self.pool, <size_t>slots.shape[0] - 1, body_bytes_max, bytes_max, now_s, &slots[0],
                            &count, &body_bytes)
        self.busy = False
        records = np.empty(max(1, count * 176), np.uint8)
        cdef uint8_t[::1] record_view = records
        cdef bytes ids = PyBytes_FromStringAndSize(NULL, 32 * count)
        cdef bytes bodies = PyBytes_FromStringAndSize(NULL, body_bytes)
        cdef uint8_t *id_data = <uint8_t *>PyBytes_AS_STRING(ids)
        cdef uint8_t *body_data = <uint8_t *>PyBytes_AS_STRING(bodies)
        self.busy = True
        with nogil:
            cd_mempool_copy(self.pool, &slots[0], count, &record_view[0], id_data, body_data)
        self.busy = False
        return records[:count * 176], ids, bodies

    def settle(self, object ids, object tags_out):
        cdef Buffer names = acquire(ids, "ids")
        cdef size_t n = rows(names, "ids", 32)
        cdef uint64_t[::1] tags
        cdef uint64_t *out = NULL
        if tags_out is not None:
            tags = tags_out
            if <size_t>tags.shape[0] != n:
                raise ShapeError(f"tags_out: expected {n} values, got {tags.shape[0]}")
            out = &tags[0] if n else NULL
        self.enter()
        self.busy = True
        with nogil:
            cd_mempool_settle(self.pool, names.data(), n, out)
        self.busy = False

    def forget(self, object ids):
        cdef Buffer names = acquire(ids, "ids")
        cdef size_t n = rows(names, "ids", 32)
        self.enter()
        self.busy = True
        with nogil:
            cd_mempool_forget(self.pool, names.data(), n)
        self.busy = False

    def status(self, object ids):
        cdef Buffer names = acquire(ids, "ids")
        cdef size_t n = rows(names, "ids", 32)
        presences = np.empty(n, np.uint8)
        cdef uint8_t[::1] view = presences
        cdef uint8_t *out = &view[0] if n else NULL
        self.enter()
        self.busy = True
        with nogil:
            cd_mempool_status(self.pool, names.data(), n, out)
        self.busy = False
        return presences

    def drain_dropped(self):
        cdef cd_mempool_stats stats
        self.enter()
        cd_mempool_get_stats(self.pool, &stats)
        tags, reasons = np.empty(stats.tags, np.uint64), np.empty(stats.tags, np.uint8)
        cdef uint64_t[::1] tag_view = tags
        cdef uint8_t[::1] reason_view = reasons
        if stats.tags:
            cd_mempool_drain(self.pool, &tag_view[0], &reason_view[0])
        return tags, reasons

    def put_back(self, object ids):
        cdef Buffer names = acquire(ids, "ids")
        cdef size_t n = rows(names, "ids", 32), count = 0
        self.enter()
        self.busy = True
        with nogil:
            cd_mempool_put_back(self.pool, names.data(), n, &count)
        self.busy = False
        return count

    def expire(self, uint32_t now_s, uint32_t scan_max):
        cdef size_t count = 0
        self.enter()
        self.busy = True
        with nogil:
            cd_mempool_expire(self.pool, now_s, scan_max, &count)
        self.busy = False
        return count

    def drop_stale(self, object senders, const uint64_t[::1] bases not None):
        cdef Buffer keys = acquire(senders, "senders")
        cdef size_t n = rows(keys, "senders", 32), count = 0
        if <size_t>bases.shape[0] != n:
            raise ShapeError(f"bases: expected {n} values, got {bases.shape[0]}")
        cdef const uint64_t *first = &bases[0] if n else NULL
        self.enter()
        self.busy = True
        with nogil:
            cd_mempool_drop_stale(self.pool, keys.data(), first, n, &count)
        self.busy = False
        return count

    def waiting(self):
        cdef cd_mempool_stats stats
        self.enter()
        cd_mempool_get_stats(self.pool, &stats)
        return stats.waiting

    def stats(self):
        cdef cd_mempool_stats stats
        self.enter()
        cd_mempool_get_stats(self.pool, &stats)
        outcomes = tuple([stats.outcomes[i] for i in range(CD_MEMPOOL_STATUSES)])
        return (stats.waiting, stats.taken, stats.senders, stats.recent, stats.body_bytes,
                stats.memory_bytes, outcomes, stats.taken_ever, stats.settled_ever, stats.put_back_ever,
                stats.dropped[CD_MEMPOOL_DROP_EVICTED], stats.dropped[CD_MEMPOOL_DROP_EXPIRED],
                stats.dropped[CD_MEMPOOL_DROP_STALE], stats.tags_lost)
