/* Integers modulo the group order l = 2^252 + 27742317777372353535851937790883648493, as four
 * 64-bit words, least significant first. Variable time: these are public values. */
#ifndef CD_SCALAR_H
#define CD_SCALAR_H

#include "base/base.h"

typedef unsigned __int128 cd_u128;

typedef struct {
    uint64_t word[4];
} cd_scalar;

/* Room for sums of up to 2^64 products of a 126-bit factor and a scalar, and for a 512-bit hash. */
typedef struct {
    uint64_t word[8];
} cd_wide;

/* A batch's random coefficient z < 2^126. */
typedef struct {
    uint64_t word[2];
} cd_coefficient;

static const uint64_t CD_ORDER[5] = {0x5812631a5cf5d3ed, 0x14def9dea2f79cd6, 0, 0x1000000000000000,
                                     0};

/* floor(2^512 / l) */
static const uint64_t CD_ORDER_INVERSE[5] = {0xed9ce5a30a2c131b, 0x2106215d086329a7,
                                             0xffffffffffffffeb, 0xffffffffffffffff, 0xf};

CD_INLINE void cd_scalar_load(cd_scalar *r, const uint8_t bytes[32]) {
    for (int i = 0; i < 4; i++) r->word[i] = cd_load64_le(bytes + 8 * i);
}

CD_INLINE void cd_wide_load(cd_wide *r, const uint8_t bytes[64]) {
    for (int i = 0; i < 8; i++) r->word[i] = cd_load64_le(bytes + 8 * i);
}

CD_INLINE int cd_scalar_is_canonical(const cd_scalar *s) {
    for (int i = 3; i >= 0; i--) {
        if (s->word[i] != CD_ORDER[i]) return s->word[i] < CD_ORDER[i];
    }
    return 0;
}

/* r = x mod l by Barrett's method (Handbook of Applied Cryptography, 14.42, with b = 2^64, k = 4).
 * The estimated quotient is at most 1 short: truncating the inverse loses less than frac(2^512 / l)
 * = 0.225, truncating x less than 2^-59, so one subtraction finishes. */
CD_INLINE void cd_scalar_reduce(cd_scalar *r, const cd_wide *x) {
    uint64_t product[10] = {0}, multiple[5] = {0}, rest[5], trial[5];
    for (int i = 0; i < 5; i++) {
        cd_u128 carry = 0;
        for (int j = 0; j < 5; j++) {
            carry += (cd_u128)x->word[3 + i] * CD_ORDER_INVERSE[j] + product[i + j];
            product[i + j] = (uint64_t)carry;
            carry >>= 64;
        }
        product[i + 5] = (uint64_t)carry;
    }
    for (int i = 0; i < 5; i++) {
        cd_u128 carry = 0;
        for (int j = 0; i + j < 5; j++) {
            carry += (cd_u128)product[5 + i] * CD_ORDER[j] + multiple[i + j];
            multiple[i + j] = (uint64_t)carry;
            carry >>= 64;
        }
    }
    uint64_t borrow = 0;
    for (int i = 0; i < 5; i++) {
        cd_u128 difference = (cd_u128)x->word[i] - multiple[i] - borrow;
        rest[i] = (uint64_t)difference;
        borrow = (uint64_t)(difference >> 64) & 1;
    }
    borrow = 0;
    for (int i = 0; i < 5; i++) {
        cd_u128 difference = (cd_u128)rest[i] - CD_ORDER[i] - borrow;
        trial[i] = (uint64_t)difference;
        borrow = (uint64_t)(difference >> 64) & 1;
    }
    if (!borrow) memcpy(rest, trial, sizeof rest);
    memcpy(r->word, rest, sizeof r->word);
    CD_VERIFY_CHECK(rest[4] == 0 && cd_scalar_is_canonical(r));
}

/* sum += z * s */
CD_INLINE void cd_wide_add_product(cd_wide *sum, const cd_coefficient *z, const cd_scalar *s) {
    uint64_t product[6] = {0};
    for (int i = 0; i < 2; i++) {
        cd_u128 carry = 0;
        for (int j = 0; j < 4; j++) {
            carry += (cd_u128)z->word[i] * s->word[j] + product[i + j];
            product[i + j] = (uint64_t)carry;
            carry >>= 64;
        }
        product[i + 4] = (uint64_t)carry;
    }
    cd_u128 carry = 0;
    for (int i = 0; i < 8; i++) {
        carry += (cd_u128)sum->word[i] + (i < 6 ? product[i] : 0);
        sum->word[i] = (uint64_t)carry;
        carry >>= 64;
    }
}

/* r = -s mod l */
CD_INLINE void cd_scalar_negate(cd_scalar *r, const cd_scalar *s) {
    uint64_t borrow = 0, any = s->word[0] | s->word[1] | s->word[2] | s->word[3];
    for (int i = 0; i < 4; i++) {
        cd_u128 difference = (cd_u128)CD_ORDER[i] - s->word[i] - borrow;
        r->word[i] = any ? (uint64_t)difference : 0;
        borrow = (uint64_t)(difference >> 64) & 1;
    }
}

/* Number of signed base-2^width digits of an integer below 2^bits; one more bit holds the last
 * carry. */
CD_INLINE int cd_digit_count(int bits, int width) { return bits / width + 1; }

/* Digit i of `words` in base 2^width with digits in [-2^(width-1), 2^(width-1)); *carry runs along.
 * Bits beyond the words are 0. */
CD_INLINE int cd_next_digit(const uint64_t *words, int word_count, int i, int width, int *carry) {
    int bit = i * width, word = bit >> 6, offset = bit & 63;
    uint64_t value = word < word_count ? words[word] >> offset : 0;
    if (offset + width > 64 && word + 1 < word_count) value |= words[word + 1] << (64 - offset);
    int digit = (int)(value & ((1u << width) - 1)) + *carry;
    *carry = digit >= 1 << (width - 1);
    return digit - (*carry << width);
}

#endif
