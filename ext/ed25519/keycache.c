#include "ed25519/keycache.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/random.h>

static void lock(cd_keycache_set *set) {
    for (int spins = 0; atomic_flag_test_and_set_explicit(&set->lock, memory_order_acquire);
         spins++) {
        if (spins > 100) sched_yield(); /* the holder may have been preempted */
    }
}

static void unlock(cd_keycache_set *set) {
    atomic_flag_clear_explicit(&set->lock, memory_order_release);
}

static cd_keycache_set *set_of(cd_keycache *cache, uint64_t hash) {
    return &cache->sets[hash % CD_KEYCACHE_SETS];
}

cd_status cd_keycache_init(cd_keycache *cache) {
    /* A clear atomic_flag is all zero on every supported compiler. */
    cache->sets = calloc(CD_KEYCACHE_SETS, sizeof *cache->sets);
    if (!cache->sets) return CD_ERR_MEMORY;
    if (getrandom(cache->secret, sizeof cache->secret, 0) != (ssize_t)sizeof cache->secret) {
        free(cache->sets);
        cache->sets = NULL;
        return CD_ERR_MEMORY;
    }
    return CD_OK;
}

uint64_t cd_keycache_hash(const cd_keycache *cache, const uint8_t key[32]) {
    typedef unsigned __int128 u128;
    u128 a =
        (u128)(cd_load64_le(key) ^ cache->secret[0]) * (cd_load64_le(key + 8) ^ cache->secret[1]);
    u128 b = (u128)(cd_load64_le(key + 16) ^ cache->secret[2]) *
             (cd_load64_le(key + 24) ^ cache->secret[3]);
    uint64_t mixed = (uint64_t)a ^ (uint64_t)(a >> 64) ^ (uint64_t)b ^ (uint64_t)(b >> 64);
    return mixed ^ mixed >> 32;
}

int cd_keycache_get(cd_keycache *cache, uint64_t hash, const uint8_t key[32], cd_niels *point) {
    cd_keycache_set *set = set_of(cache, hash);
    int found = 0;
    lock(set);
    for (int way = 0; way < set->used && !found; way++) {
        if (memcmp(set->keys[way], key, 32) == 0) {
            *point = set->points[way];
            found = 1;
        }
    }
    unlock(set);
    return found;
}

void cd_keycache_put(cd_keycache *cache, uint64_t hash, const uint8_t key[32],
                     const cd_niels *point) {
    cd_keycache_set *set = set_of(cache, hash);
    lock(set);
    int way = 0;
    while (way < set->used && memcmp(set->keys[way], key, 32) != 0) way++;
    if (way == set->used) { /* not put by another thread meanwhile */
        if (set->used < CD_KEYCACHE_WAYS) {
            set->used++;
        } else {
            way = set->next;
            set->next = (uint8_t)((set->next + 1) % CD_KEYCACHE_WAYS);
        }
        memcpy(set->keys[way], key, 32);
        set->points[way] = *point;
    }
    unlock(set);
}

void cd_keycache_clear(cd_keycache *cache) {
    for (size_t i = 0; i < CD_KEYCACHE_SETS; i++) {
        cd_keycache_set *set = &cache->sets[i];
        lock(set);
        set->used = set->next = 0;
        unlock(set);
    }
}
