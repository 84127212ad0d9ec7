/* The durable store: an LMDB environment, one writer thread, short reads.
 *
 *   submit -> queue -> the writer puts several batches into one transaction -> fsync -> durable
 *
 * The writer never holds the GIL and takes the batches in order; what waits while it syncs shares the
 * next transaction (group commit). A loop learns through an eventfd how far writing has come. When a
 * write fails, the writer stops there: nothing behind the failure is written, and nothing more is
 * accepted, until cd_store_resume lets it try the failed batch again.
 *
 * Every value ends with a seal of CD_STORE_SEAL_BYTES over table, key and value, which the writer
 * adds and every read checks; LMDB itself would hand out flipped bits without a word. An empty value
 * is sealed too, so keys alone are covered.
 *
 *   seal = first 8 bytes of K(table u8 || key || K(value)), K = BLAKE3 keyed with seal_key
 *
 * The environment runs with LMDB's default durability (data synced, then the meta page written
 * O_DSYNC) and without a writable map. Functions return 0, a cd_status, an errno (> 0) or an LMDB code
 * (< -30000). All are thread-safe, except that nobody may use a store that is being freed. A store
 * belongs to the process that opened it: in a forked child every call returns CD_ERR_CLOSED.
 */
#ifndef CD_STORE_H
#define CD_STORE_H

#include "base/base.h"

#define CD_STORE_SEAL_BYTES 8
#define CD_STORE_TABLES_MAX 32
#define CD_STORE_KEY_MAX 511
#define CD_STORE_VALUE_MAX (1u << 30)
#define CD_STORE_QUEUE_MAX 65536
#define CD_STORE_PREFIX_MAX 16 /* entries under one prefix */

enum {
    CD_STORE_CREATE = 1,   /* the folder is empty: make the tables */
    CD_STORE_READ_ONLY = 2 /* no writer, no lock file: for looking at files that nobody has open */
};

typedef struct cd_store cd_store;

typedef struct {
    const char *path;          /* folder of data.mdb */
    const char *const *tables; /* names; a table's number is its place here */
    size_t tables_len;         /* 1..CD_STORE_TABLES_MAX */
    uint8_t seal_key[32];
    uint64_t map_bytes;     /* address space to begin with; data.mdb takes what it needs */
    uint64_t map_bytes_max; /* the map is doubled up to this when it is full */
    size_t queue_batches;   /* batches that may wait, 1..CD_STORE_QUEUE_MAX */
    uint64_t queue_bytes;   /* and their bytes together, unless there is only one */
    uint64_t
        group_bytes; /* bytes of batches that share a transaction, unless it is one; 0: never */
    unsigned flags;
} cd_store_config;

int cd_store_open(const cd_store_config *config, cd_store **store);

/* Refuse batches, write those that wait (drain; not after a failure) or drop them, end the thread and
 * the environment. May be called again, from any thread; each call returns when it is done. */
int cd_store_close(cd_store *store, int drain);

/* Close without draining and free. A forked child may call it: it then frees nothing. */
void cd_store_free(cd_store *store);

/* A name for a code that any of these functions returned; a constant. */
const char *cd_store_message(int code);

/* Writing. A batch, little-endian: u32 count of puts; then for each u8 table, u8 flags, u16 key size,
 * u32 value size, key, value. Keys have 1..CD_STORE_KEY_MAX bytes. */

enum { CD_STORE_APPEND = 1 }; /* the key is higher than any in its table; it is a failure if not */

/* Queue a batch, which must stay as it is until it is done. Tickets may not sink. CD_ERR_ARGUMENT if
 * it is malformed, CD_ERR_FULL if the queue is, EROFS after a failure. */
int cd_store_submit(cd_store *store, uint64_t ticket, const uint8_t *batch, size_t size);

typedef struct {
    uint64_t durable; /* the highest ticket that is durable; 0 before the first */
    uint64_t done;    /* batches written since the store was opened */
    int failure;      /* code of the write that failed, 0 if all is well */
    uint64_t failed;  /* its ticket */
} cd_store_progress;

/* How far writing has come. Resets the descriptor. */
int cd_store_collect(cd_store *store, cd_store_progress *progress);

/* A descriptor that polls readable when there is progress or a failure; only collect reads it.
 * -1 after close or in a forked child. */
int cd_store_eventfd(cd_store *store);

/* Block until nothing waits, a write has failed or timeout_ns have passed. Sets *idle to whether
 * waiting longer is of no use. */
int cd_store_wait(cd_store *store, int64_t timeout_ns, int *idle);

/* After a failure: write on, beginning with the batch that failed. A higher map_bytes_max lets the
 * map grow that far from now on. */
int cd_store_resume(cd_store *store, uint64_t map_bytes_max);

/* Reading. Each read is a transaction of its own, from begin to end, in one thread, and sees what is
 * durable. Entries point into the map: they are good until cd_read_end. The map does not grow
 * meanwhile, so a read must be short. */

typedef struct cd_read cd_read;

typedef struct {
    const uint8_t *key, *value;
    size_t key_size, value_size; /* without the seal */
    size_t row;                  /* number of the key or prefix asked for */
    int is_sound;                /* whether the seal fits; if not, the value is what is there */
} cd_entry;

int cd_read_begin(cd_store *store, cd_read **read);
void cd_read_end(cd_read *read);

/* The entries of n keys of key_size bytes each, row-major; those that are not there are left out.
 * entries: room for n. Stops before the values pass bytes_max, but not before one. Sets *count to the
 * entries and *rows to the keys that were looked up. */
int cd_read_keys(cd_read *read, size_t table, const uint8_t *keys, size_t key_size, size_t n,
                 uint64_t bytes_max, cd_entry *entries, size_t *count, size_t *rows);

/* The entries whose keys begin with each of n prefixes, ascending. entries: room for
 * n * CD_STORE_PREFIX_MAX; CD_ERR_FULL if a prefix has more. */
int cd_read_prefixes(cd_read *read, size_t table, const uint8_t *prefixes, size_t prefix_size,
                     size_t n, cd_entry *entries, size_t *count);

/* Entries of start <= key < stop, at most n, ascending, or descending from the end. An empty stop is
 * above all keys. Stops before the values pass bytes_max, but not before one. */
typedef struct {
    const uint8_t *start, *stop;
    size_t start_size, stop_size;
    uint64_t bytes_max;
    int is_descending;
} cd_range;

int cd_read_range(cd_read *read, size_t table, const cd_range *range, cd_entry *entries, size_t n,
                  size_t *count);

/* Parts of values. A seal covers a whole value, so it is not checked here: for parts that prove
 * themselves. Where they lie is checked against the value's size. */

/* As cd_read_keys, but of each value only what it begins with, at most size bytes; is_sound is 0. */
int cd_read_heads(cd_read *read, size_t table, const uint8_t *keys, size_t key_size, size_t n,
                  size_t size, cd_entry *entries, size_t *count);

typedef struct {
    uint64_t key;        /* in the table as 8 bytes, big-endian */
    uint32_t at;         /* offset of the first record in the value */
    uint32_t count, row; /* how many records there are, and which of them is wanted */
} cd_place;

typedef struct {
    const uint8_t *record, *body; /* NULL, both: there is no such key, or what it has is shorter */
    size_t body_size;
} cd_record;

/* One record, and its body, of each of n values that hold `count` records of record_size bytes and
 * then their bodies end to end. A record states the size of its body in the u32 at size_at. */
int cd_read_records(cd_read *read, size_t table, size_t record_size, size_t size_at,
                    const cd_place *places, size_t n, cd_record *records);

/* The environment. */

typedef struct {
    uint64_t map_bytes, map_bytes_max;
    uint64_t used_bytes;                         /* of the map, from its first to its last page */
    uint64_t readers;                            /* slots of the reader table in use */
    uint64_t batches, transactions, puts, bytes; /* written since the store was opened */
    size_t queued;                               /* batches that wait or are being written */
} cd_store_info;

int cd_store_get_info(cd_store *store, cd_store_info *info);

typedef struct {
    uint64_t entries, pages; /* the pages are those of its tree and of its large values */
} cd_store_table;

int cd_store_get_table(cd_store *store, size_t table, cd_store_table *info);

/* Sets *page_bytes, and *free_pages to how many pages within used_bytes hold nothing. */
int cd_store_get_pages(cd_store *store, uint64_t *page_bytes, uint64_t *free_pages);

/* Free the slots of readers that died: each would keep old pages from being used again. */
int cd_store_check_readers(cd_store *store, int *dead);

/* Copy what is durable to data.mdb in an empty folder, and sync it. */
int cd_store_copy(cd_store *store, const char *path);

#endif
