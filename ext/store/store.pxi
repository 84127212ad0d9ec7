# What store.pyx uses of LMDB and of store.h.
from libc.stdint cimport uint8_t, uint64_t

cdef extern from "<lmdb.h>" nogil:
    enum:
        MDB_MAP_FULL
    char *mdb_version(int *major, int *minor, int *patch)

cdef extern from "store/store.h" nogil:
    enum:
        CD_OK
        CD_ERR_ARGUMENT
        CD_ERR_MEMORY
        CD_ERR_FULL
        CD_ERR_CLOSED
        CD_STORE_SEAL_BYTES
        CD_STORE_TABLES_MAX
        CD_STORE_KEY_MAX
        CD_STORE_QUEUE_MAX
        CD_STORE_PREFIX_MAX
        CD_STORE_CREATE
        CD_STORE_READ_ONLY
        CD_STORE_APPEND
    ctypedef struct cd_store:
        pass
    ctypedef struct cd_read:
        pass
    ctypedef struct cd_store_config:
        const char *path
        const char *const *tables
        size_t tables_len
        uint8_t seal_key[32]
        uint64_t map_bytes, map_bytes_max
        size_t queue_batches
        uint64_t queue_bytes, group_bytes
        unsigned flags
    ctypedef struct cd_store_progress:
        uint64_t durable, done
        int failure
        uint64_t failed
    ctypedef struct cd_entry:
        const uint8_t *key
        const uint8_t *value
        size_t key_size, value_size, row
        int is_sound
    ctypedef struct cd_range:
        const uint8_t *start
        const uint8_t *stop
        size_t start_size, stop_size
        uint64_t bytes_max
        int is_descending
    ctypedef struct cd_place:
        pass
    ctypedef struct cd_record:
        const uint8_t *record
        const uint8_t *body
        size_t body_size
    ctypedef struct cd_store_table:
        uint64_t entries, pages
    ctypedef struct cd_store_info:
        uint64_t map_bytes, map_bytes_max, used_bytes, readers, batches, transactions, puts, bytes
        size_t queued
    int cd_store_open(const cd_store_config *config, cd_store **store)
    int cd_store_close(cd_store *store, int drain)
    void cd_store_free(cd_store *store)
    const char *cd_store_message(int code)
    int cd_store_submit(cd_store *store, uint64_t ticket, const uint8_t *batch, size_t size)
    int cd_store_collect(cd_store *store, cd_store_progress *progress)
    int cd_store_eventfd(cd_store *store)
    int cd_store_wait(cd_store *store, int64_t timeout_ns, int *idle)
    int cd_store_resume(cd_store *store, uint64_t map_bytes_max)
    int cd_read_begin(cd_store *store, cd_read **read)
    void cd_read_end(cd_read *read)
    int cd_read_keys(cd_read *read, size_t table, const uint8_t *keys, size_t key_size, size_t n,
                     uint64_t bytes_max, cd_entry *entries, size_t *count, size_t *rows)
    int cd_read_prefixes(cd_read *read, size_t table, const uint8_t *prefixes, size_t prefix_size, size_t n,
                         cd_entry *entries, size_t *count)
    int cd_read_range(cd_read *read, size_t table, const cd_range *range, cd_entry *entries, size_t n,
                      size_t *count)
    int cd_store_get_info(cd_store *store, cd_store_info *info)
    int cd_read_heads(cd_read *read, size_t table, const uint8_t *keys, size_t key_size, size_t n, size_t size,
                      cd_entry *entries, size_t *count)
    int cd_read_records(cd_read *read, size_t table, size_t record_size, size_t size_at,
                        const cd_place *places, size_t n, cd_record *records)
    int cd_store_get_table(cd_store *store, size_t table, cd_store_table *info)
    int cd_store_get_pages(cd_store *store, uint64_t *page_bytes, uint64_t *free_pages)
    int cd_store_check_readers(cd_store *store, int *dead)
    int cd_store_copy(cd_store *store, const char *path)
