/* A mempool's memory: reserved as a whole. The indexes have their pages from the start, the rest
 * has them if that is asked for. */
#include "mempool/pool.h"

#include "base/pages.h"

#define PAGE_BYTES ((size_t)4096)
#define HEAP_SHIFT 3 /* so that its second begins a line */

static void touch(volatile uint8_t *array, size_t size) {
    for (size_t i = 0; i < size; i += PAGE_BYTES) array[i] = 0;
    if (size > 0) array[size - 1] = 0;
}

/* Zeroed, and at a line; CD_ARRAYS of them, which cd_mempool_free frees. */
static void *reserve(cd_mempool *pool, size_t count, size_t width) {
    const size_t size = count * width;
    const bool is_huge = pool->config.prefault && size >= CD_HUGE_BYTES;
    const size_t align = is_huge ? CD_HUGE_BYTES : CD_LINE;
    uint8_t *array = calloc(1, size + align);
    pool->arrays[pool->array_count++] = array;
    pool->stats.memory_bytes += size;
    if (array == NULL) return NULL;
    array += -(uintptr_t)array & (align - 1);
    if (is_huge) cd_advise_huge(array, size);
    if (pool->config.prefault) touch(array, size);
    return array;
}

/* At most half of the places are ever taken, so every probe ends. */
static void reserve_index(cd_mempool *pool, cd_index *index, uint64_t entries) {
    uint64_t size = 2;
    while (size < 2 * entries) size *= 2;
    index->mask = (uint32_t)(size - 1);
    index->places = reserve(pool, size, sizeof *index->places);
    /* Lookups go everywhere: without this the first batches would wait for all its pages. */
    if (index->places != NULL) touch((uint8_t *)index->places, size * sizeof *index->places);
}

static bool reserve_all(cd_mempool *pool) {
    const size_t n = pool->config.transactions_max, recent = pool->config.recent_max;
    pool->slots = reserve(pool, n, sizeof *pool->slots);
    pool->records = reserve(pool, n, RECORD);
    pool->slots_free = reserve(pool, n, sizeof *pool->slots_free);
    pool->senders = reserve(pool, n, sizeof *pool->senders);
    pool->heap = reserve(pool, n + HEAP_SHIFT, sizeof *pool->heap);
    pool->heap_sender = reserve(pool, n, sizeof *pool->heap_sender);
    pool->heap_place = reserve(pool, n, sizeof *pool->heap_place);
    pool->links = reserve(pool, n, sizeof *pool->links);
    pool->blocks = reserve(pool, pool->blocks_max, CD_MEMPOOL_BLOCK_BYTES);
    pool->block_next = reserve(pool, pool->blocks_max, sizeof *pool->block_next);
    pool->recent = reserve(pool, recent, 32);
    pool->recent_hash = reserve(pool, recent, sizeof *pool->recent_hash);
    pool->dropped_tags = reserve(pool, pool->dropped_max, sizeof *pool->dropped_tags);
    pool->dropped_reasons = reserve(pool, pool->dropped_max, sizeof *pool->dropped_reasons);
    reserve_index(pool, &pool->ids, n + recent);
    reserve_index(pool, &pool->keys, n);
    CD_VERIFY_CHECK(pool->array_count == CD_ARRAYS);
    for (uint32_t i = 0; i < CD_ARRAYS; i++)
        if (pool->arrays[i] == NULL) return false;
    pool->heap += HEAP_SHIFT;
    return true;
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
    pool->dropped_max = config->transactions_max < CD_MEMPOOL_DROPPED_MIN
                            ? CD_MEMPOOL_DROPPED_MIN
                            : config->transactions_max;
    pool->senders_free = pool->blocks_free = CD_NONE;
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
    for (uint32_t i = 0; i < pool->senders_used; i++)
        if (pool->senders[i].entries != &pool->senders[i].only) free(pool->senders[i].entries);
    for (uint32_t i = 0; i < CD_ARRAYS; i++) free(pool->arrays[i]);
    free(pool);
}

void cd_mempool_get_stats(const cd_mempool *pool, cd_mempool_stats *stats) {
    *stats = pool->stats;
    stats->body_bytes = (uint64_t)pool->blocks_held * CD_MEMPOOL_BLOCK_BYTES;
}
