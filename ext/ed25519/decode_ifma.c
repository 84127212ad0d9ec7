/* Decoding points sixteen at a time: two vectors of eight, interleaved through the square root. */
#include "ed25519/ifma.h"

#if defined(__AVX512F__)

#include <pthread.h>

#include "ed25519/chain.h"
#include "ed25519/point52.h"

typedef struct {
    fx_operand a, b;
} fx_pair;

CD_NOINLINE void pair_mul(fx_pair *r, const fx_pair *x, const fx_pair *y) {
    fx_operand a = fx_mul_operand(&x->a, &y->a);
    fx_operand b = fx_mul_operand(&x->b, &y->b);
    r->a = a;
    r->b = b;
}

CD_NOINLINE void pair_square_n(fx_pair *r, const fx_pair *x, int n) {
    fx_pair t = *x;
    while (n--) {
        t.a = fx_square_operand(&t.a);
        t.b = fx_square_operand(&t.b);
    }
    *r = t;
}

static void pair_pow22523(fx_pair *r, const fx_pair *z) {
    CD_POW22523(fx_pair, pair_mul, pair_square_n, r, z);
}

/* As in point51.c: x^2 = u/v with u = y^2 - 1, v = d y^2 + 1. */
typedef struct {
    fx_tight y;
    fx_operand v, uv3;
    fx_tight u;
    fx_word sign; /* bit 63: the sign of x that is asked for */
} decoding;

CD_INLINE void load_encodings(decoding *s, const uint8_t *const encodings[8]) {
    const fx_word mask = fx_splat(FX_MASK);
    fx_word w[8];
    for (int lane = 0; lane < 8; lane++)
        w[lane] = _mm512_zextsi256_si512(_mm256_loadu_si256((const __m256i *)encodings[lane]));
    fx_transpose(w);
    s->y.limb[0] = fx_and(w[0], mask);
    s->y.limb[1] = fx_and(fx_or(fx_shift_right(w[0], 52), fx_shift_left(w[1], 12)), mask);
    s->y.limb[2] = fx_and(fx_or(fx_shift_right(w[1], 40), fx_shift_left(w[2], 24)), mask);
    s->y.limb[3] = fx_and(fx_or(fx_shift_right(w[2], 28), fx_shift_left(w[3], 36)), mask);
    s->y.limb[4] = fx_and(fx_shift_right(w[3], 16), fx_splat(FX_TOP_MASK));
    s->sign = w[3];
}

CD_NOINLINE void decode_start(decoding *s, fx_operand *uv7, const uint8_t *const encodings[8]) {
    load_encodings(s, encodings);
    fx_tight one = fx_small(1), d = fx_constant(&FE52_D), y2 = fx_square(FX_OPERAND(&s->y));
    fx_loose dy2 = fx_mul_loose(FX_OPERAND(&y2), FX_OPERAND(&d));
    fx_operand u = fx_sub(FX_LOOSE_OF(&y2), FX_LOOSE_OF(&one));
    s->u = fx_tighten_operand(&u);
    s->v = fx_add(&dy2, FX_LOOSE_OF(&one));
    fx_operand v2 = fx_square_operand(&s->v), v3 = fx_mul_operand(&v2, &s->v);
    fx_operand v4 = fx_square_operand(&v2);
    s->uv3 = fx_mul_operand(&u, &v3);
    *uv7 = fx_mul_operand(&s->uv3, &v4);
}

/* Writes the points; returns a bit per lane that decodes. Others become the identity. */
CD_NOINLINE __mmask8 decode_finish(px_niels *r, const decoding *s, const fx_operand *power) {
    fx_tight zero = fx_small(0), one = fx_small(1), root_m1 = fx_constant(&FE52_SQRT_M1);
    fx_tight twice_d = fx_constant(&FE52_2D);
    fx_operand x = fx_mul_operand(&s->uv3, power), x2 = fx_square_operand(&x);
    fx_loose vx2 = fx_mul_loose(&x2, &s->v);
    fx_operand difference = fx_sub(&vx2, FX_LOOSE_OF(&s->u)),
               sum = fx_add(&vx2, FX_LOOSE_OF(&s->u));
    __mmask8 root = fx_is_zero(&difference), twisted_root = fx_is_zero(&sum);
    fx_operand twisted = fx_mul_operand(&x, FX_OPERAND(&root_m1));
    x = fx_select(root, &twisted, &x);

    fx_tight tight_x = fx_tighten_operand(&x), canonical = fx_canonical(&tight_x);
    __mmask8 flip = _mm512_cmpneq_epi64_mask(fx_and(canonical.limb[0], fx_splat(1)),
                                             fx_shift_right(s->sign, 63));
    fx_operand negated = fx_sub(FX_LOOSE_OF(&zero), FX_LOOSE_OF(&tight_x));
    x = fx_select(flip, &x, &negated);
    tight_x = fx_tighten_operand(&x);

    fx_operand plus = fx_add(FX_LOOSE_OF(&s->y), FX_LOOSE_OF(&tight_x));
    fx_operand minus = fx_sub(FX_LOOSE_OF(&s->y), FX_LOOSE_OF(&tight_x));
    fx_operand xy = fx_mul_operand(&x, FX_OPERAND(&s->y));
    fx_operand xy2d = fx_mul_operand(&xy, FX_OPERAND(&twice_d));
    __mmask8 ok = root | twisted_root;
    plus = fx_select(ok, FX_OPERAND(&one), &plus);
    minus = fx_select(ok, FX_OPERAND(&one), &minus);
    xy2d = fx_select(ok, FX_OPERAND(&zero), &xy2d);
    r->y_plus_x = fx_tighten_operand(&plus);
    r->y_minus_x = fx_tighten_operand(&minus);
    r->xy2d = fx_tighten_operand(&xy2d);
    return ok;
}

/* Lanes to separate points, 15 words each. */
static void unload(const px_niels *from, size_t lanes, cd_niels *const *points) {
    CD_ALIGNED uint64_t rows[16][8];
    const fx_word *words = (const fx_word *)from;
    fx_word low[8], high[8];
    for (int k = 0; k < 8; k++) {
        low[k] = words[k];
        high[k] = k < 7 ? words[8 + k] : fx_zero();
    }
    fx_transpose(low);
    fx_transpose(high);
    for (int lane = 0; lane < 8; lane++) {
        _mm512_store_si512(rows[2 * lane], low[lane]);
        _mm512_store_si512(rows[2 * lane + 1], high[lane]);
    }
    for (size_t lane = 0; lane < lanes; lane++)
        memcpy(points[lane], rows[2 * lane], sizeof(cd_niels));
}

static void decode_sixteen(const uint8_t *const encodings[16], size_t lanes,
                           cd_niels *const *points, uint8_t *ok) {
    decoding a, b;
    fx_pair base, power;
    px_niels first, second;
    decode_start(&a, &base.a, encodings);
    decode_start(&b, &base.b, encodings + 8);
    pair_pow22523(&power, &base);
    unsigned decoded = decode_finish(&first, &a, &power.a);
    decoded |= (unsigned)decode_finish(&second, &b, &power.b) << 8;
    unload(&first, lanes < 8 ? lanes : 8, points);
    if (lanes > 8) unload(&second, lanes - 8, points + 8);
    for (size_t lane = 0; lane < lanes; lane++) ok[lane] = decoded >> lane & 1;
}

void cd_decode_x8(const uint8_t *const *encodings, size_t n, cd_niels *const *points, uint8_t *ok) {
    for (size_t i = 0; i < n; i += 16) {
        const uint8_t *group[16];
        size_t lanes = n - i < 16 ? n - i : 16;
        for (size_t lane = 0; lane < 16; lane++)
            group[lane] = encodings[i + (lane < lanes ? lane : lanes - 1)];
        decode_sixteen(group, lanes, points + i, ok + i);
    }
}

static cd_niels base_multiples[CD_BASE_MULTIPLES + 1];
static pthread_once_t base_once = PTHREAD_ONCE_INIT;

static void make_base_multiples(void) {
    const cd_niels *from = p51_base_multiples();
    for (int i = 0; i <= CD_BASE_MULTIPLES; i++) {
        fe52_from51(&base_multiples[i].y_plus_x, &from[i].y_plus_x);
        fe52_from51(&base_multiples[i].y_minus_x, &from[i].y_minus_x);
        fe52_from51(&base_multiples[i].xy2d, &from[i].xy2d);
    }
}

const cd_niels *p52_base_multiples(void) {
    pthread_once(&base_once, make_base_multiples);
    return base_multiples;
}

#endif
