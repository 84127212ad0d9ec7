/* SHA-512 of four challenges at once, one a lane. Lanes may differ in length. */
#if defined(__AVX2__)

#include "ed25519/avx2.h"
#include "ed25519/field25.h"

#define XOR3(a, b, c) _mm256_xor_si256(_mm256_xor_si256(a, b), c)
#define ROTATE(x, n) fy_or(fy_shift_right(x, n), fy_shift_left(x, 64 - (n)))
#define CHOOSE(a, b, c) _mm256_xor_si256(c, fy_and(a, _mm256_xor_si256(b, c)))

CD_INLINE fy_word shuffle_bytes(fy_word x, __m128i order) {
    return _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(order));
}

CD_INLINE fy_word swap_bytes(fy_word x) {
    return shuffle_bytes(x, _mm_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
}

CD_INLINE fy_word rotate_8(fy_word x) {
    return shuffle_bytes(x, _mm_set_epi8(8, 15, 14, 13, 12, 11, 10, 9, 0, 7, 6, 5, 4, 3, 2, 1));
}

/* One compression in every lane; lanes whose mask is 0 keep their state. */
CD_NOINLINE void compress(fy_word state[8], fy_word w[16], fy_word active) {
    fy_word a = state[0], b = state[1], c = state[2], d = state[3];
    fy_word e = state[4], f = state[5], g = state[6], h = state[7];
    fy_word b_xor_c = _mm256_xor_si256(b, c);
#pragma GCC unroll 16
    for (int t = 0; t < 80; t++) {
        if (t >= 16) {
            fy_word x = w[(t - 15) & 15], y = w[(t - 2) & 15];
            fy_word sx = XOR3(ROTATE(x, 1), rotate_8(x), fy_shift_right(x, 7));
            fy_word sy = XOR3(ROTATE(y, 19), ROTATE(y, 61), fy_shift_right(y, 6));
            w[t & 15] = fy_add_word(fy_add_word(w[t & 15], w[(t - 7) & 15]), fy_add_word(sx, sy));
        }
        fy_word key = fy_add_word(w[t & 15], fy_splat(CD_SHA512_K[t]));
        fy_word t1 = fy_add_word(
            fy_add_word(h, key),
            fy_add_word(XOR3(ROTATE(e, 14), ROTATE(e, 18), ROTATE(e, 41)), CHOOSE(e, f, g)));
        /* The majority is b where b and c agree, else a; the next round wants a ^ b again. */
        fy_word a_xor_b = _mm256_xor_si256(a, b);
        fy_word majority = _mm256_xor_si256(b, fy_and(a_xor_b, b_xor_c));
        fy_word t2 = fy_add_word(XOR3(ROTATE(a, 28), ROTATE(a, 34), ROTATE(a, 39)), majority);
        b_xor_c = a_xor_b;
        h = g, g = f, f = e, e = fy_add_word(d, t1);
        d = c, c = b, b = a, a = fy_add_word(t1, t2);
    }
    const fy_word added[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++) state[i] = fy_add_word(state[i], fy_and(added[i], active));
}

CD_INLINE fy_word load_swapped(const uint8_t *from) {
    return swap_bytes(_mm256_loadu_si256((const __m256i *)from));
}

/* A 128-byte block of each lane from its four quarters. */
CD_INLINE void load_quarters(fy_word w[16], const uint8_t *const quarters[4][4]) {
    for (int quarter = 0; quarter < 4; quarter++) {
        for (int lane = 0; lane < 4; lane++)
            w[4 * quarter + lane] = load_swapped(quarters[lane][quarter]);
        fy_transpose(w + 4 * quarter);
    }
}

static void challenge_four(const cd_signed *const items[4], size_t lanes, uint8_t (*digests)[64]) {
    static const uint8_t padding[32] = {0x80, [30] = 96 * 8 >> 8, [31] = 96 * 8 & 255};
    fy_word state[8], w[16];
    uint8_t block[4][128];
    const uint8_t *quarters[4][4];
    size_t blocks[4], most = 0;
    for (int lane = 0; lane < 4; lane++) {
        blocks[lane] = cd_challenge_blocks(items[lane]);
        most = blocks[lane] > most ? blocks[lane] : most;
    }
    for (int i = 0; i < 8; i++) state[i] = fy_splat(CD_SHA512_IV[i]);
    for (size_t b = 0; b < most; b++) {
        for (int lane = 0; lane < 4; lane++) {
            const cd_signed *item = items[lane];
            if (item->message_len == 32) { /* its one block, from where its parts lie */
                const uint8_t *parts[4] = {item->signature, item->public_key, item->message,
                                           padding};
                memcpy(quarters[lane], parts, sizeof parts);
                continue;
            }
            cd_challenge_block(block[lane], item, b);
            for (int q = 0; q < 4; q++) quarters[lane][q] = block[lane] + 32 * q;
        }
        load_quarters(w, quarters);
        fy_word index = fy_splat(b);
        compress(state, w,
                 _mm256_cmpgt_epi64(_mm256_set_epi64x((long long)blocks[3], (long long)blocks[2],
                                                      (long long)blocks[1], (long long)blocks[0]),
                                    index));
    }
    fy_transpose(state);
    fy_transpose(state + 4);
    for (size_t lane = 0; lane < lanes; lane++) {
        _mm256_storeu_si256((__m256i *)digests[lane], swap_bytes(state[lane]));
        _mm256_storeu_si256((__m256i *)(digests[lane] + 32), swap_bytes(state[4 + lane]));
    }
}

void cd_challenges_x4(const cd_signed *items, size_t n, uint8_t (*digests)[64]) {
    for (size_t i = 0; i < n; i += 4) {
        const cd_signed *group[4];
        size_t lanes = n - i < 4 ? n - i : 4;
        for (size_t lane = 0; lane < 4; lane++)
            group[lane] = &items[i + (lane < lanes ? lane : lanes - 1)];
        challenge_four(group, lanes, digests + i);
    }
}

#endif
