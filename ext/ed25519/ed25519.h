/* Ed25519 verification by the ZIP-215 rule, in batches.
 *
 * Signature (R, S) of message M under key A is valid iff
 *   1. S < l, read as a little-endian integer;
 *   2. A and R decode to curve points; y is taken mod p, so y >= p and "-0" are accepted;
 *   3. [8]([S]B - R - [k]A) = O with k = SHA-512(R || A || M) over the bytes as received.
 * Every path here, batch or single, gives exactly this verdict for each signature, so no two nodes
 * can disagree. The rule and its reasons: https://zips.z.cash/zip-0215 .
 *
 * All functions are thread-safe. Process-wide state: the instruction-set level (base/cpu.h), a
 * bounded cache of decoded public keys and a few scratch blocks. Nothing here handles secrets, and
 * nothing here runs in constant time.
 */
#ifndef CD_ED25519_H
#define CD_ED25519_H

#include "base/base.h"
#include "base/job.h"

/* Skip the batch equation, check each signature by itself: for sources known to send bad ones. */
#define CD_ED25519_INDEPENDENT 1u

/* Signatures per batch equation; a longer call is cut into equal batches of at most this many. */
#define CD_ED25519_BATCH_MAX 2048

/* Check n signatures. Message i is messages[offsets[i] .. offsets[i+1]), or, with offsets NULL, the
 * 32 bytes at messages + 32 i. public_keys: n x 32, signatures: n x 64. valid: n bytes, written 1
 * or 0. Errors: CD_ERR_ARGUMENT for unknown flags or offsets that decrease or pass messages_len,
 * CD_ERR_MEMORY. */
cd_status cd_ed25519_verify(const uint8_t *public_keys, const uint8_t *messages,
                            size_t messages_len, const uint64_t *offsets, const uint8_t *signatures,
                            size_t n, uint32_t flags, uint8_t *valid);

/* cd_ed25519_verify for the native workers. input: public keys, 32-byte digests, signatures;
 * param: n, flags; output: n bytes. CD_ERR_ARGUMENT if the sizes disagree with n. */
cd_status cd_ed25519_verify_job(const cd_job_args *args);

/* Forget all decoded public keys. */
void cd_ed25519_clear_key_cache(void);

/* Decoded keys that the cache can hold per backend, and the bytes that this takes when full. */
size_t cd_ed25519_key_cache_capacity(void);
size_t cd_ed25519_key_cache_bytes(void);

/* Name of the code that the current instruction-set level selects: "portable", "avx2" (also at the
 * level avx512) or "ifma". */
const char *cd_ed25519_backend_name(void);

#endif
