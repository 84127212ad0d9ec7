/* Points of edwards25519 over the portable field, and the table of the base point's multiples.
 *
 * All formulas are complete on the whole curve, small-order points included (a = -1 is a square, d
 * is not). Source of the formulas: Hisil, Wong, Carter, Dawson, "Twisted Edwards Curves Revisited"
 * (2008).
 */
#ifndef CD_POINT51_H
#define CD_POINT51_H

#include "ed25519/field51.h"

/* Extended coordinates: x = X/Z, y = Y/Z, xy = T/Z. */
typedef struct {
    cd_fe X, Y, Z, T;
} cd_point;

/* An affine point as addition wants it. The radix is that of the backend which made it. */
typedef struct {
    cd_fe y_plus_x, y_minus_x, xy2d;
} cd_niels;

static const cd_niels CD_NIELS_IDENTITY = {{{1, 0, 0, 0, 0}}, {{1, 0, 0, 0, 0}}, {{0, 0, 0, 0, 0}}};

/* Multiples 0 .. CD_BASE_MULTIPLES of the base point serve signed digits of this width. */
#define CD_BASE_WIDTH 10
#define CD_BASE_MULTIPLES (1 << (CD_BASE_WIDTH - 1))

CD_INLINE void p51_identity(cd_point *r) {
    r->X = r->T = FE51_ZERO;
    r->Y = r->Z = FE51_ONE;
}

/* r = p + q, or p - q if negative. Coordinates of p reduced or sums of two. */
CD_HOT void p51_add_niels(cd_point *r, const cd_point *p, const cd_niels *q, int negative) {
    cd_fe a, b, c, d, e, f, g, h;
    const cd_fe *sum = negative ? &q->y_minus_x : &q->y_plus_x;
    const cd_fe *difference = negative ? &q->y_plus_x : &q->y_minus_x;
    fe51_sub(&a, &p->Y, &p->X);
    fe51_mul(&a, &a, difference);
    fe51_add(&b, &p->Y, &p->X);
    fe51_mul(&b, &b, sum);
    fe51_mul(&c, &p->T, &q->xy2d);
    fe51_add(&d, &p->Z, &p->Z);
    fe51_sub(&e, &b, &a);
    fe51_add(&h, &b, &a);
    fe51_sub(negative ? &g : &f, &d, &c);
    fe51_add(negative ? &f : &g, &d, &c);
    fe51_mul(&r->X, &e, &f);
    fe51_mul(&r->Y, &g, &h);
    fe51_mul(&r->Z, &f, &g);
    fe51_mul(&r->T, &e, &h);
}

CD_HOT void p51_add(cd_point *r, const cd_point *p, const cd_point *q) {
    cd_fe a, b, c, d, e, f, g, h;
    fe51_sub(&a, &p->Y, &p->X);
    fe51_sub(&b, &q->Y, &q->X);
    fe51_mul(&a, &a, &b);
    fe51_add(&b, &p->Y, &p->X);
    fe51_add(&c, &q->Y, &q->X);
    fe51_mul(&b, &b, &c);
    fe51_mul(&c, &p->T, &q->T);
    fe51_mul(&c, &c, &FE51_2D);
    fe51_mul(&d, &p->Z, &q->Z);
    fe51_add(&d, &d, &d);
    fe51_sub(&e, &b, &a);
    fe51_sub(&f, &d, &c);
    fe51_add(&g, &d, &c);
    fe51_add(&h, &b, &a);
    fe51_mul(&r->X, &e, &f);
    fe51_mul(&r->Y, &g, &h);
    fe51_mul(&r->Z, &f, &g);
    fe51_mul(&r->T, &e, &h);
}

/* r = 2^n r, n >= 1 */
CD_HOT void p51_double_n(cd_point *r, int n) {
    cd_fe a, b, c, e, f, g, h;
    for (int i = 0; i < n; i++) {
        fe51_square(&a, &r->X);
        fe51_square(&b, &r->Y);
        fe51_square(&c, &r->Z);
        fe51_add(&c, &c, &c);
        fe51_add(&h, &a, &b);
        fe51_add(&e, &r->X, &r->Y);
        fe51_square(&e, &e);
        fe51_sub(&e, &h, &e);
        fe51_sub(&g, &a, &b);
        fe51_add(&f, &c, &g);
        fe51_mul(&r->X, &e, &f);
        fe51_mul(&r->Y, &g, &h);
        fe51_mul(&r->Z, &f, &g);
        if (i == n - 1) fe51_mul(&r->T, &e, &h);
    }
}

/* Whether [8]p is the identity. */
int p51_is_small_order(const cd_point *p);

/* Decode two encodings at a time (the square roots run interleaved). Returns a bit per decodable
 * point; an undecodable one becomes the identity. */
int p51_decode_pair(cd_niels *first, cd_niels *second, const uint8_t *a, const uint8_t *b);

/* Multiples 0 .. CD_BASE_MULTIPLES of the base point, radix 2^51; made on first use. */
const cd_niels *p51_base_multiples(void);

#endif
