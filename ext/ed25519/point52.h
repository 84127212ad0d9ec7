/* Eight points at once, radix 2^52. Formulas and their completeness: point51.h. */
#ifndef CD_POINT52_H
#define CD_POINT52_H

#include "ed25519/field52.h"
#include "ed25519/point51.h"

/* Extended coordinates as additions leave and take them: X, Y and Z are only ever added, T
 * multiplied. */
typedef struct {
    fx_loose X, Y, Z;
    fx_operand T;
} px_loose;

/* The same, fit to be doubled. */
typedef struct {
    fx_tight X, Y, Z;
    fx_operand T;
} px_tight;

/* Affine points as addition wants them. */
typedef struct {
    fx_tight y_plus_x, y_minus_x, xy2d;
} px_niels;

#define PX_LOOSE(p) ((const px_loose *)(p))

/* The last products of an addition: X = e f, Y = g h, Z = f g, T = e h. */
typedef struct {
    fx_operand e, f, g, h;
} px_factors;

CD_HOT px_factors px_factors_of(const fx_loose *a, const fx_loose *b, const fx_loose *c,
                                const fx_loose *d, __mmask8 negative) {
    px_factors r;
    r.e = fx_sub(b, a);
    r.h = fx_add(b, a);
    fx_operand minus = fx_sub(d, c), plus = fx_add(d, c);
    r.f = fx_select(negative, &minus, &plus);
    r.g = fx_select(negative, &plus, &minus);
    return r;
}

CD_HOT void px_finish_loose(px_loose *r, const px_factors *p) {
    r->X = fx_mul_loose(&p->e, &p->f);
    r->Y = fx_mul_loose(&p->g, &p->h);
    r->Z = fx_mul_loose(&p->f, &p->g);
    r->T = fx_mul_operand(&p->e, &p->h);
}

CD_HOT void px_finish_tight(px_tight *r, const px_factors *p) {
    r->X = fx_mul(&p->e, &p->f);
    r->Y = fx_mul(&p->g, &p->h);
    r->Z = fx_mul(&p->f, &p->g);
    r->T = fx_mul_operand(&p->e, &p->h);
}

/* p + q in lanes where negative is 0, p - q where it is 1. */
CD_HOT px_factors px_add_niels(const px_loose *p, const px_niels *q, __mmask8 negative) {
    fx_operand plus = fx_select(negative, FX_OPERAND(&q->y_plus_x), FX_OPERAND(&q->y_minus_x));
    fx_operand minus = fx_select(negative, FX_OPERAND(&q->y_minus_x), FX_OPERAND(&q->y_plus_x));
    fx_operand difference = fx_sub(&p->Y, &p->X), sum = fx_add(&p->Y, &p->X);
    fx_loose a = fx_mul_loose(&difference, &minus);
    fx_loose b = fx_mul_loose(&sum, &plus);
    fx_loose c = fx_mul_loose(&p->T, FX_OPERAND(&q->xy2d));
    fx_loose d = fx_sum(&p->Z, &p->Z);
    return px_factors_of(&a, &b, &c, &d, negative);
}

/* p + q */
CD_HOT px_factors px_add(const px_loose *p, const px_loose *q) {
    fx_tight twice_d = fx_constant(&FE52_2D), qz = fx_tighten(&q->Z), pz = fx_tighten(&p->Z);
    fx_operand p_minus = fx_sub(&p->Y, &p->X), p_plus = fx_add(&p->Y, &p->X);
    fx_operand q_minus = fx_sub(&q->Y, &q->X), q_plus = fx_add(&q->Y, &q->X);
    fx_operand tt = fx_mul_operand(&p->T, &q->T);
    fx_loose a = fx_mul_loose(&p_minus, &q_minus);
    fx_loose b = fx_mul_loose(&p_plus, &q_plus);
    fx_loose c = fx_mul_loose(&tt, FX_OPERAND(&twice_d));
    fx_loose zz = fx_mul_loose(FX_OPERAND(&pz), FX_OPERAND(&qz));
    fx_loose d = fx_sum(&zz, &zz);
    return px_factors_of(&a, &b, &c, &d, 0);
}

/* Multiples of the base point in radix 2^52; see point51.h. Made on first use (decode_ifma.c). */
const cd_niels *p52_base_multiples(void);

#endif
