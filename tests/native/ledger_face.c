/* The ledger's own code for ctypes, with an allocator that can be told to fail, and a hash that is
 * quick and weak: what is tested here is what becomes of a table when memory is refused. */
#include <stdlib.h>

static long allowed = -1; /* allocations until the first that is refused; negative: no limit */

static int refuses(void) {
    if (allowed == 0) return 1;
    if (allowed > 0) allowed--;
    return 0;
}

static void *face_calloc(size_t n, size_t size) { return refuses() ? NULL : calloc(n, size); }

static void *face_malloc(size_t size) { return refuses() ? NULL : malloc(size); }

static void *face_aligned_alloc(size_t alignment, size_t size) {
    return refuses() ? NULL : aligned_alloc(alignment, size);
}

#define calloc face_calloc
#define malloc face_malloc
#define aligned_alloc face_aligned_alloc
#include "ledger/access.c"
#include "ledger/apply.c"
#include "ledger/buckets.c"
#include "ledger/index.c"
#include "ledger/lines.c"
#include "ledger/snapshot.c"

void face_allow(long count) { allowed = count; }

void cd_digest_key_keyed(cd_digest_key *key, const uint8_t bytes[32]) {
    memcpy(key->words, bytes, sizeof key->words);
}

/* FNV-1a in every eighth byte; an address is the key's first bytes. */
cd_status cd_digest_records(const cd_digest_key *key, const uint8_t *data, size_t n, size_t stride,
                            size_t start, size_t stop, uint8_t *out) {
    for (size_t i = 0; i < n; i++) {
        uint64_t h = 0xcbf29ce484222325u ^ key->words[0];
        const uint8_t *from = data + i * stride;
        for (size_t at = start; at < stop; at++) h = (h ^ from[at]) * 0x100000001b3u;
        memset(out + 32 * i, 0, 32);
        memcpy(out + 32 * i, stop - start == 32 ? from + start : (const uint8_t *)&h,
               stop - start == 32 ? 20 : 8);
    }
    return CD_OK;
}
