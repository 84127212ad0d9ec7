/* The AVX2 kernel: 8 lanes, one in each 32-bit element. */
#if defined(__AVX2__)

#include <immintrin.h>

#include "base/base.h"

typedef __m256i word;

CD_INLINE word word_set(uint32_t x) { return _mm256_set1_epi32((int)x); }
CD_INLINE word word_add(word x, word y) { return _mm256_add_epi32(x, y); }
CD_INLINE word word_xor(word x, word y) { return _mm256_xor_si256(x, y); }

/* AVX2 cannot rotate: whole bytes move by a byte shuffle, other counts by two shifts. */
CD_INLINE word word_rotr16(word x) {
    const __m128i order = _mm_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    return _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(order));
}
CD_INLINE word word_rotr8(word x) {
    const __m128i order = _mm_setr_epi8(1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12);
    return _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(order));
}
CD_INLINE word word_rotr12(word x) {
    return _mm256_or_si256(_mm256_srli_epi32(x, 12), _mm256_slli_epi32(x, 20));
}
CD_INLINE word word_rotr7(word x) {
    return _mm256_or_si256(_mm256_srli_epi32(x, 7), _mm256_slli_epi32(x, 25));
}

#include "digest/compress.h"

/* Transpose 4 x 4 words within each half of four vectors. */
CD_INLINE void transpose_halves(word r[4]) {
    word a = _mm256_unpacklo_epi32(r[0], r[1]), b = _mm256_unpackhi_epi32(r[0], r[1]);
    word c = _mm256_unpacklo_epi32(r[2], r[3]), d = _mm256_unpackhi_epi32(r[2], r[3]);
    r[0] = _mm256_unpacklo_epi64(a, c);
    r[1] = _mm256_unpackhi_epi64(a, c);
    r[2] = _mm256_unpacklo_epi64(b, d);
    r[3] = _mm256_unpackhi_epi64(b, d);
}

/* The 16 bytes at `at` of two lanes, one in each half. */
CD_INLINE word load_halves(const uint8_t *const lane[8], int first, size_t at) {
    __m128i low = _mm_loadu_si128((const __m128i *)(lane[first] + at));
    __m128i high = _mm_loadu_si128((const __m128i *)(lane[first + 4] + at));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

/* Words 0..15 of the blocks at `at` of 8 lanes: m[w] holds word w of lane 0, 1, ..., 7. */
CD_INLINE void load_blocks(word m[16], const uint8_t *const lane[8], size_t at) {
    for (int w = 0; w < 16; w += 4) {
        word r[4];
        for (int i = 0; i < 4; i++) r[i] = load_halves(lane, i, at + 4 * (size_t)w);
        transpose_halves(r);
        for (int i = 0; i < 4; i++) m[w + i] = r[i];
    }
}

/* The same for last blocks: a short one is read from a padded copy. */
CD_INLINE void load_last_blocks(word m[16], const cd_lanes *lanes, size_t at) {
    uint8_t padded[8][CD_BLOCK_BYTES];
    const uint8_t *lane[8];
    for (int i = 0; i < 8; i++) {
        lane[i] = lanes->input[i] + at;
        if (lanes->last_size[i] == CD_BLOCK_BYTES) continue;
        cd_pad_block(padded[i], lane[i], lanes->last_size[i]);
        lane[i] = padded[i];
    }
    load_blocks(m, lane, 0);
}

/* Half k of cv[i] and of cv[4 + i], once transposed, is the digest of lane 4k + i. */
CD_INLINE void store_digests(word cv[8], uint8_t *const output[8]) {
    transpose_halves(cv);
    transpose_halves(cv + 4);
    for (int i = 0; i < 4; i++) {
        word low = _mm256_permute2x128_si256(cv[i], cv[4 + i], 0x20);
        word high = _mm256_permute2x128_si256(cv[i], cv[4 + i], 0x31);
        _mm256_storeu_si256((__m256i *)output[i], low);
        _mm256_storeu_si256((__m256i *)output[4 + i], high);
    }
}

void cd_kernel_avx2_run(const cd_lanes *lanes) {
    const word counter_low = _mm256_loadu_si256((const word *)lanes->counter_low);
    const word counter_high = _mm256_loadu_si256((const word *)lanes->counter_high);
    word flags = word_set(lanes->flags | lanes->first_flags);
    word size = word_set(CD_BLOCK_BYTES);
    word cv[8], m[16];
    for (int i = 0; i < 8; i++) cv[i] = word_set(lanes->key[i]);
    for (uint32_t block = 0; block < lanes->blocks; block++) {
        const size_t at = (size_t)block * CD_BLOCK_BYTES;
        if (block + 1 < lanes->blocks) {
            load_blocks(m, lanes->input, at);
        } else {
            size = _mm256_loadu_si256((const word *)lanes->last_size);
            flags = _mm256_or_si256(flags, _mm256_loadu_si256((const word *)lanes->last_flags));
            load_last_blocks(m, lanes, at);
        }
        compress(cv, m, counter_low, counter_high, size, flags);
        flags = word_set(lanes->flags);
    }
    store_digests(cv, lanes->output);
}

#else
typedef int cd_kernel_avx2_is_empty;
#endif
