/* Transaction records: structural checks, and the messages that ids of records with bodies hash.
 *
 * A record is 176 bytes, little-endian, at the offsets below. Every function is pure and
 * thread-safe, keeps no state and takes one call per batch. Records may be any bytes at all.
 */
#ifndef CD_WIRE_H
#define CD_WIRE_H

#include "base/base.h"

/* Where each field starts. The id and so the signature cover [0, CD_RECORD_HEAD_BYTES). */
enum {
    CD_RECORD_KIND = 0,         /* u8 */
    CD_RECORD_SCHEME = 1,       /* u8 */
    CD_RECORD_FLAGS = 2,        /* u16 */
    CD_RECORD_ASSET = 4,        /* u32 */
    CD_RECORD_NONCE = 8,        /* u64 */
    CD_RECORD_AMOUNT_LO = 16,   /* u64 */
    CD_RECORD_AMOUNT_HI = 24,   /* u64 */
    CD_RECORD_FEE = 32,         /* u64 */
    CD_RECORD_VALID_UNTIL = 40, /* u32, seconds of main-chain time */
    CD_RECORD_BODY_SIZE = 44,   /* u32 */
    CD_RECORD_RECIPIENT = 48,   /* 20 bytes */
    CD_RECORD_RESERVED = 68,    /* 12 bytes */
    CD_RECORD_SENDER = 80,      /* 32 bytes */
    CD_RECORD_SIGNATURE = 112,  /* 64 bytes */
    CD_RECORD_HEAD_BYTES = 112,
    CD_RECORD_BYTES = 176
};

/* Zero is no kind and no scheme, so that cleared memory is never a transaction. Kinds below
 * CD_KIND_OPERATION_MIN are the ledger's own; the others are modules' operations. */
enum { CD_KIND_TRANSFER = 1, CD_KIND_OPERATION_MIN = 16, CD_KIND_OPERATION_MAX = 255 };
enum { CD_SCHEME_ED25519 = 1 };

#define CD_KIND_WORDS 4 /* a bit for each kind */

/* Why a record is refused, in the order of the checks; the first that fails is reported. The values
 * are stable: they travel in receipts. Those marked are rules of transfers alone: what the amount
 * and the body of an operation mean is for its module to say. */
enum {
    CD_FAULT_NONE = 0,
    CD_FAULT_UNKNOWN_KIND = 1,
    CD_FAULT_UNKNOWN_SCHEME = 2,
    CD_FAULT_FLAGS_SET = 3,
    CD_FAULT_RESERVED_SET = 4,
    CD_FAULT_BODY_TOO_LARGE = 5,
    CD_FAULT_BODY_ON_TRANSFER = 6, /* transfers */
    CD_FAULT_AMOUNT_ZERO = 7,      /* transfers */
    CD_FAULT_AMOUNT_OVERFLOW = 8,  /* transfers: amount + fee needs more than 128 bits */
    CD_FAULT_FEE_TOO_LOW = 9,
    CD_FAULT_NONCE_TOO_HIGH = 10,
    CD_FAULT_EXPIRED = 11
};

/* What a batch is checked against. A record is valid while now_s <= its valid_until. Bit k of word
 * k / 64 of kinds allows operations of kind k; transfers are always allowed and have no bit. */
typedef struct {
    uint64_t kinds[CD_KIND_WORDS];
    uint64_t fee_min;
    uint64_t nonce_max;
    uint32_t body_bytes_max;
    uint32_t now_s;
} cd_wire_limits;

/* Write one fault code per record to faults[0 .. n) and the number of refused ones to *refused.
 * CD_ERR_ARGUMENT if the limits allow a kind below CD_KIND_OPERATION_MIN. */
cd_status cd_wire_check(const uint8_t *records, size_t n, const cd_wire_limits *limits,
                        uint8_t *faults, size_t *refused);

/* Lay out head || body of each record one after the other: record i with the body
 * bodies[offsets[i] .. offsets[i+1]) goes to out[out_offsets[i] .. out_offsets[i+1]).
 *
 * offsets and out_offsets: n+1 values each; out_len: n * CD_RECORD_HEAD_BYTES + bodies_len.
 * Offsets start at 0, end at bodies_len and step by each record's body_size; where they do not,
 * the result is CD_ERR_ARGUMENT and *bad_row is the first such row (n: the end), and out is
 * unspecified. For every other broken contract *bad_row is SIZE_MAX. */
cd_status cd_wire_gather(const uint8_t *records, size_t n, const uint8_t *bodies, size_t bodies_len,
                         const uint64_t *offsets, uint8_t *out, size_t out_len,
                         uint64_t *out_offsets, size_t *bad_row);

#endif
