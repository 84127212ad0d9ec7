/* Classes of bids: who loses when the pool is full. */
#include "mempool/pool.h"

#define BID_SCALE_BITS 10

/* Bids in eighths of an octave: the exponent and the three bits behind the leading one. */
static uint32_t class_of(uint64_t fee, uint32_t waiting) {
    const bool is_wide = fee >> (64 - BID_SCALE_BITS) != 0;
    const uint64_t bid = (is_wide ? fee : fee << BID_SCALE_BITS) / waiting;
    if (bid < 8) return (uint32_t)bid;
    const uint32_t shift = 60 - (uint32_t)__builtin_clzll(bid);
    return (shift + (is_wide ? BID_SCALE_BITS : 0)) * 8 + (uint32_t)(bid >> shift);
}

void cd_class_leave(cd_mempool *pool, uint32_t at) {
    const uint32_t class = pool->senders[at].class;
    const cd_links links = pool->links[at];
    if (class == CD_CLASS_NONE) return;
    *(links.prev == CD_NONE ? &pool->class_head[class] : &pool->links[links.prev].next) =
        links.next;
    *(links.next == CD_NONE ? &pool->class_tail[class] : &pool->links[links.next].prev) =
        links.prev;
    if (pool->class_head[class] == CD_NONE)
        pool->class_set[class / 64] &= ~((uint64_t)1 << class % 64);
    pool->senders[at].class = CD_CLASS_NONE;
}

static void enter(cd_mempool *pool, uint32_t at, uint32_t class) {
    const uint32_t last = pool->class_tail[class];
    pool->links[at] = (cd_links){.next = CD_NONE, .prev = last};
    *(last == CD_NONE ? &pool->class_head[class] : &pool->links[last].next) = at;
    pool->class_tail[class] = at;
    pool->class_set[class / 64] |= (uint64_t)1 << class % 64;
    pool->senders[at].class = (uint16_t)class;
}

void cd_class_set(cd_mempool *pool, uint32_t at) {
    const uint32_t class = class_of(pool->senders[at].lowest_fee, pool->senders[at].waiting);
    if (class == pool->senders[at].class) return;
    cd_class_leave(pool, at);
    enter(pool, at, class);
}

uint32_t cd_lowest_sender(const cd_mempool *pool) {
    for (uint32_t word = 0; word < CD_CLASS_WORDS; word++)
        if (pool->class_set[word] != 0)
            return pool->class_head[64 * word + (uint32_t)__builtin_ctzll(pool->class_set[word])];
    return CD_NONE;
}

uint32_t cd_lowest_entry(const cd_sender *sender) {
    uint32_t place = sender->count;
    do place--;
    while (sender->entries[place].is_taken || sender->entries[place].fee != sender->lowest_fee);
    return place;
}

CD_INLINE void fetch_links(const cd_mempool *pool, uint32_t at) {
    fetch(&pool->links[at]);
    fetch_sender(pool, at);
    fetch(&pool->heap_place[at]);
}

CD_INLINE void fetch_lists(const cd_mempool *pool, uint32_t at) {
    const cd_sender *sender = &pool->senders[at];
    fetch(sender->entries);
    fetch(sender->entries + sender->count - 1);
    cd_index_fetch(&pool->keys, sender->hash);
    cd_turn_fetch(pool, at);
}

CD_INLINE uint32_t slot_of(const cd_mempool *pool, uint32_t at) {
    const cd_sender *sender = &pool->senders[at];
    return sender->entries[cd_lowest_entry(sender)].slot;
}

CD_INLINE void fetch_slot(const cd_mempool *pool, uint32_t slot) {
    fetch(&pool->slots[slot]);
    fetch_record(pool, slot);
}

void cd_losers_fetch(const cd_mempool *pool, uint32_t loser) {
    uint32_t next[4];
    for (int i = 0; i < 4; i++) {
        loser = next[i] = pool->links[loser].next;
        if (loser == CD_NONE) return;
    }
    cd_index_fetch(&pool->ids, pool->slots[slot_of(pool, next[0])].hash);
    fetch_slot(pool, slot_of(pool, next[1]));
    fetch_lists(pool, next[2]);
    fetch_links(pool, next[3]);
}
