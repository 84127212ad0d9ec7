# The state's Merkle tree for Python. Rules and layout: statetree.h; contracts: execution.state_tree.
include "base/buffers.pxi"

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy


cdef extern from "base/cpu.h" nogil:
    int cd_isa_best()
    int cd_isa_current()
    int cd_isa_use(int level)

cdef extern from "statetree/statetree.h" nogil:
    enum:
        CD_OK
        CD_ERR_ARGUMENT
        CD_ERR_MEMORY
        CD_STATETREE_DEPTH_MIN
        CD_STATETREE_DEPTH_MAX
        CD_STATETREE_DIGEST_BYTES
    ctypedef struct cd_statetree:
        pass
    ctypedef struct cd_statetree_config:
        uint32_t depth
        uint8_t node_key[32]
        uint8_t root_key[32]
        uint8_t empty_leaf[32]
    int cd_statetree_open(const cd_statetree_config *config, cd_statetree **tree)
    void cd_statetree_free(cd_statetree *tree)
    int cd_statetree_set_leaves(cd_statetree *tree, const uint32_t *buckets, size_t n,
                                const uint8_t *digests)
    void cd_statetree_root(const cd_statetree *tree, uint8_t *root)
    int cd_statetree_leaf(const cd_statetree *tree, uint32_t bucket, uint8_t *leaf)
    int cd_statetree_siblings(const cd_statetree *tree, uint32_t bucket, uint8_t *siblings)
    size_t cd_statetree_leaves_size(const cd_statetree *tree)
    void cd_statetree_leaves(const cd_statetree *tree, uint8_t *leaves)
    int cd_statetree_load(cd_statetree *tree, const uint8_t *leaves, size_t size)
    uint32_t cd_statetree_audit(const cd_statetree *tree)


DEPTH_MIN = CD_STATETREE_DEPTH_MIN
DEPTH_MAX = CD_STATETREE_DEPTH_MAX


cdef int check(int status, str wrong) except -1:
    if status == CD_OK:
        return 0
    if status == CD_ERR_MEMORY:
        raise MemoryError(wrong)
    raise ShapeError(wrong)


cdef int copy_digest(uint8_t *to, object source, str name) except -1:
    cdef Buffer held = acquire(source, name)
    if held.size() != CD_STATETREE_DIGEST_BYTES:
        raise ShapeError(f"{name}: expected {CD_STATETREE_DIGEST_BYTES} bytes, got {held.size()}")
    memcpy(to, held.data(), CD_STATETREE_DIGEST_BYTES)
    return 0


cdef class Tree:
    cdef cd_statetree *tree
    cdef uint32_t depth
    cdef bint busy  # a call runs without the GIL; it is changed under the GIL only

    def __cinit__(self, uint32_t depth, object node_key, object root_key, object empty_leaf):
        cdef cd_statetree_config config
        config.depth = self.depth = depth
        copy_digest(config.node_key, node_key, "node_key")
        copy_digest(config.root_key, root_key, "root_key")
        copy_digest(config.empty_leaf, empty_leaf, "empty_leaf")
        cdef int status
        with nogil:
            status = cd_statetree_open(&config, &self.tree)
        check(status, f"depth: expected {CD_STATETREE_DEPTH_MIN}..{CD_STATETREE_DEPTH_MAX}, got {depth}")

    def __dealloc__(self):
        cd_statetree_free(self.tree)

    cdef int owned(self) except -1:
        """Two threads in one tree would be a race, so the second is refused."""
        if self.busy:
            raise ShapeError("tree: another thread is changing or reading it")
        return 0

    def set_leaves(self, const uint32_t[::1] buckets not None, object digests):
        cdef Buffer held = acquire(digests, "digests")
        cdef size_t n = <size_t>buckets.shape[0]
        if rows(held, "digests", CD_STATETREE_DIGEST_BYTES) != n:
            raise ShapeError(f"digests: expected {n} for {n} buckets, got {held.size() // 32}")
        cdef const uint32_t *first = &buckets[0] if n else NULL
        cdef const uint8_t *values = held.data()
        cdef int status
        self.owned()
        self.busy = True
        with nogil:
            status = cd_statetree_set_leaves(self.tree, first, n, values)
        self.busy = False
        check(status, f"buckets: expected strictly ascending numbers below 2^{self.depth}")

    def root(self):
        cdef uint8_t digest[32]
        self.owned()
        cd_statetree_root(self.tree, digest)
        return PyBytes_FromStringAndSize(<char *>digest, 32)

    def leaf(self, uint32_t bucket):
        cdef uint8_t digest[32]
        self.owned()
        check(cd_statetree_leaf(self.tree, bucket, digest),
              f"bucket: expected less than 2^{self.depth}, got {bucket}")
        return PyBytes_FromStringAndSize(<char *>digest, 32)

    def siblings(self, uint32_t bucket):
        self.owned()
        cdef bytes out = PyBytes_FromStringAndSize(NULL, self.depth * CD_STATETREE_DIGEST_BYTES)
        check(cd_statetree_siblings(self.tree, bucket, <uint8_t *>PyBytes_AS_STRING(out)),
              f"bucket: expected less than 2^{self.depth}, got {bucket}")
        return out

    def leaves(self):
        self.owned()
        cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>cd_statetree_leaves_size(self.tree))
        cdef uint8_t *to = <uint8_t *>PyBytes_AS_STRING(out)
        self.busy = True
        with nogil:
            cd_statetree_leaves(self.tree, to)
        self.busy = False
        return out

    def load(self, object leaves):
        cdef Buffer held = acquire(leaves, "leaves")
        cdef const uint8_t *first = held.data()
        cdef size_t size = held.size()
        cdef int status
        self.owned()
        self.busy = True
        with nogil:
            status = cd_statetree_load(self.tree, first, size)
        self.busy = False
        check(status, f"leaves: expected {cd_statetree_leaves_size(self.tree)} bytes, got {size}")

    def audit(self):
        cdef uint32_t place
        self.owned()
        self.busy = True
        with nogil:
            place = cd_statetree_audit(self.tree)
        self.busy = False
        return place


def isa_best():
    return cd_isa_best()


def isa_current():
    return cd_isa_current()


def isa_use(int level):
    check(cd_isa_use(level), f"level: expected 0 to {cd_isa_best()}, got {level}")
