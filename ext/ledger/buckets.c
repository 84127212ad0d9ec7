/* The state tree's buckets: which changed, and what stands in them. */
#include "ledger/table.h"

#define AHEAD 16 /* buckets whose first lines are on their way to the cache */

cd_status cd_ledger_drain_dirty(cd_ledger *ledger, uint32_t *buckets, size_t max, size_t *count) {
    CD_ARG_CHECK(ledger != NULL && count != NULL && (max == 0 || buckets != NULL));
    *count = ledger->dirty_count;
    if (*count > max || *count == 0) return CD_OK;
    const size_t words = (((size_t)1 << ledger->depth) + 63) / 64;
    for (size_t i = 0; i < words; i++) {
        for (uint64_t word = ledger->dirty[i]; word != 0; word &= word - 1)
            *buckets++ = (uint32_t)(i * 64 + (size_t)__builtin_ctzll(word));
        ledger->dirty[i] = 0;
    }
    ledger->dirty_count = 0;
    return CD_OK;
}

/* The heads are fetched first, then the lines that they name. */
CD_INLINE void fetch_ahead(const cd_ledger *ledger, const uint32_t *buckets, size_t n, size_t i) {
    const uint32_t limit = 1u << ledger->depth;
    if (i + 2 * AHEAD < n && buckets[i + 2 * AHEAD] < limit)
        __builtin_prefetch(&ledger->heads[buckets[i + 2 * AHEAD]]);
    if (i + AHEAD >= n || buckets[i + AHEAD] >= limit) return;
    const uint32_t head = ledger->heads[buckets[i + AHEAD]];
    if (head != 0) __builtin_prefetch(line_at(ledger, head));
}

cd_status cd_ledger_bucket_offsets(const cd_ledger *ledger, const uint32_t *buckets, size_t n,
                                   uint64_t *offsets) {
    CD_ARG_CHECK(ledger != NULL && offsets != NULL && (n == 0 || buckets != NULL));
    offsets[0] = 0;
    for (size_t i = 0; i < n; i++) {
        fetch_ahead(ledger, buckets, n, i);
        CD_ARG_CHECK(buckets[i] >> ledger->depth == 0);
        uint64_t size = 0;
        for (uint32_t at = ledger->heads[buckets[i]]; at != 0; at = line_at(ledger, at)->link)
            size += CD_LEDGER_ENTRY_BYTES;
        offsets[i + 1] = offsets[i] + size;
    }
    return CD_OK;
}

/* Key and value lie in a line as they do in an entry, but for the two sizes before them. */
_Static_assert(offsetof(cd_ledger_line, balance) == CD_LEDGER_KEY_BYTES,
               "a line begins with its key");
_Static_assert(offsetof(cd_ledger_line, link) == CD_LEDGER_KEY_BYTES + CD_LEDGER_VALUE_BYTES,
               "its value follows, and the link is no part of it");
_Static_assert(CD_LEDGER_ENTRY_BYTES == 2 + CD_LEDGER_KEY_BYTES + CD_LEDGER_VALUE_BYTES, "entry");

CD_INLINE void write_entry(uint8_t *entry, const cd_ledger_line *line) {
    entry[0] = CD_LEDGER_KEY_BYTES;
    memcpy(entry + 1, line, CD_LEDGER_KEY_BYTES);
    entry[1 + CD_LEDGER_KEY_BYTES] = CD_LEDGER_VALUE_BYTES;
    memcpy(entry + 2 + CD_LEDGER_KEY_BYTES, line->balance, CD_LEDGER_VALUE_BYTES);
}

static int compare_keys(const void *a, const void *b) {
    return memcmp((const uint8_t *)a + 1, (const uint8_t *)b + 1, CD_LEDGER_KEY_BYTES);
}

cd_status cd_ledger_bucket_entries(const cd_ledger *ledger, const uint32_t *buckets, size_t n,
                                   const uint64_t *offsets, uint8_t *out, size_t out_size) {
    CD_ARG_CHECK(ledger != NULL && offsets != NULL && (n == 0 || buckets != NULL));
    CD_ARG_CHECK(offsets[0] == 0 && offsets[n] == out_size && (out_size == 0 || out != NULL));
    for (size_t i = 0; i < n; i++) {
        fetch_ahead(ledger, buckets, n, i);
        CD_ARG_CHECK(buckets[i] >> ledger->depth == 0);
        CD_ARG_CHECK(offsets[i] <= offsets[i + 1] && offsets[i + 1] <= out_size);
        const size_t size = offsets[i + 1] - offsets[i];
        uint8_t *first = out + offsets[i];
        size_t written = 0;
        for (uint32_t at = ledger->heads[buckets[i]]; at != 0; at = line_at(ledger, at)->link) {
            CD_ARG_CHECK(size - written >= CD_LEDGER_ENTRY_BYTES);
            write_entry(first + written, line_at(ledger, at));
            written += CD_LEDGER_ENTRY_BYTES;
        }
        CD_ARG_CHECK(written == size);
        if (size > CD_LEDGER_ENTRY_BYTES)
            qsort(first, size / CD_LEDGER_ENTRY_BYTES, CD_LEDGER_ENTRY_BYTES, compare_keys);
    }
    return CD_OK;
}
