/* Modes, single messages, and records of a fixed stride. */
#include "digest/digest.h"

#include "digest/kernel.h"

#define CHUNK_ROOT (CD_CHUNK_END | CD_ROOT)

void cd_digest_key_plain(cd_digest_key *key) {
    static const uint32_t iv[8] = CD_IV;
    memcpy(key->words, iv, sizeof iv);
    key->flags = 0;
}

static void set_words(cd_digest_key *key, const uint8_t bytes[32]) {
    for (int i = 0; i < 8; i++) key->words[i] = cd_load32_le(bytes + 4 * i);
}

void cd_digest_key_keyed(cd_digest_key *key, const uint8_t bytes[32]) {
    set_words(key, bytes);
    key->flags = CD_KEYED_HASH;
}

void cd_digest_key_derive(cd_digest_key *key, const uint8_t *context, size_t context_len) {
    uint8_t context_key[CD_DIGEST_BYTES];
    cd_digest_key_plain(key);
    key->flags = CD_DERIVE_KEY_CONTEXT;
    cd_digest_one(key, context, context_len, context_key);
    set_words(key, context_key);
    key->flags = CD_DERIVE_KEY_MATERIAL;
}

/* One chunk: the portable code is the quickest for a single lane. */
static void digest_chunk(const cd_digest_key *key, const uint8_t *data, size_t size, uint8_t *out) {
    cd_lanes lanes;
    cd_lanes_init(&lanes, key, cd_chunk_blocks(size), CD_CHUNK_START);
    lanes.input[0] = data;
    lanes.output[0] = out;
    lanes.counter_low[0] = 0;
    lanes.counter_high[0] = 0;
    lanes.last_size[0] = cd_last_block_size(size);
    lanes.last_flags[0] = CHUNK_ROOT;
    lanes.count = 1;
    cd_kernel_portable_run(&lanes);
}

void cd_digest_one(const cd_digest_key *key, const uint8_t *data, size_t size, uint8_t out[32]) {
    if (size <= CD_CHUNK_BYTES)
        digest_chunk(key, data, size, out);
    else
        cd_digest_long(cd_kernel_current(), key, data, size, out);
}

/* Records of at most a chunk. */
static void digest_short_records(const cd_digest_key *key, const uint8_t *first, size_t n,
                                 size_t stride, size_t size, uint8_t *out) {
    cd_lanes lanes;
    cd_lanes_init(&lanes, key, cd_chunk_blocks(size), CD_CHUNK_START);
    cd_lanes_alike(&lanes, cd_last_block_size(size), CHUNK_ROOT);
    cd_lanes_run_rows(cd_kernel_current(), &lanes, first, stride, n, out);
}

cd_status cd_digest_records(const cd_digest_key *key, const uint8_t *data, size_t n, size_t stride,
                            size_t start, size_t stop, uint8_t *out) {
    CD_ARG_CHECK(start <= stop && stop <= stride);
    CD_ARG_CHECK(stop - start <= CD_TREE_LEAVES_MAX * CD_CHUNK_BYTES);
    if (n == 0) return CD_OK;
    if (stop - start <= CD_CHUNK_BYTES)
        digest_short_records(key, data + start, n, stride, stop - start, out);
    else
        cd_digest_long_records(key, data + start, n, stride, stop - start, out);
    return CD_OK;
}

cd_status cd_digest_records_job(const cd_job_args *args) {
    const uint64_t n = args->param[0], stride = args->param[1];
    const uint64_t start = args->param[2], stop = args->param[3];
    cd_digest_key key;
    CD_ARG_CHECK(stride >= 1 && start <= stop && stop <= stride);
    CD_ARG_CHECK(args->size[0] / stride == n && args->size[0] % stride == 0);
    CD_ARG_CHECK(args->output_size / CD_DIGEST_BYTES == n);
    CD_ARG_CHECK(args->output_size % CD_DIGEST_BYTES == 0);
    CD_ARG_CHECK(n == 0 || (args->input[0] && args->output));
    CD_ARG_CHECK(args->size[1] == (args->input[1] ? 32 : 0));
    if (args->input[1])
        cd_digest_key_keyed(&key, args->input[1]);
    else
        cd_digest_key_plain(&key);
    return cd_digest_records(&key, args->input[0], n, stride, start, stop, args->output);
}
