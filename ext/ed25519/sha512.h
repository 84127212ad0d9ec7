/* SHA-512 of R || A || M for one signature, portable. FIPS 180-4. */
#ifndef CD_SHA512_H
#define CD_SHA512_H

#include "base/base.h"

/* The bytes of one signature check, where the caller left them. */
typedef struct {
    const uint8_t *signature;  /* 64: R, S */
    const uint8_t *public_key; /* 32: A */
    const uint8_t *message;
    size_t message_len;
} cd_signed;

extern const uint64_t CD_SHA512_K[80];
extern const uint64_t CD_SHA512_IV[8];

/* Blocks of the padded stream R || A || M. */
CD_INLINE size_t cd_challenge_blocks(const cd_signed *item) {
    return (64 + item->message_len + 17 + 127) / 128;
}

/* Block `index` of the padded stream. */
void cd_challenge_block(uint8_t block[128], const cd_signed *item, size_t index);

/* digest = SHA-512(R || A || M) */
void cd_challenge(uint8_t digest[64], const cd_signed *item);

#endif
