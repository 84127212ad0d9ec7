/* Whose turn it is: a heap of the senders that have something waiting, four children a node. */
#include "mempool/pool.h"

/* At a million floor fees a second of one sender alone the clock would last for eight years. */
#define COST_SCALE_BITS 16
#define NEAR_ROOT 341u /* five levels, which are used all the time */

CD_INLINE bool precedes(const cd_turn *a, const cd_turn *b) {
    const unsigned __int128 first = (unsigned __int128)a->due << 64 | a->turn;
    return first < ((unsigned __int128)b->due << 64 | b->turn);
}

/* Without branches where all four are there: which is first cannot be guessed. */
CD_INLINE uint32_t first_child(const cd_mempool *pool, uint32_t child) {
    const cd_turn *heap = pool->heap;
    if (child + 4 <= pool->heap_count) {
        const uint32_t left = child + precedes(&heap[child + 1], &heap[child]);
        const uint32_t right = child + 2 + precedes(&heap[child + 3], &heap[child + 2]);
        return left + (right - left) * precedes(&heap[right], &heap[left]);
    }
    uint32_t best = child;
    for (uint32_t i = child + 1; i < pool->heap_count; i++)
        if (precedes(&heap[i], &heap[best])) best = i;
    return best;
}

CD_INLINE void place_turn(cd_mempool *pool, uint32_t i, cd_turn turn, uint32_t sender) {
    pool->heap[i] = turn;
    pool->heap_sender[i] = sender;
    pool->heap_place[sender] = i;
}

static void sift_up(cd_mempool *pool, uint32_t i, cd_turn turn, uint32_t sender) {
    while (i > 0) {
        const uint32_t parent = (i - 1) / 4;
        if (!precedes(&turn, &pool->heap[parent])) break;
        place_turn(pool, i, pool->heap[parent], pool->heap_sender[parent]);
        i = parent;
    }
    place_turn(pool, i, turn, sender);
}

/* The children of the four from here on. */
CD_INLINE void fetch_below(const cd_mempool *pool, uint32_t child) {
    const uint32_t first = 4 * child + 1;
    if (first + 16 > pool->heap_count) return;
    for (uint32_t i = 0; i < 16; i += 4) fetch(&pool->heap[first + i]);
}

/* Whoever comes near the root is served soon: its lines are asked for when it is two steps away,
 * and what they lead to when it is one. */
CD_INLINE void fetch_near(const cd_mempool *pool, uint32_t i, uint32_t at) {
    const cd_sender *sender = &pool->senders[at];
    if (i >= 5 && i < 21) {
        fetch_sender(pool, at);
        fetch(&pool->links[at]);
    } else if (i >= 1 && i < 5) {
        fetch(&sender->entries[sender->first]);
        fetch(&sender->entries[sender->first] + 1);
        cd_links_fetch(pool, at);
    }
}

static void sift_down(cd_mempool *pool, uint32_t i, cd_turn turn, uint32_t sender) {
    for (;;) {
        const uint32_t first = 4 * i + 1;
        if (first >= pool->heap_count) break;
        fetch_below(pool, first);
        const uint32_t best = first_child(pool, first);
        if (!precedes(&pool->heap[best], &turn)) break;
        const uint32_t other = pool->heap_sender[best];
        place_turn(pool, i, pool->heap[best], other);
        fetch_near(pool, i, other);
        i = best;
    }
    place_turn(pool, i, turn, sender);
}

static void move_turn(cd_mempool *pool, uint32_t i, cd_turn turn, uint32_t sender) {
    if (i > 0 && precedes(&turn, &pool->heap[(i - 1) / 4]))
        sift_up(pool, i, turn, sender);
    else
        sift_down(pool, i, turn, sender);
}

static uint64_t due_of(const cd_mempool *pool, const cd_sender *sender) {
    const cd_entry *next = &sender->entries[sender->first];
    const uint64_t floor = pool->config.fee_min ? pool->config.fee_min : 1;
    const uint64_t size = 1 + blocks_of(next->body_size);
    uint64_t cost = size << COST_SCALE_BITS, scaled;
    if (next->fee > floor) {
        if (!__builtin_mul_overflow(cost, floor, &scaled))
            cost = scaled / next->fee;
        else
            cost = (uint64_t)((unsigned __int128)cost * floor / next->fee);
    }
    return sender->start + (cost ? cost : 1);
}

void cd_turn_put(cd_mempool *pool, uint32_t at) {
    const cd_sender *sender = &pool->senders[at];
    const cd_turn turn = {due_of(pool, sender), sender->turn};
    const uint32_t i = pool->heap_place[at];
    if (i == CD_NONE)
        sift_up(pool, pool->heap_count++, turn, at);
    else
        move_turn(pool, i, turn, at);
}

void cd_turn_remove(cd_mempool *pool, uint32_t at) {
    const uint32_t i = pool->heap_place[at];
    if (i == CD_NONE) return;
    pool->heap_place[at] = CD_NONE;
    const cd_turn last = pool->heap[--pool->heap_count];
    if (i < pool->heap_count) move_turn(pool, i, last, pool->heap_sender[pool->heap_count]);
}

void cd_turn_fetch(const cd_mempool *pool, uint32_t at) {
    uint32_t i = pool->heap_place[at];
    if (4 * i + 1 < pool->heap_count) fetch(&pool->heap[4 * i + 1]);
    for (; i >= NEAR_ROOT; i = (i - 1) / 4) {
        fetch(&pool->heap[i]);
        fetch(&pool->heap_sender[i]);
    }
}
