/* BLAKE3 over many messages at once, and Merkle trees over 32-byte leaves.
 *
 * Every function is thread-safe and pure. The kernel (portable, AVX2 8-way, AVX-512 16-way) follows
 * cd_isa_current(); all give the same bytes. Domains are separated by keyed and derive-key mode.
 * Nothing outside the stated buffers is read or written and no alignment is assumed. No function
 * allocates: scratch is bounded and lies on the stack (under 128 KiB). A buffer of no bytes may be
 * NULL.
 */
#ifndef CD_DIGEST_H
#define CD_DIGEST_H

#include "base/base.h"
#include "base/job.h"

#define CD_DIGEST_BYTES 32

/* Messages and leaves beyond these would outgrow the stack of a tree: far beyond any memory. */
#define CD_TREE_LEAVES_MAX ((uint64_t)1 << 40)

/* A hashing mode: plain, keyed, or derive-key with its context already absorbed. */
typedef struct {
    uint32_t words[8];
    uint32_t flags;
} cd_digest_key;

void cd_digest_key_plain(cd_digest_key *key);
void cd_digest_key_keyed(cd_digest_key *key, const uint8_t bytes[32]);
void cd_digest_key_derive(cd_digest_key *key, const uint8_t *context, size_t context_len);

/* Hash one message of any length below 2^50 bytes. */
void cd_digest_one(const cd_digest_key *key, const uint8_t *data, size_t size, uint8_t out[32]);

/* Hash message i = data[offsets[i] .. offsets[i+1]) for i < n; any lengths. out: n x 32 bytes.
 * offsets: n+1 values, not decreasing, the last <= data_len, else CD_ERR_ARGUMENT. */
cd_status cd_digest_many(const cd_digest_key *key, const uint8_t *data, size_t data_len,
                         const uint64_t *offsets, size_t n, uint8_t *out);

/* Hash bytes [start, stop) of each of n records that lie stride bytes apart. out: n x 32 bytes.
 * Needs start <= stop <= stride. */
cd_status cd_digest_records(const cd_digest_key *key, const uint8_t *data, size_t n, size_t stride,
                            size_t start, size_t stop, uint8_t *out);

/* cd_digest_records as a job for a worker thread, with every size checked.
 *
 * input[0]: n * stride bytes of records. input[1]: a 32-byte key, or NULL and size 0 for plain
 * mode. param: n, stride, start, stop; stride >= 1. output: n * 32 bytes. */
cd_status cd_digest_records_job(const cd_job_args *args);

/* Merkle tree over n leaves of 32 bytes: neighbours are paired level by level, and the odd last
 * node of a level rises unchanged.
 *
 *   node = BLAKE3 derive-key("cherrydag 2026-11 merkle node", left || right)
 *   root = BLAKE3 derive-key("cherrydag 2026-11 merkle root", LE64(n) || top)
 *
 * top is 32 zero bytes for n = 0. The root binds n, so a node never passes for a leaf, nor a tree
 * of one size for a tree of another. A proof for leaf `index` is its siblings, lowest first. */
#define CD_MERKLE_PROOF_MAX (64 * CD_DIGEST_BYTES)

cd_status cd_merkle_root(const uint8_t *leaves, size_t n, uint8_t root[32]);

/* Bytes of the proof for leaf index of count; 0 if index >= count. At most CD_MERKLE_PROOF_MAX. */
size_t cd_merkle_proof_size(uint64_t index, uint64_t count);

/* Write the proof for leaf index < n: cd_merkle_proof_size(index, n) bytes. */
cd_status cd_merkle_proof(const uint8_t *leaves, size_t n, size_t index, uint8_t *proof);

/* 1 if the proof shows that leaf stands at index under a root of count leaves, else 0. Total: any
 * values and any proof bytes are fine. */
int cd_merkle_verify(const uint8_t root[32], const uint8_t leaf[32], uint64_t index, uint64_t count,
                     const uint8_t *proof, size_t proof_size);

#endif
