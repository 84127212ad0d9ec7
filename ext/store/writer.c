#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store/internal.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#define PUT_HEAD_BYTES 8
#define SLACK_BYTES (1u << 20) /* what a transaction may need besides its values */

/* Batches. */

typedef struct {
    const uint8_t *key, *value;
    uint32_t value_size;
    uint16_t key_size;
    uint8_t table, flags;
} cd_put;

/* The put at *at, which is moved behind it; false if it does not fit. */
static bool next_put(const uint8_t *batch, size_t size, size_t *at, cd_put *put) {
    if (size - *at < PUT_HEAD_BYTES) return false;
    const uint8_t *head = batch + *at;
    put->table = head[0];
    put->flags = head[1];
    put->key_size = (uint16_t)(head[2] | head[3] << 8);
    put->value_size = cd_load32_le(head + 4);
    size_t left = size - *at - PUT_HEAD_BYTES;
    if (left < put->key_size || left - put->key_size < put->value_size) return false;
    put->key = head + PUT_HEAD_BYTES;
    put->value = put->key + put->key_size;
    *at += PUT_HEAD_BYTES + put->key_size + put->value_size;
    return true;
}

bool cd_batch_is_valid(const cd_store *store, const uint8_t *batch, size_t size) {
    if (size < 4) return false;
    size_t at = 4;
    cd_put put;
    for (uint32_t left = cd_load32_le(batch); left > 0; left--) {
        if (!next_put(batch, size, &at, &put)) return false;
        if (put.table >= store->tables_len || put.flags > CD_STORE_APPEND) return false;
        if (put.key_size < 1 || put.key_size > CD_STORE_KEY_MAX) return false;
        if (put.value_size > CD_STORE_VALUE_MAX) return false;
    }
    return at == size;
}

/* The thread. */

typedef struct {
    MDB_txn *txn;
    MDB_cursor *cursor[CD_STORE_TABLES_MAX]; /* opened when needed; they end with the transaction */
    uint64_t puts;
} cd_group;

/* The value goes straight into the page, and its seal behind it. */
static int apply_put(cd_store *store, cd_group *group, const cd_put *put) {
    MDB_cursor **cursor = &group->cursor[put->table];
    int rc = 0;
    if (*cursor == NULL) rc = mdb_cursor_open(group->txn, store->table[put->table], cursor);
    if (rc != 0) return rc;
    MDB_val key = {put->key_size, (void *)put->key};
    MDB_val value = {(size_t)put->value_size + CD_STORE_SEAL_BYTES, NULL};
    unsigned flags = MDB_RESERVE | (put->flags & CD_STORE_APPEND ? MDB_APPEND : 0);
    rc = mdb_cursor_put(*cursor, &key, &value, flags);
    if (rc != 0) return rc;
    uint8_t *target = value.mv_data;
    memcpy(target, put->value, put->value_size);
    cd_store_seal(&store->seal_key, put->table, put->key, put->key_size, put->value,
                  put->value_size, target + put->value_size);
    group->puts++;
    return CD_OK;
}

static int apply_batch(cd_store *store, cd_group *group, const cd_batch *batch) {
    size_t at = 4;
    cd_put put;
    int rc = 0;
    while (rc == 0 && next_put(batch->data, batch->size, &at, &put))
        rc = apply_put(store, group, &put);
    return rc;
}

static const cd_batch *queued_batch(const cd_store *store, size_t index) {
    return &store->queue[(store->queue_head + index) % store->queue_capacity];
}

static int write_once(cd_store *store, size_t n, uint64_t *puts) {
    cd_group group = {0};
    int rc = mdb_txn_begin(store->env, NULL, 0, &group.txn);
    if (rc != 0) return rc;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = apply_batch(store, &group, queued_batch(store, i));
    *puts = group.puts;
    if (rc == 0) return mdb_txn_commit(group.txn); /* data, fdatasync, then the meta page */
    mdb_txn_abort(group.txn);
    return rc;
}

/* A write that a full disk or a limit cuts short reaches us as EIO: the library keeps no more of it. */
static int cause_of(cd_store *store, int code, uint64_t bytes) {
    int descriptor;
    struct statvfs disk;
    struct stat file;
    struct rlimit limit;
    if (code != EIO || mdb_env_get_fd(store->env, &descriptor) != 0) return code;
    uint64_t wanted = 2 * bytes + SLACK_BYTES;
    if (fstatvfs(descriptor, &disk) == 0 && (uint64_t)disk.f_bavail * disk.f_frsize < wanted)
        return ENOSPC;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && fstat(descriptor, &file) == 0 &&
        limit.rlim_cur != RLIM_INFINITY && (uint64_t)file.st_size + wanted > limit.rlim_cur)
        return EFBIG;
    return code;
}

/* A full map is made larger, and the transaction repeated. */
static int write_group(cd_store *store, size_t n, uint64_t bytes, uint64_t *puts) {
    int rc;
    do rc = write_once(store, n, puts);
    while (rc == MDB_MAP_FULL && cd_store_grow(store));
    return cause_of(store, rc, bytes);
}

/* How many of the waiting batches go together; the lock is held. */
static size_t group_size(const cd_store *store, uint64_t *bytes) {
    size_t n = 1;
    *bytes = queued_batch(store, 0)->size;
    while (store->alone == 0 && n < store->queued) {
        uint64_t more = queued_batch(store, n)->size;
        if (*bytes + more > store->group_bytes) break;
        *bytes += more;
        n++;
    }
    return n;
}

/* The lock is held. */
static void settle(cd_store *store, size_t n, uint64_t bytes, uint64_t puts, int rc) {
    if (rc == 0) {
        store->progress.durable = queued_batch(store, n - 1)->ticket;
        store->progress.done += n;
        store->queue_head = (store->queue_head + n) % store->queue_capacity;
        store->queued -= n;
        store->queued_bytes -= bytes;
        store->written.batches += n;
        store->written.transactions++;
        store->written.puts += puts;
        store->written.bytes += bytes;
        if (store->alone > 0) store->alone--;
    } else if (n > 1) {
        store->alone = n; /* one of them failed: write up to it, and find out which */
    } else {
        store->progress.failure = rc;
        store->progress.failed = queued_batch(store, 0)->ticket;
        store->alone = 0;
    }
}

static bool has_work(const cd_store *store) {
    return store->queued > 0 && store->progress.failure == 0;
}

/* Wait for batches; false if there will be none. The lock is held. */
static bool await_work(cd_store *store) {
    while (!has_work(store) && store->state == CD_STORE_OPEN)
        pthread_cond_wait(&store->work, &store->lock);
    return has_work(store) && (store->state == CD_STORE_OPEN || store->drain);
}

void *cd_store_writer(void *context) {
    cd_store *store = context;
    pthread_mutex_lock(&store->lock);
    while (await_work(store)) {
        uint64_t bytes, puts = 0;
        size_t n = group_size(store, &bytes);
        pthread_mutex_unlock(&store->lock);
        int rc = write_group(store, n, bytes, &puts);
        pthread_mutex_lock(&store->lock);
        settle(store, n, bytes, puts, rc);
        pthread_cond_broadcast(&store->settled);
        pthread_mutex_unlock(&store->lock);
        /* Outside the lock, or the reader that this wakes would run straight into it. */
        cd_store_event_raise(store);
        pthread_mutex_lock(&store->lock);
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

/* The callers. The descriptor is non-blocking: a full counter is readable already, an empty one is
 * reset already. */

void cd_store_event_raise(const cd_store *store) {
    while (eventfd_write(store->event, 1) != 0 && errno == EINTR) {
    }
}

static void event_reset(const cd_store *store) {
    eventfd_t count;
    while (eventfd_read(store->event, &count) != 0 && errno == EINTR) {
    }
}

static int check_room(const cd_store *store, uint64_t ticket, size_t size) {
    if (store->state != CD_STORE_OPEN) return CD_ERR_CLOSED;
    if (store->progress.failure != 0) return EROFS;
    if (ticket < store->last_ticket) return CD_ERR_ARGUMENT;
    if (store->queued == store->queue_capacity) return CD_ERR_FULL;
    bool is_over = store->queued_bytes + size > store->queue_bytes_max;
    return is_over && store->queued > 0 ? CD_ERR_FULL : CD_OK;
}

int cd_store_submit(cd_store *store, uint64_t ticket, const uint8_t *batch, size_t size) {
    CD_ARG_CHECK(store != NULL && batch != NULL);
    if (!cd_store_owned(store)) return CD_ERR_CLOSED;
    if (store->is_read_only) return EROFS;
    CD_ARG_CHECK(cd_batch_is_valid(store, batch, size));
    pthread_mutex_lock(&store->lock);
    int rc = check_room(store, ticket, size);
    if (rc == 0) {
        size_t place = (store->queue_head + store->queued++) % store->queue_capacity;
        store->queue[place] = (cd_batch){ticket, batch, size};
        store->queued_bytes += size;
        store->last_ticket = ticket;
    }
    pthread_mutex_unlock(&store->lock);
    if (rc == 0) pthread_cond_signal(&store->work);
    return rc;
}

int cd_store_collect(cd_store *store, cd_store_progress *progress) {
    CD_ARG_CHECK(store != NULL && progress != NULL);
    if (!cd_store_owned(store)) return CD_ERR_CLOSED;
    pthread_mutex_lock(&store->lock);
    /* Reset before taking: what comes later raises it again. */
    if (store->event >= 0) event_reset(store);
    *progress = store->progress;
    pthread_mutex_unlock(&store->lock);
    return CD_OK;
}

int cd_store_eventfd(cd_store *store) {
    if (store == NULL || !cd_store_owned(store)) return -1;
    pthread_mutex_lock(&store->lock);
    int event = store->event;
    pthread_mutex_unlock(&store->lock);
    return event;
}

static bool is_idle(const cd_store *store) {
    return !has_work(store) || store->state == CD_STORE_CLOSED;
}

int cd_store_wait(cd_store *store, int64_t timeout_ns, int *idle) {
    CD_ARG_CHECK(store != NULL && idle != NULL && timeout_ns >= 0);
    if (!cd_store_owned(store)) return CD_ERR_CLOSED;
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    int64_t ns = end.tv_nsec + timeout_ns % 1000000000;
    end.tv_sec += (time_t)(timeout_ns / 1000000000 + ns / 1000000000);
    end.tv_nsec = (long)(ns % 1000000000);
    pthread_mutex_lock(&store->lock);
    int rc = 0;
    while (rc == 0 && !is_idle(store))
        rc = pthread_cond_timedwait(&store->settled, &store->lock, &end);
    *idle = is_idle(store);
    pthread_mutex_unlock(&store->lock);
    return CD_OK;
}

int cd_store_resume(cd_store *store, uint64_t map_bytes_max) {
    CD_ARG_CHECK(store != NULL && map_bytes_max <= SIZE_MAX / 2);
    if (!cd_store_owned(store)) return CD_ERR_CLOSED;
    pthread_mutex_lock(&store->lock);
    int rc = store->state == CD_STORE_OPEN ? CD_OK : CD_ERR_CLOSED;
    if (rc == 0) {
        if (map_bytes_max > store->map_bytes_max) store->map_bytes_max = map_bytes_max;
        store->progress.failure = 0;
        store->progress.failed = 0;
    }
    pthread_mutex_unlock(&store->lock);
    if (rc == 0) pthread_cond_signal(&store->work);
    return rc;
}
