/* SipHash-1-3 (Aumasson and Bernstein, 2012): which place of a hash table a key belongs in.
 *
 * Under a seed that nobody else knows nobody can aim keys at one place. It is no digest: what it
 * gives stays in this process and decides nothing that others see.
 */
#ifndef CD_SIPHASH_H
#define CD_SIPHASH_H

#include "base/base.h"

CD_INLINE uint64_t cd_sip_rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

CD_INLINE void cd_sip_round(uint64_t v[4]) {
    v[0] += v[1];
    v[1] = cd_sip_rotate(v[1], 13) ^ v[0];
    v[0] = cd_sip_rotate(v[0], 32);
    v[2] += v[3];
    v[3] = cd_sip_rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = cd_sip_rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = cd_sip_rotate(v[1], 17) ^ v[2];
    v[2] = cd_sip_rotate(v[2], 32);
}

CD_INLINE void cd_sip_word(uint64_t v[4], uint64_t word) {
    v[3] ^= word;
    cd_sip_round(v);
    v[0] ^= word;
}

/* The 64-bit hash of a key of `size` bytes, whole words. A constant size unrolls the loop. */
CD_INLINE uint64_t cd_siphash(const uint64_t seed[2], const uint8_t *key, size_t size) {
    CD_VERIFY_CHECK(size % 8 == 0);
    uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575u, seed[1] ^ 0x646f72616e646f6du,
                     seed[0] ^ 0x6c7967656e657261u, seed[1] ^ 0x7465646279746573u};
    for (size_t at = 0; at < size; at += 8) cd_sip_word(v, cd_load64_le(key + at));
    cd_sip_word(v, (uint64_t)size << 56);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) cd_sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
