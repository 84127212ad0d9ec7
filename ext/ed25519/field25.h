/* Four integers modulo p = 2^255 - 19 at once, one a 64-bit lane, in ten limbs of 26 and 25 bits by
 * turns (radix 2^25.5: limb i weighs 2^ceil(25.5 i)), for AVX2, whose multiplier takes the low 32
 * bits of each lane to 64.
 *
 * Three kinds of element, told apart by type so that the compiler checks their use:
 * - fy_tight: even limbs < FY_TIGHT_EVEN, odd ones < FY_TIGHT_ODD; fit for everything.
 * - fy_loose: a sum or difference of two tight ones, not carried; limbs < FY_LOOSE_EVEN and
 *   < FY_LOOSE_ODD; fit as a factor and to be carried.
 * - fy_factor: as loose in bits 0 .. 31 of each lane, with anything above them, which the hardware
 *   drops; fit as a factor only.
 *
 * What bounds a loose limb is the multiplier: a product that wraps past 2^255 is multiplied by 19,
 * or by 38 if both limbs are odd (their weights' exponents were both rounded up), and a limb takes
 * that factor before its multiplication. So 19 times an even limb and 38 times an odd one must fit
 * in 32 bits. Then a column sums to less than 2^62.5, and carrying, which goes round once and two
 * limbs further, leaves limbs 1 and 6 the only ones above their 25 or 26 bits.
 */
#ifndef CD_FIELD25_H
#define CD_FIELD25_H

#include <immintrin.h>

#include "ed25519/field51.h"

typedef __m256i fy_word;

typedef struct {
    fy_word limb[10];
} fy_tight;

typedef struct {
    fy_word limb[10];
} fy_loose;

typedef struct {
    fy_word limb[10];
} fy_factor;

/* Five limbs of radix 2^51, as the portable code has them: "reduced" in the sense of field51.h. */
typedef struct {
    fy_word limb[5];
} fy_packed;

#define FY_TIGHT_EVEN ((INT64_C(1) << 26) + (INT64_C(1) << 12))
#define FY_TIGHT_ODD ((INT64_C(1) << 25) + (INT64_C(1) << 16))
#define FY_LOOSE_EVEN (UINT32_MAX / 19)
#define FY_LOOSE_ODD (UINT32_MAX / 38)

#define fy_splat(x) _mm256_set1_epi64x((long long)(x))
#define fy_zero() _mm256_setzero_si256()
#define fy_add_word(a, b) _mm256_add_epi64(a, b)
#define fy_sub_word(a, b) _mm256_sub_epi64(a, b)
#define fy_mul_word(a, b) _mm256_mul_epu32(a, b)
#define fy_and(a, b) _mm256_and_si256(a, b)
#define fy_or(a, b) _mm256_or_si256(a, b)
#define fy_shift_right(a, n) _mm256_srli_epi64(a, n)
#define fy_shift_left(a, n) _mm256_slli_epi64(a, n)

/* A tight element is also a loose one, and either is a factor; the layouts are the same. */
#define FY_LOOSE_OF(x) ((const fy_loose *)(x))
#define FY_FACTOR_OF(x) ((const fy_factor *)(x))

/* Bits of limb i. */
#define FY_BITS(i) (26 - ((i) & 1))

/* sum + product, and not later: left to itself the compiler first computes the products of a whole
 * multiplication and has to spill them. */
CD_INLINE fy_word fy_accumulate(fy_word sum, fy_word product) {
    sum = fy_add_word(sum, product);
    __asm__("" : "+x"(sum));
    return sum;
}

CD_INLINE fy_word fy_mask(int i) { return fy_splat((INT64_C(1) << FY_BITS(i)) - 1); }

CD_INLINE int fy_below(const fy_word *word, int64_t bound) {
    fy_word negative = _mm256_cmpgt_epi64(fy_zero(), *word);
    return _mm256_movemask_epi8(
               _mm256_andnot_si256(negative, _mm256_cmpgt_epi64(fy_splat(bound), *word))) == -1;
}

CD_HOT void fy_check_tight(const fy_tight *a) {
    for (int i = 0; i < 10; i++)
        CD_VERIFY_CHECK(fy_below(&a->limb[i], i & 1 ? FY_TIGHT_ODD : FY_TIGHT_EVEN));
    (void)a;
}

CD_HOT void fy_check_loose(const fy_loose *a) {
    for (int i = 0; i < 10; i++)
        CD_VERIFY_CHECK(fy_below(&a->limb[i], i & 1 ? FY_LOOSE_ODD : FY_LOOSE_EVEN));
    (void)a;
}

CD_HOT void fy_check_factor(const fy_factor *a) {
    for (int i = 0; i < 10; i++) {
        fy_word low = fy_and(a->limb[i], fy_splat(UINT32_MAX));
        CD_VERIFY_CHECK(fy_below(&low, i & 1 ? FY_LOOSE_ODD : FY_LOOSE_EVEN));
        (void)low;
    }
    (void)a;
}

CD_INLINE fy_word fy_times_19(fy_word x) {
    return fy_add_word(fy_add_word(x, fy_shift_left(x, 1)), fy_shift_left(x, 4));
}

/* Move what limb i has above its bits to the next limb; from limb 9 it wraps to limb 0. */
CD_INLINE void fy_carry_limb(fy_word t[10], int i) {
    fy_word carry = fy_shift_right(t[i], FY_BITS(i));
    t[i] = fy_and(t[i], fy_mask(i));
    if (i < 9) {
        t[i + 1] = fy_add_word(t[i + 1], carry);
    } else {
        t[0] = fy_add_word(t[0], fy_times_19(carry));
    }
}

/* Carry the columns of a product, two chains side by side. Columns < 2^62.5. */
CD_HOT void fy_reduce(fy_tight *r, fy_word t[10]) {
    for (int i = 0; i < 10; i++) CD_VERIFY_CHECK(fy_below(&t[i], INT64_MAX));
    for (int i = 0; i < 5; i++) {
        fy_carry_limb(t, i);
        fy_carry_limb(t, i + 5);
    }
    fy_carry_limb(t, 0);
    fy_carry_limb(t, 5);
    for (int i = 0; i < 10; i++) r->limb[i] = t[i];
    fy_check_tight(r);
}

CD_HOT void fy_mul(fy_tight *r, const fy_factor *x, const fy_factor *y) {
    const fy_word *a = x->limb, *b = y->limb;
    fy_word wrapped[10], t[10];
    fy_check_factor(x);
    fy_check_factor(y);
    for (int j = 1; j < 10; j++) wrapped[j] = fy_mul_word(b[j], fy_splat(19));
#pragma GCC unroll 10
    for (int i = 0; i < 10; i++) {
        fy_word twice = fy_add_word(a[i], a[i]);
#pragma GCC unroll 10
        for (int j = 0; j < 10; j++) {
            int k = (i + j) % 10;
            fy_word product = fy_mul_word(i & j & 1 ? twice : a[i], i + j < 10 ? b[j] : wrapped[j]);
            t[k] = i ? fy_accumulate(t[k], product) : product;
        }
    }
    fy_reduce(r, t);
}

/* Off the diagonal each product counts twice, so the factor 2 for two odd limbs comes on top. */
CD_HOT void fy_square(fy_tight *r, const fy_factor *x) {
    const fy_word *a = x->limb;
    fy_word twice[10], wrapped[10], t[10];
    fy_check_factor(x);
    for (int j = 0; j < 10; j++) {
        twice[j] = fy_add_word(a[j], a[j]);
        if (j >= 5) wrapped[j] = fy_mul_word(a[j], fy_splat(j & 1 ? 38 : 19));
    }
    for (int k = 0; k < 10; k++) t[k] = fy_zero();
#pragma GCC unroll 10
    for (int i = 0; i < 10; i++) {
#pragma GCC unroll 10
        for (int j = i; j < 10; j++) {
            int k = (i + j) % 10, wraps = i + j >= 10, odd = i & j & 1, off = i != j;
            fy_word first = (wraps && (j & 1) ? odd && off : odd || off) ? twice[i] : a[i];
            fy_word second = wraps ? wrapped[j] : odd && off ? twice[j] : a[j];
            t[k] = fy_accumulate(t[k], fy_mul_word(first, second));
        }
    }
    fy_reduce(r, t);
}

CD_HOT void fy_add(fy_loose *r, const fy_tight *a, const fy_tight *b) {
    fy_check_tight(a);
    fy_check_tight(b);
    for (int i = 0; i < 10; i++) r->limb[i] = fy_add_word(a->limb[i], b->limb[i]);
    fy_check_loose(r);
}

/* a - b + 2 p, whose limbs exceed every tight limb. */
CD_HOT void fy_sub(fy_loose *r, const fy_tight *a, const fy_tight *b) {
    fy_check_tight(a);
    fy_check_tight(b);
    for (int i = 0; i < 10; i++) {
        int64_t twice_p = (INT64_C(2) << FY_BITS(i)) - (i ? 2 : 38);
        r->limb[i] = fy_sub_word(fy_add_word(a->limb[i], fy_splat(twice_p)), b->limb[i]);
    }
    fy_check_loose(r);
}

/* Every limb passes its few upper bits on at the same time. */
CD_HOT void fy_tighten(fy_tight *r, const fy_loose *a) {
    fy_word carry[10];
    fy_check_loose(a);
    for (int i = 0; i < 10; i++) carry[i] = fy_shift_right(a->limb[i], FY_BITS(i));
    r->limb[0] = fy_add_word(fy_and(a->limb[0], fy_mask(0)), fy_times_19(carry[9]));
    for (int i = 1; i < 10; i++)
        r->limb[i] = fy_add_word(fy_and(a->limb[i], fy_mask(i)), carry[i - 1]);
    fy_check_tight(r);
}

CD_INLINE void fy_constant(fy_tight *r, const cd_fe *a) {
    for (int i = 0; i < 5; i++) {
        r->limb[2 * i] = fy_splat(a->limb[i] & ((1 << 26) - 1));
        r->limb[2 * i + 1] = fy_splat(a->limb[i] >> 26);
    }
}

/* Lanes of a where the mask is 0, of b where it is all ones. */
CD_HOT void fy_select(fy_tight *r, fy_word mask, const fy_tight *a, const fy_tight *b) {
    for (int i = 0; i < 10; i++) r->limb[i] = _mm256_blendv_epi8(a->limb[i], b->limb[i], mask);
}

/* To radix 2^51: limb 0 < 2^51 + 19 * 2^3, the others < 2^51. */
CD_HOT void fy_pack(fy_packed *r, const fy_loose *a) {
    const fy_word mask = fy_splat(FE51_MASK);
    fy_word carry = fy_zero();
    fy_check_loose(a);
    for (int i = 0; i < 5; i++) {
        fy_word odd = fy_shift_left(a->limb[2 * i + 1], 26);
        fy_word sum = fy_add_word(fy_add_word(a->limb[2 * i], odd), carry);
        r->limb[i] = fy_and(sum, mask);
        carry = fy_shift_right(sum, 51);
    }
    r->limb[0] = fy_add_word(r->limb[0], fy_times_19(carry));
}

/* Carry upwards within 2^255; returns what is above it. */
CD_INLINE fy_word fy_carry_packed(fy_word t[5]) {
    const fy_word mask = fy_splat(FE51_MASK);
    for (int i = 0; i < 4; i++) {
        t[i + 1] = fy_add_word(t[i + 1], fy_shift_right(t[i], 51));
        t[i] = fy_and(t[i], mask);
    }
    fy_word above = fy_shift_right(t[4], 51);
    t[4] = fy_and(t[4], mask);
    return above;
}

/* The representative in [0, p), of what fy_pack returned. */
CD_HOT void fy_canonical(fy_packed *r, const fy_packed *a) {
    fy_word exact[5], reduced[5];
    for (int i = 0; i < 5; i++) exact[i] = a->limb[i];
    /* If anything wraps, limb 0 is small. */
    fy_word above = fy_carry_packed(exact);
    exact[0] = fy_add_word(exact[0], fy_times_19(above));
    for (int i = 0; i < 5; i++) reduced[i] = exact[i];
    reduced[0] = fy_add_word(reduced[0], fy_splat(19));
    fy_word below_p = _mm256_cmpeq_epi64(fy_carry_packed(reduced), fy_zero());
    for (int i = 0; i < 5; i++) r->limb[i] = _mm256_blendv_epi8(reduced[i], exact[i], below_p);
}

/* All ones in each lane that is 0 mod p. */
CD_INLINE fy_word fy_is_zero(const fy_loose *a) {
    fy_packed t;
    fy_pack(&t, a);
    fy_canonical(&t, &t);
    fy_word any = fy_or(fy_or(fy_or(t.limb[0], t.limb[1]), fy_or(t.limb[2], t.limb[3])), t.limb[4]);
    return _mm256_cmpeq_epi64(any, fy_zero());
}

/* Transpose four rows of four words. */
CD_INLINE void fy_transpose(fy_word r[4]) {
    fy_word a = _mm256_unpacklo_epi64(r[0], r[1]), b = _mm256_unpackhi_epi64(r[0], r[1]);
    fy_word c = _mm256_unpacklo_epi64(r[2], r[3]), d = _mm256_unpackhi_epi64(r[2], r[3]);
    r[0] = _mm256_permute2x128_si256(a, c, 0x20);
    r[1] = _mm256_permute2x128_si256(b, d, 0x20);
    r[2] = _mm256_permute2x128_si256(a, c, 0x31);
    r[3] = _mm256_permute2x128_si256(b, d, 0x31);
}

#endif
