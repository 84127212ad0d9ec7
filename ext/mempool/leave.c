/* What goes out: taken for a vertex, settled, put back, expired or stale. */
#include "mempool/pool.h"

#define PASSED_MAX 64
#define AHEAD 8

CD_INLINE uint32_t place_of(const cd_mempool *pool, uint32_t slot) {
    const cd_sender *sender = &pool->senders[pool->slots[slot].sender];
    return cd_entry_search(sender, cd_load64_le(record_of(pool, slot) + NONCE_AT));
}

static void serve(cd_mempool *pool, uint32_t at) {
    cd_sender *sender = &pool->senders[at];
    sender->start = cd_turn_due(pool, sender);
    sender->turn = ++pool->turns;
    if (sender->start > pool->clock) pool->clock = sender->start;
    cd_entry_take(sender);
    pool->stats.waiting--;
    pool->stats.taken++;
    pool->stats.taken_ever++;
    cd_sender_update(pool, at);
}

/* The sender that is served next is this one or among the children of the root. */
CD_INLINE void fetch_next(const cd_mempool *pool) {
    for (uint32_t i = 1; i <= 4 && i < pool->heap_count; i++) {
        const cd_sender *sender = &pool->senders[pool->heap[i].sender];
        __builtin_prefetch(sender->entries);
        __builtin_prefetch((const uint8_t *)sender + 64);
    }
}

void cd_mempool_take(cd_mempool *pool, size_t max, uint64_t body_bytes_max, uint64_t bytes_max,
                     uint32_t now_s, uint32_t *slots, size_t *count, uint64_t *body_bytes) {
    uint32_t passed[PASSED_MAX];
    size_t passed_count = 0, dropped = 0;
    *count = 0;
    *body_bytes = 0;
    while (*count < max && pool->heap_count > 0) {
        const uint64_t used = (*count + 1) * RECORD + *body_bytes;
        if (used > bytes_max) break;
        const uint32_t at = pool->heap[0].sender;
        const cd_sender *sender = &pool->senders[at];
        const cd_entry *next = &sender->entries[sender->first];
        const uint32_t body_size = next->body_size;
        fetch_next(pool);
        if (now_s > next->valid_until) {
            if (dropped++ == CD_MEMPOOL_STEPS) break;
            cd_drop_entry(pool, at, sender->first);
            pool->stats.expired++;
            cd_sender_update(pool, at);
        } else if (body_size > body_bytes_max - *body_bytes || body_size > bytes_max - used) {
            if (passed_count == PASSED_MAX) break;
            passed[passed_count++] = at;
            cd_turn_remove(pool, at);
        } else {
            *body_bytes += body_size;
            slots[(*count)++] = next->slot;
            serve(pool, at);
        }
    }
    for (size_t i = 0; i < passed_count; i++) cd_turn_put(pool, passed[i]);
}

void cd_mempool_copy(const cd_mempool *pool, const uint32_t *slots, size_t n, uint8_t *records,
                     uint8_t *ids, uint8_t *bodies) {
    for (size_t i = 0; i < n; i++) {
        if (i + AHEAD < n) {
            const uint8_t *next = record_of(pool, slots[i + AHEAD]);
            for (int line = 0; line < RECORD; line += 64) __builtin_prefetch(next + line);
            __builtin_prefetch(id_of(pool, slots[i + AHEAD]));
            __builtin_prefetch(&pool->slots[slots[i + AHEAD]]);
        }
        memcpy(records + i * RECORD, record_of(pool, slots[i]), RECORD);
        memcpy(ids + i * 32, id_of(pool, slots[i]), 32);
        cd_body_load(pool, slots[i], bodies);
        bodies += pool->slots[slots[i]].body_size;
    }
}

static void remember(cd_mempool *pool, uint32_t hash, const uint8_t id[32]) {
    const uint32_t at = pool->recent_next;
    if (pool->config.recent_max == 0) return;
    if (pool->stats.recent == pool->config.recent_max)
        cd_index_remove(&pool->ids, pool->recent_hash[at], at | CD_RECENT);
    else
        pool->stats.recent++;
    memcpy(pool->recent + (size_t)at * 32, id, 32);
    pool->recent_hash[at] = hash;
    cd_index_add(&pool->ids, hash, at | CD_RECENT);
    pool->recent_next = at + 1 == pool->config.recent_max ? 0 : at + 1;
}

void cd_mempool_settle(cd_mempool *pool, const uint8_t *ids, size_t n) {
    uint32_t ahead[AHEAD];
    for (size_t i = 0; i < n && i < AHEAD; i++) {
        ahead[i] = cd_hash32(pool, ids + i * 32);
        cd_index_fetch(&pool->ids, ahead[i]);
    }
    for (size_t i = 0; i < n; i++) {
        const uint8_t *id = ids + i * 32;
        const uint32_t hash = ahead[i % AHEAD];
        if (i + AHEAD < n) {
            ahead[i % AHEAD] = cd_hash32(pool, id + AHEAD * 32);
            cd_index_fetch(&pool->ids, ahead[i % AHEAD]);
        }
        const uint32_t slot = cd_find_id(pool, hash, id);
        if (slot != CD_NONE && (slot & CD_RECENT)) continue;
        if (slot != CD_NONE) {
            const uint32_t at = pool->slots[slot].sender;
            cd_drop_entry(pool, at, place_of(pool, slot));
            cd_sender_update(pool, at);
            pool->stats.settled_ever++;
        }
        remember(pool, hash, id);
    }
}

void cd_mempool_put_back(cd_mempool *pool, const uint8_t *ids, size_t n, size_t *count) {
    *count = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t slot = cd_find_id(pool, cd_hash32(pool, ids + i * 32), ids + i * 32);
        if (slot == CD_NONE || (slot & CD_RECENT)) continue;
        const uint32_t at = pool->slots[slot].sender, place = place_of(pool, slot);
        cd_sender *sender = &pool->senders[at];
        if (!sender->entries[place].is_taken) continue;
        cd_entry_put_back(sender, place);
        pool->stats.waiting++;
        pool->stats.taken--;
        pool->stats.put_back_ever++;
        cd_sender_update(pool, at);
        (*count)++;
    }
}

void cd_mempool_expire(cd_mempool *pool, uint32_t now_s, uint32_t scan_max, size_t *count) {
    *count = 0;
    const uint32_t steps = scan_max < pool->slots_used ? scan_max : pool->slots_used;
    for (uint32_t step = 0; step < steps; step++) {
        const uint32_t slot = pool->scan_next;
        pool->scan_next = slot + 1 == pool->slots_used ? 0 : slot + 1;
        if (now_s <= pool->valid_until[slot]) continue;
        const uint32_t at = pool->slots[slot].sender, place = place_of(pool, slot);
        if (pool->senders[at].entries[place].is_taken) continue;
        cd_drop_entry(pool, at, place);
        cd_sender_update(pool, at);
        (*count)++;
    }
    pool->stats.expired += *count;
}

void cd_mempool_drop_stale(cd_mempool *pool, const uint8_t *keys, const uint64_t *bases, size_t n,
                           size_t *count) {
    *count = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *key = keys + i * 32;
        const uint32_t at = cd_find_sender(pool, cd_hash32(pool, key), key);
        if (at == CD_NONE) continue;
        cd_sender *sender = &pool->senders[at];
        const size_t before = *count;
        while (sender->waiting > 0 && sender->entries[sender->first].nonce < bases[i]) {
            cd_drop_entry(pool, at, sender->first);
            (*count)++;
        }
        if (*count != before) cd_sender_update(pool, at);
    }
    pool->stats.stale += *count;
}
