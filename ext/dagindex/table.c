/* Digest -> place of its vertex: open addressing, linear probing, SipHash-1-3 under the seed. */
#include "dagindex/index.h"

#include "base/siphash.h"

uint32_t cd_table_hash(const cd_dag *dag, const uint8_t digest[32]) {
    return (uint32_t)cd_siphash(dag->config.seed, digest, 32);
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
