/* The inside of a batch for ctypes: the coefficients that it draws, and what the key cache keeps. */
#include "ed25519/verify.c"

#define PUBLIC __attribute__((visibility("default")))

/* z of n signatures over 32-byte digests, 16 bytes each. */
PUBLIC int face_coefficients(const uint8_t *keys, const uint8_t *digests, const uint8_t *signatures,
                             size_t n, uint8_t *out) {
    if (ready() != CD_OK || n > MAX) return -1;
    scratch *t = take_scratch();
    parse(t, keys, digests, NULL, signatures, n);
    hash(t, &CD_BACKEND_PORTABLE);
    int status = t->count == n ? draw_coefficients(t) : -1;
    if (status == CD_OK) memcpy(out, t->coefficients, 16 * n);
    give_scratch(t);
    return status;
}

/* Whether one backend's batch equation holds; live signatures only. -1 on an error. */
PUBLIC int face_equation_holds(int which, const uint8_t *keys, const uint8_t *digests,
                               const uint8_t *signatures, size_t n) {
    if (ready() != CD_OK || n > MAX) return -1;
    int holds = -1;
    scratch *t = take_scratch();
    parse(t, keys, digests, NULL, signatures, n);
    hash(t, backends[which]);
    find_signers(t, &caches[which]);
    decode(t, backends[which], &caches[which]);
    if (try_equation(t, backends[which], &holds) != CD_OK) holds = -1;
    give_scratch(t);
    return holds;
}

/* ok[i] = whether one backend decodes encoding i. */
PUBLIC int face_decode(int which, const uint8_t *encodings, size_t n, uint8_t *ok) {
    if (n > MAX) return -1;
    scratch *t = take_scratch();
    for (size_t i = 0; i < n; i++) {
        t->encodings[i] = encodings + 32 * i;
        t->targets[i] = &t->points[i];
    }
    backends[which]->decode(t->encodings, n, t->targets, ok);
    give_scratch(t);
    return 0;
}

PUBLIC int face_backends(void) { return (int)(sizeof backends / sizeof *backends); }

PUBLIC int face_verify(const uint8_t *keys, const uint8_t *digests, const uint8_t *signatures,
                       size_t n, uint8_t *valid) {
    return cd_ed25519_verify(keys, digests, 32 * n, NULL, signatures, n, 0, valid);
}

/* Keys that the current backend's cache holds. */
PUBLIC size_t face_cached_keys(void) {
    size_t used = 0;
    const cd_keycache *cache = &caches[current_backend()];
    for (size_t i = 0; i < CD_KEYCACHE_SETS; i++) used += cache->sets[i].used;
    return used;
}

PUBLIC int face_idle_scratch(void) { return idle_count; }
