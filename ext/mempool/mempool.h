/* The mempool: transactions that wait for a vertex, or are in one that is not committed yet.
 *
 * Records, ids and bodies lie in fixed arrays of native memory; no call makes an object per
 * transaction. What comes in was checked before: structure, signature, and that ids are right.
 *
 * Admission, in this order; the first that applies is the status:
 *   TOO_BIG      the body is above CD_MEMPOOL_BODY_MAX or the pool's whole body memory
 *   DUPLICATE    the id waits, is taken, or is among the last recent_max that were settled
 *   EXPIRED      now_s > valid_until
 *   FEE_LOW      the fee is below fee_min
 *   NONCE        its sender has one of this nonce that is taken, or whose fee it does not exceed by
 *                a tenth, rounded up and at least 1; else it takes that one's place: REPLACED
 *   SENDER_FULL  its sender has sender_max that are not settled
 *   FULL         no room for its body, everything is taken, or the system has no memory
 *   FEE_LOW      transactions_max are there, and it outbids none
 *   ADDED
 *
 * Outbidding. A sender's bid is the lowest fee of those it has waiting, over how many these are: who
 * floods must pay for it, and at equal fees nobody is pushed out by one with more in the pool. A
 * newcomer bids its fee over one more than its sender has waiting. Senders are kept in classes of
 * bids an eighth of an octave wide; the first that came into the lowest class is the one that may
 * lose, namely its waiting transaction of the lowest fee, of several that of the highest nonce. The
 * newcomer must bid strictly more; a sender that would lose to itself must only pay a higher fee.
 *
 * Order of taking. Self-clocked fair queueing: a sender's next transaction is due at its sender's
 * start plus its cost, which is (1 + body blocks) * 2^16 * fee_min / fee, at least 1. The one due
 * first goes, of several the one whose sender has waited longest for its turn; then the sender's
 * start is that time, and the pool's clock is not before it. A sender that had none waiting starts
 * at the clock. So each sender is served in proportion to what it pays, none starves, and a
 * sender's transactions leave in the order of their nonces.
 *
 * Tags. Each transaction carries a word that means nothing here, 0 for none. It comes back when
 * the transaction leaves: from settle, or, if it was dropped while it waited, in a list with the
 * reason. That list holds transactions_max tags, at least CD_MEMPOOL_DROPPED_MIN; those for which
 * there is no room are counted and lost. A call of add drops at most one for each record, of take
 * CD_MEMPOOL_STEPS, of expire scan_max: who drains after each that can drop as many as the list
 * holds loses none.
 *
 * Bounded: all arrays are reserved by open and touched as they fill, or at once; the indexes at
 * once. Only the lists of the senders grow, to at most four times what they hold. Nothing depends
 * on the seed but the time that lookups take. No function is thread-safe.
 */
#ifndef CD_MEMPOOL_H
#define CD_MEMPOOL_H

#include "base/base.h"

#define CD_MEMPOOL_TRANSACTIONS_MAX (1u << 24)
#define CD_MEMPOOL_SENDER_MAX 1024u
#define CD_MEMPOOL_RECENT_MAX (1u << 24)
#define CD_MEMPOOL_BODY_MAX 65536u
#define CD_MEMPOOL_BLOCK_BYTES 256u
#define CD_MEMPOOL_BODIES_MAX ((uint64_t)1 << 36)
#define CD_MEMPOOL_STATUSES 10
#define CD_MEMPOOL_STEPS 8192u
#define CD_MEMPOOL_DROPPED_MIN 65536u
#define CD_MEMPOOL_REASONS 5

typedef struct cd_mempool cd_mempool;

typedef enum {
    CD_MEMPOOL_ADDED = 1,
    CD_MEMPOOL_REPLACED = 2,
    CD_MEMPOOL_DUPLICATE = 3,
    CD_MEMPOOL_NONCE = 4,
    CD_MEMPOOL_EXPIRED = 5,
    CD_MEMPOOL_FEE_LOW = 6,
    CD_MEMPOOL_SENDER_FULL = 7,
    CD_MEMPOOL_FULL = 8,
    CD_MEMPOOL_TOO_BIG = 9
} cd_mempool_outcome;

/* Why one that waited is gone, other than by being settled. */
typedef enum {
    CD_MEMPOOL_DROP_EVICTED = 1,
    CD_MEMPOOL_DROP_EXPIRED = 2,
    CD_MEMPOOL_DROP_STALE = 3,
    CD_MEMPOOL_DROP_REPLACED = 4
} cd_mempool_reason;

typedef enum {
    CD_MEMPOOL_UNKNOWN = 0,
    CD_MEMPOOL_WAITING = 1,
    CD_MEMPOOL_TAKEN = 2,
    CD_MEMPOOL_SETTLED = 3 /* and still remembered */
} cd_mempool_presence;

typedef struct {
    uint32_t transactions_max; /* waiting and taken, 1..CD_MEMPOOL_TRANSACTIONS_MAX */
    uint32_t sender_max;       /* of one sender, 1..CD_MEMPOOL_SENDER_MAX */
    uint32_t recent_max;       /* settled ids remembered, 0..CD_MEMPOOL_RECENT_MAX */
    uint64_t body_bytes_max;   /* of bodies, each in whole blocks; 0..CD_MEMPOOL_BODIES_MAX */
    uint64_t fee_min;
    uint64_t seed[2];  /* secret of the process, for the tables only */
    uint32_t prefault; /* 1: touch all memory in open, in huge pages if the system has them */
} cd_mempool_config;

typedef struct {
    uint32_t waiting, taken, senders, recent;
    uint64_t body_bytes;                    /* in whole blocks */
    uint64_t memory_bytes;                  /* reserved; arrays take pages as they fill */
    uint64_t outcomes[CD_MEMPOOL_STATUSES]; /* of add, by status, ever */
    uint64_t taken_ever, settled_ever, put_back_ever;
    uint64_t dropped[CD_MEMPOOL_REASONS]; /* while waiting, by reason, ever */
    uint64_t tags;                        /* of dropped ones, that cd_mempool_drain writes now */
    uint64_t tags_lost;                   /* for which there was no room, ever */
} cd_mempool_stats;

/* CD_ERR_ARGUMENT for a limit out of its range, CD_ERR_MEMORY if memory is refused. */
cd_status cd_mempool_open(const cd_mempool_config *config, cd_mempool **pool);
void cd_mempool_free(cd_mempool *pool);
void cd_mempool_get_stats(const cd_mempool *pool, cd_mempool_stats *stats);

/* Offer n records of 176 bytes with their 32-byte ids, in order; statuses: n bytes. Body i is
 * bodies[offsets[i] .. offsets[i + 1]) and as long as record i says; offsets may be NULL if no
 * record has one, tags if all are 0. CD_ERR_ARGUMENT if they disagree: *row is the first that does,
 * and nothing has changed. Cost: a few probes each, and the entries of its sender. */
cd_status cd_mempool_add(cd_mempool *pool, const uint8_t *records, const uint8_t *ids, size_t n,
                         const uint8_t *bodies, size_t bodies_size, const uint64_t *offsets,
                         const uint64_t *tags, uint32_t now_s, uint8_t *statuses, size_t *row);

/* Choose transactions: up to max, with at most body_bytes_max of bodies, and at most bytes_max of
 * records and bodies together. They are marked taken, and their slots written in order, for
 * cd_mempool_copy. Expired ones that come up are dropped, up to CD_MEMPOOL_STEPS. A sender whose
 * next body does not fit is passed over, up to 64 of them; then the choice ends. O(log senders)
 * each. */
void cd_mempool_take(cd_mempool *pool, size_t max, uint64_t body_bytes_max, uint64_t bytes_max,
                     uint32_t now_s, uint32_t *slots, size_t *count, uint64_t *body_bytes);

/* Copy what these slots hold, end to end; before any other call that changes the pool. */
void cd_mempool_copy(const cd_mempool *pool, const uint32_t *slots, size_t n, uint8_t *records,
                     uint8_t *ids, uint8_t *bodies);

/* These were committed: forget what is held, remember the ids. Any id may be given, once or more.
 * tags, unless NULL: n words, of each the tag of what was held, or 0. */
void cd_mempool_settle(cd_mempool *pool, const uint8_t *ids, size_t n, uint64_t *tags);

/* These came to nothing: settled ids among them are remembered no more, so that they may be added again. */
void cd_mempool_forget(cd_mempool *pool, const uint8_t *ids, size_t n);

/* What is known of each: n cd_mempool_presence. */
void cd_mempool_status(const cd_mempool *pool, const uint8_t *ids, size_t n, uint8_t *presences);

/* Write the tags of those that were dropped since the last call, in order, with a cd_mempool_reason
 * each, and forget them: stats.tags of both. */
void cd_mempool_drain(cd_mempool *pool, uint64_t *tags, uint8_t *reasons);

/* These wait again, if they are taken. Sets *count to how many were. */
void cd_mempool_put_back(cd_mempool *pool, const uint8_t *ids, size_t n, size_t *count);

/* Drop what waits and has expired among the next scan_max slots; the next call goes on behind them,
 * so that many which expire at once are no stall. */
void cd_mempool_expire(cd_mempool *pool, uint32_t now_s, uint32_t scan_max, size_t *count);

/* Drop what waits with a nonce below its sender's base. keys: n x 32 bytes; bases: n values. */
void cd_mempool_drop_stale(cd_mempool *pool, const uint8_t *keys, const uint64_t *bases, size_t n,
                           size_t *count);

#endif
