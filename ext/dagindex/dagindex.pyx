"""The DAG's window in native code. Rules and costs: dagindex.h; contracts: cherrydag.dag.

An Index has one owner and the GIL is its lock: no call lets go of it, and a batch is one call.
"""

import numpy as np

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t

include "base/buffers.pxi"


cdef extern from "dagindex/dagindex.h" nogil:
    enum:
        CD_OK
        CD_ERR_MEMORY
        CD_DAG_VALIDATORS_MAX
        CD_DAG_PARENTS_MAX
        CD_DAG_SELECT_MIN
        CD_DAG_SELECT_MAX
        CD_DAG_OPERATOR
    ctypedef struct cd_dag:
        pass
    ctypedef struct cd_dag_ref:
        uint8_t digest[32]
        uint32_t round
        uint32_t author
    ctypedef struct cd_dag_mask:
        uint64_t word[4]
    ctypedef struct cd_dag_support:
        cd_dag_mask authors
        uint64_t stake
    ctypedef struct cd_dag_config:
        uint32_t validators, rounds_max, vertices_max, blocks_max, issuers_max
        uint64_t seed[2]
    ctypedef struct cd_dag_stats:
        uint32_t gc_round, highest_round, vertices, tips
        uint64_t bytes
    ctypedef struct cd_dag_vertex:
        cd_dag_ref ref
        uint32_t parents, has_children, committed
    int cd_dag_open(const cd_dag_config *config, const uint64_t *stakes, cd_dag **dag)
    void cd_dag_free(cd_dag *dag)
    int cd_dag_get_stats(const cd_dag *dag, cd_dag_stats *stats)
    int cd_dag_insert(cd_dag *dag, const cd_dag_ref *refs, size_t n, const cd_dag_ref *parents,
                      size_t parents_len, const uint64_t *offsets, uint8_t *outcomes,
                      uint64_t *handles, uint8_t *missing)
    int cd_dag_set_gc_round(cd_dag *dag, uint32_t gc_round, size_t *dropped)
    int cd_dag_find(const cd_dag *dag, const uint8_t *digest, uint64_t *handle)
    int cd_dag_get(const cd_dag *dag, uint64_t handle, cd_dag_vertex *vertex)
    int cd_dag_parents(const cd_dag *dag, uint64_t of, uint64_t *out, size_t max, size_t *count)
    int cd_dag_children(const cd_dag *dag, uint64_t of, uint64_t *out, size_t max, size_t *count)
    int cd_dag_slot(const cd_dag *dag, uint32_t round, uint32_t author, uint64_t *out, size_t max,
                    size_t *count)
    uint64_t cd_dag_quorum(const cd_dag *dag)
    int cd_dag_round_authors(const cd_dag *dag, uint32_t round, cd_dag_support *out)
    int cd_dag_votes(const cd_dag *dag, uint64_t vertex, cd_dag_support *out)
    int cd_dag_blames(const cd_dag *dag, uint32_t round, uint32_t author, cd_dag_support *out)
    int cd_dag_certificates(const cd_dag *dag, uint64_t vertex, cd_dag_support *out)
    int cd_dag_certified_in_past(cd_dag *dag, uint64_t anchor, uint64_t vertex, int *certified)
    int cd_dag_is_reachable(cd_dag *dag, uint64_t source, uint64_t target, int validators_only,
                            int *reachable)
    int cd_dag_order(cd_dag *dag, uint64_t leader, const uint8_t *seed, uint64_t *out, size_t max,
                     size_t *count)
    int cd_dag_mark_committed(cd_dag *dag, const uint64_t *handles, size_t n)
    int cd_dag_approval(cd_dag *dag, uint64_t vertex, cd_dag_support *out)
    int cd_dag_set_tip_round(cd_dag *dag, uint32_t round)
    int cd_dag_set_issuer(cd_dag *dag, uint32_t issuer, uint64_t bond, uint32_t quota)
    int cd_dag_select_uniform(cd_dag *dag, uint32_t k, int operators_only, uint64_t *rng,
                              uint64_t *out, size_t *count)
    int cd_dag_select_fair(cd_dag *dag, uint32_t k, uint64_t tip_cost, uint64_t *out, size_t *count)


VALIDATORS_MAX = CD_DAG_VALIDATORS_MAX
PARENTS_MAX = CD_DAG_PARENTS_MAX
SELECT_MIN = CD_DAG_SELECT_MIN
SELECT_MAX = CD_DAG_SELECT_MAX
OPERATOR = <uint32_t>CD_DAG_OPERATOR
REF_BYTES = sizeof(cd_dag_ref)

ctypedef int (*list_call)(const cd_dag *dag, uint64_t of, uint64_t *out, size_t max,
                          size_t *count) noexcept nogil


cdef tuple support_of(const cd_dag_support *support):
    return (int.from_bytes(PyBytes_FromStringAndSize(<const char *>support.authors.word, 32), "little"),
            support.stake)


cdef int check(int status, str what, object value) except -1:
    if status == CD_OK:
        return 0
    if status == CD_ERR_MEMORY:
        raise MemoryError(what)
    raise ShapeError(f"{what}, got {value}")


cdef const uint8_t *digest_of(Buffer held, str name) except NULL:
    if held.size() != 32:
        raise ShapeError(f"{name}: expected 32 bytes, got {held.size()}")
    return held.data()


cdef class Index:
    cdef cd_dag *dag

    def __cinit__(self, const uint64_t[::1] stakes not None, uint32_t rounds_max, uint32_t vertices_max,
                  uint32_t blocks_max, uint32_t issuers_max, bytes seed not None):
        cdef cd_dag_config config
        if not 1 <= stakes.shape[0] <= CD_DAG_VALIDATORS_MAX:
            raise ShapeError(f"stakes: expected 1..{CD_DAG_VALIDATORS_MAX} validators, got {stakes.shape[0]}")
        if len(seed) != 16:
            raise ShapeError(f"seed: expected 16 bytes, got {len(seed)}")
        config.validators = <uint32_t>stakes.shape[0]
        config.rounds_max = rounds_max
        config.vertices_max = vertices_max
        config.blocks_max = blocks_max
        config.issuers_max = issuers_max
        config.seed[0] = int.from_bytes(seed[:8], "little")
        config.seed[1] = int.from_bytes(seed[8:], "little")
        check(cd_dag_open(&config, &stakes[0], &self.dag),
              "stakes must sum to 1..2^64-1 and limits lie within those of dagindex.h",
              (rounds_max, vertices_max, blocks_max, issuers_max))

    def __dealloc__(self):
        cd_dag_free(self.dag)

    def insert(self, object refs, object parents, const uint64_t[::1] offsets not None):
        cdef Buffer vertices = acquire(refs, "refs")
        cdef Buffer links = acquire(parents, "parents")
        cdef size_t n = rows(vertices, "refs", sizeof(cd_dag_ref))
        cdef size_t m = rows(links, "parents", sizeof(cd_dag_ref))
        if <size_t>offsets.shape[0] != n + 1:
            raise ShapeError(f"offsets: expected {n + 1} values for {n} vertices, got {offsets.shape[0]}")
        outcomes, handles, missing = np.empty(n, np.uint8), np.empty(n, np.uint64), np.zeros(m, np.uint8)
        cdef uint8_t[::1] outcomes_view = outcomes, missing_view = missing
        cdef uint64_t[::1] handles_view = handles
        check(cd_dag_insert(self.dag, <const cd_dag_ref *>vertices.data(), n,
                            <const cd_dag_ref *>links.data(), m, &offsets[0],
                            &outcomes_view[0] if n else NULL, &handles_view[0] if n else NULL,
                            &missing_view[0] if m else NULL),
              f"offsets must rise from 0 to the number of parents, {m}", (offsets[0], offsets[n]))
        return outcomes, handles, missing

    def insert_one(self, object digest, uint32_t round, uint32_t author, object parents):
        cdef Buffer links = acquire(parents, "parents")
        cdef size_t m = rows(links, "parents", sizeof(cd_dag_ref))
        cdef uint8_t missing[264]
        cdef uint8_t outcome = 0
        cdef uint64_t handle = 0
        cdef uint64_t offsets[2]
        cdef cd_dag_ref ref
        cdef Buffer held = acquire(digest, "digest")
        ref.digest = digest_of(held, "digest")[:32]
        ref.round = round
        ref.author = author
        offsets[0], offsets[1] = 0, m
        if m > CD_DAG_PARENTS_MAX:
            raise ShapeError(f"parents: at most {CD_DAG_PARENTS_MAX}, got {m}")
        cd_dag_insert(self.dag, &ref, 1, <const cd_dag_ref *>links.data(), m, offsets, &outcome, &handle,
                      missing)
        return outcome, handle, PyBytes_FromStringAndSize(<const char *>missing, m)

    def set_gc_round(self, uint32_t gc_round):
        cdef size_t dropped = 0
        check(cd_dag_set_gc_round(self.dag, gc_round, &dropped), "gc_round may not sink", gc_round)
        return dropped

    def find(self, object digest):
        cdef uint64_t handle = 0
        cdef Buffer held = acquire(digest, "digest")
        cd_dag_find(self.dag, digest_of(held, "digest"), &handle)
        return handle

    def get(self, uint64_t handle):
        cdef cd_dag_vertex vertex
        check(cd_dag_get(self.dag, handle, &vertex), "not a vertex of the window", handle)
        return (PyBytes_FromStringAndSize(<const char *>vertex.ref.digest, 32), vertex.ref.round,
                vertex.ref.author, vertex.parents, bool(vertex.has_children), bool(vertex.committed))

    cdef object listed(self, list_call call, uint64_t of):
        cdef uint64_t few[64]
        cdef size_t count = 0, more = 0
        cdef uint64_t[::1] view
        check(call(self.dag, of, few, 64, &count), "not a vertex of the window", of)
        out = np.empty(count, np.uint64)
        if count:
            view = out
            call(self.dag, of, &view[0], count, &more)
        return out

    def parents(self, uint64_t handle):
        return self.listed(cd_dag_parents, handle)

    def children(self, uint64_t handle):
        return self.listed(cd_dag_children, handle)

    def slot(self, uint32_t round, uint32_t author):
        cdef size_t count = 0, more = 0
        cdef uint64_t[::1] view
        check(cd_dag_slot(self.dag, round, author, NULL, 0, &count), "not a known author", author)
        out = np.empty(count, np.uint64)
        if count:
            view = out
            cd_dag_slot(self.dag, round, author, &view[0], count, &more)
        return out

    @property
    def quorum(self):
        return cd_dag_quorum(self.dag)

    def round_authors(self, uint32_t round):
        cdef cd_dag_support support
        cd_dag_round_authors(self.dag, round, &support)
        return support_of(&support)

    def votes(self, uint64_t handle):
        cdef cd_dag_support support
        check(cd_dag_votes(self.dag, handle, &support), "not a validator's vertex of the window", handle)
        return support_of(&support)

    def blames(self, uint32_t round, uint32_t author):
        cdef cd_dag_support support
        check(cd_dag_blames(self.dag, round, author, &support), "not a validator", author)
        return support_of(&support)

    def certificates(self, uint64_t handle):
        cdef cd_dag_support support
        check(cd_dag_certificates(self.dag, handle, &support), "not a validator's vertex of the window",
              handle)
        return support_of(&support)

    def approval(self, uint64_t handle):
        cdef cd_dag_support support
        check(cd_dag_approval(self.dag, handle, &support), "not a vertex of the window", handle)
        return support_of(&support)

    def certified_in_past(self, uint64_t anchor, uint64_t handle):
        cdef int certified = 0
        check(cd_dag_certified_in_past(self.dag, anchor, handle, &certified),
              "not two validators' vertices of the window", (anchor, handle))
        return bool(certified)

    def is_reachable(self, uint64_t source, uint64_t target, bint validators_only):
        cdef int reachable = 0
        check(cd_dag_is_reachable(self.dag, source, target, validators_only, &reachable),
              "not two vertices of the window", (source, target))
        return bool(reachable)

    def order(self, uint64_t leader, object seed):
        cdef Buffer held = acquire(seed, "seed")
        cdef const uint8_t *key = digest_of(held, "seed")
        cdef size_t count = 0, room = 256
        cdef uint64_t[::1] view
        while True:
            out = np.empty(room, np.uint64)
            view = out
            check(cd_dag_order(self.dag, leader, key, &view[0], room, &count),
                  "not a vertex of the window", leader)
            if count <= room:
                return out[:count]
            room = count

    def mark_committed(self, const uint64_t[::1] handles not None):
        cdef size_t n = <size_t>handles.shape[0]
        check(cd_dag_mark_committed(self.dag, &handles[0] if n else NULL, n),
              "one is not a vertex of the window", f"{n} handles")

    def set_tip_round(self, uint32_t round):
        check(cd_dag_set_tip_round(self.dag, round), "the least tip round may not sink", round)

    def set_issuer(self, uint32_t issuer, uint64_t bond, uint32_t quota):
        check(cd_dag_set_issuer(self.dag, issuer, bond, quota), "not an issuer", issuer)

    def select_uniform(self, uint32_t k, bint operators_only, uint64_t rng, size_t times):
        cdef size_t i, count = 0
        cdef int status = CD_OK
        out, counts = np.zeros((times, CD_DAG_SELECT_MAX), np.uint64), np.empty(times, np.uint8)
        cdef uint64_t[:, ::1] view = out
        cdef uint8_t[::1] counts_view = counts
        for i in range(times):
            status = cd_dag_select_uniform(self.dag, k, operators_only, &rng, &view[i, 0], &count)
            check(status, f"k must be {CD_DAG_SELECT_MIN}..{CD_DAG_SELECT_MAX}", k)
            counts_view[i] = <uint8_t>count
        return out, counts, rng

    def select_fair(self, uint32_t k, uint64_t tip_cost, size_t times):
        cdef size_t i, count = 0
        cdef int status = CD_OK
        out, counts = np.zeros((times, CD_DAG_SELECT_MAX), np.uint64), np.empty(times, np.uint8)
        cdef uint64_t[:, ::1] view = out
        cdef uint8_t[::1] counts_view = counts
        for i in range(times):
            status = cd_dag_select_fair(self.dag, k, tip_cost, &view[i, 0], &count)
            check(status, f"k must be {CD_DAG_SELECT_MIN}..{CD_DAG_SELECT_MAX} and tip_cost >= 1", (k, tip_cost))
            counts_view[i] = <uint8_t>count
        return out, counts

    def stats(self):
        cdef cd_dag_stats stats
        cd_dag_get_stats(self.dag, &stats)
        return stats.gc_round, stats.highest_round, stats.vertices, stats.tips, stats.bytes
