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

/* A batch up to its coefficients, by one backend; NULL on an error. */
static scratch *prepared(int which, const uint8_t *keys, const uint8_t *digests,
                         const uint8_t *signatures, size_t n) {
    if (ready() != CD_OK || n > MAX) return NULL;
    scratch *t = take_scratch();
    parse(t, keys, digests, NULL, signatures, n);
    hash(t, backends[which]);
    find_signers(t, &caches[which]);
    decode(t, backends[which], &caches[which]);
    if (draw_coefficients(t) == CD_OK) return t;
    give_scratch(t);
    return NULL;
}

/* Whether one backend's batch equation holds; live signatures only. -1 on an error. */
PUBLIC int face_equation_holds(int which, const uint8_t *keys, const uint8_t *digests,
                               const uint8_t *signatures, size_t n) {
    scratch *t = prepared(which, keys, digests, signatures, n);
    if (!t) return -1;
    int holds = equation_holds(t, backends[which], 0, t->count);
    give_scratch(t);
    return holds;
}

static const cd_backend *counted;
static size_t equations, signatures_in_equations, checks;

static int count_equation(const cd_equation *equation, cd_workspace *workspace) {
    equations++;
    signatures_in_equations += equation->short_count;
    return counted->equation_holds(equation, workspace);
}

static void count_checks(const cd_check *given, size_t n, uint8_t *valid) {
    checks += n;
    counted->check_each(given, n, valid);
}

/* The work of check_parts on a batch that fails: equations, signatures in them, signatures checked
 * alone. One caller at a time. */
PUBLIC int face_work_of_parts(int which, const uint8_t *keys, const uint8_t *digests,
                              const uint8_t *signatures, size_t n, size_t *work, uint8_t *valid) {
    scratch *t = prepared(which, keys, digests, signatures, n);
    if (!t || t->count != n) return -1;
    cd_backend backend = *(counted = backends[which]);
    backend.equation_holds = count_equation;
    backend.check_each = count_checks;
    equations = signatures_in_equations = checks = 0;
    check_parts(t, &backend);
    work[0] = equations, work[1] = signatures_in_equations, work[2] = checks;
    memcpy(valid, t->live, n);
    give_scratch(t);
    return 0;
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
