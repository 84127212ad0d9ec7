/* Key -> place of its line: SipHash-1-3 under the seed, shards by its high bits, linear probing. */
#include "ledger/table.h"

#include "base/siphash.h"

#define SIZE_FIRST 8u

uint64_t cd_index_hash(const cd_ledger *ledger, const uint8_t *key) {
    return cd_siphash(ledger->seed, key, CD_LEDGER_KEY_BYTES);
}

CD_INLINE uint32_t after(const cd_shard *shard, uint32_t i) {
    return i + 1 == shard->size ? 0 : i + 1;
}

uint32_t cd_index_find(const cd_ledger *ledger, uint64_t hash, const uint8_t *key) {
    const cd_shard *shard = shard_of(ledger, hash);
    const uint32_t tag = (uint32_t)hash;
    if (shard->used == 0) return 0;
    for (uint32_t i = home_of(shard, tag);; i = after(shard, i)) {
        const cd_slot *slot = &shard->slots[i];
        if (slot->place == 0) return 0;
        if (slot->tag == tag && key_is(line_at(ledger, slot->place), key)) return slot->place;
    }
}

uint32_t cd_index_hint(const cd_ledger *ledger, uint64_t hash) {
    const cd_shard *shard = shard_of(ledger, hash);
    const uint32_t tag = (uint32_t)hash;
    if (shard->used == 0) return 0;
    uint32_t i = home_of(shard, tag);
    while (shard->slots[i].place != 0 && shard->slots[i].tag != tag) i = after(shard, i);
    return shard->slots[i].place;
}

static void place_slot(cd_shard *shard, cd_slot slot) {
    uint32_t i = home_of(shard, slot.tag);
    while (shard->slots[i].place != 0) i = after(shard, i);
    shard->slots[i] = slot;
}

/* At most 3/4 of a shard is ever full, so every probe ends. It grows by a half. */
bool cd_index_reserve(cd_ledger *ledger, uint64_t hash) {
    cd_shard *shard = shard_of(ledger, hash);
    if ((shard->used + 1) * (uint64_t)4 <= shard->size * (uint64_t)3) return true;
    uint32_t added = shard->size / 2 < SIZE_FIRST ? SIZE_FIRST : shard->size / 2;
    cd_shard grown = {.size = shard->size + added, .used = shard->used};
    grown.slots = calloc(grown.size, sizeof *grown.slots);
    if (grown.slots == NULL) return false;
    for (uint32_t i = 0; i < shard->size; i++)
        if (shard->slots[i].place != 0) place_slot(&grown, shard->slots[i]);
    free(shard->slots);
    *shard = grown;
    ledger->slots += added;
    return true;
}

void cd_index_add(cd_ledger *ledger, uint64_t hash, uint32_t place) {
    cd_shard *shard = shard_of(ledger, hash);
    CD_VERIFY_CHECK(shard->used < shard->size);
    place_slot(shard, (cd_slot){(uint32_t)hash, place});
    shard->used++;
}

CD_INLINE uint32_t distance(const cd_shard *shard, uint32_t from, uint32_t to) {
    return to >= from ? to - from : to + (shard->size - from);
}

/* Later slots of the run move up into the hole, so no tombstones pile up. */
void cd_index_remove(cd_ledger *ledger, uint64_t hash, uint32_t place) {
    cd_shard *shard = shard_of(ledger, hash);
    uint32_t hole = home_of(shard, (uint32_t)hash);
    while (shard->slots[hole].place != place) hole = after(shard, hole);
    for (uint32_t i = after(shard, hole); shard->slots[i].place != 0; i = after(shard, i)) {
        uint32_t home = home_of(shard, shard->slots[i].tag);
        if (distance(shard, home, i) < distance(shard, hole, i)) continue;
        shard->slots[hole] = shard->slots[i];
        hole = i;
    }
    shard->slots[hole] = (cd_slot){0, 0};
    shard->used--;
}
