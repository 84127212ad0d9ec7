#include "store/internal.h"

int cd_read_heads(cd_read *read, size_t table, const uint8_t *keys, size_t key_size, size_t n,
                  size_t size, cd_entry *entries, size_t *count) {
    CD_ARG_CHECK(read != NULL && keys != NULL && entries != NULL && count != NULL);
    CD_ARG_CHECK(table < read->store->tables_len);
    CD_ARG_CHECK(key_size >= 1 && key_size <= CD_STORE_KEY_MAX);
    *count = 0;
    for (size_t i = 0; i < n; i++) {
        MDB_val key = {key_size, (void *)(keys + i * key_size)}, value;
        int rc = mdb_get(read->txn, read->store->table[table], &key, &value);
        if (rc == MDB_NOTFOUND) continue;
        if (rc != 0) return rc;
        size_t whole =
            value.mv_size < CD_STORE_SEAL_BYTES ? 0 : value.mv_size - CD_STORE_SEAL_BYTES;
        entries[(*count)++] = (cd_entry){.key = key.mv_data,
                                         .value = value.mv_data,
                                         .key_size = key_size,
                                         .value_size = whole < size ? whole : size,
                                         .row = i};
    }
    return CD_OK;
}

/* The record of a place in its value; it is left out if the value is too short for it. */
static void find_record(const uint8_t *value, uint64_t size, size_t record_size, size_t size_at,
                        const cd_place *place, cd_record *found) {
    uint64_t bodies_at = place->at + (uint64_t)place->count * record_size;
    if (place->row >= place->count || bodies_at > size) return;
    const uint8_t *sizes = value + place->at + size_at;
    const uint8_t *own = sizes + place->row * record_size;
    uint64_t at = bodies_at, body_size = cd_load32_le(own);
    if (body_size > 0)
        for (; sizes < own; sizes += record_size) at += cd_load32_le(sizes);
    if (at > size || body_size > size - at) return;
    found->record = own - size_at;
    found->body = value + at;
    found->body_size = body_size;
}

int cd_read_records(cd_read *read, size_t table, size_t record_size, size_t size_at,
                    const cd_place *places, size_t n, cd_record *records) {
    CD_ARG_CHECK(read != NULL && places != NULL && records != NULL);
    CD_ARG_CHECK(table < read->store->tables_len);
    CD_ARG_CHECK(record_size >= 4 && record_size <= CD_STORE_VALUE_MAX);
    CD_ARG_CHECK(size_at <= record_size - 4);
    for (size_t i = 0; i < n; i++) {
        uint8_t name[8];
        cd_store64_le(name, __builtin_bswap64(places[i].key)); /* big-endian */
        MDB_val key = {sizeof name, name}, value;
        records[i] = (cd_record){0};
        int rc = mdb_get(read->txn, read->store->table[table], &key, &value);
        if (rc != 0 && rc != MDB_NOTFOUND) return rc;
        if (rc == 0 && value.mv_size >= CD_STORE_SEAL_BYTES)
            find_record(value.mv_data, value.mv_size - CD_STORE_SEAL_BYTES, record_size, size_at,
                        &places[i], &records[i]);
    }
    return CD_OK;
}
