"""Sorted runs in native code. Rules and layout: runs.h; contracts: cherrydag.storage.run_index.

Pieces, runs and lists of them never change, so every call lets go of the GIL and any thread may make it.
"""

import os

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from cherrydag._native import digest
from cherrydag.errors import StorageError, write_error

include "base/buffers.pxi"

cdef extern from "base/job.h" nogil:
    const char *CD_JOB_CAPSULE
    ctypedef struct cd_job_args:
        pass
    ctypedef int (*cd_job_run)(const cd_job_args *args)

cdef extern from "runs/runs.h" nogil:
    enum:
        CD_OK
        CD_ERR_ARGUMENT
        CD_ERR_MEMORY
        CD_RUN_DUPLICATE
        CD_RUN_KEY_BYTES
        CD_RUN_PAGE_BYTES
        CD_RUN_PAGE_ENTRIES
        CD_RUN_PIECE_MAX
        CD_RUN_SOURCES_MAX
        CD_RUN_LIMIT_MAX
    ctypedef struct cd_piece:
        pass
    ctypedef struct cd_run:
        pass
    ctypedef struct cd_run_info:
        uint64_t entries, first_place, last_place, memory_bytes, file_bytes
    ctypedef struct cd_run_seal:
        cd_job_run hash
        uint8_t key[32]
    ctypedef struct cd_run_source:
        const cd_piece *piece
        const cd_run *run
    ctypedef struct cd_run_fault:
        size_t source
        uint64_t page
    ctypedef struct cd_run_query:
        uint8_t key[16]
        uint64_t first, last
        size_t limit
        int is_descending
    int cd_piece_build(const uint8_t *keys, const uint64_t *places, size_t n, cd_piece **piece)
    int cd_piece_join(const cd_piece *const *pieces, size_t n, cd_piece **piece)
    void cd_piece_free(cd_piece *piece)
    void cd_piece_get_info(const cd_piece *piece, cd_run_info *info)
    int cd_run_open(int descriptor, const cd_run_seal *seal, cd_run **run, uint64_t *page)
    void cd_run_free(cd_run *run)
    void cd_run_get_info(const cd_run *run, cd_run_info *info)
    int cd_run_select(const cd_run_source *sources, size_t n, const cd_run_query *query, uint64_t *places,
                      size_t *count, cd_run_fault *fault)
    int cd_run_write(int descriptor, const cd_run_seal *seal, const cd_run_source *sources, size_t n,
                     cd_run_fault *fault)
    const char *cd_run_message(int code)


KEY_BYTES = CD_RUN_KEY_BYTES
PAGE_BYTES = CD_RUN_PAGE_BYTES
PAGE_ENTRIES = CD_RUN_PAGE_ENTRIES
PIECE_MAX = CD_RUN_PIECE_MAX
SOURCES_MAX = CD_RUN_SOURCES_MAX
LIMIT_MAX = CD_RUN_LIMIT_MAX

cdef cd_job_run hash_pages = <cd_job_run>PyCapsule_GetPointer(digest.hash_records_job, CD_JOB_CAPSULE)


cdef int check(int code, str what) except -1:
    """Raise what a code of runs.h stands for."""
    if code == CD_OK:
        return 0
    if code == CD_ERR_MEMORY:
        raise MemoryError(what)
    if code == CD_ERR_ARGUMENT or code == CD_RUN_DUPLICATE:
        raise ShapeError(f"{what}: {cd_run_message(code).decode()}")
    raise write_error(code, f"{what}: {cd_run_message(code).decode()}")


cdef int set_seal(cd_run_seal *seal, bytes key) except -1:
    if len(key) != 32:
        raise ShapeError(f"seal_key: expected 32 bytes, got {len(key)}")
    seal.hash = hash_pages
    memcpy(seal.key, <const uint8_t *>key, 32)
    return 0


cdef class Source:
    """What a piece and a run have in common."""
    cdef cd_run_info info

    def __len__(self):
        return self.info.entries

    @property
    def first_place(self):
        return self.info.first_place

    @property
    def last_place(self):
        return self.info.last_place

    @property
    def memory_bytes(self):
        return self.info.memory_bytes


cdef class Piece(Source):
    cdef cd_piece *piece

    def __init__(self, object keys, const uint64_t[::1] places not None):
        cdef Buffer held = acquire(keys, "keys")
        cdef size_t n = rows(held, "keys", CD_RUN_KEY_BYTES)
        cdef int code
        if self.piece != NULL:
            raise ShapeError("a piece is made once")
        if <size_t>places.shape[0] != n:
            raise ShapeError(f"places: expected {n} values, got {places.shape[0]}")
        if not 1 <= n <= CD_RUN_PIECE_MAX:
            raise ShapeError(f"keys: expected 1..{CD_RUN_PIECE_MAX}, got {n}")
        with nogil:
            code = cd_piece_build(held.data(), &places[0], n, &self.piece)
        check(code, f"{n} entries")
        cd_piece_get_info(self.piece, &self.info)

    def __dealloc__(self):
        cd_piece_free(self.piece)


def join(tuple pieces not None):
    cdef Piece joined = Piece.__new__(Piece), piece
    cdef size_t n = len(pieces)
    cdef int code
    cdef const cd_piece **held = <const cd_piece **>malloc(max(n, 1) * sizeof(cd_piece *))
    if held == NULL:
        raise MemoryError("join")
    try:
        for i, piece in enumerate(pieces):
            held[i] = piece.piece
        with nogil:
            code = cd_piece_join(held, n, &joined.piece)
    finally:
        free(held)
    check(code, f"join {n} pieces")
    cd_piece_get_info(joined.piece, &joined.info)
    return joined


cdef class Run(Source):
    cdef cd_run *run
    cdef readonly str path

    def __cinit__(self, str path not None, bytes seal_key not None):
        cdef cd_run_seal seal
        cdef uint64_t page = 0
        cdef int code, descriptor
        set_seal(&seal, seal_key)
        self.path = path
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error
        with nogil:
            code = cd_run_open(descriptor, &seal, &self.run, &page)
        check(code, f"{path}, page {page}")
        cd_run_get_info(self.run, &self.info)

    def __dealloc__(self):
        cd_run_free(self.run)

    @property
    def file_bytes(self):
        return self.info.file_bytes


cdef class Sources:
    cdef readonly tuple held
    cdef cd_run_source *sources
    cdef size_t n

    def __cinit__(self, tuple sources not None):
        cdef size_t n = len(sources)
        if n > CD_RUN_SOURCES_MAX:
            raise ShapeError(f"sources: expected at most {CD_RUN_SOURCES_MAX}, got {n}")
        self.sources = <cd_run_source *>malloc(max(n, 1) * sizeof(cd_run_source))
        if self.sources == NULL:
            raise MemoryError(f"{n} sources")
        for i, source in enumerate(sources):
            self.sources[i].piece = NULL
            self.sources[i].run = NULL
            if isinstance(source, Piece):
                self.sources[i].piece = (<Piece>source).piece
            else:
                self.sources[i].run = (<Run?>source).run
        self.held = sources
        self.n = n

    def __dealloc__(self):
        free(self.sources)

    def select(self, object key, uint64_t first, uint64_t last, Py_ssize_t limit, bint descending):
        cdef Buffer name = acquire(key, "key")
        cdef cd_run_query query
        cdef cd_run_fault fault
        cdef size_t count = 0, i
        cdef int code
        if name.size() != CD_RUN_KEY_BYTES:
            raise ShapeError(f"key: expected {CD_RUN_KEY_BYTES} bytes, got {name.size()}")
        if not 1 <= limit <= CD_RUN_LIMIT_MAX:
            raise ShapeError(f"limit: expected 1..{CD_RUN_LIMIT_MAX}, got {limit}")
        memcpy(query.key, name.data(), CD_RUN_KEY_BYTES)
        query.first, query.last, query.limit, query.is_descending = first, last, limit, descending
        cdef uint64_t *places = <uint64_t *>malloc(limit * sizeof(uint64_t))
        if places == NULL:
            raise MemoryError(f"{limit} places")
        try:
            with nogil:
                code = cd_run_select(self.sources, self.n, &query, places, &count, &fault)
            if code != CD_OK:
                self.fail(code, &fault, "")
            return [places[i] for i in range(count)]
        finally:
            free(places)

    def write(self, str path not None, bytes seal_key not None):
        cdef cd_run_seal seal
        cdef cd_run_fault fault
        cdef int code, descriptor
        set_seal(&seal, seal_key)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise write_error(error.errno, f"{path}: {error.strerror}") from error
        try:
            with nogil:
                code = cd_run_write(descriptor, &seal, self.sources, self.n, &fault)
        finally:
            os.close(descriptor)
        if code != CD_OK:
            self.fail(code, &fault, path)

    cdef int fail(self, int code, const cd_run_fault *fault, str path) except -1:
        """Raise a failure by the name of the file that it happened in."""
        if fault.source < self.n and isinstance(self.held[fault.source], Run):
            path = self.held[fault.source].path
        return check(code, f"{path}, page {fault.page}")
