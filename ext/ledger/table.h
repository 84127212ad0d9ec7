/* The table's insides, shared by its C files. */
#ifndef CD_LEDGER_TABLE_H
#define CD_LEDGER_TABLE_H

#include "base/pages.h"
#include "digest/digest.h"
#include "ledger/ledger.h"

#include <stdbool.h>
#include <stdlib.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "keys and lines are laid out for little-endian machines"
#endif

typedef unsigned __int128 cd_u128;

/* Lines are reached by segments, which huge pages hold several of. Place 0 stands for no line, so
 * places are numbered from 1. */
#define CD_SEGMENT_BITS 12
#define CD_SEGMENT_LINES (1u << CD_SEGMENT_BITS)
#define CD_SEGMENT_BYTES (CD_SEGMENT_LINES * sizeof(cd_ledger_line))
#define CD_PAGE_SEGMENTS (CD_HUGE_BYTES / CD_SEGMENT_BYTES)

_Static_assert(sizeof(cd_ledger_line) == 64, "a line is a cache line");

#define CD_SHARD_LINES 2048 /* of a full table, on average: bounds the work of one growth */

typedef struct {
    uint32_t tag, place; /* low half of the hash; 0 if free */
} cd_slot;

typedef struct {
    cd_slot *slots;
    uint32_t size, used;
} cd_shard;

#define CD_SAVED_LINES 4095 /* with its head a block has the size of a segment */
#define CD_CHANGES_MAX 3    /* lines that a transfer changes: account, holding, recipient */

/* Lines as they stood when the snapshot began. */
typedef struct cd_saved_block {
    struct cd_saved_block *below;
    uint32_t count;
    _Alignas(64) cd_ledger_line lines[CD_SAVED_LINES];
} cd_saved_block;

_Static_assert(sizeof(cd_saved_block) == CD_SEGMENT_BYTES, "a block is as large as a segment");

/* Places [first, first + count) are still to be read, but for those whose bit in `settled` is set:
 * they were saved, or had no line. Nothing is to be read where there is no snapshot. */
typedef struct {
    uint32_t first, count;
    uint64_t *settled; /* NULL if there is no snapshot */
    size_t words;
    cd_saved_block *saved;
    size_t blocks;
} cd_snapshot;

struct cd_ledger {
    uint32_t lines_max, depth;
    cd_digest_key bucket_key, address_key;
    uint64_t seed[2];
    cd_u128 fees;

    cd_ledger_line **segments;
    uint32_t used;    /* places that were ever taken */
    uint32_t lines;   /* that are there now */
    uint32_t free;    /* first free place below `used`, through link */
    uint64_t *vacant; /* a bit for each place: whether it is one of the free ones */

    cd_shard *shards;
    uint32_t shard_bits;
    uint64_t slots; /* of all shards */

    uint32_t *heads; /* 2^depth: first place of each bucket */
    uint64_t *dirty; /* 2^depth bits */
    uint32_t dirty_count;

    cd_snapshot snapshot;
};

/* A key with what finds it: in the index, and in the state tree. */
typedef struct {
    const uint8_t *bytes;
    uint64_t hash;
    uint32_t bucket;
    uint32_t
        hint; /* where its line may be, 0 if unknown; find_line and cd_line_create make it certain */
} cd_key;

CD_INLINE cd_ledger_line *line_at(const cd_ledger *ledger, uint32_t place) {
    CD_VERIFY_CHECK(place != 0 && place <= ledger->used);
    return &ledger->segments[(place - 1) >> CD_SEGMENT_BITS][(place - 1) & (CD_SEGMENT_LINES - 1)];
}

CD_INLINE bool key_is(const cd_ledger_line *line, const uint8_t *key) {
    const uint8_t *own = line->address;
    return cd_load64_le(own) == cd_load64_le(key) &&
           cd_load64_le(own + 8) == cd_load64_le(key + 8) &&
           cd_load64_le(own + 16) == cd_load64_le(key + 16);
}

CD_INLINE bool says_nothing(const cd_ledger_line *line) {
    return (line->balance[0] | line->balance[1] | line->nonce_base | line->nonce_mask |
            line->flags) == 0;
}

CD_INLINE cd_u128 load_balance(const cd_ledger_line *line) {
    return (cd_u128)line->balance[1] << 64 | line->balance[0];
}

CD_INLINE void store_balance(cd_ledger_line *line, cd_u128 balance) {
    line->balance[0] = (uint64_t)balance;
    line->balance[1] = (uint64_t)(balance >> 64);
}

CD_INLINE void make_key(uint8_t key[CD_LEDGER_KEY_BYTES], const uint8_t *address, uint32_t asset) {
    memcpy(key, address, CD_LEDGER_ADDRESS_BYTES);
    cd_store32_le(key + CD_LEDGER_ADDRESS_BYTES, asset);
}

CD_INLINE uint64_t place_bit(uint32_t place) { return (uint64_t)1 << place % 64; }

CD_INLINE cd_shard *shard_of(const cd_ledger *ledger, uint64_t hash) {
    return &ledger->shards[hash >> 32 >> (32 - ledger->shard_bits)];
}

/* Slots are in the order of their tags, but for collisions, so that growth copies in one sweep. */
CD_INLINE uint32_t home_of(const cd_shard *shard, uint32_t tag) {
    return (uint32_t)((uint64_t)tag * shard->size >> 32);
}

/* snapshot.c */
bool cd_snapshot_grow(cd_ledger *ledger);
void cd_snapshot_save(cd_ledger *ledger, uint32_t place);

/* Room for what one transfer changes; false: no memory. */
CD_INLINE bool reserve_changes(cd_ledger *ledger) {
    const cd_snapshot *snapshot = &ledger->snapshot;
    if (snapshot->count == 0) return true;
    if (snapshot->saved != NULL && snapshot->saved->count + CD_CHANGES_MAX <= CD_SAVED_LINES)
        return true;
    return cd_snapshot_grow(ledger);
}

/* The line of this key, which was found or created, is about to change: its bucket becomes dirty, and
 * a snapshot keeps what it has not read. The change has been reserved. */
CD_INLINE void will_change(cd_ledger *ledger, const cd_key *key) {
    uint64_t *word = &ledger->dirty[key->bucket / 64], bit = (uint64_t)1 << key->bucket % 64;
    ledger->dirty_count += (*word & bit) == 0;
    *word |= bit;
    if (key->hint - ledger->snapshot.first < ledger->snapshot.count)
        cd_snapshot_save(ledger, key->hint);
}

/* index.c: keyed hash -> place, 0 if there is none. */
uint64_t cd_index_hash(const cd_ledger *ledger, const uint8_t *key);
uint32_t cd_index_find(const cd_ledger *ledger, uint64_t hash, const uint8_t *key);
uint32_t cd_index_hint(const cd_ledger *ledger, uint64_t hash); /* without a look at the line */
bool cd_index_reserve(cd_ledger *ledger, uint64_t hash); /* room for one more; false: no memory */
void cd_index_add(cd_ledger *ledger, uint64_t hash, uint32_t place); /* once reserved */
void cd_index_remove(cd_ledger *ledger, uint64_t hash, uint32_t place);

/* The line of a prepared key, or NULL. A hint may be out of date, since lines come and go. */
CD_INLINE cd_ledger_line *find_line(const cd_ledger *ledger, cd_key *key) {
    if (key->hint != 0) {
        cd_ledger_line *line = line_at(ledger, key->hint);
        if (key_is(line, key->bytes) && !says_nothing(line)) return line;
    }
    key->hint = cd_index_find(ledger, key->hash, key->bytes);
    return key->hint == 0 ? NULL : line_at(ledger, key->hint);
}

/* lines.c */
/* Hash n keys that lie stride bytes apart, and fetch what they lead to into the cache. */
void cd_keys_prepare(const cd_ledger *ledger, const uint8_t *keys, size_t stride, size_t n,
                     cd_key *out);
/* A line with this key that says nothing yet; the caller makes it say something, or removes it. */
cd_status cd_line_create(cd_ledger *ledger, cd_key *key, cd_ledger_line **line);
void cd_line_remove(cd_ledger *ledger, const cd_key *key);

#endif
