/* Inside the mempool: its arrays, and what its parts offer one another.
 *
 * A call waits for memory and for little else. So what is used together lies in one cache line, and
 * batches are gone through in windows: all lines of a window are asked for, step by step along the
 * pointers to them, and then it is worked off. What those steps find is a guess: by the time of the
 * work it may have changed. They are inlined, since a compiler takes a function that only asks for
 * lines for one without effect, and drops its calls.
 */
#ifndef CD_MEMPOOL_POOL_H
#define CD_MEMPOOL_POOL_H

#include "mempool/mempool.h"

#include <stdbool.h>
#include <stdlib.h>

#define CD_NONE UINT32_MAX
#define CD_RECENT 0x80000000u /* a place of the id index that is one of the ring of recent ids */
#define CD_CLASSES 576u
#define CD_CLASS_NONE UINT16_MAX
#define CD_CLASS_WORDS (CD_CLASSES / 64)
#define CD_ARRAYS 16
#define CD_LINE 64
#define CD_WINDOW 32u /* rows whose lines are asked for together */

enum { NONCE_AT = 8, FEE_AT = 32, VALID_AT = 40, BODY_AT = 44, SENDER_AT = 80, RECORD = 176 };

/* Place of a hash table: open addressing, linear probing, at most half full. */
typedef struct {
    uint32_t hash, at;
} cd_place;

typedef struct {
    cd_place *places;
    uint32_t mask;
} cd_index;

/* A transaction in the list of its sender, which ascends by nonce. */
typedef struct {
    uint64_t nonce, fee;
    uint32_t slot, valid_until, body_size, is_taken;
} cd_entry;

/* The line of a transaction; its record lies apart. */
typedef struct {
    uint8_t id[32];
    uint64_t nonce, tag;
    uint32_t hash; /* of its id */
    uint32_t sender;
    uint32_t body;        /* first block, CD_NONE if it has no body */
    uint32_t valid_until; /* UINT32_MAX in a free slot */
} cd_slot;

/* Two lines: what an arrival looks at, and the rest. */
typedef struct {
    uint8_t key[32];
    cd_entry *entries; /* &only, or a list of its own once there were two */
    uint64_t lowest_fee;
    uint32_t hash; /* of its key; in a free one the next free one */
    uint16_t count, room;
    uint16_t waiting, first; /* how many wait, and the place of the first of them */
    uint16_t class;          /* CD_CLASS_NONE if none waits */
    uint16_t has_new_first;  /* since its turn was set */
    uint64_t start;          /* fair queueing: when its next transaction's service begins */
    uint64_t turn;           /* among senders that are due at once the lowest goes */
    cd_entry only;
    uint8_t unused[16];
} cd_sender;

_Static_assert(sizeof(cd_slot) == CD_LINE, "a slot is a line");
_Static_assert(sizeof(cd_sender) == 2 * CD_LINE, "a sender is two lines");
_Static_assert(offsetof(cd_sender, start) == CD_LINE, "an arrival needs the first line");

/* Four are a line: those that have a common parent in the heap. */
typedef struct {
    uint64_t due, turn;
} cd_turn;

/* Neighbours in a class. */
typedef struct {
    uint32_t next, prev;
} cd_links;

struct cd_mempool {
    cd_mempool_config config;
    cd_mempool_stats stats;
    void *arrays[CD_ARRAYS]; /* as they were allocated */
    uint32_t array_count;
    cd_index ids, keys;
    cd_slot *slots;
    uint8_t *records;
    uint32_t *slots_free, slots_free_count, slots_used, scan_next;
    cd_sender *senders;
    uint32_t senders_used, senders_free;
    uint8_t *blocks;
    uint32_t *block_next;
    uint32_t blocks_max, blocks_used, blocks_free, blocks_held;
    uint8_t *recent;
    uint32_t *recent_hash;
    uint32_t recent_next;
    uint64_t *dropped_tags;
    uint8_t *dropped_reasons;
    uint32_t dropped_max;
    cd_turn *heap; /* its second begins a line */
    uint32_t *heap_sender, *heap_place, heap_count;
    uint64_t clock, turns;
    uint32_t class_head[CD_CLASSES], class_tail[CD_CLASSES];
    uint64_t class_set[CD_CLASS_WORDS];
    cd_links *links;
};

CD_INLINE uint8_t *record_of(const cd_mempool *pool, uint32_t slot) {
    return pool->records + (size_t)slot * RECORD;
}

CD_INLINE bool same32(const uint8_t *a, const uint8_t *b) { return memcmp(a, b, 32) == 0; }

CD_INLINE void fetch(const void *line) { __builtin_prefetch(line, 1); }

CD_INLINE size_t window_of(size_t left) { return left < CD_WINDOW ? left : CD_WINDOW; }

/* A record begins anywhere in a line and so lies in three or four. */
CD_INLINE void fetch_record(const cd_mempool *pool, uint32_t slot) {
    const uint8_t *record = record_of(pool, slot);
    for (int at = 0; at < RECORD; at += CD_LINE) fetch(record + at);
    fetch(record + RECORD - 1);
}

CD_INLINE void fetch_sender(const cd_mempool *pool, uint32_t at) {
    fetch(&pool->senders[at]);
    fetch(&pool->senders[at].start);
}

CD_INLINE void cd_links_fetch(const cd_mempool *pool, uint32_t sender) {
    const cd_links links = pool->links[sender];
    if (links.next != CD_NONE) fetch(&pool->links[links.next]);
    if (links.prev != CD_NONE) fetch(&pool->links[links.prev]);
}

/* index.c */
uint32_t cd_hash32(const cd_mempool *pool, const uint8_t bytes[32]);
void cd_index_add(cd_index *index, uint32_t hash, uint32_t at);
void cd_index_move(cd_index *index, uint32_t hash, uint32_t from, uint32_t to);
void cd_index_remove(cd_index *index, uint32_t hash, uint32_t at);
uint32_t cd_find_id(const cd_mempool *pool, uint32_t hash, const uint8_t id[32]);
uint32_t cd_find_sender(const cd_mempool *pool, uint32_t hash, const uint8_t key[32]);
/* The first with this hash, which is mostly the one; CD_NONE if there is none. */
uint32_t cd_index_guess(const cd_index *index, uint32_t hash);

CD_INLINE void cd_index_fetch(const cd_index *index, uint32_t hash) {
    fetch(&index->places[hash & index->mask]);
}

/* slots.c */
uint32_t cd_slot_new(cd_mempool *pool); /* there must be one */
/* Free what an entry holds; neither the index of ids nor the sender is updated. */
void cd_release(cd_mempool *pool, uint32_t at, uint32_t place);
/* Release an entry, forget its id, and note its tag; the sender is not updated. */
void cd_drop(cd_mempool *pool, uint32_t at, uint32_t place, cd_mempool_reason reason);

/* senders.c */
uint32_t cd_sender_create(cd_mempool *pool, uint32_t hash, const uint8_t key[32]);
bool cd_sender_reserve(cd_mempool *pool, cd_sender *sender); /* room for one more entry */
/* Place of the first entry whose nonce is not below. */
uint32_t cd_entry_search(const cd_sender *sender, uint64_t nonce);
void cd_entry_insert(cd_sender *sender, uint32_t place, cd_entry entry);
void cd_entry_remove(cd_sender *sender, uint32_t place);
void cd_entry_take(cd_sender *sender);
void cd_entry_put_back(cd_sender *sender, uint32_t place);
/* Another takes the place of a sender that has nothing left, and is not updated yet. */
void cd_sender_succeed(cd_mempool *pool, uint32_t at, uint32_t hash, const uint8_t key[32]);
/* Bring class, turn and life of a sender up to date with its list. */
void cd_sender_update(cd_mempool *pool, uint32_t at);

/* classes.c */
/* Move a sender that has something waiting to the class of its bid. */
void cd_class_set(cd_mempool *pool, uint32_t at);
void cd_class_leave(cd_mempool *pool, uint32_t at);
uint32_t cd_lowest_sender(const cd_mempool *pool); /* CD_NONE if nothing waits */
uint32_t cd_lowest_entry(const cd_sender *sender);
/* Ask for the lines of those that lose next: the nearer, the further along its pointers. */
void cd_losers_fetch(const cd_mempool *pool, uint32_t loser);

/* turns.c */
void cd_turn_put(cd_mempool *pool, uint32_t sender); /* set or moved */
void cd_turn_remove(cd_mempool *pool, uint32_t sender);
void cd_turn_fetch(const cd_mempool *pool, uint32_t sender); /* ask for what a move of it needs */

/* bodies.c */
CD_INLINE uint32_t blocks_of(uint32_t size) {
    return (size + CD_MEMPOOL_BLOCK_BYTES - 1) / CD_MEMPOOL_BLOCK_BYTES;
}

void cd_body_store(cd_mempool *pool, uint32_t slot, const uint8_t *body, uint32_t size);
void cd_body_load(const cd_mempool *pool, uint32_t slot, uint32_t size, uint8_t *body);
void cd_body_free(cd_mempool *pool, uint32_t slot);

#endif
