/* Decoding points eight at a time: two vectors of four, interleaved all the way, since one alone
 * waits for its own carries. */
#if defined(__AVX2__)

#include "ed25519/avx2.h"
#include "ed25519/chain.h"
#include "ed25519/field25.h"

typedef struct {
    fy_tight a, b;
} fy_pair;

typedef struct {
    fy_loose a, b;
} fy_loose_pair;

typedef struct {
    fy_word a, b;
} word_pair;

/* Out of line: copies of the field's multiplication would not fit the instruction cache. */
CD_NOINLINE void pair_mul(fy_pair *r, const fy_pair *x, const fy_pair *y) {
    fy_mul(&r->a, FY_FACTOR_OF(&x->a), FY_FACTOR_OF(&y->a));
    fy_mul(&r->b, FY_FACTOR_OF(&x->b), FY_FACTOR_OF(&y->b));
}

CD_NOINLINE void pair_square_n(fy_pair *r, const fy_pair *x, int n) {
    for (; n > 0; n--, x = r) {
        fy_square(&r->a, FY_FACTOR_OF(&x->a));
        fy_square(&r->b, FY_FACTOR_OF(&x->b));
    }
}

CD_INLINE void pair_add(fy_loose_pair *r, const fy_pair *x, const fy_pair *y) {
    fy_add(&r->a, &x->a, &y->a);
    fy_add(&r->b, &x->b, &y->b);
}

CD_INLINE void pair_sub(fy_loose_pair *r, const fy_pair *x, const fy_pair *y) {
    fy_sub(&r->a, &x->a, &y->a);
    fy_sub(&r->b, &x->b, &y->b);
}

CD_INLINE void pair_tighten(fy_pair *r, const fy_loose_pair *x) {
    fy_tighten(&r->a, &x->a);
    fy_tighten(&r->b, &x->b);
}

CD_INLINE void pair_constant(fy_pair *r, const cd_fe *x) {
    fy_constant(&r->a, x);
    fy_constant(&r->b, x);
}

CD_INLINE word_pair pair_is_zero(const fy_loose_pair *x) {
    word_pair r = {fy_is_zero(&x->a), fy_is_zero(&x->b)};
    return r;
}

/* x where the mask is 0, y where it is all ones. */
CD_INLINE void pair_select(fy_pair *r, const word_pair *mask, const fy_pair *x, const fy_pair *y) {
    fy_select(&r->a, mask->a, &x->a, &y->a);
    fy_select(&r->b, mask->b, &x->b, &y->b);
}

static void pair_pow22523(fy_pair *r, const fy_pair *z) {
    CD_POW22523(fy_pair, pair_mul, pair_square_n, r, z);
}

/* As in point51.c: x^2 = u/v with u = y^2 - 1, v = d y^2 + 1. */
typedef struct {
    fy_pair y, u, v, uv3;
    word_pair sign; /* 0 or 1: the sign of x that is asked for */
} decoding;

/* Returns the sign bits. */
CD_INLINE fy_word load_encodings(fy_tight *y, const uint8_t *const encodings[4]) {
    fy_word w[4];
    for (int lane = 0; lane < 4; lane++)
        w[lane] = _mm256_loadu_si256((const __m256i *)encodings[lane]);
    fy_transpose(w);
    y->limb[0] = w[0];
    y->limb[1] = fy_shift_right(w[0], 26);
    y->limb[2] = fy_or(fy_shift_right(w[0], 51), fy_shift_left(w[1], 13));
    y->limb[3] = fy_shift_right(w[1], 13);
    y->limb[4] = fy_shift_right(w[1], 38);
    y->limb[5] = w[2];
    y->limb[6] = fy_shift_right(w[2], 25);
    y->limb[7] = fy_or(fy_shift_right(w[2], 51), fy_shift_left(w[3], 13));
    y->limb[8] = fy_shift_right(w[3], 12);
    y->limb[9] = fy_shift_right(w[3], 38);
    for (int i = 0; i < 10; i++) y->limb[i] = fy_and(y->limb[i], fy_mask(i));
    return fy_shift_right(w[3], 63);
}

CD_NOINLINE void decode_start(decoding *s, fy_pair *uv7, const uint8_t *const encodings[8]) {
    fy_pair one, d, t, v2;
    fy_loose_pair loose;
    pair_constant(&one, &FE51_ONE);
    pair_constant(&d, &FE51_D);
    s->sign.a = load_encodings(&s->y.a, encodings);
    s->sign.b = load_encodings(&s->y.b, encodings + 4);
    pair_square_n(&t, &s->y, 1);
    pair_sub(&loose, &t, &one);
    pair_tighten(&s->u, &loose);
    pair_mul(&t, &t, &d);
    pair_add(&loose, &t, &one);
    pair_tighten(&s->v, &loose);
    pair_square_n(&v2, &s->v, 1);
    pair_mul(&t, &v2, &s->v);
    pair_mul(&s->uv3, &s->u, &t);
    pair_square_n(&t, &v2, 1);
    pair_mul(uv7, &s->uv3, &t);
}

/* x = u v^3 power, or that times the root of -1. Returns all ones in each lane with a root. */
CD_NOINLINE word_pair find_root(fy_pair *x, const decoding *s, const fy_pair *power) {
    fy_pair vx2, twisted, root_m1;
    fy_loose_pair difference, sum;
    pair_constant(&root_m1, &FE51_SQRT_M1);
    pair_mul(x, &s->uv3, power);
    pair_square_n(&vx2, x, 1);
    pair_mul(&vx2, &vx2, &s->v);
    pair_mul(&twisted, x, &root_m1);
    pair_sub(&difference, &vx2, &s->u);
    pair_add(&sum, &vx2, &s->u);
    word_pair root = pair_is_zero(&difference), twisted_root = pair_is_zero(&sum);
    pair_select(x, &root, &twisted, x);
    root.a = fy_or(root.a, twisted_root.a);
    root.b = fy_or(root.b, twisted_root.b);
    return root;
}

/* All ones where x, in its canonical form, has the sign asked for. */
CD_INLINE fy_word sign_matches(const fy_tight *x, fy_word sign) {
    fy_packed packed;
    fy_pack(&packed, FY_LOOSE_OF(x));
    fy_canonical(&packed, &packed);
    return _mm256_cmpeq_epi64(fy_and(packed.limb[0], fy_splat(1)), sign);
}

/* The three coordinates of four points, a word a limb, and one word of padding. */
typedef struct {
    fy_packed y_plus_x, y_minus_x, xy2d;
    fy_word padding;
} packed_niels;

/* Returns all ones in each lane that decodes. The others hold no point. */
CD_NOINLINE word_pair decode_finish(packed_niels r[2], const decoding *s, const fy_pair *power) {
    fy_pair x, zero, negated, xy2d, twice_d;
    fy_loose_pair loose;
    word_pair decoded = find_root(&x, s, power), keep;
    keep.a = sign_matches(&x.a, s->sign.a);
    keep.b = sign_matches(&x.b, s->sign.b);
    pair_constant(&zero, &FE51_ZERO);
    pair_sub(&loose, &zero, &x);
    pair_tighten(&negated, &loose);
    pair_select(&x, &keep, &negated, &x);

    pair_add(&loose, &s->y, &x);
    fy_pack(&r[0].y_plus_x, &loose.a);
    fy_pack(&r[1].y_plus_x, &loose.b);
    pair_sub(&loose, &s->y, &x);
    fy_pack(&r[0].y_minus_x, &loose.a);
    fy_pack(&r[1].y_minus_x, &loose.b);
    pair_constant(&twice_d, &FE51_2D);
    pair_mul(&xy2d, &x, &s->y);
    pair_mul(&xy2d, &xy2d, &twice_d);
    fy_pack(&r[0].xy2d, FY_LOOSE_OF(&xy2d.a));
    fy_pack(&r[1].xy2d, FY_LOOSE_OF(&xy2d.b));
    r[0].padding = r[1].padding = fy_zero();
    return decoded;
}

/* Lanes to separate points, 15 words each; a lane that does not decode to the identity. */
static void unload(const packed_niels *from, fy_word decoded, size_t lanes, cd_niels *const *points,
                   uint8_t *ok) {
    CD_ALIGNED uint64_t rows[4][16];
    const fy_word *words = (const fy_word *)from;
    int mask = _mm256_movemask_pd(_mm256_castsi256_pd(decoded));
    for (int k = 0; k < 16; k += 4) {
        fy_word block[4] = {words[k], words[k + 1], words[k + 2], words[k + 3]};
        fy_transpose(block);
        for (int lane = 0; lane < 4; lane++)
            _mm256_store_si256((__m256i *)&rows[lane][k], block[lane]);
    }
    for (size_t lane = 0; lane < lanes; lane++) {
        ok[lane] = mask >> lane & 1;
        memcpy(points[lane], ok[lane] ? (const void *)rows[lane] : &CD_NIELS_IDENTITY,
               sizeof(cd_niels));
    }
}

/* Five to eight lanes. */
static void decode_eight(const uint8_t *const encodings[8], size_t lanes, cd_niels *const *points,
                         uint8_t *ok) {
    decoding s;
    fy_pair base, power;
    packed_niels packed[2];
    decode_start(&s, &base, encodings);
    pair_pow22523(&power, &base);
    word_pair decoded = decode_finish(packed, &s, &power);
    unload(&packed[0], decoded.a, 4, points, ok);
    unload(&packed[1], decoded.b, lanes - 4, points + 4, ok + 4);
}

void cd_decode_x4(const uint8_t *const *encodings, size_t n, cd_niels *const *points, uint8_t *ok) {
    for (size_t i = 0; i < n; i += 8) {
        const uint8_t *group[8];
        size_t lanes = n - i < 8 ? n - i : 8;
        if (lanes <= 4) { /* two pairs cost less than eight lanes: measured */
            cd_portable_decode(encodings + i, lanes, points + i, ok + i);
            break;
        }
        for (size_t lane = 0; lane < 8; lane++)
            group[lane] = encodings[i + (lane < lanes ? lane : lanes - 1)];
        decode_eight(group, lanes, points + i, ok + i);
    }
}

#endif
