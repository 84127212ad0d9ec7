/* What comes in: the checks of mempool.h in their order, replacing and outbidding. */
#include "mempool/pool.h"

#define AHEAD 32 /* Records whose lookups are fetched into the cache together. */

typedef struct {
    const uint8_t *record, *id, *body;
    uint64_t nonce, fee;
    uint32_t valid_until, body_size;
    uint32_t id_hash, key_hash;
} cd_offer;

static uint32_t new_slot(cd_mempool *pool) {
    const uint32_t slot = pool->slots_free;
    if (slot == CD_NONE) return pool->slots_used++;
    pool->slots_free = pool->slots[slot].sender;
    return slot;
}

/* Keep what is offered; the entry is for the list of its sender. */
static cd_entry keep(cd_mempool *pool, uint32_t sender, const cd_offer *offer) {
    const uint32_t slot = new_slot(pool);
    memcpy(record_of(pool, slot), offer->record, RECORD);
    memcpy(id_of(pool, slot), offer->id, 32);
    pool->slots[slot].hash = offer->id_hash;
    pool->slots[slot].sender = sender;
    pool->valid_until[slot] = offer->valid_until;
    cd_body_store(pool, slot, offer->body, offer->body_size);
    cd_index_add(&pool->ids, offer->id_hash, slot);
    pool->stats.waiting++;
    return (cd_entry){offer->nonce, offer->fee, slot, offer->valid_until, offer->body_size, 0};
}

CD_INLINE bool has_blocks(const cd_mempool *pool, uint32_t size, uint32_t freed) {
    return blocks_of(size) <= pool->blocks_max - pool->blocks_held + freed;
}

static cd_mempool_outcome replace(cd_mempool *pool, uint32_t at, uint32_t place,
                                  const cd_offer *offer) {
    cd_sender *sender = &pool->senders[at];
    const cd_entry old = sender->entries[place];
    const uint64_t raise = old.fee / 10 + (old.fee % 10 != 0 || old.fee == 0);
    if (old.is_taken || offer->fee < old.fee || offer->fee - old.fee < raise)
        return CD_MEMPOOL_NONCE;
    if (!has_blocks(pool, offer->body_size, blocks_of(pool->slots[old.slot].body_size)))
        return CD_MEMPOOL_FULL;
    cd_drop_entry(pool, at, place);
    cd_entry_insert(sender, place, keep(pool, at, offer));
    cd_sender_update(pool, at);
    return CD_MEMPOOL_REPLACED;
}

/* Make room by a sender that bids less, or by the same sender's lowest fee. */
static cd_mempool_outcome outbid(cd_mempool *pool, uint32_t at, const cd_offer *offer) {
    const uint32_t loser = cd_lowest_sender(pool);
    if (loser == CD_NONE) return CD_MEMPOOL_FULL;
    const cd_sender *lowest = &pool->senders[loser];
    const uint32_t own = at == CD_NONE ? 0 : pool->senders[at].waiting;
    const uint32_t after = loser == at ? own : own + 1;
    if ((unsigned __int128)offer->fee * lowest->waiting <=
        (unsigned __int128)lowest->lowest_fee * after)
        return CD_MEMPOOL_FEE_LOW;
    cd_drop_entry(pool, loser, cd_lowest_entry(lowest));
    if (loser != at) cd_sender_update(pool, loser);
    pool->stats.evicted++;
    return CD_MEMPOOL_ADDED;
}

static cd_mempool_outcome admit(cd_mempool *pool, const cd_offer *offer, uint32_t now_s) {
    if (offer->body_size > CD_MEMPOOL_BODY_MAX || blocks_of(offer->body_size) > pool->blocks_max)
        return CD_MEMPOOL_TOO_BIG;
    if (cd_find_id(pool, offer->id_hash, offer->id) != CD_NONE) return CD_MEMPOOL_DUPLICATE;
    if (now_s > offer->valid_until) return CD_MEMPOOL_EXPIRED;
    if (offer->fee < pool->config.fee_min) return CD_MEMPOOL_FEE_LOW;

    const uint8_t *key = offer->record + SENDER_AT;
    uint32_t at = cd_find_sender(pool, offer->key_hash, key);
    if (at != CD_NONE) {
        const cd_sender *sender = &pool->senders[at];
        const uint32_t place = cd_entry_search(sender, offer->nonce);
        if (place < sender->count && sender->entries[place].nonce == offer->nonce)
            return replace(pool, at, place, offer);
        if (sender->count >= pool->config.sender_max) return CD_MEMPOOL_SENDER_FULL;
        if (!cd_sender_reserve(pool, &pool->senders[at])) return CD_MEMPOOL_FULL;
    }
    if (!has_blocks(pool, offer->body_size, 0)) return CD_MEMPOOL_FULL;
    if (pool->stats.waiting + pool->stats.taken == pool->config.transactions_max) {
        const cd_mempool_outcome outcome = outbid(pool, at, offer);
        if (outcome != CD_MEMPOOL_ADDED) return outcome;
    }
    if (at == CD_NONE) at = cd_sender_create(pool, offer->key_hash, key);
    if (at == CD_NONE) return CD_MEMPOOL_FULL;
    cd_sender *sender = &pool->senders[at];
    cd_entry_insert(sender, cd_entry_search(sender, offer->nonce), keep(pool, at, offer));
    cd_sender_update(pool, at);
    return CD_MEMPOOL_ADDED;
}

static bool are_bodies_right(const uint8_t *records, size_t n, size_t bodies_size,
                             const uint64_t *offsets, size_t *row) {
    uint64_t end = 0;
    for (*row = 0; *row < n; (*row)++) {
        const uint32_t size = cd_load32_le(records + *row * RECORD + BODY_AT);
        if (offsets == NULL ? size != 0 : offsets[*row] != end || offsets[*row + 1] != end + size)
            return false;
        end += size;
    }
    return end == bodies_size && (offsets == NULL || offsets[n] == end);
}

/* Who stands first where this key is looked up, mostly its sender. */
CD_INLINE void fetch_sender(const cd_mempool *pool, uint32_t hash) {
    const uint32_t at = pool->keys.places[hash & pool->keys.mask].at;
    if (at == 0) return;
    __builtin_prefetch(&pool->senders[at - 1]);
    __builtin_prefetch((const uint8_t *)&pool->senders[at - 1] + 64);
    __builtin_prefetch(&pool->heap_place[at - 1]);
    __builtin_prefetch(&pool->class_next[at - 1]);
    __builtin_prefetch(&pool->class_prev[at - 1]);
}

cd_status cd_mempool_add(cd_mempool *pool, const uint8_t *records, const uint8_t *ids, size_t n,
                         const uint8_t *bodies, size_t bodies_size, const uint64_t *offsets,
                         uint32_t now_s, uint8_t *statuses, size_t *row) {
    cd_offer offers[AHEAD];
    CD_ARG_CHECK(are_bodies_right(records, n, bodies_size, offsets, row));
    for (size_t start = 0; start < n; start += AHEAD) {
        const size_t count = n - start < AHEAD ? n - start : AHEAD;
        for (size_t i = 0; i < count; i++) {
            const uint8_t *record = records + (start + i) * RECORD, *id = ids + (start + i) * 32;
            offers[i] = (cd_offer){
                .record = record,
                .id = id,
                .body = offsets == NULL ? NULL : bodies + offsets[start + i],
                .nonce = cd_load64_le(record + NONCE_AT),
                .fee = cd_load64_le(record + FEE_AT),
                .valid_until = cd_load32_le(record + VALID_AT),
                .body_size = cd_load32_le(record + BODY_AT),
                .id_hash = cd_hash32(pool, id),
                .key_hash = cd_hash32(pool, record + SENDER_AT),
            };
            cd_index_fetch(&pool->ids, offers[i].id_hash);
            cd_index_fetch(&pool->keys, offers[i].key_hash);
        }
        for (size_t i = 0; i < count; i++) fetch_sender(pool, offers[i].key_hash);
        for (size_t i = 0; i < count; i++) {
            statuses[start + i] = (uint8_t)admit(pool, &offers[i], now_s);
            pool->stats.outcomes[statuses[start + i]]++;
        }
    }
    return CD_OK;
}
