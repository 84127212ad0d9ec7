#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

bool cd_store_owned(const cd_store *store) { return store->owner == getpid(); }

/* Opening. */

static int open_tables(cd_store *store, const cd_store_config *config) {
    bool create = config->flags & CD_STORE_CREATE;
    MDB_txn *txn;
    int rc = mdb_txn_begin(store->env, NULL, create ? 0 : MDB_RDONLY, &txn);
    if (rc != 0) return rc;
    for (size_t i = 0; rc == 0 && i < config->tables_len; i++)
        rc = mdb_dbi_open(txn, config->tables[i], create ? MDB_CREATE : 0, &store->table[i]);
    if (rc == 0) return mdb_txn_commit(txn); /* of a read-only one too, else the handles are lost */
    mdb_txn_abort(txn);
    return rc;
}

static int open_environment(cd_store *store, const cd_store_config *config) {
    unsigned flags = MDB_NOTLS | (store->is_read_only ? MDB_RDONLY | MDB_NOLOCK : 0);
    int rc = mdb_env_create(&store->env);
    if (rc != 0) return rc;
    rc = mdb_env_set_mapsize(store->env, config->map_bytes);
    if (rc == 0) rc = mdb_env_set_maxdbs(store->env, CD_STORE_TABLES_MAX);
    if (rc == 0) rc = mdb_env_open(store->env, config->path, flags, 0600);
    int descriptor;
    if (rc == 0) rc = mdb_env_get_fd(store->env, &descriptor);
    /* The library leaves this one open across exec. */
    if (rc == 0 && fcntl(descriptor, F_SETFD, FD_CLOEXEC) != 0) rc = errno;
    return rc == 0 ? open_tables(store, config) : rc;
}

/* The thread inherits the mask. A fault's own signals stay open, so that a crash is reported. */
static int start_writer(cd_store *store) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int error = pthread_create(&store->thread, NULL, cd_store_writer, store);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) return error;
    store->has_thread = true;
    pthread_setname_np(store->thread, "cherry-store");
    return 0;
}

static int open_writer(cd_store *store, const cd_store_config *config) {
    store->queue_capacity = config->queue_batches;
    store->queue_bytes_max = config->queue_bytes;
    store->group_bytes = config->group_bytes;
    store->queue = calloc(config->queue_batches, sizeof *store->queue);
    store->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (store->queue == NULL) return CD_ERR_MEMORY;
    if (store->event < 0) return errno;
    return start_writer(store);
}

int cd_store_open(const cd_store_config *config, cd_store **out) {
    CD_ARG_CHECK(out != NULL);
    *out = NULL;
    CD_ARG_CHECK(config != NULL && config->path != NULL && config->tables != NULL);
    CD_ARG_CHECK(config->tables_len >= 1 && config->tables_len <= CD_STORE_TABLES_MAX);
    CD_ARG_CHECK(config->queue_batches >= 1 && config->queue_batches <= CD_STORE_QUEUE_MAX);
    CD_ARG_CHECK(config->map_bytes <= SIZE_MAX / 2 && config->map_bytes_max <= SIZE_MAX / 2);
    cd_store *store = calloc(1, sizeof *store);
    if (store == NULL) return CD_ERR_MEMORY;
    store->owner = getpid();
    store->event = -1;
    store->tables_len = config->tables_len;
    store->is_read_only = config->flags & CD_STORE_READ_ONLY;
    store->map_bytes_max = config->map_bytes_max;
    cd_digest_key_keyed(&store->seal_key, config->seal_key);
    pthread_rwlock_init(&store->map, NULL);
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->work, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&store->settled, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int rc = open_environment(store, config);
    if (rc == 0 && !store->is_read_only) rc = open_writer(store, config);
    if (rc != 0) {
        cd_store_free(store);
        return rc;
    }
    *out = store;
    return CD_OK;
}

/* Closing. */

/* The lock is held and state is CLOSING: this caller alone ends the thread. */
static void stop(cd_store *store) {
    pthread_cond_broadcast(&store->work);
    pthread_mutex_unlock(&store->lock);
    if (store->has_thread) pthread_join(store->thread, NULL);
    pthread_rwlock_wrlock(&store->map);
    mdb_env_close(store->env);
    store->env = NULL;
    pthread_rwlock_unlock(&store->map);
    pthread_mutex_lock(&store->lock);
    if (store->event >= 0) close(store->event);
    store->event = -1;
    store->state = CD_STORE_CLOSED;
    pthread_cond_broadcast(&store->settled);
}

int cd_store_close(cd_store *store, int drain) {
    CD_ARG_CHECK(store != NULL);
    if (!cd_store_owned(store)) return CD_ERR_CLOSED;
    pthread_mutex_lock(&store->lock);
    if (store->state == CD_STORE_OPEN) {
        store->state = CD_STORE_CLOSING;
        store->drain = drain;
        stop(store);
    }
    while (store->state != CD_STORE_CLOSED) pthread_cond_wait(&store->settled, &store->lock);
    pthread_mutex_unlock(&store->lock);
    return CD_OK;
}

void cd_store_free(cd_store *store) {
    if (store == NULL || !cd_store_owned(store)) return;
    cd_store_close(store, 0);
    pthread_cond_destroy(&store->settled);
    pthread_cond_destroy(&store->work);
    pthread_mutex_destroy(&store->lock);
    pthread_rwlock_destroy(&store->map);
    free(store->queue);
    free(store);
}

const char *cd_store_message(int code) {
    switch (code) {
    case CD_OK: return "no error";
    case CD_ERR_ARGUMENT: return "an argument breaks the contract";
    case CD_ERR_MEMORY: return "no memory";
    case CD_ERR_FULL: return "a bound is reached";
    case CD_ERR_CLOSED: return "the store is closed, or belongs to another process";
    default: return mdb_strerror(code);
    }
}

/* The map. */

/* LMDB drops the old map before it asks for the new one, so first see whether it can be had. */
static bool is_available(size_t bytes) {
    void *probe = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (probe == MAP_FAILED) return false;
    munmap(probe, bytes);
    return true;
}

bool cd_store_grow(cd_store *store) {
    pthread_mutex_lock(&store->lock);
    uint64_t limit = store->map_bytes_max;
    pthread_mutex_unlock(&store->lock);
    MDB_envinfo info;
    bool has_grown = false;
    pthread_rwlock_wrlock(&store->map);
    if (mdb_env_info(store->env, &info) == 0 && info.me_mapsize < limit) {
        uint64_t wanted = info.me_mapsize > limit / 2 ? limit : 2 * info.me_mapsize;
        has_grown = is_available(wanted) && mdb_env_set_mapsize(store->env, wanted) == 0;
    }
    pthread_rwlock_unlock(&store->map);
    return has_grown;
}

/* The environment; each function holds the map in place, since some of them read it. */

static int hold_map(cd_store *store) {
    CD_ARG_CHECK(store != NULL);
    if (!cd_store_owned(store)) return CD_ERR_CLOSED;
    pthread_rwlock_rdlock(&store->map);
    if (store->env != NULL) return CD_OK;
    pthread_rwlock_unlock(&store->map);
    return CD_ERR_CLOSED;
}

int cd_store_get_info(cd_store *store, cd_store_info *info) {
    CD_ARG_CHECK(info != NULL);
    int rc = hold_map(store);
    if (rc != 0) return rc;
    MDB_envinfo environment;
    MDB_stat stat;
    rc = mdb_env_info(store->env, &environment);
    if (rc == 0) rc = mdb_env_stat(store->env, &stat);
    pthread_rwlock_unlock(&store->map);
    if (rc != 0) return rc;
    pthread_mutex_lock(&store->lock);
    *info = store->written;
    info->map_bytes_max = store->map_bytes_max;
    info->queued = store->queued;
    pthread_mutex_unlock(&store->lock);
    info->map_bytes = environment.me_mapsize;
    info->used_bytes = (environment.me_last_pgno + 1) * (uint64_t)stat.ms_psize;
    info->readers = environment.me_numreaders;
    return CD_OK;
}

int cd_store_get_table(cd_store *store, size_t table, cd_store_table *info) {
    CD_ARG_CHECK(info != NULL);
    cd_read *read;
    int rc = cd_read_begin(store, &read);
    if (rc != 0) return rc;
    MDB_stat stat;
    rc = table < store->tables_len ? mdb_stat(read->txn, store->table[table], &stat)
                                   : CD_ERR_ARGUMENT;
    if (rc == 0) {
        info->entries = stat.ms_entries;
        info->pages = stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
    }
    cd_read_end(read);
    return rc;
}

/* The library keeps free pages in a table of its own, number 0: lists that begin with their length. */
static int count_free(MDB_txn *txn, uint64_t *pages) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, 0, &cursor);
    if (rc != 0) return rc;
    MDB_val key, list;
    *pages = 0;
    while ((rc = mdb_cursor_get(cursor, &key, &list, MDB_NEXT)) == 0) {
        size_t length;
        if (list.mv_size < sizeof length) break;
        memcpy(&length, list.mv_data, sizeof length);
        *pages += length;
    }
    mdb_cursor_close(cursor);
    if (rc == 0) return MDB_CORRUPTED;
    return rc == MDB_NOTFOUND ? CD_OK : rc;
}

int cd_store_get_pages(cd_store *store, uint64_t *page_bytes, uint64_t *free_pages) {
    CD_ARG_CHECK(page_bytes != NULL && free_pages != NULL);
    cd_read *read;
    int rc = cd_read_begin(store, &read);
    if (rc != 0) return rc;
    MDB_stat stat;
    rc = mdb_env_stat(store->env, &stat);
    if (rc == 0) {
        *page_bytes = stat.ms_psize;
        rc = count_free(read->txn, free_pages);
    }
    cd_read_end(read);
    return rc;
}

int cd_store_check_readers(cd_store *store, int *dead) {
    CD_ARG_CHECK(dead != NULL);
    int rc = hold_map(store);
    if (rc != 0) return rc;
    rc = mdb_reader_check(store->env, dead);
    pthread_rwlock_unlock(&store->map);
    return rc;
}

static int sync_file(const char *path) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return errno;
    int rc = fsync(descriptor) == 0 ? 0 : errno;
    close(descriptor);
    return rc;
}

int cd_store_copy(cd_store *store, const char *path) {
    CD_ARG_CHECK(path != NULL);
    char file[4096];
    size_t size = strlen(path);
    CD_ARG_CHECK(size + sizeof "/data.mdb" <= sizeof file);
    memcpy(file, path, size);
    memcpy(file + size, "/data.mdb", sizeof "/data.mdb");
    int rc = hold_map(store);
    if (rc != 0) return rc;
    rc = mdb_env_copy2(store->env, path, 0);
    pthread_rwlock_unlock(&store->map);
    if (rc == 0) rc = sync_file(file);
    return rc == 0 ? sync_file(path) : rc;
}
