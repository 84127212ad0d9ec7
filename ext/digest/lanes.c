/* Groups of lanes and the choice of the kernel that compresses them. */
#include "base/cpu.h"
#include "digest/kernel.h"

/* `worth` is measured: a vector group takes as long as about two lanes of portable code. */
static const cd_kernel portable = {1, 1, cd_kernel_portable_run};
#if defined(__x86_64__)
static const cd_kernel avx2 = {8, 2, cd_kernel_avx2_run};
static const cd_kernel avx512 = {16, 2, cd_kernel_avx512_run};
#endif

const cd_kernel *cd_kernel_current(void) {
#if defined(__x86_64__)
    cd_isa level = cd_isa_current();
    if (level >= CD_ISA_AVX512) return &avx512;
    if (level >= CD_ISA_AVX2) return &avx2;
#endif
    return &portable;
}

void cd_lanes_init(cd_lanes *lanes, const cd_digest_key *key, uint32_t blocks,
                   uint32_t first_flags) {
    memcpy(lanes->key, key->words, sizeof lanes->key);
    lanes->flags = key->flags;
    lanes->first_flags = first_flags;
    lanes->blocks = blocks;
    lanes->count = 0;
}

void cd_lanes_alike(cd_lanes *lanes, uint32_t last_size, uint32_t last_flags) {
    for (uint32_t i = 0; i < CD_LANES_MAX; i++) {
        lanes->counter_low[i] = 0;
        lanes->counter_high[i] = 0;
        lanes->last_size[i] = last_size;
        lanes->last_flags[i] = last_flags;
    }
}

/* Give the empty lanes the work of the last one: they then write what it writes, where it does. */
static void fill_up(cd_lanes *lanes, uint32_t width) {
    const uint32_t last = lanes->count - 1;
    for (uint32_t i = lanes->count; i < width; i++) {
        lanes->input[i] = lanes->input[last];
        lanes->output[i] = lanes->output[last];
        lanes->counter_low[i] = lanes->counter_low[last];
        lanes->counter_high[i] = lanes->counter_high[last];
        lanes->last_size[i] = lanes->last_size[last];
        lanes->last_flags[i] = lanes->last_flags[last];
    }
}

void cd_lanes_run(const cd_kernel *kernel, cd_lanes *lanes) {
    if (lanes->count == 0) return;
    if (lanes->count < kernel->worth) {
        cd_kernel_portable_run(lanes);
    } else {
        fill_up(lanes, kernel->width);
        kernel->run(lanes);
    }
    lanes->count = 0;
}

/* The lanes' sizes and flags stay where they are: to write them anew for each group would stall the
 * kernel's wide loads of them, besides the work. */
void cd_lanes_run_rows(const cd_kernel *kernel, cd_lanes *lanes, const uint8_t *input,
                       size_t stride, size_t n, uint8_t *output) {
    while (n > 0) {
        const uint32_t filled = n < kernel->width ? (uint32_t)n : kernel->width;
        for (uint32_t i = 0; i < filled; i++) {
            lanes->input[i] = input + i * stride;
            lanes->output[i] = output + (size_t)i * CD_DIGEST_BYTES;
        }
        lanes->count = filled;
        cd_lanes_run(kernel, lanes);
        input += filled * stride;
        output += (size_t)filled * CD_DIGEST_BYTES;
        n -= filled;
    }
}
