/* SHA-512 of eight challenges at once, one a lane. Lanes may differ in length. */
#include "ed25519/ifma.h"

#if defined(__AVX512F__)

#include "ed25519/field52.h"

#define ROTATE(x, n) _mm512_ror_epi64(x, n)
#define XOR3(a, b, c) _mm512_ternarylogic_epi64(a, b, c, 0x96)
#define CHOOSE(a, b, c) _mm512_ternarylogic_epi64(a, b, c, 0xca)
#define MAJORITY(a, b, c) _mm512_ternarylogic_epi64(a, b, c, 0xe8)

CD_INLINE fx_word swap_bytes(fx_word x) {
    const fx_word order =
        _mm512_broadcast_i32x4(_mm_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    return _mm512_shuffle_epi8(x, order);
}

/* One compression in every lane; lanes outside the mask keep their state. */
CD_NOINLINE void compress(fx_word state[8], fx_word w[16], __mmask8 active) {
    fx_word a = state[0], b = state[1], c = state[2], d = state[3];
    fx_word e = state[4], f = state[5], g = state[6], h = state[7];
#pragma GCC unroll 16
    for (int t = 0; t < 80; t++) {
        if (t >= 16) {
            fx_word x = w[(t - 15) & 15], y = w[(t - 2) & 15];
            fx_word sx = XOR3(ROTATE(x, 1), ROTATE(x, 8), fx_shift_right(x, 7));
            fx_word sy = XOR3(ROTATE(y, 19), ROTATE(y, 61), fx_shift_right(y, 6));
            w[t & 15] = fx_add_word(fx_add_word(w[t & 15], w[(t - 7) & 15]), fx_add_word(sx, sy));
        }
        fx_word key = fx_add_word(w[t & 15], fx_splat(CD_SHA512_K[t]));
        fx_word t1 = fx_add_word(
            fx_add_word(h, key),
            fx_add_word(XOR3(ROTATE(e, 14), ROTATE(e, 18), ROTATE(e, 41)), CHOOSE(e, f, g)));
        fx_word t2 =
            fx_add_word(XOR3(ROTATE(a, 28), ROTATE(a, 34), ROTATE(a, 39)), MAJORITY(a, b, c));
        h = g, g = f, f = e, e = fx_add_word(d, t1);
        d = c, c = b, b = a, a = fx_add_word(t1, t2);
    }
    const fx_word added[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++)
        state[i] = _mm512_mask_add_epi64(state[i], active, state[i], added[i]);
}

CD_INLINE fx_word load_two(const uint8_t *low, const uint8_t *high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)low)),
                              _mm256_loadu_si256((const __m256i *)high), 1);
}

/* The one block of eight 32-byte messages, put together in registers. */
CD_INLINE void load_short(fx_word w[16], const cd_signed *const items[8]) {
    static const uint8_t padding[32] = {0x80, [30] = 96 * 8 >> 8, [31] = 96 * 8 & 255};
    for (int lane = 0; lane < 8; lane++) {
        w[lane] = swap_bytes(load_two(items[lane]->signature, items[lane]->public_key));
        w[8 + lane] = swap_bytes(load_two(items[lane]->message, padding));
    }
    fx_transpose(w);
    fx_transpose(w + 8);
}

CD_INLINE void load_block(fx_word w[16], const cd_signed *const items[8], size_t index) {
    uint8_t block[128];
    for (int lane = 0; lane < 8; lane++) {
        cd_challenge_block(block, items[lane], index);
        w[lane] = swap_bytes(_mm512_loadu_si512(block));
        w[8 + lane] = swap_bytes(_mm512_loadu_si512(block + 64));
    }
    fx_transpose(w);
    fx_transpose(w + 8);
}

static void challenge_eight(const cd_signed *const items[8], size_t lanes, uint8_t (*digests)[64]) {
    fx_word state[8], w[16];
    size_t blocks = 0;
    int all_short = 1;
    for (int lane = 0; lane < 8; lane++) {
        size_t need = cd_challenge_blocks(items[lane]);
        blocks = need > blocks ? need : blocks;
        all_short &= items[lane]->message_len == 32;
    }
    for (int i = 0; i < 8; i++) state[i] = fx_splat(CD_SHA512_IV[i]);
    for (size_t b = 0; b < blocks; b++) {
        __mmask8 active = 0;
        for (int lane = 0; lane < 8; lane++)
            active |= (__mmask8)((b < cd_challenge_blocks(items[lane])) << lane);
        if (all_short) {
            load_short(w, items);
        } else {
            load_block(w, items, b);
        }
        compress(state, w, active);
    }
    fx_transpose(state);
    for (size_t lane = 0; lane < lanes; lane++)
        _mm512_storeu_si512(digests[lane], swap_bytes(state[lane]));
}

void cd_challenges_x8(const cd_signed *items, size_t n, uint8_t (*digests)[64]) {
    for (size_t i = 0; i < n; i += 8) {
        const cd_signed *group[8];
        size_t lanes = n - i < 8 ? n - i : 8;
        for (size_t lane = 0; lane < 8; lane++)
            group[lane] = &items[i + (lane < lanes ? lane : lanes - 1)];
        challenge_eight(group, lanes, digests + i);
    }
}

#endif
