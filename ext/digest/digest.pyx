# BLAKE3 and Merkle trees for Python: lengths are checked here, bytes are worked on in C.
include "base/buffers.pxi"

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uint8_t, uint64_t


cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX

cdef extern from "base/cpu.h" nogil:
    int cd_isa_best()
    int cd_isa_current()
    int cd_isa_use(int level)

cdef extern from "base/job.h" nogil:
    ctypedef struct cd_job_args:
        pass
    const char *CD_JOB_CAPSULE

cdef extern from "digest/digest.h" nogil:
    ctypedef int cd_status
    cd_status CD_OK
    cd_status CD_ERR_ARGUMENT
    cd_status CD_ERR_MEMORY
    cd_status CD_ERR_UNSUPPORTED
    size_t CD_MERKLE_PROOF_MAX
    uint64_t CD_TREE_LEAVES_MAX

    ctypedef struct cd_digest_key:
        pass

    void cd_digest_key_plain(cd_digest_key *key)
    void cd_digest_key_keyed(cd_digest_key *key, const uint8_t *key_bytes)
    void cd_digest_key_derive(cd_digest_key *key, const uint8_t *context, size_t context_len)
    void cd_digest_one(const cd_digest_key *key, const uint8_t *data, size_t size, uint8_t *out)
    cd_status cd_digest_many(const cd_digest_key *key, const uint8_t *data, size_t data_len,
                             const uint64_t *offsets, size_t n, uint8_t *out)
    cd_status cd_digest_records(const cd_digest_key *key, const uint8_t *data, size_t n,
                                size_t stride, size_t start, size_t stop, uint8_t *out)
    cd_status cd_digest_records_job(const cd_job_args *args)
    cd_status cd_merkle_root(const uint8_t *leaves, size_t n, uint8_t *root)
    size_t cd_merkle_proof_size(uint64_t index, uint64_t count)
    cd_status cd_merkle_proof(const uint8_t *leaves, size_t n, size_t index, uint8_t *proof)
    int cd_merkle_verify(const uint8_t *root, const uint8_t *leaf, uint64_t index, uint64_t count,
                         const uint8_t *proof, size_t proof_size)


cdef enum:
    DIGEST_BYTES = 32
    QUICK_BYTES = 1024  # one message up to this is done sooner than the GIL changes hands

hash_records_job = PyCapsule_New(<void *>cd_digest_records_job, CD_JOB_CAPSULE, NULL)


cdef int check(cd_status status, str wrong) except -1:
    if status == CD_OK:
        return 0
    if status == CD_ERR_ARGUMENT:
        raise ShapeError(wrong)
    if status == CD_ERR_MEMORY:
        raise MemoryError(wrong)
    raise RuntimeError(f"native status {status}: {wrong}")


cdef int set_key(cd_digest_key *mode, object key, object context) except -1:
    """The mode: plain, keyed by 32 bytes, or deriving under a context's bytes."""
    cdef Buffer held
    if key is not None and context is not None:
        raise ShapeError("key and context: give one or neither, they are two modes")
    if key is not None:
        held = acquire(key, "key")
        if held.size() != DIGEST_BYTES:
            raise ShapeError(f"key: expected 32 bytes, got {held.size()}")
        cd_digest_key_keyed(mode, held.data())
    elif context is not None:
        held = acquire(context, "context")
        cd_digest_key_derive(mode, held.data(), held.size())
    else:
        cd_digest_key_plain(mode)
    return 0


cdef bytes new_digests(size_t n):
    if n > <size_t>PY_SSIZE_T_MAX // DIGEST_BYTES:
        raise ShapeError(f"{n} digests do not fit into memory")
    return PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(n * DIGEST_BYTES))


def hash_one(data, key, context):
    cdef cd_digest_key mode
    cdef Buffer held = acquire(data, "data")
    set_key(&mode, key, context)
    cdef bytes digest = new_digests(1)
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(digest)
    cdef const uint8_t *message = held.data()
    cdef size_t size = held.size()
    if size <= QUICK_BYTES:
        cd_digest_one(&mode, message, size, out)
    else:
        with nogil:
            cd_digest_one(&mode, message, size, out)
    return digest


def hash_many(data, offsets, key, context):
    cdef cd_digest_key mode
    cdef Buffer held = acquire(data, "data")
    cdef Buffer ends = acquire(offsets, "offsets")
    cdef size_t n = rows(ends, "offsets", sizeof(uint64_t))
    if n == 0:
        raise ShapeError("offsets: expected n + 1 values for n messages, got none")
    if <size_t>ends.data() % sizeof(uint64_t):
        raise ShapeError("offsets: expected 8-byte integers at an aligned address")
    n -= 1
    set_key(&mode, key, context)
    cdef bytes digests = new_digests(n)
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(digests)
    cdef const uint8_t *messages = held.data()
    cdef const uint64_t *bounds = <const uint64_t *>ends.data()
    cdef size_t size = held.size()
    cdef cd_status status
    with nogil:
        status = cd_digest_many(&mode, messages, size, bounds, n, out)
    check(status, f"offsets: expected values that never decrease and end within the {size} data bytes")
    return digests


def hash_records(records, size_t stride, size_t start, size_t stop, key):
    cdef cd_digest_key mode
    cdef Buffer held = acquire(records, "records")
    if stride == 0:
        raise ShapeError("stride: expected at least 1 byte, got 0")
    cdef size_t n = rows(held, "records", stride)
    set_key(&mode, key, None)
    cdef bytes digests = new_digests(n)
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(digests)
    cdef const uint8_t *first = held.data()
    cdef cd_status status
    with nogil:
        status = cd_digest_records(&mode, first, n, stride, start, stop, out)
    check(status, f"start, stop: expected 0 <= start <= stop <= {stride}, got {start}, {stop}")
    return digests


def merkle_root(leaves):
    cdef Buffer held = acquire(leaves, "leaves")
    cdef size_t n = rows(held, "leaves", DIGEST_BYTES)
    cdef bytes root = new_digests(1)
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(root)
    cdef const uint8_t *first = held.data()
    cdef cd_status status
    with nogil:
        status = cd_merkle_root(first, n, out)
    check(status, f"leaves: expected at most {CD_TREE_LEAVES_MAX}, got {n}")
    return root


def merkle_proof(leaves, size_t index):
    cdef Buffer held = acquire(leaves, "leaves")
    cdef size_t n = rows(held, "leaves", DIGEST_BYTES)
    if index >= n:
        raise ShapeError(f"index: expected less than the {n} leaves, got {index}")
    cdef bytes proof = PyBytes_FromStringAndSize(NULL, cd_merkle_proof_size(index, n))
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(proof)
    cdef const uint8_t *first = held.data()
    cdef cd_status status
    with nogil:
        status = cd_merkle_proof(first, n, index, out)
    check(status, f"leaves: expected at most {CD_TREE_LEAVES_MAX}, got {n}")
    return proof


def merkle_verify(root, leaf, uint64_t index, uint64_t count, proof):
    cdef Buffer root_held = acquire(root, "root")
    cdef Buffer leaf_held = acquire(leaf, "leaf")
    cdef Buffer proof_held = acquire(proof, "proof")
    if root_held.size() != DIGEST_BYTES or leaf_held.size() != DIGEST_BYTES:
        return False
    return cd_merkle_verify(root_held.data(), leaf_held.data(), index, count,
                            proof_held.data(), proof_held.size()) != 0


def isa_best():
    return cd_isa_best()


def isa_current():
    return cd_isa_current()


def isa_use(int level):
    cdef cd_status status = cd_isa_use(level)
    if status == CD_ERR_UNSUPPORTED:
        raise ValueError(f"level {level}: this CPU supports levels 0 to {cd_isa_best()}")
    check(status, f"level: expected 0 to {cd_isa_best()}, got {level}")
