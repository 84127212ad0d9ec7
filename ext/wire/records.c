#include "wire/wire.h"

CD_INLINE uint8_t fault_of(const uint8_t *record, const cd_wire_limits *limits) {
    const uint8_t kind = record[CD_RECORD_KIND];
    const int is_transfer = kind == CD_KIND_TRANSFER;
    const uint64_t amount_lo = cd_load64_le(record + CD_RECORD_AMOUNT_LO);
    const uint64_t amount_hi = cd_load64_le(record + CD_RECORD_AMOUNT_HI);
    const uint64_t fee = cd_load64_le(record + CD_RECORD_FEE);
    const uint64_t reserved =
        cd_load64_le(record + CD_RECORD_RESERVED) | cd_load32_le(record + CD_RECORD_RESERVED + 8);
    const uint32_t body_size = cd_load32_le(record + CD_RECORD_BODY_SIZE);

    if (!(limits->kinds[kind / 64] >> (kind % 64) & 1)) return CD_FAULT_UNKNOWN_KIND;
    if (record[CD_RECORD_SCHEME] != CD_SCHEME_ED25519) return CD_FAULT_UNKNOWN_SCHEME;
    if (record[CD_RECORD_FLAGS] | record[CD_RECORD_FLAGS + 1]) return CD_FAULT_FLAGS_SET;
    if (reserved) return CD_FAULT_RESERVED_SET;
    if (body_size > limits->body_bytes_max) return CD_FAULT_BODY_TOO_LARGE;
    if (is_transfer) {
        if (body_size) return CD_FAULT_BODY_ON_TRANSFER;
        if (!(amount_lo | amount_hi)) return CD_FAULT_AMOUNT_ZERO;
        if (amount_hi == UINT64_MAX && amount_lo > UINT64_MAX - fee)
            return CD_FAULT_AMOUNT_OVERFLOW;
    }
    if (fee < limits->fee_min) return CD_FAULT_FEE_TOO_LOW;
    if (cd_load64_le(record + CD_RECORD_NONCE) > limits->nonce_max) return CD_FAULT_NONCE_TOO_HIGH;
    if (cd_load32_le(record + CD_RECORD_VALID_UNTIL) < limits->now_s) return CD_FAULT_EXPIRED;
    return CD_FAULT_NONE;
}

cd_status cd_wire_check(const uint8_t *records, size_t n, const cd_wire_limits *limits,
                        uint8_t *faults, size_t *refused) {
    CD_ARG_CHECK(limits && refused && n <= SIZE_MAX / CD_RECORD_BYTES);
    CD_ARG_CHECK(n == 0 || (records && faults));
    CD_ARG_CHECK((limits->kinds[0] & (((uint64_t)1 << CD_KIND_OPERATION_MIN) - 1)) == 0);
    cd_wire_limits fixed = *limits; /* faults might alias *limits as far as C knows */
    fixed.kinds[0] |= (uint64_t)1 << CD_KIND_TRANSFER;
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        faults[i] = fault_of(records + i * CD_RECORD_BYTES, &fixed);
        count += faults[i] != CD_FAULT_NONE;
    }
    *refused = count;
    return CD_OK;
}

cd_status cd_wire_gather(const uint8_t *records, size_t n, const uint8_t *bodies, size_t bodies_len,
                         const uint64_t *offsets, uint8_t *out, size_t out_len,
                         uint64_t *out_offsets, size_t *bad_row) {
    CD_ARG_CHECK(bad_row);
    *bad_row = SIZE_MAX;
    CD_ARG_CHECK(offsets && out_offsets && n <= SIZE_MAX / CD_RECORD_BYTES);
    CD_ARG_CHECK(n == 0 || (records && out));
    CD_ARG_CHECK(bodies_len == 0 || bodies);
    CD_ARG_CHECK(bodies_len <= SIZE_MAX - n * CD_RECORD_HEAD_BYTES);
    CD_ARG_CHECK(out_len == n * CD_RECORD_HEAD_BYTES + bodies_len);

    uint64_t from = 0; /* in bodies */
    uint64_t at = 0;   /* in out */
    for (size_t i = 0; i < n; i++) {
        const uint8_t *record = records + i * CD_RECORD_BYTES;
        const uint32_t body_size = cd_load32_le(record + CD_RECORD_BODY_SIZE);
        *bad_row = i;
        CD_ARG_CHECK(offsets[i] == from && body_size <= bodies_len - from);
        CD_ARG_CHECK(offsets[i + 1] == from + body_size);
        out_offsets[i] = at;
        memcpy(out + at, record, CD_RECORD_HEAD_BYTES);
        if (body_size) memcpy(out + at + CD_RECORD_HEAD_BYTES, bodies + from, body_size);
        from += body_size;
        at += CD_RECORD_HEAD_BYTES + body_size;
    }
    *bad_row = n;
    CD_ARG_CHECK(offsets[n] == from && from == bodies_len);
    out_offsets[n] = at;
    return CD_OK;
}
