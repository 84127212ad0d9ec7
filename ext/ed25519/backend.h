/* What an instruction set has to bring: four stages over many signatures. Points between stages are
 * in the backend's own radix, so a point never crosses from one backend to another. */
#ifndef CD_BACKEND_H
#define CD_BACKEND_H

#include "base/cpu.h"
#include "ed25519/ed25519.h"
#include "ed25519/point51.h"
#include "ed25519/sha512.h"

#define CD_ALIGNED __attribute__((aligned(64)))

/* Digits of one point's scalar, any window width from 5 to 8, rounded up to whole groups of 8. */
#define CD_DIGITS_MAX 56
/* Points of one equation: every R, every A, the base point. */
#define CD_POINTS_MAX (2 * CD_ED25519_BATCH_MAX + 1)
/* Eight bucket arrays of 129 padded points; the portable code needs less. */
#define CD_BUCKET_BYTES (8 * 129 * 192)

/* A point as the AVX2 code keeps it for one equation. */
#define CD_PACKED_BYTES 160

typedef struct {
    CD_ALIGNED uint8_t buckets[CD_BUCKET_BYTES];
    CD_ALIGNED int8_t digits[(CD_POINTS_MAX + 1) * CD_DIGITS_MAX];
    CD_ALIGNED uint8_t packed[CD_POINTS_MAX * CD_PACKED_BYTES];
} cd_workspace;

/* sum coefficient[i] points[i] + sum scalar[j] points[short_count + j] */
typedef struct {
    const cd_niels *points;
    const cd_coefficient *coefficients;
    const cd_scalar *scalars;
    size_t short_count, full_count;
} cd_equation;

/* One signature on its own: [8](s B - r - k a) = O? */
typedef struct {
    const cd_niels *r, *a;
    cd_scalar s, k;
} cd_check;

typedef struct {
    const char *name;
    /* Measured: fewer signatures are checked each on its own; a part of a batch that fails has no
     * fewer than part_min. */
    size_t batch_min, part_min;
    /* digests[i] = SHA-512(R || A || M) of item i */
    void (*challenges)(const cd_signed *items, size_t n, uint8_t (*digests)[64]);
    /* Decode encodings[i] into *points[i], ok[i] = 1; an undecodable one is the identity, ok[i] =
     * 0. */
    void (*decode)(const uint8_t *const *encodings, size_t n, cd_niels *const *points, uint8_t *ok);
    /* Whether 8 times the sum is the identity. */
    int (*equation_holds)(const cd_equation *equation, cd_workspace *workspace);
    void (*check_each)(const cd_check *checks, size_t n, uint8_t *valid);
    /* The base point in this backend's radix. */
    const cd_niels *(*base_point)(void);
} cd_backend;

extern const cd_backend CD_BACKEND_PORTABLE;
#if defined(__x86_64__)
extern const cd_backend CD_BACKEND_AVX2;
extern const cd_backend CD_BACKEND_IFMA;
#endif

/* Stages of the portable backend, for others whose points are in radix 2^51 too. */
void cd_portable_decode(const uint8_t *const *encodings, size_t n, cd_niels *const *points,
                        uint8_t *ok);
void cd_portable_check_each(const cd_check *checks, size_t n, uint8_t *valid);
const cd_niels *cd_portable_base_point(void);

/* Window width for an equation of this many points: few points want small bucket arrays. */
CD_INLINE int cd_window_width(size_t points, const size_t limits[3]) {
    for (int i = 0; i < 3; i++) {
        if (points < limits[i]) return 5 + i;
    }
    return 8;
}

/* Add up window sums, least significant first: r = sum 2^(width i) windows[i]. */
void cd_combine_windows(cd_point *r, const cd_point *windows, int count, int width);

/* r = sum i buckets[i], i = 1 .. count: running sums from the top. */
void cd_sum_buckets(cd_point *r, const cd_point *buckets, int count);

/* sum = the sum of digits[i][window] points[i] for i >= first; digits are in -half .. half. */
typedef void cd_window_sum(cd_point *sum, const cd_equation *equation, cd_workspace *workspace,
                           int window, size_t first, int half);

/* equation_holds by window sums in radix 2^51; `limits` chooses the window width. */
int cd_windows_hold(const cd_equation *equation, cd_workspace *workspace, const size_t limits[3],
                    cd_window_sum *window_sum);

#endif
