/* A face of the four-lane field code for ctypes: four lanes in, four lanes out. */
#include "ed25519/field25.h"

enum { MUL, SQUARE, ADD, SUB, TIGHTEN, PACK, CANONICAL };

#define PUBLIC __attribute__((visibility("default")))

static void load(fy_word w[10], const uint64_t limbs[10][4]) {
    for (int i = 0; i < 10; i++) w[i] = _mm256_loadu_si256((const __m256i *)limbs[i]);
}

static void store(uint64_t limbs[10][4], const fy_word *w, int count) {
    for (int i = 0; i < count; i++) _mm256_storeu_si256((__m256i *)limbs[i], w[i]);
}

PUBLIC void face_fy(int op, const uint64_t a[10][4], const uint64_t b[10][4], uint64_t out[10][4]) {
    fy_tight x, y, tight;
    fy_loose loose;
    fy_packed packed;
    load(x.limb, a);
    load(y.limb, b);
    switch (op) {
    case MUL: fy_mul(&tight, FY_FACTOR_OF(&x), FY_FACTOR_OF(&y)), store(out, tight.limb, 10); break;
    case SQUARE: fy_square(&tight, FY_FACTOR_OF(&x)), store(out, tight.limb, 10); break;
    case ADD: fy_add(&loose, &x, &y), store(out, loose.limb, 10); break;
    case SUB: fy_sub(&loose, &x, &y), store(out, loose.limb, 10); break;
    case TIGHTEN: fy_tighten(&tight, FY_LOOSE_OF(&x)), store(out, tight.limb, 10); break;
    case PACK: fy_pack(&packed, FY_LOOSE_OF(&x)), store(out, packed.limb, 5); break;
    case CANONICAL:
        fy_pack(&packed, FY_LOOSE_OF(&x));
        fy_canonical(&packed, &packed);
        store(out, packed.limb, 5);
        break;
    default: break;
    }
}

/* A bit per lane. */
PUBLIC int face_fy_is_zero(const uint64_t a[10][4]) {
    fy_loose x;
    load(x.limb, a);
    return _mm256_movemask_pd(_mm256_castsi256_pd(fy_is_zero(&x)));
}

/* Lanes of a where the bit is 0, of b where it is 1. */
PUBLIC void face_fy_select(int bits, const uint64_t a[10][4], const uint64_t b[10][4],
                           uint64_t out[10][4]) {
    fy_tight x, y, r;
    load(x.limb, a);
    load(y.limb, b);
    fy_word mask =
        _mm256_set_epi64x(-(bits >> 3 & 1), -(bits >> 2 & 1), -(bits >> 1 & 1), -(bits & 1));
    fy_select(&r, mask, &x, &y);
    store(out, r.limb, 10);
}

PUBLIC void face_fy_constant(const uint64_t limbs51[5], uint64_t out[10][4]) {
    cd_fe a;
    fy_tight r;
    memcpy(a.limb, limbs51, sizeof a.limb);
    fy_constant(&r, &a);
    store(out, r.limb, 10);
}

PUBLIC void face_fy_transpose(uint64_t rows[4][4]) {
    fy_word r[4];
    for (int i = 0; i < 4; i++) r[i] = _mm256_loadu_si256((const __m256i *)rows[i]);
    fy_transpose(r);
    for (int i = 0; i < 4; i++) _mm256_storeu_si256((__m256i *)rows[i], r[i]);
}
