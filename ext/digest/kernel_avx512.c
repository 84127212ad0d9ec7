/* The AVX-512 kernel: 16 lanes, one in each 32-bit element.
 *
 * Bound: 784 vector operations a block in the rounds at two a cycle, so what is left to win is in
 * getting the message words in and the digests out.
 */
#if defined(__AVX512F__) && defined(__AVX512BW__)

#include <immintrin.h>

#include "base/base.h"

typedef __m512i word;

CD_INLINE word word_set(uint32_t x) { return _mm512_set1_epi32((int)x); }
CD_INLINE word word_add(word x, word y) { return _mm512_add_epi32(x, y); }
CD_INLINE word word_xor(word x, word y) { return _mm512_xor_si512(x, y); }
CD_INLINE word word_rotr16(word x) { return _mm512_ror_epi32(x, 16); }
CD_INLINE word word_rotr12(word x) { return _mm512_ror_epi32(x, 12); }
CD_INLINE word word_rotr8(word x) { return _mm512_ror_epi32(x, 8); }
CD_INLINE word word_rotr7(word x) { return _mm512_ror_epi32(x, 7); }

#include "digest/compress.h"

/* Transpose 4 x 4 words within each quarter of four vectors. */
CD_INLINE void transpose_quarters(word r[4]) {
    word a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpackhi_epi32(r[0], r[1]);
    word c = _mm512_unpacklo_epi32(r[2], r[3]), d = _mm512_unpackhi_epi32(r[2], r[3]);
    r[0] = _mm512_unpacklo_epi64(a, c);
    r[1] = _mm512_unpackhi_epi64(a, c);
    r[2] = _mm512_unpacklo_epi64(b, d);
    r[3] = _mm512_unpackhi_epi64(b, d);
}

/* The 16 bytes at `at` of four lanes, one in each quarter. Inserting from memory runs on either
 * vector port; a full register transpose would queue on the one port that shuffles. */
CD_INLINE word load_quarters(const uint8_t *const lane[16], int first, size_t at) {
    word x = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(lane[first] + at)));
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(lane[first + 4] + at)), 1);
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(lane[first + 8] + at)), 2);
    return _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(lane[first + 12] + at)), 3);
}

/* Words 0..15 of the blocks at `at` of 16 lanes: m[w] holds word w of lane 0, 1, ..., 15. */
CD_INLINE void load_blocks(word m[16], const uint8_t *const lane[16], size_t at) {
    for (int w = 0; w < 16; w += 4) {
        word r[4];
        for (int i = 0; i < 4; i++) r[i] = load_quarters(lane, i, at + 4 * (size_t)w);
        transpose_quarters(r);
        for (int i = 0; i < 4; i++) m[w + i] = r[i];
    }
}

/* The same for last blocks, some of them short: a masked load reads only a lane's own bytes. */
CD_INLINE void load_short_blocks(word m[16], const cd_lanes *lanes, size_t at) {
    word padded[16];
    const uint8_t *lane[16];
    for (int i = 0; i < 16; i++) {
        uint32_t size = lanes->last_size[i];
        __mmask64 mask = size == CD_BLOCK_BYTES ? ~0ull : (1ull << size) - 1;
        padded[i] = _mm512_maskz_loadu_epi8(mask, lanes->input[i] + at);
        lane[i] = (const uint8_t *)&padded[i];
    }
    __asm__("" : "+m"(padded)); /* else the compiler extracts quarters instead of loading them */
    load_blocks(m, lane, 0);
}

/* Store the digests of two lanes. */
CD_INLINE void store_two(uint8_t *first, uint8_t *second, word digests) {
    _mm256_storeu_si256((__m256i *)first, _mm512_castsi512_si256(digests));
    _mm256_storeu_si256((__m256i *)second, _mm512_extracti64x4_epi64(digests, 1));
}

/* Quarter k of cv[i] and of cv[4 + i], once transposed, is the digest of lane 4k + i. */
CD_INLINE void store_digests(word cv[8], uint8_t *const output[16]) {
    transpose_quarters(cv);
    transpose_quarters(cv + 4);
    const word first_two = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
    const word last_two = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
    for (int i = 0; i < 4; i++) {
        word low = _mm512_permutex2var_epi64(cv[i], first_two, cv[4 + i]);
        word high = _mm512_permutex2var_epi64(cv[i], last_two, cv[4 + i]);
        store_two(output[i], output[4 + i], low);
        store_two(output[8 + i], output[12 + i], high);
    }
}

void cd_kernel_avx512_run(const cd_lanes *lanes) {
    const word counter_low = _mm512_loadu_si512(lanes->counter_low);
    const word counter_high = _mm512_loadu_si512(lanes->counter_high);
    const word whole = word_set(CD_BLOCK_BYTES);
    word flags = word_set(lanes->flags | lanes->first_flags);
    word size = whole;
    word cv[8], m[16];
    for (int i = 0; i < 8; i++) cv[i] = word_set(lanes->key[i]);
    for (uint32_t block = 0; block < lanes->blocks; block++) {
        const size_t at = (size_t)block * CD_BLOCK_BYTES;
        if (block + 1 == lanes->blocks) {
            size = _mm512_loadu_si512(lanes->last_size);
            flags = _mm512_or_si512(flags, _mm512_loadu_si512(lanes->last_flags));
        }
        if (_mm512_cmpneq_epi32_mask(size, whole) == 0)
            load_blocks(m, lanes->input, at);
        else
            load_short_blocks(m, lanes, at);
        compress(cv, m, counter_low, counter_high, size, flags);
        flags = word_set(lanes->flags);
    }
    store_digests(cv, lanes->output);
}

#else
typedef int cd_kernel_avx512_is_empty;
#endif
