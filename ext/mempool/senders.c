/* Senders: the list of each, ascending by nonce. */
#include "mempool/pool.h"

#define LIST_ROOM_MIN 4u

static void count_memory(cd_mempool *pool, uint32_t before, uint32_t after) {
    pool->stats.memory_bytes += ((uint64_t)after - before) * sizeof(cd_entry);
}

static void init(cd_mempool *pool, uint32_t at, uint32_t hash, const uint8_t key[32]) {
    cd_sender *sender = &pool->senders[at];
    *sender =
        (cd_sender){.entries = &sender->only, .hash = hash, .room = 1, .class = CD_CLASS_NONE};
    memcpy(sender->key, key, 32);
    cd_index_add(&pool->keys, hash, at);
}

static void forget(cd_mempool *pool, uint32_t at) {
    cd_sender *sender = &pool->senders[at];
    cd_index_remove(&pool->keys, sender->hash, at);
    if (sender->entries == &sender->only) return;
    count_memory(pool, sender->room, 0);
    free(sender->entries);
    sender->entries = &sender->only;
}

uint32_t cd_sender_create(cd_mempool *pool, uint32_t hash, const uint8_t key[32]) {
    uint32_t at = pool->senders_free;
    if (at != CD_NONE)
        pool->senders_free = pool->senders[at].hash;
    else
        at = pool->senders_used++;
    init(pool, at, hash, key);
    pool->heap_place[at] = CD_NONE;
    pool->stats.senders++;
    return at;
}

static void free_sender(cd_mempool *pool, uint32_t at) {
    forget(pool, at);
    pool->stats.senders--;
    pool->senders[at].hash = pool->senders_free;
    pool->senders_free = at;
}

/* It keeps its place in the heap until the update moves it: less work than to leave and enter. */
void cd_sender_succeed(cd_mempool *pool, uint32_t at, uint32_t hash, const uint8_t key[32]) {
    cd_class_leave(pool, at);
    forget(pool, at);
    init(pool, at, hash, key);
}

static bool leave_only(cd_mempool *pool, cd_sender *sender) {
    cd_entry *entries = malloc(LIST_ROOM_MIN * sizeof *entries);
    if (entries == NULL) return false;
    count_memory(pool, 0, LIST_ROOM_MIN);
    entries[0] = sender->only;
    sender->entries = entries;
    sender->room = LIST_ROOM_MIN;
    return true;
}

static bool resize(cd_mempool *pool, cd_sender *sender, uint32_t room) {
    cd_entry *entries = realloc(sender->entries, room * sizeof *entries);
    if (entries == NULL) return false;
    count_memory(pool, sender->room, room);
    sender->entries = entries;
    sender->room = (uint16_t)room;
    return true;
}

bool cd_sender_reserve(cd_mempool *pool, cd_sender *sender) {
    if (sender->count < sender->room) return true;
    if (sender->entries == &sender->only) return leave_only(pool, sender);
    return resize(pool, sender, 2u * sender->room);
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
    sender->first = (uint16_t)from;
    sender->has_new_first = 1;
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
    if (sender->waiting == 0 || place <= sender->first) {
        sender->first = (uint16_t)place;
        sender->has_new_first = 1;
    }
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

void cd_sender_update(cd_mempool *pool, uint32_t at) {
    cd_sender *sender = &pool->senders[at];
    if (sender->waiting == 0) {
        cd_class_leave(pool, at);
        cd_turn_remove(pool, at);
        if (sender->count == 0) {
            free_sender(pool, at);
            return;
        }
    } else {
        if (sender->class == CD_CLASS_NONE) {
            if (sender->start < pool->clock) sender->start = pool->clock;
            sender->turn = ++pool->turns;
        }
        if (sender->has_new_first) cd_turn_put(pool, at);
        sender->has_new_first = 0;
        cd_class_set(pool, at);
    }
    /* A list that cannot shrink for want of memory stays as it is. */
    if (sender->room > LIST_ROOM_MIN && 4 * sender->count <= sender->room)
        (void)resize(pool, sender, sender->room / 2);
}
