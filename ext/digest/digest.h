/* BLAKE3 over many messages at once, and Merkle trees over 32-byte leaves.
 *
 * Every function is thread-safe and pure. The kernel (portable, AVX2 8-way, AVX-512 16-way) follows
 * cd_isa_current(); all give the same bytes. Domains are separated by keyed and derive-key mode.
 */
#ifndef CD_DIGEST_H
#define CD_DIGEST_H

#include "base/base.h"

#define CD_DIGEST_BYTES 32

/* A hashing mode: plain, keyed, or derive-key with its context already absorbed. */
typedef struct {
    uint32_t words[8];
    uint32_t flags;
} cd_digest_key;

void cd_digest_key_plain(cd_digest_key *key);
void cd_digest_key_keyed(cd_digest_key *key, const uint8_t bytes[32]);
void cd_digest_key_derive(cd_digest_key *key, const uint8_t *context, size_t context_len);

/* Hash message i = data[offsets[i] .. offsets[i+1]) for i < n; any lengths. out: n x 32 bytes.
 * offsets: n+1 values, not decreasing, the last <= data_len, else CD_ERR_ARGUMENT. */
cd_status cd_digest_many(const cd_digest_key *key, const uint8_t *data, size_t data_len,
                         const uint64_t *offsets, size_t n, uint8_t *out);

/* Hash bytes [start, stop) of each of n records that lie stride bytes apart. out: n x 32 bytes.
 * Needs start <= stop <= stride. */
cd_status cd_digest_records(const cd_digest_key *key, const uint8_t *data, size_t n, size_t stride,
                            size_t start, size_t stop, uint8_t *out);

/* Root of the left-balanced binary tree over n leaves of 32 bytes. */
cd_status cd_merkle_root(const uint8_t *leaves, size_t n, uint8_t root[32]);

#endif
