/* Feeds every native entry of wire with inputs cut from the fuzzer's bytes, contracts broken
 * included.
 *
 * Layout: 32 bytes of limits, of which the last 8 choose kinds, a mode byte, a count byte, then
 * count + 1 offsets (two bytes each), then whole records, then bodies. */
#include "fuzz.h"
#include "wire/wire.h"

/* Which kinds are allowed decides on UNKNOWN_KIND, and no operation breaks a transfer's rule. */
static void check_kind(uint8_t kind, uint8_t fault, const cd_wire_limits *limits) {
    const int allowed = kind == CD_KIND_TRANSFER || (kind >= CD_KIND_OPERATION_MIN &&
                                                     limits->kinds[kind / 64] >> kind % 64 & 1);
    require((fault == CD_FAULT_UNKNOWN_KIND) == !allowed);
    require(kind == CD_KIND_TRANSFER ||
            (fault != CD_FAULT_BODY_ON_TRANSFER && fault != CD_FAULT_AMOUNT_ZERO &&
             fault != CD_FAULT_AMOUNT_OVERFLOW));
}

/* Let records keep the rules that bytes hardly keep by chance: a bit of its signature for each. */
static void mend(uint8_t *records, size_t n) {
    for (uint8_t *record = records; record < records + n * CD_RECORD_BYTES;
         record += CD_RECORD_BYTES) {
        const uint8_t rules = record[CD_RECORD_SIGNATURE];
        if (rules & 1) record[CD_RECORD_SCHEME] = CD_SCHEME_ED25519;
        if (rules & 2) memset(record + CD_RECORD_FLAGS, 0, 2);
        if (rules & 4) memset(record + CD_RECORD_RESERVED, 0, 12);
        if (rules & 8) cd_store32_le(record + CD_RECORD_BODY_SIZE, 0);
        if (rules & 16) record[CD_RECORD_KIND] = CD_KIND_TRANSFER;
        if (rules & 32) cd_store32_le(record + CD_RECORD_VALID_UNTIL, UINT32_MAX);
        if (rules & 64) memset(record + CD_RECORD_AMOUNT_LO, (int8_t)rules >> 7, 16);
    }
}

static void check(const uint8_t *records, size_t n, const cd_wire_limits *limits) {
    uint8_t *faults = malloc(n + 1);
    require(faults != NULL);
    size_t refused = 0, counted = 0;
    require(cd_wire_check(records, n, limits, faults, &refused) == CD_OK);
    for (size_t i = 0; i < n; i++) {
        require(faults[i] <= CD_FAULT_EXPIRED);
        check_kind(records[i * CD_RECORD_BYTES], faults[i], limits);
        counted += faults[i] != 0;
    }
    require(counted == refused);
    cd_wire_limits broken = *limits;
    broken.kinds[0] |= (uint64_t)1 << n % CD_KIND_OPERATION_MIN;
    require(cd_wire_check(records, n, &broken, faults, &refused) == CD_ERR_ARGUMENT);
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
    cd_wire_limits limits = {.fee_min = cd_load64_le(data),
                             .nonce_max = cd_load64_le(data + 8),
                             .body_bytes_max = cd_load32_le(data + 16),
                             .now_s = cd_load32_le(data + 20)};
    for (int i = 0; i < 8; i++)
        if (data[24 + i] >= CD_KIND_OPERATION_MIN)
            limits.kinds[data[24 + i] / 64] |= (uint64_t)1 << data[24 + i] % 64;
    const int exact = data[32] & 1, mended = data[32] & 2;
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

    if (mended) mend(records, n);
    check(records, n, &limits);
    gather(records, n, bodies, size - records_len, offsets, exact);

    size_t ignored;
    require(cd_wire_check(NULL, 1, &limits, bodies, &ignored) == CD_ERR_ARGUMENT);
    require(cd_wire_check(records, SIZE_MAX, &limits, bodies, &ignored) == CD_ERR_ARGUMENT);
    free(bodies);
    free(records);
    return 0;
}
