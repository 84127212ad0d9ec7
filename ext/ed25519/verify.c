/* The plan of a batch: parse, hash, decode, one equation for all, and only if that fails each for
 * itself.
 *
 * Stages follow design/crypto.md sections 2 and 3. The verdict of every path is the rule in
 * ed25519.h.
 */
#include <pthread.h>
#include <stdlib.h>

#include "digest/digest.h"
#include "ed25519/backend.h"
#include "ed25519/keycache.h"

#define MAX CD_ED25519_BATCH_MAX
#define SLOTS (2 * MAX) /* open addressing at half load */
#define SCRATCH_KEPT 4  /* idle scratch blocks kept for the next callers */

/* A batch that fails: its parts, and how many of them may fail before the rest goes one by one. */
#define PARTS_MIN 4
#define PARTS_MAX 8
#define FAILURES_MAX 2

/* One row of the transcript that the random coefficients are drawn from. */
typedef struct {
    uint8_t a[32], r[32], s[32], k[32];
} transcript_row;

/* Everything that one batch needs, about 3.3 MiB, so that no stage allocates. */
typedef struct scratch {
    cd_workspace workspace;
    struct scratch *next;
    /* per candidate: a signature whose S is canonical */
    size_t count;
    uint32_t position[MAX]; /* of the candidate in the caller's arrays */
    cd_signed items[MAX];
    uint8_t digests[MAX][64];
    cd_scalar s[MAX], k[MAX];
    uint32_t signer[MAX];
    uint8_t live[MAX]; /* R and A decode */
    /* per distinct key */
    size_t signer_count;
    const uint8_t *keys[MAX];
    uint64_t key_hashes[MAX];
    uint8_t key_state[MAX];
    cd_wide key_sums[MAX];
    uint32_t slots[SLOTS]; /* signer + 1, or 0 */
    /* points: R of each candidate, then A of each signer, then the base point */
    cd_niels points[CD_POINTS_MAX];
    const uint8_t *encodings[2 * MAX];
    cd_niels *targets[2 * MAX];
    uint8_t decoded[2 * MAX];
    /* the equation */
    transcript_row transcript[MAX];
    uint8_t leaves[MAX][32];
    uint64_t counters[MAX / 2];
    cd_coefficient coefficients[MAX];
    cd_scalar key_scalars[MAX + 1];
    uint32_t row[MAX]; /* of each signer in key_scalars */
    uint32_t part_signer[MAX];
    cd_niels part_points[2 * (MAX / PARTS_MIN + 1) + 1];
    /* the independent checks */
    cd_check checks[MAX];
    uint32_t checked[MAX];
    uint8_t verdicts[MAX];
} scratch;

enum key_state { KEY_BAD, KEY_CACHED, KEY_DECODED };

/* ------------------------------------------------------------------------------------------------
 * Process-wide state: backends with their key caches, idle scratch blocks. */

static const cd_backend *const backends[] = {
    &CD_BACKEND_PORTABLE,
#if defined(__x86_64__)
    &CD_BACKEND_AVX2,
    &CD_BACKEND_IFMA,
#endif
};

static cd_keycache caches[sizeof backends / sizeof *backends];
static cd_digest_key transcript_key, seed_key;
static cd_status ready_status;
static pthread_once_t ready_once = PTHREAD_ONCE_INIT;
static pthread_mutex_t idle_mutex = PTHREAD_MUTEX_INITIALIZER;
static scratch *idle;
static int idle_count;

static void make_ready(void) {
    static const char rows[] = "cherrydag 2026-11 ed25519 batch transcript row";
    static const char seed[] = "cherrydag 2026-11 ed25519 batch seed";
    cd_digest_key_derive(&transcript_key, (const uint8_t *)rows, sizeof rows - 1);
    cd_digest_key_derive(&seed_key, (const uint8_t *)seed, sizeof seed - 1);
    for (size_t i = 0; i < sizeof caches / sizeof *caches && ready_status == CD_OK; i++)
        ready_status = cd_keycache_init(&caches[i]);
}

static cd_status ready(void) {
    pthread_once(&ready_once, make_ready);
    return ready_status;
}

/* The level avx512 has no code of its own here: it runs that of avx2. */
static size_t current_backend(void) {
    cd_isa level = cd_isa_current();
    return level == CD_ISA_AVX512IFMA ? 2 : level >= CD_ISA_AVX2 ? 1 : 0;
}

static scratch *take_scratch(void) {
    pthread_mutex_lock(&idle_mutex);
    scratch *s = idle;
    if (s) {
        idle = s->next;
        idle_count--;
    }
    pthread_mutex_unlock(&idle_mutex);
    return s ? s : aligned_alloc(64, (sizeof(scratch) + 63) & ~(size_t)63);
}

static void give_scratch(scratch *s) {
    pthread_mutex_lock(&idle_mutex);
    int keep = idle_count < SCRATCH_KEPT;
    if (keep) {
        s->next = idle;
        idle = s;
        idle_count++;
    }
    pthread_mutex_unlock(&idle_mutex);
    if (!keep) free(s);
}

/* ------------------------------------------------------------------------------------------------
 * Stages */

/* Keep the signatures whose S is canonical. */
static void parse(scratch *t, const uint8_t *public_keys, const uint8_t *messages,
                  const uint64_t *offsets, const uint8_t *signatures, size_t n) {
    t->count = 0;
    for (size_t i = 0; i < n; i++) {
        size_t m = t->count;
        cd_scalar_load(&t->s[m], signatures + 64 * i + 32);
        if (!cd_scalar_is_canonical(&t->s[m])) continue;
        t->items[m].signature = signatures + 64 * i;
        t->items[m].public_key = public_keys + 32 * i;
        t->items[m].message = messages + (offsets ? offsets[i] : 32 * i);
        t->items[m].message_len = offsets ? offsets[i + 1] - offsets[i] : 32;
        t->position[m] = (uint32_t)i;
        t->count++;
    }
}

static void hash(scratch *t, const cd_backend *backend) {
    cd_wide wide;
    backend->challenges(t->items, t->count, t->digests);
    for (size_t i = 0; i < t->count; i++) {
        cd_wide_load(&wide, t->digests[i]);
        cd_scalar_reduce(&t->k[i], &wide);
    }
}

/* Number the distinct keys. The hash is keyed by a secret, so probe chains stay short. */
static void find_signers(scratch *t, const cd_keycache *cache) {
    t->signer_count = 0;
    memset(t->slots, 0, sizeof t->slots);
    for (size_t i = 0; i < t->count; i++) {
        const uint8_t *key = t->items[i].public_key;
        uint64_t hash = cd_keycache_hash(cache, key);
        size_t slot = (hash >> 20) % SLOTS;
        while (t->slots[slot] && memcmp(t->keys[t->slots[slot] - 1], key, 32) != 0)
            slot = (slot + 1) % SLOTS;
        if (!t->slots[slot]) {
            t->keys[t->signer_count] = key;
            t->key_hashes[t->signer_count] = hash;
            t->slots[slot] = (uint32_t)++t->signer_count;
        }
        t->signer[i] = t->slots[slot] - 1;
    }
}

/* Every R is new; an A may be in the cache. */
static void decode(scratch *t, const cd_backend *backend, cd_keycache *cache) {
    size_t wanted = t->count, n = t->count;
    for (size_t i = 0; i < n; i++) {
        t->encodings[i] = t->items[i].signature;
        t->targets[i] = &t->points[i];
    }
    for (size_t j = 0; j < t->signer_count; j++) {
        cd_niels *point = &t->points[n + j];
        t->key_state[j] = KEY_CACHED;
        if (cd_keycache_get(cache, t->key_hashes[j], t->keys[j], point)) continue;
        t->key_state[j] = KEY_DECODED;
        t->encodings[wanted] = t->keys[j];
        t->targets[wanted++] = point;
    }
    backend->decode(t->encodings, wanted, t->targets, t->decoded);
    for (size_t w = n; w < wanted; w++) {
        if (!t->decoded[w]) t->key_state[t->targets[w] - (t->points + n)] = KEY_BAD;
    }
    for (size_t i = 0; i < n; i++)
        t->live[i] = t->decoded[i] && t->key_state[t->signer[i]] != KEY_BAD;
}

/* Coefficients z < 2^126 that depend on every byte of the batch: whoever fits signatures to them
 * changes them. S is in the transcript because k does not bind it. */
static cd_status draw_coefficients(scratch *t) {
    uint8_t root[40], seed[32];
    const uint64_t whole[2] = {0, sizeof root};
    size_t n = t->count;
    cd_digest_key generator;
    for (size_t i = 0; i < n; i++) {
        memcpy(t->transcript[i].a, t->items[i].public_key, 32);
        memcpy(t->transcript[i].r, t->items[i].signature, 64); /* R and S */
        for (int w = 0; w < 4; w++) cd_store64_le(t->transcript[i].k + 8 * w, t->k[i].word[w]);
    }
    cd_status status =
        cd_digest_records(&transcript_key, t->transcript[0].a, n, sizeof(transcript_row), 0,
                          sizeof(transcript_row), t->leaves[0]);
    if (status == CD_OK) status = cd_merkle_root(t->leaves[0], n, root);
    cd_store64_le(root + 32, n);
    if (status == CD_OK) status = cd_digest_many(&seed_key, root, sizeof root, whole, 1, seed);
    if (status != CD_OK) return status;

    cd_digest_key_keyed(&generator, seed);
    size_t blocks = (n + 1) / 2; /* 32 bytes give two coefficients */
    for (size_t i = 0; i < blocks; i++) cd_store64_le((uint8_t *)&t->counters[i], i);
    status =
        cd_digest_records(&generator, (const uint8_t *)t->counters, blocks, 8, 0, 8, t->leaves[0]);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *bytes = t->leaves[0] + 16 * i;
        t->coefficients[i].word[0] = cd_load64_le(bytes);
        t->coefficients[i].word[1] = cd_load64_le(bytes + 8) & (UINT64_MAX >> 2);
    }
    return status;
}

/* The signers of candidates [from, to), numbered as they come; their count. */
static size_t number_signers(scratch *t, size_t from, size_t to) {
    size_t count = 0;
    memset(t->row, 0xFF, t->signer_count * sizeof *t->row);
    for (size_t i = from; i < to; i++) {
        uint32_t *row = &t->row[t->signer[i]];
        if (*row == UINT32_MAX) {
            t->part_signer[count] = t->signer[i];
            *row = (uint32_t)count++;
        }
    }
    return count;
}

/* 8 (sum z R + sum_A (sum z k) A - (sum z S) B) = O over candidates [from, to), terms of one signer
 * merged. */
static int equation_holds(scratch *t, const cd_backend *backend, size_t from, size_t to) {
    size_t n = to - from, signers = number_signers(t, from, to);
    cd_wide base_sum = {{0}};
    cd_scalar base;
    memset(t->key_sums, 0, signers * sizeof *t->key_sums);
    for (size_t i = from; i < to; i++) {
        if (!t->live[i]) {
            t->coefficients[i].word[0] = t->coefficients[i].word[1] = 0;
            continue;
        }
        cd_wide_add_product(&t->key_sums[t->row[t->signer[i]]], &t->coefficients[i], &t->k[i]);
        cd_wide_add_product(&base_sum, &t->coefficients[i], &t->s[i]);
    }
    for (size_t j = 0; j < signers; j++) cd_scalar_reduce(&t->key_scalars[j], &t->key_sums[j]);
    cd_scalar_reduce(&base, &base_sum);
    cd_scalar_negate(&t->key_scalars[signers], &base);

    cd_niels *points = t->points;
    if (n < t->count) {
        points = t->part_points;
        memcpy(points, t->points + from, n * sizeof *points);
        for (size_t j = 0; j < signers; j++) points[n + j] = t->points[t->count + t->part_signer[j]];
    }
    points[n + signers] = *backend->base_point();
    cd_equation equation = {
        .points = points,
        .coefficients = t->coefficients + from,
        .scalars = t->key_scalars,
        .short_count = n,
        .full_count = signers + 1,
    };
    return backend->equation_holds(&equation, &t->workspace);
}

/* Exact verdicts for candidates [from, to) one by one, on the hashes and points already at hand. */
static void check_each(scratch *t, const cd_backend *backend, size_t from, size_t to) {
    size_t m = 0;
    for (size_t i = from; i < to; i++) {
        if (!t->live[i]) continue;
        t->checks[m].r = &t->points[i];
        t->checks[m].a = &t->points[t->count + t->signer[i]];
        t->checks[m].s = t->s[i];
        t->checks[m].k = t->k[i];
        t->checked[m++] = (uint32_t)i;
    }
    backend->check_each(t->checks, m, t->verdicts);
    for (size_t c = 0; c < m; c++) t->live[t->checked[c]] = t->verdicts[c];
}

/* The equation of all fails: parts for which it holds are good, those for which it does not are
 * checked one by one. Few bad signatures cost little so; many cost hardly more than without parts,
 * since after FAILURES_MAX parts that fail the rest is checked one by one. The coefficients are
 * those of the whole: they depend on every byte of it, so of each part too. */
static void check_parts(scratch *t, const cd_backend *backend) {
    size_t n = t->count, start = 0, failures = 0;
    size_t count = n / backend->part_min;
    if (count > PARTS_MAX) count = PARTS_MAX;
    if (count < PARTS_MIN) count = 0;
    for (size_t part = 0; part < count && failures < FAILURES_MAX; part++) {
        size_t end = n * (part + 1) / count;
        int must_fail = part + 1 == count && failures == 0;
        if (must_fail || !equation_holds(t, backend, start, end)) {
            check_each(t, backend, start, end);
            failures++;
        }
        start = end;
    }
    check_each(t, backend, start, n);
}

/* Only the key of a valid signature is worth a place: junk cannot push out the keys in use. */
static void remember_keys(scratch *t, cd_keycache *cache) {
    for (size_t i = 0; i < t->count; i++) {
        uint32_t j = t->signer[i];
        if (!t->live[i] || t->key_state[j] != KEY_DECODED) continue;
        cd_keycache_put(cache, t->key_hashes[j], t->keys[j], &t->points[t->count + j]);
        t->key_state[j] = KEY_CACHED;
    }
}

/* Verdicts for the parsed candidates, in t->live. */
static cd_status judge(scratch *t, uint32_t flags, size_t which) {
    const cd_backend *backend = backends[which];
    cd_keycache *cache = &caches[which];
    size_t live = 0;
    hash(t, backend);
    find_signers(t, cache);
    decode(t, backend, cache);
    for (size_t i = 0; i < t->count; i++) live += t->live[i];
    if (live < backend->batch_min || flags & CD_ED25519_INDEPENDENT) {
        check_each(t, backend, 0, t->count);
    } else {
        cd_status status = draw_coefficients(t);
        if (status != CD_OK) return status;
        if (!equation_holds(t, backend, 0, t->count)) check_parts(t, backend);
    }
    remember_keys(t, cache);
    return CD_OK;
}

/* ------------------------------------------------------------------------------------------------
 * Entry points */

static int offsets_are_sound(const uint64_t *offsets, size_t n, size_t messages_len) {
    for (size_t i = 0; i < n; i++) {
        if (offsets[i] > offsets[i + 1]) return 0;
    }
    return n == 0 || offsets[n] <= messages_len;
}

cd_status cd_ed25519_verify(const uint8_t *public_keys, const uint8_t *messages,
                            size_t messages_len, const uint64_t *offsets, const uint8_t *signatures,
                            size_t n, uint32_t flags, uint8_t *valid) {
    CD_ARG_CHECK((flags & ~CD_ED25519_INDEPENDENT) == 0);
    if (n == 0) return CD_OK;
    CD_ARG_CHECK(public_keys && signatures && valid && n <= SIZE_MAX / 64);
    CD_ARG_CHECK(messages || messages_len == 0);
    CD_ARG_CHECK(offsets ? offsets_are_sound(offsets, n, messages_len) : messages_len / 32 >= n);
    cd_status status = ready();
    if (status != CD_OK) return status;
    scratch *t = take_scratch();
    if (!t) return CD_ERR_MEMORY;

    size_t which = current_backend(); /* one backend for the whole call, whatever others select */
    size_t batches = (n + MAX - 1) / MAX, size = (n + batches - 1) / batches;
    memset(valid, 0, n);
    for (size_t start = 0; start < n && status == CD_OK; start += size) {
        size_t count = n - start < size ? n - start : size;
        parse(t, public_keys + 32 * start, offsets ? messages : messages + 32 * start,
              offsets ? offsets + start : NULL, signatures + 64 * start, count);
        status = judge(t, flags, which);
        for (size_t i = 0; i < t->count && status == CD_OK; i++)
            valid[start + t->position[i]] = t->live[i];
    }
    give_scratch(t);
    return status;
}

cd_status cd_ed25519_verify_job(const cd_job_args *args) {
    size_t n = (size_t)args->param[0];
    CD_ARG_CHECK(n <= SIZE_MAX / 64 && args->param[1] <= UINT32_MAX);
    CD_ARG_CHECK(args->size[0] == 32 * n && args->size[1] == 32 * n && args->size[2] == 64 * n);
    CD_ARG_CHECK(args->output_size == n);
    return cd_ed25519_verify(args->input[0], args->input[1], args->size[1], NULL, args->input[2], n,
                             (uint32_t)args->param[1], args->output);
}

void cd_ed25519_clear_key_cache(void) {
    if (ready() != CD_OK) return;
    for (size_t i = 0; i < sizeof caches / sizeof *caches; i++) cd_keycache_clear(&caches[i]);
}

size_t cd_ed25519_key_cache_capacity(void) { return (size_t)CD_KEYCACHE_SETS * CD_KEYCACHE_WAYS; }

size_t cd_ed25519_key_cache_bytes(void) { return CD_KEYCACHE_SETS * sizeof(cd_keycache_set); }

const char *cd_ed25519_backend_name(void) { return backends[current_backend()]->name; }
