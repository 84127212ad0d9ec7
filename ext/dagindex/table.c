/* Digest -> place of its vertex: open addressing, linear probing, SipHash-1-3 under the seed. */
#include "dagindex/index.h"

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

uint32_t cd_table_hash(const cd_dag *dag, const uint8_t digest[32]) {
    const uint64_t *key = dag->config.seed;
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
                     key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u};
    for (int i = 0; i < 4; i++) {
        uint64_t word = cd_load64_le(digest + 8 * i);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    const uint64_t last = (uint64_t)32 << 56;
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) sip_round(v);
    return (uint32_t)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

uint32_t cd_table_ask(const cd_dag *dag, const uint8_t digest[32]) {
    const uint32_t hash = cd_table_hash(dag, digest);
    __builtin_prefetch(&dag->table[hash & dag->table_mask]);
    return hash;
}

uint32_t cd_table_find(const cd_dag *dag, uint32_t hash, const uint8_t digest[32]) {
    for (uint32_t i = hash & dag->table_mask;; i = (i + 1) & dag->table_mask) {
        const cd_entry *entry = &dag->table[i];
        if (entry->at == CD_NONE) return CD_NONE;
        if (entry->hash == hash && memcmp(dag->vertices[entry->at].digest, digest, 32) == 0)
            return entry->at;
    }
}

/* At most half of the table is ever full, so every probe ends. */
void cd_table_add(cd_dag *dag, uint32_t hash, uint32_t at) {
    uint32_t i = hash & dag->table_mask;
    while (dag->table[i].at != CD_NONE) i = (i + 1) & dag->table_mask;
    dag->table[i] = (cd_entry){hash, at};
}

/* Later entries of the run move up into the hole, so no tombstones pile up. */
void cd_table_remove(cd_dag *dag, uint32_t hash, uint32_t at) {
    const uint32_t mask = dag->table_mask;
    uint32_t hole = hash & mask;
    while (dag->table[hole].at != at) hole = (hole + 1) & mask;
    for (uint32_t i = (hole + 1) & mask; dag->table[i].at != CD_NONE; i = (i + 1) & mask) {
        uint32_t home = dag->table[i].hash & mask;
        if (((i - home) & mask) < ((i - hole) & mask)) continue;
        dag->table[hole] = dag->table[i];
        hole = i;
    }
    dag->table[hole].at = CD_NONE;
}
