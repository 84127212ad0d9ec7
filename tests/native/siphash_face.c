/* The keyed hash of the native tables for ctypes, with invariant checks; sizes as the tables use them
 * are constants, which the compiler unrolls. */
#define CD_VERIFY 1
#include "base/siphash.h"

uint64_t face_siphash(const uint64_t *seed, const uint8_t *key, size_t size) {
    return cd_siphash(seed, key, size);
}

uint64_t face_siphash_24(const uint64_t *seed, const uint8_t *key) {
    return cd_siphash(seed, key, 24);
}

uint64_t face_siphash_32(const uint64_t *seed, const uint8_t *key) {
    return cd_siphash(seed, key, 32);
}
