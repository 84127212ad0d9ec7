/* What the files of the store share. */
#ifndef CD_STORE_INTERNAL_H
#define CD_STORE_INTERNAL_H

#include "digest/digest.h"
#include "store/store.h"

#include <lmdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

typedef struct {
    uint64_t ticket;
    const uint8_t *data;
    size_t size;
} cd_batch;

typedef enum { CD_STORE_OPEN, CD_STORE_CLOSING, CD_STORE_CLOSED } cd_store_state;

struct cd_store {
    pid_t owner;
    MDB_env *env;
    MDB_dbi table[CD_STORE_TABLES_MAX];
    size_t tables_len;
    cd_digest_key seal_key;
    bool is_read_only;
    pthread_rwlock_t map; /* readers of the map; whoever replaces it excludes them */

    pthread_t thread;
    bool has_thread;
    size_t queue_capacity;
    uint64_t queue_bytes_max, group_bytes;

    pthread_mutex_t lock;   /* guards what follows */
    pthread_cond_t work;    /* a batch was queued, writing is resumed, or the store is closing */
    pthread_cond_t settled; /* batches were written, a write failed, or the store was closed */
    cd_store_state state;
    bool drain;
    int event;
    cd_batch *queue;                  /* ring; the writer alone moves its head */
    size_t queue_head, queued, alone; /* alone: batches to write one by one after a failed group */
    uint64_t queued_bytes, last_ticket, map_bytes_max;
    cd_store_progress progress;
    cd_store_info written;
};

struct cd_read {
    cd_store *store;
    MDB_txn *txn;
};

bool cd_store_owned(const cd_store *store);

/* The seal of a value, CD_STORE_SEAL_BYTES long. */
void cd_store_seal(const cd_digest_key *key, size_t table, const void *name, size_t name_size,
                   const uint8_t *value, size_t size, uint8_t *seal);

/* The writer: whether a batch is well formed, its thread, its end. */
bool cd_batch_is_valid(const cd_store *store, const uint8_t *batch, size_t size);
void *cd_store_writer(void *store);
void cd_store_event_raise(const cd_store *store);

/* Double the map, up to map_bytes_max; false if that is not possible. */
bool cd_store_grow(cd_store *store);

#endif
