/* The stages of the AVX2 backend, one file each: *_avx2.c. Points are in radix 2^51, so that what
 * gains nothing from AVX2 is left to the portable code. */
#ifndef CD_AVX2_H
#define CD_AVX2_H

#include "ed25519/backend.h"

void cd_challenges_x4(const cd_signed *items, size_t n, uint8_t (*digests)[64]);
void cd_decode_x4(const uint8_t *const *encodings, size_t n, cd_niels *const *points, uint8_t *ok);
int cd_equation_holds_x4(const cd_equation *equation, cd_workspace *workspace);

#endif
