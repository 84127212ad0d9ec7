/* The backend for every machine: 64-bit C, two chains interleaved where that hides latency. */
#include "ed25519/backend.h"

static void challenges(const cd_signed *items, size_t n, uint8_t (*digests)[64]) {
    for (size_t i = 0; i < n; i++) cd_challenge(digests[i], &items[i]);
}

void cd_portable_decode(const uint8_t *const *encodings, size_t n, cd_niels *const *points,
                        uint8_t *ok) {
    cd_niels spare;
    for (size_t i = 0; i < n; i += 2) {
        int pair = i + 1 < n;
        int decoded = p51_decode_pair(points[i], pair ? points[i + 1] : &spare, encodings[i],
                                      encodings[pair ? i + 1 : i]);
        ok[i] = decoded & 1;
        if (pair) ok[i + 1] = (uint8_t)(decoded >> 1);
    }
}

void cd_combine_windows(cd_point *r, const cd_point *windows, int count, int width) {
    *r = windows[count - 1];
    for (int w = count - 2; w >= 0; w--) {
        p51_double_n(r, width);
        p51_add(r, r, &windows[w]);
    }
}

void cd_sum_buckets(cd_point *r, const cd_point *buckets, int count) {
    cd_point running = buckets[count];
    *r = running;
    for (int i = count - 1; i >= 1; i--) {
        p51_add(&running, &running, &buckets[i]);
        p51_add(r, r, &running);
    }
}

/* Pippenger's bucket method with signed digits (crypto.md, section 3). */
int cd_windows_hold(const cd_equation *q, cd_workspace *workspace, const size_t limits[3],
                    cd_window_sum *window_sum) {
    size_t count = q->short_count + q->full_count;
    int width = cd_window_width(count, limits), half = 1 << (width - 1);
    int short_windows = cd_digit_count(126, width), windows = cd_digit_count(253, width);
    cd_point sums[CD_DIGITS_MAX], total;
    int8_t (*digits)[CD_DIGITS_MAX] = (void *)workspace->digits;

    for (size_t i = 0; i < count; i++) {
        int is_short = i < q->short_count, carry = 0;
        const uint64_t *words =
            is_short ? q->coefficients[i].word : q->scalars[i - q->short_count].word;
        for (int w = 0; w < (is_short ? short_windows : windows); w++)
            digits[i][w] = (int8_t)cd_next_digit(words, is_short ? 2 : 4, w, width, &carry);
        CD_VERIFY_CHECK(carry == 0);
    }
    for (int w = 0; w < windows; w++)
        window_sum(&sums[w], q, workspace, w, w < short_windows ? 0 : q->short_count, half);
    cd_combine_windows(&total, sums, windows, width);
    return p51_is_small_order(&total);
}

static void window_sum(cd_point *sum, const cd_equation *q, cd_workspace *workspace, int window,
                       size_t first, int half) {
    cd_point *buckets = (cd_point *)workspace->buckets;
    int8_t (*digits)[CD_DIGITS_MAX] = (void *)workspace->digits;
    for (int b = 0; b <= half; b++) p51_identity(&buckets[b]);
    for (size_t i = first; i < q->short_count + q->full_count; i++) {
        int digit = digits[i][window];
        cd_point *bucket = &buckets[digit < 0 ? -digit : digit];
        if (digit) p51_add_niels(bucket, bucket, &q->points[i], digit < 0);
    }
    cd_sum_buckets(sum, buckets, half);
}

static int equation_holds(const cd_equation *equation, cd_workspace *workspace) {
    static const size_t limits[3] = {224, 800,
                                     1400}; /* measured crossings for widths 5 | 6 | 7 | 8 */
    return cd_windows_hold(equation, workspace, limits, window_sum);
}

/* r += digit * the point whose multiples 0 .. 16 are given */
static void add_multiple(cd_point *r, const cd_point *multiples, int digit) {
    cd_point q = multiples[digit < 0 ? -digit : digit];
    if (digit < 0) {
        fe51_negate(&q.X, &q.X);
        fe51_negate(&q.T, &q.T);
    }
    p51_add(r, r, &q);
}

/* s B - k A - R by fixed windows: width 5 for A, twice that for B, whose table is at hand. */
static int check_one(const cd_check *c) {
    enum { WIDTH = 5, WINDOWS = 51, BASE_WINDOWS = 26 };
    const cd_niels *base = p51_base_multiples();
    cd_point multiples[(1 << (WIDTH - 1)) + 1], sum;
    int digits[WINDOWS], base_digits[BASE_WINDOWS], carry = 0;

    for (int w = 0; w < WINDOWS; w++) digits[w] = cd_next_digit(c->k.word, 4, w, WIDTH, &carry);
    carry = 0;
    for (int w = 0; w < BASE_WINDOWS; w++)
        base_digits[w] = cd_next_digit(c->s.word, 4, w, CD_BASE_WIDTH, &carry);
    p51_identity(&multiples[0]);
    for (int i = 1; i <= 1 << (WIDTH - 1); i++)
        p51_add_niels(&multiples[i], &multiples[i - 1], c->a, 0);

    p51_identity(&sum);
    for (int w = WINDOWS - 1; w >= 0; w--) {
        if (w < WINDOWS - 1) p51_double_n(&sum, WIDTH);
        if (digits[w]) add_multiple(&sum, multiples, -digits[w]);
        if (w % 2 == 0 && base_digits[w / 2]) {
            int digit = base_digits[w / 2];
            p51_add_niels(&sum, &sum, &base[digit < 0 ? -digit : digit], digit < 0);
        }
    }
    p51_add_niels(&sum, &sum, c->r, 1);
    return p51_is_small_order(&sum);
}

void cd_portable_check_each(const cd_check *checks, size_t n, uint8_t *valid) {
    for (size_t i = 0; i < n; i++) valid[i] = (uint8_t)check_one(&checks[i]);
}

const cd_niels *cd_portable_base_point(void) { return &p51_base_multiples()[1]; }

const cd_backend CD_BACKEND_PORTABLE = {
    .name = "portable",
    .batch_min = 12,
    .part_min = 32,
    .challenges = challenges,
    .decode = cd_portable_decode,
    .equation_holds = equation_holds,
    .check_each = cd_portable_check_each,
    .base_point = cd_portable_base_point,
};
