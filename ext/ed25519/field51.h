/* Integers modulo p = 2^255 - 19 in five limbs of radix 2^51; portable 64-bit C.
 *
 * Bounds, checked by CD_VERIFY_CHECK:
 * - "reduced": every limb < 2^51 + 2^13; what multiplication and carrying return.
 * - Multiplication takes limbs < 2^54: then a column sums to less than 2^115, and 19 times the top
 *   carry fits in 64 bits.
 * - Subtraction adds 4p, so its second operand may be a sum of two reduced values.
 */
#ifndef CD_FIELD51_H
#define CD_FIELD51_H

#include "base/base.h"
#include "ed25519/scalar.h"

typedef struct {
    uint64_t limb[5];
} cd_fe;

#define FE51_MASK ((UINT64_C(1) << 51) - 1)

static const cd_fe FE51_ZERO = {{0, 0, 0, 0, 0}};
static const cd_fe FE51_ONE = {{1, 0, 0, 0, 0}};
static const cd_fe FE51_D = {
    {0x34dca135978a3, 0x1a8283b156ebd, 0x5e7a26001c029, 0x739c663a03cbb, 0x52036cee2b6ff}};
static const cd_fe FE51_2D = {
    {0x69b9426b2f159, 0x35050762add7a, 0x3cf44c0038052, 0x6738cc7407977, 0x2406d9dc56dff}};
static const cd_fe FE51_SQRT_M1 = {
    {0x61b274a0ea0b0, 0x0d5a5fc8f189d, 0x7ef5e9cbd0c60, 0x78595a6804c9e, 0x2b8324804fc1d}};

CD_INLINE void fe51_check(const cd_fe *a, uint64_t bound) {
    for (int i = 0; i < 5; i++) CD_VERIFY_CHECK(a->limb[i] < bound);
    (void)a, (void)bound;
}

/* Carry 128-bit columns into a reduced element. */
CD_HOT void fe51_carry_columns(cd_fe *r, cd_u128 c0, cd_u128 c1, cd_u128 c2, cd_u128 c3,
                               cd_u128 c4) {
    c1 += (uint64_t)(c0 >> 51);
    c2 += (uint64_t)(c1 >> 51);
    c3 += (uint64_t)(c2 >> 51);
    c4 += (uint64_t)(c3 >> 51);
    uint64_t low = ((uint64_t)c0 & FE51_MASK) + 19 * (uint64_t)(c4 >> 51);
    r->limb[0] = low & FE51_MASK;
    r->limb[1] = ((uint64_t)c1 & FE51_MASK) + (low >> 51);
    r->limb[2] = (uint64_t)c2 & FE51_MASK;
    r->limb[3] = (uint64_t)c3 & FE51_MASK;
    r->limb[4] = (uint64_t)c4 & FE51_MASK;
}

CD_HOT void fe51_mul(cd_fe *r, const cd_fe *a, const cd_fe *b) {
    fe51_check(a, UINT64_C(1) << 54);
    fe51_check(b, UINT64_C(1) << 54);
    uint64_t a0 = a->limb[0], a1 = a->limb[1], a2 = a->limb[2], a3 = a->limb[3], a4 = a->limb[4];
    uint64_t b0 = b->limb[0], b1 = b->limb[1], b2 = b->limb[2], b3 = b->limb[3], b4 = b->limb[4];
    uint64_t w1 = 19 * b1, w2 = 19 * b2, w3 = 19 * b3, w4 = 19 * b4; /* wrapped past 2^255 */
#define M(x, y) ((cd_u128)(x) * (y))
    fe51_carry_columns(r, M(a0, b0) + M(a1, w4) + M(a2, w3) + M(a3, w2) + M(a4, w1),
                       M(a0, b1) + M(a1, b0) + M(a2, w4) + M(a3, w3) + M(a4, w2),
                       M(a0, b2) + M(a1, b1) + M(a2, b0) + M(a3, w4) + M(a4, w3),
                       M(a0, b3) + M(a1, b2) + M(a2, b1) + M(a3, b0) + M(a4, w4),
                       M(a0, b4) + M(a1, b3) + M(a2, b2) + M(a3, b1) + M(a4, b0));
}

CD_HOT void fe51_square(cd_fe *r, const cd_fe *a) {
    fe51_check(a, UINT64_C(1) << 54);
    uint64_t a0 = a->limb[0], a1 = a->limb[1], a2 = a->limb[2], a3 = a->limb[3], a4 = a->limb[4];
    uint64_t d0 = 2 * a0, d1 = 2 * a1, d2 = 2 * a2, d3 = 2 * a3, w3 = 19 * a3, w4 = 19 * a4;
    fe51_carry_columns(r, M(a0, a0) + M(d1, w4) + M(d2, w3), M(d0, a1) + M(d2, w4) + M(a3, w3),
                       M(d0, a2) + M(a1, a1) + M(d3, w4), M(d0, a3) + M(d1, a2) + M(a4, w4),
                       M(d0, a4) + M(d1, a3) + M(a2, a2));
#undef M
}

CD_HOT void fe51_add(cd_fe *r, const cd_fe *a, const cd_fe *b) {
    for (int i = 0; i < 5; i++) r->limb[i] = a->limb[i] + b->limb[i];
}

CD_HOT void fe51_sub(cd_fe *r, const cd_fe *a, const cd_fe *b) {
    const uint64_t four_p0 = (UINT64_C(1) << 53) - 76, four_p = (UINT64_C(1) << 53) - 4;
    fe51_check(b, four_p0);
    r->limb[0] = a->limb[0] + four_p0 - b->limb[0];
    for (int i = 1; i < 5; i++) r->limb[i] = a->limb[i] + four_p - b->limb[i];
}

/* Bring limbs below 2^51 + 2^13; takes any limbs. */
CD_HOT void fe51_carry(cd_fe *r) {
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 4; i++) {
            r->limb[i + 1] += r->limb[i] >> 51;
            r->limb[i] &= FE51_MASK;
        }
        r->limb[0] += 19 * (r->limb[4] >> 51);
        r->limb[4] &= FE51_MASK;
    }
}

CD_INLINE void fe51_negate(cd_fe *r, const cd_fe *a) {
    fe51_sub(r, &FE51_ZERO, a);
    fe51_carry(r);
}

/* The representative in [0, p), limbs < 2^51. */
CD_HOT void fe51_canonical(cd_fe *r, const cd_fe *a) {
    *r = *a;
    fe51_carry(r);
    fe51_carry(r); /* now below 2^255 with exact limbs */
    cd_fe t = *r;
    t.limb[0] += 19;
    for (int i = 0; i < 4; i++) {
        t.limb[i + 1] += t.limb[i] >> 51;
        t.limb[i] &= FE51_MASK;
    }
    int at_least_p = (int)(t.limb[4] >> 51);
    t.limb[4] &= FE51_MASK;
    if (at_least_p) *r = t;
}

CD_INLINE int fe51_is_zero(const cd_fe *a) {
    cd_fe t;
    fe51_canonical(&t, a);
    return (t.limb[0] | t.limb[1] | t.limb[2] | t.limb[3] | t.limb[4]) == 0;
}

CD_INLINE int fe51_is_odd(const cd_fe *a) {
    cd_fe t;
    fe51_canonical(&t, a);
    return (int)(t.limb[0] & 1);
}

/* The low 255 bits of 32 bytes; values p .. 2^255 - 1 are taken as they are. */
CD_INLINE void fe51_load(cd_fe *r, const uint8_t bytes[32]) {
    uint64_t w0 = cd_load64_le(bytes), w1 = cd_load64_le(bytes + 8), w2 = cd_load64_le(bytes + 16),
             w3 = cd_load64_le(bytes + 24);
    r->limb[0] = w0 & FE51_MASK;
    r->limb[1] = (w0 >> 51 | w1 << 13) & FE51_MASK;
    r->limb[2] = (w1 >> 38 | w2 << 26) & FE51_MASK;
    r->limb[3] = (w2 >> 25 | w3 << 39) & FE51_MASK;
    r->limb[4] = w3 >> 12 & FE51_MASK;
}

/* The canonical value as four 64-bit words. */
CD_INLINE void fe51_to_words(uint64_t w[4], const cd_fe *a) {
    cd_fe t;
    fe51_canonical(&t, a);
    w[0] = t.limb[0] | t.limb[1] << 51;
    w[1] = t.limb[1] >> 13 | t.limb[2] << 38;
    w[2] = t.limb[2] >> 26 | t.limb[3] << 25;
    w[3] = t.limb[3] >> 39 | t.limb[4] << 12;
}

CD_INLINE void fe51_square_n(cd_fe *r, const cd_fe *a, int n) {
    cd_fe t = *a;
    while (n--) fe51_square(&t, &t);
    *r = t;
}

#endif
