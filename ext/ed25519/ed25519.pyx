# Thin face of ed25519.h: lengths in, the GIL released, one call per batch, statuses to exceptions.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport uint8_t, uint32_t, uint64_t

include "base/buffers.pxi"

cdef extern from "base/job.h" nogil:
    const char *CD_JOB_CAPSULE

cdef extern from "base/cpu.h" nogil:
    int cd_isa_best()
    int cd_isa_current()
    int cd_isa_use(int level)

cdef extern from "ed25519/ed25519.h" nogil:
    const int CD_ED25519_INDEPENDENT, CD_ED25519_BATCH_MAX
    int cd_ed25519_verify(const uint8_t *public_keys, const uint8_t *messages, size_t messages_len,
                          const uint64_t *offsets, const uint8_t *signatures, size_t n, uint32_t flags,
                          uint8_t *valid)
    int cd_ed25519_verify_job(const void *args)
    void cd_ed25519_clear_key_cache()
    size_t cd_ed25519_key_cache_capacity()
    size_t cd_ed25519_key_cache_bytes()
    const char *cd_ed25519_backend_name()

INDEPENDENT = CD_ED25519_INDEPENDENT
BATCH_MAX = CD_ED25519_BATCH_MAX
KEY_CACHE_CAPACITY = cd_ed25519_key_cache_capacity()
KEY_CACHE_BYTES = cd_ed25519_key_cache_bytes()
verify_job = PyCapsule_New(<void *>cd_ed25519_verify_job, CD_JOB_CAPSULE, NULL)

cdef enum:
    ERR_ARGUMENT = -1
    ERR_MEMORY = -2
    ERR_UNSUPPORTED = -3


cdef bytes run(Buffer keys, Buffer messages, const uint64_t *offsets, Buffer signatures, size_t n, uint32_t flags):
    cdef bytes valid = PyBytes_FromStringAndSize(NULL, n)
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(valid)
    cdef const uint8_t *k = keys.data()
    cdef const uint8_t *m = messages.data()
    cdef const uint8_t *s = signatures.data()
    cdef size_t messages_len = messages.size()
    cdef int status
    with nogil:
        status = cd_ed25519_verify(k, m, messages_len, offsets, s, n, flags, out)
    if status == ERR_MEMORY:
        raise MemoryError("no memory for a batch of signatures")
    if status:
        raise ShapeError("offsets must not decrease nor pass the end of the messages; flags must be known")
    return valid


cdef size_t agree(Buffer keys, Buffer signatures) except? 0:
    cdef size_t n = rows(keys, "public_keys", 32)
    if rows(signatures, "signatures", 64) != n:
        raise ShapeError(f"{n} public keys but {signatures.size() // 64} signatures")
    return n


def verify_signatures(public_keys, digests, signatures, uint32_t flags=0):
    cdef Buffer keys = acquire(public_keys, "public_keys")
    cdef Buffer messages = acquire(digests, "digests")
    cdef Buffer sigs = acquire(signatures, "signatures")
    cdef size_t n = agree(keys, sigs)
    if rows(messages, "digests", 32) != n:
        raise ShapeError(f"{n} public keys but {messages.size() // 32} digests")
    return run(keys, messages, NULL, sigs, n, flags)


def verify_messages(public_keys, messages, const uint64_t[::1] offsets, signatures, uint32_t flags=0):
    cdef Buffer keys = acquire(public_keys, "public_keys")
    cdef Buffer joined = acquire(messages, "messages")
    cdef Buffer sigs = acquire(signatures, "signatures")
    cdef size_t n = agree(keys, sigs)
    if <size_t>offsets.shape[0] != n + 1:
        raise ShapeError(f"{n} public keys need {n + 1} offsets, got {offsets.shape[0]}")
    return run(keys, joined, &offsets[0], sigs, n, flags)


def clear_key_cache():
    cd_ed25519_clear_key_cache()


def backend_name():
    return cd_ed25519_backend_name().decode()


def isa_best():
    return cd_isa_best()


def isa_current():
    return cd_isa_current()


def isa_use(int level):
    cdef int status = cd_isa_use(level)
    if status == ERR_UNSUPPORTED:
        raise ValueError(f"this CPU lacks instruction-set level {level}")
    if status:
        raise ValueError(f"no instruction-set level {level}")
