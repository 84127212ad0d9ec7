/* The batch equation by Pippenger's bucket method, eight windows of one point at a time.
 *
 * Lane l of a vector works on window l of a group of eight, each with bucket arrays of its own, so
 * no two lanes ever meet in a bucket. The point is broadcast to all lanes and its sign is a blend;
 * digit 0 goes to a bucket 0 that nobody reads, so the loop has no branch. The eight bucket arrays
 * (198 KB) stay in the second-level cache.
 */
#include "ed25519/ifma.h"

#if defined(__AVX512F__)

#include "ed25519/point52.h"

#define HALF_MAX 128

/* 20 words of a px_loose lane, padded to whole cache lines. */
typedef struct {
    CD_ALIGNED uint64_t word[24];
} bucket;

_Static_assert(sizeof(bucket) * 8 * (HALF_MAX + 1) == CD_BUCKET_BYTES,
               "backend.h sizes the buckets");

/* Four words of eight buckets, as four vectors; and back. */
CD_INLINE void transpose_4x8(fx_word out[4], const fx_word in[4]) {
    const fx_word low = _mm512_set_epi64(13, 12, 5, 4, 9, 8, 1, 0);
    const fx_word high = _mm512_set_epi64(15, 14, 7, 6, 11, 10, 3, 2);
    fx_word a = _mm512_unpacklo_epi64(in[0], in[1]), b = _mm512_unpackhi_epi64(in[0], in[1]);
    fx_word c = _mm512_unpacklo_epi64(in[2], in[3]), d = _mm512_unpackhi_epi64(in[2], in[3]);
    out[0] = _mm512_permutex2var_epi64(a, low, c);
    out[1] = _mm512_permutex2var_epi64(b, low, d);
    out[2] = _mm512_permutex2var_epi64(a, high, c);
    out[3] = _mm512_permutex2var_epi64(b, high, d);
}

CD_INLINE void load_buckets(px_loose *r, bucket *const lanes[8]) {
    fx_word *words = (fx_word *)r, quads[4];
    for (int half = 0; half < 2; half++) {
        for (int l = 0; l < 8; l++)
            words[8 * half + l] = _mm512_load_si512(lanes[l]->word + 8 * half);
        fx_transpose(words + 8 * half);
    }
    for (int l = 0; l < 4; l++) {
        __m256i low = _mm256_load_si256((const __m256i *)(lanes[l]->word + 16));
        __m256i high = _mm256_load_si256((const __m256i *)(lanes[l + 4]->word + 16));
        quads[l] = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    }
    transpose_4x8(words + 16, quads);
}

CD_INLINE void store_buckets(const px_loose *r, bucket *const lanes[8]) {
    const fx_word *words = (const fx_word *)r;
    fx_word rows[8], quads[4];
    for (int half = 0; half < 2; half++) {
        for (int l = 0; l < 8; l++) rows[l] = words[8 * half + l];
        fx_transpose(rows);
        for (int l = 0; l < 8; l++) _mm512_store_si512(lanes[l]->word + 8 * half, rows[l]);
    }
    transpose_4x8(quads, words + 16);
    for (int l = 0; l < 4; l++) {
        _mm256_store_si256((__m256i *)(lanes[l]->word + 16), _mm512_castsi512_si256(quads[l]));
        _mm256_store_si256((__m256i *)(lanes[l + 4]->word + 16),
                           _mm512_extracti64x4_epi64(quads[l], 1));
    }
}

CD_INLINE px_niels broadcast(const cd_niels *point) {
    px_niels r;
    r.y_plus_x = fx_constant(&point->y_plus_x);
    r.y_minus_x = fx_constant(&point->y_minus_x);
    r.xy2d = fx_constant(&point->xy2d);
    return r;
}

CD_INLINE uint64_t magnitudes(const int8_t digits[8], __mmask8 *negative) {
    __m128i d = _mm_loadl_epi64((const __m128i *)digits);
    *negative = (__mmask8)_mm_movemask_epi8(d);
    return (uint64_t)_mm_cvtsi128_si64(_mm_abs_epi8(d)); /* -128 becomes 128, unsigned */
}

CD_INLINE void find_buckets(bucket *lanes[8], bucket *buckets, size_t row, uint64_t indices) {
    for (int l = 0; l < 8; l++) lanes[l] = buckets + (size_t)l * row + (indices >> (8 * l) & 255);
}

/* Add points [from, to) into the buckets of eight windows; digits of point i at digits + i *
 * stride. */
CD_NOINLINE void fill_buckets(bucket *buckets, size_t row, const cd_niels *points,
                              const int8_t *digits, size_t stride, size_t from, size_t to) {
    bucket *lanes[8], *next[8];
    __mmask8 negative, unused;
    for (size_t i = from; i < to; i++) {
        find_buckets(lanes, buckets, row, magnitudes(digits + i * stride, &negative));
        find_buckets(next, buckets, row, magnitudes(digits + (i + 1) * stride, &unused));
        for (int l = 0; l < 8; l++) {
            __builtin_prefetch(next[l]->word);
            __builtin_prefetch(next[l]->word + 8);
            __builtin_prefetch(next[l]->word + 16);
        }
        px_loose sum;
        load_buckets(&sum, lanes);
        px_niels point = broadcast(&points[i]);
        px_factors factors = px_add_niels(&sum, &point, negative);
        px_finish_loose(&sum, &factors);
        store_buckets(&sum, lanes);
    }
}

CD_NOINLINE void add_to(px_loose *r, const px_loose *q) {
    px_factors factors = px_add(r, q);
    px_finish_loose(r, &factors);
}

/* Each lane's sum of i times bucket i: running sums from the top. */
static void sum_buckets(px_loose *r, bucket *buckets, size_t row, int half) {
    bucket *lanes[8];
    px_loose running, b;
    const uint64_t ones = 0x0101010101010101;
    find_buckets(lanes, buckets, row, ones * (uint64_t)half);
    load_buckets(&running, lanes);
    *r = running;
    for (int i = half - 1; i >= 1; i--) {
        find_buckets(lanes, buckets, row, ones * (uint64_t)i);
        load_buckets(&b, lanes);
        add_to(&running, &b);
        add_to(r, &running);
    }
}

/* One coordinate of eight points to radix 2^51. */
static void export_coordinate(const fx_tight *from, cd_point *points, size_t offset) {
    CD_ALIGNED uint64_t limbs[5][8];
    for (int k = 0; k < 5; k++) _mm512_store_si512(limbs[k], from->limb[k]);
    for (int l = 0; l < 8; l++) {
        uint64_t lane[5];
        for (int k = 0; k < 5; k++) lane[k] = limbs[k][l];
        fe51_from52((cd_fe *)((uint8_t *)&points[l] + offset), lane);
    }
}

static void export_points(const px_loose *from, cd_point points[8]) {
    fx_tight X = fx_tighten(&from->X), Y = fx_tighten(&from->Y), Z = fx_tighten(&from->Z);
    fx_tight T = fx_tighten_operand(&from->T);
    export_coordinate(&X, points, offsetof(cd_point, X));
    export_coordinate(&Y, points, offsetof(cd_point, Y));
    export_coordinate(&Z, points, offsetof(cd_point, Z));
    export_coordinate(&T, points, offsetof(cd_point, T));
}

/* Digits of every point, `stride` apart; windows past the last are 0. */
static void recode(int8_t *digits, const cd_equation *q, int width, size_t stride) {
    int short_windows = cd_digit_count(126, width), windows = cd_digit_count(253, width);
    size_t count = q->short_count + q->full_count;
    memset(digits, 0, (count + 1) * stride); /* one more row for the prefetch */
    for (size_t i = 0; i < count; i++) {
        int carry = 0, is_short = i < q->short_count;
        int8_t *row = digits + i * stride;
        if (is_short) {
            const uint64_t *words = q->coefficients[i].word;
            for (int w = 0; w < short_windows; w++)
                row[w] = (int8_t)cd_next_digit(words, 2, w, width, &carry);
        } else {
            const uint64_t *words = q->scalars[i - q->short_count].word;
            for (int w = 0; w < windows; w++)
                row[w] = (int8_t)cd_next_digit(words, 4, w, width, &carry);
        }
        CD_VERIFY_CHECK(carry == 0);
    }
}

int cd_equation_holds_x8(const cd_equation *q, cd_workspace *workspace) {
    static const size_t limits[3] = {192, 600, 600}; /* measured crossings: width 5, 6, then 8 */
    size_t count = q->short_count + q->full_count;
    int width = cd_window_width(count, limits), half = 1 << (width - 1);
    int short_windows = cd_digit_count(126, width), windows = cd_digit_count(253, width);
    size_t row = (size_t)half + 1, stride = (size_t)(windows + 7) / 8 * 8;
    bucket *buckets = (bucket *)workspace->buckets;
    cd_point sums[CD_DIGITS_MAX], total;
    CD_VERIFY_CHECK(count <= CD_POINTS_MAX && stride <= CD_DIGITS_MAX);

    recode(workspace->digits, q, width, stride);
    for (int w = 0; w < windows; w += 8) {
        px_loose lanes;
        memset(buckets, 0, sizeof(bucket) * 8 * row);
        for (size_t b = 0; b < 8 * row; b++)
            buckets[b].word[5] = buckets[b].word[10] = 1; /* Y = Z = 1 */
        fill_buckets(buckets, row, q->points, workspace->digits + w, stride,
                     w < short_windows ? 0 : q->short_count, count);
        sum_buckets(&lanes, buckets, row, half);
        export_points(&lanes, &sums[w]);
    }
    cd_combine_windows(&total, sums, windows, width);
    return p51_is_small_order(&total);
}

#endif
