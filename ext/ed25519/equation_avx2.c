/* The batch equation with the four coordinates of a point in the four lanes, so that an addition
 * to a bucket is two four-lane multiplications. */
#if defined(__AVX2__)

#include "ed25519/avx2.h"
#include "ed25519/field25.h"

/* Four elements whose limbs lie in pairs: limb 2k in the lower and limb 2k + 1 in the upper half of
 * a lane of word[k]. Limbs stay below 2^32, so halves are added apart. A bucket holds X, Y, T, Z
 * (tight), a point y - x, y + x, 2dxy, 2. */
typedef struct {
    fy_word word[5];
} quad;

_Static_assert(sizeof(quad) == CD_PACKED_BYTES, "a point has its place in the workspace");

#define PAIR(even, odd) ((int64_t)((uint64_t)(odd) << 32 | (uint64_t)(even)))
/* Limbs 2k and 2k + 1 of 2 p, in the lanes whose flag is 1. */
#define TWICE_P(k, x, y, t, z)                                                             \
    _mm256_set_epi64x((z) * TWICE_P_PAIR(k), (t) * TWICE_P_PAIR(k), (y) * TWICE_P_PAIR(k), \
                      (x) * TWICE_P_PAIR(k))
#define TWICE_P_PAIR(k) PAIR((UINT64_C(1) << 27) - ((k) ? 2 : 38), (UINT64_C(1) << 26) - 2)
#define LANES(v, a, b, c, d) _mm256_permute4x64_epi64(v, (a) | (b) << 2 | (c) << 4 | (d) << 6)
#define add_halves(a, b) _mm256_add_epi32(a, b)

/* 1, -1 or 0 for both halves of each lane, a factor for _mm256_sign_epi32. */
CD_INLINE fy_word signs(int x, int y, int t, int z) {
    return _mm256_set_epi32(z, z, t, t, y, y, x, x);
}

/* The bits above an even limb are those of the odd one. */
CD_INLINE void unpack(fy_factor *r, const quad *a) {
    for (int k = 0; k < 5; k++) {
        r->limb[2 * k] = a->word[k];
        r->limb[2 * k + 1] = fy_shift_right(a->word[k], 32);
    }
}

CD_INLINE void pack(quad *r, const fy_tight *a) {
    for (int k = 0; k < 5; k++)
        r->word[k] = fy_or(a->limb[2 * k], fy_shift_left(a->limb[2 * k + 1], 32));
}

/* What turns a point into its negative: y - x and y + x change places, 2dxy its sign. */
typedef struct {
    fy_word order, sign, bias0, bias;
} negation;

CD_INLINE void negations(negation r[2]) {
    r[0].order = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    r[0].sign = signs(1, 1, 1, 1);
    r[0].bias0 = r[0].bias = fy_zero();
    r[1].order = _mm256_set_epi32(7, 6, 5, 4, 1, 0, 3, 2);
    r[1].sign = signs(1, 1, -1, 1);
    r[1].bias0 = TWICE_P(0, 0, 0, 1, 0);
    r[1].bias = TWICE_P(1, 0, 0, 1, 0);
}

/* bucket += point, or -= by the negation; the formulas are those of p51_add_niels. */
CD_NOINLINE void add_point(quad *bucket, const quad *point, const negation *n) {
    quad s;
    fy_factor x, y;
    fy_tight product;
    for (int k = 0; k < 5; k++) {
        fy_word v = _mm256_permutevar8x32_epi32(point->word[k], n->order);
        s.word[k] = add_halves(_mm256_sign_epi32(v, n->sign), k ? n->bias : n->bias0);
    }
    unpack(&y, &s);
    for (int k = 0; k < 5; k++) { /* Y - X, Y + X, T, Z */
        fy_word v = bucket->word[k], yytz = LANES(v, 1, 1, 2, 3);
        fy_word xx = _mm256_sign_epi32(LANES(v, 0, 0, 0, 0), signs(-1, 1, 0, 0));
        s.word[k] = add_halves(add_halves(yytz, TWICE_P(k, 1, 0, 0, 0)), xx);
    }
    unpack(&x, &s);
    fy_mul(&product, &x, &y); /* A, B, C, D */
    pack(&s, &product);
    quad first, second;
    for (int k = 0; k < 5; k++) { /* E = B - A, H = B + A, F = D - C, G = D + C */
        fy_word v = s.word[k], bbdd = LANES(v, 1, 1, 3, 3);
        fy_word aacc = _mm256_sign_epi32(LANES(v, 0, 0, 2, 2), signs(-1, 1, -1, 1));
        fy_word ehfg = add_halves(add_halves(bbdd, TWICE_P(k, 1, 0, 1, 0)), aacc);
        first.word[k] = LANES(ehfg, 0, 3, 0, 2);
        second.word[k] = LANES(ehfg, 2, 1, 1, 3);
    }
    unpack(&x, &first);
    unpack(&y, &second);
    fy_mul(&product, &x, &y); /* E F, G H, E H, F G */
    pack(bucket, &product);
}

/* Limbs of radix 2^51, reduced, to a pair of limbs. */
CD_INLINE int64_t split(uint64_t limb) { return PAIR(limb & ((1 << 26) - 1), limb >> 26); }

static void load_point(quad *r, const cd_niels *p) {
    for (int k = 0; k < 5; k++)
        r->word[k] = _mm256_set_epi64x(k ? 0 : 2, split(p->xy2d.limb[k]),
                                       split(p->y_plus_x.limb[k]), split(p->y_minus_x.limb[k]));
}

/* Tight limbs give limbs below 2^51 + 2^42: more than reduced, yet within what additions take. */
static void store_point(cd_point *r, const quad *a) {
    const fy_word mask = fy_splat(UINT32_MAX);
    CD_ALIGNED uint64_t limbs[5][4];
    for (int k = 0; k < 5; k++) {
        fy_word even = fy_and(a->word[k], mask), odd = fy_shift_right(a->word[k], 32);
        _mm256_store_si256((__m256i *)limbs[k], fy_add_word(even, fy_shift_left(odd, 26)));
    }
    for (int k = 0; k < 5; k++) {
        r->X.limb[k] = limbs[k][0];
        r->Y.limb[k] = limbs[k][1];
        r->T.limb[k] = limbs[k][2];
        r->Z.limb[k] = limbs[k][3];
    }
}

static void window_sum(cd_point *sum, const cd_equation *q, cd_workspace *workspace, int window,
                       size_t first, int half) {
    quad *buckets = (quad *)workspace->buckets;
    cd_point *unpacked = (cd_point *)(buckets + half + 1);
    const quad *points = (const quad *)workspace->packed;
    int8_t (*digits)[CD_DIGITS_MAX] = (void *)workspace->digits;
    negation by_sign[2];
    negations(by_sign);
    for (int b = 0; b <= half; b++) {
        for (int k = 0; k < 5; k++) buckets[b].word[k] = fy_zero();
        buckets[b].word[0] = _mm256_set_epi64x(1, 0, 1, 0);
    }
    for (size_t i = first; i < q->short_count + q->full_count; i++) {
        int digit = digits[i][window];
        if (digit) add_point(&buckets[digit < 0 ? -digit : digit], &points[i], &by_sign[digit < 0]);
    }
    for (int b = 1; b <= half; b++) store_point(&unpacked[b], &buckets[b]);
    cd_sum_buckets(sum, unpacked, half);
}

int cd_equation_holds_x4(const cd_equation *equation, cd_workspace *workspace) {
    /* measured crossings for widths 5 | 6 | 7 | 8 */
    static const size_t limits[3] = {320, 750, 1800};
    quad *points = (quad *)workspace->packed;
    for (size_t i = 0; i < equation->short_count + equation->full_count; i++)
        load_point(&points[i], &equation->points[i]);
    return cd_windows_hold(equation, workspace, limits, window_sum);
}

const cd_backend CD_BACKEND_AVX2 = {
    .name = "avx2",
    .batch_min = 12,
    .part_min = 32,
    .challenges = cd_challenges_x4,
    .decode = cd_decode_x4,
    .equation_holds = cd_equation_holds_x4,
    .check_each = cd_portable_check_each,
    .base_point = cd_portable_base_point,
};

#endif
