#include "ed25519/point51.h"

#include <pthread.h>

#include "ed25519/chain.h"

int p51_is_small_order(const cd_point *p) {
    cd_point t = *p;
    cd_fe difference;
    p51_double_n(&t, 3);
    fe51_sub(&difference, &t.Y, &t.Z);
    return fe51_is_zero(&t.X) && fe51_is_zero(&difference);
}

/* Two field elements, so that two independent chains of multiplications overlap. */
typedef struct {
    cd_fe a, b;
} fe_pair;

static void pair_mul(fe_pair *r, const fe_pair *x, const fe_pair *y) {
    fe51_mul(&r->a, &x->a, &y->a);
    fe51_mul(&r->b, &x->b, &y->b);
}

static void pair_square_n(fe_pair *r, const fe_pair *x, int n) {
    fe_pair t = *x;
    while (n--) {
        fe51_square(&t.a, &t.a);
        fe51_square(&t.b, &t.b);
    }
    *r = t;
}

static void pair_pow22523(fe_pair *r, const fe_pair *z) {
    CD_POW22523(fe_pair, pair_mul, pair_square_n, r, z);
}

/* x^2 = u/v with u = y^2 - 1, v = d y^2 + 1; the candidate root is u v^3 (u v^7)^((p-5)/8). */
typedef struct {
    cd_fe y, u, v, uv3;
} decoding;

static void decode_start(decoding *s, cd_fe *uv7, const uint8_t *encoding) {
    cd_fe y2, v2, v3;
    fe51_load(&s->y, encoding);
    fe51_square(&y2, &s->y);
    fe51_mul(&s->v, &y2, &FE51_D);
    fe51_sub(&s->u, &y2, &FE51_ONE);
    fe51_carry(&s->u);
    fe51_add(&s->v, &s->v, &FE51_ONE);
    fe51_square(&v2, &s->v);
    fe51_mul(&v3, &v2, &s->v);
    fe51_mul(&s->uv3, &s->u, &v3);
    fe51_mul(uv7, &s->uv3, &v2);
    fe51_mul(uv7, uv7, &v2);
}

static int decode_finish(cd_niels *r, const decoding *s, const cd_fe *power,
                         const uint8_t *encoding) {
    cd_fe x, vx2, test;
    fe51_mul(&x, &s->uv3, power);
    fe51_square(&vx2, &x);
    fe51_mul(&vx2, &vx2, &s->v);
    fe51_sub(&test, &vx2, &s->u);
    if (!fe51_is_zero(&test)) {
        fe51_add(&test, &vx2, &s->u);
        if (!fe51_is_zero(&test)) {
            *r = CD_NIELS_IDENTITY;
            return 0;
        }
        fe51_mul(&x, &x, &FE51_SQRT_M1);
    }
    if (fe51_is_odd(&x) != encoding[31] >> 7) fe51_negate(&x, &x);
    fe51_add(&r->y_plus_x, &s->y, &x);
    fe51_sub(&r->y_minus_x, &s->y, &x);
    fe51_carry(&r->y_plus_x);
    fe51_carry(&r->y_minus_x);
    fe51_mul(&test, &x, &s->y);
    fe51_mul(&r->xy2d, &test, &FE51_2D);
    return 1;
}

int p51_decode_pair(cd_niels *first, cd_niels *second, const uint8_t *a, const uint8_t *b) {
    decoding da, db;
    fe_pair base, power;
    decode_start(&da, &base.a, a);
    decode_start(&db, &base.b, b);
    pair_pow22523(&power, &base);
    return decode_finish(first, &da, &power.a, a) | decode_finish(second, &db, &power.b, b) << 1;
}

static void fe51_invert(cd_fe *r, const cd_fe *z) { /* z^(p-2) = (z^(2^252-3))^8 z^3 */
    fe_pair in = {*z, *z}, power;
    cd_fe z3;
    pair_pow22523(&power, &in);
    fe51_square_n(r, &power.a, 3);
    fe51_square(&z3, z);
    fe51_mul(&z3, &z3, z);
    fe51_mul(r, r, &z3);
}

static cd_niels base_multiples[CD_BASE_MULTIPLES + 1];
static pthread_once_t base_once = PTHREAD_ONCE_INIT;

/* One inversion serves all denominators (Montgomery's trick). */
static void make_base_multiples(void) {
    static const uint8_t encoding[32] = {0x58, [1 ... 31] = 0x66};
    cd_point multiple[CD_BASE_MULTIPLES + 1];
    cd_fe prefix[CD_BASE_MULTIPLES + 1], inverse, z_inverse, x, y;
    cd_niels base, same;
    p51_decode_pair(&base, &same, encoding, encoding);
    p51_identity(&multiple[0]);
    prefix[0] = FE51_ONE;
    for (int i = 1; i <= CD_BASE_MULTIPLES; i++) {
        p51_add_niels(&multiple[i], &multiple[i - 1], &base, 0);
        fe51_mul(&prefix[i], &prefix[i - 1], &multiple[i].Z);
    }
    fe51_invert(&inverse, &prefix[CD_BASE_MULTIPLES]);
    for (int i = CD_BASE_MULTIPLES; i > 0; i--) {
        cd_niels *r = &base_multiples[i];
        fe51_mul(&z_inverse, &inverse, &prefix[i - 1]);
        fe51_mul(&inverse, &inverse, &multiple[i].Z);
        fe51_mul(&x, &multiple[i].X, &z_inverse);
        fe51_mul(&y, &multiple[i].Y, &z_inverse);
        fe51_add(&r->y_plus_x, &y, &x);
        fe51_sub(&r->y_minus_x, &y, &x);
        fe51_carry(&r->y_plus_x);
        fe51_carry(&r->y_minus_x);
        fe51_mul(&r->xy2d, &x, &y);
        fe51_mul(&r->xy2d, &r->xy2d, &FE51_2D);
    }
    base_multiples[0] = CD_NIELS_IDENTITY;
}

const cd_niels *p51_base_multiples(void) {
    pthread_once(&base_once, make_base_multiples);
    return base_multiples;
}
