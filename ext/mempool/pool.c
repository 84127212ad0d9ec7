/* A mempool's memory: reserved as a whole; only the indexes have their pages from the start. */
#include "mempool/pool.h"

#define PAGE_BYTES 4096

static void *reserve(cd_mempool *pool, size_t count, size_t size) {
    pool->stats.memory_bytes += count * size;
    return calloc(count ? count : 1, size);
}

/* At most half of the places are ever taken, so every probe ends. */
static bool reserve_index(cd_mempool *pool, cd_index *index, uint64_t entries) {
    uint64_t size = 2;
    while (size < 2 * entries) size *= 2;
    index->mask = (uint32_t)(size - 1);
    index->places = reserve(pool, size, sizeof *index->places);
    if (index->places == NULL) return false;
    /* Lookups go everywhere: without this the first batches would wait for all its pages. */
    for (uint64_t i = 0; i < size; i += PAGE_BYTES / sizeof *index->places)
        *(volatile uint32_t *)&index->places[i].at = 0;
    return true;
}

static bool reserve_all(cd_mempool *pool) {
    const size_t n = pool->config.transactions_max, recent = pool->config.recent_max;
    pool->records = reserve(pool, n, RECORD);
    pool->id_rows = reserve(pool, n, 32);
    pool->slots = reserve(pool, n, sizeof *pool->slots);
    pool->valid_until = reserve(pool, n, sizeof *pool->valid_until);
    pool->senders = reserve(pool, n, sizeof *pool->senders);
    pool->blocks = reserve(pool, pool->blocks_max, CD_MEMPOOL_BLOCK_BYTES);
    pool->block_next = reserve(pool, pool->blocks_max, sizeof *pool->block_next);
    pool->recent = reserve(pool, recent, 32);
    pool->recent_hash = reserve(pool, recent, sizeof *pool->recent_hash);
    pool->heap = reserve(pool, n, sizeof *pool->heap);
    pool->heap_place = reserve(pool, n, sizeof *pool->heap_place);
    pool->class_next = reserve(pool, n, sizeof *pool->class_next);
    pool->class_prev = reserve(pool, n, sizeof *pool->class_prev);
    return reserve_index(pool, &pool->ids, n + recent) && reserve_index(pool, &pool->keys, n) &&
           pool->records && pool->id_rows && pool->slots && pool->valid_until && pool->senders &&
           pool->blocks && pool->block_next && pool->recent && pool->recent_hash && pool->heap &&
           pool->heap_place && pool->class_next && pool->class_prev;
}

cd_status cd_mempool_open(const cd_mempool_config *config, cd_mempool **out) {
    CD_ARG_CHECK(config->transactions_max >= 1);
    CD_ARG_CHECK(config->transactions_max <= CD_MEMPOOL_TRANSACTIONS_MAX);
    CD_ARG_CHECK(config->sender_max >= 1 && config->sender_max <= CD_MEMPOOL_SENDER_MAX);
    CD_ARG_CHECK(config->recent_max <= CD_MEMPOOL_RECENT_MAX);
    CD_ARG_CHECK(config->body_bytes_max <= CD_MEMPOOL_BODIES_MAX);
    cd_mempool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) return CD_ERR_MEMORY;
    pool->config = *config;
    pool->blocks_max = (uint32_t)(config->body_bytes_max / CD_MEMPOOL_BLOCK_BYTES);
    pool->slots_free = pool->senders_free = pool->blocks_free = CD_NONE;
    memset(pool->class_head, 0xff, sizeof pool->class_head);
    memset(pool->class_tail, 0xff, sizeof pool->class_tail);
    pool->stats.memory_bytes = sizeof *pool;
    if (!reserve_all(pool)) {
        cd_mempool_free(pool);
        return CD_ERR_MEMORY;
    }
    *out = pool;
    return CD_OK;
}

void cd_mempool_free(cd_mempool *pool) {
    if (pool == NULL) return;
    for (uint32_t i = 0; i < pool->senders_used; i++) free(pool->senders[i].entries);
    void *arrays[] = {pool->records,     pool->id_rows,    pool->slots,      pool->valid_until,
                      pool->senders,     pool->blocks,     pool->block_next, pool->recent,
                      pool->recent_hash, pool->heap,       pool->heap_place, pool->class_next,
                      pool->class_prev,  pool->ids.places, pool->keys.places};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free(arrays[i]);
    free(pool);
}

void cd_mempool_get_stats(const cd_mempool *pool, cd_mempool_stats *stats) {
    *stats = pool->stats;
    stats->body_bytes = (uint64_t)pool->blocks_held * CD_MEMPOOL_BLOCK_BYTES;
}
