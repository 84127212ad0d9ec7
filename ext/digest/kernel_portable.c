/* The kernel in plain C: one lane after another. Also the quick way to do very few lanes. */
#include "base/base.h"

typedef uint32_t word;

CD_INLINE word word_set(uint32_t x) { return x; }
CD_INLINE word word_add(word x, word y) { return x + y; }
CD_INLINE word word_xor(word x, word y) { return x ^ y; }
CD_INLINE word word_rotr16(word x) { return x >> 16 | x << 16; }
CD_INLINE word word_rotr12(word x) { return x >> 12 | x << 20; }
CD_INLINE word word_rotr8(word x) { return x >> 8 | x << 24; }
CD_INLINE word word_rotr7(word x) { return x >> 7 | x << 25; }

#include "digest/compress.h"

static void run_lane(const cd_lanes *lanes, uint32_t lane) {
    uint32_t flags = lanes->flags | lanes->first_flags;
    uint32_t size = CD_BLOCK_BYTES;
    uint8_t padded[CD_BLOCK_BYTES];
    word cv[8], m[16];
    memcpy(cv, lanes->key, sizeof cv);
    for (uint32_t block = 0; block < lanes->blocks; block++) {
        const uint8_t *input = lanes->input[lane] + (size_t)block * CD_BLOCK_BYTES;
        if (block + 1 == lanes->blocks) {
            flags |= lanes->last_flags[lane];
            size = lanes->last_size[lane];
            if (size < CD_BLOCK_BYTES) {
                cd_pad_block(padded, input, size);
                input = padded;
            }
        }
        for (int i = 0; i < 16; i++) m[i] = cd_load32_le(input + 4 * i);
        compress(cv, m, lanes->counter_low[lane], lanes->counter_high[lane], size, flags);
        flags = lanes->flags;
    }
    for (int i = 0; i < 8; i++) cd_store32_le(lanes->output[lane] + 4 * i, cv[i]);
}

void cd_kernel_portable_run(const cd_lanes *lanes) {
    for (uint32_t lane = 0; lane < lanes->count; lane++) run_lane(lanes, lane);
}
