/* Whose turn it is: a heap of the senders that have something waiting, four children a node. */
#include "mempool/pool.h"

/* At a million floor fees a second of one sender alone the clock would last for eight years. */
#define COST_SCALE_BITS 16

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

CD_INLINE void place_turn(cd_mempool *pool, uint32_t i, cd_turn turn) {
    pool->heap[i] = turn;
    pool->heap_place[turn.sender] = i;
}

static void sift_up(cd_mempool *pool, uint32_t i, cd_turn turn) {
    while (i > 0) {
        const uint32_t parent = (i - 1) / 4;
        if (!precedes(&turn, &pool->heap[parent])) break;
        place_turn(pool, i, pool->heap[parent]);
        i = parent;
    }
    place_turn(pool, i, turn);
}

static void sift_down(cd_mempool *pool, uint32_t i, cd_turn turn) {
    for (;;) {
        const uint32_t first = 4 * i + 1;
        if (first >= pool->heap_count) break;
        const uint32_t best = first_child(pool, first);
        if (!precedes(&pool->heap[best], &turn)) break;
        place_turn(pool, i, pool->heap[best]);
        i = best;
    }
    place_turn(pool, i, turn);
}

static void move_turn(cd_mempool *pool, uint32_t i, cd_turn turn) {
    if (i > 0 && precedes(&turn, &pool->heap[(i - 1) / 4]))
        sift_up(pool, i, turn);
    else
        sift_down(pool, i, turn);
}

uint64_t cd_turn_due(const cd_mempool *pool, const cd_sender *sender) {
    const cd_entry *next = &sender->entries[sender->first];
    const uint64_t floor = pool->config.fee_min ? pool->config.fee_min : 1;
    const uint64_t size = 1 + blocks_of(next->body_size);
    uint64_t cost = size << COST_SCALE_BITS;
    if (next->fee > floor) cost = (uint64_t)((unsigned __int128)cost * floor / next->fee);
    return sender->start + (cost ? cost : 1);
}

void cd_turn_put(cd_mempool *pool, uint32_t at) {
    const cd_sender *sender = &pool->senders[at];
    const cd_turn turn = {cd_turn_due(pool, sender), sender->turn, at};
    if (pool->heap_place[at] == CD_NONE) {
        sift_up(pool, pool->heap_count++, turn);
        return;
    }
    const uint32_t i = pool->heap_place[at];
    if (pool->heap[i].due != turn.due || pool->heap[i].turn != turn.turn) move_turn(pool, i, turn);
}

void cd_turn_remove(cd_mempool *pool, uint32_t at) {
    const uint32_t i = pool->heap_place[at];
    if (i == CD_NONE) return;
    pool->heap_place[at] = CD_NONE;
    const cd_turn last = pool->heap[--pool->heap_count];
    if (i < pool->heap_count) move_turn(pool, i, last);
}
