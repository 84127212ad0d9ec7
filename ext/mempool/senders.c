/* Senders: the list of each, ascending by nonce, and the classes of their bids. */
#include "mempool/pool.h"

#define ROOM_FIRST 2u
#define BID_SCALE_BITS 10

uint32_t cd_sender_create(cd_mempool *pool, uint32_t hash, const uint8_t key[32]) {
    cd_entry *entries = malloc(ROOM_FIRST * sizeof *entries);
    if (entries == NULL) return CD_NONE;
    uint32_t at = pool->senders_free;
    if (at != CD_NONE)
        pool->senders_free = pool->senders[at].first;
    else
        at = pool->senders_used++;
    cd_sender *sender = &pool->senders[at];
    *sender = (cd_sender){.entries = entries, .hash = hash, .room = ROOM_FIRST, .class = CD_NONE};
    memcpy(sender->key, key, 32);
    pool->heap_place[at] = CD_NONE;
    pool->stats.senders++;
    pool->stats.memory_bytes += ROOM_FIRST * sizeof *entries;
    cd_index_add(&pool->keys, hash, at);
    return at;
}

static void free_sender(cd_mempool *pool, uint32_t at) {
    cd_sender *sender = &pool->senders[at];
    cd_index_remove(&pool->keys, sender->hash, at);
    pool->stats.senders--;
    pool->stats.memory_bytes -= sender->room * sizeof *sender->entries;
    free(sender->entries);
    sender->entries = NULL;
    sender->first = pool->senders_free;
    pool->senders_free = at;
}

static bool resize(cd_mempool *pool, cd_sender *sender, uint32_t room) {
    cd_entry *entries = realloc(sender->entries, room * sizeof *entries);
    if (entries == NULL) return false;
    pool->stats.memory_bytes += ((uint64_t)room - sender->room) * sizeof *entries;
    sender->entries = entries;
    sender->room = room;
    return true;
}

bool cd_sender_reserve(cd_mempool *pool, cd_sender *sender) {
    return sender->count < sender->room || resize(pool, sender, 2 * sender->room);
}

uint32_t cd_entry_search(const cd_sender *sender, uint64_t nonce) {
    uint32_t low = 0, high = sender->count;
    if (high > 0 && sender->entries[high - 1].nonce < nonce) return high;
    while (low < high) {
        const uint32_t middle = (low + high) / 2;
        if (sender->entries[middle].nonce < nonce)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

CD_INLINE void find_first(cd_sender *sender, uint32_t from) {
    if (sender->waiting == 0) return;
    while (sender->entries[from].is_taken) from++;
    sender->first = from;
}

static void find_lowest(cd_sender *sender) {
    const uint64_t before = sender->lowest_fee;
    uint64_t lowest = UINT64_MAX;
    for (uint32_t i = sender->first; sender->waiting > 0 && i < sender->count; i++) {
        if (sender->entries[i].is_taken) continue;
        if (sender->entries[i].fee < lowest) lowest = sender->entries[i].fee;
        if (lowest == before) break; /* none is lower than when the one that left was there */
    }
    sender->lowest_fee = lowest;
}

CD_INLINE void count_waiting(cd_sender *sender, uint32_t place) {
    const uint64_t fee = sender->entries[place].fee;
    if (sender->waiting == 0 || fee < sender->lowest_fee) sender->lowest_fee = fee;
    if (sender->waiting == 0 || place <= sender->first) sender->first = place;
    sender->waiting++;
}

void cd_entry_insert(cd_sender *sender, uint32_t place, cd_entry entry) {
    memmove(&sender->entries[place + 1], &sender->entries[place],
            (sender->count - place) * sizeof entry);
    sender->entries[place] = entry;
    sender->count++;
    if (sender->waiting > 0 && sender->first >= place) sender->first++;
    count_waiting(sender, place);
}

void cd_entry_remove(cd_sender *sender, uint32_t place) {
    const cd_entry gone = sender->entries[place];
    sender->count--;
    memmove(&sender->entries[place], &sender->entries[place + 1],
            (sender->count - place) * sizeof gone);
    if (gone.is_taken) {
        if (sender->waiting > 0 && place < sender->first) sender->first--;
        return;
    }
    sender->waiting--;
    if (place == sender->first) find_first(sender, place);
    if (gone.fee == sender->lowest_fee) find_lowest(sender);
}

void cd_entry_take(cd_sender *sender) {
    cd_entry *next = &sender->entries[sender->first];
    next->is_taken = 1;
    sender->waiting--;
    find_first(sender, sender->first + 1);
    if (next->fee == sender->lowest_fee) find_lowest(sender);
}

void cd_entry_put_back(cd_sender *sender, uint32_t place) {
    sender->entries[place].is_taken = 0;
    count_waiting(sender, place);
}

/* Bids in eighths of an octave: the exponent and the three bits behind the leading one. */
static uint32_t class_of(uint64_t fee, uint32_t waiting) {
    const bool is_wide = fee >> (64 - BID_SCALE_BITS) != 0;
    const uint64_t bid = (is_wide ? fee : fee << BID_SCALE_BITS) / waiting;
    if (bid < 8) return (uint32_t)bid;
    const uint32_t shift = 60 - (uint32_t)__builtin_clzll(bid);
    return (shift + (is_wide ? BID_SCALE_BITS : 0)) * 8 + (uint32_t)(bid >> shift);
}

static void leave_class(cd_mempool *pool, uint32_t at) {
    const uint32_t class = pool->senders[at].class;
    const uint32_t next = pool->class_next[at], prev = pool->class_prev[at];
    if (class == CD_NONE) return;
    *(prev == CD_NONE ? &pool->class_head[class] : &pool->class_next[prev]) = next;
    *(next == CD_NONE ? &pool->class_tail[class] : &pool->class_prev[next]) = prev;
    if (pool->class_head[class] == CD_NONE)
        pool->class_set[class / 64] &= ~((uint64_t)1 << class % 64);
    pool->senders[at].class = CD_NONE;
}

static void enter_class(cd_mempool *pool, uint32_t at, uint32_t class) {
    const uint32_t last = pool->class_tail[class];
    pool->class_next[at] = CD_NONE;
    pool->class_prev[at] = last;
    *(last == CD_NONE ? &pool->class_head[class] : &pool->class_next[last]) = at;
    pool->class_tail[class] = at;
    pool->class_set[class / 64] |= (uint64_t)1 << class % 64;
    pool->senders[at].class = class;
}

void cd_sender_update(cd_mempool *pool, uint32_t at) {
    cd_sender *sender = &pool->senders[at];
    if (sender->waiting == 0) {
        leave_class(pool, at);
        cd_turn_remove(pool, at);
        if (sender->count == 0) {
            free_sender(pool, at);
            return;
        }
    } else {
        if (pool->heap_place[at] == CD_NONE) {
            if (sender->start < pool->clock) sender->start = pool->clock;
            sender->turn = ++pool->turns;
        }
        cd_turn_put(pool, at);
        const uint32_t class = class_of(sender->lowest_fee, sender->waiting);
        if (class != sender->class) {
            leave_class(pool, at);
            enter_class(pool, at, class);
        }
    }
    /* A list that cannot shrink for want of memory stays as it is. */
    if (sender->room > ROOM_FIRST && 4 * sender->count <= sender->room)
        (void)resize(pool, sender, sender->room / 2);
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

void cd_drop_entry(cd_mempool *pool, uint32_t at, uint32_t place) {
    cd_sender *sender = &pool->senders[at];
    const uint32_t slot = sender->entries[place].slot;
    cd_index_remove(&pool->ids, pool->slots[slot].hash, slot);
    cd_body_free(pool, slot);
    *(sender->entries[place].is_taken ? &pool->stats.taken : &pool->stats.waiting) -= 1;
    cd_entry_remove(sender, place);
    pool->valid_until[slot] = UINT32_MAX;
    pool->slots[slot].sender = pool->slots_free;
    pool->slots_free = slot;
}
