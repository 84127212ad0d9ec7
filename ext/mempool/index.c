/* Ids and senders to their places: open addressing, linear probing, SipHash-1-3 under the seed. */
#include "mempool/pool.h"

CD_INLINE uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

CD_INLINE void sip_round(uint64_t v[4]) {
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

CD_INLINE void sip_word(uint64_t v[4], uint64_t word) {
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

uint32_t cd_hash32(const cd_mempool *pool, const uint8_t bytes[32]) {
    const uint64_t *key = pool->config.seed;
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
                     key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u};
    for (int i = 0; i < 4; i++) sip_word(v, cd_load64_le(bytes + 8 * i));
    sip_word(v, (uint64_t)32 << 56);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) sip_round(v);
    return (uint32_t)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

void cd_index_add(cd_index *index, uint32_t hash, uint32_t at) {
    uint32_t i = hash & index->mask;
    while (index->places[i].at != 0) i = (i + 1) & index->mask;
    index->places[i] = (cd_place){hash, at + 1};
}

/* The same hash goes from one to another; its place in the run stays. */
void cd_index_move(cd_index *index, uint32_t hash, uint32_t from, uint32_t to) {
    uint32_t i = hash & index->mask;
    while (index->places[i].at != from + 1) i = (i + 1) & index->mask;
    index->places[i].at = to + 1;
}

/* Later places of the run move up into the hole, so no tombstones pile up. */
void cd_index_remove(cd_index *index, uint32_t hash, uint32_t at) {
    const uint32_t mask = index->mask;
    uint32_t hole = hash & mask;
    while (index->places[hole].at != at + 1) hole = (hole + 1) & mask;
    for (uint32_t i = (hole + 1) & mask; index->places[i].at != 0; i = (i + 1) & mask) {
        uint32_t home = index->places[i].hash & mask;
        if (((i - home) & mask) < ((i - hole) & mask)) continue;
        index->places[hole] = index->places[i];
        hole = i;
    }
    index->places[hole].at = 0;
}

uint32_t cd_find_id(const cd_mempool *pool, uint32_t hash, const uint8_t id[32]) {
    const cd_index *index = &pool->ids;
    for (uint32_t i = hash & index->mask; index->places[i].at != 0; i = (i + 1) & index->mask) {
        if (index->places[i].hash != hash) continue;
        const uint32_t at = index->places[i].at - 1;
        const uint8_t *known =
            at & CD_RECENT ? pool->recent + (size_t)(at & ~CD_RECENT) * 32 : pool->slots[at].id;
        if (same32(known, id)) return at;
    }
    return CD_NONE;
}

uint32_t cd_find_sender(const cd_mempool *pool, uint32_t hash, const uint8_t key[32]) {
    const cd_index *index = &pool->keys;
    for (uint32_t i = hash & index->mask; index->places[i].at != 0; i = (i + 1) & index->mask) {
        const uint32_t at = index->places[i].at - 1;
        if (index->places[i].hash == hash && same32(pool->senders[at].key, key)) return at;
    }
    return CD_NONE;
}

uint32_t cd_index_guess(const cd_index *index, uint32_t hash) {
    for (uint32_t i = hash & index->mask; index->places[i].at != 0; i = (i + 1) & index->mask)
        if (index->places[i].hash == hash) return index->places[i].at - 1;
    return CD_NONE;
}
