/* Ids and senders to their places: open addressing, linear probing, SipHash-1-3 under the seed. */
#include "mempool/pool.h"

#include "base/siphash.h"

uint32_t cd_hash32(const cd_mempool *pool, const uint8_t bytes[32]) {
    return (uint32_t)cd_siphash(pool->config.seed, bytes, 32);
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
