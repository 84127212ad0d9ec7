/* The account table: balances and replay windows of all accounts, transfers applied in batches, and
 * the entries of the state tree's buckets.
 *
 * A line is one cache line of state under a 24-byte key, an address and an asset. Asset 0 is the
 * native coin, and its line is the account itself, with nonces and flags; every other line is a
 * holding of that account, with a balance and flags. A line that says nothing (balance, nonces and
 * flags 0) does not exist, and one that comes to say nothing is removed. So what the table answers
 * depends on the state alone; only the order of export also shows the order of arrival.
 *
 * Lines lie in segments that never move; an open-addressing index finds them, in shards that grow
 * one at a time, so that no operation moves more than one shard (about 2,048 lines). The seed of
 * the index is a secret of the process, so nobody can aim collisions; no answer depends on it.
 *
 * Numbers are exact: a balance is at most 2^128 - 1, and nothing wraps. The native supply is the
 * sum of all native balances, the fees in the pot and what modules hold. Records may be any bytes,
 * but their structure and signatures should have been checked (wire.h, ed25519.h).
 *
 * A snapshot gives the lines as they stood when it began, while the table goes on changing: what
 * changes before it was read is copied first, line by line, so no call ever copies the whole.
 *
 * No function is thread-safe: a table has one owner. No allocation failure harms a table: the
 * operation reports it and has not happened. Little-endian machines only.
 */
#ifndef CD_LEDGER_H
#define CD_LEDGER_H

#include "base/base.h"

#define CD_LEDGER_ADDRESS_BYTES 20
#define CD_LEDGER_KEY_BYTES 24   /* address, asset u32 little-endian */
#define CD_LEDGER_VALUE_BYTES 36 /* balance u128, nonce_base u64, nonce_mask u64, flags u32 */
#define CD_LEDGER_ENTRY_BYTES 62 /* of a bucket: see cd_ledger_bucket_entries */
#define CD_LEDGER_LINES_MAX (1u << 30)
#define CD_LEDGER_DEPTH_MAX 24
#define CD_LEDGER_NONCE_WINDOW 64
#define CD_LEDGER_NONCE_MAX (UINT64_MAX - 1 - CD_LEDGER_NONCE_WINDOW)

/* Flags of an account. All others are the modules'. */
#define CD_ACCOUNT_POLICY 1u /* its owner's key alone cannot move its funds */

typedef struct cd_ledger cd_ledger;

/* Bit i of nonce_mask says that nonce_base + i is used; bit 0 is never set, since the window slides.
 * A holding has neither. */
typedef struct {
    uint8_t address[CD_LEDGER_ADDRESS_BYTES];
    uint32_t asset;
    uint64_t balance[2]; /* low word, high word */
    uint64_t nonce_base, nonce_mask;
    uint32_t flags;
    uint32_t link; /* the table's; 0 in what a caller gives or gets */
} cd_ledger_line;

typedef struct {
    uint32_t lines_max;      /* 1..CD_LEDGER_LINES_MAX */
    uint32_t depth;          /* 1..CD_LEDGER_DEPTH_MAX: the state tree has 2^depth buckets */
    uint8_t bucket_key[32];  /* a line's bucket: first bits of keyed BLAKE3 of its key */
    uint8_t address_key[32]; /* an address: first bytes of keyed BLAKE3 of a public key */
    uint8_t seed[16];        /* of the index; secret */
} cd_ledger_config;

/* What became of a transaction, in its receipt: the values are stable. The first three used the
 * nonce and paid the fee; the others left no trace. */
typedef enum {
    CD_TX_NONE = 0, /* of no transaction: what cleared memory says */
    CD_TX_APPLIED = 1,
    CD_TX_INSUFFICIENT = 2,  /* the balance does not hold the amount beside the fee */
    CD_TX_OVERFLOW = 3,      /* the recipient's balance would pass 2^128 - 1 */
    CD_TX_EXPIRED = 4,       /* now_s > valid_until, so never if that is 2^32 - 1 */
    CD_TX_POLICY = 5,        /* a flag of the account forbids it */
    CD_TX_NONCE_USED = 6,    /* below the base, or its bit is set: a second copy costs nothing */
    CD_TX_NONCE_FAR = 7,     /* at or above base + 64, or above CD_LEDGER_NONCE_MAX */
    CD_TX_FEE_UNPAYABLE = 8, /* the native balance is below the fee */
    CD_TX_STATUS_COUNT = 9
} cd_tx_status;

typedef struct {
    uint32_t lines, dirty_buckets;
    uint64_t fees[2]; /* the pot: low word, high word */
    uint64_t bytes;   /* allocated */
} cd_ledger_stats;

/* CD_ERR_MEMORY if memory is refused. */
cd_status cd_ledger_open(const cd_ledger_config *config, cd_ledger **ledger);
void cd_ledger_free(cd_ledger *ledger);
cd_status cd_ledger_get_stats(const cd_ledger *ledger, cd_ledger_stats *stats);

/* Transactions. */

/* Apply n records in order, up to the first that is not a plain transfer (kind transfer, scheme
 * Ed25519, no flags, no body); *handled is how many were. Each has its status written.
 *
 * Checks, in this order; the first that fails is the status: EXPIRED, POLICY, NONCE_USED, NONCE_FAR,
 * FEE_UNPAYABLE (also if the pot cannot hold the fee, which no supply within 128 bits can bring
 * about), INSUFFICIENT, OVERFLOW. From FEE_UNPAYABLE on the nonce is used and the fee goes to the
 * pot. The fee is paid in the native coin from the account's own line, whatever the asset. A
 * transfer to oneself needs its amount and costs its fee.
 *
 * senders: n x 20 bytes, the senders' addresses, or NULL to compute them here. CD_ERR_FULL if a
 * recipient's new line would pass lines_max (a line that the same transfer empties still counts),
 * CD_ERR_MEMORY if there is no memory for it: that record and those after it are not handled. */
cd_status cd_ledger_apply(cd_ledger *ledger, const uint8_t *records, const uint8_t *senders,
                          size_t n, uint32_t now_s, uint8_t *statuses, size_t *handled);

/* Begin a module's operation: check the record's expiry, nonce and fee against the sender's account,
 * in the order and by the rules of cd_ledger_apply, use the nonce and take the fee. Kind, amount and
 * recipient are the module's affair. sender: 20 bytes, or NULL for the address of the record's
 * public key. forbidden: account flags under which the status is POLICY. *status is APPLIED if it
 * has begun. CD_ERR_FULL and CD_ERR_MEMORY only for an account that is new and pays no fee. */
cd_status cd_ledger_begin(cd_ledger *ledger, const uint8_t *record, const uint8_t *sender,
                          uint32_t now_s, uint32_t forbidden, uint8_t *status);

/* What cd_ledger_begin would say of each of n records by the state as it is, each by itself: APPLIED
 * if it would use its nonce and pay its fee. Changes nothing. */
cd_status cd_ledger_judge(const cd_ledger *ledger, const uint8_t *records, size_t n, uint32_t now_s,
                          uint32_t forbidden, uint8_t *statuses);

/* Lines. */

/* *found is 0 and *line cleared if there is no such line. */
cd_status cd_ledger_get(const cd_ledger *ledger, const uint8_t address[20], uint32_t asset,
                        cd_ledger_line *line, int *found);

/* Set n lines in order; one that says nothing removes what is there. If `fresh`, each must be new
 * and say something, as the rows of a checkpoint do. CD_ERR_ARGUMENT for a line that no table holds
 * (bit 0 of the mask, nonces of a holding, a used nonce beyond CD_LEDGER_NONCE_MAX, a link),
 * CD_ERR_FULL or CD_ERR_MEMORY if there is no room: the *done lines before it are set. */
cd_status cd_ledger_put(cd_ledger *ledger, const cd_ledger_line *lines, size_t n, int fresh,
                        size_t *done);

/* Copy up to max lines from *cursor (0 at first) on, and move it on; *count < max is the end. They
 * come in the order of their places. A change between two calls may be seen or missed; every line
 * that stays is copied once. */
cd_status cd_ledger_export(const cd_ledger *ledger, uint32_t *cursor, cd_ledger_line *lines,
                           size_t max, size_t *count);

/* Begin a snapshot: the lines as they stand now, to be read in pieces while the table goes on. Not the
 * pot, which is two words to copy. CD_ERR_ARGUMENT if one is under way.
 *
 * Until it ends, each line costs 64 bytes more if it changes before it was read, one bit if not; so
 * at most what the lines themselves take, and reading gives it back. A call that changes lines may
 * answer CD_ERR_MEMORY for want of it: that line or record has not happened. */
cd_status cd_ledger_snapshot_begin(cd_ledger *ledger);

/* Up to max lines of the snapshot that were not read yet; *count 0 says that there are no more. Each
 * comes once, in an order that shows what changed meanwhile. CD_ERR_ARGUMENT if there is no
 * snapshot. O(max). */
cd_status cd_ledger_snapshot_read(cd_ledger *ledger, cd_ledger_line *lines, size_t max,
                                  size_t *count);

/* End the snapshot, read or not, and give its memory back. Fine if there is none. */
cd_status cd_ledger_snapshot_end(cd_ledger *ledger);

/* Set the fee pot: after a payout, or from a checkpoint. */
cd_status cd_ledger_set_fees(cd_ledger *ledger, const uint64_t fees[2]);

/* Sum of the balances of an asset over all lines, three words, lowest first. O(lines). */
cd_status cd_ledger_audit(const cd_ledger *ledger, uint32_t asset, uint64_t total[3]);

/* Whether the table holds together: every line says something, is found by the index and stands in
 * its bucket, and nothing else does. O(lines), for tests. */
int cd_ledger_is_sound(const cd_ledger *ledger);

/* Buckets of the state tree. Bucket of a line: the first `depth` bits, most significant first, of
 * BLAKE3 keyed with bucket_key over its 24-byte key. */

/* Buckets in which a line was set, changed or removed since the last call, ascending. Writes none
 * and forgets none if there are more than max; *count is how many there are. O(2^depth / 64). */
cd_status cd_ledger_drain_dirty(cd_ledger *ledger, uint32_t *buckets, size_t max, size_t *count);

/* Where the entries of each of n buckets go: n + 1 offsets, in bytes. CD_ERR_ARGUMENT if a bucket
 * is not below 2^depth. */
cd_status cd_ledger_bucket_offsets(const cd_ledger *ledger, const uint32_t *buckets, size_t n,
                                   uint64_t *offsets);

/* Write the entries of n buckets, each bucket's in the order of their keys' bytes. An entry is u8 24,
 * the key, u8 36, the value; all little-endian. offsets: as cd_ledger_bucket_offsets gives them for
 * the same buckets and state; out: offsets[n] bytes. CD_ERR_ARGUMENT if they are not. */
cd_status cd_ledger_bucket_entries(const cd_ledger *ledger, const uint32_t *buckets, size_t n,
                                   const uint64_t *offsets, uint8_t *out, size_t out_size);

#endif
