/* Eight signatures at once, each on its own: s B - k A - R in every lane. */
#include "ed25519/ifma.h"

#if defined(__AVX512F__)

#include "ed25519/point52.h"

enum { WIDTH = 5, HALF = 1 << (WIDTH - 1), WINDOWS = 51, BASE_WINDOWS = 26 };

/* A multiple of A as addition wants it, not affine. */
typedef struct {
    fx_tight y_plus_x, y_minus_x, z2, t2d;
} px_multiple;

#define MULTIPLE_WORDS 20
#define NIELS_WORDS 15

typedef struct {
    px_multiple table[HALF + 1]; /* 0 .. HALF times each lane's A */
    int16_t digits[WINDOWS][8], base_digits[BASE_WINDOWS][8];
} plan;

CD_INLINE void set_identity(px_tight *r) {
    r->X = fx_small(0);
    r->Y = r->Z = fx_small(1);
    for (int k = 0; k < 5; k++) r->T.limb[k] = fx_zero();
}

/* r = 2^n r, n >= 1 */
CD_NOINLINE void double_n(px_tight *r, int n) {
    for (int i = 0; i < n; i++) {
        fx_operand x_plus_y = fx_add(FX_LOOSE_OF(&r->X), FX_LOOSE_OF(&r->Y));
        fx_loose a = fx_square_loose(FX_OPERAND(&r->X));
        fx_loose b = fx_square_loose(FX_OPERAND(&r->Y));
        fx_loose c = fx_square_loose(FX_OPERAND(&r->Z));
        fx_loose s = fx_square_loose(&x_plus_y);
        fx_loose a_plus_b = fx_sum(&a, &b), twice_c = fx_sum(&c, &c),
                 c_plus_a = fx_sum(&twice_c, &a);
        px_factors p;
        p.h = fx_add(&a, &b);
        p.e = fx_sub(&a_plus_b, &s);
        p.g = fx_sub(&a, &b);
        p.f = fx_sub(&c_plus_a, &b);
        r->X = fx_mul(&p.e, &p.f);
        r->Y = fx_mul(&p.g, &p.h);
        r->Z = fx_mul(&p.f, &p.g);
        if (i == n - 1) r->T = fx_mul_operand(&p.e, &p.h);
    }
}

CD_INLINE px_niels gather_niels(const cd_niels *base, fx_word word_index) {
    px_niels r;
    fx_word *words = (fx_word *)&r;
    for (int k = 0; k < NIELS_WORDS; k++)
        words[k] = _mm512_i64gather_epi64(word_index, (const long long *)base + k, 8);
    return r;
}

static px_niels load_points(const cd_niels *const points[8]) {
    CD_ALIGNED long long addresses[8];
    for (int l = 0; l < 8; l++) addresses[l] = (const char *)points[l] - (const char *)points[0];
    fx_word bytes = _mm512_load_si512(addresses);
    px_niels r;
    fx_word *words = (fx_word *)&r;
    for (int k = 0; k < NIELS_WORDS; k++)
        words[k] = _mm512_i64gather_epi64(bytes, (const char *)points[0] + 8 * k, 1);
    return r;
}

CD_NOINLINE void add_niels(px_tight *r, const px_niels *q, __mmask8 negative) {
    px_factors factors = px_add_niels(PX_LOOSE(r), q, negative);
    px_finish_tight(r, &factors);
}

CD_INLINE px_multiple to_multiple(const px_tight *p) {
    px_multiple r;
    fx_tight twice_d = fx_constant(&FE52_2D);
    fx_operand plus = fx_add(FX_LOOSE_OF(&p->Y), FX_LOOSE_OF(&p->X));
    fx_operand minus = fx_sub(FX_LOOSE_OF(&p->Y), FX_LOOSE_OF(&p->X));
    fx_operand z2 = fx_add(FX_LOOSE_OF(&p->Z), FX_LOOSE_OF(&p->Z));
    r.y_plus_x = fx_tighten_operand(&plus);
    r.y_minus_x = fx_tighten_operand(&minus);
    r.z2 = fx_tighten_operand(&z2);
    r.t2d = fx_mul(&p->T, FX_OPERAND(&twice_d));
    return r;
}

CD_NOINLINE void make_table(px_multiple table[HALF + 1], const px_niels *a) {
    px_tight sum;
    set_identity(&sum);
    table[0] = to_multiple(&sum);
    for (int i = 1; i <= HALF; i++) {
        add_niels(&sum, a, 0);
        table[i] = to_multiple(&sum);
    }
}

/* r -= digit A, a digit a lane */
CD_NOINLINE void subtract_multiple(px_tight *r, const px_multiple *table, const int16_t digits[8]) {
    const fx_word lane = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
    fx_word d = _mm512_cvtepi16_epi64(_mm_loadu_si128((const __m128i *)digits));
    __mmask8 positive = _mm512_cmpge_epi64_mask(d, fx_zero());
    fx_word index =
        fx_add_word(_mm512_mullo_epi64(_mm512_abs_epi64(d), fx_splat(8 * MULTIPLE_WORDS)), lane);
    px_multiple q;
    fx_word *words = (fx_word *)&q;
    for (int k = 0; k < MULTIPLE_WORDS; k++)
        words[k] = _mm512_i64gather_epi64(index, (const long long *)table + 8 * k, 8);
    fx_operand plus = fx_select(positive, FX_OPERAND(&q.y_plus_x), FX_OPERAND(&q.y_minus_x));
    fx_operand minus = fx_select(positive, FX_OPERAND(&q.y_minus_x), FX_OPERAND(&q.y_plus_x));
    fx_operand difference = fx_sub(FX_LOOSE_OF(&r->Y), FX_LOOSE_OF(&r->X));
    fx_operand sum = fx_add(FX_LOOSE_OF(&r->Y), FX_LOOSE_OF(&r->X));
    fx_loose a = fx_mul_loose(&difference, &minus);
    fx_loose b = fx_mul_loose(&sum, &plus);
    fx_loose c = fx_mul_loose(&r->T, FX_OPERAND(&q.t2d));
    fx_loose e = fx_mul_loose(FX_OPERAND(&r->Z), FX_OPERAND(&q.z2));
    px_factors factors = px_factors_of(&a, &b, &c, &e, positive);
    px_finish_tight(r, &factors);
}

/* r += digit B */
CD_NOINLINE void add_base_multiple(px_tight *r, const cd_niels *base, const int16_t digits[8]) {
    fx_word d = _mm512_cvtepi16_epi64(_mm_loadu_si128((const __m128i *)digits));
    __mmask8 negative = _mm512_cmplt_epi64_mask(d, fx_zero());
    px_niels q = gather_niels(base, _mm512_mullo_epi64(_mm512_abs_epi64(d), fx_splat(NIELS_WORDS)));
    add_niels(r, &q, negative);
}

static void recode(plan *p, const cd_check *const checks[8]) {
    for (int l = 0; l < 8; l++) {
        int carry = 0;
        for (int w = 0; w < WINDOWS; w++)
            p->digits[w][l] = (int16_t)cd_next_digit(checks[l]->k.word, 4, w, WIDTH, &carry);
        carry = 0;
        for (int w = 0; w < BASE_WINDOWS; w++)
            p->base_digits[w][l] =
                (int16_t)cd_next_digit(checks[l]->s.word, 4, w, CD_BASE_WIDTH, &carry);
    }
}

static __mmask8 check_eight(plan *p, const cd_check *const checks[8]) {
    const cd_niels *base = p52_base_multiples(), *points[8];
    px_tight sum;
    recode(p, checks);
    for (int l = 0; l < 8; l++) points[l] = checks[l]->a;
    px_niels a = load_points(points);
    make_table(p->table, &a);
    set_identity(&sum);
    for (int w = WINDOWS - 1; w >= 0; w--) {
        if (w < WINDOWS - 1) double_n(&sum, WIDTH);
        subtract_multiple(&sum, p->table, p->digits[w]);
        if (w % 2 == 0) add_base_multiple(&sum, base, p->base_digits[w / 2]);
    }
    for (int l = 0; l < 8; l++) points[l] = checks[l]->r;
    px_niels r = load_points(points);
    add_niels(&sum, &r, 0xff);
    double_n(&sum, 3);
    fx_operand y_minus_z = fx_sub(FX_LOOSE_OF(&sum.Y), FX_LOOSE_OF(&sum.Z));
    return fx_is_zero(FX_OPERAND(&sum.X)) & fx_is_zero(&y_minus_z);
}

void cd_check_each_x8(const cd_check *checks, size_t n, uint8_t *valid) {
    CD_ALIGNED plan p;
    for (size_t i = 0; i < n; i += 8) {
        const cd_check *group[8];
        size_t lanes = n - i < 8 ? n - i : 8;
        for (size_t l = 0; l < 8; l++) group[l] = &checks[i + (l < lanes ? l : lanes - 1)];
        unsigned good = check_eight(&p, group);
        for (size_t l = 0; l < lanes; l++) valid[i + l] = good >> l & 1;
    }
}

static const cd_niels *base_point(void) { return &p52_base_multiples()[1]; }

const cd_backend CD_BACKEND_IFMA = {
    .name = "ifma",
    .batch_min = 24,
    .part_min = 64,
    .challenges = cd_challenges_x8,
    .decode = cd_decode_x8,
    .equation_holds = cd_equation_holds_x8,
    .check_each = cd_check_each_x8,
    .base_point = base_point,
};

#endif
