/* A face of the inline field and scalar code for ctypes: eight lanes in, eight lanes out. */
#include "ed25519/field52.h"
#include "ed25519/scalar.h"

enum { MUL, SQUARE, ADD, SUB, CANONICAL, MUL_OPERAND, SQUARE_OPERAND, MUL_LOOSE, SQUARE_LOOSE };

#define PUBLIC __attribute__((visibility("default")))

static void load(fx_word w[5], const uint64_t limbs[5][8]) {
    for (int i = 0; i < 5; i++) w[i] = _mm512_loadu_si512(limbs[i]);
}

PUBLIC void face_fx(int op, const uint64_t a[5][8], const uint64_t b[5][8], uint64_t out[5][8]) {
    fx_operand x, y, r;
    load(x.limb, a);
    load(y.limb, b);
    fx_tight tight;
    fx_loose loose;
    const fx_word *w = r.limb;
    switch (op) {
    case MUL: tight = fx_mul(&x, &y), w = tight.limb; break;
    case SQUARE: tight = fx_square(&x), w = tight.limb; break;
    case ADD: r = fx_add(FX_LOOSE_OF(&x), FX_LOOSE_OF(&y)); break;
    case SUB: r = fx_sub(FX_LOOSE_OF(&x), FX_LOOSE_OF(&y)); break;
    case CANONICAL:
        tight = fx_tighten_operand(&x), tight = fx_canonical(&tight), w = tight.limb;
        break;
    case MUL_OPERAND: r = fx_mul_operand(&x, &y); break;
    case SQUARE_OPERAND: r = fx_square_operand(&x); break;
    case MUL_LOOSE: loose = fx_mul_loose(&x, &y), w = loose.limb; break;
    case SQUARE_LOOSE: loose = fx_square_loose(&x), w = loose.limb; break;
    default: return;
    }
    for (int i = 0; i < 5; i++) _mm512_storeu_si512(out[i], w[i]);
}

PUBLIC int face_fx_is_zero(const uint64_t a[5][8]) {
    fx_operand x;
    load(x.limb, a);
    return fx_is_zero(&x);
}

PUBLIC void face_fx_transpose(uint64_t rows[8][8]) {
    fx_word r[8];
    for (int i = 0; i < 8; i++) r[i] = _mm512_loadu_si512(rows[i]);
    fx_transpose(r);
    for (int i = 0; i < 8; i++) _mm512_storeu_si512(rows[i], r[i]);
}

PUBLIC void face_radix(const uint64_t limbs51[5], uint64_t limbs52[5], uint64_t back51[5]) {
    cd_fe a, b, c;
    memcpy(a.limb, limbs51, sizeof a.limb);
    fe52_from51(&b, &a);
    memcpy(limbs52, b.limb, sizeof b.limb);
    fe51_from52(&c, b.limb);
    memcpy(back51, c.limb, sizeof c.limb);
}

PUBLIC void face_fe51(int op, const uint64_t a[5], const uint64_t b[5], uint64_t out[5]) {
    cd_fe x, y, r;
    memcpy(x.limb, a, sizeof x.limb);
    memcpy(y.limb, b, sizeof y.limb);
    switch (op) {
    case MUL: fe51_mul(&r, &x, &y); break;
    case SQUARE: fe51_square(&r, &x); break;
    case ADD: fe51_add(&r, &x, &y); break;
    case SUB: fe51_sub(&r, &x, &y); break;
    case CANONICAL: fe51_canonical(&r, &x); break;
    default: return;
    }
    memcpy(out, r.limb, sizeof r.limb);
}

PUBLIC void face_scalar_reduce(const uint64_t wide[8], uint64_t out[4]) {
    cd_wide x;
    cd_scalar r;
    memcpy(x.word, wide, sizeof x.word);
    cd_scalar_reduce(&r, &x);
    memcpy(out, r.word, sizeof r.word);
}

PUBLIC void face_scalar_negate(const uint64_t in[4], uint64_t out[4]) {
    cd_scalar s, r;
    memcpy(s.word, in, sizeof s.word);
    cd_scalar_negate(&r, &s);
    memcpy(out, r.word, sizeof r.word);
}

PUBLIC int face_scalar_is_canonical(const uint64_t in[4]) {
    cd_scalar s;
    memcpy(s.word, in, sizeof s.word);
    return cd_scalar_is_canonical(&s);
}

PUBLIC void face_add_product(uint64_t sum[8], const uint64_t z[2], const uint64_t s[4]) {
    cd_wide w;
    cd_coefficient c = {{z[0], z[1]}};
    cd_scalar scalar;
    memcpy(w.word, sum, sizeof w.word);
    memcpy(scalar.word, s, sizeof scalar.word);
    cd_wide_add_product(&w, &c, &scalar);
    memcpy(sum, w.word, sizeof w.word);
}

/* Returns the carry left over, 0 if the digits hold the whole value. */
PUBLIC int face_digits(const uint64_t *words, int word_count, int bits, int width,
                       int32_t *digits) {
    int carry = 0;
    for (int i = 0; i < cd_digit_count(bits, width); i++)
        digits[i] = cd_next_digit(words, word_count, i, width, &carry);
    return carry;
}
