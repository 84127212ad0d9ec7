/* Feeds every native entry of wire with inputs cut from the fuzzer's bytes, contracts broken
 * included.
 *
 * Layout: 32 bytes of limits, a mode byte, a count byte, then count + 1 offsets (two bytes each),
 * then whole records, then bodies. */
#include "fuzz.h"
#include "wire/wire.h"

static void check(const uint8_t *records, size_t n, const cd_wire_limits *limits) {
    uint8_t *faults = malloc(n + 1);
    require(faults != NULL);
    size_t refused = 0, counted = 0;
    require(cd_wire_check(records, n, limits, faults, &refused) == CD_OK);
    for (size_t i = 0; i < n; i++) {
        require(faults[i] <= CD_FAULT_EXPIRED);
        counted += faults[i] != 0;
    }
    require(counted == refused);
    free(faults);
}

/* fitted: offsets are made to fit the records, so that the copying is reached. */
static void gather(uint8_t *records, size_t n, const uint8_t *bodies, size_t bodies_len,
                   uint64_t *offsets, int fitted) {
    if (fitted) {
        uint64_t at = 0;
        for (size_t i = 0; i < n; i++) {
            uint64_t step = offsets[i] % (bodies_len - at + 1);
            if (i + 1 == n) step = bodies_len - at;
            cd_store32_le(records + i * CD_RECORD_BYTES + CD_RECORD_BODY_SIZE, (uint32_t)step);
            offsets[i] = at;
            at += step;
        }
        offsets[n] = at;
    }
    const size_t out_len = n * CD_RECORD_HEAD_BYTES + bodies_len;
    uint8_t *out = malloc(out_len + 1);
    uint64_t *out_offsets = calloc(n + 1, sizeof *out_offsets);
    require(out != NULL && out_offsets != NULL);
    size_t bad_row = 0;
    cd_status status = cd_wire_gather(records, n, bodies, bodies_len, offsets, out, out_len,
                                      out_offsets, &bad_row);
    require(status == CD_OK || status == CD_ERR_ARGUMENT);
    require(!fitted || n == 0 || status == CD_OK);
    require(bad_row <= n);
    if (status == CD_OK) {
        require(out_offsets[n] == out_len);
        for (size_t i = 0; i < n; i++) {
            const uint8_t *record = records + i * CD_RECORD_BYTES;
            require(memcmp(out + out_offsets[i], record, CD_RECORD_HEAD_BYTES) == 0);
        }
    }
    require(cd_wire_gather(records, n, bodies, bodies_len, offsets, out, out_len + 1, out_offsets,
                           &bad_row) == CD_ERR_ARGUMENT);
    free(out_offsets);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 34) return 0;
    const cd_wire_limits limits = {cd_load64_le(data), cd_load64_le(data + 8),
                                   cd_load32_le(data + 16), cd_load32_le(data + 20)};
    const int exact = data[32] & 1;
    size_t n = data[33] % 16;
    data += 34, size -= 34;

    uint64_t offsets[17] = {0};
    for (size_t i = 0; i <= n && size >= 2; i++, data += 2, size -= 2)
        offsets[i] = (uint64_t)data[0] << (data[1] % 57);

    if (n > size / CD_RECORD_BYTES) n = size / CD_RECORD_BYTES;
    const size_t records_len = n * CD_RECORD_BYTES;
    uint8_t *records = malloc(records_len + 1); /* its own block, so that a read past it is seen */
    uint8_t *bodies = malloc(size - records_len + 1);
    require(records != NULL && bodies != NULL);
    memcpy(records, data, records_len);
    memcpy(bodies, data + records_len, size - records_len);

    check(records, n, &limits);
    gather(records, n, bodies, size - records_len, offsets, exact);

    size_t ignored;
    require(cd_wire_check(NULL, 1, &limits, bodies, &ignored) == CD_ERR_ARGUMENT);
    require(cd_wire_check(records, SIZE_MAX, &limits, bodies, &ignored) == CD_ERR_ARGUMENT);
    free(bodies);
    free(records);
    return 0;
}
