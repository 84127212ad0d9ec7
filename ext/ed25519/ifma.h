/* The stages of the AVX512-IFMA backend, one file each: *_ifma.c. */
#ifndef CD_IFMA_H
#define CD_IFMA_H

#include "ed25519/backend.h"

void cd_challenges_x8(const cd_signed *items, size_t n, uint8_t (*digests)[64]);
void cd_decode_x8(const uint8_t *const *encodings, size_t n, cd_niels *const *points, uint8_t *ok);
int cd_equation_holds_x8(const cd_equation *equation, cd_workspace *workspace);
void cd_check_each_x8(const cd_check *checks, size_t n, uint8_t *valid);

#endif
