/* Fuzz target for ext/ed25519, in libFuzzer's form.
 *
 * The input picks valid signatures and mutations of them, or raw bytes. Batch and independent
 * checks, with a cold and a warm key cache, digests and messages, job and direct call, and every
 * instruction-set level must give the same verdicts; an unchanged signature must be valid. abort()
 * on any disagreement. Arguments are copied to buffers of their exact size, so that
 * AddressSanitizer sees a read past them.
 */
#include "base/cpu.h"
#include "ed25519/ed25519.h"
#include "ed25519_seeds.h"
#include "fuzz.h"

#define MESSAGE_MAX 300

typedef struct {
    size_t n;
    uint8_t *keys, *digests, *signatures, *untouched;
} batch;

/* One signature: a seed, then up to three mutations of its 128 bytes, or raw bytes. */
static void take_signature(source *from, batch *b, size_t i) {
    uint8_t row[128], how = take(from);
    memcpy(row, &SEEDS[how % SEED_COUNT], sizeof row);
    b->untouched[i] = how < 192;
    for (int m = 0; how >= 192 && m < how % 4; m++) {
        uint8_t position = take(from) % 128;
        row[position] ^= take(from);
    }
    if (how == 255) {
        for (size_t k = 0; k < sizeof row; k++) row[k] = take(from);
    }
    memcpy(b->keys + 32 * i, row, 32);
    memcpy(b->digests + 32 * i, row + 32, 32);
    memcpy(b->signatures + 64 * i, row + 64, 64);
}

static void verify(const batch *b, uint32_t flags, uint8_t *valid) {
    require(cd_ed25519_verify(b->keys, b->digests, 32 * b->n, NULL, b->signatures, b->n, flags,
                              valid) == CD_OK);
}

static void verify_as_job(const batch *b, uint8_t *valid) {
    cd_job_args args = {
        .input = {b->keys, b->digests, b->signatures},
        .size = {32 * b->n, 32 * b->n, 64 * b->n},
        .param = {b->n, 0},
        .output = valid,
        .output_size = b->n,
    };
    require(cd_ed25519_verify_job(&args) == CD_OK);
    args.size[1] += 1;
    require(cd_ed25519_verify_job(&args) == CD_ERR_ARGUMENT);
}

/* The signatures are over digests, so over other messages they are as good as random; all paths
 * must still agree, whatever the lengths and offsets. */
static void check_messages(source *from, const batch *b) {
    size_t len = from->left < MESSAGE_MAX ? from->left : MESSAGE_MAX;
    uint8_t *messages = exact(len), *batched = exact(b->n), *single = exact(b->n);
    uint64_t *offsets = exact((b->n + 1) * sizeof *offsets);
    for (size_t i = 0; i < len; i++) messages[i] = take(from);
    for (size_t i = 0; i <= b->n; i++) offsets[i] = len * i / (b->n ? b->n : 1);
    if (b->n && len && messages[0] == 0x80)
        offsets[b->n / 2] = len + messages[len - 1]; /* often unsound */
    cd_status status =
        cd_ed25519_verify(b->keys, messages, len, offsets, b->signatures, b->n, 0, batched);
    int sound = b->n == 0 || offsets[b->n] <= len;
    for (size_t i = 0; i < b->n; i++) sound &= offsets[i] <= offsets[i + 1];
    require(status == (sound ? CD_OK : CD_ERR_ARGUMENT));
    if (sound) {
        require(cd_ed25519_verify(b->keys, messages, len, offsets, b->signatures, b->n,
                                  CD_ED25519_INDEPENDENT, single) == CD_OK);
        require(memcmp(batched, single, b->n) == 0);
    }
    free(messages), free(batched), free(single), free(offsets);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    source from = {data, size};
    const uint8_t shape =
        take(&from); /* mostly a few signatures, now and then enough for the equation */
    batch b = {.n = shape < 224 ? shape % 12 : 24 + shape % 24};
    b.keys = exact(32 * b.n);
    b.digests = exact(32 * b.n);
    b.signatures = exact(64 * b.n);
    b.untouched = exact(b.n);
    uint8_t *expected = exact(b.n), *valid = exact(b.n);
    for (size_t i = 0; i < b.n; i++) take_signature(&from, &b, i);

    require(cd_isa_use(CD_ISA_PORTABLE) == CD_OK);
    verify(&b, CD_ED25519_INDEPENDENT, expected);
    for (size_t i = 0; i < b.n; i++) require(expected[i] <= 1 && (!b.untouched[i] || expected[i]));
    for (int level = CD_ISA_PORTABLE; level <= (int)cd_isa_best(); level++) {
        if (level == CD_ISA_AVX512) continue; /* no code of its own */
        require(cd_isa_use(level) == CD_OK);
        if (shape % 64 == 0) cd_ed25519_clear_key_cache();
        for (uint32_t flags = 0; flags <= CD_ED25519_INDEPENDENT; flags++) {
            verify(&b, flags, valid);
            require(memcmp(valid, expected, b.n) == 0);
        }
        verify_as_job(&b, valid);
        require(memcmp(valid, expected, b.n) == 0);
    }
    check_messages(&from, &b);
    free(b.keys), free(b.digests), free(b.signatures), free(b.untouched), free(expected),
        free(valid);
    return 0;
}
