#include "store/internal.h"

#include <stdlib.h>

void cd_store_seal(const cd_digest_key *key, size_t table, const void *name, size_t name_size,
                   const uint8_t *value, size_t size, uint8_t *seal) {
    uint8_t message[1 + CD_STORE_KEY_MAX + CD_DIGEST_BYTES], digest[CD_DIGEST_BYTES];
    message[0] = (uint8_t)table;
    memcpy(message + 1, name, name_size);
    cd_digest_one(key, value, size, message + 1 + name_size);
    cd_digest_one(key, message, 1 + name_size + CD_DIGEST_BYTES, digest);
    memcpy(seal, digest, CD_STORE_SEAL_BYTES);
}

/* A read. */

int cd_read_begin(cd_store *store, cd_read **out) {
    CD_ARG_CHECK(store != NULL && out != NULL);
    *out = NULL;
    if (!cd_store_owned(store)) return CD_ERR_CLOSED;
    cd_read *read = malloc(sizeof *read);
    if (read == NULL) return CD_ERR_MEMORY;
    read->store = store;
    pthread_rwlock_rdlock(&store->map);
    int rc = CD_ERR_CLOSED;
    if (store->env != NULL) rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &read->txn);
    if (rc != 0) {
        pthread_rwlock_unlock(&store->map);
        free(read);
        return rc;
    }
    *out = read;
    return CD_OK;
}

void cd_read_end(cd_read *read) {
    if (read == NULL) return;
    mdb_txn_abort(read->txn);
    pthread_rwlock_unlock(&read->store->map);
    free(read);
}

static void describe(const cd_read *read, size_t table, size_t row, const MDB_val *key,
                     const MDB_val *value, cd_entry *entry) {
    entry->key = key->mv_data;
    entry->key_size = key->mv_size;
    entry->row = row;
    entry->value = value->mv_data;
    entry->value_size = value->mv_size;
    entry->is_sound = 0;
    if (value->mv_size < CD_STORE_SEAL_BYTES) return;
    entry->value_size -= CD_STORE_SEAL_BYTES;
    uint8_t seal[CD_STORE_SEAL_BYTES];
    cd_store_seal(&read->store->seal_key, table, entry->key, entry->key_size, entry->value,
                  entry->value_size, seal);
    entry->is_sound = memcmp(seal, entry->value + entry->value_size, sizeof seal) == 0;
}

int cd_read_keys(cd_read *read, size_t table, const uint8_t *keys, size_t key_size, size_t n,
                 uint64_t bytes_max, cd_entry *entries, size_t *count, size_t *rows) {
    CD_ARG_CHECK(read != NULL && keys != NULL && entries != NULL && count != NULL && rows != NULL);
    CD_ARG_CHECK(table < read->store->tables_len);
    CD_ARG_CHECK(key_size >= 1 && key_size <= CD_STORE_KEY_MAX);
    uint64_t bytes = 0;
    *count = 0;
    for (*rows = 0; *rows < n; ++*rows) {
        MDB_val key = {key_size, (void *)(keys + *rows * key_size)}, value;
        int rc = mdb_get(read->txn, read->store->table[table], &key, &value);
        if (rc == MDB_NOTFOUND) continue;
        if (rc != 0) return rc;
        bytes += value.mv_size;
        if (*count > 0 && bytes > bytes_max) break;
        describe(read, table, *rows, &key, &value, &entries[(*count)++]);
    }
    return CD_OK;
}

/* The entries under one prefix, behind the *count that there are. */
static int under_prefix(cd_read *read, MDB_cursor *cursor, size_t table, const uint8_t *prefix,
                        size_t size, size_t row, cd_entry *entries, size_t *count) {
    size_t limit = *count + CD_STORE_PREFIX_MAX;
    MDB_val key = {size, (void *)prefix}, value;
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (rc == 0 && key.mv_size >= size && memcmp(key.mv_data, prefix, size) == 0) {
        if (*count == limit) return CD_ERR_FULL;
        describe(read, table, row, &key, &value, &entries[(*count)++]);
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    return rc == MDB_NOTFOUND ? CD_OK : rc;
}

int cd_read_prefixes(cd_read *read, size_t table, const uint8_t *prefixes, size_t prefix_size,
                     size_t n, cd_entry *entries, size_t *count) {
    CD_ARG_CHECK(read != NULL && prefixes != NULL && entries != NULL && count != NULL);
    CD_ARG_CHECK(table < read->store->tables_len);
    CD_ARG_CHECK(prefix_size >= 1 && prefix_size <= CD_STORE_KEY_MAX);
    *count = 0;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(read->txn, read->store->table[table], &cursor);
    if (rc != 0) return rc;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = under_prefix(read, cursor, table, prefixes + i * prefix_size, prefix_size, i, entries,
                          count);
    mdb_cursor_close(cursor);
    return rc;
}

/* Ranges. */

/* Order of a key and a bound, as LMDB's. */
static int compare(const MDB_val *key, const uint8_t *bound, size_t size) {
    size_t shared = key->mv_size < size ? key->mv_size : size;
    int order = shared == 0 ? 0 : memcmp(key->mv_data, bound, shared);
    if (order != 0) return order;
    return (key->mv_size > size) - (key->mv_size < size);
}

static int first_of(MDB_cursor *cursor, const cd_range *range, MDB_val *key, MDB_val *value) {
    size_t size = range->is_descending ? range->stop_size : range->start_size;
    *key = (MDB_val){size, (void *)(range->is_descending ? range->stop : range->start)};
    if (!range->is_descending)
        return mdb_cursor_get(cursor, key, value, size == 0 ? MDB_FIRST : MDB_SET_RANGE);
    int rc = size == 0 ? MDB_NOTFOUND : mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
    /* The one before the first that is not below stop. */
    if (rc == 0) return mdb_cursor_get(cursor, key, value, MDB_PREV);
    return rc == MDB_NOTFOUND ? mdb_cursor_get(cursor, key, value, MDB_LAST) : rc;
}

static bool is_within(const cd_range *range, const MDB_val *key) {
    if (range->is_descending) return compare(key, range->start, range->start_size) >= 0;
    return range->stop_size == 0 || compare(key, range->stop, range->stop_size) < 0;
}

static bool is_bound(const uint8_t *bound, size_t size) {
    return size <= CD_STORE_KEY_MAX && (bound != NULL || size == 0);
}

int cd_read_range(cd_read *read, size_t table, const cd_range *range, cd_entry *entries, size_t n,
                  size_t *count) {
    CD_ARG_CHECK(read != NULL && range != NULL && entries != NULL && count != NULL && n >= 1);
    CD_ARG_CHECK(table < read->store->tables_len);
    CD_ARG_CHECK(is_bound(range->start, range->start_size));
    CD_ARG_CHECK(is_bound(range->stop, range->stop_size));
    *count = 0;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(read->txn, read->store->table[table], &cursor);
    if (rc != 0) return rc;
    MDB_val key, value;
    uint64_t bytes = 0;
    rc = first_of(cursor, range, &key, &value);
    while (rc == 0 && is_within(range, &key)) {
        bytes += value.mv_size;
        if (*count > 0 && bytes > range->bytes_max) break;
        describe(read, table, *count, &key, &value, &entries[*count]);
        if (++*count == n) break;
        rc = mdb_cursor_get(cursor, &key, &value, range->is_descending ? MDB_PREV : MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? CD_OK : rc;
}
