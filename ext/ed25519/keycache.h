/* A bounded, thread-safe map from 32-byte public keys to decoded points.
 *
 * Set-associative with a lock per set: a lookup holds it for one copy of 120 bytes. The set is
 * chosen by a keyed hash with a secret of this process, so that nobody can aim at one set; a new
 * key evicts another of its set in turn. One cache serves one backend, since points are in the
 * backend's radix.
 */
#ifndef CD_KEYCACHE_H
#define CD_KEYCACHE_H

#include <stdatomic.h>

#include "ed25519/point51.h"

#define CD_KEYCACHE_WAYS 4
#define CD_KEYCACHE_SETS 16384

typedef struct {
    atomic_flag lock;
    uint8_t used, next;
    uint8_t keys[CD_KEYCACHE_WAYS][32];
    cd_niels points[CD_KEYCACHE_WAYS];
} cd_keycache_set;

typedef struct {
    uint64_t secret[4];
    cd_keycache_set *sets; /* untouched sets take no memory */
} cd_keycache;

/* CD_ERR_MEMORY leaves the cache unusable. */
cd_status cd_keycache_init(cd_keycache *cache);

/* A hash of the key that depends on the process's secret. */
uint64_t cd_keycache_hash(const cd_keycache *cache, const uint8_t key[32]);

/* 1 and the point if the key is known, else 0. */
int cd_keycache_get(cd_keycache *cache, uint64_t hash, const uint8_t key[32], cd_niels *point);

void cd_keycache_put(cd_keycache *cache, uint64_t hash, const uint8_t key[32],
                     const cd_niels *point);

void cd_keycache_clear(cd_keycache *cache);

#endif
