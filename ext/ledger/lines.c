/* Opening and freeing; creating and removing lines in segments, index and buckets. */
#include "ledger/table.h"

#define GROUP 32 /* keys hashed together: two full groups of the hash's lanes */

static bool config_holds(const cd_ledger_config *config) {
    return config->lines_max >= 1 && config->lines_max <= CD_LEDGER_LINES_MAX &&
           config->depth >= 1 && config->depth <= CD_LEDGER_DEPTH_MAX;
}

CD_INLINE size_t segments_max(const cd_ledger *ledger) {
    return (ledger->lines_max - 1) / CD_SEGMENT_LINES + 1;
}

CD_INLINE size_t vacant_words(const cd_ledger *ledger) {
    return (size_t)ledger->lines_max / 64 + 1;
}

CD_INLINE size_t dirty_words(const cd_ledger *ledger) {
    return (((size_t)1 << ledger->depth) + 63) / 64;
}

cd_status cd_ledger_open(const cd_ledger_config *config, cd_ledger **out) {
    CD_ARG_CHECK(out != NULL);
    *out = NULL;
    CD_ARG_CHECK(config != NULL && config_holds(config));
    cd_ledger *ledger = calloc(1, sizeof *ledger);
    if (ledger == NULL) return CD_ERR_MEMORY;
    ledger->lines_max = config->lines_max;
    ledger->depth = config->depth;
    cd_digest_key_keyed(&ledger->bucket_key, config->bucket_key);
    cd_digest_key_keyed(&ledger->address_key, config->address_key);
    ledger->seed[0] = cd_load64_le(config->seed);
    ledger->seed[1] = cd_load64_le(config->seed + 8);
    while ((uint64_t)CD_SHARD_LINES << ledger->shard_bits < config->lines_max) ledger->shard_bits++;
    ledger->segments = calloc(segments_max(ledger), sizeof(*ledger->segments));
    ledger->vacant = calloc(vacant_words(ledger), sizeof *ledger->vacant);
    ledger->shards = calloc((size_t)1 << ledger->shard_bits, sizeof *ledger->shards);
    ledger->heads = calloc((size_t)1 << ledger->depth, sizeof *ledger->heads);
    ledger->dirty = calloc(dirty_words(ledger), sizeof *ledger->dirty);
    if (!ledger->segments || !ledger->vacant || !ledger->shards || !ledger->heads ||
        !ledger->dirty) {
        cd_ledger_free(ledger);
        return CD_ERR_MEMORY;
    }
    *out = ledger;
    return CD_OK;
}

CD_INLINE size_t segments_used(const cd_ledger *ledger) {
    return ((size_t)ledger->used + CD_SEGMENT_LINES - 1) / CD_SEGMENT_LINES;
}

void cd_ledger_free(cd_ledger *ledger) {
    if (ledger == NULL) return;
    cd_ledger_snapshot_end(ledger);
    for (size_t i = 0; i < segments_used(ledger); i += CD_PAGE_SEGMENTS) free(ledger->segments[i]);
    if (ledger->shards != NULL)
        for (size_t i = 0; i < (size_t)1 << ledger->shard_bits; i++) free(ledger->shards[i].slots);
    void *parts[] = {ledger->segments, ledger->vacant, ledger->shards,
                     ledger->heads,    ledger->dirty,  ledger};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) free(parts[i]);
}

cd_status cd_ledger_get_stats(const cd_ledger *ledger, cd_ledger_stats *stats) {
    CD_ARG_CHECK(ledger != NULL && stats != NULL);
    const size_t buckets = (size_t)1 << ledger->depth;
    const size_t pages = (segments_used(ledger) + CD_PAGE_SEGMENTS - 1) / CD_PAGE_SEGMENTS;
    stats->lines = ledger->lines;
    stats->dirty_buckets = ledger->dirty_count;
    stats->fees[0] = (uint64_t)ledger->fees;
    stats->fees[1] = (uint64_t)(ledger->fees >> 64);
    stats->bytes = sizeof *ledger + segments_max(ledger) * sizeof(*ledger->segments) +
                   pages * CD_HUGE_BYTES + vacant_words(ledger) * sizeof *ledger->vacant +
                   ((size_t)1 << ledger->shard_bits) * sizeof *ledger->shards +
                   ledger->slots * sizeof(cd_slot) + buckets * sizeof *ledger->heads +
                   dirty_words(ledger) * sizeof *ledger->dirty +
                   ledger->snapshot.words * sizeof *ledger->snapshot.settled +
                   ledger->snapshot.blocks * sizeof(cd_saved_block);
    return CD_OK;
}

CD_INLINE uint32_t bucket_of(const cd_ledger *ledger, const uint8_t *digest) {
    return (uint32_t)(cd_load64_be(digest) >> (64 - ledger->depth));
}

/* Hash one group, and fetch the shard and then the slot of each key. */
static void prepare_group(const cd_ledger *ledger, const uint8_t *keys, size_t stride, size_t n,
                          cd_key *out) {
    uint8_t digests[GROUP][CD_DIGEST_BYTES];
    for (size_t i = 0; i < n; i++) {
        out[i].bytes = keys + i * stride;
        out[i].hash = cd_index_hash(ledger, out[i].bytes);
        __builtin_prefetch(shard_of(ledger, out[i].hash));
    }
    cd_digest_records(&ledger->bucket_key, keys, n, stride, 0, CD_LEDGER_KEY_BYTES, digests[0]);
    for (size_t i = 0; i < n; i++) {
        const cd_shard *shard = shard_of(ledger, out[i].hash);
        out[i].bucket = bucket_of(ledger, digests[i]);
        __builtin_prefetch(&ledger->dirty[out[i].bucket / 64], 1);
        if (shard->used != 0)
            __builtin_prefetch(&shard->slots[home_of(shard, (uint32_t)out[i].hash)]);
    }
}

/* Find where the lines of keys with fetched slots are, and fetch them, or what a new one needs. */
static void fetch_lines(const cd_ledger *ledger, size_t n, cd_key *keys) {
    for (size_t i = 0; i < n; i++) {
        keys[i].hint = cd_index_hint(ledger, keys[i].hash);
        __builtin_prefetch(keys[i].hint != 0 ? (void *)line_at(ledger, keys[i].hint)
                                             : (void *)&ledger->heads[keys[i].bucket],
                           1);
    }
}

/* While one group is hashed, the slots of the group before are on their way. */
void cd_keys_prepare(const cd_ledger *ledger, const uint8_t *keys, size_t stride, size_t n,
                     cd_key *out) {
    size_t before = 0;
    for (size_t first = 0; first < n; first += GROUP) {
        size_t count = n - first < GROUP ? n - first : GROUP;
        prepare_group(ledger, keys + first * stride, stride, count, out + first);
        fetch_lines(ledger, first - before, out + before);
        before = first;
    }
    fetch_lines(ledger, n - before, out + before);
}

/* The segments of one more page. It is made huge once it is full: before, a transfer would wait for it
 * to be zeroed. */
static bool add_page(cd_ledger *ledger) {
    const size_t first = segments_used(ledger);
    uint8_t *page = aligned_alloc(CD_HUGE_BYTES, CD_HUGE_BYTES);
    if (page == NULL) return false;
    if (first != 0) cd_advise_huge(ledger->segments[first - CD_PAGE_SEGMENTS], CD_HUGE_BYTES);
    for (size_t i = 0; i < CD_PAGE_SEGMENTS && first + i < segments_max(ledger); i++)
        ledger->segments[first + i] = (cd_ledger_line *)(page + i * CD_SEGMENT_BYTES);
    return true;
}

/* A place for one more line; the index has room for it already. */
static cd_status take_place(cd_ledger *ledger, uint32_t *place) {
    if (ledger->free != 0) {
        *place = ledger->free;
        ledger->vacant[*place / 64] &= ~place_bit(*place);
        ledger->free = line_at(ledger, *place)->link;
        return CD_OK;
    }
    if (ledger->used == ledger->lines_max) return CD_ERR_FULL;
    if (ledger->used % (CD_PAGE_SEGMENTS * CD_SEGMENT_LINES) == 0 && !add_page(ledger))
        return CD_ERR_MEMORY;
    *place = ++ledger->used;
    return CD_OK;
}

cd_status cd_line_create(cd_ledger *ledger, cd_key *key, cd_ledger_line **out) {
    uint32_t place;
    if (!cd_index_reserve(ledger, key->hash)) return CD_ERR_MEMORY;
    cd_status status = take_place(ledger, &place);
    if (status != CD_OK) return status;
    cd_ledger_line *line = line_at(ledger, place);
    memset(line, 0, sizeof *line);
    memcpy(line->address, key->bytes, CD_LEDGER_KEY_BYTES); /* and the asset, which follows */
    line->link = ledger->heads[key->bucket];
    ledger->heads[key->bucket] = place;
    cd_index_add(ledger, key->hash, place);
    key->hint = place;
    ledger->lines++;
    *out = line;
    return CD_OK;
}

void cd_line_remove(cd_ledger *ledger, const cd_key *key) {
    const uint32_t place = cd_index_find(ledger, key->hash, key->bytes);
    cd_ledger_line *line = line_at(ledger, place);
    uint32_t *link = &ledger->heads[key->bucket];
    while (*link != place) link = &line_at(ledger, *link)->link;
    *link = line->link;
    cd_index_remove(ledger, key->hash, place);
    memset(line, 0, sizeof *line);
    line->link = ledger->free;
    ledger->free = place;
    ledger->vacant[place / 64] |= place_bit(place);
    ledger->lines--;
}
