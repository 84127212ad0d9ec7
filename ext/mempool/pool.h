/* Inside the mempool: its arrays, and what its parts offer one another. */
#ifndef CD_MEMPOOL_POOL_H
#define CD_MEMPOOL_POOL_H

#include "mempool/mempool.h"

#include <stdbool.h>
#include <stdlib.h>

#define CD_NONE UINT32_MAX
#define CD_RECENT 0x80000000u /* a place of the id index that is one of the ring of recent ids */
#define CD_CLASSES 576u
#define CD_CLASS_WORDS (CD_CLASSES / 64)

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

typedef struct {
    uint8_t key[32];
    uint64_t start; /* fair queueing: when its next transaction's service begins */
    uint64_t turn;  /* among senders that are due at once the lowest goes */
    uint64_t lowest_fee;
    cd_entry *entries;
    uint32_t hash, count, room;
    uint32_t waiting, first; /* how many wait, and the place of the first of them */
    uint32_t class;
} cd_sender;

typedef struct {
    uint32_t hash;   /* of its id */
    uint32_t sender; /* in a free slot the next free one */
    uint32_t body;   /* first block */
    uint32_t body_size;
} cd_slot;

typedef struct {
    uint64_t due, turn;
    uint32_t sender;
} cd_turn;

struct cd_mempool {
    cd_mempool_config config;
    cd_mempool_stats stats;
    cd_index ids, keys;
    uint8_t *records, *id_rows;
    cd_slot *slots;
    uint32_t *valid_until;
    uint32_t slots_used, slots_free, scan_next;
    cd_sender *senders;
    uint32_t senders_used, senders_free;
    uint8_t *blocks;
    uint32_t *block_next;
    uint32_t blocks_max, blocks_used, blocks_free, blocks_held;
    uint8_t *recent;
    uint32_t *recent_hash;
    uint32_t recent_next;
    cd_turn *heap;
    uint32_t heap_count, *heap_place;
    uint64_t clock, turns;
    uint32_t class_head[CD_CLASSES], class_tail[CD_CLASSES];
    uint64_t class_set[CD_CLASS_WORDS];
    uint32_t *class_next, *class_prev;
};

CD_INLINE uint8_t *record_of(const cd_mempool *pool, uint32_t slot) {
    return pool->records + (size_t)slot * RECORD;
}

CD_INLINE uint8_t *id_of(const cd_mempool *pool, uint32_t slot) {
    return pool->id_rows + (size_t)slot * 32;
}

CD_INLINE bool same32(const uint8_t *a, const uint8_t *b) { return memcmp(a, b, 32) == 0; }

/* index.c */
uint32_t cd_hash32(const cd_mempool *pool, const uint8_t bytes[32]);
void cd_index_add(cd_index *index, uint32_t hash, uint32_t at);
void cd_index_remove(cd_index *index, uint32_t hash, uint32_t at);
uint32_t cd_find_id(const cd_mempool *pool, uint32_t hash, const uint8_t id[32]);
uint32_t cd_find_sender(const cd_mempool *pool, uint32_t hash, const uint8_t key[32]);

CD_INLINE void cd_index_fetch(const cd_index *index, uint32_t hash) {
    __builtin_prefetch(&index->places[hash & index->mask]);
}

/* senders.c */
uint32_t cd_sender_create(cd_mempool *pool, uint32_t hash, const uint8_t key[32]); /* or CD_NONE */
bool cd_sender_reserve(cd_mempool *pool, cd_sender *sender); /* room for one more entry */
/* Place of the first entry whose nonce is not below. */
uint32_t cd_entry_search(const cd_sender *sender, uint64_t nonce);
void cd_entry_insert(cd_sender *sender, uint32_t place, cd_entry entry);
void cd_entry_remove(cd_sender *sender, uint32_t place);
void cd_entry_take(cd_sender *sender);
void cd_entry_put_back(cd_sender *sender, uint32_t place);
/* Bring class, turn and life of a sender up to date with its list. */
void cd_sender_update(cd_mempool *pool, uint32_t at);
uint32_t cd_lowest_sender(const cd_mempool *pool); /* CD_NONE if nothing waits */
uint32_t cd_lowest_entry(const cd_sender *sender);
/* Free the slot and forget the id of an entry; the sender is not updated. */
void cd_drop_entry(cd_mempool *pool, uint32_t at, uint32_t place);

/* turns.c */
void cd_turn_put(cd_mempool *pool, uint32_t sender); /* set or moved */
void cd_turn_remove(cd_mempool *pool, uint32_t sender);
uint64_t cd_turn_due(const cd_mempool *pool, const cd_sender *sender);

/* bodies.c */
CD_INLINE uint32_t blocks_of(uint32_t size) {
    return (size + CD_MEMPOOL_BLOCK_BYTES - 1) / CD_MEMPOOL_BLOCK_BYTES;
}

void cd_body_store(cd_mempool *pool, uint32_t slot, const uint8_t *body, uint32_t size);
void cd_body_load(const cd_mempool *pool, uint32_t slot, uint8_t *body);
void cd_body_free(cd_mempool *pool, uint32_t slot);

#endif
