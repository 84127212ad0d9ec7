/* Slots: given out, freed, and the list of the tags of those that were dropped. */
#include "mempool/pool.h"

uint32_t cd_slot_new(cd_mempool *pool) {
    CD_VERIFY_CHECK(pool->slots_free_count > 0 || pool->slots_used < pool->config.transactions_max);
    if (pool->slots_free_count == 0) return pool->slots_used++;
    return pool->slots_free[--pool->slots_free_count];
}

void cd_release(cd_mempool *pool, uint32_t at, uint32_t place) {
    cd_sender *sender = &pool->senders[at];
    const uint32_t slot = sender->entries[place].slot;
    if (pool->slots[slot].body != CD_NONE) cd_body_free(pool, slot);
    *(sender->entries[place].is_taken ? &pool->stats.taken : &pool->stats.waiting) -= 1;
    cd_entry_remove(sender, place);
    pool->slots[slot].valid_until = UINT32_MAX;
    pool->slots_free[pool->slots_free_count++] = slot;
}

static void note_dropped(cd_mempool *pool, uint64_t tag, cd_mempool_reason reason) {
    pool->stats.dropped[reason]++;
    if (tag == 0) return;
    if (pool->stats.tags == pool->dropped_max) {
        pool->stats.tags_lost++;
        return;
    }
    pool->dropped_tags[pool->stats.tags] = tag;
    pool->dropped_reasons[pool->stats.tags++] = (uint8_t)reason;
}

void cd_drop(cd_mempool *pool, uint32_t at, uint32_t place, cd_mempool_reason reason) {
    const uint32_t slot = pool->senders[at].entries[place].slot;
    note_dropped(pool, pool->slots[slot].tag, reason);
    cd_index_remove(&pool->ids, pool->slots[slot].hash, slot);
    cd_release(pool, at, place);
}

void cd_mempool_drain(cd_mempool *pool, uint64_t *tags, uint8_t *reasons) {
    memcpy(tags, pool->dropped_tags, pool->stats.tags * sizeof *tags);
    memcpy(reasons, pool->dropped_reasons, pool->stats.tags);
    pool->stats.tags = 0;
}
