# The durable store in native code. Rules and meanings: store.h; contracts: cherrydag.storage.
import atexit
import os
import weakref
from collections import deque

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EROFS
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from cherrydag.errors import Closed, Overloaded, StorageError

include "base/buffers.pxi"

include "store/store.pxi"

MAP_FULL = <int>MDB_MAP_FULL
APPEND = <int>CD_STORE_APPEND
SEAL_BYTES = <int>CD_STORE_SEAL_BYTES
TABLES_MAX = <int>CD_STORE_TABLES_MAX
KEY_MAX = <int>CD_STORE_KEY_MAX
QUEUE_MAX = <int>CD_STORE_QUEUE_MAX
PLACE_BYTES = <int>sizeof(cd_place)

cdef size_t COPY_HELD = 1 << 14  # bytes that are copied without letting go of the GIL
cdef int64_t WAIT_SLICE_NS = 50_000_000  # after which a waiter looks for signals

# Weak, so that a forgotten store can go; what is left is closed before the interpreter frees anything.
cdef object stores = weakref.WeakSet()


@atexit.register
def close_stores():
    for store in list(stores):
        store.close(drain=False)


def message(int code):
    """The words for a code of store.h."""
    return cd_store_message(code).decode()


def library():
    """Name and version of the database library."""
    return mdb_version(NULL, NULL, NULL).decode()


cdef class Store:
    cdef cd_store *store
    cdef object held  # the batches that are not done, oldest first
    cdef uint64_t done
    cdef readonly int owner
    cdef readonly tuple tables
    cdef object __weakref__

    def __cinit__(self, object path, tuple tables not None, bytes seal_key not None, *, uint64_t map_bytes,
                  uint64_t map_bytes_max, size_t queue_batches=1024, uint64_t queue_bytes=1 << 26,
                  uint64_t group_bytes=1 << 25, bint create=False, bint read_only=False):
        cdef const char *names[32]
        cdef cd_store_config config
        cdef int code
        if not 1 <= len(tables) <= CD_STORE_TABLES_MAX:
            raise ShapeError(f"tables: expected 1..{CD_STORE_TABLES_MAX}, got {len(tables)}")
        if len(seal_key) != 32:
            raise ShapeError(f"seal_key: expected 32 bytes, got {len(seal_key)}")
        encoded = [name.encode() for name in tables]
        for i, name in enumerate(encoded):
            names[i] = PyBytes_AS_STRING(name)
        folder = os.fsencode(path)
        memset(&config, 0, sizeof(config))
        config.path = PyBytes_AS_STRING(folder)
        config.tables = names
        config.tables_len = len(tables)
        memcpy(config.seal_key, PyBytes_AS_STRING(seal_key), 32)
        config.map_bytes, config.map_bytes_max = map_bytes, map_bytes_max
        config.queue_batches, config.queue_bytes = queue_batches, queue_bytes
        config.group_bytes = group_bytes
        config.flags = (CD_STORE_CREATE if create else 0) | (CD_STORE_READ_ONLY if read_only else 0)
        self.held = deque()
        self.tables = tables
        self.owner = os.getpid()
        with nogil:
            code = cd_store_open(&config, &self.store)
        self.check(code, f"cannot open {os.fsdecode(path)}")
        stores.add(self)

    def __del__(self):
        # Not left to __dealloc__: the cycle collector may drop self.held before that, and with it the
        # batches that wait. It calls finalizers before it drops anything.
        self.close(drain=False)

    def __dealloc__(self):
        cd_store_free(self.store)

    cdef int check(self, int code, str what) except -1:
        if code == CD_OK:
            return 0
        if code == CD_ERR_CLOSED:
            if os.getpid() != self.owner:
                raise Closed(f"the store belongs to process {self.owner}; it does not survive a fork")
            raise Closed("the store is closed")
        if code == CD_ERR_MEMORY:
            raise MemoryError(what)
        if code == CD_ERR_ARGUMENT:
            raise ShapeError(f"{what}: an argument breaks the contract of store.h")
        raise StorageError(f"{what}: {message(code)} ({code})")

    # Writing.

    def submit(self, uint64_t ticket, bytes batch not None):
        cdef int code = cd_store_submit(self.store, ticket, <const uint8_t *>PyBytes_AS_STRING(batch),
                                        len(batch))
        if code == CD_OK:
            self.held.append(batch)
            return
        if code == CD_ERR_FULL:
            raise Overloaded(f"the store's queue is full: {len(self.held)} batches wait")
        if code == EROFS:
            raise StorageError("the store is read-only")
        self.check(code, f"batch of ticket {ticket}")

    def collect(self):
        cdef cd_store_progress progress
        self.check(cd_store_collect(self.store, &progress), "collect")
        while self.done < progress.done:
            self.held.popleft()
            self.done += 1
        return progress.durable, progress.done, progress.failure, progress.failed

    def wait(self):
        cdef int code, idle = 0
        while not idle:
            with nogil:
                code = cd_store_wait(self.store, WAIT_SLICE_NS, &idle)
            self.check(code, "wait")
            PyErr_CheckSignals()

    def resume(self, uint64_t map_bytes_max=0):
        self.check(cd_store_resume(self.store, map_bytes_max), "resume")

    @property
    def eventfd(self):
        cdef int descriptor = cd_store_eventfd(self.store)
        if descriptor < 0:
            self.check(CD_ERR_CLOSED, "eventfd")
        return descriptor

    def close(self, bint drain=True):
        if self.store != NULL:
            with nogil:
                cd_store_close(self.store, drain)

    # Reading.

    def keys(self, size_t table, object keys, size_t key_size, uint64_t bytes_max):
        cdef Buffer wanted = acquire(keys, "keys")
        cdef size_t n = rows(wanted, "keys", key_size), count = 0, done = 0
        cdef Reading reading = Reading.__new__(Reading)
        cdef int code
        if n == 0:
            return [], 0
        self.check(reading.open(self.store, n), "read")
        with nogil:
            code = cd_read_keys(reading.read, table, wanted.data(), key_size, n, bytes_max, reading.entries,
                                &count, &done)
        self.check(code, "read")
        return reading.taken(count), done

    def prefixes(self, size_t table, object prefixes, size_t prefix_size):
        cdef Buffer wanted = acquire(prefixes, "prefixes")
        cdef size_t n = rows(wanted, "prefixes", prefix_size), count = 0
        cdef Reading reading = Reading.__new__(Reading)
        cdef int code
        if n == 0:
            return []
        self.check(reading.open(self.store, n * CD_STORE_PREFIX_MAX), "read")
        with nogil:
            code = cd_read_prefixes(reading.read, table, wanted.data(), prefix_size, n, reading.entries,
                                    &count)
        self.check(code, "read of a prefix")
        return reading.taken(count)

    def range(self, size_t table, bytes start not None, bytes stop not None, size_t n, uint64_t bytes_max,
              bint descending=False):
        cdef Reading reading = Reading.__new__(Reading)
        cdef cd_range bounds
        cdef size_t count = 0
        cdef int code
        bounds.start, bounds.start_size = <const uint8_t *>PyBytes_AS_STRING(start), len(start)
        bounds.stop, bounds.stop_size = <const uint8_t *>PyBytes_AS_STRING(stop), len(stop)
        bounds.bytes_max, bounds.is_descending = bytes_max, descending
        self.check(reading.open(self.store, n), "read")
        with nogil:
            code = cd_read_range(reading.read, table, &bounds, reading.entries, n, &count)
        self.check(code, "read of a range")
        return reading.taken(count)

    def heads(self, size_t table, object keys, size_t key_size, size_t size):
        cdef Buffer wanted = acquire(keys, "keys")
        cdef size_t n = rows(wanted, "keys", key_size), count = 0
        cdef Reading reading = Reading.__new__(Reading)
        cdef int code
        if n == 0:
            return []
        self.check(reading.open(self.store, n), "read")
        with nogil:
            code = cd_read_heads(reading.read, table, wanted.data(), key_size, n, size, reading.entries,
                                 &count)
        self.check(code, "read of heads")
        return reading.taken(count)

    def records(self, size_t table, size_t record_size, size_t size_at, object places):
        cdef Buffer wanted = acquire(places, "places")
        cdef size_t n = rows(wanted, "places", sizeof(cd_place))
        cdef RecordReading reading = RecordReading.__new__(RecordReading)
        cdef int code
        if n == 0:
            return []
        self.check(reading.open(self.store, wanted.data(), n), "read")
        with nogil:
            code = cd_read_records(reading.read, table, record_size, size_at, reading.places, n,
                                   reading.records)
        self.check(code, "read of records")
        return reading.taken(n, record_size)

    # The environment.

    def info(self):
        cdef cd_store_info info
        self.check(cd_store_get_info(self.store, &info), "info")
        return info

    def table(self, size_t table):
        cdef cd_store_table info
        self.check(cd_store_get_table(self.store, table, &info), "table")
        return info.entries, info.pages

    def pages(self):
        cdef uint64_t page_bytes = 0, free_pages = 0
        cdef int code
        with nogil:
            code = cd_store_get_pages(self.store, &page_bytes, &free_pages)
        self.check(code, "pages")
        return page_bytes, free_pages

    def check_readers(self):
        cdef int code, dead = 0
        with nogil:
            code = cd_store_check_readers(self.store, &dead)
        self.check(code, "reader check")
        return dead

    def copy(self, object path):
        cdef int code
        folder = os.fsencode(path)
        cdef const char *target = PyBytes_AS_STRING(folder)
        with nogil:
            code = cd_store_copy(self.store, target)
        self.check(code, f"cannot copy to {os.fsdecode(path)}")


cdef class Reading:
    """A read transaction and room for what it finds; both go with the object."""
    cdef cd_read *read
    cdef cd_entry *entries

    cdef int open(self, cd_store *store, size_t room) except? 1:
        cdef int code
        self.entries = <cd_entry *>malloc(room * sizeof(cd_entry))
        if self.entries == NULL:
            return CD_ERR_MEMORY
        with nogil:
            code = cd_read_begin(store, &self.read)
        return code

    def __dealloc__(self):
        with nogil:
            cd_read_end(self.read)
        free(self.entries)

    cdef list taken(self, size_t count):
        """Copies of the first entries: (row, key, value, whether it is sound)."""
        cdef list found = []
        cdef cd_entry *entry
        cdef bytes value
        cdef char *target
        cdef size_t i
        for i in range(count):
            entry = &self.entries[i]
            key = PyBytes_FromStringAndSize(<const char *>entry.key, entry.key_size)
            if entry.value_size <= COPY_HELD:
                value = PyBytes_FromStringAndSize(<const char *>entry.value, entry.value_size)
            else:
                value = PyBytes_FromStringAndSize(NULL, entry.value_size)
                target = PyBytes_AS_STRING(value)
                with nogil:
                    memcpy(target, entry.value, entry.value_size)
            found.append((entry.row, key, value, bool(entry.is_sound)))
        return found


cdef class RecordReading:
    """A read transaction, the places of records and room for the records; all go with the object."""
    cdef cd_read *read
    cdef cd_place *places
    cdef cd_record *records

    cdef int open(self, cd_store *store, const uint8_t *places, size_t n) except? 1:
        cdef int code
        self.places = <cd_place *>malloc(n * sizeof(cd_place))
        self.records = <cd_record *>malloc(n * sizeof(cd_record))
        if self.places == NULL or self.records == NULL:
            return CD_ERR_MEMORY
        memcpy(self.places, places, n * sizeof(cd_place))
        with nogil:
            code = cd_read_begin(store, &self.read)
        return code

    def __dealloc__(self):
        with nogil:
            cd_read_end(self.read)
        free(self.places)
        free(self.records)

    cdef list taken(self, size_t n, size_t record_size):
        """For each place a copy of record and body, None where it has none."""
        cdef list found = []
        cdef cd_record *record
        cdef size_t i
        for i in range(n):
            record = &self.records[i]
            if record.record == NULL:
                found.append(None)
                continue
            found.append((PyBytes_FromStringAndSize(<const char *>record.record, record_size),
                          PyBytes_FromStringAndSize(<const char *>record.body, record.body_size)))
        return found
