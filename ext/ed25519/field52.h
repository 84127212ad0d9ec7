/* Eight integers modulo p = 2^255 - 19 at once, one a 64-bit lane, in five limbs of radix 2^52, for
 * the AVX512-IFMA multipliers, which take the low 52 bits of each operand and give the low or high
 * 52 bits of a product.
 *
 * Three kinds of element, told apart by type so that the compiler checks their use:
 * - fx_tight: limbs 0..3 < 2^52, limb 4 < FX_TOP; fit for everything.
 * - fx_operand: as tight, but limbs 0..3 may carry bits above 52 whose value has already been added
 *   to the next limb; fit as a factor only, since the hardware drops those bits.
 * - fx_loose: limbs < FX_LOOSE, not carried; fit as a term of a sum or difference only.
 *
 * The bound that carries the rest: reducing multiplies column 9 of a product by 608 (2^260 = 32 *
 * 19 mod p) and keeps only the low half, so column 9 must stay below 2^52 / 608. It is the high
 * half of a4 * b4 and a carry, hence the obligation a4 * b4 < 2^94.75. FX_TOP = 2^47 + 2^13 keeps
 * it below 2^94.01. A product's columns hold at most 9 halves below 2^52, plus two of the
 * reduction: below 2^55.5.
 */
#ifndef CD_FIELD52_H
#define CD_FIELD52_H

#include <immintrin.h>

#include "ed25519/field51.h"

typedef __m512i fx_word;

typedef struct {
    fx_word limb[5];
} fx_tight;

typedef struct {
    fx_word limb[5];
} fx_operand;

typedef struct {
    fx_word limb[5];
} fx_loose;

#define FX_MASK ((INT64_C(1) << 52) - 1)
#define FX_TOP_MASK ((INT64_C(1) << 47) - 1)
#define FX_TOP ((UINT64_C(1) << 47) + (UINT64_C(1) << 13))
#define FX_LOOSE ((UINT64_C(1) << 57) - (UINT64_C(1) << 10))

static const cd_fe FE52_D = {
    {0xb4dca135978a3, 0x4d4141d8ab75e, 0x779e89800700a, 0xfe738cc740797, 0x52036cee2b6f}};
static const cd_fe FE52_2D = {
    {0x69b9426b2f159, 0x9a8283b156ebd, 0xef3d13000e014, 0xfce7198e80f2e, 0x2406d9dc56df}};
static const cd_fe FE52_SQRT_M1 = {
    {0xe1b274a0ea0b0, 0x06ad2fe478c4e, 0xdfbd7a72f4318, 0xdf0b2b4d00993, 0x2b8324804fc1}};

#define fx_splat(x) _mm512_set1_epi64((long long)(x))
#define fx_zero() _mm512_setzero_si512()
#define fx_add_word(a, b) _mm512_add_epi64(a, b)
#define fx_sub_word(a, b) _mm512_sub_epi64(a, b)
#define fx_and(a, b) _mm512_and_si512(a, b)
#define fx_or(a, b) _mm512_or_si512(a, b)
#define fx_shift_right(a, n) _mm512_srli_epi64(a, n)
#define fx_shift_left(a, n) _mm512_slli_epi64(a, n)
#define fx_mul_low(sum, a, b) _mm512_madd52lo_epu64(sum, a, b)
#define fx_mul_high(sum, a, b) _mm512_madd52hi_epu64(sum, a, b)

/* A tight element is also an operand and a loose one; the layouts are the same. */
#define FX_OPERAND(x) ((const fx_operand *)(x))
#define FX_LOOSE_OF(x) ((const fx_loose *)(x))

CD_INLINE int fx_below(const fx_word *word, uint64_t bound) {
    return _mm512_cmplt_epu64_mask(*word, fx_splat(bound)) == 0xff;
}

CD_INLINE void fx_check_operand(const fx_operand *a) {
    CD_VERIFY_CHECK(fx_below(&a->limb[4], FX_TOP));
    (void)a;
}

CD_HOT void fx_check_loose(const fx_loose *a) {
    for (int i = 0; i < 5; i++) CD_VERIFY_CHECK(fx_below(&a->limb[i], FX_LOOSE));
    (void)a;
}

/* Fold bits 255 and above into limb 0, then carry upwards. Words < 2^63, word 4 < 2^59. */
CD_HOT fx_operand fx_fold(const fx_word w[5]) {
    fx_operand r;
    fx_word excess = fx_shift_right(w[4], 47);
    r.limb[0] = fx_mul_low(w[0], excess, fx_splat(19));
    r.limb[1] = fx_add_word(w[1], fx_shift_right(r.limb[0], 52));
    r.limb[2] = fx_add_word(w[2], fx_shift_right(r.limb[1], 52));
    r.limb[3] = fx_add_word(w[3], fx_shift_right(r.limb[2], 52));
    r.limb[4] = fx_add_word(fx_and(w[4], fx_splat(FX_TOP_MASK)), fx_shift_right(r.limb[3], 52));
    fx_check_operand(&r);
    return r;
}

CD_INLINE fx_tight fx_tighten_operand(const fx_operand *a) {
    fx_tight r;
    for (int i = 0; i < 4; i++) r.limb[i] = fx_and(a->limb[i], fx_splat(FX_MASK));
    r.limb[4] = a->limb[4];
    return r;
}

CD_HOT fx_tight fx_tighten(const fx_loose *a) {
    fx_check_loose(a);
    fx_operand r = fx_fold(a->limb);
    return fx_tighten_operand(&r);
}

/* Bring columns 5 .. 9 of a product down: column k + 5 weighs 2^260 = 608 mod p times column k. */
CD_HOT fx_loose fx_reduce(fx_word t[10]) {
    fx_loose r;
    const fx_word fold = fx_splat(608);
    for (int k = 5; k < 9; k++) t[k + 1] = fx_add_word(t[k + 1], fx_shift_right(t[k], 52));
    CD_VERIFY_CHECK(fx_below(&t[9], (UINT64_C(1) << 52) / 608));
    for (int k = 0; k < 5; k++) {
        t[k] = fx_mul_low(t[k], t[k + 5], fold);
        if (k < 4) t[k + 1] = fx_mul_high(t[k + 1], t[k + 5], fold);
    }
    for (int k = 0; k < 5; k++) r.limb[k] = t[k];
    fx_check_loose(&r);
    return r;
}

CD_HOT fx_loose fx_mul_loose(const fx_operand *x, const fx_operand *y) {
    const fx_word *a = x->limb, *b = y->limb;
    fx_word low[10], high[10]; /* two accumulators a column halve the dependency chain */
    fx_check_operand(x);
    fx_check_operand(y);
    for (int k = 0; k < 10; k++) low[k] = high[k] = fx_zero();
    for (int i = 0; i < 5; i++) {
        for (int j = 0; j < 5; j++) {
            low[i + j] = fx_mul_low(low[i + j], a[i], b[j]);
            high[i + j + 1] = fx_mul_high(high[i + j + 1], a[i], b[j]);
        }
    }
    for (int k = 1; k < 9; k++) low[k] = fx_add_word(low[k], high[k]);
    low[9] = high[9];
    return fx_reduce(low);
}

CD_HOT fx_loose fx_square_loose(const fx_operand *x) {
    const fx_word *a = x->limb;
    fx_word t[10];
    fx_check_operand(x);
    for (int k = 0; k < 10; k++) t[k] = fx_zero();
    for (int i = 0; i < 5; i++) {
        for (int j = i + 1; j < 5; j++) {
            t[i + j] = fx_mul_low(t[i + j], a[i], a[j]);
            t[i + j + 1] = fx_mul_high(t[i + j + 1], a[i], a[j]);
        }
    }
    for (int k = 1; k < 9; k++) t[k] = fx_add_word(t[k], t[k]);
    for (int i = 0; i < 5; i++) {
        t[2 * i] = fx_mul_low(t[2 * i], a[i], a[i]);
        t[2 * i + 1] = fx_mul_high(t[2 * i + 1], a[i], a[i]);
    }
    return fx_reduce(t);
}

CD_INLINE fx_operand fx_mul_operand(const fx_operand *x, const fx_operand *y) {
    fx_loose r = fx_mul_loose(x, y);
    return fx_fold(r.limb);
}

CD_INLINE fx_tight fx_mul(const fx_operand *x, const fx_operand *y) {
    fx_loose r = fx_mul_loose(x, y);
    return fx_tighten(&r);
}

CD_INLINE fx_operand fx_square_operand(const fx_operand *x) {
    fx_loose r = fx_square_loose(x);
    return fx_fold(r.limb);
}

CD_INLINE fx_tight fx_square(const fx_operand *x) {
    fx_loose r = fx_square_loose(x);
    return fx_tighten(&r);
}

/* Sums and differences of loose terms, not yet carried; the result is loose if the terms are small
 * enough (a product's limbs are below 2^55.5, so three of them are). */
CD_HOT fx_loose fx_sum(const fx_loose *a, const fx_loose *b) {
    fx_loose r;
    for (int i = 0; i < 5; i++) r.limb[i] = fx_add_word(a->limb[i], b->limb[i]);
    fx_check_loose(&r);
    return r;
}

CD_HOT fx_operand fx_add(const fx_loose *a, const fx_loose *b) {
    fx_word w[5];
    for (int i = 0; i < 5; i++) w[i] = fx_add_word(a->limb[i], b->limb[i]);
    return fx_fold(w);
}

/* a - b + 2^10 p, whose limbs exceed every loose limb. */
CD_HOT fx_operand fx_sub(const fx_loose *a, const fx_loose *b) {
    const fx_word bias0 = fx_splat((INT64_C(1) << 62) - (INT64_C(19) << 10));
    const fx_word bias = fx_splat((INT64_C(1) << 62) - (INT64_C(1) << 10));
    const fx_word bias4 = fx_splat((INT64_C(1) << 57) - (INT64_C(1) << 10));
    fx_word w[5];
    fx_check_loose(a);
    fx_check_loose(b);
    for (int i = 0; i < 5; i++)
        w[i] = fx_sub_word(fx_add_word(a->limb[i], i == 0   ? bias0
                                                   : i == 4 ? bias4
                                                            : bias),
                           b->limb[i]);
    return fx_fold(w);
}

CD_INLINE fx_tight fx_constant(const cd_fe *a) {
    fx_tight r;
    for (int i = 0; i < 5; i++) r.limb[i] = fx_splat(a->limb[i]);
    return r;
}

CD_INLINE fx_tight fx_small(long long value) {
    fx_tight r;
    r.limb[0] = fx_splat(value);
    for (int i = 1; i < 5; i++) r.limb[i] = fx_zero();
    return r;
}

/* The representative in [0, p). */
CD_HOT fx_tight fx_canonical(const fx_tight *a) {
    fx_tight r = fx_tighten(FX_LOOSE_OF(a)), t;
    r = fx_tighten(FX_LOOSE_OF(&r)); /* below 2^255 */
    t = r;
    t.limb[0] = fx_add_word(t.limb[0], fx_splat(19));
    for (int i = 0; i < 4; i++) {
        t.limb[i + 1] = fx_add_word(t.limb[i + 1], fx_shift_right(t.limb[i], 52));
        t.limb[i] = fx_and(t.limb[i], fx_splat(FX_MASK));
    }
    __mmask8 at_least_p = _mm512_cmpneq_epi64_mask(fx_shift_right(t.limb[4], 47), fx_zero());
    t.limb[4] = fx_and(t.limb[4], fx_splat(FX_TOP_MASK));
    for (int i = 0; i < 5; i++) r.limb[i] = _mm512_mask_mov_epi64(r.limb[i], at_least_p, t.limb[i]);
    return r;
}

/* A bit per lane that is 0 mod p. */
CD_INLINE __mmask8 fx_is_zero(const fx_operand *a) {
    fx_tight t = fx_tighten_operand(a);
    t = fx_canonical(&t);
    fx_word any = fx_or(fx_or(fx_or(t.limb[0], t.limb[1]), fx_or(t.limb[2], t.limb[3])), t.limb[4]);
    return _mm512_cmpeq_epi64_mask(any, fx_zero());
}

/* Lanes of a where the mask is 0, of b where it is 1. */
CD_HOT fx_operand fx_select(__mmask8 mask, const fx_operand *a, const fx_operand *b) {
    fx_operand r;
    for (int i = 0; i < 5; i++) r.limb[i] = _mm512_mask_mov_epi64(a->limb[i], mask, b->limb[i]);
    return r;
}

/* Transpose eight rows of eight words. */
CD_HOT void fx_transpose(fx_word r[8]) {
    fx_word t[8], u[8];
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm512_unpacklo_epi64(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi64(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        for (int odd = 0; odd < 2; odd++) {
            u[4 * i + odd] = _mm512_shuffle_i64x2(t[4 * i + odd], t[4 * i + 2 + odd], 0x88);
            u[4 * i + 2 + odd] = _mm512_shuffle_i64x2(t[4 * i + odd], t[4 * i + 2 + odd], 0xdd);
        }
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i64x2(u[i], u[4 + i], 0x88);
        r[4 + i] = _mm512_shuffle_i64x2(u[i], u[4 + i], 0xdd);
    }
}

/* From radix 2^51 and back. */
CD_INLINE void fe52_from51(cd_fe *r, const cd_fe *a) {
    uint64_t w[4];
    fe51_to_words(w, a);
    r->limb[0] = w[0] & FX_MASK;
    r->limb[1] = (w[0] >> 52 | w[1] << 12) & FX_MASK;
    r->limb[2] = (w[1] >> 40 | w[2] << 24) & FX_MASK;
    r->limb[3] = (w[2] >> 28 | w[3] << 36) & FX_MASK;
    r->limb[4] = w[3] >> 16;
}

/* Limbs of a tight element; the result is reduced. */
CD_INLINE void fe51_from52(cd_fe *r, const uint64_t limb[5]) {
    r->limb[0] = limb[0] & FE51_MASK;
    r->limb[1] = (limb[0] >> 51 | limb[1] << 1) & FE51_MASK;
    r->limb[2] = (limb[1] >> 50 | limb[2] << 2) & FE51_MASK;
    r->limb[3] = (limb[2] >> 49 | limb[3] << 3) & FE51_MASK;
    r->limb[4] = (limb[3] >> 48) + (limb[4] << 4);
    fe51_carry(r);
}

#endif
