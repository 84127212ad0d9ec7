/* What goes out: taken for a vertex, settled, put back, expired or stale. */
#include "mempool/pool.h"

#define PASSED_MAX 64
#define COPY_AHEAD 8

CD_INLINE uint32_t place_of(const cd_mempool *pool, uint32_t slot) {
    return cd_entry_search(&pool->senders[pool->slots[slot].sender], pool->slots[slot].nonce);
}

static void serve(cd_mempool *pool, uint32_t at) {
    cd_sender *sender = &pool->senders[at];
    sender->start = pool->heap[0].due; /* it is at the root */
    sender->turn = ++pool->turns;
    if (sender->start > pool->clock) pool->clock = sender->start;
    cd_entry_take(sender);
    pool->stats.waiting--;
    pool->stats.taken++;
    pool->stats.taken_ever++;
    cd_sender_update(pool, at);
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
        const uint32_t at = pool->heap_sender[0];
        const cd_sender *sender = &pool->senders[at];
        const cd_entry *next = &sender->entries[sender->first];
        const uint32_t body_size = next->body_size;
        if (now_s > next->valid_until) {
            if (dropped++ == CD_MEMPOOL_STEPS) break;
            cd_drop(pool, at, sender->first, CD_MEMPOOL_DROP_EXPIRED);
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
        if (i + COPY_AHEAD < n) {
            fetch_record(pool, slots[i + COPY_AHEAD]);
            fetch(&pool->slots[slots[i + COPY_AHEAD]]);
        }
        const cd_slot *slot = &pool->slots[slots[i]];
        uint8_t *record = records + i * RECORD;
        memcpy(record, record_of(pool, slots[i]), RECORD);
        memcpy(ids + i * 32, slot->id, 32);
        if (slot->body == CD_NONE) continue;
        const uint32_t size = cd_load32_le(record + BODY_AT);
        cd_body_load(pool, slots[i], size, bodies);
        bodies += size;
    }
}

/* The lines of a window of slots, CD_NONE among them, and of those that have them. */
CD_INLINE void fetch_slots(const cd_mempool *pool, const uint32_t *slots, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (slots[i] != CD_NONE) fetch(&pool->slots[slots[i]]);
    for (size_t i = 0; i < n; i++)
        if (slots[i] != CD_NONE) fetch_sender(pool, pool->slots[slots[i]].sender);
    for (size_t i = 0; i < n; i++) {
        if (slots[i] == CD_NONE) continue;
        const uint32_t at = pool->slots[slots[i]].sender;
        fetch(pool->senders[at].entries);
        fetch(&pool->links[at]);
        fetch(&pool->heap_place[at]);
        cd_index_fetch(&pool->keys, pool->senders[at].hash);
    }
}

/* Hash a window of ids, and ask for the lines of those that are there. */
CD_INLINE void fetch_ids(const cd_mempool *pool, const uint8_t *ids, size_t n, uint32_t *hashes) {
    uint32_t slots[CD_WINDOW];
    for (size_t i = 0; i < n; i++) {
        hashes[i] = cd_hash32(pool, ids + i * 32);
        cd_index_fetch(&pool->ids, hashes[i]);
    }
    for (size_t i = 0; i < n; i++) {
        const uint32_t at = cd_index_guess(&pool->ids, hashes[i]);
        const bool is_recent = at != CD_NONE && (at & CD_RECENT);
        if (is_recent) fetch(pool->recent + (size_t)(at & ~CD_RECENT) * 32);
        slots[i] = is_recent ? CD_NONE : at;
    }
    fetch_slots(pool, slots, n);
}

/* Ids that are forgotten next, as many as are remembered. */
CD_INLINE void fetch_forgotten(const cd_mempool *pool, size_t n) {
    if (pool->stats.recent < pool->config.recent_max) return;
    uint32_t at = pool->recent_next;
    for (size_t i = 0; i < n && i < pool->config.recent_max; i++) {
        cd_index_fetch(&pool->ids, pool->recent_hash[at]);
        at = at + 1 == pool->config.recent_max ? 0 : at + 1;
    }
}

/* slot: whose id it is in the index yet, or CD_NONE. */
static void remember(cd_mempool *pool, uint32_t hash, const uint8_t id[32], uint32_t slot) {
    const uint32_t at = pool->recent_next;
    if (pool->config.recent_max == 0) {
        if (slot != CD_NONE) cd_index_remove(&pool->ids, hash, slot);
        return;
    }
    if (pool->stats.recent == pool->config.recent_max)
        cd_index_remove(&pool->ids, pool->recent_hash[at], at | CD_RECENT);
    else
        pool->stats.recent++;
    memcpy(pool->recent + (size_t)at * 32, id, 32);
    pool->recent_hash[at] = hash;
    if (slot == CD_NONE)
        cd_index_add(&pool->ids, hash, at | CD_RECENT);
    else
        cd_index_move(&pool->ids, hash, slot, at | CD_RECENT);
    pool->recent_next = at + 1 == pool->config.recent_max ? 0 : at + 1;
}

/* Its tag. */
static uint64_t settle_one(cd_mempool *pool, uint32_t hash, const uint8_t *id) {
    uint64_t tag = 0;
    const uint32_t slot = cd_find_id(pool, hash, id);
    if (slot != CD_NONE && (slot & CD_RECENT)) return 0;
    if (slot != CD_NONE) {
        const uint32_t at = pool->slots[slot].sender;
        tag = pool->slots[slot].tag;
        cd_release(pool, at, place_of(pool, slot));
        cd_sender_update(pool, at);
        pool->stats.settled_ever++;
    }
    remember(pool, hash, id, slot);
    return tag;
}

void cd_mempool_settle(cd_mempool *pool, const uint8_t *ids, size_t n, uint64_t *tags) {
    uint32_t hashes[CD_WINDOW];
    for (size_t i = 0; i < n; i++) {
        const uint8_t *id = ids + i * 32;
        if (i % CD_WINDOW == 0) {
            fetch_ids(pool, id, window_of(n - i), hashes);
            fetch_forgotten(pool, window_of(n - i));
        }
        const uint64_t tag = settle_one(pool, hashes[i % CD_WINDOW], id);
        if (tags != NULL) tags[i] = tag;
    }
}

/* The place in the ring stays, with the opposite of an id, which is nobody's. */
void cd_mempool_forget(cd_mempool *pool, const uint8_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const uint8_t *id = ids + i * 32;
        const uint32_t at = cd_find_id(pool, cd_hash32(pool, id), id);
        if (at == CD_NONE || !(at & CD_RECENT)) continue;
        uint8_t *known = pool->recent + (size_t)(at & ~CD_RECENT) * 32;
        for (int k = 0; k < 32; k++) known[k] = (uint8_t)~known[k];
    }
}

void cd_mempool_status(const cd_mempool *pool, const uint8_t *ids, size_t n, uint8_t *presences) {
    uint32_t hashes[CD_WINDOW];
    for (size_t i = 0; i < n; i++) {
        const uint8_t *id = ids + i * 32;
        if (i % CD_WINDOW == 0) fetch_ids(pool, id, window_of(n - i), hashes);
        const uint32_t slot = cd_find_id(pool, hashes[i % CD_WINDOW], id);
        if (slot == CD_NONE)
            presences[i] = CD_MEMPOOL_UNKNOWN;
        else if (slot & CD_RECENT)
            presences[i] = CD_MEMPOOL_SETTLED;
        else if (pool->senders[pool->slots[slot].sender].entries[place_of(pool, slot)].is_taken)
            presences[i] = CD_MEMPOOL_TAKEN;
        else
            presences[i] = CD_MEMPOOL_WAITING;
    }
}

static bool put_back_one(cd_mempool *pool, uint32_t hash, const uint8_t *id) {
    const uint32_t slot = cd_find_id(pool, hash, id);
    if (slot == CD_NONE || (slot & CD_RECENT)) return false;
    const uint32_t at = pool->slots[slot].sender, place = place_of(pool, slot);
    cd_sender *sender = &pool->senders[at];
    if (!sender->entries[place].is_taken) return false;
    cd_entry_put_back(sender, place);
    pool->stats.waiting++;
    pool->stats.taken--;
    pool->stats.put_back_ever++;
    cd_sender_update(pool, at);
    return true;
}

void cd_mempool_put_back(cd_mempool *pool, const uint8_t *ids, size_t n, size_t *count) {
    uint32_t hashes[CD_WINDOW];
    *count = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *id = ids + i * 32;
        if (i % CD_WINDOW == 0) fetch_ids(pool, id, window_of(n - i), hashes);
        *count += put_back_one(pool, hashes[i % CD_WINDOW], id);
    }
}

static bool expire_one(cd_mempool *pool, uint32_t slot) {
    const uint32_t at = pool->slots[slot].sender, place = place_of(pool, slot);
    if (pool->senders[at].entries[place].is_taken) return false;
    cd_drop(pool, at, place, CD_MEMPOOL_DROP_EXPIRED);
    cd_sender_update(pool, at);
    return true;
}

void cd_mempool_expire(cd_mempool *pool, uint32_t now_s, uint32_t scan_max, size_t *count) {
    uint32_t found[CD_WINDOW];
    size_t n = 0;
    *count = 0;
    const uint32_t steps = scan_max < pool->slots_used ? scan_max : pool->slots_used;
    for (uint32_t step = 0; step < steps; step++) {
        const uint32_t slot = pool->scan_next;
        pool->scan_next = slot + 1 == pool->slots_used ? 0 : slot + 1;
        if (now_s > pool->slots[slot].valid_until) {
            cd_index_fetch(&pool->ids, pool->slots[slot].hash);
            found[n++] = slot;
        }
        if (n < CD_WINDOW && step + 1 < steps) continue;
        fetch_slots(pool, found, n);
        for (size_t i = 0; i < n; i++) *count += expire_one(pool, found[i]);
        n = 0;
    }
}

/* Hash a window of keys, and ask for the lines of those senders. */
CD_INLINE void fetch_keys(const cd_mempool *pool, const uint8_t *keys, size_t n, uint32_t *hashes) {
    uint32_t senders[CD_WINDOW];
    for (size_t i = 0; i < n; i++) {
        hashes[i] = cd_hash32(pool, keys + i * 32);
        cd_index_fetch(&pool->keys, hashes[i]);
    }
    for (size_t i = 0; i < n; i++) {
        senders[i] = cd_index_guess(&pool->keys, hashes[i]);
        if (senders[i] != CD_NONE) fetch_sender(pool, senders[i]);
    }
    for (size_t i = 0; i < n; i++)
        if (senders[i] != CD_NONE) fetch(pool->senders[senders[i]].entries);
}

static size_t drop_below(cd_mempool *pool, uint32_t at, uint64_t base) {
    const cd_sender *sender = &pool->senders[at];
    size_t count = 0;
    for (; sender->waiting > 0 && sender->entries[sender->first].nonce < base; count++)
        cd_drop(pool, at, sender->first, CD_MEMPOOL_DROP_STALE);
    if (count > 0) cd_sender_update(pool, at);
    return count;
}

void cd_mempool_drop_stale(cd_mempool *pool, const uint8_t *keys, const uint64_t *bases, size_t n,
                           size_t *count) {
    uint32_t hashes[CD_WINDOW];
    *count = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *key = keys + i * 32;
        if (i % CD_WINDOW == 0) fetch_keys(pool, key, window_of(n - i), hashes);
        const uint32_t at = cd_find_sender(pool, hashes[i % CD_WINDOW], key);
        if (at != CD_NONE) *count += drop_below(pool, at, bases[i]);
    }
}
