/* What comes in: the checks of mempool.h in their order, replacing and outbidding. */
#include "mempool/pool.h"

typedef struct {
    const uint8_t *record, *id, *body;
    uint64_t nonce, fee, tag;
    uint32_t valid_until, body_size;
    uint32_t id_hash, key_hash;
    uint32_t sender; /* a guess, CD_NONE if it seems to be new */
} cd_offer;

/* Keep what is offered; the entry is for the list of its sender. */
static cd_entry keep(cd_mempool *pool, uint32_t sender, const cd_offer *offer) {
    const uint32_t at = cd_slot_new(pool);
    cd_slot *slot = &pool->slots[at];
    memcpy(slot->id, offer->id, 32);
    slot->nonce = offer->nonce;
    slot->tag = offer->tag;
    slot->hash = offer->id_hash;
    slot->sender = sender;
    slot->body = CD_NONE;
    slot->valid_until = offer->valid_until;
    memcpy(record_of(pool, at), offer->record, RECORD);
    if (offer->body_size > 0) cd_body_store(pool, at, offer->body, offer->body_size);
    cd_index_add(&pool->ids, offer->id_hash, at);
    pool->stats.waiting++;
    return (cd_entry){offer->nonce, offer->fee, at, offer->valid_until, offer->body_size, 0};
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
    if (!has_blocks(pool, offer->body_size, blocks_of(old.body_size))) return CD_MEMPOOL_FULL;
    cd_drop(pool, at, place, CD_MEMPOOL_DROP_REPLACED);
    cd_entry_insert(sender, place, keep(pool, at, offer));
    cd_sender_update(pool, at);
    return CD_MEMPOOL_REPLACED;
}

/* Make room by a sender that bids less, or by the same sender's lowest fee. If none is left to who
 * loses, a newcomer succeeds it. */
static cd_mempool_outcome outbid(cd_mempool *pool, uint32_t *at, const cd_offer *offer) {
    const uint32_t loser = cd_lowest_sender(pool);
    if (loser == CD_NONE) return CD_MEMPOOL_FULL;
    const cd_sender *lowest = &pool->senders[loser];
    const uint32_t own = *at == CD_NONE ? 0 : pool->senders[*at].waiting;
    const uint32_t after = loser == *at ? own : own + 1;
    if ((unsigned __int128)offer->fee * lowest->waiting <=
        (unsigned __int128)lowest->lowest_fee * after)
        return CD_MEMPOOL_FEE_LOW;
    cd_losers_fetch(pool, loser);
    cd_drop(pool, loser, cd_lowest_entry(lowest), CD_MEMPOOL_DROP_EVICTED);
    if (*at == CD_NONE && lowest->count == 0) {
        *at = loser;
        cd_sender_succeed(pool, loser, offer->key_hash, offer->record + SENDER_AT);
    } else if (*at != loser)
        cd_sender_update(pool, loser);
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
        const cd_mempool_outcome outcome = outbid(pool, &at, offer);
        if (outcome != CD_MEMPOOL_ADDED) return outcome;
    }
    if (at == CD_NONE) at = cd_sender_create(pool, offer->key_hash, key);
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

/* Slots that are given out next. */
CD_INLINE void fetch_free(const cd_mempool *pool, size_t n) {
    for (size_t i = 1; i <= n && i <= pool->slots_free_count; i++) {
        const uint32_t slot = pool->slots_free[pool->slots_free_count - i];
        fetch(&pool->slots[slot]);
        fetch_record(pool, slot);
    }
}

/* What an offer replaces, if it comes between those that are there. */
CD_INLINE void fetch_replaced(const cd_mempool *pool, const cd_offer *offer) {
    const cd_sender *sender = &pool->senders[offer->sender];
    if (sender->entries[sender->count - 1].nonce < offer->nonce) return;
    const uint32_t slot = sender->entries[cd_entry_search(sender, offer->nonce)].slot;
    fetch(&pool->slots[slot]);
    fetch_record(pool, slot);
}

/* The lines of a window of offers. */
CD_INLINE void fetch_offers(const cd_mempool *pool, cd_offer *offers, size_t n) {
    for (size_t i = 0; i < n; i++) {
        cd_index_fetch(&pool->ids, offers[i].id_hash);
        cd_index_fetch(&pool->keys, offers[i].key_hash);
    }
    fetch_free(pool, n);
    for (size_t i = 0; i < n; i++) {
        const uint32_t at = offers[i].sender = cd_index_guess(&pool->keys, offers[i].key_hash);
        if (at == CD_NONE) continue;
        fetch_sender(pool, at);
        fetch(&pool->links[at]);
    }
    for (size_t i = 0; i < n; i++) {
        if (offers[i].sender == CD_NONE) continue;
        const cd_sender *sender = &pool->senders[offers[i].sender];
        fetch(sender->entries + sender->count - 1);
        fetch(sender->entries + sender->count);
        if (sender->class != CD_CLASS_NONE) cd_links_fetch(pool, offers[i].sender);
    }
    for (size_t i = 0; i < n; i++)
        if (offers[i].sender != CD_NONE) fetch_replaced(pool, &offers[i]);
}

cd_status cd_mempool_add(cd_mempool *pool, const uint8_t *records, const uint8_t *ids, size_t n,
                         const uint8_t *bodies, size_t bodies_size, const uint64_t *offsets,
                         const uint64_t *tags, uint32_t now_s, uint8_t *statuses, size_t *row) {
    cd_offer offers[CD_WINDOW];
    CD_ARG_CHECK(are_bodies_right(records, n, bodies_size, offsets, row));
    for (size_t start = 0; start < n; start += CD_WINDOW) {
        const size_t count = window_of(n - start);
        for (size_t i = 0; i < count; i++) {
            const uint8_t *record = records + (start + i) * RECORD, *id = ids + (start + i) * 32;
            offers[i] = (cd_offer){
                .record = record,
                .id = id,
                .body = offsets == NULL ? NULL : bodies + offsets[start + i],
                .nonce = cd_load64_le(record + NONCE_AT),
                .fee = cd_load64_le(record + FEE_AT),
                .tag = tags == NULL ? 0 : tags[start + i],
                .valid_until = cd_load32_le(record + VALID_AT),
                .body_size = cd_load32_le(record + BODY_AT),
                .id_hash = cd_hash32(pool, id),
                .key_hash = cd_hash32(pool, record + SENDER_AT),
            };
        }
        fetch_offers(pool, offers, count);
        for (size_t i = 0; i < count; i++) {
            statuses[start + i] = (uint8_t)admit(pool, &offers[i], now_s);
            pool->stats.outcomes[statuses[start + i]]++;
        }
    }
    return CD_OK;
}
